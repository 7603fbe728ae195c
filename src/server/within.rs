//! Waits that have an end.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// What comes of it within this span, and how long it was waited for. What is there at once costs no look at the clock,
/// of which a request would have several. It
/// stays where it is: moved in, it would have a second place in each request's memory.
pub async fn within<T>(
    span: Duration,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> (Option<T>, Duration) {
    let at_once = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
    if let Poll::Ready(done) = at_once {
        return (Some(done), Duration::ZERO);
    }
    let since = Instant::now();
    let done = timeout(span, future).await.ok();
    (done, since.elapsed())
}
