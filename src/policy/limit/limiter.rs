//! One quota and the state of every key under it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;

use super::clock::{Now, ToldClock};
use super::key::Key;
use super::keys::{Asked, KeyTable, Keys, Source};
use super::quota::{KeyState, Quota};
use super::shared::{
    Asking, Inquiry, JudgedBy, LeaseState, Naming, OnError, Said, Settled, Shared, Store, Waiting,
};
use crate::request::fingerprint::Fingerprint;

type Gcra = governor::RateLimiter<Asked, Keys, ToldClock, NoOpMiddleware<Nanos>>;

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
pub enum Verdict {
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
            (Some(shared), Some(store)) => Arc::ptr_eq(&shared.store, store),
            (None, Some(_)) | (Some(_), None) => false,
        }
    }

    /// Asks for one request of this key at `now`. Who has waited for the store says what it was told.
    pub fn ask(&self, key: &K, settled: Option<Settled>, now: Now) -> Verdict {
        self.ask_from(key, Source::Unknown, settled.into(), now)
    }

    /// The same of a key from this source.
    pub(super) fn ask_from(&self, key: &K, source: Source, asking: Asking, now: Now) -> Verdict {
        // What a store admits takes from this replica's share as well, as far as there is any left.
        let kept_here = self.reserve(key, source, now, Duration::ZERO);
        let kept_here_says = || match kept_here {
            Ok(_) => Verdict::Granted,
            Err(limited) => Verdict::Limited(limited),
        };
        let Some(shared) = &self.shared else {
            return kept_here_says();
        };
        let print = key.fingerprint();
        let said = match self.keys.peek(print) {
            // It has no place here, so nobody asks the store for it either: whoever invents keys floods no store.
            None => Said::NoPlace,
            Some(_) => shared.take(key, print, asking, now, || self.used(print, now)),
        };
        let (by, verdict) = match said {
            Said::Granted(by) => (by, Verdict::Granted),
            Said::Refused(by, wait) => (by, Verdict::Limited(self.limited(wait))),
            Said::Asked(waiting) => (JudgedBy::Store, Verdict::Waits(waiting)),
            Said::NoPlace => (JudgedBy::NoPlace, kept_here_says()),
            Said::Alone(OnError::Local) => (JudgedBy::Alone, kept_here_says()),
            Said::Alone(OnError::Open) => (JudgedBy::Alone, Verdict::Granted),
            Said::Alone(OnError::Closed) => (JudgedBy::Alone, Verdict::Limited(self.limited(Duration::ZERO))),
        };
        match (&verdict, by) {
            (Verdict::Granted, JudgedBy::Alone) => shared.owe(print, now),
            (Verdict::Granted, JudgedBy::Lease | JudgedBy::Store | JudgedBy::NoPlace) => {}
            // What is not granted takes nothing from this replica's share either.
            (Verdict::Limited(_) | Verdict::Waits(_), _) if kept_here.is_ok() => self.give_back(key),
            (Verdict::Limited(_) | Verdict::Waits(_), _) => {}
        }
        match verdict {
            Verdict::Granted => shared.count(by, true),
            Verdict::Limited(_) => shared.count(by, false),
            // It is counted once the store has answered.
            Verdict::Waits(_) => {}
        }
        verdict
    }

    /// Asks for one request of this key at `now`, of what is kept here. An answer is no [`Permit`](super::Permit).
    ///
    /// # Errors
    /// Where the quota is used up; the request then costs nothing.
    pub fn check(&self, key: &K, now: Now) -> Result<(), Limited> {
        self.reserve(key, Source::Unknown, now, Duration::ZERO)
            .map(|_| ())
    }

    /// Asks for one request of this key at `now`, or as soon after it as its turn comes. The turn is taken when it
    /// is told, so turns come in the order of asking, and one that nobody uses is lost. Returns the wait.
    ///
    /// # Errors
    /// Where the turn would come later than `longest` from now; the request then costs nothing.
    pub(super) fn reserve(
        &self,
        key: &K,
        source: Source,
        now: Now,
        longest: Duration,
    ) -> Result<Duration, Limited> {
        let asked = Asked {
            key: key.fingerprint(),
            source,
        };
        let mut wait = Duration::ZERO;
        loop {
            ToldClock::set(now.saturating_add(wait));
            let Err(until) = self.gcra.check_key(&asked) else {
                return Ok(wait);
            };
            // Its turn as it is now: another thread may take it first, and then it is a later one.
            wait = wait.saturating_add(until.wait_time_from(ToldClock.now()));
            if wait > longest {
                return Err(self.limited(wait));
            }
        }
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

    /// Forgets who was here before too long ago, in a part of the table.
    pub(super) fn forget(&self, now: Now) {
        self.keys.forget(now);
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

    /// Asks what the store knows of the key; none where there is no store.
    pub(super) fn inquire(&self, key: &K) -> Option<Inquiry> {
        Some(self.shared.as_ref()?.look(key))
    }

    /// Requests at once that this replica grants by itself: the burst, or its share where there is a store.
    pub(super) fn local_burst(&self) -> u32 {
        self.local.burst_size().get()
    }

    /// Gives the key its whole burst again, and asks the store to do so too.
    pub fn reset(&self, key: &K) -> Reset {
        let print = key.fingerprint();
        let store = self.shared.as_ref().map(|shared| shared.reset(key, print));
        let was_leased = store.as_ref().is_some_and(|(was_known, _)| *was_known);
        Reset {
            had_state: self.keys.remove(print) || was_leased,
            store: store.map(|(_, inquiry)| inquiry),
        }
    }
}

/// What a reset came to.
#[must_use]
#[derive(Debug)]
pub struct Reset {
    /// Whether anything was known of the key here.
    pub had_state: bool,
    /// What the store makes of it, where there is one.
    pub store: Option<Inquiry>,
}

/// A quota is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limited {
    /// The quota.
    pub quota: Quota,
    /// Whole seconds until the next request conforms, rounded up, at least 1.
    pub retry_after: u32,
}
