//! How many requests the servers of an upstream have at once, and how many wait for that.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// `max_in_flight` and what belongs to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PlacesRule {
    /// Requests at once.
    pub most: usize,
    /// Further ones that wait.
    pub queue: usize,
    /// How long one of them waits.
    pub queue_timeout: Duration,
}

/// The places of an upstream. They outlive a reload that leaves their rule as it is.
#[derive(Debug)]
pub struct Places {
    rule: PlacesRule,
    free: Arc<Semaphore>,
    queue: Semaphore,
}

/// A place that a request has.
#[derive(Debug)]
pub struct Place(#[allow(dead_code, reason = "held, never looked at")] OwnedSemaphorePermit);

/// There is none, and the queue is full or was waited in long enough.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Places {
    /// All of them free.
    pub fn new(rule: PlacesRule) -> Places {
        Places {
            free: Arc::new(Semaphore::new(rule.most.min(Semaphore::MAX_PERMITS))),
            queue: Semaphore::new(rule.queue.min(Semaphore::MAX_PERMITS)),
            rule,
        }
    }

    /// What they were made from.
    pub fn rule(&self) -> PlacesRule {
        self.rule
    }

    /// Requests that wait at the moment.
    pub fn waiting(&self) -> usize {
        let all = self.rule.queue.min(Semaphore::MAX_PERMITS);
        all.saturating_sub(self.queue.available_permits())
    }

    /// Takes a place, or waits for one in the order of arrival, `within` this time too.
    ///
    /// # Errors
    /// At once where the queue is full, else after its time.
    pub async fn take(&self, within: Duration) -> Result<Place, Full> {
        if let Ok(place) = self.free.clone().try_acquire_owned() {
            return Ok(Place(place));
        }
        let _waits = self.queue.try_acquire().map_err(|_| Full)?;
        let within = within.min(self.rule.queue_timeout);
        match timeout(within, self.free.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(Place(place)),
            Ok(Err(_)) | Err(_) => Err(Full),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_bounded_and_its_time_too() {
        let places = Places::new(PlacesRule {
            most: 1,
            queue: 1,
            queue_timeout: Duration::from_millis(50),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(async {
            let first = places.take(Duration::MAX).await.unwrap();
            let (second, third) = tokio::join!(places.take(Duration::MAX), places.take(Duration::MAX));
            assert_eq!((second.err(), third.err()), (Some(Full), Some(Full)));
            let leaves = async {
                assert_eq!(places.waiting(), 1);
                drop(first);
            };
            let (second, ()) = tokio::join!(places.take(Duration::MAX), leaves);
            assert!(second.is_ok());
            assert_eq!(places.waiting(), 0);
        });
    }
}
