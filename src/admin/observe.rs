//! What enforcing would refuse.

use serde_json::{Value, json};

use super::answer::{Answer, Problem, millis};
use super::top::wanted;
use crate::process::Process;
use crate::request::field::Field;
use crate::request::outline::{FieldOutline, OptionKeys, Outline};
use crate::telemetry::log::with;
use crate::telemetry::observed::{About, Example, Key, Row, Rule};

/// Rows that are told where the query does not say how many.
const DEFAULT: usize = 100;

pub(super) fn observe(process: &Process, query: Option<&str>) -> Answer {
    match wanted(query.unwrap_or_default(), DEFAULT) {
        Some(n) => {
            let rows = process.observed.rows(n);
            let told = rows.iter().map(|(key, row)| {
                let examples: Vec<_> = row.examples.iter().map(|one| example(one)).collect();
                with(self::row(key, row), json!({ "examples": examples }))
            });
            Answer::json(&json!({ "would_refuse": told.collect::<Vec<_>>() }))
        }
        None => Problem::new(400, "bad_parameter", "n is a number from 1 to 1000").into(),
    }
}

/// For the status page: without examples.
pub(super) fn rows(process: &Process, n: usize) -> Vec<Value> {
    let rows = process.observed.rows(n);
    rows.iter().map(|(key, counted)| row(key, counted)).collect()
}

fn row(key: &Key, row: &Row) -> Value {
    let Key {
        route,
        rule: Rule { reason, about },
        placement,
    } = key;
    json!({
        "route": &**route,
        "reason": reason.code(),
        "status": reason.status(),
        "rule": self::about(*about),
        "placement": placement,
        "requests": row.requests,
        "members": row.members(),
        "first": millis(row.first),
        "last": millis(row.last),
    })
}

fn about(about: About) -> Value {
    match about {
        About::Request => Value::Null,
        About::Field(fault) => format!("{} {}", fault.field.told(), fault.code.label()).into(),
        About::Message(kind) => format!("message {}", kind.label()).into(),
        About::Caller(unproven) => format!("caller {}", unproven.label()).into(),
        About::Limit(policy) => format!("limit {}", policy.label()).into(),
    }
}

fn example(example: &Example) -> Value {
    let Example {
        request_id,
        at,
        message,
        outline,
    } = example;
    let Outline {
        query,
        body,
        fields,
        options,
    } = outline;
    let OptionKeys { names, others } = options;
    json!({
        "request_id": request_id,
        "at": millis(*at),
        "message": message.map(|kind| kind.label()),
        "query_bytes": query,
        "body_bytes": body,
        "fields": fields.iter().map(field).collect::<Vec<_>>(),
        "option_keys": names,
        "other_option_keys": others,
    })
}

fn field(field: &FieldOutline) -> Value {
    let FieldOutline {
        field,
        in_query,
        in_body,
        value,
    } = *field;
    let place = match (in_query, in_body) {
        (true, true) => "query and body",
        (true, false) => "query",
        // What is below `auth` as a whole stands in the body, as a rule.
        (false, true) | (false, false) => "body",
    };
    match value {
        // Which of the tokens it is, is told: their names are no secret.
        Ok(bytes) => json!({ "field": Field::name(field), "in": place, "bytes": bytes }),
        Err(code) => json!({ "field": Field::name(field), "in": place, "fault": code.label() }),
    }
}
