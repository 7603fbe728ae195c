//! Turns among a connection's streams with bodies of pass routes: so many are under way at once, the others wait.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// The turns of one connection.
pub(super) struct Turns {
    places: Arc<Semaphore>,
    unread: Semaphore,
}

impl Turns {
    /// `places` at once, and `unread` bytes of those that wait.
    pub(super) fn new(places: usize, unread: usize) -> Turns {
        Turns {
            places: Arc::new(Semaphore::new(places)),
            unread: Semaphore::new(unread),
        }
    }

    /// Waits for the turn of a stream whose client may send so many bytes before they are read. None where it did not
    /// come in time, or where these bytes are more than is left for those that wait: they would stop those whose turn
    /// it is.
    pub(super) async fn turn(&self, unread: u32, within: Duration) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = self.places.clone().try_acquire_owned() {
            return Some(place);
        }
        let _unread = self.unread.try_acquire_many(unread).ok()?;
        timeout(within, self.places.clone().acquire_owned())
            .await
            .ok()?
            .ok()
    }
}
