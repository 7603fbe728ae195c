//! Whether a server is asked: what requests and checks say of it, and how it comes back.
//!
//! A failed connect makes a server down; checks make it up again, whether requests come or not. Failures in a
//! row eject one that still takes connections: it is not asked for a while, twice as long each time, and comes
//! back on probation, where one more failure is enough.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::failure::Cause;

/// How often a server that is down is connected to, where no check is configured.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
/// For one such connect.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest ejection.
const LONGEST: Duration = Duration::from_secs(300);
/// Of the text that a TLS handshake failed with, in characters.
const LONGEST_WHY: usize = 200;
/// Changes that wait to be told.
const UNTOLD: usize = 16;

/// `[upstreams.NAME.check]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CheckRule {
    /// None = a connect is enough.
    pub path: Option<String>,
    /// Statuses of a healthy answer, both ends included.
    pub status: (u16, u16),
    /// From the end of one check to the next.
    pub interval: Duration,
    /// For a whole check.
    pub timeout: Duration,
    /// Checks in a row that make a server up.
    pub rise: u32,
    /// Checks in a row that make it down.
    pub fall: u32,
}

impl Default for CheckRule {
    /// What is done to a server that is down, where no check is configured.
    fn default() -> CheckRule {
        CheckRule {
            path: None,
            status: (200, 399),
            interval: PROBE_INTERVAL,
            timeout: PROBE_TIMEOUT,
            rise: 1,
            fall: 1,
        }
    }
}

/// `[upstreams.NAME.eject]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EjectRule {
    /// Failures in a row.
    pub failures: u32,
    /// How long the first time.
    pub duration: Duration,
    /// Answers that count as failures too.
    pub statuses: Vec<u16>,
}

impl Default for EjectRule {
    fn default() -> EjectRule {
        EjectRule {
            failures: 5,
            duration: Duration::from_secs(30),
            statuses: Vec::new(),
        }
    }
}

/// Whether a server is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// In its turn.
    Up,
    /// Last, since a connect or the checks failed.
    Down(Cause),
    /// Last, since it failed requests in a row.
    Ejected {
        /// The last of these.
        cause: Cause,
        /// For how long.
        lasts: Duration,
    },
}

/// The health of one server.
#[derive(Debug)]
pub struct Health {
    /// Read for each request; written with `known` locked.
    up: AtomicBool,
    failures_in_a_row: AtomicU32,
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    standing: Standing,
    /// Checks in a row that contradict it.
    against: u32,
    /// The end of the last ejection, and how long it was.
    ejected: Option<(Instant, Duration)>,
    probation: bool,
    /// What the last TLS handshake failed of.
    unproven: Option<Box<str>>,
    untold: Vec<Standing>,
    check: Next,
}

/// When something is done again.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// Not before.
    At(Option<Instant>),
    /// It is being done.
    UnderWay,
}

impl Next {
    /// Whether it is to be done now; it is then under way.
    pub(super) fn begins(&mut self, now: Instant) -> bool {
        let is_due = match self {
            Next::At(at) => at.is_none_or(|at| at <= now),
            Next::UnderWay => false,
        };
        if is_due {
            *self = Next::UnderWay;
        }
        is_due
    }
}

impl Default for Health {
    fn default() -> Health {
        Health {
            up: AtomicBool::new(true),
            failures_in_a_row: AtomicU32::new(0),
            known: Mutex::new(Known {
                standing: Standing::Up,
                against: 0,
                ejected: None,
                probation: false,
                unproven: None,
                untold: Vec::new(),
                check: Next::At(None),
            }),
        }
    }
}

