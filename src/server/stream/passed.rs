//! What the proxy has of a request while it carries it.

use std::collections::VecDeque;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};
use pingora::http::ResponseHeader;
use pingora::{Error, Result};

use super::fault::{broken, cause_of_connect, lost, too_late};
use super::head;
use crate::pipeline::Forward;
use crate::process::request::Request;
use crate::response::rejection::Rejection;
use crate::response::reply::Reply;
use crate::server::awaited::Awaited;
use crate::upstream::answer::{Judged, MAX_HEAD, MAX_INTERIM};
use crate::upstream::failure::Cause;

/// One request of a pass route, while the proxy has it.
pub struct Passed {
    pub(super) request: Box<Request>,
    pub(super) forward: Box<Forward>,
    /// For the whole of it; none = no limit but that of silence.
    pub(super) deadline: Option<Instant>,
    /// Who is waited for.
    pub(super) awaited: Arc<Awaited>,
    /// Of the connection to the server.
    pub(super) descriptor: Option<RawFd>,
    /// Idle connections that were taken and could not carry it.
    pub(super) unfit: usize,
    /// Interim answers that came.
    pub(super) interim: usize,
    /// What the heads of answers have become, for the client: interim ones may come with the final one.
    pub(super) replies: VecDeque<Reply>,
    /// Bytes of the request's body that were read.
    pub(super) read: usize,
    /// All of it was.
    pub(super) is_read: bool,
    /// How it ended, once it has.
    pub(super) end: Option<Result<(), Rejection>>,
}

/// The same as the hooks and the client's side have it, one after another.
#[derive(Clone)]
pub struct Handed(Arc<Mutex<Option<Passed>>>);

impl Handed {
    pub(super) fn new(passed: Passed) -> Handed {
        Handed(Arc::new(Mutex::new(Some(passed))))
    }

    /// What was handed over.
    pub(super) fn passed(&self) -> Result<MappedMutexGuard<'_, Passed>> {
        MutexGuard::try_map(self.0.lock(), Option::as_mut).map_err(|_| lost())
    }

    /// Takes it back from whoever has it.
    pub(super) fn take(&self) -> Option<Passed> {
        self.0.lock().take()
    }

    /// Says how it ended, unless that was said.
    pub(super) fn ends(&self, end: Result<(), Rejection>) {
        if let Some(passed) = &mut *self.0.lock() {
            passed.end.get_or_insert(end);
        }
    }
}

impl Passed {
    /// What is left of the whole time.
    pub(super) fn left(&self) -> Option<Duration> {
        let deadline = self.deadline?;
        Some(deadline.saturating_duration_since(Instant::now()))
    }

    /// The one judgement of answers, of a head that the proxy has read.
    pub(super) fn answer(&mut self, answer: &ResponseHeader) -> Result<()> {
        let length: usize = answer
            .headers
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len())
            .sum();
        if length > MAX_HEAD {
            return Err(broken());
        }
        let is_http11 = answer.version == http::Version::HTTP_11;
        let judged = Judged::of(is_http11, answer.status, &answer.headers, self.forward.asked);
        let judged = judged.map_err(|_| broken())?;
        self.replies.push_back(head::reply(answer, &judged));
        if answer.status.is_informational() {
            self.interim += 1;
            return match self.interim <= MAX_INTERIM {
                true => Ok(()),
                false => Err(broken()),
            };
        }
        if self.left() == Some(Duration::ZERO) {
            return Err(too_late());
        }
        let status = answer.status.as_u16();
        self.forward.attempts.answered(status, Instant::now);
        self.request.upstream_answered(status);
        Ok(())
    }

    /// A server that can not be connected to. Whether another one is to be tried.
    pub(super) fn connect_failed(&mut self, error: &Error) -> bool {
        let cause = cause_of_connect(error);
        if let (Some(Cause::Tls), Some(server)) = (cause, self.forward.attempts.server()) {
            let why = error.context.as_ref().map(|context| context.as_str());
            server.health.unproven(&why.unwrap_or("no reason"));
        }
        let again = self.forward.attempts.connect_failed(cause, Instant::now());
        self.request.upstream_retried(u32::from(again));
        again
    }
}
