//! The span of a request: which trace it belongs to, what hangs under it, what it says.

use std::time::SystemTime;

use opentelemetry::trace::{SpanId, SpanKind, TraceId};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;

use super::attempt::attempts;
use super::part::Part;
use crate::response::rejection::{Reason, Rejection};
use crate::telemetry::record::RequestRecord;

/// The span of a request that is under way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    trace: TraceId,
    id: SpanId,
    /// Invalid where the trace begins here.
    parent: SpanId,
    /// Of the attempt that the upstream's work hangs under.
    attempt: SpanId,
}

/// What a request with this `traceparent` comes to.
#[derive(PartialEq, Eq, Debug)]
pub struct Begun {
    /// None where the trace is not sampled.
    pub span: Option<Span>,
    /// What the upstream gets in the place of the `traceparent`, where that has to change.
    pub traceparent: Option<String>,
}

/// Begins a span, or none. A `traceparent` that was `received` is obeyed: its sampled flag decides, and
/// the span hangs under it. One that was made here for the upstream names the span of our attempt at it
/// already; `share` of those are sampled, and of the others the upstream is told that they are not.
pub fn begin(traceparent: &str, received: bool, share: f64, mut fresh: impl FnMut() -> u64) -> Begun {
    let none = Begun {
        span: None,
        traceparent: None,
    };
    let Some((trace, id, flags)) = parse(traceparent) else {
        return none;
    };
    match (received, flags & 1 == 1) {
        (true, false) => none,
        (true, true) => {
            let [own, attempt] = [fresh(), fresh()].map(|id| SpanId::from(id.max(1)));
            Begun {
                span: Some(Span {
                    trace,
                    id: own,
                    parent: id,
                    attempt,
                }),
                traceparent: Some(format!("00-{trace}-{attempt}-{flags:02x}")),
            }
        }
        (false, _) if is_sampled(trace, share) => Begun {
            span: Some(Span {
                trace,
                id: SpanId::from(fresh().max(1)),
                parent: SpanId::INVALID,
                attempt: id,
            }),
            traceparent: None,
        },
        (false, _) => Begun {
            span: None,
            traceparent: Some(format!("00-{trace}-{id}-00")),
        },
    }
}

fn parse(traceparent: &str) -> Option<(TraceId, SpanId, u8)> {
    let trace = TraceId::from_hex(traceparent.get(3..35)?).ok()?;
    let id = SpanId::from_hex(traceparent.get(36..52)?).ok()?;
    let flags = u8::from_str_radix(traceparent.get(53..55)?, 16).ok()?;
    Some((trace, id, flags))
}

/// As the SDKs decide it (TraceIdRatioBased), so that whoever samples the same share takes the same traces.
fn is_sampled(trace: TraceId, share: f64) -> bool {
    let [.., a, b, c, d, e, f, g, h] = trace.to_bytes();
    let random = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
    share >= 1.0 || (random as f64) < share * (1_u64 << 63) as f64
}

impl Span {
    /// As they are sent: that of the request, and those of its attempts.
    pub(super) fn ended(&self, record: &RequestRecord<'_>) -> Vec<SpanData> {
        let start = SystemTime::now()
            .checked_sub(record.duration)
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let own = Part {
            id: self.id,
            parent: self.parent,
            kind: SpanKind::Server,
            name: name(record),
            between: (start, start + record.duration),
            attributes: attributes(record),
            is_error: error_type(record).is_some(),
        };
        let mut spans = vec![own.of(self.trace)];
        let attempts = attempts(record, self.id, self.attempt);
        spans.extend(attempts.into_iter().map(|attempt| attempt.of(self.trace)));
        spans
    }
}

/// The semantic conventions for HTTP servers: method and route.
fn name(record: &RequestRecord<'_>) -> String {
    let method = match record.method {
        "_OTHER" => "HTTP",
        method => method,
    };
    match record.route {
        Some(route) => format!("{method} {route}"),
        None => method.to_owned(),
    }
}

