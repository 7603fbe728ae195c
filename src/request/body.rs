//! A body is held whole before anything is decided: capped, timed, and within what all bodies together
//! may take.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

/// Why there is no body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyFault {
    /// Not there in time.
    TimedOut,
    /// Over the limit.
    TooLarge,
    /// The chunks are broken.
    BrokenChunks,
    /// All bodies held together are at their bound.
    NoRoom,
    /// The client went away.
    ClientGone,
}

/// The framing of a chunked body is broken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokenChunks;

/// Bytes of all bodies that are held now.
#[derive(Default, Debug)]
pub struct HeldBodies(AtomicUsize);

impl HeldBodies {
    /// How many they are.
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

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

/// The bounds of one body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Bytes of this body.
    pub limit: usize,
    /// Time for all of it.
    pub within: Duration,
    /// Bytes of all bodies together.
    pub held: usize,
}

/// A body that arrives piece by piece. What counts against the bounds is what is there, not what is announced,
/// so that announcing costs the others nothing.
pub struct Gathering<'h> {
    bounds: Bounds,
    share: &'h mut Held,
    /// A body that came in one piece is not copied.
    only: Option<Bytes>,
    all: BytesMut,
}

impl<'h> Gathering<'h> {
    /// Nothing yet; `share` grows with what is there.
    pub fn new(bounds: Bounds, share: &'h mut Held) -> Gathering<'h> {
        Gathering {
            bounds,
            share,
            only: None,
            all: BytesMut::new(),
        }
    }

    /// The next piece.
    ///
    /// # Errors
    /// Where the body is over its limit, or all bodies together are over theirs.
    pub fn add(&mut self, piece: Bytes) -> Result<(), BodyFault> {
        let before = self.only.as_ref().map_or(self.all.len(), Bytes::len);
        if piece.len() > self.bounds.limit.saturating_sub(before) {
            return Err(BodyFault::TooLarge);
        }
        self.share.grow(piece.len(), self.bounds.held)?;
        if before == 0 {
            self.only = Some(piece);
            return Ok(());
        }
        if let Some(first) = self.only.take() {
            self.all.extend_from_slice(&first);
        }
        self.all.extend_from_slice(&piece);
        Ok(())
    }

    /// The whole body.
    pub fn end(self) -> Bytes {
        self.only.unwrap_or_else(|| self.all.freeze())
    }
}
