//! The life of one request, from its head to the record of it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use prometheus::IntGauge;

use super::Process;
use super::live::Live;
use crate::pipeline::{self, Findings, Forward, Read, Routed, Undecided};
use crate::policy::limit::Now;
use crate::policy::verify::Said;
use crate::request::body::{Bounds, Gathering, Held};
use crate::request::head::RequestHead;
use crate::request::outline::Outline;
use crate::response::page::Audience;
use crate::response::rejection::Rejection;
use crate::response::reply::Reply;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::record::{RequestRecord, UpstreamPart, UpstreamRecord};
use crate::telemetry::traces::{self, Span};
use crate::telemetry::{access_log, count};
use crate::upstream::attempts::Attempted;
use crate::upstream::caller::{Caller, Peer};

/// How often a request that is held back looks whether the process drains.
const TURN_STEP: Duration = Duration::from_millis(250);

/// One that a limit holds back.
struct HeldBack<'m>(&'m IntGauge);

impl<'m> HeldBack<'m> {
    fn begin(all: &'m IntGauge) -> HeldBack<'m> {
        all.inc();
        HeldBack(all)
    }
}

impl Drop for HeldBack<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// How a request ended.
enum End {
    /// It has not: whoever held it was dropped.
    UnderWay,
    /// The server's answer went back whole.
    Answered,
    /// The gateway answered, or would have if the client had waited; or the server's answer broke off.
    Refused(Rejection),
}

/// What the client got.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// The status, once the head of the final answer was written.
    pub status: Option<u16>,
    /// Bytes of its body that were written.
    pub bytes: usize,
}

