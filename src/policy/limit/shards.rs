//! What is kept of keys, spread over locks so that threads do not disturb each other.

use std::sync::atomic::{AtomicUsize, Ordering};

use hashbrown::HashTable;
use parking_lot::{Mutex, MutexGuard};

use crate::request::fingerprint::Fingerprint;

/// A power of two.
pub(super) const SHARDS: usize = 64;

/// A shard of fewer places gives none back.
const SMALL: usize = 1024;

/// What says whose it is.
pub(super) trait Keyed {
    fn key(&self) -> Fingerprint;
}

/// One entry per key.
pub(super) struct Shards<T>([Shard<T>; SHARDS]);

/// On cache lines of its own.
#[repr(align(64))]
struct Shard<T>(Mutex<Entries<T>>);

/// The entries of one shard.
pub(super) struct Entries<T>(HashTable<T>);

impl<T> Default for Shards<T> {
    fn default() -> Shards<T> {
        Shards(std::array::from_fn(|_| {
            Shard(Mutex::new(Entries(HashTable::new())))
        }))
    }
}

impl<T: Keyed> Shards<T> {
    /// The shard of a key. The table within finds places by the lowest bits of the fingerprint and tells keys
    /// apart by the highest, so the shard is picked by bits between them.
    pub(super) fn of(&self, key: Fingerprint) -> MutexGuard<'_, Entries<T>> {
        self.nth((key.bits() >> 40) as usize)
    }

    /// One shard after another, again and again.
    pub(super) fn nth(&self, at: usize) -> MutexGuard<'_, Entries<T>> {
        let [first, ..] = &self.0;
        let Shard(entries) = self.0.get(at % SHARDS).unwrap_or(first);
        entries.lock()
    }

    /// Each, locked while it is looked at.
    pub(super) fn each(&self) -> impl Iterator<Item = MutexGuard<'_, Entries<T>>> {
        (0..SHARDS).map(|at| self.nth(at))
    }

    /// Entries that are there.
    pub(super) fn len(&self) -> usize {
        self.each().map(|entries| entries.0.len()).sum()
    }

    /// Entries that there is memory for.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.each().map(|entries| entries.0.capacity()).sum()
    }
}

impl<T: Keyed> Entries<T> {
    pub(super) fn get(&self, key: Fingerprint) -> Option<&T> {
        self.0.find(key.bits(), |entry| entry.key() == key)
    }

    pub(super) fn get_mut(&mut self, key: Fingerprint) -> Option<&mut T> {
        self.0.find_mut(key.bits(), |entry| entry.key() == key)
    }

    /// Puts in an entry whose key has none.
    pub(super) fn insert(&mut self, entry: T) -> &mut T {
        let place = self.0.insert_unique(entry.key().bits(), entry, hash);
        place.into_mut()
    }

    /// Takes a key's entry away; whether it was there.
    pub(super) fn remove(&mut self, key: Fingerprint) -> bool {
        let found = self.0.find_entry(key.bits(), |entry| entry.key() == key);
        found.map(|found| found.remove()).is_ok()
    }

    /// Drops what does not stay, and gives back the memory that a flood took. Returns how many went.
    pub(super) fn retain(&mut self, mut stays: impl FnMut(&T) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|entry| stays(entry));
        // Room for as many again stays, so that the next ones do not make it grow at once.
        let roomy = self.0.len() * 2;
        if self.0.capacity() > SMALL.max(roomy * 4) {
            self.0.shrink_to(roomy, hash);
        }
        before - self.0.len()
    }
}

fn hash<T: Keyed>(entry: &T) -> u64 {
    entry.key().bits()
}

/// Takes a place, if fewer than so many are taken.
pub(super) fn take(places: &AtomicUsize, most: usize) -> bool {
    let one_more = |taken| (taken < most).then_some(taken + 1);
    places
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more)
        .is_ok()
}
