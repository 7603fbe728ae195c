//! What becomes of a request that was handed to the proxy, and how long it may take altogether.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// What became of a request that was handed over; its clones are one.
#[derive(Clone)]
pub struct Outcome(Arc<Progress>);

struct Progress {
    since: Instant,
    /// For the whole, since then; none = no limit but that of silence.
    total: Option<Duration>,
    has_head: AtomicBool,
    was_answered: AtomicBool,
    took_too_long: AtomicBool,
}

impl Outcome {
    /// Of a request that is handed over now, with so much time for all of it.
    pub fn new(total: Option<Duration>) -> Outcome {
        Outcome(Arc::new(Progress {
            since: Instant::now(),
            total,
            has_head: AtomicBool::new(false),
            was_answered: AtomicBool::new(false),
            took_too_long: AtomicBool::new(false),
        }))
    }

    /// Of the whole time; none where it has no end.
    pub fn left(&self) -> Option<Duration> {
        let total = self.0.total?;
        Some(total.saturating_sub(self.0.since.elapsed()))
    }

    /// The head of the answer is on its way to the client.
    pub fn has_begun(&self) {
        self.0.has_head.store(true, Ordering::Relaxed);
    }

    /// Whether the client got an answer, which may be ours.
    pub fn is_answered(&self, is: bool) {
        self.0.was_answered.store(is, Ordering::Relaxed);
    }

    /// To be asked once the proxy is through.
    pub fn was_answered(&self) -> bool {
        self.0.was_answered.load(Ordering::Relaxed)
    }

    /// Whether the proxy was not waited for.
    pub fn took_too_long(&self) -> bool {
        self.0.took_too_long.load(Ordering::Relaxed)
    }

    /// Waits for the proxy, which bounds silences alone, for as long as the whole may take; then an answer that
    /// has begun is cut. None where it came to that.
    pub async fn within<T>(&self, proxying: impl Future<Output = T>) -> Option<T> {
        let Some(total) = self.0.total else {
            return Some(proxying.await);
        };
        let mut proxying = pin!(proxying);
        if let Ok(ended) = timeout(total, &mut proxying).await {
            return Some(ended);
        }
        // Without a head it is silent, and about to be told so.
        if !self.0.has_head.load(Ordering::Relaxed)
            && let Ok(ended) = timeout(total, &mut proxying).await
        {
            return Some(ended);
        }
        self.0.took_too_long.store(true, Ordering::Relaxed);
        None
    }
}
