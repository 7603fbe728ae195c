//! A limiter does what GCRA over a plain map does, whatever comes in whatever order.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use proptest::prelude::*;

use super::*;

/// Keys that crowd: few shards, and within them few places and few tags.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Crowded(u64);

impl Key for Crowded {
    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::from_bits(self.0)
    }

    fn read(_: &str, _: MemberIdShape, _: Class) -> Option<Crowded> {
        None
    }
}

fn crowded() -> impl Strategy<Value = Crowded> {
    (0..3_u64, 0..2_u64, 0..4_u64).prop_map(|(tag, shard, place)| Crowded(tag << 57 | shard << 40 | place))
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Check(Crowded),
    Reset(Crowded),
    Wait(u64),
    Sweep,
    Bound(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => crowded().prop_map(Step::Check),
        1 => crowded().prop_map(Step::Reset),
        4 => (0..3_000_000_000_u64).prop_map(Step::Wait),
        2 => Just(Step::Sweep),
        1 => (0..16_usize).prop_map(Step::Bound),
    ]
}

/// GCRA over a plain map, in nanoseconds since the limiter's birth.
struct Plain {
    each: u64,
    tolerance: u64,
    arrivals: HashMap<Crowded, u64>,
    overflow: u64,
    overflowed: u64,
    evicted: u64,
}

impl Plain {
    fn of(quota: Quota) -> Plain {
        let each = u64::from(quota.period.seconds()) * 1_000_000_000 / u64::from(quota.rate.get());
        Plain {
            each,
            tolerance: each * u64::from(quota.burst.get() - 1),
            arrivals: HashMap::new(),
            overflow: 0,
            overflowed: 0,
            evicted: 0,
        }
    }

    /// Seconds to wait, where it refuses.
    fn check(&mut self, key: Crowded, now: u64, bound: usize) -> Result<(), u64> {
        let is_full = self.arrivals.len() >= bound - bound / 8;
        let arrival = match self.arrivals.entry(key) {
            // One eighth is kept for keys that are known.
            Entry::Vacant(_) if is_full => {
                self.overflowed += 1;
                &mut self.overflow
            }
            entry => entry.or_default(),
        };
        let earliest = arrival.saturating_sub(self.tolerance);
        if now < earliest {
            return Err((earliest - now).div_ceil(1_000_000_000));
        }
        *arrival = now.max(*arrival) + self.each;
        Ok(())
    }

    fn sweep(&mut self, now: u64) -> usize {
        let before = self.arrivals.len();
        self.arrivals.retain(|_, arrival| *arrival > now);
        self.evicted += (before - self.arrivals.len()) as u64;
        before - self.arrivals.len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_limiter_is_gcra_over_a_map(
        rate in 1..4_u32,
        burst in 1..5_u32,
        steps in proptest::collection::vec(step(), 1..300),
    ) {
        let quota = quota(rate, Period::Second, burst);
        let mut bound = 8;
        let (limiter, table) = limiter::<Crowded>(bound, quota);
        let mut plain = Plain::of(quota);
        let mut now = 0;
        for step in steps {
            let told = T0 + Duration::from_nanos(now);
            match step {
                Step::Check(key) => {
                    let said = limiter.check(&key, told).map_err(|limited| u64::from(limited.retry_after));
                    prop_assert_eq!(said, plain.check(key, now, bound));
                }
                Step::Reset(key) => {
                    prop_assert_eq!(limiter.reset(&key).had_state, plain.arrivals.remove(&key).is_some());
                }
                Step::Wait(nanos) => now += nanos,
                Step::Sweep => prop_assert_eq!(limiter.sweep(told), plain.sweep(now)),
                Step::Bound(max_keys) => {
                    bound = max_keys;
                    table.set_max_keys(bound);
                }
            }
            prop_assert_eq!(table.len(), plain.arrivals.len());
            prop_assert_eq!((table.evicted(), table.overflowed()), (plain.evicted, plain.overflowed));
        }
    }
}
