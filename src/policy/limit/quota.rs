//! So many requests per time.

use std::num::NonZeroU32;
use std::time::Duration;

/// How long a rate's unit is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Period {
    /// `/s`
    Second,
    /// `/m`
    Minute,
    /// `/h`
    Hour,
}

impl Period {
    /// In seconds.
    pub const fn seconds(self) -> u32 {
        match self {
            Period::Second => 1,
            Period::Minute => 60,
            Period::Hour => 3600,
        }
    }
}

/// So many requests per period on average, so many at once.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Quota {
    /// Requests per period.
    pub rate: NonZeroU32,
    /// The period.
    pub period: Period,
    /// Requests that may come at once after a pause.
    pub burst: NonZeroU32,
}

impl Quota {
    /// The largest rate and burst. Above it GCRA's 64-bit nanoseconds could overflow.
    pub const MAX: u32 = 1_000_000;

    pub(super) fn gcra(self) -> governor::Quota {
        let rate = match self.period {
            Period::Second => governor::Quota::per_second(self.rate),
            Period::Minute => governor::Quota::per_minute(self.rate),
            Period::Hour => governor::Quota::per_hour(self.rate),
        };
        rate.allow_burst(self.burst)
    }
}

/// What one key has left of a quota.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyState {
    /// Requests that would be granted at once.
    pub remaining: u32,
    /// Until the whole burst is back.
    pub full_in: Duration,
}
