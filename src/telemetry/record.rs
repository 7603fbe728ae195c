//! What is told of a request once it has ended. Metric, log line and span each take it apart in full, so that
//! a new fact of a request is a decision for each of them.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::metrics::{RouteSeries, UpstreamSeries};
use super::outcome::Outcome;
use crate::policy::limit::Decisions;
use crate::policy::verify::Verdict;
use crate::request::field::{Domain, FieldFault, MemberId, Placement};
use crate::request::message::Kind;
use crate::response::rejection::Rejection;
use crate::upstream::attempts::Attempted;

/// One ended request.
pub struct RequestRecord<'a> {
    /// The id in the answer of a refusal and in the upstream's request.
    pub request_id: &'a str,
    /// Of the trace the request belongs to; empty where none is known.
    pub trace_id: &'a str,
    /// One of the registered methods, or `_OTHER`.
    pub method: &'static str,
    /// As the request says it.
    pub host: Option<&'a str>,
    /// As it came, without the query; none where there was no sound target.
    pub path: Option<&'a str>,
    /// The route's name; none where no route was found.
    pub route: Option<&'a str>,
    /// What it was recognized as, refused or not.
    pub message: Option<Kind>,
    /// The series of the route, or of `none`.
    pub series: &'a RouteSeries,
    /// How it ended.
    pub outcome: Outcome,
    /// Why, where the gateway answered or the answer broke off.
    pub rejection: Option<&'a Rejection>,
    /// What observe mode let through.
    pub would_reject: &'a [Rejection],
    /// Faults of fields.
    pub faults: &'a [FieldFault],
    /// What the limits said, as far as they were asked.
    pub limits: &'a Decisions,
    /// Who is calling; none where nobody was verified.
    pub verdict: Option<Verdict>,
    /// Validated.
    pub member_id: Option<&'a MemberId>,
    /// Validated, normalized.
    pub domain: Option<&'a Domain>,
    /// Validated.
    pub placement: Option<&'a Placement>,
    /// The client's address.
    pub client: IpAddr,
    /// Whether the browser named another host than the portal's as the sender.
    pub origin_differs: bool,
    /// Whether what an untrusted peer said of the client's connection was replaced.
    pub scheme_replaced: bool,
    /// What the client got; 499 where it did not wait for an answer.
    pub status: u16,
    /// From the complete head to the end of the answer.
    pub duration: Duration,
    /// The gateway's own share of it.
    pub overhead: Option<Duration>,
    /// Bytes of a body that was held.
    pub held: Option<usize>,
    /// Bytes of the body that came.
    pub bytes_in: usize,
    /// Bytes of the answer's body that were sent.
    pub bytes_out: usize,
    /// The upstream's part, if it was asked.
    pub upstream: Option<UpstreamRecord<'a>>,
}

/// The upstream's part of an ended request.
pub struct UpstreamRecord<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its series.
    pub series: &'a UpstreamSeries,
    /// From the first connect to the end of the answer.
    pub duration: Duration,
    /// What it did.
    pub part: &'a UpstreamPart,
}

/// What an upstream did for a request.
pub struct UpstreamPart {
    /// When the first connect began.
    pub since: Instant,
    /// Connects beyond the first.
    pub retries: u32,
    /// The status, if there was an answer.
    pub status: Option<u16>,
    /// Who was asked, and how each attempt ended.
    pub attempted: Attempted,
}
