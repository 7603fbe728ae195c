//! The adapter to Pingora: one hook, one call. Nothing is decided here.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};

use crate::context::{Arrival, Context, RefusedHead, Stage, UpstreamPart};
use crate::pipeline::{self, BodyPlan, Head};
use crate::request::body::{self, Bounds, HeldBodies};
use crate::request::front_door;
use crate::response::rejection::{BrokenForm, Rejection};
use crate::response::reply;
use crate::server::live::Live;
use crate::telemetry::access_log::{self, AccessLine};
use crate::telemetry::log::LogSink;
use crate::telemetry::metrics::{Metrics, NO_ROUTE};
use crate::telemetry::top::Top;
use crate::telemetry::{self, Ended, Outcome, UpstreamEnded, placement};
use crate::upstream::headers::{Origin, Peer};
use crate::upstream::peer;

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
    /// All held bodies.
    pub held: Arc<HeldBodies>,
    /// The moment that the limiter's time counts from.
    pub epoch: Instant,
    /// Set once the process drains.
    pub draining: Arc<AtomicBool>,
}

impl Gateway {
    /// The way of a request up to its decision.
    async fn decide(&self, session: &mut Session, ctx: &mut Context) -> Result<(), Rejection> {
        let live = ctx.live.clone();
        let env = live.env();
        let peer = peer_of(session);
        name_host(session);
        ctx.origin = Some(Origin::of(
            peer,
            &session.req_header().headers,
            &env.trusted,
            rand::random,
        ));
        ctx.span_begins();
        let origin = ctx.origin.clone().ok_or(Rejection::InternalError)?;
        if let Some(refused) = ctx.refused_at_door.take() {
            return Err(refused);
        }
        if session.is_http2() {
            front_door::check_http2(session.req_header().raw_path(), &session.req_header().headers)?;
        }
        let opened = pipeline::open(&head_of(session, peer), env).map_err(|(route, rejection)| {
            ctx.route = route;
            rejection
        })?;
        ctx.route = Some(opened.route_index);
        if let BodyPlan::Hold { limit, within } = opened.body {
            let announced = front_door::announced_length(&session.req_header().headers);
            let bounds = Bounds {
                limit,
                within,
                held: env.widget.held_bodies,
                announced,
            };
            let waiting = Instant::now();
            let read = body::read(session, bounds, &mut ctx.held).await;
            ctx.body_wait = waiting.elapsed();
            ctx.body = Some(read?);
        }
        let body = ctx.body.as_deref().unwrap_or_default();
        let decision = pipeline::decide(
            &opened,
            &head_of(session, peer),
            &origin,
            body,
            self.epoch.elapsed(),
            env,
        );
        ctx.findings = decision.findings;
        ctx.stage = Stage::Forwarded(Box::new(decision.verdict?));
        Ok(())
    }

    async fn refuse(&self, session: &mut Session, ctx: &mut Context, rejection: Rejection) {
        ctx.own_time_ends();
        let request_id = ctx.origin.as_ref().map_or("", |origin| &origin.request_id);
        let written = match rejection {
            Rejection::ClientClosed => Ok(()),
            _ => reply::refuse(session, &rejection, request_id).await,
        };
        ctx.answered = Some(ctx.started.elapsed());
        if written.is_ok() {
            reply::drain_stream(session).await;
        }
        ctx.stage = Stage::Refused(match written {
            Ok(()) => rejection,
            Err(_) => Rejection::ClientClosed,
        });
        if matches!(ctx.stage, Stage::Refused(Rejection::ClientClosed)) {
            session.set_keepalive(None);
        }
    }
}

fn peer_of(session: &Session) -> Peer {
    let address = session
        .client_addr()
        .and_then(|address| address.as_inet())
        .map(std::net::SocketAddr::ip);
    let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    Peer {
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        tls,
    }
}

/// HTTP/2 names the host in `:authority`; everything behind reads it from Host.
fn name_host(session: &mut Session) {
    let head = session.req_header_mut();
    if !head.headers.contains_key(header::HOST)
        && let Some(authority) = head
            .uri
            .authority()
            .map(|authority| authority.as_str().to_owned())
    {
        let _ = head.insert_header(header::HOST, authority);
    }
}