fn attributes(record: &RequestRecord<'_>) -> Vec<KeyValue> {
    let RequestRecord {
        method,
        route,
        outcome,
        rejection,
        would_reject,
        verdict,
        client,
        status,
        upstream,
        // The trace itself, and when it was.
        trace_id: _,
        duration: _,
        // No value of a call, no number that the metrics tell better.
        request_id: _,
        host: _,
        path: _,
        series: _,
        faults: _,
        limits: _,
        message: _,
        scheme_replaced: _,
        origin_differs: _,
        member_id: _,
        domain: _,
        placement: _,
        overhead: _,
        held: _,
        bytes_in: _,
        bytes_out: _,
    } = record;
    let mut all = vec![
        KeyValue::new("http.request.method", *method),
        KeyValue::new("client.address", client.to_string()),
        KeyValue::new("widget_gateway.outcome", outcome.label()),
    ];
    if let Some(route) = route {
        all.push(KeyValue::new("http.route", (*route).to_owned()));
    }
    // 499 is a word of logs; nothing was sent.
    if !matches!(status, 0 | 499) {
        all.push(KeyValue::new("http.response.status_code", i64::from(*status)));
    }
    if let Some(rejection) = rejection {
        all.push(KeyValue::new("widget_gateway.reason", rejection.reason().code()));
    }
    if let Some(verdict) = verdict {
        all.push(KeyValue::new("widget_gateway.verified", verdict.label()));
    }
    if !would_reject.is_empty() {
        let codes = would_reject.iter().map(Rejection::reason).map(Reason::code);
        let codes = codes.map(StringValue::from).collect();
        all.push(KeyValue::new(
            "widget_gateway.would_reject",
            Value::Array(Array::String(codes)),
        ));
    }
    if let Some(upstream) = upstream {
        all.push(KeyValue::new("widget_gateway.upstream", upstream.name.to_owned()));
        all.push(KeyValue::new(
            "widget_gateway.tries",
            i64::try_from(upstream.part.attempted.tries).unwrap_or(i64::MAX),
        ));
        if let Some(cause) = upstream.part.attempted.cause {
            all.push(KeyValue::new("widget_gateway.cause", cause.label()));
        }
    }
    all.extend(error_type(record).map(|kind| KeyValue::new("error.type", kind)));
    all
}

/// Of a server's span only what is the server's fault is an error.
fn error_type(record: &RequestRecord<'_>) -> Option<String> {
    match record.rejection {
        _ if record.status < 500 => None,
        Some(rejection) => Some(rejection.reason().code().to_owned()),
        None => Some(record.status.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const UNSAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    #[test]
    fn a_received_trace_is_obeyed() {
        let mut next = 0xaa;
        let begun = begin(SAMPLED, true, 0.0, || {
            next += 1;
            next
        });
        let span = begun.span.unwrap();
        assert_eq!(span.parent.to_string(), "00f067aa0ba902b7");
        assert_eq!(span.id.to_string(), "00000000000000ab");
        assert_eq!(span.attempt.to_string(), "00000000000000ac");
        assert_eq!(
            begun.traceparent.unwrap(),
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00000000000000ac-01"
        );
        let begun = begin(UNSAMPLED, true, 1.0, || 0xab);
        assert_eq!((begun.span, begun.traceparent), (None, None));
    }

    #[test]
    fn of_the_others_a_share_is_sampled() {
        let begun = begin(SAMPLED, false, 1.0, || 0xab);
        assert_eq!(begun.span.unwrap().id.to_string(), "00000000000000ab");
        assert_eq!(begun.span.unwrap().attempt.to_string(), "00f067aa0ba902b7");
        assert_eq!(
            (begun.span.unwrap().parent, begun.traceparent),
            (SpanId::INVALID, None)
        );
        let begun = begin(SAMPLED, false, 0.0, || 0xab);
        assert_eq!(
            (begun.span, begun.traceparent.as_deref()),
            (None, Some(UNSAMPLED))
        );
        // The share is of the traces, evenly: a quarter of these.
        let sampled = (0_u64..1000).filter(|n| {
            let low = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            is_sampled(TraceId::from((1_u128 << 64) | u128::from(low)), 0.25)
        });
        assert!((200..300).contains(&sampled.count()));
    }

    #[test]
    fn what_is_no_traceparent_is_no_trace() {
        for text in [
            "",
            "00-",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-",
            "xx-é",
        ] {
            let begun = begin(text, true, 1.0, || 1);
            assert_eq!((begun.span, begun.traceparent), (None, None), "{text}");
        }
    }
}
