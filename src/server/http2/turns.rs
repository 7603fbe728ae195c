//! Turns among a connection's streams with bodies of pass routes: so many are under way at once, the others wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The turns of one connection.
pub(super) struct Turns {
    places: Arc<Semaphore>,
    unread: Arc<Semaphore>,
}

impl Turns {
    /// `places` at once, and `unread` bytes of those that wait.
    pub(super) fn new(places: usize, unread: usize) -> Turns {
        Turns {
            places: Arc::new(Semaphore::new(places)),
            unread: Arc::new(Semaphore::new(unread)),
        }
    }

    /// That of a stream whose client may send so many bytes before they are read.
    pub(super) fn of(&self, unread: usize) -> Turn {
        Turn {
            places: self.places.clone(),
            unread: self.unread.clone(),
            bytes: u32::try_from(unread).unwrap_or(u32::MAX),
        }
    }
}

/// One stream's turn. It may never be asked for.
pub struct Turn {
    places: Arc<Semaphore>,
    unread: Arc<Semaphore>,
    bytes: u32,
}

impl Turn {
    /// Waits for it. None where it did not come in time, or where what the client may send meanwhile is more than is
    /// left for those that wait: they would stop those whose turn it is.
    pub(super) async fn comes(&self, within: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        let _unread = self.unread.try_acquire_many(self.bytes).ok()?;
        timeout(within, self.places.clone().acquire_owned())
            .await
            .ok()?
            .ok()
    }
}
