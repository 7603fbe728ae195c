//! A sound call becomes a [`Permit`]: [`Limits`] asks each policy by its own key, GCRA is governor's.
//!
//! A new policy that is keyed by the call is a field of [`Limits`] and a line in [`Limits::admit`]; a new kind
//! of key implements [`Key`]. What each said travels as [`Decisions`] to metric, log and `explain`, which know
//! no policy by name.

mod clock;
mod quota;
pub mod keys;
pub mod shared;
mod limiter;
mod decision;
mod policy;
#[cfg(test)]
mod tests;

pub use clock::Now;
pub use decision::{Decision, Decisions, Outcome, PolicyName};
pub use limiter::{Asked, Key, KeyState, Limited, Limiter};
pub use policy::{Policy, Quotas};
pub use quota::{Period, Quota};

use crate::policy::Mode;
use crate::policy::validate::Call;
use crate::request::field::MemberId;

/// The policies that a sound call goes through.
pub struct Limits {
    /// `[limits.member]`
    pub member: Policy<MemberId>,
}

impl Default for Limits {
    /// No limit at all.
    fn default() -> Limits {
        Limits {
            member: Policy::unlimited(PolicyName::Member),
        }
    }
}

impl Limits {
    /// Asks every policy for one request of this call at `now`, on a route of this mode. Keys are taken from
    /// the call itself.
    ///
    /// # Errors
    /// The first policy that refuses; those behind it are not asked.
    pub fn admit(&self, call: Call, route: Mode, now: Now) -> Result<Permit, Refused> {
        let mut decisions = Decisions::default();
        // What portals send by themselves is not their users' doing, and is lost to no storm of theirs.
        let Some(member) = call.limited_member() else {
            return Ok(Permit { call, decisions });
        };
        let decision = self.member.decide(member, route, now);
        decisions.add(decision);
        match decision.outcome {
            Outcome::Unlimited | Outcome::Granted(_) | Outcome::Observed(_) => Ok(Permit { call, decisions }),
            Outcome::Refused(limited) => Err(Refused {
                policy: decision.policy,
                limited,
                decisions,
            }),
        }
    }

    /// Forgets the keys whose state equals that of a key never seen.
    pub fn sweep(&self, now: Now) {
        let Limits { member } = self;
        member.sweep(now);
    }
}

/// A sound call that the limits let through, with what they said: granted, without a limit, or over it and
/// only observed.
///
/// The call goes into [`Limits::admit`] and comes out in here, so nobody can have been asked about but its own
/// member. There is no other maker:
///
/// ```compile_fail,E0451
/// use widget_gateway::policy::limit::{Decisions, Permit};
/// use widget_gateway::policy::validate::Call;
///
/// fn skips_the_limits(call: Call) -> Permit {
///     Permit { call, decisions: Decisions::default() }
/// }
/// ```
#[must_use]
#[derive(Debug)]
pub struct Permit {
    call: Call,
    decisions: Decisions,
}

impl Permit {
    /// The call.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// What the policies said; none of them refused.
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }
}

/// A policy said no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Which.
    pub policy: PolicyName,
    /// By how much.
    pub limited: Limited,
    /// What it and those before it said.
    pub decisions: Decisions,
}
