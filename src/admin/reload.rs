//! A reload on demand.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use crate::config::Fault;
use crate::process::Process;
use crate::process::reload::{InForce, ReloadOutcome, first_warnings, rfc3339};
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
    let InForce {
        generation,
        since,
        trigger,
        changes,
        waiting,
        warnings,
    } = in_force;
    json!({
        "result": result,
        "generation": generation,
        "since": rfc3339(*since),
        "since_trigger": trigger.label(),
        changed: changes,
        "restart_pending": waiting.iter().map(|waiting| waiting.key.as_str()).collect::<Vec<_>>(),
        "waiting": waiting,
        "warnings": first_warnings(warnings),
        "warning_count": warnings.len(),
    })
}

fn fault(fault: &Fault) -> Value {
    let text = fault.to_string();
    let Fault {
        file,
        line,
        column,
        key,
        message,
        warning,
    } = fault;
    json!({
        "file": file, "line": line, "column": column, "key": key, "message": message, "warning": warning, "text": text,
    })
}
