//! A limit by one kind of key, as the configuration says it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use super::clock::Now;
use super::decision::{Decision, Outcome, PolicyName};
use super::key::{Class, Key};
use super::keys::Source;
use super::limiter::{Limited, Limiter, Reset, Verdict};
use super::quota::{KeyState, Quota};
use super::shared::{Asking, Inquiry, LeaseState, Naming, Settled, Store, Waiting};
use super::spec::PolicySpec;
use super::tables::KeyTables;
use crate::policy::Mode;
use crate::request::field::MemberIdShape;

/// A limit by one kind of key. Where the configuration has none, that is a policy too: it grants.
pub struct Policy<K> {
    name: PolicyName,
    quotas: Option<Quotas<K>>,
}

/// Who keeps the state of a policy's keys: this process for itself, or a store for several replicas.
pub(super) type Kept<K> = Option<(Arc<Store>, Naming<K>)>;

/// The quota of all keys with its exceptions.
pub struct Quotas<K> {
    /// What a used-up quota leads to.
    pub mode: Mode,
    /// How long a request may be held back until its turn; zero refuses it at once.
    patience: Duration,
    limiter: Arc<Limiter<K>>,
    overrides: HashMap<K, Arc<Limiter<K>>>,
    by_quota: HashMap<Quota, Arc<Limiter<K>>>,
}

impl<K: Key + Eq + Hash> Policy<K> {
    /// The policy of a configuration without such a limit.
    pub fn unlimited(name: PolicyName) -> Policy<K> {
        Policy { name, quotas: None }
    }

    /// What the configuration says of it: one quota, and others for some keys; or no limit. A quota that `before`
    /// enforced keeps its limiter and so its keys' state. The keys of all count against the table.
    pub(super) fn build(
        name: PolicyName,
        spec: Option<PolicySpec>,
        overrides: impl IntoIterator<Item = (K, Quota)>,
        (before, kept_by): (&Policy<K>, Kept<K>),
        (tables, now): (&KeyTables, Now),
    ) -> Policy<K> {
        let table = tables.of(name);
        let Some(PolicySpec { mode, quota }) = spec else {
            return Policy::unlimited(name);
        };
        let before = before.quotas();
        let store = kept_by.as_ref().map(|(store, _)| store);
        let mut by_quota: HashMap<Quota, Arc<Limiter<K>>> = HashMap::new();
        let mut limiter = |quota: Quota| {
            let kept = before.and_then(|before| before.by_quota.get(&quota));
            let kept = kept.filter(|kept| kept.is_kept_by(store)).cloned();
            let new = || match &kept_by {
                None => Limiter::new(quota, table.clone(), now),
                Some((store, naming)) => Limiter::shared(quota, store, naming.clone(), table.clone(), now),
            };
            by_quota
                .entry(quota)
                .or_insert_with(|| kept.unwrap_or_else(|| Arc::new(new())))
                .clone()
        };
        let quotas = Quotas {
            mode,
            patience: Duration::ZERO,
            limiter: limiter(quota),
            overrides: overrides
                .into_iter()
                .map(|(key, quota)| (key, limiter(quota)))
                .collect(),
            by_quota,
        };
        Policy {
            name,
            quotas: Some(quotas),
        }
    }

    /// The same policy, which holds a request back until its turn where that comes within this time.
    pub(super) fn waiting(mut self, longest: Duration) -> Policy<K> {
        if let Some(quotas) = &mut self.quotas {
            quotas.patience = longest;
        }
        self
    }

    /// What is enforced; none where the configuration has no such limit.
    pub fn quotas(&self) -> Option<&Quotas<K>> {
        self.quotas.as_ref()
    }

    /// Asks for one request of this key, from this source, at `now`, on a route of this mode: both have to enforce for a
    /// used-up quota to refuse. A request that is over its quota costs nothing.
    pub(super) fn decide(&self, key: &K, source: Source, route: Mode, now: Now) -> Decision {
        let decided = self.quotas().map(|quotas| {
            let (limiter, source) = quotas.limiter_and_source(key, source);
            let mode = quotas.mode.with(route);
            // What is only observed is not delayed either.
            let longest = match mode {
                Mode::Enforce => quotas.patience,
                Mode::Observe => Duration::ZERO,
            };
            match limiter.reserve(key, source, now, longest) {
                Ok(Duration::ZERO) => Outcome::Granted(limiter.quota()),
                Ok(wait) => Outcome::HeldBack(limiter.quota(), millis(wait)),
                Err(limited) => over(mode, limited),
            }
        });
        self.said(decided)
    }

    /// The same of a policy that a store may keep, after it was waited for or not.
    ///
    /// # Errors
    /// Where only the store can tell. Nobody waits for it who is only observed.
    pub(super) fn decide_shared(
        &self,
        key: &K,
        source: Source,
        route: Mode,
        settled: Option<Settled>,
        now: Now,
    ) -> Result<Decision, Waiting> {
        let decided = self.quotas().map(|quotas| {
            let (limiter, source) = quotas.limiter_and_source(key, source);
            let mode = quotas.mode.with(route);
            let asking = match mode {
                Mode::Enforce => settled.into(),
                Mode::Observe => Asking::Observed,
            };
            match limiter.ask_from(key, source, asking, now) {
                Verdict::Granted => Ok(Outcome::Granted(limiter.quota())),
                Verdict::Limited(limited) => Ok(over(mode, limited)),
                Verdict::Waits(waiting) => Err(waiting),
            }
        });
        Ok(self.said(decided.transpose()?))
    }

