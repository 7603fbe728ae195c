//! A reload on demand.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use crate::config::Fault;
use crate::process::Process;
use crate::process::reload::{InForce, ReloadOutcome};
use crate::telemetry::log::with;
use crate::telemetry::metrics::Trigger;

pub(super) async fn reload(process: Arc<Process>) -> Answer {
    // Files are read and names are looked up: not on the thread that answers.
    match tokio::task::spawn_blocking(move || process.reload(Trigger::Api)).await {
        Ok(outcome) => answer(outcome),
        Err(_) => Problem::new(500, "internal_error", "The reload ended early").into(),
    }
}

fn answer(outcome: ReloadOutcome) -> Answer {
    let result = outcome.result().label();
    match outcome {
        ReloadOutcome::Applied(in_force) => Answer::json(&told(result, "changed", &in_force)),
        ReloadOutcome::Unchanged(in_force) => Answer::json(&told(result, "changed_then", &in_force)),
        ReloadOutcome::Refused { faults } => {
            let errors: Vec<Value> = faults.iter().map(fault).collect();
            Problem::new(
                422,
                "configuration_refused",
                "The configuration is refused, nothing has changed",
            )
            .with("result", result)
            .with("errors", errors)
            .into()
        }
    }
}

fn told(result: &str, changed: &str, in_force: &InForce) -> Value {
    let changes = &in_force.live.applied.changes;
    with(in_force.told(), json!({ "result": result, changed: changes }))
}

fn fault(fault: &Fault) -> Value {
    with(json!(fault), json!({ "text": fault.to_string() }))
}
