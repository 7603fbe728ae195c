//! All that the status page shows, as one document.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::answer::{Answer, millis};
use super::{config, limits, observe};
use crate::config::{hex, restart_only_changes};
use crate::policy::Mode;
use crate::policy::limit::PolicySpec;
use crate::policy::limit::shared::{SharedSpec, Store};
use crate::policy::pattern::Pattern;
use crate::policy::portion::Portion;
use crate::policy::route::{Kind, WidgetRoute};
use crate::process::Process;
use crate::process::history::ReloadRecord;
use crate::process::live::Live;
use crate::process::reload::first_warnings;
use crate::response::rejection::Reason;
use crate::telemetry::metrics::RouteSeries;
use crate::telemetry::outcome::Outcome;
use crate::telemetry::recent::{STEP, STEPS, Totals, Trend};
use crate::upstream::entry::Entry;

/// Members of each list.
const MEMBERS: usize = 10;

/// Rules that would refuse.
const ROWS: usize = 12;

/// Faults of each reload that are told in full: a broken file can have any number of them, and the page
/// asks every two seconds.
const FAULTS: usize = 20;

/// Changes of each reload that are told in full.
const CHANGES: usize = 20;

/// Feeds the ring of the last minutes, for as long as the process lives.
pub async fn sample(process: Arc<Process>) {
    let mut tick = tokio::time::interval(STEP);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let live = process.live.load();
        let totals = Totals::of(
            live.series
                .by_name(live.env())
                .into_iter()
                .map(|(_, series)| series),
        );
        process.recent.lock().sample(totals, process.epoch.elapsed());
    }
}

pub(super) fn status(process: &Process) -> Answer {
    let live = process.live.load();
    let now = SystemTime::now();
    let uptime = process.epoch.elapsed();
    let trend = process.recent.lock().trend();
    Answer::json(&json!({
        "version": env!("CARGO_PKG_VERSION"),
        "revision": env!("GATEWAY_REVISION"),
        "now": millis(now),
        "started": millis(now.checked_sub(uptime).unwrap_or(now)),
        "uptime_seconds": uptime.as_secs(),
        "draining": !process.is_ready(),
        "in_flight": process.metrics.in_flight.get(),
        "held_body_bytes": process.held.bytes(),
        "held_bodies": live.snapshot.loaded.settings.spec.widget.held_bodies,
        "connections_open": process.metrics.connections_open.get(),
        "max_connections": process.max_connections,
        "log_lines_dropped": process.log.dropped(),
        "recent": self::trend(trend.as_ref()),
        "refusals": refusals(&live, trend.as_ref()),
        "routes": routes(&live),
        "upstreams": upstreams(&live),
        "would_refuse": observe::rows(process, ROWS),
        "top": process.top.busy(MEMBERS, uptime),
        "limiter": {
            "max_keys": live.snapshot.loaded.settings.spec.limits.max_keys,
            "policies": policies(process, &live),
            "store": live.env().limits.store().map(|store| self::store(process, store)),
        },
        "configuration": configuration(process, &live),
    }))
}

/// One list of rates per outcome, the latest last.
fn trend(trend: Option<&Trend>) -> Value {
    let rates: Map<_, _> = Outcome::ALL
        .into_iter()
        .map(|outcome| {
            let steps = trend.iter().flat_map(|trend| &trend.rates);
            let of_outcome = steps.filter_map(|rates| rates.get(outcome as usize));
            let rounded: Vec<f64> = of_outcome.map(|rate| (rate * 100.0).round() / 100.0).collect();
            (outcome.label().to_owned(), rounded.into())
        })
        .collect();
    let quantiles = |of: Option<[f64; 2]>| of.map(|[median, most]| json!({ "p50": median, "p95": most }));
    json!({
        "step_seconds": STEP.as_secs(),
        "steps": STEPS,
        "covers_seconds": trend.map_or(Duration::ZERO, |trend| trend.covers).as_secs_f64().round(),
        "rates": rates,
        "duration_seconds": trend.and_then(|trend| quantiles(trend.durations)),
        "overhead_seconds": trend.and_then(|trend| quantiles(trend.overhead)),
    })
}

/// Those that ever were, over all routes.
fn refusals(live: &Live, trend: Option<&Trend>) -> Vec<Value> {
    let routes = live.series.by_name(live.env());
    let mut told = Vec::new();
    for (at, reason) in Reason::ALL.into_iter().enumerate() {
        let total = |mode| {
            routes
                .iter()
                .map(|(_, series)| series.rejections(reason, mode).get())
                .sum::<u64>()
        };
        let (enforced, observed) = (total(Mode::Enforce), total(Mode::Observe));
        if enforced + observed > 0 {
            let recent = trend
                .and_then(|trend| trend.refusals.get(at))
                .copied()
                .unwrap_or_default();
            let [recently_enforced, recently_observed] = recent;
            told.push(json!({
                "reason": reason.code(),
                "status": reason.status(),
                "enforced": enforced,
                "observed": observed,
                "recently_enforced": recently_enforced,
                "recently_observed": recently_observed,
            }));
        }
    }
    told
}

fn routes(live: &Live) -> Vec<Value> {
    let all = live.env().routes.all();
    let named = live.series.by_name(live.env());
    named
        .into_iter()
        .map(|(name, series)| {
            let mut paths = Vec::new();
            let mut modes = Vec::new();
            for route in all.iter().filter(|route| &*route.name == name) {
                let methods: Vec<_> = route.methods.iter().map(http::Method::as_str).collect();
                paths.push(format!(
                    "{} {}",
                    methods.join(" "),
                    config::path_rule(&route.path)
                ));
                modes.push(match route.kind {
                    Kind::Widget(widget) => mode(widget),
                    Kind::Pass(_) => "pass".into(),
                });
            }
            modes.dedup();
            json!({ "name": name, "paths": paths, "modes": modes, "outcomes": outcomes(series) })
        })
        .collect()
}

