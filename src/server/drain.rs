//! When a connection without a request has to end.

use std::time::Duration;

use pingora::server::ShutdownWatch;

/// For the first request of a connection that was accepted just before the gateway stopped accepting.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Resolves when the gateway drains, so that a connection without a request is closed. One that has not
/// had its first request yet was opened to make one: it gets a moment for it.
pub(super) async fn drains(stopping: &mut ShutdownWatch, is_first: impl Fn() -> bool) {
    // An error says that the sender is gone, which happens at the very end only.
    if stopping.wait_for(|&stops| stops).await.is_err() {
        std::future::pending::<()>().await;
    }
    if is_first() {
        tokio::time::sleep(FIRST_REQUEST_GRACE).await;
    }
}
