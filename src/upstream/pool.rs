//! An upstream: a named group of servers, the one account of both ways that ask them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use http::Method;
use parking_lot::Mutex;

use super::balance::{Balance, Member, Present};
use super::budget::Budget;
use super::entry::Entry;
use super::failure::Cause;
use super::health::{CheckRule, EjectRule};
use super::places::{Places, PlacesRule};
use super::proof::Proof;
use super::server::Server;

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
    /// None = a handler can not tell who asks.
    pub proof: Option<Arc<Proof>>,
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
            proof: None,
        }
    }
}

/// What happens to a request whose connection broke after it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resend {
    /// It is executed at most once (RFC 9110 9.2.2).
    Never,
    /// It may be sent once more where the connection had been idle, whose server has most likely ended it.
    AfterIdle,
    /// It may be sent once more: executing it twice does what executing it once does.
    Once,
}

impl Resend {
    /// What becomes of it for a request of this method that is no widget call: those that are safe may be sent again
    /// (RFC 9110 9.2.1).
    pub fn of_passed(self, method: &Method) -> Resend {
        match (self, method) {
            (Resend::Never, &Method::GET | &Method::HEAD | &Method::OPTIONS) => Resend::AfterIdle,
            (resend, _) => resend,
        }
    }
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
    /// Who there is at the moment.
    pub(super) present: ArcSwap<Present>,
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
        let present = self.present.load();
        let servers = present.members.iter().map(|member| member.server.clone());
        servers.collect::<Vec<_>>().into_iter()
    }

    /// Whether one of its servers is asked in its turn.
    pub fn is_up(&self) -> bool {
        self.listed.iter().any(|listed| listed.entry.is_up())
    }

    /// Ejects a server, unless it is the last that is up.
    pub(super) fn eject(&self, server: &Server, cause: Cause, now: Instant) {
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