impl Health {
    /// Whether it is asked in its turn.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.known.lock().standing
    }

    /// A request could connect to it.
    pub fn connected(&self, has_checks: bool) {
        // In the common case nothing changes and the cache line stays shared.
        if !self.is_up() && !has_checks {
            let mut known = self.known.lock();
            if matches!(known.standing, Standing::Down(_)) {
                self.set(&mut known, Standing::Up);
            }
        }
    }

    /// A TLS handshake with it failed of this.
    pub fn unproven(&self, why: &dyn fmt::Display) {
        let why: String = why.to_string().chars().take(LONGEST_WHY).collect();
        self.known.lock().unproven = Some(why.into());
    }

    /// What the last TLS handshake with it failed of.
    pub fn why_unproven(&self) -> Option<Box<str>> {
        self.known.lock().unproven.clone()
    }

    /// A request could not connect to it.
    pub fn connect_failed(&self, cause: Cause) {
        let mut known = self.known.lock();
        if known.standing == Standing::Up {
            self.set(&mut known, Standing::Down(cause));
        }
    }

    /// A request was answered.
    pub fn succeeded(&self) {
        if self.failures_in_a_row.load(Ordering::Relaxed) != 0 {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
            self.known.lock().probation = false;
        }
    }

    /// A request failed: whether the server is to be ejected, if another is up.
    pub fn failed(&self, rule: &EjectRule) -> bool {
        let failures = self
            .failures_in_a_row
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        failures >= rule.failures || self.known.lock().probation
    }

    /// Ejects it, if it is up.
    pub fn eject(&self, cause: Cause, rule: &EjectRule, now: Instant) -> bool {
        let mut known = self.known.lock();
        if known.standing != Standing::Up {
            return false;
        }
        let lasts = match known.ejected {
            // Soon after the last time.
            Some((end, before)) if now < end + before => (before * 2).min(LONGEST.max(rule.duration)),
            Some(_) | None => rule.duration,
        };
        known.ejected = Some((now + lasts, lasts));
        self.set(&mut known, Standing::Ejected { cause, lasts });
        true
    }

    /// Whether a check begins now.
    pub fn check_begins(&self, has_checks: bool, now: Instant) -> bool {
        if self.is_up() && !has_checks {
            return false;
        }
        let mut known = self.known.lock();
        match (known.standing, known.ejected) {
            (Standing::Ejected { .. }, Some((end, _))) if now < end => false,
            (Standing::Ejected { .. } | Standing::Up | Standing::Down(_), _) => known.check.begins(now),
        }
    }

    /// What a check said, if it could be found out. The next may begin after the rule's interval.
    pub fn checked(&self, said: Option<Result<(), Cause>>, rule: &CheckRule, now: Instant) {
        let mut known = self.known.lock();
        known.check = Next::At(Some(now + rule.interval));
        let Some(said) = said else {
            return;
        };
        let (after, needed) = match (known.standing, said) {
            (Standing::Up, Ok(())) | (Standing::Down(_) | Standing::Ejected { .. }, Err(_)) => {
                known.against = 0;
                return;
            }
            (Standing::Up, Err(cause)) => (Standing::Down(cause), rule.fall),
            (Standing::Down(_), Ok(())) => (Standing::Up, rule.rise),
            (Standing::Ejected { .. }, Ok(())) => (Standing::Up, rule.rise),
        };
        known.against += 1;
        if known.against >= needed {
            if matches!(known.standing, Standing::Ejected { .. }) {
                known.probation = true;
                // What `succeeded` looks at.
                self.failures_in_a_row.store(1, Ordering::Relaxed);
            }
            self.set(&mut known, after);
        }
    }

    /// How it stood after each change that was not told yet, in order.
    pub fn untold(&self) -> Vec<Standing> {
        // Taking nothing out of an empty list costs no memory.
        std::mem::take(&mut self.known.lock().untold)
    }

    fn set(&self, known: &mut Known, standing: Standing) {
        known.standing = standing;
        known.against = 0;
        if standing == Standing::Up && !known.probation {
            self.failures_in_a_row.store(0, Ordering::Relaxed);
        }
        if standing != Standing::Up {
            known.probation = false;
            // At once.
            if matches!(known.check, Next::At(_)) {
                known.check = Next::At(None);
            }
        }
        if known.untold.len() < UNTOLD {
            known.untold.push(standing);
        }
        self.up.store(standing == Standing::Up, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ejected(health: &Health) -> Option<u64> {
        match health.standing() {
            Standing::Ejected { lasts, .. } => Some(lasts.as_secs()),
            Standing::Up | Standing::Down(_) => None,
        }
    }

    #[test]
    fn a_failed_connect_is_down_until_a_check_succeeds() {
        let (health, rule, start) = (Health::default(), CheckRule::default(), Instant::now());
        assert!(health.is_up() && !health.check_begins(false, start));
        health.connect_failed(Cause::Refused);
        assert_eq!(
            (health.is_up(), health.standing()),
            (false, Standing::Down(Cause::Refused))
        );
        assert!(health.check_begins(false, start));
        assert!(!health.check_begins(false, start), "one at a time");
        health.checked(Some(Err(Cause::Timeout)), &rule, start);
        assert!(!health.check_begins(false, start + SECOND / 2));
        assert!(health.check_begins(false, start + SECOND));
        health.checked(Some(Ok(())), &rule, start + SECOND);
        assert!(health.is_up());
        assert_eq!(health.untold(), [Standing::Down(Cause::Refused), Standing::Up]);
        assert_eq!(health.untold(), []);
    }

    #[test]
    fn checks_rise_and_fall() {
        let (health, start) = (Health::default(), Instant::now());
        let rule = CheckRule {
            rise: 2,
            fall: 3,
            ..CheckRule::default()
        };
        let bad = Err(Cause::BadAnswer);
        let mut seen = Vec::new();
        for said in [bad, bad, Ok(()), bad, bad, bad, Ok(()), bad, Ok(()), Ok(())] {
            health.checked(Some(said), &rule, start);
            seen.push(health.is_up());
        }
        assert_eq!(
            seen,
            [true, true, true, true, true, false, false, false, false, true]
        );
        // A request that connects proves less than the checks ask for.
        health.connect_failed(Cause::Refused);
        health.connected(true);
        assert!(!health.is_up());
        health.connected(false);
        assert!(health.is_up());
    }

    #[test]
    fn failures_in_a_row_eject_for_twice_as_long_each_time() {
        let (health, check, rule) = (Health::default(), CheckRule::default(), EjectRule::default());
        let mut now = Instant::now();
        let failed = || health.failed(&rule);
        assert!(![failed(), failed(), failed(), failed()].contains(&true));
        health.succeeded();
        assert!(![failed(), failed(), failed(), failed()].contains(&true));
        assert!(failed() && health.eject(Cause::Timeout, &rule, now));
        assert!(!health.eject(Cause::Timeout, &rule, now), "it is out already");
        for lasts in [30, 60, 120, 240, 300, 300] {
            assert_eq!(ejected(&health), Some(lasts));
            health.connected(false);
            now += Duration::from_secs(lasts);
            assert!(!health.check_begins(false, now - SECOND) && !health.is_up());
            assert!(health.check_begins(false, now));
            health.checked(Some(Ok(())), &check, now);
            assert!(health.is_up());
            // On probation one more is enough.
            assert!(failed() && health.eject(Cause::Timeout, &rule, now));
        }
        now += Duration::from_secs(300);
        health.checked(Some(Ok(())), &check, now);
        health.succeeded();
        assert!(!failed());
        now += Duration::from_secs(301);
        assert!(health.eject(Cause::Timeout, &rule, now));
        assert_eq!(ejected(&health), Some(30), "long ago");
    }
}
