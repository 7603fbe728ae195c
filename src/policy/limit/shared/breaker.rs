//! Whether a store is asked, and when one that is not is tried again.

use std::time::Duration;

use super::fault::{StoreFault, Weight};

/// Faults in a row after which it is not asked.
const IN_A_ROW: u32 = 3;
/// The first pause before it is tried again.
const FIRST: Duration = Duration::from_millis(200);
/// The longest pause. With its jitter and the limit of a connect a store is found again within 5 s of its return.
const LONGEST: Duration = Duration::from_secs(2);
/// A store that was asked for so long is not one that comes and goes.
const STEADY: Duration = Duration::from_secs(10);

/// A circuit breaker. While it is closed every fault is weighed; while it is open the store is tried now and then,
/// each replica in its own time.
#[derive(Debug)]
pub(super) struct Breaker {
    faults: u32,
    pause: Duration,
    /// When the store was last found well.
    closed_at: Duration,
}

impl Breaker {
    pub(super) const fn new() -> Breaker {
        Breaker {
            faults: 0,
            pause: FIRST,
            closed_at: Duration::ZERO,
        }
    }

    /// An answer came.
    pub(super) fn answered(&mut self) {
        self.faults = 0;
    }

    /// Weighs a fault; whether the breaker opens.
    pub(super) fn opens(&mut self, fault: StoreFault) -> bool {
        self.faults += match fault.weight() {
            Weight::Nothing => 0,
            Weight::Counts => 1,
            Weight::Down => IN_A_ROW,
        };
        self.faults >= IN_A_ROW
    }

    /// A trial succeeded at `now`, and it closes.
    pub(super) fn closes(&mut self, now: Duration) {
        self.faults = 0;
        self.closed_at = now;
    }

    /// It has opened at `now`. A store that was steady until then is tried soon.
    pub(super) fn opened(&mut self, now: Duration) {
        if now.saturating_sub(self.closed_at) >= STEADY {
            self.pause = FIRST;
        }
    }

    /// How long the store is left alone before the next trial: half to one and a half of a pause that doubles, by
    /// `random` of 0 to 1.
    pub(super) fn pause(&mut self, random: f64) -> Duration {
        let pause = self.pause.mul_f64(0.5 + random.clamp(0.0, 1.0));
        self.pause = (self.pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_connection_opens_it_and_three_other_faults_in_a_row() {
        for fault in StoreFault::ALL {
            let mut breaker = Breaker::new();
            let needed = (1..=10).find(|_| breaker.opens(fault));
            let expected = match fault.weight() {
                Weight::Nothing => None,
                Weight::Counts => Some(3),
                Weight::Down => Some(1),
            };
            assert_eq!(needed, expected, "{fault:?}");
        }
        let mut breaker = Breaker::new();
        for _ in 0..10 {
            assert!(!breaker.opens(StoreFault::Timeout));
            assert!(!breaker.opens(StoreFault::Timeout));
            breaker.answered();
        }
    }

    #[test]
    fn trials_come_in_pauses_that_grow_and_differ() {
        let mut breaker = Breaker::new();
        let pauses: Vec<u128> = (0..6).map(|_| breaker.pause(0.5).as_millis()).collect();
        assert_eq!(pauses, [200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(breaker.pause(0.0).as_millis(), 1000);
        assert_eq!(breaker.pause(1.0).as_millis(), 3000);
        // One that comes and goes keeps its long pauses.
        let at = Duration::from_secs;
        breaker.closes(at(100));
        breaker.opened(at(101));
        assert_eq!(breaker.pause(0.5), at(2));
        breaker.closes(at(200));
        breaker.opened(at(210));
        assert_eq!(breaker.pause(0.5).as_millis(), 200);
    }
}
