//! What runs, without a socket: the configuration in force, what requests share, the reload.

pub mod descriptors;
pub mod history;
pub mod live;
pub mod notify;
pub mod reload;
pub mod request;
mod store;
mod upkeep;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde_json::json;

use crate::config::{Fault, Loaded, ServerSettings, Snapshot, Watched};
use crate::policy::limit::KeyTables;
use crate::request::body::HeldBodies;
use crate::telemetry::log::LogSink;
use crate::telemetry::metrics::{self, Metrics, Reloaded, Trigger};
use crate::telemetry::notice::Notices;
use crate::telemetry::observed::Observed;
use crate::telemetry::recent::Recent;
use crate::telemetry::top::Top;
use crate::upstream::idle::IdleBound;
use crate::upstream::resolve;
use history::History;
use live::{Applied, Live};

/// Warnings of a configuration that are told; `check` tells all.
pub const WARNINGS: usize = 20;

/// The listeners open after at most so long a wait for names, and a reload waits no longer.
const FIRST_LOOK_UP: Duration = Duration::from_secs(2);

/// What the parts of the process share.
pub struct Process {
    /// The configuration in force.
    pub live: Arc<ArcSwap<Live>>,
    /// Every family.
    pub metrics: Arc<Metrics>,
    /// Who is busy.
    pub top: Arc<Top>,
    /// What observe mode let through.
    pub observed: Observed,
    /// The last two minutes.
    pub recent: Mutex<Recent>,
    /// Where lines go.
    pub log: LogSink,
    /// What is told in words, seldom.
    pub notices: Notices,
    /// The tables of all limiters.
    pub tables: KeyTables,
    /// All held bodies.
    pub held: Arc<HeldBodies>,
    /// Idle connections of held calls, over all servers.
    pub idle: Arc<IdleBound>,
    /// The moment that the limiter's time counts from.
    pub epoch: Instant,
    /// Set once the process drains.
    pub draining: Arc<AtomicBool>,
    /// The file that is read and read again.
    pub path: PathBuf,
    /// The files whose content counts, that one and those that it names, as they were last read.
    pub files: Mutex<Vec<Watched>>,
    /// The last reloads. Held while one is under way, which serializes them.
    pub history: Mutex<History>,
    /// As the listeners were built.
    pub server: ServerSettings,
    /// Client connections open at once: as the file says, or as many as there are descriptors for.
    pub max_connections: usize,
    /// Threads that serve requests.
    pub threads: usize,
}

impl Process {
    /// What `loaded` says, in force, with nothing counted yet. Blocks: names are looked up.
    pub fn new(path: &Path, loaded: Loaded, metrics: Arc<Metrics>, log: LogSink) -> Arc<Process> {
        let epoch = Instant::now();
        let tables = KeyTables::new(loaded.settings.spec.limits.max_keys);
        let server = loaded.settings.server.clone();
        let threads = server.threads.map_or_else(cores, usize::from);
        let max_connections = descriptors::raise(server.max_connections, threads, &log);
        ::log::set_max_level(loaded.settings.log.level);
        let files = loaded.files.clone();
        let found = look_up(&loaded);
        let snapshot = Snapshot::build(loaded, None, &found, &tables, Duration::ZERO);
        metrics.certificates(&snapshot.not_after());
        metrics.reloaded(Trigger::Start, Reloaded::Applied, unix_now());
        metrics.in_force(snapshot.generation, &snapshot.loaded.shared, 0);
        tell_warnings(&snapshot.loaded.warnings, &log);
        let applied = Applied {
            at: SystemTime::now(),
            trigger: Trigger::Start,
            changes: Vec::new(),
        };
        let live = Live::new(snapshot, applied, None, &metrics, &log);
        store::start(live.env(), epoch, &metrics, &log);
        Arc::new(Process {
            live: Arc::new(ArcSwap::from_pointee(live)),
            metrics,
            top: Arc::default(),
            observed: Observed::default(),
            recent: Mutex::default(),
            log,
            notices: Notices::default(),
            tables,
            held: Arc::default(),
            idle: Arc::new(IdleBound::new(descriptors::most_idle(max_connections))),
            epoch,
            draining: Arc::new(AtomicBool::new(false)),
            path: path.to_owned(),
            files: Mutex::new(files),
            history: Mutex::default(),
            server,
            max_connections,
            threads,
        })
    }

    /// Brings the families up to date whose source counts by itself; before each scrape.
    pub fn refresh_metrics(&self) {
        for (policy, table) in self.tables.each() {
            self.metrics.limiter_table(policy, table);
        }
        metrics::set(&self.metrics.held_body_bytes, self.held.bytes());
        metrics::catch_up(&self.metrics.log_lines_dropped, self.log.dropped());
        self.metrics.engine_lines(self.log.engine_lines());
        store::refresh(self.live.load().env(), self.tables.tally(), &self.metrics);
        for upstream in self.live.load().env().upstreams.values() {
            live::refresh(&self.metrics, upstream);
        }
    }

    /// Whether connections end with the request they have.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Closes idle connections that are too old; now and then.
    pub fn sweep_idle(&self) {
        let now = Instant::now();
        for upstream in self.live.load().env().upstreams.values() {
            upstream.servers().for_each(|server| server.idle.sweep(now));
        }
    }

    /// Whether a load balancer should send requests here.
    pub fn is_ready(&self) -> bool {
        !self.is_draining()
    }
}

/// The first ones each on a line; a file can have any number of them.
fn tell_warnings(warnings: &[Fault], log: &LogSink) {
    for warning in warnings.iter().take(WARNINGS) {
        let details = json!({ "warning": warning.to_string() });
        log.warn("configuration warning", details);
    }
    let more = warnings.len().saturating_sub(WARNINGS);
    if more > 0 {
        log.warn("further configuration warnings", json!({ "count": more }));
    }
}

/// What the names of a configuration mean now.
fn look_up(loaded: &Loaded) -> resolve::Found {
    resolve::look_up_all(loaded.settings.spec.host_names().cloned(), FIRST_LOOK_UP)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Seconds since the epoch.
pub fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
