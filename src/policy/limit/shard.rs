//! A shard of the table: fingerprints and their arrival times behind a lock, and a hint to the processor
//! without it.
//!
//! With a million members a look-up takes as long as it waits for memory. So four entries share a cache line,
//! one line is all that most look-ups touch, and the line can be sent for as soon as the key is known.

use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

use governor::nanos::Nanos;
use parking_lot::{Mutex, MutexGuard};

/// Entries of 16 bytes on a cache line of 64.
const PER_LINE: usize = 4;

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

/// A shard that is held.
pub(super) struct Held<'s> {
    arrivals: MutexGuard<'s, Arrivals>,
    whereabouts: &'s Whereabouts,
}

impl Shard {
    /// Sends for the line of a key that will be looked up in a moment.
    pub(super) fn prefetch(&self, fingerprint: u64) {
        let lines = self.whereabouts.lines.load(Ordering::Relaxed);
        let home = Fingerprint::new(fingerprint).home(lines);
        let line = self.whereabouts.first.load(Ordering::Relaxed).wrapping_add(home);
        // It is written to as well: the arrival time moves on.
        branches::prefetch_write_data::<Line, 0>(line);
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
        let removed = self.arrivals.remove(Fingerprint::new(fingerprint));
        self.publish();
        removed
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

/// Open addressing, line by line.
///
/// An entry stands in its home line or, where that was full, in the first line after it (around the end)
/// that was not; a line fills from its beginning. Nothing is ever taken out of a line, only out of the whole
/// by [`Arrivals::rebuild`], so a look-up may stop at the first line that is not full.
#[derive(Default)]
struct Arrivals {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Line([Entry; PER_LINE]);

#[derive(Clone, Copy, Default)]
struct Entry {
    fingerprint: Fingerprint,
    arrival: Nanos,
}

/// What stands for a key. Evenly spread, and nobody outside can choose it: there is no other defence against
/// keys that crowd in one place.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Fingerprint(u64);

impl Fingerprint {
    /// A free place.
    const NONE: Fingerprint = Fingerprint(0);

    fn new(bits: u64) -> Fingerprint {
        Fingerprint(bits.max(1))
    }

    /// The line where it belongs, of so many; by the low half of its bits.
    fn home(self, lines: usize) -> usize {
        ((u64::from(self.0 as u32) * lines as u64) >> 32) as usize
    }
}

impl Line {
    fn find(&mut self, fingerprint: Fingerprint) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.fingerprint == fingerprint)
    }

    fn is_full(&self) -> bool {
        let [.., last] = &self.0;
        last.fingerprint != Fingerprint::NONE
    }
}

impl Arrivals {
    /// Every line in the order in which a key may stand there.
    fn probe(&mut self, fingerprint: Fingerprint) -> impl Iterator<Item = &mut Line> {
        let home = fingerprint.home(self.lines.len());
        let (before, from_home) = self.lines.split_at_mut_checked(home).unwrap_or_default();
        from_home.iter_mut().chain(before)
    }

    fn get_mut(&mut self, fingerprint: Fingerprint) -> Option<&mut Nanos> {
        for line in self.probe(fingerprint) {
            let goes_on = line.is_full();
            match line.find(fingerprint) {
                Some(entry) => return Some(&mut entry.arrival),
                None if goes_on => {}
                None => return None,
            }
        }
        None
    }

    fn insert_new(&mut self, entry: Entry) {
        // One place of eight stays free, so that a search ends soon.
        if self.len >= self.lines.len() * PER_LINE * 7 / 8 {
            // By half, not to twice: a smaller table stays in the cache for longer.
            self.rebuild(self.lines.len() * 3 / 2 + 1, |_| true);
        }
        self.place(entry);
    }

    fn place(&mut self, entry: Entry) {
        let free = self
            .probe(entry.fingerprint)
            .find_map(|line| line.find(Fingerprint::NONE));
        if let Some(place) = free {
            *place = entry;
            self.len += 1;
        }
    }

    fn remove(&mut self, gone: Fingerprint) -> bool {
        let is_there = self.get_mut(gone).is_some();
        if is_there {
            // Rare: by an operator's hand.
            self.rebuild(self.lines.len(), |entry| entry.fingerprint != gone);
        }
        is_there
    }

    fn drop_until(&mut self, now: Nanos) -> usize {
        let stays = |entry: &Entry| entry.arrival > now;
        let live = self.entries().filter(|entry| stays(entry)).count();
        let dropped = self.len - live;
        if dropped > 0 {
            let twice = (live * 2).div_ceil(PER_LINE);
            let lines = match self.lines.len() {
                lines if lines > 256 && lines > twice * 4 => twice,
                lines => lines,
            };
            self.rebuild(lines, stays);
        }
        dropped
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines
            .iter()
            .flat_map(|line| &line.0)
            .filter(|entry| entry.fingerprint != Fingerprint::NONE)
    }

    /// So many lines, with the entries that stay.
    fn rebuild(&mut self, lines: usize, stays: impl Fn(&Entry) -> bool) {
        let mut rebuilt = Arrivals {
            lines: vec![Line::default(); lines],
            len: 0,
        };
        self.entries()
            .filter(|entry| stays(entry))
            .for_each(|entry| rebuilt.place(*entry));
        *self = rebuilt;
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

    /// Keys whose homes crowd at the table's beginning and its end, some of them in the very same line.
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
    fn the_hint_follows_the_table() {
        let shard = Shard::default();
        let told = || {
            let Whereabouts { first, lines } = &shard.whereabouts;
            (first.load(Ordering::Relaxed), lines.load(Ordering::Relaxed))
        };
        let mut held = shard.hold();
        for n in 1..=1000 {
            held.insert_new(n << 22, n.into());
            assert_eq!(
                told(),
                (held.arrivals.lines.as_mut_ptr(), held.arrivals.lines.len())
            );
        }
        assert!(held.remove(1 << 22));
        assert_eq!(
            told(),
            (held.arrivals.lines.as_mut_ptr(), held.arrivals.lines.len())
        );
        held.drop_until(990.into());
        assert_eq!(
            told(),
            (held.arrivals.lines.as_mut_ptr(), held.arrivals.lines.len())
        );
    }
}
