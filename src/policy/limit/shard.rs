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

/// Open addressing, line by line.
///
/// An entry stands in its home line or, where that was full, in the first line after it (around the end)
/// that was not. A line fills from its beginning. So a look-up may stop at the first line that is not full.
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
/// keys that crowd in one place. Zero is taken for one, so those two share a state.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Fingerprint(u64);

impl Fingerprint {
    /// A free place.
    const NONE: Fingerprint = Fingerprint(0);

    fn new(bits: u64) -> Fingerprint {
        Fingerprint(bits.max(1))
    }

    /// The line where it belongs, of so many: the low half of its bits is a fraction of the whole. In a larger
    /// table the order stays, so that growing reads and writes one line after another.
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

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.0
            .iter()
            .take_while(|entry| entry.fingerprint != Fingerprint::NONE)
    }

    /// Takes an entry out, if one is such, and closes the gap.
    fn take(&mut self, is_taken: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let at = self.entries().position(is_taken)?;
        let (_, from) = self.0.split_at_mut_checked(at)?;
        from.rotate_left(1);
        let [.., last] = &mut self.0;
        Some(std::mem::take(last))
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
            self.rebuild(self.lines.len() * 3 / 2 + 1);
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
        let lines = self.lines.len();
        let home = gone.home(lines);
        for line in (home..lines).chain(0..home) {
            if self.take(line, |entry| entry.fingerprint == gone) {
                return true;
            }
            if !self.lines.get(line).is_some_and(Line::is_full) {
                return false;
            }
        }
        false
    }

    fn drop_until(&mut self, now: Nanos) -> usize {
        let before = self.len;
        for line in 0..self.lines.len() {
            // What moves up into this line is looked at too.
            while self.take(line, |entry| entry.arrival <= now) {}
        }
        let twice = (self.len * 2).div_ceil(PER_LINE);
        if self.lines.len() > 256 && self.lines.len() > twice * 4 {
            self.rebuild(twice);
        }
        before - self.len
    }

    /// Takes an entry out of a line, if one is such. Where the line was full, one that would have stood there
    /// moves up, and so on behind it.
    fn take(&mut self, line: usize, is_taken: impl Fn(&Entry) -> bool) -> bool {
        let Some(from) = self.lines.get_mut(line) else {
            return false;
        };
        let mut was_full = from.is_full();
        if from.take(is_taken).is_none() {
            return false;
        }
        self.len -= 1;
        let mut gap = line;
        while was_full {
            let Some((next, entry, next_was_full)) = self.take_first_past(gap) else {
                break;
            };
            if let Some(line) = self.lines.get_mut(gap) {
                let [.., last] = &mut line.0;
                *last = entry;
            }
            (gap, was_full) = (next, next_was_full);
        }
        true
    }

    /// Takes out the first entry behind a line that would stand in it, had there been a place. With the line
    /// where it was, and whether that was full.
    fn take_first_past(&mut self, gap: usize) -> Option<(usize, Entry, bool)> {
        let lines = self.lines.len();
        // How far it is from one line to another in the order of a search.
        let way = |from: usize, to: usize| if to >= from { to - from } else { to + lines - from };
        for at in (gap + 1..lines).chain(0..gap) {
            let line = self.lines.get_mut(at)?;
            let was_full = line.is_full();
            let passed_the_gap = |entry: &Entry| way(entry.fingerprint.home(lines), at) >= way(gap, at);
            match line.take(passed_the_gap) {
                Some(entry) => return Some((at, entry, was_full)),
                None if was_full => {}
                None => return None,
            }
        }
        None
    }

    /// So many lines, with all entries.
    fn rebuild(&mut self, lines: usize) {
        let old = std::mem::replace(
            self,
            Arrivals {
                lines: vec![Line::default(); lines],
                len: 0,
            },
        );
        for entry in old.lines.iter().flat_map(Line::entries) {
            self.place(*entry);
        }
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
