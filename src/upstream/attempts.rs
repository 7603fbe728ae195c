//! The way of one request through the servers of its upstream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::balance::{Balance, Portal, Present};
use super::failure::Cause;
use super::places::{Full, Place};
use super::pool::{Pace, Rules, Upstream};
use super::server::{InFlight, Server};

/// The way of one request through the servers of its upstream.
#[derive(Debug)]
pub struct Attempts {
    upstream: Arc<Upstream>,
    portal: Option<Portal>,
    pace: Pace,
    /// Who there was when the first was chosen.
    present: Option<Arc<Present>>,
    /// The one to ask, by its index; none where nobody else is left.
    asked: Option<(usize, InFlight)>,
    /// Those before it.
    tried: Vec<usize>,
    /// The last failure.
    cause: Option<Cause>,
    failed: Vec<Failed>,
    /// Whether the server that is asked has not failed yet.
    is_open: bool,
    place: Option<Place>,
    /// How long it has waited for that.
    queued: Duration,
}

/// An attempt that came to nothing.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Who was asked.
    pub server: Arc<Server>,
    /// Why.
    pub cause: Cause,
    /// When that was known.
    pub at: Instant,
}

/// What is told of the way of a request.
#[derive(Clone, Debug, Default)]
pub struct Attempted {
    /// The last server that was asked.
    pub server: Option<Arc<Server>>,
    /// Servers that were asked.
    pub tries: usize,
    /// The last failure.
    pub cause: Option<Cause>,
    /// Every attempt that failed, in order.
    pub failed: Vec<Failed>,
    /// Whether the last attempt is none of them.
    pub is_open: bool,
}

impl Attempts {
    /// A way on which nobody was asked yet.
    pub fn new(upstream: &Arc<Upstream>, pace: Pace, portal: impl FnOnce() -> Option<Portal>) -> Attempts {
        Attempts {
            portal: match upstream.rules.balance {
                Balance::MemberId => portal(),
                Balance::RoundRobin | Balance::LeastConnections => None,
            },
            upstream: upstream.clone(),
            pace,
            present: None,
            asked: None,
            tried: Vec::new(),
            cause: None,
            failed: Vec::new(),
            is_open: false,
            place: None,
            queued: Duration::ZERO,
        }
    }

    /// Waits until the upstream takes one more request, where it takes not any number.
    ///
    /// # Errors
    /// Where that can not be waited for.
    pub async fn admit(&mut self) -> Result<(), Full> {
        if let Some(places) = &self.upstream.places {
            let since = Instant::now();
            let within = match self.pace {
                Pace::Usual => Duration::MAX,
                Pace::Background => self.upstream.rules.background_timeout,
            };
            self.place = Some(places.take(within).await?);
            self.queued = since.elapsed();
        }
        Ok(())
    }

    /// From the first connect to the end of the answer. Of a call in the background what it has waited for a place is
    /// part of it: Bitrix24 looks at the whole.
    pub fn total_timeout(&self) -> Option<Duration> {
        let Rules {
            total_timeout,
            background_timeout,
            ..
        } = self.upstream.rules;
        match self.pace {
            Pace::Usual => total_timeout,
            Pace::Background => {
                let left = background_timeout.saturating_sub(self.queued);
                Some(total_timeout.map_or(left, |total| total.min(left)))
            }
        }
    }

    /// Whether a part of the whole time was spent before any server was asked: what is left of it may have been too little.
    pub fn has_queued(&self) -> bool {
        match self.pace {
            Pace::Usual => false,
            Pace::Background => self.queued >= Duration::from_millis(1),
        }
    }

    /// Whose servers they are.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The server to connect to now; none where there is no other.
    pub fn server(&mut self) -> Option<&Arc<Server>> {
        if self.present.is_none() {
            let present = self.upstream.present.load_full();
            if present.members.len() > 1 {
                self.upstream.budget.request();
            }
            if !self.choose(&present) {
                // Its names have no address.
                self.cause = Some(Cause::Dns);
            }
            self.present = Some(present);
        }
        let (_, server) = self.asked.as_ref()?;
        self.is_open = true;
        Some(server.server())
    }

    /// Chooses the one to ask among those that were not tried; whether there is one.
    fn choose(&mut self, present: &Present) -> bool {
        let chosen = present.choose(self.upstream.rules.balance, self.portal, &self.tried);
        self.asked = chosen.and_then(|at| Some((at, present.members.get(at)?.server.taken())));
        self.asked.is_some()
    }

    /// The server could be connected to.
    pub fn connected(&self) {
        if let Some((_, server)) = &self.asked {
            let has_checks = self.upstream.rules.check.is_some();
            server.server().health.connected(has_checks);
        }
    }

