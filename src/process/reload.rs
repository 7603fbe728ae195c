//! A reload is a transaction: read, check and build everything, then one swap; or nothing changes and
//! every fault is told. Its triggers are a signal, a watch on the files and a call; they are serialized.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::Level;
use serde_json::{Value, json};

use super::history::{History, ReloadRecord};
use super::live::{Applied, Live};
use super::{Process, WARNINGS, look_up, notify, unix_now};
use crate::config::{self, Change, Fault, Loaded, Refused, Snapshot, Waiting, Watched, restart_only_changes};
use crate::pipeline::Env;
use crate::telemetry::log::with;
use crate::telemetry::metrics::{Reloaded, Trigger};
use crate::upstream::pool::{Listed, Upstream};
use crate::upstream::resolve::Found;

/// Reloads that are remembered for the status page.
const REMEMBERED: usize = 20;
/// How often the watch looks at the files.
const WATCH_STEP: Duration = Duration::from_millis(200);

/// Changes that a line of the log tells.
const TOLD_IN_LOG: usize = 50;

/// How a reload ended.
pub enum ReloadOutcome {
    /// The new configuration is in force.
    Applied(InForce),
    /// Content and meaning are those in force.
    Unchanged(InForce),
    /// Nothing changed.
    Refused {
        /// Every fault, in the order of the file.
        faults: Vec<Fault>,
    },
}

/// How it stands after a reload that was not refused.
pub struct InForce {
    /// The configuration.
    pub live: Arc<Live>,
    /// Changed keys that wait for a restart.
    pub waiting: Vec<Waiting>,
}

impl ReloadOutcome {
    /// For metric and log.
    pub const fn result(&self) -> Reloaded {
        match self {
            ReloadOutcome::Applied(_) => Reloaded::Applied,
            ReloadOutcome::Unchanged(_) => Reloaded::Unchanged,
            ReloadOutcome::Refused { .. } => Reloaded::Refused,
        }
    }
}

impl Process {
    /// Reads the configuration again. Blocks: files are read and names are looked up.
    pub fn reload(&self, trigger: Trigger) -> ReloadOutcome {
        // Held to the end: a trigger that comes meanwhile sees what this one leaves.
        let mut history = self.history.lock();
        if !self.is_draining() {
            notify::reloading();
        }
        let mut seen: Vec<_> = self.files.lock().iter().map(Watched::again).collect();
        let outcome = match config::read(&self.path) {
            Ok(loaded) => {
                self.files.lock().clone_from(&loaded.files);
                self.apply(loaded, trigger)
            }
            Err(Refused { faults, files }) => {
                // Those in force, and those that the refused one names: it may only have come too early.
                seen.retain(|old| files.iter().all(|new| new.path != old.path));
                seen.extend(files);
                *self.files.lock() = seen;
                ReloadOutcome::Refused { faults }
            }
        };
        self.tell_reload(trigger, &outcome, &mut history);
        // Who drains has told so, and does not serve again.
        if !self.is_draining() {
            match &outcome {
                ReloadOutcome::Applied(in_force) | ReloadOutcome::Unchanged(in_force) => {
                    notify::ready(in_force.live.snapshot.generation);
                }
                ReloadOutcome::Refused { faults } => {
                    notify::refused(self.live.load().snapshot.generation, faults.len());
                }
            }
        }
        outcome
    }

    fn apply(&self, loaded: Loaded, trigger: Trigger) -> ReloadOutcome {
        let before = self.live.load_full();
        let waiting = restart_only_changes(&self.server, &loaded.settings.server);
        let found = look_up(&loaded);
        let moved = moved(before.env(), &found);
        if loaded.sha256 == before.snapshot.loaded.sha256 && moved.is_empty() {
            let live = before;
            return ReloadOutcome::Unchanged(InForce { live, waiting });
        }
        let mut changes = loaded.source.changes_since(&before.snapshot.loaded.source);
        changes.extend(moved);
        log::set_max_level(loaded.settings.log.level);
        let snapshot = Snapshot::build(
            loaded,
            Some(&before.snapshot),
            &found,
            &self.tables,
            self.epoch.elapsed(),
        );
        self.metrics
            .in_force(snapshot.generation, &snapshot.loaded.shared, waiting.len());
        let applied = Applied {
            at: SystemTime::now(),
            trigger,
            changes,
        };
        let live = Live::new(snapshot, applied, Some(&*before), &self.metrics, &self.log);
        super::store::start(live.env(), self.epoch, &self.metrics, &self.log);
        let live = Arc::new(live);
        self.live.store(live.clone());
        self.forget_series(before.env(), live.env());
        self.metrics.certificates(&live.snapshot.not_after());
        ReloadOutcome::Applied(InForce { live, waiting })
    }

