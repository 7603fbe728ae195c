//! The limits of one key: how it stands with each policy that counts by such a key, and its reset.

use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use crate::policy::limit::{AnyPolicy, PolicySpec, Quota, Standing};
use crate::policy::pattern::Pattern;
use crate::process::Process;
use crate::process::live::Live;
use crate::request::field::MemberIdShape;

pub(super) fn show(process: &Process, key: &str) -> Answer {
    match standings(process, key) {
        Ok(told) => Answer::json(&told),
        Err(problem) => problem.into(),
    }
}

/// Gives a key its whole burst back, with every policy. Doing it twice does no harm.
pub(super) fn reset(process: &Process, key: &str) -> Answer {
    let live = process.live.load();
    let shape = live.env().widget.member_id;
    let mut had_state = false;
    for (_, policy) in live.env().limits.policies() {
        had_state |= policy.reset(key, shape);
    }
    match standings(process, key) {
        Ok(mut told) => {
            if let Value::Object(told) = &mut told {
                told.insert("reset".to_owned(), had_state.into());
            }
            // It was read as a key, so it holds no more than a key can.
            let details = json!({ "key": key, "had_state": had_state });
            process.log.event(log::Level::Info, "limit reset", details);
            Answer::json(&told)
        }
        Err(problem) => problem.into(),
    }
}

fn standings(process: &Process, key: &str) -> Result<Value, Problem> {
    let live: &Live = &process.live.load();
    let shape = live.env().widget.member_id;
    let mut policies = live.env().limits.policies();
    if !live
        .env()
        .limits
        .policies()
        .any(|(_, policy)| policy.reads(key, shape))
    {
        return Err(Problem::new(404, "no_key", "No limit counts by such a key").with(
            "detail",
            "a member_id as widget.member_id says, an IP address, the domain of a portal, or gateway",
        ));
    }
    let now = process.epoch.elapsed();
    let mut told = Vec::new();
    for (matches, policy) in policies.by_ref() {
        told.extend(standing(matches, policy, key, shape, now));
    }
    Ok(json!({ "key": key, "policies": told }))
}

/// A key that a policy holds no state of has its full burst.
fn standing(
    matches: Option<&Pattern>,
    policy: &dyn AnyPolicy,
    key: &str,
    shape: MemberIdShape,
    now: std::time::Duration,
) -> Option<Value> {
    let Standing {
        quota,
        is_override,
        state,
    } = policy.state(key, shape, now)?;
    let PolicySpec { mode, quota: _ } = policy.spec()?;
    Some(json!({
        "policy": policy.name().label(),
        "match": matches.map(Pattern::spelled),
        "mode": mode.label(),
        "quota": self::quota(quota),
        "override": is_override,
        "remaining": state.map_or(quota.burst.get(), |state| state.remaining),
        "full_in": state.map_or(0.0, |state| state.full_in.as_secs_f64()),
    }))
}

/// As everywhere in answers: so many per so many seconds, so many at once.
pub(super) fn quota(quota: Quota) -> Value {
    json!({ "rate": quota.rate, "per_seconds": quota.period.seconds(), "burst": quota.burst })
}