    /// The server could not be connected to; without a cause the fault is ours. Whether there is another, which
    /// is then the one to connect to.
    pub fn connect_failed(&mut self, cause: Option<Cause>, now: Instant) -> bool {
        if let (Some((_, server)), Some(cause)) = (&self.asked, cause) {
            server.server().health.connect_failed(cause);
        }
        if let Some(cause) = cause {
            self.failed(cause, now);
        }
        let (Some((at, _)), Some(present)) = (self.asked.take(), self.present.clone()) else {
            return false;
        };
        self.tried.push(at);
        let tries = self.tried.len();
        tries < present.members.len()
            && tries <= self.upstream.rules.retries
            && self.upstream.budget.retry()
            && self.choose(&present)
    }

    /// The server failed the request.
    pub fn failed(&mut self, cause: Cause, now: Instant) {
        self.cause = Some(cause);
        if let Some((_, server)) = &self.asked {
            let server = server.server();
            if std::mem::take(&mut self.is_open) {
                let server = server.clone();
                self.failed.push(Failed {
                    server,
                    cause,
                    at: now,
                });
            }
            server.counts.failed(cause);
            if server.health.failed(&self.upstream.rules.eject) {
                self.upstream.eject(server, cause, now);
            }
        }
    }

    /// The head of the server's answer came; an interim one is not the answer.
    pub fn answered(&mut self, status: u16, now: impl FnOnce() -> Instant) {
        let Some((_, server)) = &self.asked else {
            return;
        };
        let server = server.server();
        server.counts.answered(status);
        if self.upstream.rules.eject.statuses.contains(&status) {
            self.failed(Cause::BadAnswer, now());
        } else if status >= 200 || status == 101 {
            server.health.succeeded();
        }
    }

    /// What became of it.
    pub fn attempted(&self) -> Attempted {
        let last = || Some(&self.present.as_ref()?.members.get(*self.tried.last()?)?.server);
        let asked = self.asked.as_ref().map(|(_, server)| server.server());
        Attempted {
            server: asked.or_else(last).cloned(),
            tries: self.tried.len() + usize::from(asked.is_some()),
            cause: self.cause,
            failed: self.failed.clone(),
            is_open: self.is_open,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::address::Address;
    use crate::upstream::entry::{self, Entry};
    use crate::upstream::pool::Listed;

    fn upstream(count: u16, rules: Rules) -> Arc<Upstream> {
        let listed = (1..=count).map(|port| Listed {
            entry: Arc::new(Entry::new(
                &format!("s{port}"),
                entry::Place::Fixed(Address::Inet(([10, 0, 0, 1], port).into())),
                None,
                None,
            )),
            weight: 1,
            backup: false,
        });
        Arc::new(Upstream::new("u", listed.collect(), rules, None))
    }

    fn asked(upstream: &Arc<Upstream>) -> Vec<String> {
        let mut attempts = Attempts::new(upstream, Pace::Usual, || None);
        let mut seen = Vec::new();
        while let Some(server) = attempts.server() {
            seen.push(server.name.to_string());
            attempts.connect_failed(None, Instant::now());
        }
        assert_eq!(attempts.attempted().tries, seen.len());
        assert_eq!(
            attempts.attempted().server.map(|server| server.name.to_string()),
            seen.last().cloned()
        );
        seen
    }

    #[test]
    fn a_failed_connect_asks_each_other_once_within_retries_and_budget() {
        assert_eq!(asked(&upstream(3, Rules::default())), ["s1", "s2", "s3"]);
        let once = Rules {
            retries: 1,
            ..Rules::default()
        };
        assert_eq!(asked(&upstream(3, once)), ["s1", "s2"]);
        let never = Rules {
            retries: 0,
            ..Rules::default()
        };
        assert_eq!(asked(&upstream(3, never)), ["s1"]);
        let dying = upstream(2, Rules::default());
        let tries: usize = (0..20).map(|_| asked(&dying).len()).sum();
        assert_eq!(tries, 20 + 10, "ten are always allowed");
    }

    #[test]
    fn the_last_server_is_never_ejected() {
        let upstream = upstream(2, Rules::default());
        let now = Instant::now();
        for _ in 0..20 {
            let mut attempts = Attempts::new(&upstream, Pace::Usual, || None);
            attempts.server().unwrap();
            attempts.connected();
            attempts.failed(Cause::Timeout, now);
        }
        let up: Vec<_> = upstream.servers().map(|server| server.health.is_up()).collect();
        assert_eq!(up.iter().filter(|up| **up).count(), 1);
        let told: Vec<_> = upstream
            .listed
            .iter()
            .map(|listed| listed.entry.counts.ejections())
            .collect();
        assert_eq!(told.iter().sum::<u64>(), 1);
    }

    #[test]
    fn what_is_in_flight_is_counted_until_the_way_ends() {
        let upstream = upstream(1, Rules::default());
        let in_flight = || upstream.servers().map(|server| server.in_flight()).sum::<usize>();
        let mut attempts = Attempts::new(&upstream, Pace::Usual, || None);
        assert_eq!(in_flight(), 0);
        attempts.server().unwrap();
        assert_eq!(in_flight(), 1);
        drop(attempts);
        assert_eq!(in_flight(), 0);
    }
}
