//! Limits that several replicas share: `[limits.shared]`.
//!
//! The store (Redis, Valkey) holds one key per member, with the theoretical arrival time of GCRA, and an atomic
//! script charges it by the server's clock (`script`). Nobody asks it for each request. Between two of its words a
//! replica has, for each key, a *lease*: requests granted that are in hand, and requests that it may admit before it
//! asked (`leases`). Of a busy key the store is told when half of what may run ahead is used. What is to be asked goes through a
//! bounded queue to a thread of its own (`client`), which has one connection: questions that nobody needs yet go out
//! together, those that somebody waits for, or soon would, at once with all before them. So a request needs no round
//! trip, but for one: who has used up what may run ahead, while the answer is on its way, waits for it, never longer
//! than `timeout`. With `lease = 1` nothing runs ahead, and each request waits for its own answer.
//!
//! # How much too many
//!
//! Let a quota grant `burst` at once and `rate` per second, let there be R replicas, and let `lease` be what the
//! configuration says, but never more than a tenth of the burst and never less than 1. A lease is split: at most
//! `held` = ⌈lease/2⌉ requests are in hand, at most `ahead` = ⌊lease/2⌋ are admitted and not charged.
//!
//! **In any stretch of t seconds all replicas together admit at most burst + rate·t + R·lease.**
//!
//! Take a stretch from s to e. What a replica admits in it is what the store charges for it in it, and in addition
//! what it has in hand at s (at most `held`), and what it has admitted and not been charged for at e. The store
//! grants what fits, so it charges at most burst + rate·t, and in addition what is owed and does not fit. A charge of
//! that kind is answered by the time at which all that was charged until then has come back, and until that time the
//! replica admits nothing of the key on its own account. So at e, of each replica, at most its last charge has not
//! come back, and if it has not, that charge and what was admitted without one are `ahead` at most, since the
//! replica had no more between two answers; if it has, what is not charged is `ahead` at most. What had not come back
//! at s only makes it less. Together that is R·(held + ahead). An answer on its way counts as not given: the time it
//! takes moves the ends of a stretch by as much.
//!
//! # How much too few
//!
//! What is in hand at one replica is not there for another: R·held at most, and it does not add up, since it stays
//! in hand until it is used or the whole burst would be there again. A question whose answer is lost may have been
//! charged: its requests are charged once more, `lease` at most, and what it was granted is lost.
//!
//! # Without the store
//!
//! A breaker opens with a lost connection, or the third fault in a row; a single question that fails is judged the
//! same way, and whoever waits when it opens is judged without the store at once. With `on_error = "local"` each
//! replica then grants quota/`replicas` by a limiter of its own, which is charged all the while, so that who takes
//! its share of requests here has no second burst at hand. When the store is back, each key is charged with what
//! was admitted without it and has not come back since, with its next request and not before: no herd, nobody is
//! forgiven. **An outage adds at most one burst to the bound above** (R buckets of burst/R that are full, each
//! rounded up to a whole request, at a member that was busy elsewhere), however often the store comes and goes:
//! these buckets fill at rate/R alone. A store that has lost its data, as a failover may, grants each key its burst
//! anew, once.
//!
//! Who is over a quota is refused by the store's last word, and asked about again after a second, in the background: so
//! a reset by one replica is known to all of them within that, and costs a question a second at most.
//!
//! A replica whose clock runs fast or slow asks no earlier or later than its own pauses: times of the store are
//! the store's, and what it answers are spans.

mod address;
mod breaker;
mod client;
mod connection;
mod fault;
mod inquiry;
mod leases;
mod script;
mod store;
mod tally;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

pub use address::{ALLOWED as ADDRESSES, AddressFault, StoreAddress};
pub use fault::StoreFault;
pub use inquiry::{Inquiry, Told};
pub use leases::LeaseState;
use leases::{Hurry, Leases, Need, Next, Patience, Taken};
pub use script::{Bucket, Charge, Charged};
use store::Asker;
pub use store::{Ask, OnError, Settled, SharedSpec, Store, Witness};
pub use tally::{JudgedBy, Tally};

