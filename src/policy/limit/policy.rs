//! A limit by one kind of key, as the configuration says it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use super::clock::Now;
use super::decision::{Decision, Outcome, PolicyName};
use super::keys::KeyTable;
use super::limiter::{Key, Limiter};
use super::quota::Quota;
use crate::policy::Mode;

/// A limit by one kind of key. Where the configuration has none, that is a policy too: it grants.
pub struct Policy<K> {
    name: PolicyName,
    rule: Rule<K>,
}

enum Rule<K> {
    Unlimited,
    Quotas(Quotas<K>),
}

/// The quota of all keys with its exceptions.
pub struct Quotas<K> {
    /// What a used-up quota leads to.
    pub mode: Mode,
    limiter: Arc<Limiter<K>>,
    overrides: HashMap<K, Arc<Limiter<K>>>,
    by_quota: HashMap<Quota, Arc<Limiter<K>>>,
}

impl<K: Key + Eq + Hash> Policy<K> {
    /// The policy of a configuration without such a limit.
    pub fn unlimited(name: PolicyName) -> Policy<K> {
        Policy {
            name,
            rule: Rule::Unlimited,
        }
    }

    /// One quota, and others for some keys. A quota that `before` enforced keeps its limiter and so its keys'
    /// state. The keys of all count against the table.
    pub fn build(
        name: PolicyName,
        mode: Mode,
        quota: Quota,
        overrides: impl IntoIterator<Item = (K, Quota)>,
        before: Option<&Policy<K>>,
        table: &Arc<KeyTable>,
        now: Now,
    ) -> Policy<K> {
        let before = before.and_then(Policy::quotas);
        let mut by_quota: HashMap<Quota, Arc<Limiter<K>>> = HashMap::new();
        let mut limiter = |quota: Quota| {
            let kept = || before.and_then(|before| before.by_quota.get(&quota).cloned());
            by_quota
                .entry(quota)
                .or_insert_with(|| {
                    kept().unwrap_or_else(|| Arc::new(Limiter::new(quota, table.clone(), now)))
                })
                .clone()
        };
        let quotas = Quotas {
            mode,
            limiter: limiter(quota),
            overrides: overrides
                .into_iter()
                .map(|(key, quota)| (key, limiter(quota)))
                .collect(),
            by_quota,
        };
        Policy {
            name,
            rule: Rule::Quotas(quotas),
        }
    }

    /// What is enforced; none where the configuration has no such limit.
    pub fn quotas(&self) -> Option<&Quotas<K>> {
        match &self.rule {
            Rule::Unlimited => None,
            Rule::Quotas(quotas) => Some(quotas),
        }
    }

    /// Asks for one request of this key at `now`, on a route of this mode: both have to enforce for a
    /// used-up quota to refuse. A request that is over its quota costs nothing.
    pub(super) fn decide(&self, key: &K, route: Mode, now: Now) -> Decision {
        let outcome = match &self.rule {
            Rule::Unlimited => Outcome::Unlimited,
            Rule::Quotas(quotas) => quotas.decide(key, route, now),
        };
        Decision {
            policy: self.name,
            outcome,
        }
    }

    /// Forgets the keys whose state equals that of a key never seen.
    pub(super) fn sweep(&self, now: Now) {
        for limiter in self
            .quotas()
            .into_iter()
            .flat_map(|quotas| quotas.by_quota.values())
        {
            limiter.sweep(now);
        }
    }
}

impl<K: Key + Eq + Hash> Quotas<K> {
    /// The limiter that is responsible for a key.
    pub fn limiter_of(&self, key: &K) -> &Arc<Limiter<K>> {
        self.overrides.get(key).unwrap_or(&self.limiter)
    }

    fn decide(&self, key: &K, route: Mode, now: Now) -> Outcome {
        let limiter = self.limiter_of(key);
        match (limiter.check(key, now), route, self.mode) {
            (Ok(()), _, _) => Outcome::Granted(limiter.quota()),
            (Err(limited), Mode::Enforce, Mode::Enforce) => Outcome::Refused(limited),
            (Err(limited), Mode::Observe, _) | (Err(limited), _, Mode::Observe) => Outcome::Observed(limited),
        }
    }
}
