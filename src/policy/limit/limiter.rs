//! One quota and the state of every key under it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;

use super::clock::{Now, ToldClock};
use super::key::Key;
use super::keys::{KeyTable, Keys};
use super::quota::Quota;
use super::shared::{LeaseState, Naming, OnError, Said, Settled, Shared, Store, Waiting};
use crate::request::fingerprint::Fingerprint;

type Gcra = governor::RateLimiter<Fingerprint, Keys, ToldClock, NoOpMiddleware<Nanos>>;

/// One quota and the state of every key under it. Its times are relative to its birth, so the state
/// can not move to another limiter: a reload keeps the object while the quota stays.
///
/// A limiter is asked by its own kind of key and by no other:
///
/// ```compile_fail,E0308
/// use widget_gateway::policy::limit::{Limiter, Now};
/// use widget_gateway::request::field::MemberId;
///
/// fn asks_by_address(members: &Limiter<MemberId>, client: std::net::IpAddr, now: Now) {
///     let _ = members.check(&client, now);
/// }
/// ```
pub struct Limiter<K> {
    quota: Quota,
    /// What is kept here: the quota, or this replica's share of one that a store keeps.
    local: governor::Quota,
    born: Now,
    keys: Keys,
    gcra: Gcra,
    shared: Option<Shared<K>>,
    counts_by: PhantomData<fn(&K)>,
}

/// What a limiter says of one request.
#[derive(Debug)]
pub enum Asked {
    /// It is within the quota.
    Granted,
    /// The quota is used up; the request costs nothing.
    Limited(Limited),
    /// Only the store can tell, and its answer is on its way.
    Waits(Waiting),
}

impl<K: Key> Limiter<K> {
    /// A limiter without state, born at `now`, whose keys count against the shared table.
    pub fn new(quota: Quota, table: Arc<KeyTable>, now: Now) -> Limiter<K> {
        Limiter::keeping(quota, quota.gcra(), None, table, now)
    }

    /// One whose quota is kept by a store, for all replicas together.
    pub fn shared(
        quota: Quota,
        store: &Arc<Store>,
        naming: Naming<K>,
        table: Arc<KeyTable>,
        now: Now,
    ) -> Limiter<K> {
        let share = Shared::<K>::share(store.spec(), quota);
        let shared = Shared::new(store, naming, quota, table.clone());
        Limiter::keeping(quota, share, Some(shared), table, now)
    }

    fn keeping(
        quota: Quota,
        local: governor::Quota,
        shared: Option<Shared<K>>,
        table: Arc<KeyTable>,
        now: Now,
    ) -> Limiter<K> {
        ToldClock::set(now);
        let keys = Keys::new(table);
        let gcra = Gcra::new(local, keys.clone(), ToldClock);
        Limiter {
            quota,
            local,
            born: now,
            keys,
            gcra,
            shared,
            counts_by: PhantomData,
        }
    }

