//! For load balancers and scrapers.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Problem};
use crate::process::Process;

/// Whether requests should be sent here, with the state of every server in the body.
pub(super) fn ready(process: &Process) -> Answer {
    let live = process.live.load();
    let upstreams = live.env().upstreams.values();
    let states: Map<_, _> = upstreams
        .clone()
        .map(|upstream| {
            let entries = upstream.listed.iter().map(|listed| &listed.entry);
            let states = entries.map(|entry| (entry.name.to_string(), entry.is_up().into()));
            (upstream.name.to_string(), Value::Object(states.collect()))
        })
        .collect();
    let all_have_one = || {
        let mut upstreams = upstreams.clone();
        upstreams.all(|upstream| upstream.is_up())
    };
    let ready = process.is_ready() && (!process.server.ready_requires_upstream || all_have_one());
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    Answer::json(&json!({ "ready": ready, "draining": !process.is_ready(), "upstreams": states }))
        .status(status)
}

pub(super) fn metrics(process: &Process) -> Answer {
    process.refresh_metrics();
    match process.metrics.text() {
        Ok(exposition) => Answer::new("text/plain; version=0.0.4; charset=utf-8", exposition),
        Err(_) => Problem::new(500, "internal_error", "The metrics are inconsistent").into(),
    }
}
