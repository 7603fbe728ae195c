//! Idle connections to one server, kept for the next held call.
//!
//! Each thread keeps its own, so that none is waited for or handed to another thread's event loop. No task
//! watches them: one is taken only if a look at it says nothing, and a sweep closes those that are too old.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::socket::Connection;

/// Threads beyond so many share.
const SHARES: usize = 32;

/// How many connections may be idle, over all servers.
#[derive(Debug)]
pub struct IdleBound {
    most: usize,
    idle: AtomicUsize,
}

impl IdleBound {
    /// At most `most`.
    pub const fn new(most: usize) -> IdleBound {
        IdleBound {
            most,
            idle: AtomicUsize::new(0),
        }
    }

    fn claim(self: &Arc<IdleBound>) -> Option<Claim> {
        let claim = Claim(self.clone());
        (self.idle.fetch_add(1, Ordering::Relaxed) < self.most).then_some(claim)
    }
}

/// A place among the idle connections.
#[derive(Debug)]
struct Claim(Arc<IdleBound>);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.idle.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug)]
struct Kept {
    connection: Connection,
    until: Instant,
    _claim: Claim,
}

/// The idle connections of one server.
#[derive(Debug, Default)]
pub struct Idle {
    shares: [Mutex<Vec<Kept>>; SHARES],
}

impl Idle {
    /// The latest that was kept, if it still says nothing.
    pub fn take(&self) -> Option<Connection> {
        let now = Instant::now();
        loop {
            let Kept {
                mut connection,
                until,
                ..
            } = self.share().lock().pop()?;
            if now < until && connection.is_silent() {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for so long, if there is room.
    pub fn keep(&self, connection: Connection, keepalive: Duration, bound: &Arc<IdleBound>) {
        if let Some(claim) = bound.claim() {
            self.share().lock().push(Kept {
                connection,
                until: Instant::now() + keepalive,
                _claim: claim,
            });
        }
    }

    /// Closes those that are too old.
    pub fn sweep(&self, now: Instant) {
        for share in &self.shares {
            share.lock().retain(|kept| now < kept.until);
        }
    }

    fn share(&self) -> &Mutex<Vec<Kept>> {
        thread_local! {
            static SHARE: Cell<Option<usize>> = const { Cell::new(None) };
        }
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let mine = SHARE.get().unwrap_or_else(|| {
            let next = NEXT.fetch_add(1, Ordering::Relaxed) % SHARES;
            SHARE.set(Some(next));
            next
        });
        let [first, ..] = &self.shares;
        self.shares.get(mine).unwrap_or(first)
    }
}