use super::clock::Now;
use super::keys::KeyTable;
use super::quota::Quota;
use crate::request::fingerprint::Fingerprint;

/// The shared side of one quota of one policy.
pub(super) struct Shared<K> {
    pub(super) store: Arc<Store>,
    leases: Arc<Leases>,
    quota: Quota,
    naming: Naming<K>,
}

/// How a policy's keys are called in the store, behind its prefix: one hash tag per key, so that all of a member's are
/// on one node of a cluster.
pub type Naming<K> = Arc<dyn Fn(&K) -> String + Send + Sync>;

/// The runtime's timers end up to a millisecond late, and nobody is to wait longer than `timeout`.
const ROUNDED_UP: Duration = Duration::from_millis(1);

/// The store's answer is on its way, and nothing else can tell.
#[derive(Debug)]
pub struct Waiting {
    answer: oneshot::Receiver<Settled>,
    timeout: Duration,
}

impl Waiting {
    /// The answer, or that there was none in time.
    pub async fn settled(self) -> Settled {
        let within = self.timeout.saturating_sub(ROUNDED_UP).max(self.timeout / 2);
        match tokio::time::timeout(within, self.answer).await {
            Ok(Ok(settled)) => settled,
            Ok(Err(_)) | Err(_) => Settled::Failed,
        }
    }

    /// The answer if it is there.
    pub fn settled_now(&mut self) -> Option<Settled> {
        self.answer.try_recv().ok()
    }
}

/// How a request asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asking {
    /// It can wait for the store.
    First,
    /// It has waited, and was told this.
    After(Settled),
    /// It goes on whatever is said, and is counted all the same.
    Observed,
}

impl From<Option<Settled>> for Asking {
    fn from(settled: Option<Settled>) -> Asking {
        settled.map_or(Asking::First, Asking::After)
    }
}

/// What the shared side says of one request.
pub(super) enum Said {
    /// It is admitted, by this.
    Granted(JudgedBy),
    /// The store grants nothing for so long, by this.
    Refused(JudgedBy, Duration),
    /// Nothing can be said before this has come.
    Asked(Waiting),
    /// There is no store to tell, and this holds instead.
    Alone(OnError),
    /// There is no place for what the store says of the key, so it is not asked.
    NoPlace,
}

impl<K> Shared<K> {
    pub(super) fn new(
        store: &Arc<Store>,
        naming: Naming<K>,
        quota: Quota,
        table: Arc<KeyTable>,
    ) -> Shared<K> {
        Shared {
            store: store.clone(),
            leases: Arc::new(Leases::new(quota, store.spec().lease, table)),
            quota,
            naming,
        }
    }

    /// What a replica grants of the quota where there is no store.
    pub(super) fn share(spec: &SharedSpec, quota: Quota) -> governor::Quota {
        let replicas = spec.replicas.max(1);
        let cell = Duration::from_secs(u64::from(quota.period.seconds())) / quota.rate.get();
        let burst = quota.burst.get().div_ceil(replicas);
        match (
            governor::Quota::with_period(cell * replicas),
            std::num::NonZeroU32::new(burst),
        ) {
            (Some(rate), Some(burst)) => rate.allow_burst(burst),
            // No quota's cell or burst is zero.
            _ => quota.gcra(),
        }
    }

