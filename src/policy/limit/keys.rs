//! The table of keys: bounded, sharded, behind governor's `StateStore`. GCRA stays governor's.
//!
//! A key that is in the table is only ever dropped when its state equals that of a key never seen (by the
//! clock of the thread that sweeps, moments ahead of another's at most), so no flood of new keys can free a
//! member that is over its limit. When the table is full, keys not in it share one overflow state per
//! limiter, until the next sweep frees places.
//!
//! A key is kept as the member's fingerprint of 64 bits, so that four of them share a cache line with their
//! arrival times. That two of a million members share a state has a chance of 3 in 100 million, and
//! nobody outside the process can look for such a pair.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use governor::clock::{Clock, Reference};
use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

use super::ToldClock;
use super::shard::Shard;
use crate::request::field::MemberId;

/// A power of two: the top bits of a fingerprint pick the shard, its low half the place there.
const SHARDS: usize = 64;

/// What the keys of all limiters share: the bound and what is told of it.
#[derive(Debug)]
pub struct KeyTable {
    max_keys: AtomicUsize,
    keys: AtomicUsize,
    evicted: AtomicU64,
    overflowed: AtomicU64,
}

impl KeyTable {
    /// A bound of `max_keys` over all limiters.
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
pub struct Keys(Arc<Inner>);

struct Inner {
    table: Arc<KeyTable>,
    born: Nanos,
    shards: [Shard; SHARDS],
    overflow: Mutex<Option<Nanos>>,
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

    /// What stands for a key, and the shard where it belongs: by bits that the shard does not use.
    fn place(&self, key: &MemberId) -> (&Shard, u64) {
        let fingerprint = key.fingerprint();
        let [first, ..] = &self.0.shards;
        let at = (fingerprint >> (64 - SHARDS.ilog2())) as usize;
        (self.0.shards.get(at).unwrap_or(first), fingerprint)
    }

    /// Sends for what a look-up of this key will need.
    pub(super) fn prefetch(&self, key: &MemberId) {
        let (shard, fingerprint) = self.place(key);
        shard.prefetch(fingerprint);
    }

    /// Judges by the state that all keys without a place share.
    fn overflow<T, E>(&self, decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>) -> Result<T, E> {
        self.0.table.overflowed.fetch_add(1, Ordering::Relaxed);
        let mut shared = self.0.overflow.lock();
        let (granted, next) = decide(*shared)?;
        *shared = Some(next);
        Ok(granted)
    }

    pub(super) fn peek(&self, key: &MemberId) -> Option<Nanos> {
        let (shard, fingerprint) = self.place(key);
        shard.hold().get_mut(fingerprint).copied()
    }

    pub(super) fn remove(&self, key: &MemberId) -> bool {
        let (shard, fingerprint) = self.place(key);
        let removed = shard.hold().remove(fingerprint);
        self.0.table.release(usize::from(removed));
        removed
    }

    /// Drops what has run out, shard by shard, so that no look-up waits long.
    pub(super) fn sweep(&self) -> usize {
        let now = self.0.now();
        let dropped = self
            .0
            .shards
            .iter()
            .map(|shard| {
                let dropped = shard.hold().drop_until(now);
                self.0.table.release(dropped);
                dropped
            })
            .sum();
        self.0.table.evicted.fetch_add(dropped as u64, Ordering::Relaxed);
        dropped
    }
}

impl Inner {
    /// The clock, as governor counts: since the limiter's birth.
    fn now(&self) -> Nanos {
        ToldClock.now().duration_since(self.born)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.table
            .release(self.shards.iter().map(|shard| shard.hold().len()).sum());
    }
}

impl StateStore for Keys {
    type Key = MemberId;

    fn measure_and_replace<T, F, E>(&self, key: &MemberId, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (shard, fingerprint) = self.place(key);
        let mut shard = shard.hold();
        if let Some(arrival) = shard.get_mut(fingerprint) {
            let (granted, next) = decide(Some(*arrival))?;
            *arrival = next;
            return Ok(granted);
        }
        if !self.0.table.claim() {
            return self.overflow(decide);
        }
        match decide(None) {
            Ok((granted, next)) => {
                shard.insert_new(fingerprint, next);
                Ok(granted)
            }
            Err(refused) => {
                self.0.table.release(1);
                Err(refused)
            }
        }
    }
}
