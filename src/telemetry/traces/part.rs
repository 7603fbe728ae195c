//! What every span has, and what differs from one to the other.

use std::time::SystemTime;

use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

/// What differs from span to span.
pub(super) struct Part {
    pub(super) id: SpanId,
    pub(super) parent: SpanId,
    pub(super) kind: SpanKind,
    pub(super) name: String,
    pub(super) between: (SystemTime, SystemTime),
    pub(super) attributes: Vec<KeyValue>,
    pub(super) is_error: bool,
}

impl Part {
    /// As it is sent.
    pub(super) fn of(self, trace: TraceId) -> SpanData {
        SpanData {
            span_context: SpanContext::new(trace, self.id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: self.parent,
            parent_span_is_remote: self.kind == SpanKind::Server && self.parent != SpanId::INVALID,
            span_kind: self.kind,
            name: self.name.into(),
            start_time: self.between.0,
            end_time: self.between.1,
            attributes: self.attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: match self.is_error {
                true => Status::error(""),
                false => Status::Unset,
            },
            instrumentation_scope: InstrumentationScope::builder(env!("CARGO_PKG_NAME"))
                .with_version(env!("CARGO_PKG_VERSION"))
                .build(),
        }
    }
}
