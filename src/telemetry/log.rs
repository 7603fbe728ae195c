//! The log: JSON lines on standard error, written by a thread of their own. Lines are gathered and
//! written together a few times a second, so that a request neither waits for a reader nor wakes a
//! thread. A line that finds the buffer full, or that can not be written, is dropped and counted.

mod engine;
mod writer;

use std::cell::RefCell;
use std::fs::File;
use std::os::fd::AsFd;
use std::panic::PanicHookInfo;
use std::sync::Arc;
use std::time::SystemTime;

use log::{Level, LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use serde_json::{Value, json};

use engine::{EngineLine, Heard};
use writer::Gathered;

pub use writer::FlushGuard;

/// Where lines go. Cheap to clone.
#[derive(Clone)]
pub struct LogSink(Arc<Shared>);

#[derive(Default)]
struct Shared {
    gathered: Arc<Gathered>,
    engine: Heard,
}

/// Starts the writing thread, takes over the `log` facade (the engine's lines at warn and above), and has
/// panics told as lines.
///
/// # Errors
/// Where standard error can not be had or the thread can not be started.
pub fn start() -> std::io::Result<(LogSink, FlushGuard)> {
    let sink = LogSink(Arc::default());
    // A descriptor of its own: a write that blocks holds no lock that anyone else takes.
    let out = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let flush = writer::start(sink.0.gathered.clone(), out)?;
    // A second start in one process keeps the first facade.
    let _ = log::set_boxed_logger(Box::new(Facade(sink.clone())));
    log::set_max_level(LevelFilter::Info);
    let teller = sink.clone();
    std::panic::set_hook(Box::new(move |info| teller.panicked(info)));
    Ok((sink, flush))
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
            self.0.gathered.push(text);
        });
    }

    /// Tells of something that is as it should be, with its details.
    pub fn info(&self, msg: &str, details: Value) {
        self.event(Level::Info, msg, details);
    }

    /// Tells of something that an operator should know.
    pub fn warn(&self, msg: &str, details: Value) {
        self.event(Level::Warn, msg, details);
    }

    /// Tells of something that does not work.
    pub fn error(&self, msg: &str, details: Value) {
        self.event(Level::Error, msg, details);
    }

    /// Writes an event of the process itself with its details.
    pub fn event(&self, level: Level, msg: &str, details: Value) {
        self.told(level, msg, None, details);
    }

    fn told(&self, level: Level, msg: &str, target: Option<&str>, details: Value) {
        if self.wants(level) {
            self.line(&Event {
                ts: timestamp(),
                level: word(level),
                msg,
                target,
                details,
            });
        }
    }

    /// Lines dropped so far.
    pub fn dropped(&self) -> u64 {
        self.0.gathered.dropped()
    }

    /// What the engine wanted to say at warn and error so far, by kind.
    pub fn engine_lines(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.engine.counts()
    }

    /// Tells where a panic was. Its text may hold what a client sent, so it is told only where it is the
    /// same each time.
    fn panicked(&self, info: &PanicHookInfo<'_>) {
        let thread = std::thread::current();
        let event = Event {
            ts: timestamp(),
            level: word(Level::Error),
            msg: "panic",
            target: None,
            details: json!({
                "location": info.location().map(ToString::to_string),
                "thread": thread.name(),
                "reason": info.payload().downcast_ref::<&'static str>(),
            }),
        };
        // Not by `line`: whatever panicked may be using the memory of that.
        if let Ok(mut text) = serde_json::to_vec(&event) {
            text.push(b'\n');
            self.0.gathered.push(&text);
        }
    }
}

/// Two objects in one.
pub fn with(mut told: Value, more: Value) -> Value {
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
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
    details: Value,
}

struct Facade(LogSink);

impl Log for Facade {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Below warn the engine says what it reads.
        let target = metadata.target();
        !is_engine(target) || metadata.level() <= Level::Warn && !is_store(target)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if is_engine(record.target()) {
            let EngineLine { kind, level, text } = self.0.0.engine.judge(record);
            let details = json!({ "engine": kind, "line": record.line() });
            let msg = text.as_deref().unwrap_or("engine");
            self.0.told(level, msg, Some(record.target()), details);
        } else {
            let msg = record.args().to_string();
            self.0
                .told(record.level(), &msg, Some(record.target()), json!({}));
        }
    }

    fn flush(&self) {}
}

/// What the client of the store says has the store's address in it; its faults are counted by reason, and told.
fn is_store(target: &str) -> bool {
    target.split("::").next() == Some("redis")
}

fn is_engine(target: &str) -> bool {
    !target.starts_with("widget_gateway")
}
