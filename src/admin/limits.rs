//! The limits of one key: how it stands with each policy that counts by such a key, here and in the store that
//! replicas share, and its reset.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, Problem};
use crate::policy::limit::shared::{LeaseState, OnError, StoreFault, Told};
use crate::policy::limit::{AnyPolicy, Class, KeyState, PolicySpec, Quota, SharedStanding, Standing};
use crate::policy::pattern::Pattern;
use crate::process::Process;
use crate::request::field::MemberIdShape;
use crate::telemetry::log::with;

pub(super) async fn show(process: &Process, key: &str) -> Answer {
    let asked = ask(process, key, |policy, shape, class, now| {
        policy.state(key, shape, class, now)
    });
    match asked {
        Ok(rows) => Answer::json(&json!({ "key": key, "policies": tell(rows).await.policies })),
        Err(problem) => problem.into(),
    }
}

/// Gives a key its whole burst back, with every policy, here and in the store. Doing it twice does no harm.
pub(super) async fn reset(process: &Process, key: &str) -> Answer {
    let mut had_state = false;
    let asked = ask(process, key, |policy, shape, class, now| {
        let (had, standing) = policy.reset(key, shape, class, now)?;
        had_state |= had;
        Some(standing)
    });
    let rows = match asked {
        Ok(rows) => rows,
        Err(problem) => return problem.into(),
    };
    let Rows { policies, store } = tell(rows).await;
    // It was read as a key, so it holds no more than a key can.
    let details = json!({ "key": key, "had_state": had_state, "store": store.label() });
    process.log.info("limit reset", details);
    let reset = match store {
        Side::Nowhere => had_state,
        Side::Answered => true,
        Side::Silent(why) => {
            return Problem::new(
                503,
                "store_silent",
                "The store of limits did not say that it is done",
            )
            .with("detail", format!("What is kept here is reset. {why}"))
            .with("policies", policies)
            .into();
        }
    };
    Answer::json(&json!({ "key": key, "policies": policies, "reset": reset }))
}

/// How a key stands with one policy, as far as nobody has to be waited for.
struct Row {
    class: Class,
    matches: Value,
    policy: &'static str,
    mode: &'static str,
    standing: Standing,
    on_error: OnError,
}

/// Asks each policy that counts by such a key, one after the other; what they ask the store is on its way then.
fn ask(
    process: &Process,
    key: &str,
    mut of: impl FnMut(&dyn AnyPolicy, MemberIdShape, Class, Duration) -> Option<Standing>,
) -> Result<Vec<Row>, Problem> {
    let live = process.live.load();
    let shape = live.env().widget.member_id;
    let limits = &live.env().limits;
    if !limits.policies().any(|(_, policy)| policy.reads(key, shape)) {
        return Err(Problem::new(404, "no_key", "No limit counts by such a key").with(
            "detail",
            "a member_id as widget.member_id says, an IP address, the domain of a portal, or gateway",
        ));
    }
    let now = process.epoch.elapsed();
    let on_error = limits.store().map(|store| store.spec().on_error);
    let classes: &[Class] = match live.env().verify {
        Some(_) => &[Class::Itself, Class::Unproven],
        None => &[Class::Itself],
    };
    let each = limits
        .policies()
        .flat_map(|(matches, policy)| classes.iter().map(move |class| (matches, policy, *class)));
    let rows = each.filter_map(|(matches, policy, class)| {
        let PolicySpec { mode, quota: _ } = policy.spec()?;
        Some(Row {
            class,
            matches: matches.map(Pattern::spelled).into(),
            policy: policy.name().label(),
            mode: mode.label(),
            standing: of(policy, shape, class, now)?,
            on_error: on_error.unwrap_or_default(),
        })
    });
    Ok(rows.collect())
}

struct Rows {
    policies: Vec<Value>,
    store: Side,
}

/// What the store did with all that it was asked.
#[derive(Clone, Copy)]
enum Side {
    /// It was asked nothing.
    Nowhere,
    /// It has answered.
    Answered,
    /// Something of it has no answer; what an operator does then.
    Silent(&'static str),
}

impl Side {
    fn and(self, said: Told) -> Side {
        match (self, said) {
            (Side::Nowhere | Side::Answered, Told::Left(_)) => Side::Answered,
            (Side::Silent(why), _) => Side::Silent(why),
            (_, Told::Down) => Side::Silent("Ask again once the store is up"),
            (_, Told::Failed(StoreFault::Timeout)) => Side::Silent("Ask again"),
            (_, Told::Failed(_)) => {
                Side::Silent("Asking again does not help before its fault, which stands below, is mended")
            }
        }
    }

    /// For the log.
    const fn label(self) -> Option<&'static str> {
        match self {
            Side::Nowhere => None,
            Side::Answered => Some("answered"),
            Side::Silent(_) => Some("silent"),
        }
    }
}

/// Waits for the store, for all rows together no longer than it may take to answer one.
async fn tell(rows: Vec<Row>) -> Rows {
    let mut policies = Vec::new();
    let mut store = Side::Nowhere;
    for row in rows {
        let Standing {
            quota,
            is_override,
            local,
            shared,
        } = row.standing;
        let told = json!({
            "policy": row.policy,
            "match": row.matches,
            "mode": row.mode,
            "quota": self::quota(quota),
            "override": is_override,
        });
        let told = match row.class {
            Class::Itself => told,
            Class::Unproven => with(told, json!({ "caller": "unproven" })),
        };
        let (counts, more) = match shared {
            None => (local, json!({})),
            Some(shared) => {
                let SharedStanding {
                    local_burst,
                    lease,
                    inquiry,
                } = shared;
                let said = inquiry.told().await;
                store = store.and(said);
                let instead = row.on_error.label();
                let (counts, judged_by, said) = match said {
                    Told::Left(left) => (left, "store", state(left)),
                    Told::Down => (local, instead, json!({ "fault": "down" })),
                    Told::Failed(fault) => (local, instead, json!({ "fault": fault.label() })),
                };
                let more = json!({
                    "local": with(state(local), json!({ "burst": local_burst })),
                    "lease": lease.map(self::lease),
                    "store": said,
                    "judged_by": judged_by,
                });
                (counts, more)
            }
        };
        policies.push(with(with(told, state(counts)), more));
    }
    Rows { policies, store }
}

fn lease(lease: LeaseState) -> Value {
    let LeaseState {
        held,
        owed,
        refused_for,
    } = lease;
    json!({ "held": held, "owed": owed, "refused_for": refused_for.as_secs_f64() })
}

fn state(KeyState { remaining, full_in }: KeyState) -> Value {
    json!({ "remaining": remaining, "full_in": full_in.as_secs_f64() })
}

/// As everywhere in answers: so many per so many seconds, so many at once.
pub(super) fn quota(quota: Quota) -> Value {
    json!({ "rate": quota.rate, "per_seconds": quota.period.seconds(), "burst": quota.burst })
}
