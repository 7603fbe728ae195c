//! Keys that were there before: what an idle key leaves behind when its state is forgotten.
//!
//! A key whose state has run out equals one never seen, and so its place is given to another. That it was here is
//! remembered for a while in 16 bytes: whoever comes back is no newcomer, and one that keeps coming back is known,
//! which no flood of invented keys can become within the hour. Memory is bounded; what is known is not forgotten
//! to make room for what is not.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::shards::{Keyed, Shards, take};
use crate::request::fingerprint::Fingerprint;

/// Minutes between the first time and the last that make a key known.
const TRUST: u32 = 60;
/// Minutes without a known key until it is forgotten: two weeks, so that holidays are not.
const FORGET_KNOWN: u32 = 14 * 24 * 60;
/// Minutes without another key until it is forgotten.
const FORGET: u32 = 24 * 60;
/// The same while there is little room.
const FORGET_AT_BOUND: u32 = TRUST + 30;

/// What is remembered of a key that has no state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Memory {
    /// Nothing.
    Never,
    /// It was here.
    Lately,
    /// It was here again and again.
    Known,
}

#[derive(Clone, Copy)]
struct Visit {
    key: Fingerprint,
    /// Minutes since the process began.
    first: u32,
    last: u32,
}

impl Visit {
    fn is_known(&self) -> bool {
        self.last - self.first >= TRUST
    }
}

impl Keyed for Visit {
    fn key(&self) -> Fingerprint {
        self.key
    }
}

/// The keys of one policy that were there before.
#[derive(Default)]
pub(super) struct Seen {
    shards: Shards<Visit>,
    visits: AtomicUsize,
    /// The shard that is looked through next.
    next: AtomicUsize,
}

fn minutes(now: Duration) -> u32 {
    u32::try_from(now.as_secs() / 60).unwrap_or(u32::MAX)
}

impl Seen {
    /// What is remembered of a key.
    pub(super) fn of(&self, key: Fingerprint) -> Memory {
        match self.shards.of(key).get(key) {
            None => Memory::Never,
            Some(visit) if visit.is_known() => Memory::Known,
            Some(_) => Memory::Lately,
        }
    }

    /// A key's state is forgotten at `now`; so many may be remembered.
    pub(super) fn remember(&self, key: Fingerprint, now: Duration, most: usize) {
        let now = minutes(now);
        let mut shard = self.shards.of(key);
        if let Some(visit) = shard.get_mut(key) {
            visit.last = visit.last.max(now);
        } else if take(&self.visits, most) {
            shard.insert(Visit {
                key,
                first: now,
                last: now,
            });
        }
    }

    /// Forgets what was here too long ago, in one part of all; so many may be remembered.
    pub(super) fn sweep(&self, now: Duration, most: usize) {
        let now = minutes(now);
        let is_full = self.visits.load(Ordering::Relaxed) >= most - most / 8;
        let mut shard = self.shards.nth(self.next.fetch_add(1, Ordering::Relaxed));
        let forgotten = shard.retain(|visit| {
            let age = now.saturating_sub(visit.last);
            match (visit.is_known(), is_full) {
                (true, _) => age < FORGET_KNOWN,
                (false, false) => age < FORGET,
                (false, true) => age < FORGET_AT_BOUND,
            }
        });
        self.visits.fetch_sub(forgotten, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn key(n: u64) -> Fingerprint {
        Fingerprint::of(&n)
    }

    fn sweep_all(seen: &Seen, now: Duration, most: usize) {
        (0..super::super::shards::SHARDS).for_each(|_| seen.sweep(now, most));
    }

    #[test]
    fn who_comes_back_is_known_after_an_hour_and_forgotten_after_weeks() {
        let seen = Seen::default();
        assert_eq!(seen.of(key(1)), Memory::Never);
        seen.remember(key(1), HOUR, 10);
        assert_eq!(seen.of(key(1)), Memory::Lately);
        seen.remember(key(1), HOUR + Duration::from_secs(59 * 60), 10);
        assert_eq!(seen.of(key(1)), Memory::Lately);
        seen.remember(key(1), HOUR * 2, 10);
        assert_eq!(seen.of(key(1)), Memory::Known);
        seen.remember(key(2), HOUR * 2, 10);
        sweep_all(&seen, HOUR * 25, 10);
        assert_eq!(
            (seen.of(key(1)), seen.of(key(2))),
            (Memory::Known, Memory::Lately)
        );
        sweep_all(&seen, HOUR * 26, 10);
        assert_eq!((seen.of(key(1)), seen.of(key(2))), (Memory::Known, Memory::Never));
        sweep_all(&seen, HOUR * (14 * 24 + 2), 10);
        assert_eq!(seen.of(key(1)), Memory::Never);
    }

    #[test]
    fn a_flood_takes_nobodys_place_and_leaves_soon() {
        let seen = Seen::default();
        for now in [HOUR, HOUR * 2] {
            (0..50).for_each(|n| seen.remember(key(n), now, 100));
        }
        (1000..1_000_000).for_each(|n| seen.remember(key(n), HOUR * 2, 100));
        let known = (0..1_000_000)
            .filter(|n| seen.of(key(*n)) == Memory::Known)
            .count();
        let lately = (0..1_000_000)
            .filter(|n| seen.of(key(*n)) == Memory::Lately)
            .count();
        assert_eq!((known, lately), (50, 50));
        sweep_all(&seen, HOUR * 2 + HOUR * 3 / 2, 100);
        let known = (0..1_000_000)
            .filter(|n| seen.of(key(*n)) == Memory::Known)
            .count();
        let all = seen.visits.load(Ordering::Relaxed);
        assert!(
            known == 50 && all < 88,
            "room is made, {known} of {all} are known"
        );
    }
}
