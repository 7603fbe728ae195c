//! The log: JSON lines on standard error, written by a thread of their own. Lines are gathered and
//! written together a few times a second, so that a request neither waits for a reader nor wakes a
//! thread. A line that finds the buffer full is dropped and counted.

use std::cell::RefCell;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use log::{Level, LevelFilter, Log, Metadata, Record};
use parking_lot::Mutex;
use serde::Serialize;

/// Bytes that may wait to be written: some 20 000 lines.
const BUFFER: usize = 8 * 1024 * 1024;
/// The longest that a line waits.
const GATHER: Duration = Duration::from_millis(20);

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct LogSink(Arc<Gathered>);

#[derive(Default)]
struct Gathered {
    lines: Mutex<Vec<u8>>,
    dropped: AtomicU64,
    ends: AtomicBool,
}

impl Gathered {
    /// Writes what has been gathered.
    fn write(&self, spare: &mut Vec<u8>) {
        spare.clear();
        std::mem::swap(&mut *self.lines.lock(), spare);
        if !spare.is_empty() {
            // Nobody can be told that standard error is gone.
            let _ = std::io::stderr().lock().write_all(spare);
        }
    }
}

/// Writes out what is gathered when it is dropped.
pub struct FlushGuard {
    gathered: Arc<Gathered>,
    writer: Option<JoinHandle<()>>,
}

impl Drop for FlushGuard {
    fn drop(&mut self) {
        self.gathered.ends.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            writer.thread().unpark();
            let _ = writer.join();
        }
    }
}

/// Starts the writing thread and takes over the `log` facade (the engine's lines at warn and above).
///
/// # Errors
/// Where the thread can not be started.
pub fn start() -> std::io::Result<(LogSink, FlushGuard)> {
    let gathered = Arc::new(Gathered::default());
    let shared = gathered.clone();
    let writer = std::thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            let mut spare = Vec::new();
            while !shared.ends.load(Ordering::Acquire) {
                std::thread::park_timeout(GATHER);
                shared.write(&mut spare);
            }
            shared.write(&mut spare);
        })?;
    let sink = LogSink(gathered.clone());
    // A second start in one process keeps the first facade.
    let _ = log::set_boxed_logger(Box::new(Facade(sink.clone())));
    log::set_max_level(LevelFilter::Info);
    Ok((
        sink,
        FlushGuard {
            gathered,
            writer: Some(writer),
        },
    ))
}

/// RFC 3339, UTC, milliseconds.
pub fn timestamp() -> String {
    humantime::format_rfc3339_millis(SystemTime::now()).to_string()
}

/// The same, with what stays the same for a second kept.
pub fn append_timestamp(out: &mut Vec<u8>) {
    thread_local! {
        static SECOND: RefCell<(u64, String)> = const { RefCell::new((u64::MAX, String::new())) };
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != now.as_secs() {
            *second = now.as_secs();
            *text = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + now).to_string();
        }
        out.extend_from_slice(text.trim_end_matches('Z').as_bytes());
    });
    let millis = now.subsec_millis();
    out.push(b'.');
    for unit in [100, 10, 1] {
        out.push(b'0' + (millis / unit % 10) as u8);
    }
    out.push(b'Z');
}

impl LogSink {
    /// Whether lines of this level are written at all.
    pub fn wants(&self, level: Level) -> bool {
        level <= log::max_level()
    }

    /// Writes one object as one line.
    pub fn line(&self, line: &impl Serialize) {
        // Writing texts and numbers to memory does not fail.
        self.line_with(|text| _ = serde_json::to_writer(text, line));
    }

    /// Writes as one line what is appended.
    pub fn line_with(&self, append: impl FnOnce(&mut Vec<u8>)) {
        thread_local! {
            /// The line is made outside the lock, in memory that is kept.
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        LINE.with_borrow_mut(|text| {
            text.clear();
            append(text);
            text.push(b'\n');
            let mut lines = self.0.lines.lock();
            if lines.len() + text.len() > BUFFER {
                self.0.dropped.fetch_add(1, Ordering::Relaxed);
            } else {
                lines.extend_from_slice(text);
            }
        });
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
        self.0.dropped.load(Ordering::Relaxed)
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