    /// The quota that is enforced.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Whether another limiter's state is of no use in place of this one's: their quotas are kept elsewhere.
    pub(super) fn is_kept_by(&self, store: Option<&Arc<Store>>) -> bool {
        match (&self.shared, store) {
            (None, None) => true,
            (Some(shared), Some(store)) => Arc::ptr_eq(shared.store(), store),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Asks for one request of this key at `now`. Who has waited for the store says what it was told.
    pub fn ask(&self, key: &K, settled: Option<Settled>, now: Now) -> Asked {
        let print = key.fingerprint();
        let Some(shared) = &self.shared else {
            return match self.check_local(print, now) {
                Ok(()) => Asked::Granted,
                Err(limited) => Asked::Limited(limited),
            };
        };
        let said = match settled {
            None => shared.take(key, print, now, || self.used(print, now)),
            Some(settled) => shared.settle(print, settled, now),
        };
        match said {
            Said::Granted => {
                // What the store admits takes from this replica's share as well, as far as there is any left.
                let _ = self.check_local(print, now);
                Asked::Granted
            }
            Said::Refused(wait) => Asked::Limited(self.limited(wait)),
            Said::Asked(waiting) => Asked::Waits(waiting),
            Said::Alone(OnError::Local) => match self.check_local(print, now) {
                Ok(()) => {
                    shared.owe(print, now);
                    Asked::Granted
                }
                Err(limited) => Asked::Limited(limited),
            },
            Said::Alone(OnError::Open) => {
                let _ = self.check_local(print, now);
                shared.owe(print, now);
                Asked::Granted
            }
            Said::Alone(OnError::Closed) => Asked::Limited(self.limited(Duration::ZERO)),
        }
    }

    /// Asks for one request of this key at `now`, of what is kept here. An answer is no [`Permit`](super::Permit).
    ///
    /// # Errors
    /// Where the quota is used up; the request then costs nothing.
    pub fn check(&self, key: &K, now: Now) -> Result<(), Limited> {
        self.check_local(key.fingerprint(), now)
    }

    fn check_local(&self, print: Fingerprint, now: Now) -> Result<(), Limited> {
        ToldClock::set(now);
        self.gcra
            .check_key(&print)
            .map_err(|until| self.limited(until.wait_time_from(ToldClock.now())))
    }

    fn limited(&self, wait: Duration) -> Limited {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        Limited {
            quota: self.quota,
            retry_after: u32::try_from(seconds.max(1)).unwrap_or(u32::MAX),
        }
    }

    /// Requests of what is kept here that are in use.
    fn used(&self, print: Fingerprint, now: Now) -> u32 {
        let state = self.state(print, now);
        state.map_or(0, |state| self.local.burst_size().get() - state.remaining)
    }

    /// Takes back what one [`check`](Limiter::check) took that was granted: its request got no further.
    pub fn give_back(&self, key: &K) {
        let each = self.local.replenish_interval();
        self.keys.give_back(key.fingerprint(), each.into());
    }

    /// Forgets the keys whose state equals that of a key never seen. Returns how many.
    pub fn sweep(&self, now: Now) -> usize {
        if let Some(shared) = &self.shared {
            shared.sweep(now);
        }
        ToldClock::set(now);
        self.keys.sweep()
    }

    /// What the key has left at `now`, of what is kept here; none of a key that has no state, and so its whole burst.
    pub fn peek(&self, key: &K, now: Now) -> Option<KeyState> {
        self.state(key.fingerprint(), now)
    }

    fn state(&self, print: Fingerprint, now: Now) -> Option<KeyState> {
        let tat = Duration::from(self.keys.peek(print)?);
        let full_in = tat.saturating_sub(now.saturating_sub(self.born));
        let each = self.local.replenish_interval();
        let used = full_in.as_nanos().div_ceil(each.as_nanos().max(1));
        let remaining = u128::from(self.local.burst_size().get()).saturating_sub(used);
        Some(KeyState {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_in,
        })
    }

    /// What this replica knows of the key between two words of the store; none where there is no store, or nothing
    /// is known.
    pub fn lease(&self, key: &K, now: Now) -> Option<LeaseState> {
        self.shared.as_ref()?.peek(key.fingerprint(), now)
    }

    /// Keys that there is memory for.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.keys.places()
    }

    /// Gives the key its whole burst again, in the store too. `false` if it had no state here.
    pub fn reset(&self, key: &K) -> bool {
        let print = key.fingerprint();
        let was_shared = self
            .shared
            .as_ref()
            .is_some_and(|shared| shared.reset(key, print));
        self.keys.remove(print) || was_shared
    }
}

/// The state of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyState {
    /// Requests that would be granted at once.
    pub remaining: u32,
    /// Until the whole burst is back.
    pub full_in: Duration,
}

/// A quota is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limited {
    /// The quota.
    pub quota: Quota,
    /// Whole seconds until the next request conforms, rounded up, at least 1.
    pub retry_after: u32,
}
