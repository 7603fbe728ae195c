//! By what requests under a shared limit were judged, and what the store's faults were.

use std::sync::atomic::{AtomicU64, Ordering};

use super::fault::StoreFault;
use crate::request::label::labelled;

labelled! {
    /// What a request was judged by: the label `by` of `ratelimit_shared_decisions_total`.
    pub enum JudgedBy {
        /// What the store had said before, and what may run ahead of it; nobody was waited for.
        Lease = "lease";
        /// The store's answer, which it waited for.
        Store = "store";
        /// This replica by itself, as `on_error` says: the store was down, or gave no answer.
        Alone = "alone";
        /// This replica by itself: it has no place for the key, so the store is not asked about it.
        NoPlace = "no_place";
    }
}

/// What was counted, ever, of whichever stores a process has had: it outlives them. On a cache line of its own, since
/// it is written by every request.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Tally {
    /// How many requests were allowed and limited, by what.
    judged: [[AtomicU64; 2]; JudgedBy::ALL.len()],
    faults: [AtomicU64; StoreFault::ALL.len()],
}

impl Tally {
    pub(super) fn count(&self, by: JudgedBy, is_allowed: bool) {
        if let Some([allowed, limited]) = self.judged.get(by as usize) {
            let count = if is_allowed { allowed } else { limited };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn fault(&self, fault: StoreFault) {
        if let Some(count) = self.faults.get(fault as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Of each that requests can be judged by, how many were allowed and how many limited.
    pub fn judged(&self) -> impl Iterator<Item = (JudgedBy, [u64; 2])> {
        let load = |counts: &[AtomicU64; 2]| counts.each_ref().map(|count| count.load(Ordering::Relaxed));
        JudgedBy::ALL.into_iter().zip(self.judged.iter().map(load))
    }

    /// Each kind of fault with how often it was met.
    pub fn faults(&self) -> impl Iterator<Item = (StoreFault, u64)> {
        let counts = self.faults.iter().map(|count| count.load(Ordering::Relaxed));
        StoreFault::ALL.into_iter().zip(counts)
    }
}
