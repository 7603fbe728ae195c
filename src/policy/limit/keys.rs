//! The table of keys: bounded, sharded, behind governor's `StateStore`. GCRA stays governor's.
//!
//! A key that is in the table is only ever dropped when its state equals that of a key never seen (by the
//! clock of the thread that sweeps, moments ahead of another's at most), so no flood of new keys can free one
//! that is over its limit. What a key without a place is judged by is shared: by all of the same client's, or
//! where no client is known, or no room for another, by everybody's.
//!
//! Who has a place: what is in the table; what is listed in the configuration; what is known (`seen`); and
//! others up to seven eighths of the bound, where the client may still bring new ones (`Doorkeeper`).
//!
//! A key is kept as its [`Fingerprint`], in 17 bytes with its arrival time, where a whole `member_id` would take
//! 41 and one with a placement more. Between its growths a table is full to 7/16 to 7/8.

use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use governor::clock::{Clock, Reference};
use governor::nanos::Nanos;
use governor::state::StateStore;
use parking_lot::Mutex;

use super::clock::{Now, ToldClock};
use super::key::{ClientAddress, Key as _};
use super::seen::{Memory, Seen};
use super::shards::{Keyed, Shards, take};
use crate::request::fingerprint::Fingerprint;

/// Says whether a client may bring a key that was never here, one more each time it is asked.
pub(super) type Doorkeeper = Box<dyn Fn(&ClientAddress, Now) -> bool + Send + Sync>;

/// What the keys of a policy's limiters share: the bound, who was here before, and what is told of it.
pub struct KeyTable {
    max_keys: AtomicUsize,
    keys: AtomicUsize,
    clients: AtomicUsize,
    evicted: AtomicU64,
    overflowed: AtomicU64,
    seen: Seen,
    doorkeeper: ArcSwapOption<Doorkeeper>,
}

impl KeyTable {
    /// A bound of `max_keys` over all of them.
    pub fn new(max_keys: usize) -> KeyTable {
        KeyTable {
            max_keys: AtomicUsize::new(max_keys),
            keys: AtomicUsize::new(0),
            clients: AtomicUsize::new(0),
            evicted: AtomicU64::new(0),
            overflowed: AtomicU64::new(0),
            seen: Seen::default(),
            doorkeeper: ArcSwapOption::empty(),
        }
    }

    /// Changes the bound; keys above a lower one stay until they are swept.
    pub fn set_max_keys(&self, max_keys: usize) {
        self.max_keys.store(max_keys, Ordering::Relaxed);
    }

    /// Whom new keys are asked about from now on; without one, any client may bring any number.
    pub(super) fn set_doorkeeper(&self, doorkeeper: Doorkeeper) {
        self.doorkeeper.store(Some(Arc::new(doorkeeper)));
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

    /// Requests of keys that got no place and were judged by a shared state, ever.
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Ordering::Relaxed)
    }

    /// Takes a place for a key that has none, if it may have one.
    fn claim(&self, asked: &Asked) -> bool {
        let max = self.max_keys();
        let most = match (asked.source, self.seen.of(asked.key)) {
            // There are no more of them than the file lists.
            (Source::Listed, _) => usize::MAX,
            (_, Memory::Known) => max,
            (_, Memory::Lately) | (Source::Unknown, Memory::Never) => max - max / 8,
            (Source::Client(client), Memory::Never) => {
                let doorkeeper = self.doorkeeper.load();
                let now = Duration::from(ToldClock.now());
                if doorkeeper.as_ref().is_some_and(|admits| !admits(&client, now)) {
                    return false;
                }
                max - max / 8
            }
        };
        take(&self.keys, most)
    }

    /// States that clients' keys without a place share, at most.
    fn room_for_clients(&self) -> usize {
        (self.max_keys() / 8).max(1)
    }

    fn release(&self, keys: usize) {
        self.keys.fetch_sub(keys, Ordering::Relaxed);
    }
}

/// Where a key comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Source {
    /// The configuration lists it.
    Listed,
    /// A client brings it.
    Client(ClientAddress),
    /// That is not known, or does not matter.
    Unknown,
}

/// A key that a limiter is asked about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Asked {
    pub(super) key: Fingerprint,
    pub(super) source: Source,
}

/// The key alone.
impl Hash for Asked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

/// The theoretical arrival time of a key.
struct Arrival {
    key: Fingerprint,
    at: Nanos,
}

impl Keyed for Arrival {
    fn key(&self) -> Fingerprint {
        self.key
    }
}

type Arrivals = Shards<Arrival>;

