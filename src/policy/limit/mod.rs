//! `Call` becomes `Permit`: GCRA by governor, one key per `member_id`.

mod arrivals;
pub mod keys;
mod shard;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;

use crate::policy::Mode;
use crate::request::field::MemberId;
use keys::{KeyTable, Keys};

/// How long a rate's unit is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Period {
    /// `/s`
    Second,
    /// `/m`
    Minute,
    /// `/h`
    Hour,
}

impl Period {
    /// In seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3600,
        }
    }
}

/// So many requests per period on average, so many at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Quota {
    /// Requests per period.
    pub rate: NonZeroU32,
    /// The period.
    pub period: Period,
    /// Requests that may come at once after a pause.
    pub burst: NonZeroU32,
}

impl Quota {
    /// The largest rate and burst. Above it GCRA's 64-bit nanoseconds could overflow.
    pub const MAX: u32 = 1_000_000;

    fn gcra(self) -> governor::Quota {
        let rate = match self.period {
            Period::Second => governor::Quota::per_second(self.rate),
            Period::Minute => governor::Quota::per_minute(self.rate),
            Period::Hour => governor::Quota::per_hour(self.rate),
        };
        rate.allow_burst(self.burst)
    }
}

/// Time since the process started. The adapter reads the clock; everything behind it is told.
pub type Now = Duration;

/// Hands a `now` to governor, which asks a clock for it. Each thread has its own, so that threads share no
/// cache line; GCRA takes the moment of each request as it is, a few microseconds before or after another's.
#[derive(Clone, Copy, Debug)]
struct ToldClock;

thread_local! {
    static TOLD: Cell<Nanos> = const { Cell::new(Nanos::new(0)) };
}

impl ToldClock {
    fn tell(now: Now) {
        TOLD.set(Nanos::new(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)));
    }
}

impl Clock for ToldClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        TOLD.get()
    }
}

type Gcra = governor::RateLimiter<MemberId, Keys, ToldClock, NoOpMiddleware<Nanos>>;

/// One quota and the state of every key under it. Its times are relative to its birth, so the state
/// can not move to another limiter: a reload keeps the object while the quota stays.
pub struct Limiter {
    quota: Quota,
    born: Now,
    keys: Keys,
    gcra: Gcra,
}

impl Limiter {
    /// A limiter without state, born at `now`, whose keys count against the shared table.
    pub fn new(quota: Quota, table: Arc<KeyTable>, now: Now) -> Limiter {
        ToldClock::tell(now);
        let keys = Keys::new(table);
        let gcra = Gcra::new(quota.gcra(), keys.clone(), ToldClock);
        Limiter {
            quota,
            born: now,
            keys,
            gcra,
        }
    }

    /// The quota that is enforced.
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Says that this member will be asked for in a moment. It changes nothing but how long [`Limiter::check`]
    /// waits for memory.
    pub fn expect(&self, member: &MemberId) {
        self.keys.prefetch(member);
    }

    /// Asks for one request of this member at `now`; grants no [`Permit`].
    ///
    /// # Errors
    /// Where the quota is used up; the request then costs nothing.
    pub fn check(&self, member: &MemberId, now: Now) -> Result<(), Limited> {
        ToldClock::tell(now);
        self.gcra.check_key(member).map_err(|until| {
            let wait = until.wait_time_from(ToldClock.now());
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Limited {
                quota: self.quota,
                retry_after: seconds.max(1),
            }
        })
    }

    /// Forgets the keys whose state equals that of a key never seen. Returns how many.
    pub fn sweep(&self, now: Now) -> usize {
        ToldClock::tell(now);
        self.keys.sweep()
    }

    /// Requests that the key could make now, and the time until its burst is whole again.
    pub fn peek(&self, member: &MemberId, now: Now) -> Option<KeyState> {
        let tat = Duration::from(self.keys.peek(member)?);
        let full_in = tat.saturating_sub(now.saturating_sub(self.born));
        let each = Duration::from_secs(u64::from(self.quota.period.seconds())) / self.quota.rate.get();
        let used = full_in.as_nanos().div_ceil(each.as_nanos().max(1));
        let remaining = u128::from(self.quota.burst.get()).saturating_sub(used);
        Some(KeyState {
            remaining: u32::try_from(remaining).unwrap_or(u32::MAX),
            full_in,
        })
    }

    /// Gives the key its whole burst again. `false` if it had no state.
    pub fn reset(&self, member: &MemberId) -> bool {
        self.keys.remove(member)
    }
}

/// The state of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyState {
    /// Requests that would be permitted at once.
    pub remaining: u32,
    /// Until the whole burst is back.
    pub full_in: Duration,
}

/// Proof that the limiter granted this request. [`MemberPolicy::admit`] is its only maker.
#[derive(Debug)]
pub struct Permit(());

/// The limiter said no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limited {
    /// The quota that is used up.
    pub quota: Quota,
    /// Whole seconds until the next request conforms, rounded up, at least 1.
    pub retry_after: u64,
}

/// The limit per `member_id` with its exceptions.
pub struct MemberPolicy {
    /// What a used-up quota leads to.
    pub mode: Mode,
    limiter: Arc<Limiter>,
    overrides: HashMap<MemberId, Arc<Limiter>>,
    by_quota: HashMap<Quota, Arc<Limiter>>,
}

impl MemberPolicy {
    /// The name in headers, problems and labels.
    pub const NAME: &'static str = "member";

    /// Builds the policy. A quota that `before` enforced keeps its limiter and so its keys' state.
    pub fn build(
        mode: Mode,
        quota: Quota,
        overrides: impl IntoIterator<Item = (MemberId, Quota)>,
        before: Option<&MemberPolicy>,
        table: &Arc<KeyTable>,
        now: Now,
    ) -> MemberPolicy {
        let mut by_quota: HashMap<Quota, Arc<Limiter>> = HashMap::new();
        let mut limiter = |quota: Quota| {
            let kept = || before.and_then(|policy| policy.by_quota.get(&quota).cloned());
            by_quota
                .entry(quota)
                .or_insert_with(|| {
                    kept().unwrap_or_else(|| Arc::new(Limiter::new(quota, table.clone(), now)))
                })
                .clone()
        };
        let all = limiter(quota);
        let overrides = overrides
            .into_iter()
            .map(|(member, quota)| (member, limiter(quota)))
            .collect();
        MemberPolicy {
            mode,
            limiter: all,
            overrides,
            by_quota,
        }
    }

    /// Says that this member's limiter will be asked in a moment.
    pub fn expect(&self, member: &MemberId) {
        self.limiter_of(member).expect(member);
    }

    /// Asks the limiter for one request of this member at `now`.
    ///
    /// # Errors
    /// Where the quota is used up; the request then costs nothing.
    pub fn admit(&self, member: &MemberId, now: Now) -> Result<Permit, Limited> {
        self.limiter_of(member).check(member, now).map(Permit)
    }

    /// The limiter that is responsible for a member.
    pub fn limiter_of(&self, member: &MemberId) -> &Arc<Limiter> {
        self.overrides.get(member).unwrap_or(&self.limiter)
    }

    /// Every limiter once.
    pub fn limiters(&self) -> impl Iterator<Item = &Arc<Limiter>> {
        self.by_quota.values()
    }
}