    fn said(&self, outcome: Option<Outcome>) -> Decision {
        Decision {
            policy: self.name,
            outcome: outcome.unwrap_or(Outcome::Unlimited),
        }
    }

    /// Takes back what a request took that the policy granted, and that a later one refused.
    pub(super) fn give_back(&self, key: &K, outcome: Outcome) {
        if let (Some(quotas), Outcome::Granted(_)) = (&self.quotas, outcome) {
            quotas.limiter_of(key).give_back(key);
        }
    }
}

impl<K: Key + Eq + Hash> Quotas<K> {
    /// The limiter that is responsible for a key.
    pub fn limiter_of(&self, key: &K) -> &Arc<Limiter<K>> {
        self.overrides.get(key).unwrap_or(&self.limiter)
    }

    fn standing(&self, key: &K, inquiry: Option<Inquiry>, now: Now) -> Standing {
        let limiter = self.limiter_of(key);
        let local_burst = limiter.local_burst();
        // A key without state has its whole burst.
        let whole = KeyState {
            remaining: local_burst,
            full_in: Duration::ZERO,
        };
        Standing {
            quota: limiter.quota(),
            is_override: self.overrides.contains_key(key),
            local: limiter.peek(key, now).unwrap_or(whole),
            shared: inquiry.map(|inquiry| SharedStanding {
                local_burst,
                lease: limiter.lease(key, now),
                inquiry,
            }),
        }
    }

    fn limiter_and_source(&self, key: &K, source: Source) -> (&Arc<Limiter<K>>, Source) {
        match self.overrides.get(key) {
            Some(limiter) => (limiter, Source::Listed),
            None => (&self.limiter, source),
        }
    }
}

/// What a used-up quota leads to.
fn over(mode: Mode, limited: Limited) -> Outcome {
    match mode {
        Mode::Enforce => Outcome::Refused(limited),
        Mode::Observe => Outcome::Observed(limited),
    }
}

/// Rounded up.
fn millis(wait: Duration) -> u32 {
    u32::try_from(wait.as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
}

/// A policy for those who look after all of them, whatever each counts by.
pub trait AnyPolicy {
    /// Which.
    fn name(&self) -> PolicyName;

    /// What it enforces or observes; none where the configuration has no such limit.
    fn spec(&self) -> Option<PolicySpec>;

    /// Keys with a quota of their own.
    fn overrides(&self) -> usize;

    /// What the key that an operator means by this text has at `now`. None where the policy counts by no such
    /// key, or the configuration has no such limit.
    fn state(&self, text: &str, shape: MemberIdShape, class: Class, now: Now) -> Option<Standing>;

    /// Gives that key its whole burst again, as far as it is kept here, and asks the store to do so too. Whether it
    /// had state here, and how it stands from then on.
    fn reset(&self, text: &str, shape: MemberIdShape, class: Class, now: Now) -> Option<(bool, Standing)>;

    /// Whether an operator can mean a key of this policy by this text.
    fn reads(&self, text: &str, shape: MemberIdShape) -> bool;

    /// Forgets the keys whose state equals that of a key never seen.
    fn sweep(&self, now: Now);
}

/// How a key stands with a policy.
#[derive(Debug)]
pub struct Standing {
    /// Its quota.
    pub quota: Quota,
    /// Whether that is its own.
    pub is_override: bool,
    /// What it has left of what is kept here.
    pub local: KeyState,
    /// The other side, where replicas share the quota.
    pub shared: Option<SharedStanding>,
}

/// How a key stands where replicas share its quota.
#[derive(Debug)]
pub struct SharedStanding {
    /// Requests at once that this replica grants where the store does not answer.
    pub local_burst: u32,
    /// What is known here between two words of the store; none where nothing is.
    pub lease: Option<LeaseState>,
    /// What the store is asked.
    pub inquiry: Inquiry,
}

impl<K: Key + Eq + Hash> AnyPolicy for Policy<K> {
    fn name(&self) -> PolicyName {
        self.name
    }

    fn spec(&self) -> Option<PolicySpec> {
        self.quotas().map(|quotas| PolicySpec {
            mode: quotas.mode,
            quota: quotas.limiter.quota(),
        })
    }

    fn overrides(&self) -> usize {
        self.quotas().map_or(0, |quotas| quotas.overrides.len())
    }

    fn state(&self, text: &str, shape: MemberIdShape, class: Class, now: Now) -> Option<Standing> {
        let (quotas, key) = self.quotas().zip(K::read(text, shape, class))?;
        Some(quotas.standing(&key, quotas.limiter_of(&key).inquire(&key), now))
    }

    fn reset(&self, text: &str, shape: MemberIdShape, class: Class, now: Now) -> Option<(bool, Standing)> {
        let (quotas, key) = self.quotas().zip(K::read(text, shape, class))?;
        let Reset { had_state, store } = quotas.limiter_of(&key).reset(&key);
        Some((had_state, quotas.standing(&key, store, now)))
    }

    fn reads(&self, text: &str, shape: MemberIdShape) -> bool {
        K::read(text, shape, Class::Itself).is_some()
    }

    fn sweep(&self, now: Now) {
        if let Some(quotas) = self.quotas() {
            for limiter in quotas.by_quota.values() {
                limiter.sweep(now);
            }
            quotas.limiter.forget(now);
        }
    }
}
