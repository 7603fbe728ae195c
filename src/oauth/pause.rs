//! When a server is left alone: one that does not answer would hold each call for the whole timeout.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Questions in a row without an answer in time.
const SILENT: u32 = 10;
/// From then on one question is asked in so long, until one is answered.
const PAUSE: Duration = Duration::from_secs(1);

/// Of one server. Time is told.
#[derive(Default)]
pub(super) struct Pause {
    silent: AtomicU32,
    /// In milliseconds.
    next: AtomicU64,
}

impl Pause {
    /// Whether it may be asked now; whoever hears yes asks.
    pub(super) fn may_ask(&self, now: Duration) -> bool {
        if self.silent.load(Ordering::Relaxed) < SILENT {
            return true;
        }
        let now = millis(now);
        let take = |next| (next <= now).then_some(now.saturating_add(millis(PAUSE)));
        self.next
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }

    /// A question ended.
    pub(super) fn learns(&self, was_answered: bool, now: Duration) {
        if was_answered {
            self.silent.store(0, Ordering::Relaxed);
            return;
        }
        let silent = self.silent.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if silent == SILENT {
            self.next
                .store(millis(now).saturating_add(millis(PAUSE)), Ordering::Relaxed);
        }
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_server_is_asked_once_in_a_while() {
        let at = Duration::from_millis;
        let pause = Pause::default();
        for n in 0..SILENT {
            assert!(pause.may_ask(at(n.into())));
            pause.learns(false, at(100));
        }
        let asked = [101, 1099, 1100, 1101, 2099, 2100].map(|now| pause.may_ask(at(now)));
        assert_eq!(asked, [false, false, true, false, false, true]);
        pause.learns(true, at(2101));
        assert!((0..100).all(|_| pause.may_ask(at(2102))));
        pause.learns(false, at(2103));
        assert!(pause.may_ask(at(2104)), "one is no row");
    }
}