/// A request that can not be decided yet.
pub enum Unsettled<'r> {
    /// An authorization server has to say first whose call it is.
    Caller(Box<Read<'r>>),
    /// The store has to say first, by which limits are shared.
    Store(Box<Undecided<'r>>),
}

/// One request. It is recorded when it is dropped, once, whatever became of it.
pub struct Request {
    process: Arc<Process>,
    /// The configuration that it was met with, to its end.
    pub live: Arc<Live>,
    started: Instant,
    method: &'static str,
    host: Option<HeaderValue>,
    path: Bytes,
    peer: Peer,
    caller: Caller,
    route: Option<usize>,
    findings: Findings,
    /// Of what observe mode let through.
    outline: Option<Box<Outline>>,
    body: Option<Bytes>,
    held: Held,
    waits: Duration,
    overhead: Option<Duration>,
    upstream: Option<UpstreamPart>,
    span: Option<Span>,
    bytes_in: usize,
    sent: Sent,
    end: End,
}

impl Request {
    /// A request whose head was complete at this moment: one snapshot, taken here and nowhere else.
    pub fn begin(
        process: &Arc<Process>,
        method: &Method,
        headers: &HeaderMap,
        peer: Peer,
        at: Instant,
    ) -> Box<Request> {
        let live = process.live.load_full();
        let mut caller = Caller::of(peer, headers, &live.env().trusted, rand::random);
        let span = live.traces.as_ref().and_then(|_| {
            let share = live.snapshot.loaded.settings.traces.sample;
            let received = caller.traceparent_received;
            let begun = traces::begin(caller.begin_trace(rand::random), received, share, rand::random);
            if let Some(traceparent) = begun.traceparent {
                caller.set_traceparent(traceparent);
            }
            begun.span
        });
        process.metrics.in_flight.inc();
        Box::new(Request {
            held: Held::none(&process.held),
            process: process.clone(),
            live,
            started: at,
            method: access_log::known_method(method),
            host: headers.get(header::HOST).cloned(),
            path: Bytes::new(),
            peer,
            caller,
            route: None,
            findings: Findings::default(),
            outline: None,
            body: None,
            waits: Duration::ZERO,
            overhead: None,
            upstream: None,
            span,
            bytes_in: 0,
            sent: Sent::default(),
            end: End::UnderWay,
        })
    }

    /// The id that the client and the server are told.
    pub fn id(&self) -> &str {
        &self.caller.request_id
    }

    /// Whether the connection ends with it.
    pub fn is_draining(&self) -> bool {
        self.process.is_draining()
    }

    /// The body of a held call; empty where none is held.
    pub fn body(&self) -> Bytes {
        self.body.clone().unwrap_or_default()
    }

    /// What goes back where it is refused: head and body, for who sent these headers and this query.
    pub fn refusal(
        &self,
        rejection: &Rejection,
        method: &Method,
        headers: &HeaderMap,
        query: &[u8],
    ) -> (Reply, Bytes) {
        let audience = Audience {
            headers,
            query,
            body: self.body.as_deref().unwrap_or_default(),
            to_head: *method == Method::HEAD,
            request_id: self.id(),
            page: self.live.env().widget.refusal_page.as_deref(),
        };
        Reply::of_rejection(rejection, &audience)
    }

    /// Finds the route by the head alone, and asks the limits that need no more.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn route<'l>(&mut self, head: &RequestHead, live: &'l Live) -> Result<Routed<'l>, Rejection> {
        self.path = head.target.path_of_line();
        // It has just begun.
        let now = self.started.saturating_duration_since(self.process.epoch);
        match pipeline::route(head, &self.caller, now, live.env()) {
            Ok(routed) => {
                self.route = Some(routed.route_index);
                // Until they are asked further: the body may never come.
                self.findings.limits = routed.limits();
                Ok(routed)
            }
            Err(unrouted) => {
                self.route = unrouted.route_index;
                self.findings.limits = unrouted.limits;
                Err(unrouted.rejection)
            }
        }
    }

    /// A body within its bounds, of which nothing has come.
    pub fn gathering(&mut self, bounds: Bounds) -> Gathering<'_> {
        Gathering::new(bounds, &mut self.held)
    }

    /// The whole body is there.
    pub fn holds(&mut self, body: Bytes) {
        self.bytes_in = body.len();
        self.body = Some(body);
    }

    /// Reads it, with the held body that is there, and decides what was read.
    ///
    /// # Errors
    /// Where somebody has to be asked first.
    pub fn judge<'r>(
        &mut self,
        routed: Routed<'_>,
        head: &'r RequestHead,
    ) -> Result<Result<Box<Forward>, Rejection>, Unsettled<'r>> {
        let body = self.body.as_deref().unwrap_or_default();
        let read = pipeline::read(routed, head, body, self.live.env());
        match read.asks() {
            Some(_) => Err(Unsettled::Caller(Box::new(read))),
            None => self.decide(read, None, head),
        }
    }

    /// Decides what was read, with the answer to its question, where it asks one.
    ///
    /// # Errors
    /// Where only the store that limits are shared by can tell: then it is decided again, with what that says.
    pub fn decide<'r>(
        &mut self,
        read: Read<'r>,
        said: Option<&Said>,
        head: &RequestHead,
    ) -> Result<Result<Box<Forward>, Rejection>, Unsettled<'r>> {
        let now = self.process.epoch.elapsed();
        let env = self.live.env();
        let decision =
            pipeline::decide(read, said, self.peer, &self.caller, now, env).map_err(Unsettled::Store)?;
        if !decision.findings.would_reject.is_empty() {
            let body = self.body.as_deref().unwrap_or_default();
            self.outline = Some(Box::new(pipeline::outline(head, body, env)));
        }
        self.route = Some(decision.route_index);
        self.findings = decision.findings;
        Ok(decision.result.map(Box::new))
    }

    /// Time that was not the gateway's own: it waited for somebody else.
    pub fn waited(&mut self, span: Duration) {
        self.waits += span;
    }

    /// Waits until this moment, or less long where the process drains meanwhile: half of its grace period is left
    /// for the answer. Leaving the wait ends it.
    pub async fn turn(&self, at: Now) {
        let _held_back = HeldBack::begin(&self.process.metrics.held_back);
        let grace = self.process.server.grace_period;
        let mut until = at;
        let mut is_told = false;
        loop {
            let now = self.process.epoch.elapsed();
            if !is_told && self.process.is_draining() {
                is_told = true;
                until = until.min(now.saturating_add(grace / 2));
            }
            match until.saturating_sub(now) {
                Duration::ZERO => return,
                left => tokio::time::sleep(left.min(TURN_STEP)).await,
            }
        }
    }

    /// Stops the clock of the gateway's own time.
    pub fn own_time_ends(&mut self) {
        self.overhead
            .get_or_insert(self.started.elapsed().saturating_sub(self.waits));
    }

    /// The upstream's time begins with the first connect.
    pub fn upstream_begins(&mut self) {
        self.upstream.get_or_insert_with(|| UpstreamPart {
            since: Instant::now(),
            retries: 0,
            status: None,
            attempted: Attempted::default(),
        });
    }

    /// So many connects beyond the first.
    pub fn upstream_retried(&mut self, retries: u32) {
        if let Some(part) = &mut self.upstream {
            part.retries += retries;
        }
    }

    /// The head of an answer came; an interim one is not the answer.
    pub fn upstream_answered(&mut self, status: u16) {
        if let Some(part) = &mut self.upstream
            && (status >= 200 || status == 101)
        {
            part.status = Some(status);
        }
    }

    /// Who was asked, and what became of it.
    pub fn upstream_ended(&mut self, attempted: Attempted) {
        if let Some(part) = &mut self.upstream {
            part.attempted = attempted;
        }
    }

    /// Bytes of a body that was streamed.
    pub fn streamed(&mut self, bytes: usize) {
        self.bytes_in = bytes;
    }

    /// The server's answer went back whole.
    pub fn answered(mut self: Box<Self>, sent: Sent) {
        (self.end, self.sent) = (End::Answered, sent);
    }

    /// It was refused, or its answer broke off, and this is what the client got of it.
    pub fn refused(mut self: Box<Self>, rejection: Rejection, sent: Sent) {
        (self.end, self.sent) = (End::Refused(rejection), sent);
    }

    fn record(&self, rejection: Option<&Rejection>) {
        let Process {
            metrics,
            top,
            log,
            notices,
            observed,
            epoch,
            ..
        } = &*self.process;
        let findings = &self.findings;
        let outcome = match rejection {
            Some(rejection) => Outcome::of(rejection.reason()),
            None if findings.would_reject.is_empty() => Outcome::Forwarded,
            None => Outcome::Observed,
        };
        let now = Instant::now();
        let route = self.route.and_then(|at| self.live.env().routes.all().get(at));
        let upstream = self.upstream.as_ref().zip(route);
        let record = RequestRecord {
            request_id: self.id(),
            trace_id: self.caller.trace_id(),
            method: self.method,
            host: self.host.as_ref().and_then(|host| host.to_str().ok()),
            path: std::str::from_utf8(&self.path)
                .ok()
                .filter(|path| !path.is_empty()),
            route: route.map(|route| &*route.name),
            message: findings.message,
            series: self.live.series.route(self.route),
            outcome,
            rejection,
            would_reject: &findings.would_reject,
            faults: &findings.faults,
            limits: &findings.limits,
            verdict: findings.verdict,
            member_id: findings.member_id.as_ref(),
            domain: findings.domain.as_ref(),
            placement: findings.placement.as_ref(),
            client: self.caller.client,
            scheme_replaced: self.caller.scheme_replaced,
            origin_differs: findings.origin_differs,
            // What the client was told, where that was an answer which then broke off.
            status: match (self.sent.status, rejection) {
                (Some(sent), _) => sent,
                (None, Some(rejection)) => rejection.status(),
                (None, None) => 0,
            },
            duration: now.saturating_duration_since(self.started),
            overhead: self.overhead,
            held: self.body.as_ref().map(Bytes::len),
            bytes_in: self.bytes_in,
            bytes_out: self.sent.bytes,
            upstream: upstream
                .zip(self.live.series.upstream(self.route))
                .map(|((part, route), series)| UpstreamRecord {
                    name: &route.upstream,
                    series,
                    duration: now.saturating_duration_since(part.since),
                    part,
                }),
        };
        count::count(metrics, &record);
        notices.warn(log, &record, now.saturating_duration_since(*epoch));
        if let (Some(route), Some(outline)) = (route, &self.outline) {
            observed.count(&route.name, &record, outline, SystemTime::now());
        }
        if let Some(member) = &findings.member_id {
            let now = now.saturating_duration_since(*epoch);
            top.count(member, findings.domain.as_ref(), findings.limits.is_over(), now);
        }
        if let (Some(traces), Some(span)) = (&self.live.traces, &self.span) {
            traces.end(span, &record);
        }
        if !self.is_sampled_out(&record) {
            access_log::write(log, &record);
        }
    }

    /// Whether its line is left out: never one of a 5xx, nor one that observe mode has something to say in.
    fn is_sampled_out(&self, record: &RequestRecord<'_>) -> bool {
        let log = &self.live.snapshot.loaded.settings.log;
        let share = match record.outcome {
            _ if record.status >= 500 => 1.0,
            Outcome::Forwarded => log.sample_forwarded,
            Outcome::Rejected | Outcome::Limited => log.sample_refused,
            Outcome::Observed | Outcome::UpstreamError | Outcome::ClientClosed => 1.0,
        };
        share < 1.0 && rand::random::<f64>() >= share
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.process.metrics.in_flight.dec();
        match &self.end {
            End::Answered => self.record(None),
            End::Refused(rejection) => self.record(Some(rejection)),
            End::UnderWay if std::thread::panicking() => self.record(Some(&Rejection::InternalError)),
            End::UnderWay => self.record(Some(&Rejection::ClientClosed)),
        }
    }
}

#[cfg(test)]
mod tests;
