//! The operator's listener: health, readiness, metrics, who is busy, limits, configuration, reload and
//! the status page. Nothing here is on the way of a request.

mod answer;
pub mod client;
mod config;
mod guard;
mod health;
mod limits;
mod observe;
mod page;
mod reload;
pub mod status;
mod top;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::{Method, Version};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use tokio::time::timeout;

use crate::process::Process;
use answer::{Answer, Problem};
use guard::{Asked, Guard, Refusal};

/// For a head, and for a connection between requests: a page asks every two seconds, a scraper may as
/// well connect anew.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// For a body, which nothing here needs, to be read and dropped.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// For a whole answer. A client that does not read it costs its bytes and a socket for this long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The application behind the admin listener.
pub struct Admin {
    process: Arc<Process>,
    guard: Guard,
}

/// What can be asked.
enum Endpoint<'a> {
    Page,
    Healthy,
    Ready,
    Metrics,
    Status,
    Config,
    Reload,
    Top,
    Observe,
    Limits(&'a str),
}

const READ: &str = "GET, HEAD";

impl<'a> Endpoint<'a> {
    /// By its path, with the methods it takes and for whom it is.
    fn find(path: &'a str) -> Option<(Endpoint<'a>, &'static str, Asked)> {
        Some(match path {
            "/" => (Endpoint::Page, READ, Asked::ForMore),
            "/-/healthy" => (Endpoint::Healthy, READ, Asked::ForMetrics),
            "/-/ready" => (Endpoint::Ready, READ, Asked::ForMore),
            "/metrics" => (Endpoint::Metrics, READ, Asked::ForMetrics),
            "/-/status" => (Endpoint::Status, READ, Asked::ForMore),
            "/-/config" => (Endpoint::Config, READ, Asked::ForMore),
            "/-/reload" => (Endpoint::Reload, "POST", Asked::ForMore),
            "/-/top" => (Endpoint::Top, READ, Asked::ForMore),
            "/-/observe" => (Endpoint::Observe, READ, Asked::ForMore),
            other => {
                let key = other.strip_prefix("/-/limits/")?;
                (Endpoint::Limits(key), "GET, HEAD, DELETE", Asked::ForMore)
            }
        })
    }
}

impl Admin {
    /// Serves what the process shares.
    pub fn new(process: Arc<Process>) -> Admin {
        Admin {
            guard: Guard::new(&process.server),
            process,
        }
    }

    async fn answer(&self, session: &ServerSession) -> Answer {
        match self.judge(session) {
            Ok(endpoint) => self.ask(endpoint, session).await,
            Err(refusal) => refusal.into(),
        }
    }

    /// Who may ask what: the peer, the host name, the path, the method, and whether it may write.
    fn judge<'s>(&self, session: &'s ServerSession) -> Result<Endpoint<'s>, Refusal> {
        let head = session.req_header();
        let found = Endpoint::find(head.uri.path());
        let asked = found.as_ref().map_or(Asked::ForMore, |(_, _, asked)| *asked);
        let peer = self.guard.admit(session, asked)?;
        let (endpoint, methods, _) = found.ok_or(Refusal::NotFound)?;
        if !methods.split(", ").any(|taken| taken == head.method.as_str()) {
            return Err(Refusal::Method(methods));
        }
        if !matches!(head.method, Method::GET | Method::HEAD) {
            self.guard.admit_write(peer, &head.headers)?;
        }
        Ok(endpoint)
    }

    async fn ask(&self, endpoint: Endpoint<'_>, session: &ServerSession) -> Answer {
        let head = session.req_header();
        let process = &self.process;
        match endpoint {
            Endpoint::Page => page::page(),
            Endpoint::Healthy => Answer::text("alive\n"),
            Endpoint::Ready => health::ready(process),
            Endpoint::Metrics => health::metrics(process, &head.headers),
            Endpoint::Status => status::status(process),
            Endpoint::Config => config::config(process, head.uri.query()),
            Endpoint::Reload => reload::reload(process.clone()).await,
            Endpoint::Top => top::top(process, head.uri.query()),
            Endpoint::Observe => observe::observe(process, head.uri.query()),
            Endpoint::Limits(key) if head.method == Method::DELETE => limits::reset(process, key).await,
            Endpoint::Limits(key) => limits::show(process, key).await,
        }
    }
}

#[async_trait]
impl HttpServerApp for Admin {
    async fn process_new_http(
        self: &Arc<Self>,
        mut session: ServerSession,
        _: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        match timeout(HEAD_TIMEOUT, session.read_request()).await {
            Ok(Ok(true)) => {}
            Ok(Err(_)) => {
                session.set_keepalive(None);
                let malformed = Problem::new(400, "malformed_request", "This is no HTTP request").into();
                let _ = timeout(ANSWER_TIMEOUT, write(&mut session, malformed, false)).await;
                return None;
            }
            Ok(Ok(false)) | Err(_) => return None,
        }
        // Who speaks HTTP/1.0 takes the end of the connection for the end of the answer.
        let keepalive = match session.req_header().version {
            Version::HTTP_09 | Version::HTTP_10 => None,
            _ => Some(HEAD_TIMEOUT.as_secs()),
        };
        session.set_keepalive(keepalive);
        // Nothing here has a body; one that was sent must not become the next request.
        if !matches!(
            timeout(DRAIN_TIMEOUT, session.drain_request_body()).await,
            Ok(Ok(()))
        ) {
            return None;
        }
        let answer = self.answer(&session).await;
        let is_head = session.req_header().method == Method::HEAD;
        timeout(ANSWER_TIMEOUT, async move {
            write(&mut session, answer, is_head).await.ok()?;
            let settings = HttpPersistentSettings::for_session(&session);
            let stream = session.finish().await.ok()??;
            Some(ReusedHttpStream::from_reusable_stream(stream, settings))
        })
        .await
        .ok()?
    }
}

async fn write(session: &mut ServerSession, answer: Answer, is_head: bool) -> pingora::Result<()> {
    let (head, body) = answer.into_parts()?;
    session.write_response_header(Box::new(head)).await?;
    if !is_head && !body.is_empty() {
        session.write_response_body(body, true).await?;
    }
    Ok(())
}
