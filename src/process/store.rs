//! The store that limits are shared by: asked from the moment on that a configuration names it, and told of.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::pipeline::Env;
use crate::policy::limit::shared::{OnError, StoreFault, Tally, Witness};
use crate::telemetry::log::LogSink;
use crate::telemetry::metrics::Metrics;

/// Starts to ask the store of a configuration, where it has one that is not asked yet. Blocks until it was tried, a
/// second at most, so that the first requests find it.
pub(super) fn start(env: &Env, epoch: Instant, metrics: &Arc<Metrics>, log: &LogSink) {
    let Some(store) = env.limits.store() else {
        return;
    };
    let teller = Teller {
        metrics: metrics.clone(),
        log: log.clone(),
    };
    if let Err(e) = store.start(epoch, teller) {
        let details = json!({ "error": e.to_string() });
        log.error("the store of limits is not asked", details);
    }
}

/// Brings the series of a configuration's store up to date, and what was counted of those before it.
pub(super) fn refresh(env: &Env, tally: &Tally, metrics: &Metrics) {
    let store = env.limits.store();
    metrics
        .store_up
        .set(store.is_none_or(|store| store.is_up()).into());
    for (by, counts) in tally.judged() {
        metrics.shared_decisions(by, counts);
    }
    for (fault, count) in tally.faults() {
        metrics.store_errors(fault, count);
    }
}

struct Teller {
    metrics: Arc<Metrics>,
    log: LogSink,
}

impl Witness for Teller {
    fn took(&self, time: Duration) {
        self.metrics.store_duration.observe(time.as_secs_f64());
    }

    fn up(&self, after: Duration) {
        let details = json!({ "after_ms": after.as_millis() as u64 });
        self.log.info("the store of limits is up", details);
    }

    fn down(&self, fault: StoreFault, instead: OnError) {
        let details = json!({ "reason": fault.label(), "instead": instead.label() });
        self.log.warn("the store of limits is down", details);
    }
}
