//! Pass routes: ordinary reverse proxying, which Pingora's proxy does. What is decided about a request was
//! decided before it is handed over; here it gets its server, its head and its record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{Method, header};
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use tokio::time::timeout;

use super::outcome::Outcome;
use crate::pipeline::Forward;
use crate::process::request::{Request, Sent};
use crate::request::body::BrokenChunks;
use crate::request::head::Version;
use crate::request::head::fault::Malformed;
use crate::response::rejection::{BrokenForm, Rejection, Unreached};
use crate::response::reply::{Delimiter, Length};
use crate::upstream::answer::{Asked, Judged, MAX_INTERIM};
use crate::upstream::failure::{self, Cause};
use crate::upstream::http_peer;
use crate::upstream::pool::Resend;
use crate::upstream::wire;

/// A decided request on its way into the proxy, which lets nothing of ours through but what can be cloned.
#[derive(Clone)]
pub struct HandedOver {
    passed: Arc<Mutex<Option<Passed>>>,
    outcome: Outcome,
}

impl HandedOver {
    /// For a client of this version.
    pub fn new(request: Box<Request>, forward: Box<Forward>, version: Version) -> HandedOver {
        let outcome = Outcome::new(forward.attempts.total_timeout());
        HandedOver {
            passed: Arc::new(Mutex::new(Some(Passed {
                request,
                forward,
                version,
                was_resent: false,
                interim: 0,
                status: None,
                refused: None,
                outcome: outcome.clone(),
            }))),
            outcome,
        }
    }

    /// To be asked once the proxy is through.
    pub fn outcome(&self) -> Outcome {
        self.outcome.clone()
    }
}

/// One request of a pass route.
pub struct Passed {
    request: Box<Request>,
    forward: Box<Forward>,
    version: Version,
    /// Once is enough (RFC 9110 9.2.2).
    was_resent: bool,
    /// Interim answers that came.
    interim: usize,
    /// Of the answer, once its head is on its way to the client.
    status: Option<u16>,
    refused: Option<Rejection>,
    outcome: Outcome,
}

/// Pingora's hooks. One hook, one call.
pub struct Streamed {
    /// For a client that does not take its answer.
    pub write_timeout: Duration,
}

/// Nothing was handed over: a fault of ours.
fn lost() -> Box<Error> {
    Error::explain(ErrorType::InternalError, "no request was handed over")
}

/// No server has an address.
fn nowhere() -> Box<Error> {
    Error::explain(NOWHERE, "no server has an address").into_up()
}

/// An idle connection that can not carry a request.
const SPOKEN: ErrorType = ErrorType::Custom("Spoken");

const NOWHERE: ErrorType = ErrorType::Custom("Nowhere");

/// The whole time is over.
fn too_late() -> Box<Error> {
    Error::explain(ErrorType::ReadTimedout, "total_timeout").into_up()
}

/// What came is no answer.
fn broken() -> Box<Error> {
    Error::explain(ErrorType::InvalidHTTPHeader, "the answer is broken").into_up()
}

impl Passed {
    /// Whether the upstream says that its handlers may get a request twice.
    fn may_be_resent(&self) -> bool {
        self.forward.attempts.upstream().rules.resend == Resend::Once
    }

    async fn refuse(&mut self, session: &mut Session, rejection: Rejection) {
        let is_answered = session
            .response_written()
            .is_some_and(|answer| !answer.status.is_informational());
        // Part of the answer is out: it can only be cut.
        if is_answered || rejection == Rejection::ClientClosed {
            self.refused = Some(rejection);
            return;
        }
        session.set_keepalive(None);
        let written = self.write(session, &rejection).await;
        self.outcome.is_answered(written.is_ok());
        self.refused = Some(match written {
            Ok(()) => rejection,
            Err(_) => Rejection::ClientClosed,
        });
    }

