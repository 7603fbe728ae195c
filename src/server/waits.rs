//! Waits: what is there at once costs no look at the clock, of which a request would have several.
//!
//! What is waited for stays where it is: moved in, it would have a second place in each request's memory.

use std::future::Future;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::timeout;

/// What comes of it, and how long it was waited for.
pub async fn timed<T>(mut future: Pin<&mut impl Future<Output = T>>) -> (T, Duration) {
    if let Poll::Ready(done) = at_once(&mut future).await {
        return (done, Duration::ZERO);
    }
    let since = Instant::now();
    (future.await, since.elapsed())
}

/// The same, none where nothing comes of it within this span.
pub async fn within<T>(
    span: Duration,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> (Option<T>, Duration) {
    if let Poll::Ready(done) = at_once(&mut future).await {
        return (Some(done), Duration::ZERO);
    }
    let since = Instant::now();
    let done = timeout(span, future).await.ok();
    (done, since.elapsed())
}

/// What is there at once; the future is dropped, as in a `select`.
pub async fn now_or_not<T>(future: impl Future<Output = T>) -> Option<T> {
    match at_once(&mut pin!(future)).await {
        Poll::Ready(ready) => Some(ready),
        Poll::Pending => None,
    }
}

/// What is there at once; the future goes on.
async fn at_once<T>(future: &mut Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
