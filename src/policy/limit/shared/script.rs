//! What a store is asked and how it answers: GCRA as an atomic script, and the same arithmetic here.

use std::time::Duration;

use crate::policy::limit::quota::Quota;

/// The script: one key, one answer, by the clock of the server that runs it.
pub(super) const SCRIPT: &str = include_str!("gcra.lua");

/// What one key is to be charged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Charge {
    /// The quota that all replicas share.
    pub quota: Quota,
    /// Requests that are charged whether they fit or not, since they were admitted already. Below zero they are
    /// given back.
    pub owed: i64,
    /// Requests that are wanted as far as they fit.
    pub wanted: u32,
}

/// What came of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Charged {
    /// How many of the wanted requests are granted.
    pub granted: u32,
    /// Until one more would be; zero where that is at once.
    pub wait: Duration,
}

impl Charge {
    /// Microseconds from one request to the next at the quota's rate.
    pub(super) fn cell_micros(&self) -> f64 {
        f64::from(self.quota.period.seconds()) * 1e6 / f64::from(self.quota.rate.get())
    }

    /// What the script's two numbers mean; none where a script of ours can not have answered them.
    pub(super) fn answered(&self, granted: i64, wait_micros: i64) -> Option<Charged> {
        let granted = u32::try_from(granted)
            .ok()
            .filter(|granted| *granted <= self.wanted)?;
        let wait = Duration::from_micros(u64::try_from(wait_micros).ok()?);
        // Overdrawn by one burst at most, and the burst is there again before the next request is refused.
        let longest = self.cell_micros() * (f64::from(self.quota.burst.get()) + 1.0);
        (wait.as_secs_f64() * 1e6 <= longest + 1.0).then_some(Charged { granted, wait })
    }
}

/// The script's arithmetic: one key at a store. What is tested and simulated without a server runs against it.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Bucket {
    /// The theoretical arrival time, in microseconds of the store's clock.
    arrival: f64,
}

impl Bucket {
    /// Charges the key at `now`, a time of the store's clock in microseconds.
    pub fn charge(&mut self, charge: &Charge, now: f64) -> Charged {
        let cell = charge.cell_micros();
        let span = cell * f64::from(charge.quota.burst.get());
        let within = |at: f64| at.max(now).min(now + 2.0 * span);
        let arrival = within(within(self.arrival) + charge.owed as f64 * cell);
        let free = ((now + span - arrival) / cell + 0.001).floor();
        let granted = f64::from(charge.wanted).min(free).max(0.0);
        self.arrival = arrival + granted * cell;
        Charged {
            granted: granted as u32,
            wait: Duration::from_micros((self.arrival + cell - span - now).ceil().max(0.0) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::policy::limit::quota::Period;

    const fn number(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn charge(owed: i64, wanted: u32) -> Charge {
        Charge {
            quota: Quota {
                rate: number(2),
                period: Period::Second,
                burst: number(4),
            },
            owed,
            wanted,
        }
    }

    fn charged(granted: u32, wait: u64) -> Charged {
        Charged {
            granted,
            wait: Duration::from_millis(wait),
        }
    }

    #[test]
    fn what_fits_is_granted_and_what_is_owed_is_charged_in_any_case() {
        let mut bucket = Bucket::default();
        let t = 1e12;
        assert_eq!(bucket.charge(&charge(0, 3), t), charged(3, 0));
        assert_eq!(bucket.charge(&charge(0, 3), t), charged(1, 500));
        assert_eq!(bucket.charge(&charge(2, 1), t), charged(0, 1500));
        assert_eq!(bucket.charge(&charge(0, 1), t + 1.5e6), charged(1, 500));
        // Given back, it is there for others.
        assert_eq!(bucket.charge(&charge(-1, 0), t + 1.5e6), charged(0, 0));
        assert_eq!(bucket.charge(&charge(0, 9), t + 1.5e6), charged(1, 500));
        // No more than one burst is owed, no more than one can be given back.
        assert_eq!(bucket.charge(&charge(1000, 0), t + 2e6), charged(0, 2500));
        assert_eq!(bucket.charge(&charge(-1000, 9), t + 2e6), charged(4, 500));
    }

    #[test]
    fn an_answer_that_no_script_of_ours_gives_is_none() {
        let asked = charge(0, 3);
        assert_eq!(asked.answered(3, 0), Some(charged(3, 0)));
        assert_eq!(asked.answered(0, 2_500_000), Some(charged(0, 2500)));
        for (granted, wait) in [(4, 0), (-1, 0), (0, -1), (0, 2_600_000), (i64::MAX, i64::MAX)] {
            assert_eq!(asked.answered(granted, wait), None, "{granted} {wait}");
        }
    }
}
