//! The spans of the attempts at servers, under that of their request.

use std::time::{Instant, SystemTime};

use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanId, SpanKind};

use super::part::Part;
use crate::telemetry::record::RequestRecord;
use crate::upstream::address::Address;
use crate::upstream::failure::Cause;
use crate::upstream::server::Server;

/// One for each attempt, in order. The last one has the id that the upstream was told.
pub(super) fn attempts(record: &RequestRecord<'_>, parent: SpanId, last: SpanId) -> Vec<Part> {
    let Some(part) = record.upstream.as_ref().map(|upstream| upstream.part) else {
        return Vec::new();
    };
    let (instant, now) = (Instant::now(), SystemTime::now());
    let at = |moment: Instant| {
        let ago = instant.saturating_duration_since(moment);
        now.checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    };
    let attempted = &part.attempted;
    let failed = attempted.failed.iter();
    let mut ended: Vec<(&Server, Option<Cause>, SystemTime)> = failed
        .map(|failed| (&*failed.server, Some(failed.cause), at(failed.at)))
        .collect();
    if let (true, Some(server)) = (attempted.is_open, &attempted.server) {
        ended.push((&**server, None, now));
    }
    let count = ended.len();
    let mut begins = at(part.since);
    let attempts = ended.into_iter().enumerate().map(|(n, (server, cause, ends))| {
        let is_last = n + 1 == count;
        let status = part.status.filter(|_| is_last);
        let error = match (cause, status) {
            (Some(cause), _) => Some(cause.label().to_owned()),
            (None, Some(status)) if status >= 400 => Some(status.to_string()),
            (None, _) => None,
        };
        let mut attributes = vec![KeyValue::new("http.request.method", record.method)];
        attributes.extend(address(server));
        if n > 0 {
            let resent = i64::try_from(n).unwrap_or(i64::MAX);
            attributes.push(KeyValue::new("http.request.resend_count", resent));
        }
        if let Some(status) = status {
            attributes.push(KeyValue::new("http.response.status_code", i64::from(status)));
        }
        let is_error = error.is_some();
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        Part {
            id: match is_last {
                true => last,
                // Nobody was told it.
                false => SpanId::from(numbered(last, n)),
            },
            parent,
            kind: SpanKind::Client,
            name: match record.method {
                "_OTHER" => "HTTP".to_owned(),
                method => method.to_owned(),
            },
            between: (std::mem::replace(&mut begins, ends), ends),
            attributes,
            is_error,
        }
    });
    attempts.collect()
}

/// Another one for each number.
fn numbered(last: SpanId, n: usize) -> u64 {
    let last = u64::from_be_bytes(last.to_bytes());
    last.wrapping_add(n as u64 + 1).max(1)
}

/// The semantic conventions' words for where a server is.
fn address(server: &Server) -> Vec<KeyValue> {
    match &server.address {
        Address::Inet(address) => vec![
            KeyValue::new("server.address", address.ip().to_string()),
            KeyValue::new("server.port", i64::from(address.port())),
        ],
        Address::Unix(path) => vec![KeyValue::new("server.address", path.display().to_string())],
        Address::Sample => vec![KeyValue::new("server.address", "sample")],
    }
}
