//! A piece of an answer on its way through the library, which tells nobody when it has written one.

use bytes::{Buf, Bytes};
use tokio::sync::watch;

/// What was handed to the library of one stream's answer and has not gone out.
#[derive(Default)]
pub(super) struct Unsent(Option<watch::Sender<()>>);

impl Unsent {
    /// A piece behind which more comes. The last one need not be looked after: nothing cuts it off.
    pub(super) fn piece(&mut self, bytes: Bytes) -> Piece {
        let unsent = self.0.get_or_insert_with(|| watch::Sender::new(()));
        Piece {
            bytes,
            _unsent: Some(unsent.subscribe()),
        }
    }

    /// Resolves when all of it has gone out.
    pub(super) async fn gone(&self) {
        if let Some(unsent) = &self.0 {
            unsent.closed().await;
        }
    }
}

/// The library drops it once it is written, or thrown away.
pub struct Piece {
    bytes: Bytes,
    _unsent: Option<watch::Receiver<()>>,
}

impl Piece {
    /// The end of an answer.
    pub(super) const fn last(bytes: Bytes) -> Piece {
        Piece { bytes, _unsent: None }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, bytes: usize) {
        self.bytes.advance(bytes);
    }
}