/// The mode of a widget route; with the portion, where it is not enforced for all.
fn mode(widget: WidgetRoute) -> Cow<'static, str> {
    match widget.mode {
        Mode::Enforce if widget.enforce != Portion::ALL => {
            format!("enforce for {} %", widget.enforce.percent()).into()
        }
        mode => mode.label().into(),
    }
}

fn outcomes(series: &RouteSeries) -> Value {
    let counted =
        Outcome::ALL.map(|outcome| (outcome.label().to_owned(), series.requests(outcome).get().into()));
    Value::Object(counted.into_iter().collect())
}

fn upstreams(live: &Live) -> Vec<Value> {
    let mut upstreams: Vec<_> = live.env().upstreams.values().collect();
    upstreams.sort_by_key(|upstream| &upstream.name);
    upstreams
        .into_iter()
        .map(|upstream| {
            let entries = upstream.listed.iter().map(|listed| &listed.entry);
            let servers: Vec<_> = entries.clone().map(|entry| server(entry)).collect();
            let series = live.series.upstream_by_name(&upstream.name);
            let mut classes = [0; 5];
            for entry in entries {
                for (class, count) in classes.iter_mut().zip(entry.counts.responses()) {
                    *class += count;
                }
            }
            let answers: Map<_, _> = (1..)
                .zip(classes)
                .map(|(class, count)| (format!("{class}xx"), count.into()))
                .collect();
            let retries = series.map_or(0, |series| series.retries.get());
            json!({ "name": &*upstream.name, "servers": servers, "answers": answers, "retries": retries })
        })
        .collect()
}

fn server(entry: &Entry) -> Value {
    let addresses = entry.servers();
    let addresses: Vec<_> = addresses
        .iter()
        .map(|server| json!({ "server_address": server.shown, "up": server.health.is_up(), "in_flight": server.in_flight() }))
        .collect();
    let in_flight: usize = entry.servers().iter().map(|server| server.in_flight()).sum();
    json!({ "name": &*entry.name, "up": entry.is_up(), "in_flight": in_flight, "addresses": addresses })
}

fn store(process: &Process, store: &Store) -> Value {
    let SharedSpec {
        lease,
        on_error,
        replicas,
        ..
    } = store.spec();
    let tally = store.tally();
    let faults: Map<_, _> = tally
        .faults()
        .filter(|(_, count)| *count > 0)
        .map(|(fault, count)| (fault.label().to_owned(), count.into()))
        .collect();
    let judged: Map<_, _> = tally
        .judged()
        .map(|(by, [allowed, limited])| {
            let counts = json!({ "allowed": allowed, "limited": limited });
            (by.label().to_owned(), counts)
        })
        .collect();
    let asked = &process.metrics.store_duration;
    let mean =
        (asked.get_sample_count() > 0).then(|| asked.get_sample_sum() / asked.get_sample_count() as f64);
    json!({
        "up": store.is_up(),
        "lease": lease,
        "on_error": on_error.label(),
        "replicas": replicas,
        "faults": faults,
        "judged": judged,
        "asked": asked.get_sample_count(),
        "mean_seconds": mean,
    })
}

/// Those that the configuration has.
fn policies(process: &Process, live: &Live) -> Vec<Value> {
    let told = live.env().limits.policies().filter_map(|(matches, policy)| {
        let PolicySpec { mode, quota } = policy.spec()?;
        let name = policy.name();
        let table = process.tables.of(name);
        let [allowed, held_back, limited, would_limit] = process.metrics.limit_decisions(name);
        Some(json!({
            "name": name.label(),
            "match": matches.map(Pattern::spelled),
            "mode": mode.label(),
            "quota": limits::quota(quota),
            "overrides": policy.overrides(),
            "keys": table.len(),
            "evicted": table.evicted(),
            "overflowed": table.overflowed(),
            "allowed": allowed,
            "held_back": held_back,
            "limited": limited,
            "would_limit": would_limit,
        }))
    });
    told.collect()
}

fn configuration(process: &Process, live: &Live) -> Value {
    let snapshot = &live.snapshot;
    // A reload holds the history while it looks names up; the page must not wait for it.
    let history = process.history.try_lock();
    let reloads: Option<Vec<_>> = history
        .as_ref()
        .map(|history| history.iter().rev().map(record).collect());
    json!({
        "file": process.path.display().to_string(),
        "generation": snapshot.generation,
        "sha256": hex(&snapshot.loaded.sha256),
        "since": millis(live.applied.at),
        "trigger": live.applied.trigger.label(),
        "waiting": restart_only_changes(&process.server, &snapshot.loaded.settings.server),
        "warnings": first_warnings(&snapshot.loaded.warnings),
        "reloading": reloads.is_none(),
        "reloads": reloads,
    })
}

fn record(record: &ReloadRecord) -> Value {
    json!({
        "at": millis(record.at),
        "trigger": record.trigger.label(),
        "result": record.result.label(),
        "change_count": record.changes.len(),
        "changes": record.changes.iter().take(CHANGES).collect::<Vec<_>>(),
        "fault_count": record.faults.len(),
        "faults": record.faults.iter().take(FAULTS).collect::<Vec<_>>(),
    })
}
