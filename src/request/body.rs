//! A body is held whole before anything is decided: capped, timed, within what all bodies together
//! may take, and replayable.
//!
//! Pingora forwards a body that was read in `request_filter` only through its retry buffer, which
//! keeps the last read pieces up to 64 KiB and nothing beyond. So the buffer is armed when at most
//! that much is left; it then holds the tail, the engine hands the tail to `request_body_filter` once
//! per attempt, and there the whole body takes its place.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::proxy::Session;

/// Pingora's fixed size of the retry buffer, and so what a body without announced length may have: on every
/// way the same.
const REPLAY: usize = 64 * 1024;

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFault {
    /// Not there in time.
    TimedOut,
    /// Over the limit.
    TooLarge,
    /// Without announced length, and more than can be replayed.
    LengthRequired,
    /// The chunks are broken.
    BrokenChunks,
    /// All bodies held together are at their bound.
    NoRoom,
    /// The client went away.
    ClientGone,
}

/// The framing of a chunked body is broken: what the stream under the engine reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokenChunks;

impl std::fmt::Display for BrokenChunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken chunk framing")
    }
}

impl std::error::Error for BrokenChunks {}

/// Whether an engine's error comes from broken chunk framing.
pub fn is_broken_chunks(error: &pingora::Error) -> bool {
    error
        .root_cause()
        .downcast_ref::<std::io::Error>()
        .and_then(std::io::Error::get_ref)
        .is_some_and(|inner| inner.is::<BrokenChunks>())
}

/// Bytes of all bodies that are held now.
#[derive(Default, Debug)]
pub struct HeldBodies(AtomicUsize);

/// The share of one request; gives it back when it is dropped.
#[derive(Debug)]
pub struct Held {
    all: Arc<HeldBodies>,
    bytes: usize,
}

impl Held {
    /// A share of nothing.
    pub fn none(all: &Arc<HeldBodies>) -> Held {
        Held {
            all: all.clone(),
            bytes: 0,
        }
    }

    /// Takes more of what all bodies together may have, which is `bound`.
    ///
    /// # Errors
    /// Where the others have left too little.
    pub fn grow(&mut self, bytes: usize, bound: usize) -> Result<(), BodyFault> {
        let take = |used: usize| used.checked_add(bytes).filter(|&sum| sum <= bound);
        self.all
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .map_err(|_| BodyFault::NoRoom)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The bounds of one read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Bytes of this body.
    pub limit: usize,
    /// Time for all of it.
    pub within: Duration,
    /// Bytes of all bodies together.
    pub held: usize,
    /// What Content-Length says.
    pub announced: Option<u64>,
}

impl Bounds {
    /// Whether a body may have so many bytes.
    ///
    /// # Errors
    /// Where it is too long, or too long for one whose length was not announced.
    pub fn allow(&self, bytes: usize) -> Result<(), BodyFault> {
        match bytes {
            bytes if bytes > self.limit => Err(BodyFault::TooLarge),
            bytes if bytes > REPLAY && self.announced.is_none() => Err(BodyFault::LengthRequired),
            _ => Ok(()),
        }
    }
}

/// Reads the whole body. The share of [`HeldBodies`] grows with what arrives, not with what is
/// announced, so that announcing costs the others nothing.
pub async fn read(session: &mut Session, bounds: Bounds, held: &mut Held) -> Result<Bytes, BodyFault> {
    if session.is_body_empty() {
        return Ok(Bytes::new());
    }
    continue_if_expected(session).await?;
    let body = tokio::time::timeout(bounds.within, collect(session, bounds, held)).await;
    let body = body.map_err(|_| BodyFault::TimedOut)??;
    // Without a tail in the buffer the engine would send nothing and the upstream would wait.
    if !body.is_empty() && session.get_retry_buffer().is_none() {
        return Err(BodyFault::LengthRequired);
    }
    Ok(body)
}

/// On HTTP/1 the interim response is ours to send; by itself it would end keep-alive.
async fn continue_if_expected(session: &mut Session) -> Result<(), BodyFault> {
    let expected = session
        .get_header(http::header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if expected && !session.is_http2() {
        session.set_close_on_response_before_downstream_finish(false);
        session
            .write_continue_response()
            .await
            .map_err(|_| BodyFault::ClientGone)?;
        session.set_close_on_response_before_downstream_finish(true);
    }
    Ok(())
}

async fn collect(session: &mut Session, bounds: Bounds, held: &mut Held) -> Result<Bytes, BodyFault> {
    let announced = bounds.announced.and_then(|length| usize::try_from(length).ok());
    let mut body = BytesMut::new();
    loop {
        if announced.is_none_or(|length| length.saturating_sub(body.len()) <= REPLAY) {
            session.enable_retry_buffering();
        }
        let piece = session.read_request_body().await.map_err(|e| fault(&e))?;
        let Some(piece) = piece else {
            return Ok(body.freeze());
        };
        bounds.allow(body.len() + piece.len())?;
        held.grow(piece.len(), bounds.held)?;
        if body.is_empty() && session.is_body_done() {
            return Ok(piece);
        }
        body.extend_from_slice(&piece);
    }
}

fn fault(error: &pingora::Error) -> BodyFault {
    if is_broken_chunks(error) {
        return BodyFault::BrokenChunks;
    }
    match error.etype() {
        pingora::ErrorType::ReadTimedout => BodyFault::TimedOut,
        _ => BodyFault::ClientGone,
    }
}

/// Called once per attempt with the tail: the whole body takes its place.
pub fn replay(held: &Bytes, piece: &mut Option<Bytes>, end: bool) {
    *piece = (end && !held.is_empty()).then(|| held.clone());
}