fn head_of(session: &Session, peer: Peer) -> Head<'_> {
    let head = session.req_header();
    Head {
        method: &head.method,
        raw_target: head.raw_path(),
        headers: &head.headers,
        peer,
    }
}

/// What an error of the engine means.
fn rejection_of(error: &Error) -> Rejection {
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

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context::new(self.live.load_full(), &self.held, &self.metrics.in_flight)
    }

    fn on_connection_reuse(
        &self,
        session: &mut Session,
        ctx: &mut Context,
        handed_over: Box<dyn std::any::Any + Send + Sync>,
    ) {
        let Ok(arrival) = handed_over.downcast::<Arrival>() else {
            return;
        };
        ctx.started = arrival.at;
        if let Some(RefusedHead {
            rejection,
            method,
            accept,
        }) = arrival.refused
        {
            ctx.refused_at_door = Some(rejection);
            let stand_in = session.req_header_mut();
            stand_in.set_method(method.unwrap_or(Method::GET));
            if let Some(accept) = accept {
                let _ = stand_in.insert_header(header::ACCEPT, accept);
            }
        }
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut Context) -> Result<()> {
        if self.draining.load(Ordering::Relaxed) {
            session.set_keepalive(None);
        }
        Ok(())
    }

    async fn request_filter(&self, session: &mut Session, ctx: &mut Context) -> Result<bool> {
        match self.decide(session, ctx).await {
            Ok(()) => {
                ctx.own_time_ends();
                Ok(false)
            }
            Err(rejection) => {
                self.refuse(session, ctx, rejection).await;
                Ok(true)
            }
        }
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Context) -> Result<Box<HttpPeer>> {
        let Stage::Forwarded(forward) = &ctx.stage else {
            return Error::e_explain(ErrorType::InternalError, "no target");
        };
        ctx.upstream.get_or_insert(UpstreamPart {
            since: Instant::now(),
            retries: 0,
            status: None,
        });
        let server = forward
            .target
            .server()
            .ok_or_else(|| Error::explain(ErrorType::InternalError, "no server"))?;
        peer::of(server, forward.target.upstream()).map(Box::new)
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let (Stage::Forwarded(forward), Some(part)) = (&mut ctx.stage, &mut ctx.upstream) {
            if let Some(server) = forward.target.server() {
                server.set_up(false);
            }
            // Nothing was sent, so the next server may have the request.
            let again = forward.target.try_next();
            part.retries += u32::from(again);
            error.set_retry(again);
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        _reused: bool,
        _: &HttpPeer,
        _fd: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Stage::Forwarded(forward) = &ctx.stage
            && let Some(server) = forward.target.server()
        {
            server.set_up(true);
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        let Stage::Forwarded(forward) = &ctx.stage else {
            return Ok(());
        };
        for name in &forward.rewrite.remove {
            upstream.remove_header(name);
        }
        for (name, value) in &forward.rewrite.set {
            upstream.insert_header(*name, value)?;
        }
        // An origin server gets origin-form (RFC 9112 3.2.1): same path, same query, byte for byte.
        if let Some(origin_form) = front_door::origin_form(session.req_header().raw_path()) {
            upstream.set_raw_path(&origin_form)?;
        }
        Ok(())
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        piece: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(held) = &ctx.body {
            body::replay(held, piece, end);
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut Context,
    ) -> Result<()> {
        if let Some(part) = &mut ctx.upstream {
            part.status = Some(answer.status.as_u16())
                .filter(|&status| status >= 200)
                .or(part.status);
        }
        Ok(())
    }

    async fn fail_to_proxy(&self, session: &mut Session, error: &Error, ctx: &mut Context) -> FailToProxy {
        let rejection = rejection_of(error);
        let is_answered = session
            .response_written()
            .is_some_and(|answer| !answer.status.is_informational());
        if is_answered {
            // Part of the answer is out: it can only be cut.
            ctx.stage = Stage::Refused(rejection);
        } else {
            self.refuse(session, ctx, rejection).await;
        }
        let error_code = match &ctx.stage {
            Stage::Refused(rejection) => rejection.reason().status(),
            Stage::Arrived | Stage::Forwarded(_) => 0,
        };
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    /// The engine's own lines would hold the path with its query.
    fn request_summary(&self, _: &Session, ctx: &Context) -> String {
        ctx.origin
            .as_ref()
            .map_or_else(String::new, |origin| format!("request {}", origin.request_id))
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Context,
        _: &Error,
        _: pingora::proxy::ProxyWarnLogContext,
    ) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Context) {
        self.tell(session, ctx);
    }
}

impl Gateway {
    /// Whether the line of a forwarded request is left out: never one of a refusal or of a 5xx.
    fn is_sampled_out(&self, ctx: &Context, outcome: Outcome, session: &Session) -> bool {
        let share = ctx.live.snapshot.settings.log.sample_forwarded;
        let is_error = session
            .response_written()
            .is_some_and(|answer| answer.status.is_server_error());
        outcome == Outcome::Forwarded && !is_error && share < 1.0 && rand::random::<f64>() >= share
    }

    /// The one place where a request is told of.
    fn tell(&self, session: &Session, ctx: &Context) {
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
        let duration = ctx.answered.unwrap_or_else(|| ctx.started.elapsed());
        let upstream = ctx.upstream.as_ref();
        let route = ctx.route.and_then(|at| ctx.live.env().routes.all().get(at));
        let upstream_name = route.map(|route| &route.upstream);
        let placement = findings
            .placement
            .as_ref()
            .filter(|_| findings.member_id.is_some());
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
                placement: placement.map(|placement| placement::label(placement.as_str())),
                body_bytes: ctx.body.as_ref().map(Bytes::len),
                duration,
                overhead: ctx.overhead,
                upstream: upstream
                    .zip(upstream_name.and_then(|name| ctx.live.series.upstream(name)))
                    .map(|(part, series)| UpstreamEnded {
                        series,
                        duration: part.since.elapsed(),
                        status: part.status,
                        retries: part.retries,
                    }),
            },
        );
        if let Some(member) = &findings.member_id {
            let was_limited = matches!(findings.limiter, Some(pipeline::LimiterSaid::Limited(_)));
            self.top.count(
                member,
                findings.domain.as_ref(),
                was_limited,
                self.epoch.elapsed(),
            );
        }
        let method = access_log::known_method(&session.req_header().method);
        let status = match rejection {
            Some(rejection) => rejection.reason().status(),
            None => session
                .response_written()
                .map_or(0, |answer| answer.status.as_u16()),
        };
        ctx.span_ends(outcome, status, method);
        if self.is_sampled_out(ctx, outcome, session) {
            return;
        }
        let (request_id, trace_id) = ctx
            .origin
            .as_ref()
            .map_or(("", ""), |origin| (&origin.request_id, &origin.trace_id));
        let ms = |duration: Duration| duration.as_micros() as f64 / 1000.0;
        access_log::write(
            &self.log,
            &AccessLine {
                request_id,
                trace_id,
                route: route.map_or(NO_ROUTE, |route| &route.name),
                method,
                outcome,
                rejection,
                would_reject: &findings.would_reject,
                status,
                errors: &findings.faults,
                member_id: findings.member_id.as_ref().map(ToString::to_string),
                domain: findings.domain.as_ref().map(|domain| domain.as_str()),
                placement: findings.placement.as_ref().map(|placement| placement.as_str()),
                client: Some(ctx.client().to_string()),
                duration_ms: ms(duration),
                upstream_ms: upstream.map(|part| ms(part.since.elapsed())),
                upstream: upstream_name.map(|name| &**name).filter(|_| upstream.is_some()),
                bytes_in: ctx.body.as_ref().map_or(session.body_bytes_read(), Bytes::len),
                bytes_out: session.body_bytes_sent(),
            },
        );
    }
}
