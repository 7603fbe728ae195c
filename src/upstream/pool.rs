//! An upstream, and the way of one request through its servers: the one account of both ways that ask them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::balance::{Balance, Member, Portal, Present};
use super::budget::Budget;
use super::entry::Entry;
use super::failure::Cause;
use super::health::{CheckRule, EjectRule};
use super::places::{Full, Place, Places, PlacesRule};
use super::server::{InFlight, Server};

/// `[upstreams.NAME]` without its servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Which server has the next request.
    pub balance: Balance,
    /// From one look-up of a name to the next.
    pub resolve_interval: Duration,
    /// For one connect.
    pub connect_timeout: Duration,
    /// The longest silence while the answer is awaited or read.
    pub timeout: Duration,
    /// An idle connection is kept this long.
    pub keepalive: Duration,
    /// Further servers after a failed connect.
    pub retries: usize,
    /// From the first connect to the end of the answer; none = no limit but that of silence.
    pub total_timeout: Option<Duration>,
    /// The same for calls that run in the background.
    pub background_timeout: Duration,
    /// What happens to a request that may have been read.
    pub resend: Resend,
    /// None = as many as come.
    pub places: Option<PlacesRule>,
    /// None = only what is down is checked, by connects.
    pub check: Option<CheckRule>,
    /// When a server is not asked for a while.
    pub eject: EjectRule,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            balance: Balance::default(),
            resolve_interval: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(2),
            timeout: Duration::from_secs(30),
            // Below Apache's default KeepAliveTimeout of 5 s, so that a request is not sent into a connection
            // that the handler's server is just closing.
            keepalive: Duration::from_secs(4),
            retries: usize::MAX,
            total_timeout: None,
            // Below the 5 s at which Bitrix24 counts such a call as too slow.
            background_timeout: Duration::from_millis(4500),
            resend: Resend::Never,
            places: None,
            check: None,
            eject: EjectRule::default(),
        }
    }
}

/// What happens to a request whose connection broke after it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resend {
    /// It is executed at most once (RFC 9110 9.2.2).
    Never,
    /// It may be sent once more: executing it twice does what executing it once does.
    Once,
}

/// How long a request may take altogether.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// `total_timeout`.
    Usual,
    /// `background_timeout`, where that is shorter.
    Background,
}

/// An entry as an upstream has it.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The entry.
    pub entry: Arc<Entry>,
    /// The share of each of its servers.
    pub weight: u32,
    /// Whether they are asked only where no other is up.
    pub backup: bool,
}

impl PartialEq for Listed {
    fn eq(&self, other: &Listed) -> bool {
        Arc::ptr_eq(&self.entry, &other.entry) && (self.weight, self.backup) == (other.weight, other.backup)
    }
}

/// A named group of servers that serve the same handlers.
#[derive(Debug)]
pub struct Upstream {
    /// The label `upstream`.
    pub name: Arc<str>,
    /// How they are asked.
    pub rules: Rules,
    /// Never empty, in the order of the file.
    pub listed: Vec<Listed>,
    /// Outlives a reload.
    pub budget: Arc<Budget>,
    /// None = as many requests as come.
    pub places: Option<Arc<Places>>,
    present: ArcSwap<Present>,
    ejecting: Mutex<()>,
}

impl Upstream {
    /// An upstream whose first server has the first turn. What `before` counts goes on.
    pub fn new(name: &str, listed: Vec<Listed>, rules: Rules, before: Option<&Upstream>) -> Upstream {
        let kept = before.and_then(|before| before.places.as_ref());
        Upstream {
            places: rules.places.map(|rule| match kept {
                Some(kept) if kept.rule() == rule => kept.clone(),
                Some(_) | None => Arc::new(Places::new(rule)),
            }),
            budget: before.map(|before| before.budget.clone()).unwrap_or_default(),
            name: name.into(),
            present: ArcSwap::from_pointee(Present::new(members(&listed))),
            rules,
            listed,
            ejecting: Mutex::new(()),
        }
    }

    /// Takes over the servers that its names have now.
    pub fn gather(&self) {
        let members = members(&self.listed);
        if self.present.load().members != members {
            self.present.store(Arc::new(Present::new(members)));
        }
    }

