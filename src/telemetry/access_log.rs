//! One line per request.

use std::net::IpAddr;
use std::time::Duration;

use super::Outcome;
use super::log::{LogSink, append_timestamp, word};
use crate::request::address;
use crate::request::field::{FieldFault, MemberId};
use crate::request::message::Kind;
use crate::response::json::{self, Object};
use crate::response::page::fault;
use crate::response::rejection::Rejection;

/// What the line says. Nothing that is not validated is in it: no query, no options, no token.
pub struct AccessLine<'a> {
    /// The id in the answer of a refusal and in the upstream's request.
    pub request_id: &'a str,
    /// Of the trace the request belongs to.
    pub trace_id: &'a str,
    /// The route's name, or `none`.
    pub route: &'a str,
    /// What it was recognized as.
    pub message: Option<Kind>,
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
    pub member_id: Option<&'a MemberId>,
    /// Validated, normalized.
    pub domain: Option<&'a str>,
    /// Validated.
    pub placement: Option<&'a str>,
    /// The client's address.
    pub client: IpAddr,
    /// From the complete head to the end.
    pub duration: Duration,
    /// The upstream that was asked, and its share.
    pub upstream: Option<(&'a str, Duration)>,
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
    if sink.wants(level) {
        sink.line_with(|out| line.append(level, out));
    }
}

impl AccessLine<'_> {
    fn append(&self, level: log::Level, out: &mut Vec<u8>) {
        let mut object = Object::begin(out);
        object.plain("ts", append_timestamp);
        object.text("level", word(level));
        object.text("msg", "request");
        object.text("request_id", self.request_id);
        if !self.trace_id.is_empty() {
            object.text("trace_id", self.trace_id);
        }
        object.text("route", self.route);
        if let Some(message) = self.message {
            object.text("message", message.label());
        }
        object.text("method", self.method);
        object.text("outcome", self.outcome.label());
        if let Some(rejection) = self.rejection {
            object.text("reason", rejection.reason().code());
        }
        object.list("would_reject", self.would_reject, |out, rejection| {
            json::text(out, rejection.reason().code());
        });
        object.number("status", self.status.into());
        object.list("errors", self.errors, fault);
        if let Some(member_id) = self.member_id {
            object.plain("member_id", |out| {
                out.extend_from_slice(member_id.to_string().as_bytes())
            });
        }
        if let Some(domain) = self.domain {
            object.text("domain", domain);
        }
        if let Some(placement) = self.placement {
            object.text("placement", placement);
        }
        object.plain("client", |out| address::append(out, self.client));
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        object.thousandths("duration_ms", micros(self.duration));
        if let Some((upstream, duration)) = self.upstream {
            object.thousandths("upstream_ms", micros(duration));
            object.text("upstream", upstream);
        }
        object.number("bytes_in", self.bytes_in as u64);
        object.number("bytes_out", self.bytes_out as u64);
        object.end();
    }
}
