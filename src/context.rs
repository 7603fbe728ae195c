//! The life of one request, from its head to the line that tells of it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntGauge;

use crate::pipeline::{self, Env, Findings, Forward, Head, Opened};
use crate::process::live::Live;
use crate::request::body::{Held, HeldBodies};
use crate::response::rejection::Rejection;
use crate::telemetry::traces::Span;
use crate::upstream::origin::Origin;

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
    /// A request whose head was complete at this moment.
    pub fn new(live: Arc<Live>, started: Instant, held: &Arc<HeldBodies>, in_flight: &IntGauge) -> Context {
        in_flight.inc();
        Context {
            live,
            started,
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

    /// Empty before the origin is known.
    pub fn request_id(&self) -> &str {
        self.origin.as_ref().map_or("", |origin| &origin.request_id)
    }

    /// Judges the head and keeps its route.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn open<'e>(&mut self, head: &Head<'_>, env: &'e Env) -> Result<Opened<'e>, Rejection> {
        let opened = pipeline::open(head, env).map_err(|(route, rejection)| {
            self.route = route;
            rejection
        })?;
        self.route = Some(opened.route_index);
        Ok(opened)
    }

    /// The upstream's time begins with the first connect.
    pub fn upstream_begins(&mut self) {
        self.upstream.get_or_insert_with(|| UpstreamPart {
            since: Instant::now(),
            retries: 0,
            status: None,
        });
    }

    /// The head of an answer came; an interim one is not the answer.
    pub fn upstream_answered(&mut self, status: u16) {
        if let Some(part) = &mut self.upstream
            && status >= 200
        {
            part.status = Some(status);
        }
    }

    /// After a failed connect: whether there is another server, to which the request may go.
    pub fn next_server(&mut self) -> bool {
        let (Stage::Forwarded(forward), Some(part)) = (&mut self.stage, &mut self.upstream) else {
            return false;
        };
        if let Some(server) = forward.target.server() {
            server.set_up(false);
        }
        let again = forward.target.try_next();
        part.retries += u32::from(again);
        again
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
