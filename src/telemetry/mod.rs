//! What is told: metric families, the log, and the one place that feeds both for a request.

pub mod access_log;
pub mod log;
pub mod metrics;
pub mod placement;
pub mod recent;
pub mod record;
pub mod top;
pub mod traces;

use crate::policy::Mode;
use crate::response::rejection::Reason;
use metrics::Metrics;
use record::{RequestRecord, UpstreamRecord};

/// How a request ended: the label `outcome`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Outcome {
    /// The upstream's answer went back whole.
    Forwarded,
    /// The same, and observe mode had something to say.
    Observed,
    /// The gateway refused.
    Rejected,
    /// The limiter refused.
    Limited,
    /// The upstream could not be reached, or failed to answer.
    UpstreamError,
    /// The client went away.
    ClientClosed,
}

impl Outcome {
    /// Every outcome, in the order of the variants.
    pub const ALL: [Outcome; 6] = [
        Outcome::Forwarded,
        Outcome::Observed,
        Outcome::Rejected,
        Outcome::Limited,
        Outcome::UpstreamError,
        Outcome::ClientClosed,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            Outcome::Forwarded => "forwarded",
            Outcome::Observed => "observed",
            Outcome::Rejected => "rejected",
            Outcome::Limited => "limited",
            Outcome::UpstreamError => "upstream_error",
            Outcome::ClientClosed => "client_closed",
        }
    }

    /// The outcome that a refusal is.
    pub const fn of(reason: Reason) -> Outcome {
        match reason {
            Reason::RateLimited => Outcome::Limited,
            Reason::ClientClosed => Outcome::ClientClosed,
            Reason::UpstreamUnavailable | Reason::UpstreamError | Reason::UpstreamTimeout => {
                Outcome::UpstreamError
            }
            Reason::MalformedRequest
            | Reason::MalformedForm
            | Reason::AmbiguousField
            | Reason::MissingField
            | Reason::InvalidField
            | Reason::NotFound
            | Reason::MethodNotAllowed
            | Reason::BodyTimeout
            | Reason::LengthRequired
            | Reason::BodyTooLarge
            | Reason::UriTooLong
            | Reason::HeaderTooLarge
            | Reason::UnsupportedMediaType
            | Reason::NotImplemented
            | Reason::Overloaded
            | Reason::InternalError => Outcome::Rejected,
        }
    }
}

/// Counts an ended request. Every family of requests is fed here and nowhere else.
pub fn count(metrics: &Metrics, record: &RequestRecord<'_>) {
    let RequestRecord {
        series,
        outcome,
        rejection,
        would_reject,
        faults,
        limiter,
        member_id,
        placement,
        duration,
        overhead,
        held,
        upstream,
        // Chosen by the client, or told elsewhere.
        request_id: _,
        trace_id: _,
        method: _,
        route: _,
        domain: _,
        client: _,
        status: _,
        age: _,
        bytes_in: _,
        bytes_out: _,
    } = record;
    series.requests(*outcome).inc();
    series.duration(*outcome).observe(duration.as_secs_f64());
    if let Some(rejection) = rejection {
        series.rejections(rejection.reason(), Mode::Enforce).inc();
    }
    for rejection in *would_reject {
        series.rejections(rejection.reason(), Mode::Observe).inc();
    }
    for fault in *faults {
        metrics.field_fault(*fault).inc();
    }
    if let Some(said) = limiter {
        metrics.limiter_decision(*said).inc();
    }
    if let (Some(placement), Some(_)) = (placement, member_id) {
        metrics.placement(placement::label(placement)).inc();
    }
    if let Some(bytes) = held {
        series.body_bytes.observe(*bytes as f64);
    }
    if let Some(overhead) = overhead {
        series.overhead.observe(overhead.as_secs_f64());
    }
    if let Some(UpstreamRecord {
        name: _,
        series,
        duration,
        status,
        retries,
    }) = upstream
    {
        series.duration.observe(duration.as_secs_f64());
        series.retries.inc_by(u64::from(*retries));
        if let Some(status) = status {
            series.responses(*status).inc();
        }
    }
}
