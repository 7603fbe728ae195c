//! The table of keys: bounded, sharded, behind governor's `StateStore`. GCRA stays governor's.
//!
//! A key that is in the table is only ever dropped when its state equals that of a key never seen (by the
//! clock of the thread that sweeps, moments ahead of another's at most), so no flood of new keys can free one
//! that is over its limit. When the table is full, keys not in it share one overflow state per limiter, until
//! the next sweep frees places.
//!
//! A key is kept as its [`Fingerprint`], in 17 bytes with its arrival time, where a whole `member_id` would take
//! 41 and one with a placement more. Between its growths a table is full to 7/16 to 7/8.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use governor::clock::{Clock, Reference};
use governor::nanos::Nanos;
use governor::state::StateStore;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::clock::ToldClock;
use super::decision::PolicyName;
use crate::request::fingerprint::Fingerprint;

/// A power of two.
const SHARDS: usize = 64;

/// A shard of fewer places gives none back.
const SMALL: usize = 1024;

/// The tables of all policies, one each: a flood of one kind of key takes no room from another.
#[derive(Debug)]
pub struct KeyTables([Arc<KeyTable>; PolicyName::ALL.len()]);

impl KeyTables {
    /// A bound of `max_keys` for each of them.
    pub fn new(max_keys: usize) -> KeyTables {
        KeyTables(PolicyName::ALL.map(|_| Arc::new(KeyTable::new(max_keys))))
    }

    /// Changes the bound of each.
    pub fn set_max_keys(&self, max_keys: usize) {
        self.0.iter().for_each(|table| table.set_max_keys(max_keys));
    }

    /// The table of a policy.
    pub fn of(&self, policy: PolicyName) -> &Arc<KeyTable> {
        let [first, ..] = &self.0;
        self.0.get(policy as usize).unwrap_or(first)
    }

    /// Each policy and its table.
    pub fn each(&self) -> impl Iterator<Item = (PolicyName, &KeyTable)> {
        PolicyName::ALL
            .into_iter()
            .zip(self.0.iter().map(|table| &**table))
    }
}

/// What the keys of a policy's limiters share: the bound and what is told of it.
#[derive(Debug)]
pub struct KeyTable {
    max_keys: AtomicUsize,
    keys: AtomicUsize,
    evicted: AtomicU64,
    overflowed: AtomicU64,
}

impl KeyTable {
    /// A bound of `max_keys` over all of them.
    pub fn new(max_keys: usize) -> KeyTable {
        KeyTable {
            max_keys: AtomicUsize::new(max_keys),
            keys: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
        }
    }

    /// Changes the bound; keys above a lower one stay until they are swept.
    pub fn set_max_keys(&self, max_keys: usize) {
        self.max_keys.store(max_keys, Ordering::Relaxed);
    }

    /// The bound.
    pub fn max_keys(&self) -> usize {
        self.max_keys.load(Ordering::Relaxed)
    }

    /// Keys with state.
    pub fn len(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Whether no key has state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keys dropped because their state had run out, ever.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Requests of keys that found no room and were judged by the shared state, ever.
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Takes a place if there is one.
    fn claim(&self) -> bool {
        let max = self.max_keys();
        self.keys
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |keys| {
                (keys < max).then_some(keys + 1)
            })
            .is_ok()
    }

    fn release(&self, keys: usize) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
    }
}

/// The state of one limiter's keys: the theoretical arrival time of each, since the limiter's birth.
#[derive(Clone)]
pub(super) struct Keys(Arc<Inner>);

struct Inner {
    table: Arc<KeyTable>,
    born: Nanos,
    shards: [Shard; SHARDS],
    overflow: Mutex<Option<Nanos>>,
}

/// On cache lines of its own, so that threads in different shards do not disturb each other.
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

impl Keys {
    /// Keys of a limiter that is born now, as its clock says.
    pub(super) fn new(table: Arc<KeyTable>) -> Keys {
        Keys(Arc::new(Inner {
            table,
            born: ToldClock.now(),
            shards: std::array::from_fn(|_| Shard::default()),
            overflow: Mutex::new(None),
        }))
    }

