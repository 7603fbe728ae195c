//! Who is busy.

use serde_json::json;

use super::answer::{Answer, Problem};
use crate::process::Process;

const DEFAULT: usize = 20;
/// All that the sketch could hold.
const MOST: usize = 1000;

pub(super) fn top(process: &Process, query: Option<&str>) -> Answer {
    match wanted(query.unwrap_or_default(), DEFAULT) {
        Some(n) => Answer::json(&json!(process.top.busy(n, process.epoch.elapsed()))),
        None => Problem::new(400, "bad_parameter", "n is a number from 1 to 1000").into(),
    }
}

/// How many are asked for, at most so many as there can be.
pub(super) fn wanted(query: &str, default: usize) -> Option<usize> {
    let mut n = default;
    for pair in query.split('&') {
        if let Some(value) = pair.strip_prefix("n=") {
            n = value.parse().ok().filter(|n| (1..=MOST).contains(n))?;
        }
    }
    Some(n)
}
