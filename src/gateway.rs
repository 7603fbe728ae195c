//! What every request goes through, whichever way it came: it arrives, is opened, decided and told of.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::HeaderMap;
use pingora::{Error, ErrorSource, ErrorType};

use crate::context::{Context, Stage};
use crate::pipeline::{self, Env, Head, Opened};
use crate::process::live::Live;
use crate::request::body::{self, HeldBodies};
use crate::request::front_door;
use crate::response::rejection::{BrokenForm, Rejection};
use crate::telemetry::access_log::{self, AccessLine};
use crate::telemetry::log::LogSink;
use crate::telemetry::metrics::{Metrics, NO_ROUTE};
use crate::telemetry::notice::Notices;
use crate::telemetry::top::Top;
use crate::telemetry::{self, Ended, Outcome, UpstreamEnded, placement};
use crate::upstream::origin::{Origin, Peer};

/// What all requests share.
pub struct Gateway {
    /// The configuration in force.
    pub live: Arc<ArcSwap<Live>>,
    /// Every family.
    pub metrics: Arc<Metrics>,
    /// Who is busy.
    pub top: Arc<Top>,
    /// Where lines go.
    pub log: LogSink,
    /// What is told in words, seldom.
    pub notices: Notices,
    /// All held bodies.
    pub held: Arc<HeldBodies>,
    /// The moment that the limiter's time counts from.
    pub epoch: Instant,
    /// Set once the process drains.
    pub draining: Arc<AtomicBool>,
}

/// What the client got, and what it cost.
pub struct Answered {
    /// A registered method, or `_OTHER`.
    pub method: &'static str,
    /// Of the answer; 0 where there was none.
    pub status: u16,
    /// Of the request's body.
    pub bytes_in: usize,
    /// Of the answer's body.
    pub bytes_out: usize,
}

impl Gateway {
    /// A request whose head was complete at this moment.
    pub fn arrive(&self, live: Arc<Live>, at: Instant) -> Context {
        Context::new(live, at, &self.held, &self.metrics.in_flight)
    }

    /// Whether connections end with the request they have.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Finds out who is calling.
    pub fn meet(&self, ctx: &mut Context, peer: Peer, headers: &HeaderMap) {
        let trusted = &ctx.live.env().trusted;
        ctx.origin = Some(Origin::of(peer, headers, trusted, rand::random));
        ctx.span_begins();
    }

    /// Decides a request whose body is there.
    ///
    /// # Errors
    /// Where it is refused.
    pub fn decide(
        &self,
        ctx: &mut Context,
        opened: &Opened<'_>,
        head: &Head<'_>,
        env: &Env,
    ) -> Result<(), Rejection> {
        let Some(origin) = &ctx.origin else {
            return Err(Rejection::InternalError);
        };
        let body = ctx.body.as_deref().unwrap_or_default();
        let decision = pipeline::decide(opened, head, origin, body, self.epoch.elapsed(), env);
        ctx.findings = decision.findings;
        ctx.stage = Stage::Forwarded(Box::new(decision.verdict?));
        Ok(())
    }

    /// Whether the line of a forwarded request is left out: never one of a refusal or of a 5xx.
    fn is_sampled_out(&self, ctx: &Context, outcome: Outcome, status: u16) -> bool {
        let share = ctx.live.snapshot.settings.log.sample_forwarded;
        outcome == Outcome::Forwarded && status < 500 && share < 1.0 && rand::random::<f64>() >= share
    }

