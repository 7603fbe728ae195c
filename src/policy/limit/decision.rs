//! What the policies say of one request.

use super::clock::Now;
use super::limiter::Limited;
use super::quota::Quota;
use crate::request::label::labelled;

labelled! {
    /// A policy's name in `RateLimit-Policy`, problems, labels and logs. Policies are asked in the order of the
    /// variants: what needs the least of a request comes first.
    pub enum PolicyName {
        /// Per client address.
        Client = "client";
        /// All requests together.
        Gateway = "gateway";
        /// Per member.
        Member = "member";
        /// Per member and placement.
        Placement = "placement";
        /// Per member, of events and robots.
        Event = "event";
    }
}

/// What a policy said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The configuration has no such limit.
    Unlimited,
    /// Within this quota.
    Granted(Quota),
    /// Within this quota once this time has passed: the request is held back so long, in whole milliseconds.
    HeldBack(Quota, u32),
    /// Over the quota; the route or the policy only observes, so the request goes on.
    Observed(Limited),
    /// Over the quota; the request is refused.
    Refused(Limited),
}

/// When a request may go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Start {
    /// Now.
    AtOnce,
    /// Not before this moment: it is held back until then.
    At(Now),
}

/// What one policy said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decision {
    /// Which.
    pub policy: PolicyName,
    /// What.
    pub outcome: Outcome,
}

/// What each policy said that was asked about one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Decisions([Option<Outcome>; PolicyName::ALL.len()]);

impl Decisions {
    pub(super) fn add(&mut self, Decision { policy, outcome }: Decision) {
        if let Some(said) = self.0.get_mut(policy as usize) {
            *said = Some(outcome);
        }
    }

    /// Each, in the order in which they were asked.
    pub fn iter(&self) -> impl Iterator<Item = Decision> {
        let each = PolicyName::ALL.into_iter().zip(self.0);
        each.filter_map(|(policy, said)| said.map(|outcome| Decision { policy, outcome }))
    }

    /// Whether a quota is used up, observed or not.
    pub fn is_over(&self) -> bool {
        self.iter().any(|decision| match decision.outcome {
            Outcome::Observed(_) | Outcome::Refused(_) => true,
            Outcome::Unlimited | Outcome::Granted(_) | Outcome::HeldBack(..) => false,
        })
    }
}
