//! The arrival times of one shard, by fingerprint: open addressing, line by line.
//!
//! Four entries share a cache line, and one line is all that most look-ups touch.

use governor::nanos::Nanos;

/// Entries of 16 bytes on a cache line of 64.
const PER_LINE: usize = 4;

/// An entry stands in its home line or, where that was full, in the first line after it (around the end)
/// that was not. A line fills from its beginning. So a look-up may stop at the first line that is not full.
#[derive(Default)]
pub(super) struct Arrivals {
    pub(super) lines: Vec<Line>,
    pub(super) len: usize,
}

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
pub(super) struct Line([Entry; PER_LINE]);

#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) fingerprint: Fingerprint,
    pub(super) arrival: Nanos,
}

/// What stands for a key. Evenly spread, and nobody outside can choose it: there is no other defence against
/// keys that crowd in one place. Zero is taken for one, so those two share a state.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// A free place.
    const NONE: Fingerprint = Fingerprint(0);

    pub(super) fn new(bits: u64) -> Fingerprint {
        Fingerprint(bits.max(1))
    }

    /// The line where it belongs, of so many: the low half of its bits is a fraction of the whole. In a larger
    /// table the order stays, so that growing reads and writes one line after another.
    pub(super) fn home(self, lines: usize) -> usize {
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

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
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

    /// The arrival time of a key that is there.
    pub(super) fn get_mut(&mut self, fingerprint: Fingerprint) -> Option<&mut Nanos> {
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

    /// Adds a key that is not there.
    pub(super) fn insert_new(&mut self, entry: Entry) {
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

    /// Takes a key away; whether it was there.
    pub(super) fn remove(&mut self, gone: Fingerprint) -> bool {
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

    /// Drops every key whose time has come, and gives back memory that a flood took; how many it dropped.
    pub(super) fn drop_until(&mut self, now: Nanos) -> usize {
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
