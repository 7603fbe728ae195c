//! The streams of a connection, as far as it is judged and kept by them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::turns::Turns;

/// What happens on a connection.
pub(super) struct Streams {
    open: AtomicUsize,
    /// Turns of streams of pass routes.
    turns: Turns,
    /// Ended without an answer, less those that had one.
    wasted: AtomicUsize,
    /// The last one has ended.
    idle: Notify,
}

impl Streams {
    /// Of a connection on which nothing has happened, with these turns.
    pub(super) fn new(turns: Turns) -> Arc<Streams> {
        Arc::new(Streams {
            open: AtomicUsize::new(0),
            turns,
            wasted: AtomicUsize::new(0),
            idle: Notify::new(),
        })
    }

    /// How many have not ended.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many ended without an answer, less those that had one.
    pub(super) fn wasted(&self) -> usize {
        self.wasted.load(Ordering::Relaxed)
    }

    /// Resolves when the connection has been without a stream for so long.
    pub(super) async fn idle_for(&self, idle: Duration) {
        loop {
            while self.open() > 0 {
                self.idle.notified().await;
            }
            // A stream that begins interrupts the wait from outside: the connection is then polled anew.
            tokio::time::sleep(idle).await;
            if self.open() == 0 {
                return;
            }
        }
    }
}

/// Counts a stream while it is open. The connection is judged by how its streams end: one that is dropped before it was
/// answered is wasted, whatever the reason.
pub struct OpenStream {
    streams: Arc<Streams>,
    was_answered: bool,
}

impl OpenStream {
    /// One more.
    pub(super) fn begin(streams: &Arc<Streams>) -> OpenStream {
        streams.open.fetch_add(1, Ordering::Relaxed);
        OpenStream {
            streams: streams.clone(),
            was_answered: false,
        }
    }

    /// The client took an answer.
    pub(super) fn answered(&mut self) {
        self.was_answered = true;
    }

    /// The turns of the connection.
    pub(super) fn turns(&self) -> &Turns {
        &self.streams.turns
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let Streams {
            open, wasted, idle, ..
        } = &*self.streams;
        if self.was_answered {
            let one_less = |wasted: usize| wasted.checked_sub(1);
            let _ = wasted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less);
        } else {
            wasted.fetch_add(1, Ordering::Relaxed);
        }
        if open.fetch_sub(1, Ordering::Relaxed) == 1 {
            idle.notify_one();
        }
    }
}