    async fn write(&self, session: &mut Session, rejection: &Rejection) -> Result<()> {
        let head = session.req_header();
        let query = head.uri.query().unwrap_or_default().as_bytes();
        let (reply, body) = self
            .request
            .refusal(rejection, &head.method, &head.headers, query);
        session
            .write_response_header(Box::new(reply.to_engine(self.version)?), body.is_empty())
            .await?;
        if !body.is_empty() {
            session.write_response_body(Some(body), true).await?;
        }
        if session.is_http2() && !session.is_body_done() {
            let _ = timeout(DRAIN, session.drain_request_body()).await;
        }
        Ok(())
    }

    /// What the one judgement of answers says is done to the head that the proxy has read.
    fn answer(&mut self, session: &mut Session, answer: &mut ResponseHeader) -> Result<()> {
        let asked = Asked::by(&session.req_header().method);
        let is_http11 = answer.version == http::Version::HTTP_11;
        let judged = Judged::of(is_http11, answer.status, &answer.headers, asked).map_err(|_| broken())?;
        let ends_here: Vec<_> = answer
            .headers
            .keys()
            .filter(|name| !judged.goes_on(name))
            .cloned()
            .collect();
        for name in &ends_here {
            answer.remove_header(name);
        }
        answer.set_version(http::Version::HTTP_11);
        if answer.status.is_informational() {
            self.interim += 1;
            return match self.interim <= MAX_INTERIM {
                true => Ok(()),
                false => Err(broken()),
            };
        }
        if self.outcome.left() == Some(Duration::ZERO) {
            return Err(too_late());
        }
        let status = answer.status.as_u16();
        self.outcome.has_begun();
        self.status = Some(status);
        self.forward.attempts.answered(status, Instant::now);
        self.request.upstream_answered(status);
        let length = Length::of(judged.body, answer.status, judged.told_length);
        if let Some(told) = length.told() {
            answer.insert_header(header::CONTENT_LENGTH, told)?;
        }
        match length.delimiter(self.version) {
            Delimiter::Chunks => answer.insert_header(header::TRANSFER_ENCODING, "chunked")?,
            Delimiter::Close => session.set_keepalive(None),
            Delimiter::Head | Delimiter::Frames => {}
        }
        Ok(())
    }

    fn end(mut self, sent: Sent, streamed: usize) {
        self.request.streamed(streamed);
        self.request.upstream_ended(self.forward.attempts.attempted());
        match self.refused.take() {
            Some(rejection) => self.request.breaks_off(rejection, sent),
            None => {
                self.outcome.is_answered(true);
                self.request.ends_well(sent);
            }
        }
    }
}

impl Drop for Passed {
    /// What the proxy was not waited for is the server's failure.
    fn drop(&mut self) {
        if self.outcome.took_too_long() {
            self.forward.attempts.failed(Cause::Timeout, Instant::now());
            self.request.upstream_ended(self.forward.attempts.attempted());
            let (status, bytes) = (self.status, 0);
            self.request
                .breaks_off(Rejection::UpstreamTimeout, Sent { status, bytes });
        }
    }
}

/// For what is left of a body that nobody wants.
const DRAIN: Duration = Duration::from_secs(2);

#[async_trait]
impl ProxyHttp for Streamed {
    type CTX = Option<Passed>;

    fn new_ctx(&self) -> Option<Passed> {
        None
    }

    /// HTTP/1 hands over with the connection.
    fn on_connection_reuse(
        &self,
        _: &mut Session,
        ctx: &mut Option<Passed>,
        handed: Box<dyn std::any::Any + Send + Sync>,
    ) {
        if let Ok(handed) = handed.downcast::<HandedOver>() {
            *ctx = handed.passed.lock().take();
        }
    }

