//! One line per request.

use serde::Serialize;

use super::Outcome;
use super::log::{LogSink, timestamp, word};
use crate::request::field::FieldFault;
use crate::response::rejection::{Reason, Rejection};

/// What the line says. Nothing that is not validated is in it: no query, no options, no token.
pub struct AccessLine<'a> {
    /// The id in the answer of a refusal and in the upstream's request.
    pub request_id: &'a str,
    /// Of the trace the request belongs to.
    pub trace_id: &'a str,
    /// The route's name, or `none`.
    pub route: &'a str,
    /// One of the registered methods, or `_OTHER`.
    pub method: &'static str,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where the gateway answered or observed.
    pub rejection: Option<&'a Rejection>,
    /// What observe mode let through.
    pub would_reject: &'a [Rejection],
    /// The status that the client got, 499 where it did not wait for one.
    pub status: u16,
    /// Faults of fields.
    pub errors: &'a [FieldFault],
    /// Validated.
    pub member_id: Option<String>,
    /// Validated, normalized.
    pub domain: Option<&'a str>,
    /// Validated.
    pub placement: Option<&'a str>,
    /// The client's address.
    pub client: Option<String>,
    /// From the complete head to the end.
    pub duration_ms: f64,
    /// The upstream's share.
    pub upstream_ms: Option<f64>,
    /// The server that answered.
    pub upstream: Option<&'a str>,
    /// Of the body.
    pub bytes_in: usize,
    /// Of the answer's body.
    pub bytes_out: usize,
}

/// As `method` label and field: a token of the client's choice is not echoed.
pub fn known_method(method: &http::Method) -> &'static str {
    const METHODS: [&str; 9] = [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ];
    METHODS
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("_OTHER")
}

/// Writes the line, if its level is wanted. Refusals have the level of their reason.
pub fn write(sink: &LogSink, line: &AccessLine<'_>) {
    let level = line
        .rejection
        .map_or(log::Level::Info, |rejection| rejection.reason().level());
    if !sink.wants(level) {
        return;
    }
    sink.line(&Line {
        ts: timestamp(),
        level: word(level),
        msg: "request",
        request_id: line.request_id,
        trace_id: line.trace_id,
        route: line.route,
        method: line.method,
        outcome: line.outcome.label(),
        reason: line.rejection.map(|rejection| rejection.reason().code()),
        would_reject: line
            .would_reject
            .iter()
            .map(Rejection::reason)
            .map(Reason::code)
            .collect(),
        status: line.status,
        errors: line
            .errors
            .iter()
            .map(|fault| Fault {
                field: fault.field.name(),
                code: fault.code.label(),
            })
            .collect(),
        member_id: line.member_id.as_deref(),
        domain: line.domain,
        placement: line.placement,
        client: line.client.as_deref(),
        duration_ms: line.duration_ms,
        upstream_ms: line.upstream_ms,
        upstream: line.upstream,
        bytes_in: line.bytes_in,
        bytes_out: line.bytes_out,
    });
}

#[derive(Serialize)]
struct Fault {
    field: &'static str,
    code: &'static str,
}

#[derive(Serialize)]
struct Line<'a> {
    ts: String,
    level: &'static str,
    msg: &'static str,
    request_id: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    trace_id: &'a str,
    route: &'a str,
    method: &'static str,
    outcome: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    would_reject: Vec<&'static str>,
    status: u16,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    domain: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    placement: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'a str>,
    bytes_in: usize,
    bytes_out: usize,
}
