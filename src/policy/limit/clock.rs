//! The time of a decision is a parameter; governor asks a clock for it.

use std::cell::Cell;
use std::time::Duration;

use governor::clock::Clock;
use governor::nanos::Nanos;

/// Time since the process started. The adapter reads the clock; everything behind it is told.
pub type Now = Duration;

/// Hands a `now` to governor, which asks a clock for it. Each thread has its own, so that threads share no
/// cache line; GCRA takes the moment of each request as it is, moments before or after another's: one that is judged
/// by its head alone has that of its head, which on a busy thread may be milliseconds ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct ToldClock;

thread_local! {
    static TOLD: Cell<Nanos> = const { Cell::new(Nanos::new(0)) };
}

impl ToldClock {
    /// What this thread's clock shows from here on.
    pub(super) fn set(now: Now) {
        TOLD.set(Nanos::new(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)));
    }
}

impl Clock for ToldClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        TOLD.get()
    }
}
