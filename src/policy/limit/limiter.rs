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
use super::quota::Quota;

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
    born: Now,
    keys: Keys,
    gcra: Gcra,
    counts_by: PhantomData<fn(&K)>,
}

impl<K: Key> Limiter<K> {
    /// A limiter without state, born at `now`, whose keys count against the shared table.
    pub fn new(quota: Quota, table: Arc<KeyTable>, now: Now) -> Limiter<K> {
        ToldClock::set(now);
        let keys = Keys::new(table);
        let gcra = Gcra::new(quota.gcra(), keys.clone(), ToldClock);
        Limiter {
            quota,
            born: now,
            keys,
            gcra,
            counts_by: PhantomData,
        }
    }

    /// The quota that is enforced.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Asks for one request of this key at `now`. An answer is no [`Permit`](super::Permit).
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
                let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
                return Err(Limited {
                    quota: self.quota,
                    retry_after: u32::try_from(seconds.max(1)).unwrap_or(u32::MAX),
                });
            }
        }
    }

    /// Takes back what one [`check`](Limiter::check) took that was granted: its request got no further.
    pub fn give_back(&self, key: &K) {
        let each = self.quota.gcra().replenish_interval();
        self.keys.give_back(key.fingerprint(), each.into());
    }

    /// Forgets the keys whose state equals that of a key never seen. Returns how many.
    pub fn sweep(&self, now: Now) -> usize {
        ToldClock::set(now);
        self.keys.sweep()
    }

    /// Forgets who was here before too long ago, in a part of the table.
    pub(super) fn forget(&self, now: Now) {
        self.keys.forget(now);
    }

    /// What the key has left at `now`; none of a key that has no state, and so its whole burst.
    pub fn peek(&self, key: &K, now: Now) -> Option<KeyState> {
        let tat = Duration::from(self.keys.peek(key.fingerprint())?);
        let full_in = tat.saturating_sub(now.saturating_sub(self.born));
        let each = Duration::from_secs(u64::from(self.quota.period.seconds())) / self.quota.rate.get();
        let used = full_in.as_nanos().div_ceil(each.as_nanos().max(1));
        let remaining = u128::from(self.quota.burst.get()).saturating_sub(used);
        Some(KeyState {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_in,
        })
    }

    /// Keys that there is memory for.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.keys.places()
    }

    /// Gives the key its whole burst again. `false` if it had no state.
    pub fn reset(&self, key: &K) -> bool {
        self.keys.remove(key.fingerprint())
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
