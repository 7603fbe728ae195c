//! A reload on demand.

use std::sync::Arc;

use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use crate::config::Fault;
use crate::process::Process;
use crate::process::reload::ReloadOutcome;
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
        ReloadOutcome::Applied {
            generation,
            restart_pending,
        }
        | ReloadOutcome::Unchanged {
            generation,
            restart_pending,
        } => Answer::json(
            &json!({ "result": result, "generation": generation, "restart_pending": restart_pending }),
        ),
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
