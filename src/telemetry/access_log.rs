//! One line per request.

use std::time::Duration;

use super::log::{LogSink, append_timestamp, word};
use super::metrics::NO_ROUTE;
use super::record::RequestRecord;
use crate::request::address;
use crate::response::json::{self, Object};
use crate::response::problem::fault;

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

/// Writes the line, if its level is wanted. Refusals have the level of their reason. Nothing that is not
/// validated is in it: no query, no options, no token.
pub fn write(sink: &LogSink, record: &RequestRecord<'_>) {
    let level = record
        .rejection
        .map_or(log::Level::Info, |rejection| rejection.reason().level());
    if sink.wants(level) {
        sink.line_with(|out| append(record, level, out));
    }
}

/// The client chose it: the beginning has to do.
fn cut(text: &str) -> &str {
    const MOST: usize = 256;
    let end = (0..=MOST.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

fn append(record: &RequestRecord<'_>, level: log::Level, out: &mut Vec<u8>) {
    let RequestRecord {
        request_id,
        trace_id,
        method,
        host,
        path,
        route,
        message,
        outcome,
        rejection,
        would_reject,
        faults,
        verdict,
        member_id,
        domain,
        placement,
        client,
        status,
        duration,
        bytes_in,
        bytes_out,
        upstream,
        // What only adds up over many requests is for the metrics.
        series: _,
        limits: _,
        overhead: _,
        held: _,
        scheme_replaced: _,
        origin_differs: _,
    } = record;
    let mut object = Object::begin(out);
    object.plain("ts", append_timestamp);
    object.label("level", word(level));
    object.label("msg", "request");
    object.token("request_id", request_id);
    if !trace_id.is_empty() {
        object.text("trace_id", trace_id);
    }
    object.text("route", route.unwrap_or(NO_ROUTE));
    if let Some(message) = message {
        object.label("message", message.label());
    }
    object.label("method", method);
    if let Some(host) = host {
        object.text("host", cut(host));
    }
    if let Some(path) = path {
        object.text("path", cut(path));
    }
    object.label("outcome", outcome.label());
    if let Some(rejection) = rejection {
        object.label("reason", rejection.reason().code());
    }
    object.list("would_reject", *would_reject, |out, rejection| {
        json::text(out, rejection.reason().code());
    });
    object.number("status", u64::from(*status));
    object.list("errors", *faults, fault);
    if let Some(verdict) = verdict {
        object.label("verified", verdict.label());
        if let Some(unproven) = verdict.cause() {
            object.label("unverified", unproven.label());
        }
    }
    if let Some(member_id) = member_id {
        member_id.with_text(|text| object.token("member_id", text));
    }
    if let Some(domain) = domain {
        object.token("domain", domain.as_str());
    }
    if let Some(placement) = placement {
        object.token("placement", placement.as_str());
    }
    object.plain("client", |out| address::append(out, *client));
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    object.thousandths("duration_ms", micros(*duration));
    if let Some(upstream) = upstream {
        object.thousandths("upstream_ms", micros(upstream.duration));
        object.text("upstream", upstream.name);
        let attempted = &upstream.part.attempted;
        if let Some(server) = &attempted.server {
            object.text("server", &server.name);
            object.text("server_address", &server.shown);
        }
        object.number("tries", attempted.tries as u64);
        if let Some(cause) = attempted.cause {
            object.label("cause", cause.label());
        }
    }
    object.number("bytes_in", *bytes_in as u64);
    object.number("bytes_out", *bytes_out as u64);
    object.end();
}
