//! Spans: one per request, and one under it for each attempt at a server, for an OpenTelemetry collector. A span is gathered in memory that is bounded
//! and sent by a thread of its own, so that a request never waits for a collector. Who is not sampled
//! pays for a look at two bytes; without `[traces] endpoint` there is nothing at all.
//!
//! What is in a span is what the metrics may say, and the client's address: no path, no field, no token.

mod attempt;
mod client;
mod exporter;
mod part;
mod span;

use std::sync::Arc;
use std::time::Duration;

use prometheus::IntCounter;
use serde_json::json;
use tokio::sync::watch;

use super::log::LogSink;
use super::record::RequestRecord;
use exporter::Queue;
pub use span::{Begun, Span, begin};

/// Sends spans to one collector. Dropped, it sends what it has and ends.
pub struct Traces {
    endpoint: String,
    queue: Arc<Queue>,
    /// Closed once the thread has ended.
    ended: watch::Receiver<()>,
}

impl Traces {
    /// For this endpoint: what was there `before`, if it has the same one, or a new one.
    pub fn keep_or_start(
        endpoint: Option<&str>,
        before: Option<&Arc<Traces>>,
        dropped: &IntCounter,
        log: &LogSink,
    ) -> Option<Arc<Traces>> {
        let endpoint = endpoint?;
        if let Some(before) = before.filter(|before| before.endpoint == endpoint) {
            return Some(before.clone());
        }
        match Traces::start(endpoint, dropped, log) {
            Ok(started) => Some(Arc::new(started)),
            Err(e) => {
                let details = json!({ "endpoint": endpoint, "error": e.to_string() });
                log.error("traces can not be sent", details);
                None
            }
        }
    }

    fn start(
        endpoint: &str,
        dropped: &IntCounter,
        log: &LogSink,
    ) -> Result<Traces, Box<dyn std::error::Error + Send + Sync>> {
        let queue = Arc::new(Queue::new(dropped.clone()));
        let ended = exporter::start(endpoint, queue.clone(), log.clone())?;
        Ok(Traces {
            endpoint: endpoint.to_owned(),
            queue,
            ended,
        })
    }

    /// Takes the spans of a request that has ended.
    pub fn end(&self, span: &Span, record: &RequestRecord<'_>) {
        for span in span.ended(record) {
            self.queue.push(span);
        }
    }

    /// Sends what there is and ends; waits for that, but no longer than `within`.
    pub async fn finish(&self, within: Duration) {
        self.queue.end();
        let mut ended = self.ended.clone();
        // An error is the end: the sender is gone.
        let gone = async { while ended.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(within, gone).await;
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        self.queue.end();
    }
}