    /// Takes the series away whose route, upstream or server is gone.
    fn forget_series(&self, before: &Env, now: &Env) {
        let routes: HashSet<_> = now.routes.all().iter().map(|route| &route.name).collect();
        self.observed
            .keep_routes(|name| routes.iter().any(|route| &***route == name));
        for route in before
            .routes
            .all()
            .iter()
            .filter(|route| !routes.contains(&route.name))
        {
            self.metrics.forget_route(&route.name);
        }
        for (name, upstream) in &before.upstreams {
            let kept = now.upstreams.get(name);
            for Listed { entry, .. } in &upstream.listed {
                let stays =
                    |kept: &Arc<Upstream>| kept.listed.iter().any(|other| other.entry.name == entry.name);
                if !kept.is_some_and(stays) {
                    self.metrics.forget_server(name, &entry.name);
                }
            }
            if kept.is_none() {
                self.metrics.forget_upstream(name);
            }
        }
    }

    fn tell_reload(&self, trigger: Trigger, outcome: &ReloadOutcome, history: &mut History) {
        let result = outcome.result();
        self.metrics.reloaded(trigger, result, unix_now());
        let (mut changes, mut refused_for) = (Vec::new(), Vec::new());
        let (level, more) = match outcome {
            ReloadOutcome::Applied(in_force) => {
                changes.clone_from(&in_force.live.applied.changes);
                let first: Vec<_> = changes.iter().take(TOLD_IN_LOG).collect();
                let more = json!({ "changed": first, "changed_count": changes.len() });
                (in_force.level(), with(in_force.told(), more))
            }
            ReloadOutcome::Unchanged(in_force) => (in_force.level(), in_force.told()),
            ReloadOutcome::Refused { faults } => {
                refused_for = texts(faults);
                (Level::Error, json!({ "faults": refused_for }))
            }
        };
        let told = json!({ "trigger": trigger.label(), "result": result.label() });
        self.log.event(level, "reload", with(told, more));
        if history.len() == REMEMBERED {
            history.pop_front();
        }
        history.push_back(ReloadRecord {
            at: SystemTime::now(),
            trigger,
            result,
            changes,
            faults: refused_for,
        });
    }

    /// Looks at the files and reloads when they are not as they were last read and then stand still for
    /// one step, so that a file being written is not read half. What counts in the end is the content,
    /// which the reload compares.
    pub async fn watch(self: Arc<Self>) {
        let mut before = Vec::new();
        loop {
            tokio::time::sleep(WATCH_STEP).await;
            let read = self.files.lock().clone();
            let now: Vec<_> = read.iter().map(Watched::again).collect();
            if now != read && now == before {
                let process = self.clone();
                let _ = tokio::task::spawn_blocking(move || process.reload(Trigger::Watch)).await;
            }
            before = now;
        }
    }
}

impl InForce {
    /// For the log and for operators.
    pub fn told(&self) -> Value {
        let count = self.live.snapshot.loaded.warnings.len();
        with(
            standing(&self.live, &self.waiting),
            json!({ "warning_count": count }),
        )
    }

    /// What is suspicious is worth a look.
    fn level(&self) -> Level {
        match self.live.snapshot.loaded.warnings.is_empty() {
            true => Level::Info,
            false => Level::Warn,
        }
    }
}

/// Which configuration is in force, since when, and what of it waits.
pub fn standing(live: &Live, waiting: &[Waiting]) -> Value {
    json!({
        "generation": live.snapshot.generation,
        "since": humantime::format_rfc3339_seconds(live.applied.at).to_string(),
        "since_trigger": live.applied.trigger.label(),
        "restart_pending": waiting.iter().map(|waiting| waiting.key.as_str()).collect::<Vec<_>>(),
        "waiting": waiting,
        "warnings": first_warnings(&live.snapshot.loaded.warnings),
    })
}

/// As `check` prints them.
fn texts(faults: &[Fault]) -> Vec<String> {
    faults.iter().map(ToString::to_string).collect()
}

/// So many of them as are told; how many there are is told beside it.
pub fn first_warnings(warnings: &[Fault]) -> Vec<String> {
    texts(warnings.get(..WARNINGS).unwrap_or(warnings))
}

/// The names that have other addresses than those that are asked.
fn moved(env: &Env, found: &Found) -> Vec<Change> {
    let mut moved = Vec::new();
    for (name, upstream) in &env.upstreams {
        for Listed { entry, .. } in &upstream.listed {
            let found = entry.host_name().and_then(|name| found.get(&name));
            if let Some(Ok(now)) = found
                && entry.would_move(now)
            {
                moved.push(Change {
                    key: format!("upstreams.{name}.servers, the addresses of {}", entry.name),
                    old: json!(entry.addresses()),
                    new: json!(now),
                });
            }
        }
    }
    moved
}