    /// Every server that it has at the moment.
    pub fn servers(&self) -> impl Iterator<Item = Arc<Server>> {
        let present = self.present.load_full();
        let servers: Vec<_> = present
            .members
            .iter()
            .map(|member| member.server.clone())
            .collect();
        servers.into_iter()
    }

    /// Whether one of its servers is asked in its turn.
    pub fn is_up(&self) -> bool {
        self.listed.iter().any(|listed| listed.entry.is_up())
    }

    /// Ejects a server, unless it is the last that is up.
    fn eject(&self, server: &Server, cause: Cause, now: Instant) {
        // Two that judge at the same time must not each take the other for the one that is left.
        let _alone = self.ejecting.lock();
        let present = self.present.load();
        let mut others = present.members.iter().map(|member| &*member.server);
        let is_last = !others.any(|other| !std::ptr::eq(other, server) && other.health.is_up());
        if !is_last && server.health.eject(cause, &self.rules.eject, now) {
            server.counts.ejected();
        }
    }
}

fn members(listed: &[Listed]) -> Vec<Member> {
    let mut members = Vec::new();
    for Listed {
        entry,
        weight,
        backup,
    } in listed
    {
        members.extend(entry.servers().iter().map(|server| Member {
            server: server.clone(),
            weight: *weight,
            backup: *backup,
        }));
    }
    members
}

/// The way of one request through the servers of its upstream.
#[derive(Debug)]
pub struct Target {
    upstream: Arc<Upstream>,
    portal: Option<Portal>,
    pace: Pace,
    asked: Asked,
    /// The last failure.
    cause: Option<Cause>,
    place: Option<Place>,
}

#[derive(Debug)]
enum Asked {
    Nobody,
    /// It is still the one to ask.
    One(One),
    /// There is nobody else.
    Everybody {
        last: Option<Arc<Server>>,
        tries: usize,
    },
}

#[derive(Debug)]
struct One {
    present: Arc<Present>,
    at: usize,
    server: InFlight,
    /// Before this one.
    tried: Vec<usize>,
}

/// What is told of the way of a request.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The last server that was asked.
    pub server: Option<Arc<Server>>,
    /// Servers that were asked.
    pub tries: usize,
    /// The last failure.
    pub cause: Option<Cause>,
}

impl Target {
    /// A way on which nobody was asked yet.
    pub fn new(upstream: &Arc<Upstream>, pace: Pace, portal: impl FnOnce() -> Option<Portal>) -> Target {
        Target {
            portal: match upstream.rules.balance {
                Balance::MemberId => portal(),
                Balance::RoundRobin | Balance::LeastConnections => None,
            },
            upstream: upstream.clone(),
            pace,
            asked: Asked::Nobody,
            cause: None,
            place: None,
        }
    }

    /// Waits until the upstream takes one more request, where it takes not any number.
    ///
    /// # Errors
    /// Where that can not be waited for.
    pub async fn admit(&mut self) -> Result<(), Full> {
        if let Some(places) = &self.upstream.places {
            self.place = Some(places.take().await?);
        }
        Ok(())
    }

    /// From the first connect to the end of the answer.
    pub fn total_timeout(&self) -> Option<Duration> {
        let Rules {
            total_timeout,
            background_timeout,
            ..
        } = self.upstream.rules;
        match self.pace {
            Pace::Usual => total_timeout,
            Pace::Background => {
                Some(total_timeout.map_or(background_timeout, |total| total.min(background_timeout)))
            }
        }
    }

    /// Whose servers they are.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The server to connect to now; none where there is no other.
    pub fn server(&mut self) -> Option<&Arc<Server>> {
        if let Asked::Nobody = self.asked {
            let present = self.upstream.present.load_full();
            if present.members.len() > 1 {
                self.upstream.budget.request();
            }
            self.ask(present, Vec::new());
            if let Asked::Everybody { .. } = self.asked {
                // Its names have no address.
                self.cause = Some(Cause::Dns);
            }
        }
        match &self.asked {
            Asked::One(one) => Some(one.server.server()),
            Asked::Nobody | Asked::Everybody { .. } => None,
        }
    }

