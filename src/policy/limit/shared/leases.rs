//! What a replica knows of each key between two words of the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::script::{Charge, Charged};
use crate::policy::limit::clock::Now;
use crate::policy::limit::keys::KeyTable;
use crate::policy::limit::quota::Quota;
use crate::policy::limit::shards::{Keyed, Shards, take};
use crate::request::fingerprint::Fingerprint;

/// A key that is asked about again within so long is worth a larger batch.
const BUSY: Duration = Duration::from_secs(1);
/// Who is refused by what the store said so long ago is asked about again: meanwhile an operator may have given the
/// quota back, by another replica.
const STALE: Duration = Duration::from_secs(1);
/// A lease is never more than this part of the burst: what replicas hold may not starve the others, nor may what
/// they run ahead make a small quota several times as large.
const PART_OF_BURST: u32 = 10;

/// How far one replica may be from the store in what it knows of one key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    /// Requests granted by the store that may be in hand.
    pub(super) held: u32,
    /// Requests that may be admitted before the store was asked.
    pub(super) ahead: u32,
}

impl Terms {
    /// Half of a lease each; a lease of one is in hand or nowhere.
    pub(super) fn of(lease: u32, quota: Quota) -> Terms {
        let lease = lease.min(quota.burst.get() / PART_OF_BURST).max(1);
        Terms {
            held: lease.div_ceil(2),
            ahead: lease / 2,
        }
    }

    /// Whether the store is told of so many that ran ahead. Of a busy key it is of half of what may: a question stands
    /// for several requests, and the answer is there before the other half is used. Of others it is of each: many
    /// replicas that see little of a key each would not know how much all of them see.
    fn tells(self, owed: u32, is_busy: bool) -> bool {
        owed >= if is_busy { self.ahead.div_ceil(2) } else { 1 }
    }

    /// How soon an answer is needed, with so many ahead of it.
    fn hurry(self, ahead: u32) -> Hurry {
        match ahead >= self.ahead - self.ahead / 4 {
            true => Hurry::Now,
            false => Hurry::Later,
        }
    }
}

/// Whether a request waits for the store, where only that can tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Patience {
    /// It may.
    CanWait,
    /// It is admitted whatever the store says, and charged.
    GoesOn,
}

/// What is known of one key.
#[derive(Debug)]
struct Lease {
    key: Fingerprint,
    /// Granted by the store, not admitted yet.
    held: u32,
    /// Admitted, and not told to the store.
    owed: u32,
    /// Admitted, and told to the store, which has not answered.
    told: u32,
    /// Questions without an answer.
    asked: u32,
    /// The last batch that was wanted.
    batch: u32,
    /// The store grants nothing before; zero where it has refused nothing.
    refused_until: Now,
    /// When it was last asked, if ever.
    asked_at: Option<Now>,
    /// When it last admitted something.
    used_at: Now,
}

/// When a question goes out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Hurry {
    /// With what is asked in the next milliseconds: nobody needs the answer yet.
    Later,
    /// At once, with all that was asked before it.
    Now,
}

/// What is to be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Need {
    pub(super) owed: u32,
    pub(super) wanted: u32,
    pub(super) hurry: Hurry,
}

/// What comes of a request that was admitted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Next {
    /// Nothing.
    Nothing,
    /// This is to be asked.
    Ask(Need),
    /// What was asked is needed soon.
    Hurry,
}

/// What the leases say of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Taken {
    /// It is admitted, and this comes of it.
    Admitted(Next),
    /// The store has said that it grants nothing for so long; if that was a while ago, this is to be asked.
    Refused(Duration, Option<Need>),
    /// Only the store can tell.
    Unknown(Need),
    /// There is no room to keep anything of this key.
    NoRoom,
}

/// What an operator is shown of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseState {
    /// Requests that the store has granted and that were not needed yet.
    pub held: u32,
    /// Requests that were admitted and that the store does not know of.
    pub owed: u32,
    /// How long the store grants nothing, by what it said last.
    pub refused_for: Duration,
}

/// The leases of one quota's keys. Bounded: by the bound of its policy's table of keys.
pub(super) struct Leases {
    quota: Quota,
    terms: Terms,
    table: Arc<KeyTable>,
    count: AtomicUsize,
    shards: Shards<Lease>,
}

