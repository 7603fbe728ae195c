//! The store as requests see it: asked through a queue that is bounded, and known to be up or not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc, oneshot};

use super::address::StoreAddress;
use super::fault::StoreFault;
use super::inquiry::Answer;
use super::leases::{Hurry, Leases};
use super::script::{Charge, Charged};
use super::tally::Tally;
use crate::policy::limit::clock::Now;
use crate::request::fingerprint::Fingerprint;
use crate::request::label::labelled;

/// Questions that may wait; one is about 200 bytes.
const QUEUE: usize = 8192;

/// `[limits.shared]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SharedSpec {
    /// Where the store is.
    pub address: StoreAddress,
    /// How far a replica may be from the store in what it knows of one key, in requests.
    pub lease: u32,
    /// For one question; no request waits longer.
    pub timeout: Duration,
    /// What holds while there is no store.
    pub on_error: OnError,
    /// Between how many replicas the quotas are divided then.
    pub replicas: u32,
    /// Before the name of each key.
    pub prefix: String,
}

impl SharedSpec {
    /// The default of `lease`.
    pub const LEASE: u32 = 10;
    /// The default of `timeout`.
    pub const TIMEOUT: Duration = Duration::from_millis(5);
    /// The default of `prefix`.
    pub const PREFIX: &str = "widget-gateway:";
}

labelled! {
    /// What holds while there is no store.
    #[derive(Default)]
    pub enum OnError {
        /// Each replica grants its share of the quota.
        #[default]
        Local = "local";
        /// Everything is granted.
        Open = "open";
        /// Nothing is granted.
        Closed = "closed";
    }
}

/// Who is told what becomes of the store.
pub trait Witness: Send + 'static {
    /// An answer came, or did not, after so long.
    fn took(&self, time: Duration);
    /// It is asked again, after so long.
    fn up(&self, after: Duration);
    /// It is not asked any more, for this reason; requests are judged by this.
    fn down(&self, fault: StoreFault, instead: OnError);
}

/// A store that replicas share. Dropped with the last configuration that names it, and its task ends.
pub struct Store {
    pub(super) spec: SharedSpec,
    asks: mpsc::Sender<Ask>,
    /// Until somebody answers.
    pub(super) unanswered: Mutex<Option<mpsc::Receiver<Ask>>>,
    pub(super) state: Arc<State>,
}

/// What requests and the one who asks the store know together.
#[derive(Debug)]
pub(super) struct State {
    pub(super) is_up: AtomicBool,
    /// Told when somebody waits, or soon would: what is in the queue goes out at once.
    pub(super) hurry: Notify,
    pub(super) tally: Arc<Tally>,
}

/// What the one who waits for an answer is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// The store has granted one request.
    Granted,
    /// It grants none for so long.
    Refused(Duration),
    /// It has not answered.
    Failed,
}

/// One question to the store.
pub struct Ask {
    /// The key's name in the store.
    pub name: String,
    /// What is asked.
    pub charge: Charge,
    pub(super) asker: Asker,
}

/// For whom the store is asked.
pub(super) enum Asker {
    /// For requests of the key that are admitted already, or are to come.
    Lease(Arc<Leases>, Fingerprint),
    /// For these and for one that waits.
    Request(Arc<Leases>, Fingerprint, oneshot::Sender<Settled>),
    /// For an operator.
    Operator(Answer),
}

impl Ask {
    /// What the store has answered, heard at `now`.
    pub fn answered(self, charged: Charged, now: Now) {
        match self.asker {
            Asker::Lease(leases, key) => {
                leases.answered(key, &self.charge, charged, false, now);
            }
            Asker::Request(leases, key, waiter) => {
                let is_granted = leases.answered(key, &self.charge, charged, true, now);
                let settled = match is_granted {
                    true => Settled::Granted,
                    false => Settled::Refused(charged.wait),
                };
                if waiter.send(settled).is_err() && is_granted {
                    leases.unclaimed(key);
                }
            }
            Asker::Operator(answer) => {
                // Who has gone does not need to know.
                let _ = answer.send(Ok(charged));
            }
        }
    }

    /// No answer, or none that means anything.
    pub fn failed(self, fault: StoreFault) {
        match self.asker {
            Asker::Lease(leases, key) => leases.unanswered(key, &self.charge),
            Asker::Request(leases, key, waiter) => {
                leases.unanswered(key, &self.charge);
                let _ = waiter.send(Settled::Failed);
            }
            Asker::Operator(answer) => {
                let _ = answer.send(Err(fault));
            }
        }
    }
}

impl Store {
    /// A store that nobody has connected to. Until somebody does it counts as down.
    pub fn new(spec: SharedSpec, tally: Arc<Tally>) -> Arc<Store> {
        let (asks, unanswered) = mpsc::channel(QUEUE);
        Arc::new(Store {
            spec,
            asks,
            unanswered: Mutex::new(Some(unanswered)),
            state: Arc::new(State {
                is_up: AtomicBool::new(false),
                hurry: Notify::new(),
                tally,
            }),
        })
    }

    /// `[limits.shared]`
    pub fn spec(&self) -> &SharedSpec {
        &self.spec
    }

    /// Whether it is asked.
    pub fn is_up(&self) -> bool {
        self.state.is_up.load(Ordering::Relaxed)
    }

    /// What was counted of it, and of those before it.
    pub fn tally(&self) -> &Tally {
        &self.state.tally
    }

    /// The questions, for whoever answers them in place of a server, such as a simulation; once, and not after
    /// [`Store::start`].
    pub fn questions(&self) -> Option<mpsc::Receiver<Ask>> {
        self.unanswered.lock().take()
    }

    /// Says whether it is up, for whoever answers in place of a server.
    pub fn set_up(&self, is_up: bool) {
        self.state.is_up.store(is_up, Ordering::Relaxed);
    }

    /// Puts a question into the queue. Where there is no room for it the asking has failed already.
    pub(super) fn ask(&self, ask: Ask, hurry: Hurry) {
        if let Err(e) = self.asks.try_send(ask) {
            self.state.tally.fault(StoreFault::Queue);
            e.into_inner().failed(StoreFault::Queue);
        }
        self.hurries(hurry);
    }

    /// Has the queue go out, if that is a matter of haste.
    pub(super) fn hurries(&self, hurry: Hurry) {
        if hurry == Hurry::Now {
            self.state.hurry.notify_one();
        }
    }
}
