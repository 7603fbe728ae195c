//! The thread that sends spans, and the bounded queue before it.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::resource::EnvResourceDetector;
use opentelemetry_sdk::trace::{SpanData, SpanExporter as _};
use parking_lot::Mutex;
use prometheus::IntCounter;
use serde_json::json;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::client::Client;
use crate::telemetry::log::LogSink;

/// Spans that may wait. One is about a kilobyte.
const QUEUE: usize = 8192;
/// Spans that are sent at once; so many do not wait any longer.
const BATCH: usize = 512;
/// The longest that a span waits while the collector is well.
const GATHER: Duration = Duration::from_millis(500);
/// For one batch with all attempts to send it.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(3);

/// Spans on their way to the thread.
pub(super) struct Queue {
    spans: Mutex<Vec<SpanData>>,
    dropped: IntCounter,
    ends: AtomicBool,
    wake: Notify,
}

impl Queue {
    /// Counts what it can not take and what could not be sent.
    pub(super) fn new(dropped: IntCounter) -> Queue {
        Queue {
            spans: Mutex::default(),
            dropped,
            ends: AtomicBool::new(false),
            wake: Notify::new(),
        }
    }

    /// Takes a span, or counts it where there is no room.
    pub(super) fn push(&self, span: SpanData) {
        let waiting = {
            let mut spans = self.spans.lock();
            if spans.len() >= QUEUE {
                self.dropped.inc();
                return;
            }
            spans.push(span);
            spans.len()
        };
        // Once per batch: waking a thread is dear.
        if waiting == BATCH {
            self.wake.notify_one();
        }
    }

    /// What waits is sent now, and nothing after it.
    pub(super) fn end(&self) {
        self.ends.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

/// Who sends. What the environment says goes over what is said here (`OTEL_RESOURCE_ATTRIBUTES`,
/// `OTEL_SERVICE_NAME`).
fn resource() -> Resource {
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", INSTANCE.as_str()),
    ];
    let resource = Resource::builder_empty()
        .with_service_name(env!("CARGO_PKG_NAME"))
        .with_attributes(own)
        .with_detector(Box::new(EnvResourceDetector::new()));
    match std::env::var("OTEL_SERVICE_NAME") {
        Ok(name) if !name.is_empty() => resource.with_service_name(name).build(),
        Ok(_) | Err(_) => resource.build(),
    }
}

/// Another for each process, the same for all that it sends: a UUID of version 4 (RFC 9562 5.4).
static INSTANCE: LazyLock<String> = LazyLock::new(|| {
    let drawn = rand::random::<u128>();
    let id = drawn & !(0xf << 76) & !(0b11 << 62) | 4 << 76 | 0b10 << 62;
    let digits = format!("{id:032x}");
    let groups = [0..8, 8..12, 12..16, 16..20, 20..32].map(|group| digits.get(group).unwrap_or_default());
    groups.join("-")
});

/// Starts the thread. The receiver is closed once it has ended.
pub(super) fn start(
    endpoint: &str,
    queue: Arc<Queue>,
    log: LogSink,
) -> Result<watch::Receiver<()>, Box<dyn std::error::Error + Send + Sync>> {
    let mut exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(EXPORT_TIMEOUT)
        .with_http_client(Client::new())
        .build()?;
    exporter.set_resource(&resource());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (alive, ended) = watch::channel(());
    let endpoint = endpoint.to_owned();
    let sending = async move {
        let _alive = alive;
        let mut is_well = true;
        loop {
            // Asked first: what was pushed before the end is taken after it.
            let ends = queue.ends.load(Ordering::Acquire);
            let mut waiting = std::mem::take(&mut *queue.spans.lock()).into_iter();
            loop {
                let batch: Vec<_> = waiting.by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    break;
                }
                let count = batch.len();
                let sent = exporter.export(batch).await;
                if sent.is_err() {
                    queue.dropped.inc_by(count as u64);
                }
                // Told when it changes, not each time.
                if sent.is_ok() != is_well {
                    is_well = sent.is_ok();
                    let details = json!({ "endpoint": endpoint, "error": sent.err().map(|e| e.to_string()) });
                    match is_well {
                        true => log.info("spans are sent again", details),
                        false => log.warn("spans can not be sent", details),
                    }
                }
            }
            if ends {
                break;
            }
            let _ = timeout(GATHER, queue.wake.notified()).await;
        }
    };
    std::thread::Builder::new()
        .name("traces".to_owned())
        .spawn(move || runtime.block_on(sending))?;
    Ok(ended)
}
