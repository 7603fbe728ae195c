//! The body of a call on the short way: held whole as it comes, or drained after a refusal.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::time::timeout;

use super::wire::Wire;
use crate::request::body::{BodyFault, Bounds, Held};
use crate::request::chunks::Chunks;
use crate::request::front_door::Framing;
use crate::response::reply::{DRAIN, DRAIN_BYTES};

/// What is left of a body that the wire stands at.
pub enum Incoming {
    /// Of an announced length.
    Length {
        /// Bytes from where the wire stands.
        left: u64,
        /// Of these, what is there and has its share of all held bodies.
        held: usize,
    },
    /// In chunks.
    Chunks {
        /// How far they came.
        chunks: Chunks,
        /// What they held so far.
        data: BytesMut,
    },
}

impl Incoming {
    /// A body of which nothing has been read.
    pub fn of(framing: Framing) -> Incoming {
        match framing {
            Framing::Length(left) => Incoming::Length { left, held: 0 },
            Framing::Chunked => Incoming::Chunks {
                chunks: Chunks::default(),
                data: BytesMut::new(),
            },
        }
    }

    /// The length that is left, where it was announced.
    pub fn announced(&self) -> Option<u64> {
        match self {
            Incoming::Length { left, .. } => Some(*left),
            Incoming::Chunks { .. } => None,
        }
    }

    /// Whether it is known to be so little that the connection can go on after a refusal.
    pub fn is_little(&self) -> bool {
        match self {
            Incoming::Length { left, .. } => *left <= DRAIN_BYTES,
            Incoming::Chunks { chunks, .. } => chunks.is_complete(),
        }
    }

    /// Waits until the body is there whole, and adds the time that it took to `waited`.
    ///
    /// # Errors
    /// Where it does not come, or not within the bounds.
    pub async fn hold(
        &mut self,
        wire: &mut Wire,
        bounds: Bounds,
        held: &mut Held,
        waited: &mut Duration,
    ) -> Result<Bytes, BodyFault> {
        // Mostly it came with the head, and no timer is needed.
        let there = match self.take(wire, bounds, held) {
            Ok(None) => {
                let since = Instant::now();
                let read = timeout(bounds.within, async {
                    loop {
                        if wire.read_ahead().await.unwrap_or_default() == 0 {
                            return Err(BodyFault::ClientGone);
                        }
                        if let Some(body) = self.take(wire, bounds, held)? {
                            return Ok(body);
                        }
                    }
                });
                let read = read.await.unwrap_or(Err(BodyFault::TimedOut));
                *waited += since.elapsed();
                read
            }
            Ok(Some(body)) => Ok(body),
            Err(fault) => Err(fault),
        };
        if let (Err(_), Incoming::Length { left, held }) = (&there, self) {
            wire.skip(*held);
            *left -= *held as u64;
        }
        there
    }

    /// Takes the body if it is there whole. Until then its share of all held bodies grows with what is
    /// there.
    fn take(
        &mut self,
        wire: &mut Wire,
        bounds: Bounds,
        share: &mut Held,
    ) -> Result<Option<Bytes>, BodyFault> {
        match self {
            Incoming::Length { left, held } => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX);
                bounds.allow(length)?;
                let there = wire.ahead().len().min(length);
                share.grow(there - *held, bounds.held)?;
                *held = there;
                if there < length {
                    return Ok(None);
                }
                (*left, *held) = (0, 0);
                Ok(Some(wire.take(length)))
            }
            Incoming::Chunks { chunks, data } => {
                let before = data.len();
                let framed = chunks
                    .read(wire.ahead(), data)
                    .map_err(|_| BodyFault::BrokenChunks)?;
                wire.skip(framed);
                bounds.allow(data.len())?;
                share.grow(data.len() - before, bounds.held)?;
                Ok(chunks.is_complete().then(|| std::mem::take(data).freeze()))
            }
        }
    }

    /// Reads what is left of a body that nobody wants. Whether it came in time.
    pub async fn drain(self, wire: &mut Wire) -> bool {
        let Incoming::Length { mut left, .. } = self else {
            return self.is_little();
        };
        let drained = timeout(DRAIN, async {
            loop {
                let there = wire
                    .ahead()
                    .len()
                    .min(usize::try_from(left).unwrap_or(usize::MAX));
                wire.skip(there);
                left -= there as u64;
                if left == 0 {
                    return true;
                }
                if wire.read_ahead().await.unwrap_or_default() == 0 {
                    return false;
                }
            }
        });
        drained.await.unwrap_or(false)
    }
}
