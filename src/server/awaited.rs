//! Whose part of an exchange is waited for.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the whole time runs out, it is the fault of who was waited for: a client that takes its answer slowly says
/// nothing of the server.
#[derive(Default, Debug)]
pub struct Awaited {
    client: AtomicBool,
}

impl Awaited {
    /// Waits for the client.
    pub async fn client<T>(&self, part: impl Future<Output = T>) -> T {
        self.client.store(true, Ordering::Relaxed);
        let done = part.await;
        self.client.store(false, Ordering::Relaxed);
        done
    }

    /// Whether a wait for the client was left before its end.
    pub fn is_client(&self) -> bool {
        self.client.load(Ordering::Relaxed)
    }
}