impl Leases {
    pub(super) fn new(quota: Quota, lease: u32, table: Arc<KeyTable>) -> Leases {
        Leases {
            quota,
            terms: Terms::of(lease, quota),
            table,
            count: AtomicUsize::new(0),
            shards: Shards::default(),
        }
    }

    /// Takes one request of the key at `now`. `used` says how many requests of the local share are in use: more
    /// than these a key does not owe, whatever happened while there was no store.
    pub(super) fn take(
        &self,
        key: Fingerprint,
        patience: Patience,
        now: Now,
        used: impl FnOnce() -> u32,
    ) -> Taken {
        let mut shard = self.shards.of(key);
        let found = match shard.get_mut(key) {
            Some(found) => found,
            None if !self.has_room() => return Taken::NoRoom,
            None => shard.insert(Lease::new(key, now)),
        };
        found.take(self.terms, patience, now, used)
    }

    /// Counts a request that was admitted without the store.
    pub(super) fn owe(&self, key: Fingerprint, now: Now) {
        let mut shard = self.shards.of(key);
        if let Some(lease) = shard.get_mut(key) {
            lease.owed = lease.owed.saturating_add(1);
            lease.used_at = now;
        } else if self.has_room() {
            shard.insert(Lease {
                owed: 1,
                ..Lease::new(key, now)
            });
        }
    }

    /// Whether one more key has a place; it is then taken.
    fn has_room(&self) -> bool {
        take(&self.count, self.table.max_keys())
    }

    /// The store has answered. Gives back whether the one who waits for it is among the granted.
    pub(super) fn answered(
        &self,
        key: Fingerprint,
        asked: &Charge,
        charged: Charged,
        is_waited_for: bool,
        now: Now,
    ) -> bool {
        let for_waiter = is_waited_for && charged.granted > 0;
        if let Some(lease) = self.shards.of(key).get_mut(key) {
            lease.asked = lease.asked.saturating_sub(1);
            lease.told = lease.told.saturating_sub(owed(asked));
            lease.held += charged.granted - u32::from(for_waiter);
            // A request that read the clock before this answer came is not refused by it.
            lease.refused_until = match charged.wait {
                Duration::ZERO => Duration::ZERO,
                wait => now + wait,
            };
            if for_waiter {
                lease.used_at = now;
            }
        }
        for_waiter
    }

    /// What was granted to one who has gone is in hand, where there is room for it.
    pub(super) fn unclaimed(&self, key: Fingerprint) {
        if let Some(lease) = self.shards.of(key).get_mut(key)
            && lease.held < self.terms.held
        {
            lease.held += 1;
        }
    }

    /// The store has not answered. Whether it has charged what was owed nobody knows: it is owed again.
    pub(super) fn unanswered(&self, key: Fingerprint, asked: &Charge) {
        if let Some(lease) = self.shards.of(key).get_mut(key) {
            lease.asked = lease.asked.saturating_sub(1);
            lease.told = lease.told.saturating_sub(owed(asked));
            lease.owed = lease.owed.saturating_add(owed(asked));
        }
    }

    /// Takes one that is in hand, where the store is not to be asked.
    pub(super) fn take_held(&self, key: Fingerprint, now: Now) -> bool {
        let mut shard = self.shards.of(key);
        let Some(lease) = shard.get_mut(key).filter(|lease| lease.held > 0) else {
            return false;
        };
        lease.held -= 1;
        lease.used_at = now;
        true
    }

    pub(super) fn peek(&self, key: Fingerprint, now: Now) -> Option<LeaseState> {
        let shard = self.shards.of(key);
        let lease = shard.get(key)?;
        Some(LeaseState {
            held: lease.held,
            owed: lease.owed.saturating_add(lease.told),
            refused_for: lease.refused_until.saturating_sub(now),
        })
    }

    /// Forgets a key; whether it was there.
    pub(super) fn remove(&self, key: Fingerprint) -> bool {
        let was_there = self.shards.of(key).remove(key);
        self.count.fetch_sub(usize::from(was_there), Ordering::Relaxed);
        was_there
    }

