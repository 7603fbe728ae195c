//! What is told: metric families, the log, and the one place that feeds both for a request.

pub mod access_log;
pub mod log;
pub mod metrics;
pub mod notice;
pub mod placement;
pub mod recent;
pub mod top;
pub mod traces;

use std::time::Duration;

use crate::policy::Mode;
use crate::request::field::FieldFault;
use crate::request::message::Kind;
use crate::response::rejection::{Reason, Rejection};
use metrics::{Metrics, RouteSeries, UpstreamSeries};

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
            | Reason::UnexpectedMessage
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

/// One ended request, for the metrics.
pub struct Ended<'a> {
    /// Of the route, or of `none`.
    pub route: &'a RouteSeries,
    /// How.
    pub outcome: Outcome,
    /// Why, where the gateway answered.
    pub rejection: Option<&'a Rejection>,
    /// What observe mode let through.
    pub would_reject: &'a [Rejection],
    /// Faults of fields.
    pub faults: &'a [FieldFault],
    /// What the limiter said: allowed, or over the quota in this mode.
    pub limiter: Option<Result<(), Mode>>,
    /// What the message was recognized as, refused or not.
    pub message: Option<Kind>,
    /// The placement's label, of a validated call.
    pub placement: Option<&'static str>,
    /// Whether what an untrusted peer said of the client's connection was replaced.
    pub scheme_replaced: bool,
    /// Bytes of a body that was held.
    pub body_bytes: Option<usize>,
    /// From the complete head to the end.
    pub duration: Duration,
    /// The gateway's own share, see [`metrics`].
    pub overhead: Option<Duration>,
    /// The upstream's share, if it was asked.
    pub upstream: Option<UpstreamEnded<'a>>,
}

/// The upstream's part of an ended request.
pub struct UpstreamEnded<'a> {
    /// Whose.
    pub series: &'a UpstreamSeries,
    /// From the first connect to the end of the answer.
    pub duration: Duration,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// Connects beyond the first.
    pub retries: u32,
}

/// Counts an ended request. Every family of requests is fed here and nowhere else.
pub fn count(metrics: &Metrics, ended: &Ended<'_>) {
    let route = ended.route;
    route.requests(ended.outcome).inc();
    route
        .duration(ended.outcome)
        .observe(ended.duration.as_secs_f64());
    if let Some(rejection) = ended.rejection {
        route.rejections(rejection.reason(), Mode::Enforce).inc();
    }
    for rejection in ended.would_reject {
        route.rejections(rejection.reason(), Mode::Observe).inc();
    }
    for fault in ended.faults {
        metrics.field_fault(*fault).inc();
    }
    if let Some(said) = ended.limiter {
        metrics.limiter_decision(said).inc();
    }
    if let Some(message) = ended.message {
        route.messages(message).inc();
    }
    metrics
        .forwarding_headers_replaced
        .inc_by(ended.scheme_replaced.into());
    if let Some(placement) = ended.placement {
        metrics.placement(placement).inc();
    }
    if let Some(bytes) = ended.body_bytes {
        route.body_bytes.observe(bytes as f64);
    }
    if let Some(overhead) = ended.overhead {
        route.overhead.observe(overhead.as_secs_f64());
    }
    if let Some(upstream) = &ended.upstream {
        upstream.series.duration.observe(upstream.duration.as_secs_f64());
        upstream.series.retries.inc_by(u64::from(upstream.retries));
        if let Some(status) = upstream.status {
            upstream.series.responses(status).inc();
        }
    }
}
