//! Pingora's hooks.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{Version, header};
use parking_lot::{MappedMutexGuard, Mutex};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType, Result};

use super::fault::{SPOKEN, cause_of, lost, nowhere, rejection_of, too_late};
use super::passed::{Handed, Passed};
use crate::request::body::BodyFault;
use crate::upstream::answer::keep_alive_hint;
use crate::upstream::http_peer;
use crate::upstream::wire;

/// So many idle connections that can not carry a request are taken out of the pool for it, before a fresh one is opened.
const MOST_UNFIT: usize = 16;

/// One hook, one call.
#[derive(Default)]
pub struct Hooks {
    /// Until when a connection, by its descriptor, may be idle: where its server has said so.
    hints: Mutex<HashMap<RawFd, Instant>>,
}

impl Hooks {
    /// Whether the server of an idle connection has said that it would have ended it by now (`Keep-Alive`). The engine
    /// knows no such hint.
    fn is_past_its_hint(&self, descriptor: RawFd) -> bool {
        let hint = self.hints.lock().remove(&descriptor);
        hint.is_some_and(|until| until <= Instant::now())
    }

    fn passed(ctx: &Option<Handed>) -> Result<MappedMutexGuard<'_, Passed>> {
        ctx.as_ref().ok_or_else(lost)?.passed()
    }
}

#[async_trait]
impl ProxyHttp for Hooks {
    type CTX = Option<Handed>;

    fn new_ctx(&self) -> Option<Handed> {
        None
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Option<Handed>) -> Result<()> {
        *ctx = session.req_header_mut().extensions_mut().remove();
        Self::passed(ctx).map(|_| ())
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Option<Handed>) -> Result<Box<HttpPeer>> {
        let mut passed = Self::passed(ctx)?;
        let left = passed.left();
        if left == Some(Duration::ZERO) {
            return Err(too_late());
        }
        let attempts = &mut passed.forward.attempts;
        let server = attempts.server().ok_or_else(nowhere)?.clone();
        let mut peer = http_peer::of(&server, &attempts.upstream().rules, left)?;
        if passed.unfit > MOST_UNFIT {
            // A group of its own has no idle connection.
            static GROUP: AtomicU64 = AtomicU64::new(1);
            peer.group_key = GROUP.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Option<Handed>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Ok(mut passed) = Self::passed(ctx) {
            let again = passed.connect_failed(&error);
            error.set_retry(again);
        }
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        _: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Option<Handed>,
        _: bool,
    ) -> Box<Error> {
        // A body that went by is not there to be sent again. Of a connection that had spoken before nothing was sent,
        // and the pool has one less.
        let is_unsent = *error.etype() == SPOKEN;
        if let (true, Ok(mut passed)) = (is_unsent, Self::passed(ctx)) {
            passed.unfit += 1;
        }
        error.set_retry(is_unsent);
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        fd: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        ctx: &mut Option<Handed>,
    ) -> Result<()> {
        // The engine's own look may come too late, and an answer that nobody asked for is no one's.
        let is_past = self.is_past_its_hint(fd);
        if reused && (is_past || !wire::is_silent(fd)) {
            return Err(Error::explain(SPOKEN, "the idle connection has spoken or ended").into_up());
        }
        let mut passed = Self::passed(ctx)?;
        passed.descriptor = Some(fd);
        passed.forward.attempts.connected();
        Ok(())
    }

    async fn response_filter(
        &self,
        _: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut Option<Handed>,
    ) -> Result<()> {
        let mut passed = Self::passed(ctx)?;
        passed.answer(answer)?;
        if let (Some(descriptor), Some(hint)) = (passed.descriptor, keep_alive_hint(&answer.headers)) {
            self.hints.lock().insert(descriptor, Instant::now() + hint);
        }
        Ok(())
    }

    /// Only HTTP/1.0 can leave the host out (RFC 9112 3.2), towards the server too.
    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        head: &mut RequestHeader,
        _: &mut Option<Handed>,
    ) -> Result<()> {
        if !head.headers.contains_key(header::HOST) {
            head.set_version(Version::HTTP_10);
        }
        Ok(())
    }

    /// The refusal is written by whoever handed the request over.
    async fn fail_to_proxy(&self, _: &mut Session, error: &Error, ctx: &mut Option<Handed>) -> FailToProxy {
        let rejection = rejection_of(error);
        let error_code = rejection.reason().status();
        if let Ok(mut passed) = Self::passed(ctx)
            && passed.end.is_none()
        {
            // A server that waits for the rest of a body is not the one who is silent, but one that takes none of it is.
            let is_clients = *error.etype() == ErrorType::ReadTimedout && passed.awaited.is_clients_part();
            if let (false, Some(cause)) = (is_clients, cause_of(error)) {
                passed.forward.attempts.failed(cause, Instant::now());
            }
            passed.end = Some(Err(match is_clients {
                true => BodyFault::TimedOut.into(),
                false => rejection,
            }));
        }
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    /// The engine's own lines would hold the path with its query.
    fn request_summary(&self, _: &Session, ctx: &Option<Handed>) -> String {
        let id = Self::passed(ctx).map(|passed| passed.request.id().to_owned());
        format!("request {}", id.unwrap_or_default())
    }

    fn suppress_error_log(&self, _: &Session, _: &Option<Handed>, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Option<Handed>,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    async fn logging(&self, _: &mut Session, error: Option<&Error>, ctx: &mut Option<Handed>) {
        if let (Some(handed), None) = (ctx, error) {
            handed.ends(Ok(()));
        }
    }
}
