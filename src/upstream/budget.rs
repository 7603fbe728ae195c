//! How many requests of an upstream may be sent to a further server, so that one that dies is not hammered.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Seconds that are remembered.
const WINDOW: usize = 10;
/// So many are always allowed in them.
const ALWAYS: u64 = 10;
/// And one of so many requests.
const SHARE: u64 = 5;

/// A share of the requests of the last ten seconds. The seconds are counted from outside, so that a request
/// needs no clock for it.
#[derive(Debug, Default)]
pub struct Budget {
    requests: [AtomicU32; WINDOW],
    retries: [AtomicU32; WINDOW],
    at: AtomicUsize,
}

impl Budget {
    /// A request begins.
    pub fn request(&self) {
        self.slot(&self.requests).fetch_add(1, Ordering::Relaxed);
    }

    /// Whether one more may be sent to a further server; it is then counted.
    pub fn retry(&self) -> bool {
        let sum = |counts: &[AtomicU32; WINDOW]| -> u64 {
            counts
                .iter()
                .map(|count| u64::from(count.load(Ordering::Relaxed)))
                .sum()
        };
        let allowed = sum(&self.retries) < ALWAYS.max(sum(&self.requests) / SHARE);
        if allowed {
            self.slot(&self.retries).fetch_add(1, Ordering::Relaxed);
        }
        allowed
    }

    /// A second has gone by.
    pub fn second(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
        self.slot(&self.requests).store(0, Ordering::Relaxed);
        self.slot(&self.retries).store(0, Ordering::Relaxed);
    }

    fn slot<'s>(&self, counts: &'s [AtomicU32; WINDOW]) -> &'s AtomicU32 {
        let [first, ..] = counts;
        counts
            .get(self.at.load(Ordering::Relaxed) % WINDOW)
            .unwrap_or(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_are_always_allowed_and_a_fifth_of_many() {
        let budget = Budget::default();
        let allowed = || (0..1000).filter(|_| budget.retry()).count();
        assert_eq!(allowed(), 10);
        (0..200).for_each(|_| budget.request());
        assert_eq!(allowed(), 30);
        for _ in 0..WINDOW - 1 {
            budget.second();
            assert_eq!(allowed(), 0);
        }
        budget.second();
        assert_eq!(allowed(), 10);
    }
}