    /// The one place where a request is told of.
    pub fn tell(&self, ctx: &Context, answered: &Answered) {
        let findings = &ctx.findings;
        let rejection = match &ctx.stage {
            Stage::Refused(rejection) => Some(rejection),
            Stage::Arrived | Stage::Forwarded(_) => None,
        };
        let outcome = match rejection {
            Some(rejection) => Outcome::of(rejection.reason()),
            None if findings.would_reject.is_empty() => Outcome::Forwarded,
            None => Outcome::Observed,
        };
        let now = Instant::now();
        let duration = ctx
            .answered
            .unwrap_or_else(|| now.saturating_duration_since(ctx.started));
        let upstream = ctx
            .upstream
            .as_ref()
            .map(|part| (part, now.saturating_duration_since(part.since)));
        let route = ctx.route.and_then(|at| ctx.live.env().routes.all().get(at));
        let upstream_name = route.map(|route| &route.upstream);
        let placement = findings
            .placement
            .as_ref()
            .filter(|_| findings.member_id.is_some());
        let scheme_replaced = ctx.origin.as_ref().is_some_and(|origin| origin.scheme_replaced);
        let since = now.saturating_duration_since(self.epoch);
        let route_name = route.map_or(NO_ROUTE, |route| &route.name);
        for rejection in rejection.into_iter().chain(&findings.would_reject) {
            self.notices.unexpected(&self.log, rejection, route_name, since);
        }
        if scheme_replaced {
            self.notices.scheme_replaced(&self.log, ctx.client(), since);
        }
        telemetry::count(
            &self.metrics,
            &Ended {
                route: ctx.live.series.route(ctx.route),
                outcome,
                rejection,
                would_reject: &findings.would_reject,
                faults: &findings.faults,
                limiter: findings.limiter.map(|said| match said {
                    pipeline::LimiterSaid::Allowed => Ok(()),
                    pipeline::LimiterSaid::Limited(mode) => Err(mode),
                }),
                message: findings.message,
                placement: placement.map(|placement| placement::label(placement.as_str())),
                scheme_replaced,
                body_bytes: ctx.body.as_ref().map(Bytes::len),
                duration,
                overhead: ctx.overhead,
                upstream: upstream.zip(ctx.live.series.upstream(ctx.route)).map(
                    |((part, duration), series)| UpstreamEnded {
                        series,
                        duration,
                        status: part.status,
                        retries: part.retries,
                    },
                ),
            },
        );
        if let Some(member) = &findings.member_id {
            let was_limited = matches!(findings.limiter, Some(pipeline::LimiterSaid::Limited(_)));
            self.top
                .count(member, findings.domain.as_ref(), was_limited, since);
        }
        let status = match rejection {
            Some(rejection) => rejection.reason().status(),
            None => answered.status,
        };
        ctx.span_ends(outcome, status, answered.method);
        if self.is_sampled_out(ctx, outcome, status) {
            return;
        }
        let trace_id = ctx.origin.as_ref().map_or("", Origin::trace_id);
        access_log::write(
            &self.log,
            &AccessLine {
                request_id: ctx.request_id(),
                trace_id,
                route: route_name,
                message: findings.message,
                method: answered.method,
                outcome,
                rejection,
                would_reject: &findings.would_reject,
                status,
                errors: &findings.faults,
                member_id: findings.member_id.as_ref(),
                domain: findings.domain.as_ref().map(|domain| domain.as_str()),
                placement: findings.placement.as_ref().map(|placement| placement.as_str()),
                client: ctx.client(),
                duration,
                upstream: upstream_name
                    .zip(upstream)
                    .map(|(name, (_, duration))| (&**name, duration)),
                bytes_in: answered.bytes_in,
                bytes_out: answered.bytes_out,
            },
        );
    }
}

/// What an error of the engine means.
pub fn rejection_of(error: &Error) -> Rejection {
    use ErrorType::{
        BindError, ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, InternalError,
        InvalidHTTPHeader, ReadTimedout, SocketError, WriteTimedout,
    };
    if body::is_broken_chunks(error) {
        return Rejection::MalformedForm(BrokenForm::Chunks);
    }
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, InvalidHTTPHeader) => front_door::Malformed::Connection.into(),
        (ErrorSource::Downstream, _) => Rejection::ClientClosed,
        (
            ErrorSource::Upstream,
            ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | SocketError | BindError
            | InternalError,
        ) => Rejection::UpstreamUnavailable,
        (ErrorSource::Upstream, ReadTimedout | WriteTimedout) => Rejection::UpstreamTimeout,
        (ErrorSource::Upstream, _) => Rejection::UpstreamError,
        (ErrorSource::Internal | ErrorSource::Unset, _) => Rejection::InternalError,
    }
}