    async fn early_request_filter(&self, session: &mut Session, ctx: &mut Option<Passed>) -> Result<()> {
        // HTTP/2 hands over with the head.
        if let Some(handed) = session.req_header_mut().extensions_mut().remove::<HandedOver>() {
            *ctx = handed.passed.lock().take();
        }
        let passed = ctx.as_ref().ok_or_else(lost)?;
        if session.is_http2() {
            // For one stream whose window stays shut; whole connections are given up below.
            session.set_write_timeout(Some(self.write_timeout));
        }
        if passed.request.is_draining() {
            session.set_keepalive(None);
        }
        session.set_ignore_info_resp(passed.version == Version::Http10);
        Ok(())
    }

    async fn upstream_peer(&self, _: &mut Session, ctx: &mut Option<Passed>) -> Result<Box<HttpPeer>> {
        let passed = ctx.as_mut().ok_or_else(lost)?;
        passed.request.upstream_begins();
        let left = passed.outcome.left();
        if left == Some(Duration::ZERO) {
            return Err(too_late());
        }
        let attempts = &mut passed.forward.attempts;
        let server = attempts.server().ok_or_else(nowhere)?.clone();
        let mut peer = http_peer::of(&server, &attempts.upstream().rules, left)?;
        if passed.was_resent {
            // A group of its own has no idle connection: what is sent again goes over a fresh one.
            static GROUP: AtomicU64 = AtomicU64::new(1);
            peer.group_key = GROUP.fetch_add(1, Ordering::Relaxed);
        }
        Ok(Box::new(peer))
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        ctx: &mut Option<Passed>,
        mut error: Box<Error>,
    ) -> Box<Error> {
        if let Some(passed) = ctx {
            // Nothing was sent, so the next server may have the request.
            let again = passed
                .forward
                .attempts
                .connect_failed(cause_of_connect(&error), Instant::now());
            passed.request.upstream_retried(u32::from(again));
            error.set_retry(again);
        }
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        ctx: &mut Option<Passed>,
        client_reused: bool,
    ) -> Box<Error> {
        let is_safe = matches!(
            session.req_header().method,
            Method::GET | Method::HEAD | Method::OPTIONS
        );
        let is_bare = session.is_body_empty();
        if *error.etype() == SPOKEN {
            // Nothing was sent. The pool has one connection less.
            error.set_retry(true);
            return error;
        }
        match ctx {
            Some(passed) if (is_safe || passed.may_be_resent()) && !passed.was_resent && is_bare => {
                error.retry.decide_reuse(client_reused);
                if error.retry() {
                    // The last attempt is told of by whoever ends the request.
                    if let Some(cause) = cause_of(&error) {
                        passed.forward.attempts.failed(cause, Instant::now());
                    }
                    passed.was_resent = true;
                    passed.request.upstream_retried(1);
                }
            }
            Some(_) | None => error.set_retry(false),
        }
        error
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        fd: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        ctx: &mut Option<Passed>,
    ) -> Result<()> {
        // The engine's own look may come too late, and an answer that nobody asked for is no one's.
        if reused && !wire::is_silent(fd) {
            return Err(Error::explain(SPOKEN, "the idle connection has spoken or ended").into_up());
        }
        if let Some(passed) = ctx {
            passed.forward.attempts.connected();
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        _: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Option<Passed>,
    ) -> Result<()> {
        let passed = ctx.as_ref().ok_or_else(lost)?;
        for name in &passed.forward.rewrite.remove {
            upstream.remove_header(name);
        }
        for (name, value) in passed.forward.rewrite.to_set() {
            upstream.insert_header(name, value)?;
        }
        if let Some(proof) = passed.forward.rewrite.proof() {
            upstream.insert_header(proof.header(), proof.secret())?;
        }
        // An origin server gets origin-form (RFC 9112 3.2.1): same path, same query, byte for byte.
        if let Some(origin_form) = &passed.forward.origin_form {
            upstream.set_raw_path(origin_form)?;
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        answer: &mut ResponseHeader,
        ctx: &mut Option<Passed>,
    ) -> Result<()> {
        ctx.as_mut().ok_or_else(lost)?.answer(session, answer)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        ctx: &mut Option<Passed>,
    ) -> FailToProxy {
        let rejection = rejection_of(error);
        let error_code = rejection.reason().status();
        if let Some(passed) = ctx {
            if let Some(cause) = cause_of(error) {
                passed.forward.attempts.failed(cause, Instant::now());
            }
            passed.refuse(session, rejection).await;
        }
        FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    /// The engine's own lines would hold the path with its query.
    fn request_summary(&self, _: &Session, ctx: &Option<Passed>) -> String {
        format!(
            "request {}",
            ctx.as_ref().map_or("", |passed| passed.request.id())
        )
    }

    fn suppress_error_log(&self, _: &Session, _: &Option<Passed>, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Option<Passed>,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Option<Passed>) {
        if let Some(passed) = ctx.take() {
            let sent = Sent {
                status: session.response_written().map(|answer| answer.status.as_u16()),
                bytes: session.body_bytes_sent(),
            };
            passed.end(sent, session.body_bytes_read());
        }
    }
}

/// What an error of the proxy means.
fn rejection_of(error: &Error) -> Rejection {
    use ErrorType::{
        BindError, ConnectError, ConnectNoRoute, ConnectRefused, ConnectTimedout, InternalError, InvalidCert,
        InvalidHTTPHeader, ReadTimedout, SocketError, TLSHandshakeFailure, TLSHandshakeTimedout,
        WriteTimedout,
    };
    let broken_chunks = error
        .root_cause()
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .is_some_and(|inner| inner.is::<BrokenChunks>());
    if broken_chunks {
        return Rejection::MalformedForm(BrokenForm::Chunks);
    }
    match (error.esource(), error.etype()) {
        (ErrorSource::Downstream, InvalidHTTPHeader) => Malformed::Connection.into(),
        (ErrorSource::Downstream, _) => Rejection::ClientClosed,
        (
            ErrorSource::Upstream,
            ConnectTimedout | ConnectRefused | ConnectNoRoute | ConnectError | SocketError | BindError
            | TLSHandshakeFailure | TLSHandshakeTimedout | InvalidCert | InternalError,
        ) => Rejection::UpstreamUnavailable(Unreached::Unconnected),
        (ErrorSource::Upstream, kind) if *kind == NOWHERE => {
            Rejection::UpstreamUnavailable(Unreached::Nowhere)
        }
        (ErrorSource::Upstream, ReadTimedout | WriteTimedout) => Rejection::UpstreamTimeout,
        (ErrorSource::Upstream, _) => Rejection::UpstreamError,
        (ErrorSource::Internal | ErrorSource::Unset, _) => Rejection::InternalError,
    }
}

/// What a failed connect says of the server, as far as it is the server's fault.
fn cause_of_connect(error: &Error) -> Option<Cause> {
    match (error.root_cause().downcast_ref::<std::io::Error>(), error.etype()) {
        (_, ErrorType::ConnectTimedout) => Some(Cause::Timeout),
        (_, ErrorType::TLSHandshakeFailure | ErrorType::TLSHandshakeTimedout | ErrorType::InvalidCert) => {
            Some(Cause::Tls)
        }
        (Some(error), _) => failure::of_connect(error),
        (None, _) => Some(Cause::Refused),
    }
}

/// What an error after the connect says of the server; none where it was not the server's.
fn cause_of(error: &Error) -> Option<Cause> {
    match (error.esource(), error.etype()) {
        (ErrorSource::Upstream, ErrorType::ReadTimedout | ErrorType::WriteTimedout) => Some(Cause::Timeout),
        (ErrorSource::Upstream, ErrorType::InvalidHTTPHeader) => Some(Cause::BadAnswer),
        (
            ErrorSource::Upstream,
            ErrorType::ConnectionClosed | ErrorType::ReadError | ErrorType::WriteError,
        ) => Some(Cause::Reset),
        (ErrorSource::Upstream | ErrorSource::Downstream | ErrorSource::Internal | ErrorSource::Unset, _) => {
            None
        }
    }
}
