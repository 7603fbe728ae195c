//! The engine's hooks, for what it carries: HTTP/2, pass routes and heads that are not plain. One hook,
//! one call; nothing is decided here.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use crate::context::{Context, Stage};
use crate::gateway::{Answered, Gateway, rejection_of};
use crate::pipeline::{BodyPlan, Head};
use crate::request::body::{self, Bounds};
use crate::request::front_door;
use crate::response::rejection::Rejection;
use crate::response::reply;
use crate::telemetry::access_log;
use crate::upstream::origin::Peer;
use crate::upstream::peer;

/// The gateway as the engine sees it.
pub struct Engine(pub Arc<Gateway>);

/// What the door hands over with a request on HTTP/1: when its head was complete.
pub struct Arrival(pub Instant);

impl Engine {
    /// The way of a request up to its decision.
    async fn decide(&self, session: &mut Session, ctx: &mut Context) -> Result<(), Rejection> {
        let live = ctx.live.clone();
        let peer = peer_of(session);
        name_host(session);
        self.0.meet(ctx, peer, &session.req_header().headers);
        if session.is_http2() {
            front_door::check_http2(session.req_header().raw_path(), &session.req_header().headers)?;
        }
        let opened = ctx.open(&head_of(session, peer), live.env())?;
        if let BodyPlan::Hold { limit, within } = opened.body {
            let announced = front_door::announced_length(&session.req_header().headers);
            let bounds = Bounds {
                limit,
                within,
                held: live.env().widget.held_bodies,
                announced,
            };
            let waiting = Instant::now();
            let read = body::read(session, bounds, &mut ctx.held).await;
            ctx.body_wait = waiting.elapsed();
            ctx.body = Some(read?);
        }
        self.0.decide(ctx, &opened, &head_of(session, peer), live.env())
    }

    async fn refuse(&self, session: &mut Session, ctx: &mut Context, rejection: Rejection) {
        ctx.own_time_ends();
        let written = match rejection {
            Rejection::ClientClosed => Ok(()),
            _ => reply::refuse(session, &rejection, ctx.request_id()).await,
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

#[async_trait]
impl ProxyHttp for Engine {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        self.0.arrive(self.0.live.load_full(), Instant::now())
    }

    fn on_connection_reuse(
        &self,
        _: &mut Session,
        ctx: &mut Context,
        handed_over: Box<dyn std::any::Any + Send + Sync>,
    ) {
        if let Ok(arrival) = handed_over.downcast::<Arrival>() {
            ctx.started = arrival.0;
        }
    }

    async fn early_request_filter(&self, session: &mut Session, _: &mut Context) -> Result<()> {
        if self.0.is_draining() {
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
        ctx.upstream_begins();
        let Stage::Forwarded(forward) = &ctx.stage else {
            return Error::e_explain(ErrorType::InternalError, "no target");
        };
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
        // Nothing was sent, so the next server may have the request.
        error.set_retry(ctx.next_server());
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
        for (name, value) in forward.rewrite.to_set() {
            upstream.insert_header(name, value)?;
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
        ctx.upstream_answered(answer.status.as_u16());
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
        format!("request {}", ctx.request_id())
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
        let answered = Answered {
            method: access_log::known_method(&session.req_header().method),
            status: session
                .response_written()
                .map_or(0, |answer| answer.status.as_u16()),
            bytes_in: ctx.body.as_ref().map_or(session.body_bytes_read(), Bytes::len),
            bytes_out: session.body_bytes_sent(),
        };
        self.0.tell(ctx, &answered);
    }
}
