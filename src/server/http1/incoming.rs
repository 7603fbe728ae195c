//! What is left of the body that an HTTP/1 connection stands at.

use bytes::{Bytes, BytesMut};

use super::wire::{READ_AHEAD, Wire};
use crate::request::body::BodyFault;
use crate::request::chunks::Chunks;
use crate::request::head::Framing;

/// What may be left of a body that nobody wants, for the connection to stay open: in bytes.
const LITTLE: u64 = 64 * 1024;
/// The most that is read of a body at once, in bytes.
const READ_MORE: usize = 16 * 1024;

/// What is left of a body.
pub enum Incoming {
    /// So many bytes.
    Length(u64),
    /// Chunks up to the last one.
    Chunks(Chunks),
}

impl Incoming {
    /// A body of which nothing has been read.
    pub fn of(framing: Framing) -> Incoming {
        match framing {
            Framing::Length(left) => Incoming::Length(left),
            Framing::Chunked | Framing::Frames => Incoming::Chunks(Chunks::default()),
        }
    }

    /// Whether all of it was read.
    pub fn is_complete(&self) -> bool {
        match self {
            Incoming::Length(left) => *left == 0,
            Incoming::Chunks(chunks) => chunks.is_complete(),
        }
    }

    /// Whether what is left is known to be so little that the connection can go on behind it.
    pub fn is_little(&self) -> bool {
        match self {
            Incoming::Length(left) => *left <= LITTLE,
            Incoming::Chunks(_) => false,
        }
    }

    /// How much to read of it at once.
    pub fn room(&self) -> usize {
        match self {
            Incoming::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).clamp(1, READ_MORE),
            Incoming::Chunks(_) => READ_AHEAD,
        }
    }

    /// Takes what is there of it; nothing where more has to come first.
    ///
    /// # Errors
    /// Where its chunks are broken.
    pub fn take(&mut self, wire: &mut Wire) -> Result<Bytes, BodyFault> {
        match self {
            Incoming::Length(left) => {
                let piece = wire.take(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
                Ok(piece)
            }
            Incoming::Chunks(chunks) => {
                let mut data = BytesMut::new();
                let framed = chunks
                    .read(wire.ahead(), &mut data)
                    .map_err(|_| BodyFault::BrokenChunks)?;
                wire.skip(framed);
                Ok(data.freeze())
            }
        }
    }
}
