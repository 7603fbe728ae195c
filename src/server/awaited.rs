//! Whose part of an exchange is waited for.

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the whole time runs out, it is the fault of who was waited for: a client that sends its request or takes its
/// answer slowly says nothing of the server.
#[derive(Default, Debug)]
pub struct Awaited {
    to_take: AtomicBool,
    to_send: AtomicBool,
}

impl Awaited {
    /// Waits for the client to take a part of its answer.
    pub async fn client<T>(&self, part: impl Future<Output = T>) -> T {
        during(&self.to_take, part).await
    }

    /// Waits for the client to send a part of its request.
    pub async fn clients_part<T>(&self, part: impl Future<Output = T>) -> T {
        during(&self.to_send, part).await
    }

    /// Whether a wait for the client to take something was left before its end.
    pub fn is_client(&self) -> bool {
        self.to_take.load(Ordering::Relaxed)
    }

    /// Whether the client was waited for to send something last. Where a server takes no more of a body, nobody waits
    /// for more of it.
    pub fn is_clients_part(&self) -> bool {
        self.to_send.load(Ordering::Relaxed)
    }
}

async fn during<T>(flag: &AtomicBool, part: impl Future<Output = T>) -> T {
    flag.store(true, Ordering::Relaxed);
    let done = part.await;
    flag.store(false, Ordering::Relaxed);
    done
}