    fn ask(&mut self, present: Arc<Present>, tried: Vec<usize>) {
        let chosen = present.choose(self.upstream.rules.balance, self.portal, &tried);
        let member = chosen.and_then(|at| Some((at, present.members.get(at)?)));
        self.asked = match member {
            Some((at, member)) => Asked::One(One {
                server: member.server.taken(),
                present,
                at,
                tried,
            }),
            None => Asked::Everybody {
                last: tried
                    .last()
                    .and_then(|at| Some(present.members.get(*at)?.server.clone())),
                tries: tried.len(),
            },
        };
    }

    /// The server could be connected to.
    pub fn connected(&self) {
        if let Asked::One(one) = &self.asked {
            one.server
                .server()
                .health
                .connected(self.upstream.rules.check.is_some());
        }
    }

    /// The server could not be connected to; without a cause the fault is ours. Whether there is another, which
    /// is then the one to connect to.
    pub fn connect_failed(&mut self, cause: Option<Cause>, now: Instant) -> bool {
        if let (Asked::One(one), Some(cause)) = (&self.asked, cause) {
            one.server.server().health.connect_failed(cause);
        }
        if let Some(cause) = cause {
            self.failed(cause, now);
        }
        let Asked::One(One {
            present,
            at,
            mut tried,
            server,
        }) = std::mem::replace(&mut self.asked, Asked::Nobody)
        else {
            return false;
        };
        tried.push(at);
        let has_another = tried.len() < present.members.len();
        if has_another && tried.len() <= self.upstream.rules.retries && self.upstream.budget.retry() {
            self.ask(present, tried);
            return true;
        }
        self.asked = Asked::Everybody {
            last: Some(server.server().clone()),
            tries: tried.len(),
        };
        false
    }

    /// The server failed the request.
    pub fn failed(&mut self, cause: Cause, now: Instant) {
        self.cause = Some(cause);
        if let Asked::One(one) = &self.asked {
            let server = one.server.server();
            server.counts.failed(cause);
            if server.health.failed(&self.upstream.rules.eject) {
                self.upstream.eject(server, cause, now);
            }
        }
    }

    /// The head of the server's answer came; an interim one is not the answer.
    pub fn answered(&mut self, status: u16, now: impl FnOnce() -> Instant) {
        let Asked::One(one) = &self.asked else {
            return;
        };
        let server = one.server.server();
        server.counts.answered(status);
        if self.upstream.rules.eject.statuses.contains(&status) {
            self.failed(Cause::BadAnswer, now());
        } else if status >= 200 {
            server.health.succeeded();
        }
    }

    /// What became of it.
    pub fn told(&self) -> Told {
        let (server, tries) = match &self.asked {
            Asked::Nobody => (None, 0),
            Asked::One(one) => (Some(one.server.server().clone()), one.tried.len() + 1),
            Asked::Everybody { last, tries } => (last.clone(), *tries),
        };
        Told {
            server,
            tries,
            cause: self.cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::address::Address;
    use crate::upstream::entry;

    fn upstream(count: u16, rules: Rules) -> Arc<Upstream> {
        let listed = (1..=count).map(|port| Listed {
            entry: Arc::new(Entry::new(
                &format!("s{port}"),
                entry::Place::Fixed(Address::Inet(([10, 0, 0, 1], port).into())),
            )),
            weight: 1,
            backup: false,
        });
        Arc::new(Upstream::new("u", listed.collect(), rules, None))
    }

    fn asked(upstream: &Arc<Upstream>) -> Vec<String> {
        let mut target = Target::new(upstream, Pace::Usual, || None);
        let mut seen = Vec::new();
        while let Some(server) = target.server() {
            seen.push(server.name.to_string());
            target.connect_failed(None, Instant::now());
        }
        assert_eq!(target.told().tries, seen.len());
        assert_eq!(
            target.told().server.map(|server| server.name.to_string()),
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
            let mut target = Target::new(&upstream, Pace::Usual, || None);
            target.server().unwrap();
            target.connected();
            target.failed(Cause::Timeout, now);
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
        let mut target = Target::new(&upstream, Pace::Usual, || None);
        assert_eq!(in_flight(), 0);
        target.server().unwrap();
        assert_eq!(in_flight(), 1);
        drop(target);
        assert_eq!(in_flight(), 0);
    }
}
