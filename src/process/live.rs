//! What is in force: a configuration, ready for decisions, with the series that its requests feed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use crate::config::{Change, Snapshot};
use serde_json::json;

use crate::oauth::Verifier;
use crate::pipeline::Env;
use crate::telemetry::log::LogSink;
use crate::telemetry::metrics::{Metrics, NO_ROUTE, RouteSeries, Trigger, UpstreamSeries};
use crate::telemetry::traces::Traces;
use crate::upstream::pool::{Listed, Upstream};

/// One configuration, immutable. A request holds it from its head to its end.
pub struct Live {
    /// For the pipeline, with what it was made from.
    pub snapshot: Snapshot,
    /// For the telling.
    pub series: Series,
    /// How it came into force.
    pub applied: Applied,
    /// Where spans go, if anywhere.
    pub traces: Option<Arc<Traces>>,
    /// Who asks authorization servers, where callers are verified so.
    pub verifier: Option<Arc<Verifier>>,
}

/// How a configuration came into force.
pub struct Applied {
    /// When.
    pub at: SystemTime,
    /// What asked for it.
    pub trigger: Trigger,
    /// What it changed.
    pub changes: Vec<Change>,
}

impl Live {
    /// Creates the series that are not there yet; keeps the way to the collector if it is the same.
    pub fn new(
        snapshot: Snapshot,
        applied: Applied,
        before: Option<&Live>,
        metrics: &Metrics,
        log: &LogSink,
    ) -> Live {
        Live {
            applied,
            series: Series::of(&snapshot.env, metrics),
            traces: Traces::keep_or_start(
                snapshot.loaded.settings.traces.endpoint.as_deref(),
                before.and_then(|before| before.traces.as_ref()),
                &metrics.trace_spans_dropped,
                log,
            ),
            verifier: verifier(&snapshot, before, metrics, log),
            snapshot,
        }
    }

    /// What requests are decided by.
    pub fn env(&self) -> &Env {
        &self.snapshot.env
    }
}

/// A new one only where what it is made by has changed: what it remembers would be asked for again.
fn verifier(
    snapshot: &Snapshot,
    before: Option<&Live>,
    metrics: &Metrics,
    log: &LogSink,
) -> Option<Arc<Verifier>> {
    let rules = snapshot.loaded.settings.spec.verify.as_ref()?.ask_rules()?;
    let before = before.and_then(|before| before.verifier.as_ref());
    Verifier::keep_or_build(rules, before, &metrics.verification_duration)
        .map_err(|e| {
            let details = json!({ "error": e.to_string() });
            log.error("callers can not be verified", details);
        })
        .ok()
}

/// Brings the series of an upstream's servers up to date, and creates those that are not there yet.
pub(super) fn refresh(metrics: &Metrics, upstream: &Upstream) {
    let in_flight = upstream.servers().map(|server| server.in_flight()).sum();
    let queued = upstream.places.as_ref().map_or(0, |places| places.waiting());
    metrics.upstream_load(&upstream.name, in_flight, queued);
    for Listed { entry, .. } in &upstream.listed {
        let counts = &entry.counts;
        metrics.server(
            (&upstream.name, &entry.name),
            entry.is_up(),
            &counts.responses(),
            counts.failures().map(|(cause, count)| (cause.label(), count)),
            [counts.ejections(), counts.address_changes()],
        );
    }
}

/// The series of a configuration's routes and upstreams.
pub struct Series {
    routes: Vec<Arc<RouteSeries>>,
    none: Arc<RouteSeries>,
    upstreams: HashMap<Arc<str>, Arc<UpstreamSeries>>,
    /// Of each route's upstream.
    behind: Vec<Option<Arc<UpstreamSeries>>>,
}

impl Series {
    fn of(env: &Env, metrics: &Metrics) -> Series {
        for upstream in env.upstreams.values() {
            refresh(metrics, upstream);
        }
        let upstreams: HashMap<_, _> = env
            .upstreams
            .keys()
            .map(|name| (name.clone(), metrics.upstream(name)))
            .collect();
        let routes = env.routes.all();
        Series {
            routes: routes.iter().map(|route| metrics.route(&route.name)).collect(),
            none: metrics.route(NO_ROUTE),
            behind: routes
                .iter()
                .map(|route| upstreams.get(&route.upstream).cloned())
                .collect(),
            upstreams,
        }
    }

    /// Of a route by its index, or of `none`.
    pub fn route(&self, index: Option<usize>) -> &RouteSeries {
        index.and_then(|at| self.routes.get(at)).unwrap_or(&self.none)
    }

    /// Every route once, by its name; routes of one name share their series. The last is `none`.
    pub fn by_name<'a>(&'a self, env: &'a Env) -> Vec<(&'a str, &'a RouteSeries)> {
        let mut named: Vec<(&str, &RouteSeries)> = Vec::new();
        for (route, series) in env.routes.all().iter().zip(&self.routes) {
            if named.iter().all(|(name, _)| *name != &*route.name) {
                named.push((&route.name, series));
            }
        }
        named.push((NO_ROUTE, &self.none));
        named
    }

    /// Of the upstream of a route, by the route's index.
    pub fn upstream(&self, route: Option<usize>) -> Option<&UpstreamSeries> {
        self.behind.get(route?)?.as_deref()
    }

    /// Of an upstream by its name.
    pub fn upstream_by_name(&self, name: &Arc<str>) -> Option<&UpstreamSeries> {
        self.upstreams.get(name).map(|series| &**series)
    }
}