/// Decides by the state of a key, and keeps what comes of it. Where there is none yet, `claim` says whether
/// there may be one, and `release` takes that back where the decision leaves none. None where there may not.
fn update<T, E>(
    arrivals: &Arrivals,
    key: Fingerprint,
    claim: impl FnOnce() -> bool,
    release: impl FnOnce(),
    decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
) -> Option<Result<T, E>> {
    let mut shard = arrivals.of(key);
    if let Some(arrival) = shard.get_mut(key) {
        return Some(decide(Some(arrival.at)).map(|(granted, next)| {
            arrival.at = next;
            granted
        }));
    }
    if !claim() {
        return None;
    }
    let decided = decide(None).map(|(granted, at)| {
        shard.insert(Arrival { key, at });
        granted
    });
    if decided.is_err() {
        release();
    }
    Some(decided)
}

/// Drops every key whose time has come, shard by shard; each is told before it goes. Returns how many.
fn drop_until(arrivals: &Arrivals, now: Nanos, mut goes: impl FnMut(Fingerprint)) -> usize {
    let mut stays = |arrival: &Arrival| {
        let stays = arrival.at > now;
        if !stays {
            goes(arrival.key);
        }
        stays
    };
    arrivals.each().map(|mut shard| shard.retain(&mut stays)).sum()
}

/// The state of one limiter's keys: their arrival times, since the limiter's birth.
#[derive(Clone)]
pub(super) struct Keys(Arc<Inner>);

struct Inner {
    table: Arc<KeyTable>,
    born: Nanos,
    own: Arrivals,
    /// Of clients whose keys have no place.
    of_client: Arrivals,
    /// Of everybody else.
    shared: Mutex<Option<Nanos>>,
}

impl Keys {
    /// Keys of a limiter that is born now, as its clock says.
    pub(super) fn new(table: Arc<KeyTable>) -> Keys {
        Keys(Arc::new(Inner {
            table,
            born: ToldClock.now(),
            own: Arrivals::default(),
            of_client: Arrivals::default(),
            shared: Mutex::new(None),
        }))
    }

    /// Judges by a state that keys without a place share.
    fn overflow<T, E>(
        &self,
        source: Source,
        decide: impl Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    ) -> Result<T, E> {
        let Inner {
            table,
            of_client,
            shared,
            ..
        } = &*self.0;
        table.overflowed.fetch_add(1, Ordering::Relaxed);
        if let Source::Client(client) = source {
            let claim = || take(&table.clients, table.room_for_clients());
            let release = || _ = table.clients.fetch_sub(1, Ordering::Relaxed);
            let decided = update(of_client, client.fingerprint(), claim, release, &decide);
            if let Some(decided) = decided {
                return decided;
            }
        }
        let mut shared = shared.lock();
        let (granted, next) = decide(*shared)?;
        *shared = Some(next);
        Ok(granted)
    }

    /// The arrival time of a key that is in the table.
    pub(super) fn peek(&self, key: Fingerprint) -> Option<Nanos> {
        self.0.own.of(key).get(key).map(|arrival| arrival.at)
    }

    /// Moves the arrival time of a key that is in the table back by the time that one request takes.
    pub(super) fn give_back(&self, key: Fingerprint, each: Nanos) {
        if let Some(arrival) = self.0.own.of(key).get_mut(key) {
            arrival.at = Nanos::from(u64::from(arrival.at).saturating_sub(u64::from(each)));
        }
    }

    /// Takes a key away; whether it was there.
    pub(super) fn remove(&self, key: Fingerprint) -> bool {
        let was_there = self.0.own.of(key).remove(key);
        self.0.table.release(usize::from(was_there));
        was_there
    }

    /// Forgets who was here before too long ago, in a part of the table.
    pub(super) fn forget(&self, now: Now) {
        let table = &self.0.table;
        table.seen.sweep(now, table.max_keys());
    }

    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.0.own.places()
    }

    /// Drops what has run out, shard by shard, so that no look-up waits long; how many keys.
    pub(super) fn sweep(&self) -> usize {
        let Inner {
            table,
            own,
            of_client,
            ..
        } = &*self.0;
        let now = self.0.now();
        let (at, most) = (Duration::from(ToldClock.now()), table.max_keys());
        let dropped = drop_until(own, now, |key| table.seen.remember(key, at, most));
        table.release(dropped);
        table.evicted.fetch_add(dropped as u64, Ordering::Relaxed);
        let clients = drop_until(of_client, now, |_| {});
        table.clients.fetch_sub(clients, Ordering::Relaxed);
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
        self.table.release(self.own.len());
        self.table
            .clients
            .fetch_sub(self.of_client.len(), Ordering::Relaxed);
    }
}

impl StateStore for Keys {
    type Key = Asked;

    fn measure_and_replace<T, F, E>(&self, asked: &Asked, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let Inner { table, own, .. } = &*self.0;
        let decided = update(
            own,
            asked.key,
            || table.claim(asked),
            || table.release(1),
            &decide,
        );
        match decided {
            Some(decided) => decided,
            None => self.overflow(asked.source, decide),
        }
    }
}
