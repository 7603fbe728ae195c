//! The limit of one member: its state, and its reset.

use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use crate::policy::limit::{PolicyName, Quota};
use crate::process::Process;
use crate::request::field::MemberId;

pub(super) fn show(process: &Process, member: &str) -> Answer {
    match find(process, member) {
        Ok(member) => Answer::json(&state(process, &member)),
        Err(problem) => problem.into(),
    }
}

/// Gives a member its whole burst back. Doing it twice does no harm.
pub(super) fn reset(process: &Process, member: &str) -> Answer {
    let member = match find(process, member) {
        Ok(member) => member,
        Err(problem) => return problem.into(),
    };
    let had_state = match process.live.load().env().limits.member.quotas() {
        Some(quotas) => quotas.limiter_of(&member).reset(&member),
        None => false,
    };
    let mut answer = state(process, &member);
    if let Value::Object(answer) = &mut answer {
        answer.insert("reset".to_owned(), had_state.into());
    }
    let details = json!({ "member_id": member.to_string(), "had_state": had_state });
    process.log.event(log::Level::Info, "limit reset", details);
    Answer::json(&answer)
}

fn find(process: &Process, member: &str) -> Result<MemberId, Problem> {
    let shape = process.live.load().env().widget.member_id;
    MemberId::parse(member.as_bytes(), shape).map_err(|_| {
        Problem::new(404, "no_member_id", "This is no member_id").with("detail", "see widget.member_id")
    })
}

/// A member that the limiter holds no state of has its full burst.
fn state(process: &Process, member: &MemberId) -> Value {
    let live = process.live.load();
    let Some(quotas) = live.env().limits.member.quotas() else {
        return json!({ "member_id": member.to_string(), "policy": null });
    };
    let limiter = quotas.limiter_of(member);
    let used = limiter.peek(member, process.epoch.elapsed());
    let overrides = live
        .snapshot
        .settings
        .spec
        .member_limit
        .iter()
        .flat_map(|limit| &limit.overrides);
    json!({
        "member_id": member.to_string(),
        "policy": PolicyName::Member.label(),
        "mode": quotas.mode.label(),
        "quota": quota(limiter.quota()),
        "override": overrides.clone().any(|(other, _)| other == member),
        "remaining": used.map_or(limiter.quota().burst.get(), |state| state.remaining),
        "full_in": used.map_or(0.0, |state| state.full_in.as_secs_f64()),
    })
}

/// As everywhere in answers: so many per so many seconds, so many at once.
pub(super) fn quota(quota: Quota) -> Value {
    json!({ "rate": quota.rate, "per_seconds": quota.period.seconds(), "burst": quota.burst })
}
