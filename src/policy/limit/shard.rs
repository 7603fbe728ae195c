//! A shard of the table: arrival times behind a lock, and a hint to the processor without it.
//!
//! With a million members a look-up takes as long as it waits for memory. So the line where a key stands can be
//! sent for as soon as the key is known.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use governor::nanos::Nanos;
use parking_lot::{Mutex, MutexGuard};

use super::arrivals::{Arrivals, Entry, Fingerprint, Line};

/// On cache lines of its own, so that threads in different shards do not disturb each other.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Shard {
    arrivals: Mutex<Arrivals>,
    whereabouts: Whereabouts,
}

/// Where the lines are, for those who do not hold the lock. The table may have moved meanwhile: good for a
/// hint, and for nothing else.
#[derive(Default)]
struct Whereabouts {
    first: AtomicPtr<Line>,
    lines: AtomicUsize,
}

impl Whereabouts {
    /// Where a key belongs. Not to be read through.
    fn home(&self, fingerprint: Fingerprint) -> *const Line {
        let home = fingerprint.home(self.lines.load(Ordering::Relaxed));
        self.first.load(Ordering::Relaxed).wrapping_add(home)
    }
}

/// A shard that is held.
pub(super) struct Held<'s> {
    arrivals: MutexGuard<'s, Arrivals>,
    whereabouts: &'s Whereabouts,
}

impl Shard {
    /// Sends for the line of a key that will be looked up in a moment.
    pub(super) fn prefetch(&self, fingerprint: u64) {
        const INTO_L1: i32 = 0;
        let line = self.whereabouts.home(Fingerprint::new(fingerprint));
        // It is written to as well: the arrival time moves on.
        branches::prefetch_write_data::<Line, INTO_L1>(line);
    }

    /// Waits for whoever holds it.
    pub(super) fn hold(&self) -> Held<'_> {
        Held {
            arrivals: self.arrivals.lock(),
            whereabouts: &self.whereabouts,
        }
    }
}

impl Held<'_> {
    /// Keys.
    pub(super) fn len(&self) -> usize {
        self.arrivals.len
    }

    /// The arrival time of a key that is there.
    pub(super) fn get_mut(&mut self, fingerprint: u64) -> Option<&mut Nanos> {
        self.arrivals.get_mut(Fingerprint::new(fingerprint))
    }

    /// Adds a key that is not there.
    pub(super) fn insert_new(&mut self, fingerprint: u64, arrival: Nanos) {
        self.arrivals.insert_new(Entry {
            fingerprint: Fingerprint::new(fingerprint),
            arrival,
        });
        self.publish();
    }

    /// Takes a key away; whether it was there.
    pub(super) fn remove(&mut self, fingerprint: u64) -> bool {
        self.arrivals.remove(Fingerprint::new(fingerprint))
    }

    /// Drops every key whose time has come, and gives back memory that a flood took; how many it dropped.
    pub(super) fn drop_until(&mut self, now: Nanos) -> usize {
        let dropped = self.arrivals.drop_until(now);
        self.publish();
        dropped
    }

    fn publish(&mut self) {
        let lines = &mut self.arrivals.lines;
        self.whereabouts
            .first
            .store(lines.as_mut_ptr(), Ordering::Relaxed);
        self.whereabouts.lines.store(lines.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u64, u64),
        Remove(u64),
        DropUntil(u64),
        Expect(u64),
    }

    /// Keys whose homes crowd at the table's beginning, middle and end, many of them in the very same line.
    fn key() -> impl Strategy<Value = u64> {
        let home = prop_oneof![
            0..4_u64,
            0xffff_fffc..=0xffff_ffff_u64,
            0x7fff_fffe..0x8000_0002_u64
        ];
        (0..24_u64, home).prop_map(|(high, home)| high << 32 | home)
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            12 => (key(), 1..100_u64).prop_map(|(key, arrival)| Step::Insert(key, arrival)),
            2 => key().prop_map(Step::Remove),
            1 => (0..110_u64).prop_map(Step::DropUntil),
            1 => key().prop_map(Step::Expect),
        ]
    }

    /// Zero and one are the same to the table.
    fn told_apart(key: u64) -> u64 {
        key.max(1)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_shard_is_a_map(steps in proptest::collection::vec(step(), 1..300)) {
            let shard = Shard::default();
            let mut map: HashMap<u64, u64> = HashMap::new();
            for step in steps {
                let mut held = shard.hold();
                match step {
                    Step::Insert(key, arrival) => {
                        match held.get_mut(key) {
                            Some(kept) => *kept = arrival.into(),
                            None => held.insert_new(key, arrival.into()),
                        }
                        map.insert(told_apart(key), arrival);
                    }
                    Step::Remove(key) => {
                        prop_assert_eq!(held.remove(key), map.remove(&told_apart(key)).is_some());
                    }
                    Step::DropUntil(now) => {
                        let before = map.len();
                        map.retain(|_, arrival| *arrival > now);
                        prop_assert_eq!(held.drop_until(now.into()), before - map.len());
                    }
                    Step::Expect(key) => shard.prefetch(key),
                }
                prop_assert_eq!(held.len(), map.len());
                for (&key, &arrival) in &map {
                    prop_assert_eq!(held.get_mut(key).copied(), Some(Nanos::from(arrival)));
                }
            }
        }
    }

    #[test]
    fn what_a_flood_took_is_given_back_and_nothing_else_lost() {
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shard = Shard::default();
        let mut held = shard.hold();
        for n in 1..=100_000 {
            // One of a hundred stays.
            let arrival = if n % 100 == 0 { 2 } else { 1 };
            held.insert_new(spread(n), arrival.into());
        }
        let large = held.arrivals.lines.len();
        assert_eq!(held.drop_until(1.into()), 99_000);
        assert!(held.arrivals.lines.len() < large / 8);
        assert!((1..=100_000).all(|n| held.get_mut(spread(n)).is_some() == (n % 100 == 0)));
    }

    #[test]
    fn the_hint_is_the_line_where_a_key_stands() {
        let spread = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let shard = Shard::default();
        let hits = |held: &Held<'_>| {
            let at_home =
                |line: &&Line, entry: &Entry| shard.whereabouts.home(entry.fingerprint) == &raw const **line;
            let lines = held.arrivals.lines.iter();
            let all = lines.flat_map(|line| line.entries().filter(move |entry| at_home(&line, entry)));
            all.count()
        };
        for n in 1..=10_000 {
            shard.hold().insert_new(spread(n), n.into());
            if n % 1000 == 0 {
                let held = shard.hold();
                assert!(hits(&held) * 10 > held.len() * 7, "{} of {n}", hits(&held));
            }
        }
        assert_eq!(shard.hold().drop_until(9_900.into()), 9_900);
        let held = shard.hold();
        assert!(hits(&held) >= 90, "{} of 100 in the smaller table", hits(&held));
    }
}
