//! The life of one request, from its head to the line that tells of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method};
use prometheus::IntGauge;

use crate::pipeline::{Findings, Forward};
use crate::request::body::{Held, HeldBodies};
use crate::response::rejection::Rejection;
use crate::server::live::Live;
use crate::telemetry::traces::Span;
use crate::upstream::headers::Origin;

/// What the connection hands over with a request on HTTP/1.
pub struct Arrival {
    /// When the head was complete.
    pub at: Instant,
    /// The head is refused; the engine then holds a stand-in for it.
    pub refused: Option<RefusedHead>,
}

/// What is kept of a refused head.
pub struct RefusedHead {
    /// Why.
    pub rejection: Rejection,
    /// Its method, if that could be read and is a registered one.
    pub method: Option<Method>,
    /// What the client would like to get.
    pub accept: Option<HeaderValue>,
}

/// Where the request stands.
pub enum Stage {
    /// Its head is there.
    Arrived,
    /// It goes to its upstream.
    Forwarded(Box<Forward>),
    /// The gateway answered, or would have if the client had waited.
    Refused(Rejection),
}

/// One request.
pub struct Context {
    /// The configuration that it was met with, to its end.
    pub live: Arc<Live>,
    /// When its head was complete.
    pub started: Instant,
    /// Why its head was refused before the engine saw it.
    pub refused_at_door: Option<Rejection>,
    /// Where it stands.
    pub stage: Stage,
    /// Who is calling.
    pub origin: Option<Origin>,
    /// When its answer was written, where that was before its end.
    pub answered: Option<Duration>,
    /// Index of its route.
    pub route: Option<usize>,
    /// What was found in it.
    pub findings: Findings,
    /// The held body, of a widget route.
    pub body: Option<Bytes>,
    /// Its share of all held bodies.
    pub held: Held,
    /// Time spent waiting for the body.
    pub body_wait: Duration,
    /// The gateway's own time, once it is over.
    pub overhead: Option<Duration>,
    /// The upstream's part, once it was asked.
    pub upstream: Option<UpstreamPart>,
    /// Its span, if it is traced.
    pub span: Option<Span>,
    in_flight: IntGauge,
}

/// The upstream's part.
pub struct UpstreamPart {
    /// When the first connect began.
    pub since: Instant,
    /// Connects beyond the first.
    pub retries: u32,
    /// The status, once there is one.
    pub status: Option<u16>,
}

impl Context {
    /// A request whose head is there now.
    pub fn new(live: Arc<Live>, held: &Arc<HeldBodies>, in_flight: &IntGauge) -> Context {
        in_flight.inc();
        Context {
            live,
            started: Instant::now(),
            refused_at_door: None,
            stage: Stage::Arrived,
            origin: None,
            answered: None,
            route: None,
            findings: Findings::default(),
            body: None,
            held: Held::none(held),
            body_wait: Duration::ZERO,
            overhead: None,
            upstream: None,
            span: None,
            in_flight: in_flight.clone(),
        }
    }

    /// The client's address.
    pub fn client(&self) -> IpAddr {
        self.origin
            .as_ref()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |origin| origin.client)
    }

    /// Stops the clock of the gateway's own time.
    pub fn own_time_ends(&mut self) {
        self.overhead
            .get_or_insert(self.started.elapsed().saturating_sub(self.body_wait));
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        self.in_flight.dec();
    }
}
