//! The log: JSON lines on standard error, written by a thread of their own. A line that finds the
//! queue full is dropped and counted; the proxy never waits for a reader.

use std::io::Write;
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that may wait to be written.
const QUEUE: usize = 65_536;

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct LogSink {
    writer: NonBlocking,
    dropped: ErrorCounter,
}

/// Flushes what is queued when it is dropped.
pub struct FlushGuard(#[allow(dead_code, reason = "held for its Drop")] WorkerGuard);

/// Starts the writing thread and takes over the `log` facade (the engine's lines at warn and above).
pub fn start() -> (LogSink, FlushGuard) {
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(QUEUE)
        .thread_name("log")
        .finish(std::io::stderr());
    let sink = LogSink {
        dropped: writer.error_counter(),
        writer,
    };
    // A second start in one process (tests) keeps the first facade.
    let _ = log::set_boxed_logger(Box::new(Facade(sink.clone())));
    log::set_max_level(LevelFilter::Info);
    (sink, FlushGuard(guard))
}

/// RFC 3339, UTC, milliseconds.
pub fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

impl LogSink {
    /// Whether lines of this level are written at all.
    pub fn wants(&self, level: Level) -> bool {
        level <= log::max_level()
    }

    /// Writes one object as one line.
    pub fn line(&self, line: &impl Serialize) {
        if let Ok(mut text) = serde_json::to_vec(line) {
            text.push(b'\n');
            let _ = self.writer.clone().write_all(&text);
        }
    }

    /// Writes an event of the process itself with its details.
    pub fn event(&self, level: Level, msg: &str, details: serde_json::Value) {
        if self.wants(level) {
            self.line(&Event {
                ts: timestamp(),
                level: word(level),
                msg,
                target: None,
                details,
            });
        }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.dropped_lines() as u64
    }
}

/// The word for a level.
pub const fn word(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

#[derive(Serialize)]
struct Event<'a> {
    ts: String,
    level: &'static str,
    msg: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    target: Option<&'a str>,
    #[serde(flatten)]
    details: serde_json::Value,
}

struct Facade(LogSink);

impl Log for Facade {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // The engine's own lines may hold parts of a request below warn.
        self.0.wants(metadata.level()) && (metadata.level() <= Level::Warn || !is_engine(metadata.target()))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let msg = record.args().to_string();
            self.0.line(&Event {
                ts: timestamp(),
                level: word(record.level()),
                msg: &msg,
                target: Some(record.target()),
                details: serde_json::json!({}),
            });
        }
    }

    fn flush(&self) {}
}

fn is_engine(target: &str) -> bool {
    !target.starts_with("widget_gateway")
}
