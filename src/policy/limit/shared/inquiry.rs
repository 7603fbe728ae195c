//! What an operator asks the store about one key.

use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::fault::StoreFault;
use super::script::{Charge, Charged};
use crate::policy::limit::quota::KeyState;

/// Where the answer to an operator goes.
pub(super) type Answer = oneshot::Sender<Result<Charged, StoreFault>>;

/// A question of an operator whose answer is on its way, or that nobody is asked.
#[must_use]
#[derive(Debug)]
pub struct Inquiry(Asked);

#[derive(Debug)]
enum Asked {
    /// The store is down.
    Nobody,
    Store {
        charge: Charge,
        answer: oneshot::Receiver<Result<Charged, StoreFault>>,
        until: Instant,
    },
}

/// What the store says of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// What is left of its quota.
    Left(KeyState),
    /// It is down, and was not asked.
    Down,
    /// It has not answered, or nothing of use.
    Failed(StoreFault),
}

impl Inquiry {
    pub(super) const fn of_nobody() -> Inquiry {
        Inquiry(Asked::Nobody)
    }

    /// One about this, to be answered within so long from now, and where its answer goes.
    pub(super) fn of(charge: Charge, within: Duration) -> (Inquiry, Answer) {
        let (sender, answer) = oneshot::channel();
        let asked = Asked::Store {
            charge,
            answer,
            until: Instant::now() + within,
        };
        (Inquiry(asked), sender)
    }

    /// The answer. Waits no longer than the store may take from the moment it was asked, so that several that were
    /// asked together take no longer than one.
    pub async fn told(self) -> Told {
        match self.0 {
            Asked::Nobody => Told::Down,
            Asked::Store {
                charge,
                answer,
                until,
            } => match timeout_at(until, answer).await {
                Ok(Ok(Ok(charged))) => Told::Left(charge.left(charged)),
                Ok(Ok(Err(fault))) => Told::Failed(fault),
                // The configuration that named the store has gone.
                Ok(Err(_)) => Told::Down,
                Err(_) => Told::Failed(StoreFault::Timeout),
            },
        }
    }
}
