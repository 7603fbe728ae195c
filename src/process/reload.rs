//! A reload is a transaction: read, check and build everything, then one swap; or nothing changes and
//! every fault is told. Its triggers are a signal, a watch on the files and a call; they are serialized.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::Level;
use serde_json::json;

use super::history::{History, ReloadRecord};
use super::live::Live;
use super::{Process, look_up, unix_now};
use crate::config::{self, Fault, Loaded, Snapshot, Watched, restart_only_changes};
use crate::pipeline::Env;
use crate::telemetry::metrics::{Reloaded, Trigger};
use crate::upstream::failure::Cause;
use crate::upstream::pool::{Listed, Upstream};
use crate::upstream::resolve::Found;

/// Reloads that are remembered for the status page.
const REMEMBERED: usize = 20;
/// How often the watch looks at the files.
const WATCH_STEP: Duration = Duration::from_millis(200);

/// How a reload ended.
#[derive(Debug)]
pub enum ReloadOutcome {
    /// The new configuration is in force.
    Applied {
        /// Its number.
        generation: u64,
        /// Changed keys that wait for a restart.
        restart_pending: Vec<String>,
    },
    /// Content and meaning are those in force.
    Unchanged {
        /// Its number.
        generation: u64,
        /// Changed keys that wait for a restart.
        restart_pending: Vec<String>,
    },
    /// Nothing changed.
    Refused {
        /// Every fault, in the order of the file.
        faults: Vec<Fault>,
    },
}

impl ReloadOutcome {
    /// For metric and log.
    pub const fn result(&self) -> Reloaded {
        match self {
            ReloadOutcome::Applied { .. } => Reloaded::Applied,
            ReloadOutcome::Unchanged { .. } => Reloaded::Unchanged,
            ReloadOutcome::Refused { .. } => Reloaded::Refused,
        }
    }
}

impl Process {
    /// Reads the configuration again. Blocks: files are read and names are looked up.
    pub fn reload(&self, trigger: Trigger) -> ReloadOutcome {
        // Held to the end: a trigger that comes meanwhile sees what this one leaves.
        let mut history = self.history.lock();
        let seen: Vec<_> = self.files.lock().iter().map(Watched::again).collect();
        let outcome = match config::read(&self.path) {
            Ok(loaded) => {
                self.files.lock().clone_from(&loaded.files);
                self.apply(loaded)
            }
            Err(faults) => {
                *self.files.lock() = seen;
                ReloadOutcome::Refused { faults }
            }
        };
        self.tell_reload(trigger, &outcome, &mut history);
        outcome
    }

    fn apply(&self, loaded: Loaded) -> ReloadOutcome {
        let before = self.live.load_full();
        let restart_pending = restart_only_changes(&self.server, &loaded.settings.server);
        let found = look_up(&loaded);
        if loaded.sha256 == before.snapshot.sha256 && !moves(before.env(), &found) {
            return ReloadOutcome::Unchanged {
                generation: before.snapshot.generation,
                restart_pending,
            };
        }
        log::set_max_level(loaded.settings.log.level);
        let snapshot = Snapshot::build(
            loaded,
            Some(&before.snapshot),
            &found,
            &self.tables,
            self.epoch.elapsed(),
        );
        let generation = snapshot.generation;
        self.metrics
            .in_force(generation, &snapshot.sha256, restart_pending.len());
        let live = Arc::new(Live::new(snapshot, Some(&*before), &self.metrics, &self.log));
        super::store::start(live.env(), self.epoch, &self.metrics, &self.log);
        self.live.store(live.clone());
        self.forget_series(before.env(), live.env());
        self.metrics.certificates(&live.snapshot.not_after());
        ReloadOutcome::Applied {
            generation,
            restart_pending,
        }
    }

    /// Takes the series away whose route, upstream or server is gone.
    fn forget_series(&self, before: &Env, now: &Env) {
        let routes: HashSet<_> = now.routes.all().iter().map(|route| &route.name).collect();
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
                    self.metrics
                        .forget_server((name, &entry.name), Cause::ALL.map(Cause::label));
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
        let common = json!({ "trigger": trigger.label(), "result": result.label() });
        let mut faults = Vec::new();
        let (level, details) = match outcome {
            ReloadOutcome::Applied {
                generation,
                restart_pending,
            } => (
                Level::Info,
                json!({ "generation": generation, "restart_pending": restart_pending }),
            ),
            ReloadOutcome::Unchanged { generation, .. } => (Level::Info, json!({ "generation": generation })),
            ReloadOutcome::Refused { faults: found } => {
                faults = found.iter().map(ToString::to_string).collect();
                (Level::Error, json!({ "faults": faults }))
            }
        };
        let mut all = common;
        if let (Some(all), serde_json::Value::Object(details)) = (all.as_object_mut(), details) {
            all.extend(details);
        }
        self.log.event(level, "reload", all);
        if history.len() == REMEMBERED {
            history.pop_front();
        }
        history.push_back(ReloadRecord {
            at: SystemTime::now(),
            trigger,
            result,
            faults,
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

/// Whether a name has other addresses than those that are asked.
fn moves(env: &Env, found: &Found) -> bool {
    let mut entries = env.upstreams.values().flat_map(|upstream| &upstream.listed);
    entries.any(|Listed { entry, .. }| {
        let found = entry.host_name().and_then(|name| found.get(&name));
        matches!(found, Some(Ok(addresses)) if entry.would_move(addresses))
    })
}
