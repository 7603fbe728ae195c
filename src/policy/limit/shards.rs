//! Arrival times by key, spread over locks so that threads do not disturb each other.

use governor::nanos::Nanos;
use hashbrown::HashTable;
use parking_lot::Mutex;

use crate::request::fingerprint::Fingerprint;

/// A power of two.
const SHARDS: usize = 64;

/// A shard of fewer places gives none back.
const SMALL: usize = 1024;

/// Arrival times by key.
pub(super) struct Shards([Shard; SHARDS]);

/// On cache lines of its own.
#[derive(Default)]
#[repr(align(64))]
struct Shard(Mutex<HashTable<Entry>>);

struct Entry {
    key: Fingerprint,
    arrival: Nanos,
}

fn hash(entry: &Entry) -> u64 {
    entry.key.bits()
}

impl Default for Shards {
    fn default() -> Shards {
        Shards(std::array::from_fn(|_| Shard::default()))
    }
}

impl Shards {
    /// The shard of a key. The table within finds places by the lowest bits of the fingerprint and tells keys
    /// apart by the highest, so the shard is picked by bits between them.
    fn shard(&self, key: Fingerprint) -> &Mutex<HashTable<Entry>> {
        let [first, ..] = &self.0;
        let at = (key.bits() >> 40) as usize % SHARDS;
        let Shard(entries) = self.0.get(at).unwrap_or(first);
        entries
    }

    /// Decides by the state of a key, and keeps what comes of it. Where there is none yet, `claim` says whether
    /// there may be one, and `release` takes that back where the decision leaves none. None where there may not.
    pub(super) fn update<T, E>(
        &self,
        key: Fingerprint,
        claim: impl FnOnce() -> bool,
        release: impl FnOnce(),
        decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Option<Result<T, E>> {
        let mut shard = self.shard(key).lock();
        if let Some(entry) = shard.find_mut(key.bits(), |entry| entry.key == key) {
            return Some(decide(Some(entry.arrival)).map(|(granted, next)| {
                entry.arrival = next;
                granted
            }));
        }
        if !claim() {
            return None;
        }
        let decided = decide(None).map(|(granted, arrival)| {
            shard.insert_unique(key.bits(), Entry { key, arrival }, hash);
            granted
        });
        if decided.is_err() {
            release();
        }
        Some(decided)
    }

    /// The arrival time of a key.
    pub(super) fn get(&self, key: Fingerprint) -> Option<Nanos> {
        let shard = self.shard(key).lock();
        let found = shard.find(key.bits(), |entry| entry.key == key);
        found.map(|entry| entry.arrival)
    }

    /// Changes the arrival time of a key that is there.
    pub(super) fn change(&self, key: Fingerprint, to: impl FnOnce(Nanos) -> Nanos) {
        let mut shard = self.shard(key).lock();
        if let Some(entry) = shard.find_mut(key.bits(), |entry| entry.key == key) {
            entry.arrival = to(entry.arrival);
        }
    }

    /// Takes a key away; whether it was there.
    pub(super) fn remove(&self, key: Fingerprint) -> bool {
        let mut shard = self.shard(key).lock();
        match shard.find_entry(key.bits(), |entry| entry.key == key) {
            Ok(found) => {
                found.remove();
                true
            }
            Err(_) => false,
        }
    }

    /// Keys that are there.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(|Shard(entries)| entries.lock().len()).sum()
    }

    /// Drops every key whose time has come, shard by shard, and gives back the memory that a flood took. Each is
    /// told before it goes. Returns how many.
    pub(super) fn drop_until(&self, now: Nanos, mut goes: impl FnMut(Fingerprint)) -> usize {
        let mut dropped = 0;
        for Shard(entries) in &self.0 {
            let mut entries = entries.lock();
            let before = entries.len();
            entries.retain(|entry| {
                let stays = entry.arrival > now;
                if !stays {
                    goes(entry.key);
                }
                stays
            });
            dropped += before - entries.len();
            // Room for as many again stays, so that the next ones do not make it grow at once.
            let roomy = entries.len() * 2;
            if entries.capacity() > SMALL.max(roomy * 4) {
                entries.shrink_to(roomy, hash);
            }
        }
        dropped
    }

    /// Keys that there is memory for.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.0
            .iter()
            .map(|Shard(entries)| entries.lock().capacity())
            .sum()
    }
}