    /// The shard of a key. The table within finds places by the lowest bits of the fingerprint and tells keys
    /// apart by the highest, so the shard is picked by bits between them.
    fn shard(&self, key: Fingerprint) -> &Mutex<HashTable<Entry>> {
        let [first, ..] = &self.0.shards;
        let at = (key.bits() >> 40) as usize % SHARDS;
        let Shard(entries) = self.0.shards.get(at).unwrap_or(first);
        entries
    }

    /// Judges by the state that all keys without a place share.
    fn overflow<T, E>(&self, decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
        self.0.table.overflowed.fetch_add(1, Ordering::Relaxed);
        let mut shared = self.0.overflow.lock();
        let (granted, next) = decide(*shared)?;
        *shared = Some(next);
        Ok(granted)
    }

    /// The arrival time of a key that is in the table.
    pub(super) fn peek(&self, key: Fingerprint) -> Option<Nanos> {
        let shard = self.shard(key).lock();
        shard
            .find(key.bits(), |entry| entry.key == key)
            .map(|entry| entry.arrival)
    }

    /// Moves the arrival time of a key back by the time that one request takes; that of a key that is not in the
    /// table was the one that all without a place share.
    pub(super) fn give_back(&self, key: Fingerprint, each: Nanos) {
        let earlier = |arrival: Nanos| Nanos::from(u64::from(arrival).saturating_sub(u64::from(each)));
        let mut shard = self.shard(key).lock();
        match shard.find_mut(key.bits(), |entry| entry.key == key) {
            Some(entry) => entry.arrival = earlier(entry.arrival),
            None => {
                drop(shard);
                let mut shared = self.0.overflow.lock();
                *shared = shared.map(earlier);
            }
        }
    }

    /// Takes a key away; whether it was there.
    pub(super) fn remove(&self, key: Fingerprint) -> bool {
        let mut shard = self.shard(key).lock();
        let Ok(found) = shard.find_entry(key.bits(), |entry| entry.key == key) else {
            return false;
        };
        found.remove();
        self.0.table.release(1);
        true
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.0
            .shards
            .iter()
            .map(|Shard(entries)| entries.lock().capacity())
            .sum()
    }

    /// Drops what has run out, shard by shard, so that no look-up waits long; how many keys.
    pub(super) fn sweep(&self) -> usize {
        let now = self.0.now();
        let dropped = self
            .0
            .shards
            .iter()
            .map(|Shard(entries)| {
                let dropped = drop_until(&mut entries.lock(), now);
                self.0.table.release(dropped);
                dropped
            })
            .sum();
        self.0.table.evicted.fetch_add(dropped as u64, Ordering::Relaxed);
        dropped
    }
}

/// Drops every key whose time has come, and gives back the memory that a flood took; how many keys.
fn drop_until(entries: &mut HashTable<Entry>, now: Nanos) -> usize {
    let before = entries.len();
    entries.retain(|entry| entry.arrival > now);
    // Room for as many again stays, so that the next ones do not make it grow at once.
    let roomy = entries.len() * 2;
    if entries.capacity() > SMALL.max(roomy * 4) {
        entries.shrink_to(roomy, hash);
    }
    before - entries.len()
}

impl Inner {
    /// The clock, as governor counts: since the limiter's birth.
    fn now(&self) -> Nanos {
        ToldClock.now().duration_since(self.born)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let keys = self.shards.iter().map(|Shard(entries)| entries.lock().len());
        self.table.release(keys.sum());
    }
}

impl StateStore for Keys {
    type Key = Fingerprint;

    fn measure_and_replace<T, F, E>(&self, key: &Fingerprint, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut shard = self.shard(*key).lock();
        if let Some(entry) = shard.find_mut(key.bits(), |entry| entry.key == *key) {
            let (granted, next) = decide(Some(entry.arrival))?;
            entry.arrival = next;
            return Ok(granted);
        }
        if !self.0.table.claim() {
            drop(shard);
            return self.overflow(decide);
        }
        match decide(None) {
            Ok((granted, next)) => {
                let entry = Entry {
                    key: *key,
                    arrival: next,
                };
                shard.insert_unique(key.bits(), entry, hash);
                Ok(granted)
            }
            Err(refused) => {
                self.0.table.release(1);
                Err(refused)
            }
        }
    }
}
