//! By what requests under a shared limit were judged.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a request was judged by: the label `by` of `ratelimit_shared_decisions_total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum JudgedBy {
    /// What the store had said before, and what may run ahead of it; nobody was waited for.
    Lease,
    /// The store's answer, which it waited for.
    Store,
    /// This replica by itself, as `on_error` says: the store was down, or gave no answer.
    Alone,
    /// This replica by itself: it has no place for the key, so the store is not asked about it.
    NoPlace,
}

impl JudgedBy {
    /// Each.
    pub const ALL: [JudgedBy; 4] = [
        JudgedBy::Lease,
        JudgedBy::Store,
        JudgedBy::Alone,
        JudgedBy::NoPlace,
    ];

    /// The label.
    pub const fn label(self) -> &'static str {
        match self {
            JudgedBy::Lease => "lease",
            JudgedBy::Store => "store",
            JudgedBy::Alone => "alone",
            JudgedBy::NoPlace => "no_place",
        }
    }
}

/// How many requests were allowed and limited, ever, by what. On a cache line of its own, since it is written by
/// every request.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(super) struct Tally([Counts; JudgedBy::ALL.len()]);

#[derive(Debug, Default)]
struct Counts {
    allowed: AtomicU64,
    limited: AtomicU64,
}

impl Tally {
    pub(super) fn allowed(&self, by: JudgedBy) {
        if let Some(counts) = self.0.get(by as usize) {
            counts.allowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn limited(&self, by: JudgedBy) {
        if let Some(counts) = self.0.get(by as usize) {
            counts.limited.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Of each, how many were allowed and how many limited.
    pub(super) fn iter(&self) -> impl Iterator<Item = (JudgedBy, [u64; 2])> {
        let counts = self.0.iter().map(|Counts { allowed, limited }| {
            [allowed.load(Ordering::Relaxed), limited.load(Ordering::Relaxed)]
        });
        JudgedBy::ALL.into_iter().zip(counts)
    }
}