    /// Drops what says no more than that nothing is known. What is in hand or owed says nothing any more once the
    /// whole burst would be there again.
    pub(super) fn sweep(&self, now: Now) {
        let span = Duration::from_secs(u64::from(self.quota.period.seconds()))
            .mul_f64(f64::from(self.quota.burst.get()) / f64::from(self.quota.rate.get()));
        for mut shard in self.shards.each() {
            let dropped = shard.retain(|lease| {
                let counts_for = match lease.held > 0 || lease.owed > 0 {
                    true => span.max(BUSY),
                    false => BUSY,
                };
                let unused_for = now.saturating_sub(lease.used_at);
                unused_for < counts_for || lease.asked > 0 || lease.refused_until > now
            });
            self.count.fetch_sub(dropped, Ordering::Relaxed);
        }
    }
}

/// What an answered question had charged in any case; nothing where it gave back.
fn owed(asked: &Charge) -> u32 {
    u32::try_from(asked.owed.max(0)).unwrap_or(u32::MAX)
}

impl Keyed for Lease {
    fn key(&self) -> Fingerprint {
        self.key
    }
}

impl Lease {
    fn new(key: Fingerprint, now: Now) -> Lease {
        Lease {
            key,
            held: 0,
            owed: 0,
            told: 0,
            asked: 0,
            batch: 0,
            refused_until: Duration::ZERO,
            asked_at: None,
            used_at: now,
        }
    }

    fn take(&mut self, terms: Terms, patience: Patience, now: Now, used: impl FnOnce() -> u32) -> Taken {
        if self.held > 0 {
            self.held -= 1;
            self.used_at = now;
            return Taken::Admitted(Next::Nothing);
        }
        if self.refused_until > now {
            let wait = self.refused_until - now;
            let is_stale = self.asked == 0 && !self.was_asked_within(STALE, now);
            return Taken::Refused(
                wait,
                is_stale.then(|| Need {
                    wanted: 0,
                    ..self.tell(terms, now, Hurry::Later, used)
                }),
            );
        }
        let ahead = self.owed.saturating_add(self.told).saturating_add(1);
        if ahead <= terms.ahead {
            self.owed += 1;
            self.used_at = now;
            let hurry = terms.hurry(ahead);
            return Taken::Admitted(match self.asked {
                0 if terms.tells(self.owed, self.is_busy(now)) => {
                    Next::Ask(self.ask(terms, now, hurry, used))
                }
                0 => Next::Nothing,
                _ if hurry == Hurry::Now => Next::Hurry,
                _ => Next::Nothing,
            });
        }
        if patience == Patience::GoesOn {
            self.owed += 1;
            self.used_at = now;
            return Taken::Admitted(Next::Ask(self.ask(terms, now, Hurry::Later, used)));
        }
        // Each that waits asks for itself: questions go out together and wait for no other's answer.
        Taken::Unknown(Need {
            wanted: 1,
            ..self.tell(terms, now, Hurry::Now, used)
        })
    }

    /// Whether it was asked about a short while ago.
    fn is_busy(&self, now: Now) -> bool {
        self.was_asked_within(BUSY, now)
    }

    fn was_asked_within(&self, span: Duration, now: Now) -> bool {
        self.asked_at.is_some_and(|at| now.saturating_sub(at) < span)
    }

    /// Asks for the next batch: nothing for a key that is seldom asked about, then twice as much each time.
    fn ask(&mut self, terms: Terms, now: Now, hurry: Hurry, used: impl FnOnce() -> u32) -> Need {
        self.batch = match self.is_busy(now) {
            true => (self.batch * 2).clamp(1, terms.held),
            false => 0,
        };
        self.tell(terms, now, hurry, used)
    }

    /// All that is owed is told, but for what has come back since: without a store there is no other end to it.
    fn tell(&mut self, terms: Terms, now: Now, hurry: Hurry, used: impl FnOnce() -> u32) -> Need {
        let owed = match self.owed <= terms.ahead {
            true => self.owed,
            false => self.owed.min(used().max(terms.ahead)),
        };
        self.owed = 0;
        self.told = self.told.saturating_add(owed);
        self.asked += 1;
        self.asked_at = Some(now);
        Need {
            owed,
            wanted: self.batch,
            hurry,
        }
    }
}
