//! What a store is asked and how it answers: GCRA as an atomic script, and the same arithmetic here.

use std::time::Duration;

use crate::policy::limit::quota::{KeyState, Quota};

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
    /// Until the whole burst is there; zero where it is.
    pub full_in: Duration,
}

impl Charge {
    /// Microseconds from one request to the next at the quota's rate.
    pub(super) fn cell_micros(&self) -> f64 {
        f64::from(self.quota.period.seconds()) * 1e6 / f64::from(self.quota.rate.get())
    }

    /// What the script's three numbers mean; none where a script of ours can not have answered them.
    pub(super) fn answered(&self, [granted, wait, full_in]: [i64; 3]) -> Option<Charged> {
        let granted = u32::try_from(granted)
            .ok()
            .filter(|granted| *granted <= self.wanted)?;
        // Overdrawn by one burst at most, and the burst is there again before the next request is refused.
        let burst = f64::from(self.quota.burst.get());
        Some(Charged {
            granted,
            wait: self.span(wait, burst + 1.0)?,
            full_in: self.span(full_in, 2.0 * burst)?,
        })
    }

    /// So many microseconds, if that is no longer than so many requests take.
    fn span(&self, micros: i64, longest: f64) -> Option<Duration> {
        let span = Duration::from_micros(u64::try_from(micros).ok()?);
        (span.as_secs_f64() * 1e6 <= self.cell_micros() * longest + 1.0).then_some(span)
    }

    /// What is left of the quota, by what came of the charge.
    pub(super) fn left(&self, charged: Charged) -> KeyState {
        // The script rounds up to whole microseconds; that is no further request.
        let used = (charged.full_in.as_secs_f64() * 1e6 / self.cell_micros() - 0.001).ceil();
        KeyState {
            remaining: self.quota.burst.get().saturating_sub(used as u32),
            full_in: charged.full_in,
        }
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
        let span_of = |micros: f64| Duration::from_micros(micros.ceil().max(0.0) as u64);
        Charged {
            granted: granted as u32,
            wait: span_of(self.arrival + cell - span - now),
            full_in: span_of(self.arrival - now),
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

    fn charged(granted: u32, wait: u64, full_in: u64) -> Charged {
        let [wait, full_in] = [wait, full_in].map(Duration::from_millis);
        Charged {
            granted,
            wait,
            full_in,
        }
    }

    #[test]
    fn what_fits_is_granted_and_what_is_owed_is_charged_in_any_case() {
        let mut bucket = Bucket::default();
        let t = 1e12;
        assert_eq!(bucket.charge(&charge(0, 3), t), charged(3, 0, 1500));
        assert_eq!(bucket.charge(&charge(0, 3), t), charged(1, 500, 2000));
        assert_eq!(bucket.charge(&charge(2, 1), t), charged(0, 1500, 3000));
        assert_eq!(bucket.charge(&charge(0, 1), t + 1.5e6), charged(1, 500, 2000));
        // Given back, it is there for others.
        assert_eq!(bucket.charge(&charge(-1, 0), t + 1.5e6), charged(0, 0, 1500));
        assert_eq!(bucket.charge(&charge(0, 9), t + 1.5e6), charged(1, 500, 2000));
        // No more than one burst is owed, no more than one can be given back.
        assert_eq!(bucket.charge(&charge(1000, 0), t + 2e6), charged(0, 2500, 4000));
        assert_eq!(bucket.charge(&charge(-1000, 9), t + 2e6), charged(4, 500, 2000));
    }

    #[test]
    fn an_answer_that_no_script_of_ours_gives_is_none() {
        let asked = charge(0, 3);
        assert_eq!(asked.answered([3, 0, 1_500_000]), Some(charged(3, 0, 1500)));
        assert_eq!(
            asked.answered([0, 2_500_000, 4_000_000]),
            Some(charged(0, 2500, 4000))
        );
        for numbers in [
            [4, 0, 0],
            [-1, 0, 0],
            [0, -1, 0],
            [0, 0, -1],
            [0, 2_600_000, 0],
            [0, 0, 4_100_000],
            [i64::MAX; 3],
        ] {
            assert_eq!(asked.answered(numbers), None, "{numbers:?}");
        }
    }

    #[test]
    fn what_is_left_is_counted_in_whole_requests() {
        let thirds = Charge {
            quota: Quota {
                rate: number(3),
                period: Period::Second,
                burst: number(5),
            },
            owed: 0,
            wanted: 0,
        };
        for (full_in_micros, remaining) in [
            (0, 5),
            (1, 5),
            (400, 4),
            (333_333, 4),
            (333_334, 4),
            (333_700, 3),
            (1_666_667, 0),
            (3_333_334, 0),
        ] {
            let full_in = Duration::from_micros(full_in_micros);
            let charged = Charged {
                granted: 0,
                wait: Duration::ZERO,
                full_in,
            };
            assert_eq!(thirds.left(charged), KeyState { remaining, full_in });
        }
    }
}