    /// Asks for one request of the key at `now`. `used` says how much of the local share is in use.
    pub(super) fn take(
        &self,
        key: &K,
        print: Fingerprint,
        asking: Asking,
        now: Now,
        used: impl FnOnce() -> u32,
    ) -> Said {
        let patience = match asking {
            Asking::First => Patience::CanWait,
            Asking::Observed => Patience::GoesOn,
            Asking::After(settled) => return self.settle(print, settled, now),
        };
        if !self.store.is_up() {
            return self.alone(print, now);
        }
        match self.leases.take(print, patience, now, used) {
            Taken::Admitted(next) => {
                match next {
                    Next::Nothing => {}
                    Next::Ask(need) => self.ask(key, print, need, None),
                    Next::Hurry => self.store.hurries(Hurry::Now),
                }
                Said::Granted(JudgedBy::Lease)
            }
            Taken::Refused(wait, need) => {
                if let Some(need) = need {
                    self.ask(key, print, need, None);
                }
                Said::Refused(JudgedBy::Lease, wait)
            }
            Taken::Unknown(need) => {
                let (waiter, answer) = oneshot::channel();
                self.ask(key, print, need, Some(waiter));
                let timeout = self.store.spec().timeout;
                Said::Asked(Waiting { answer, timeout })
            }
            Taken::NoRoom => Said::NoPlace,
        }
    }

    /// What the one who has waited is told.
    fn settle(&self, print: Fingerprint, settled: Settled, now: Now) -> Said {
        match settled {
            Settled::Granted => Said::Granted(JudgedBy::Store),
            Settled::Refused(wait) => Said::Refused(JudgedBy::Store, wait),
            Settled::Failed => self.alone(print, now),
        }
    }

    fn alone(&self, print: Fingerprint, now: Now) -> Said {
        match self.leases.take_held(print, now) {
            true => Said::Granted(JudgedBy::Lease),
            false => Said::Alone(self.store.spec().on_error),
        }
    }

    /// Counts a request that was admitted without the store, to be charged when it is back.
    pub(super) fn owe(&self, print: Fingerprint, now: Now) {
        self.leases.owe(print, now);
    }

    /// Counts a request that was allowed, or limited.
    pub(super) fn count(&self, by: JudgedBy, is_allowed: bool) {
        self.store.state.tally.count(by, is_allowed);
    }

    pub(super) fn peek(&self, print: Fingerprint, now: Now) -> Option<LeaseState> {
        self.leases.peek(print, now)
    }

    /// Asks what the store knows of the key; nothing is charged.
    pub(super) fn look(&self, key: &K) -> Inquiry {
        self.inquire(key, 0)
    }

    /// Gives the key its whole burst again, here and in the store; whether anything was known of it here.
    pub(super) fn reset(&self, key: &K, print: Fingerprint) -> (bool, Inquiry) {
        let was_known = self.leases.remove(print);
        // More than a key can be overdrawn by.
        (
            was_known,
            self.inquire(key, -2 * i64::from(self.quota.burst.get())),
        )
    }

    fn inquire(&self, key: &K, owed: i64) -> Inquiry {
        if !self.store.is_up() {
            return Inquiry::of_nobody();
        }
        let charge = Charge {
            quota: self.quota,
            owed,
            wanted: 0,
        };
        let (inquiry, answer) = Inquiry::of(charge, self.store.spec().timeout);
        self.put(key, charge, Asker::Operator(answer), Hurry::Now);
        inquiry
    }

    pub(super) fn sweep(&self, now: Now) {
        self.leases.sweep(now);
    }

    fn ask(&self, key: &K, print: Fingerprint, need: Need, waiter: Option<oneshot::Sender<Settled>>) {
        let charge = Charge {
            quota: self.quota,
            owed: i64::from(need.owed),
            wanted: need.wanted,
        };
        let leases = self.leases.clone();
        let asker = match waiter {
            None => Asker::Lease(leases, print),
            Some(waiter) => Asker::Request(leases, print, waiter),
        };
        self.put(key, charge, asker, need.hurry);
    }

    fn put(&self, key: &K, charge: Charge, asker: Asker, hurry: Hurry) {
        let ask = Ask {
            name: format!("{}{}", self.store.spec().prefix, (self.naming)(key)),
            charge,
            asker,
        };
        self.store.ask(ask, hurry);
    }
}
