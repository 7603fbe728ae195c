//! What enforcing would refuse.

use std::time::SystemTime;

use serde_json::{Map, Value, json};

use super::answer::{Answer, Problem};
use super::top::wanted;
use crate::process::Process;
use crate::request::field::Field;
use crate::request::outline::{FieldOutline, OptionKeys, Outline};
use crate::telemetry::observed::{About, Example, Row, Rule};

/// Rows that are told where the query does not say how many.
const DEFAULT: usize = 100;

pub(super) fn observe(process: &Process, query: Option<&str>) -> Answer {
    match wanted(query.unwrap_or_default(), DEFAULT) {
        Some(n) => {
            let rows = process.observed.rows(n);
            let told = rows.iter().map(|row| {
                let mut told = self::row(row);
                told.insert(
                    "examples".to_owned(),
                    row.examples.iter().map(|one| example(one)).collect(),
                );
                Value::Object(told)
            });
            Answer::json(&json!({ "would_refuse": told.collect::<Vec<_>>() }))
        }
        None => Problem::new(400, "bad_parameter", "n is a number from 1 to 1000").into(),
    }
}

/// For the status page: without examples.
pub(super) fn rows(process: &Process, n: usize) -> Vec<Value> {
    process
        .observed
        .rows(n)
        .iter()
        .map(|one| Value::Object(row(one)))
        .collect()
}

fn row(row: &Row) -> Map<String, Value> {
    let Row {
        key,
        requests,
        members,
        first,
        last,
        examples: _,
    } = row;
    let Rule { reason, about } = key.rule;
    let told = [
        ("route", json!(&*key.route)),
        ("reason", reason.code().into()),
        ("status", reason.status().into()),
        ("rule", self::about(about)),
        ("placement", json!(key.placement)),
        ("requests", (*requests).into()),
        ("members", (*members).into()),
        ("first", millis(*first).into()),
        ("last", millis(*last).into()),
    ];
    told.map(|(name, value)| (name.to_owned(), value))
        .into_iter()
        .collect()
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

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
