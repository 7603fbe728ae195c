//! One entry of an upstream's `servers`: an address, or a name, every address of which is a server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::address::Address;
use super::failure::Cause;
use super::health::Next;
use super::resolve::{HostName, NotFound};
use super::secure::Secured;
use super::server::{Counts, Server};

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// One server, always.
    Fixed(Address),
    /// The servers at the addresses that the name has.
    Named(HostName),
}

/// One entry. It outlives a reload that keeps it.
#[derive(Debug)]
pub struct Entry {
    /// As the configuration spells it: the label `server`.
    pub name: Arc<str>,
    /// Where it is.
    pub place: Place,
    /// None = its servers are spoken to without TLS.
    pub secured: Option<Secured>,
    /// Over all its servers.
    pub counts: Arc<Counts>,
    servers: ArcSwap<Vec<Arc<Server>>>,
    look_up: Mutex<Next>,
    untold: Mutex<Vec<LookedUp>>,
    /// The last look-up found nothing.
    is_lost: AtomicBool,
}

/// Changes that wait to be told.
const UNTOLD: usize = 16;

/// What a look-up changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LookedUp {
    /// The name has other addresses.
    Moved {
        /// Those that it has now.
        now: Vec<SocketAddr>,
        /// Those that it had.
        before: Vec<SocketAddr>,
    },
    /// It is not found any more, or was not from the start; the addresses that it had stay.
    Lost {
        /// These; none where its servers are down for it.
        kept: Vec<SocketAddr>,
    },
    /// It is found again.
    Found,
}

impl Entry {
    /// An entry whose servers are taken to be up; a name has none until it was looked up. What was counted of
    /// it `before` goes on.
    pub fn new(name: &str, place: Place, secured: Option<Secured>, before: Option<&Entry>) -> Entry {
        let entry = Entry {
            name: name.into(),
            place,
            secured,
            counts: before.map(|before| before.counts.clone()).unwrap_or_default(),
            servers: ArcSwap::default(),
            look_up: Mutex::new(Next::At(None)),
            untold: Mutex::default(),
            is_lost: AtomicBool::new(false),
        };
        if let Place::Fixed(address) = &entry.place {
            let server = entry.server(address.clone());
            entry.servers.store(Arc::new(vec![server]));
        }
        entry
    }

    fn server(&self, address: Address) -> Arc<Server> {
        let (name, secured, counts) = (self.name.clone(), self.secured.clone(), self.counts.clone());
        Arc::new(Server::new(name, address, secured, counts))
    }

    /// Its servers at the moment.
    pub fn servers(&self) -> Arc<Vec<Arc<Server>>> {
        self.servers.load_full()
    }

    /// Whether one of its servers is asked.
    pub fn is_up(&self) -> bool {
        self.servers.load().iter().any(|server| server.health.is_up())
    }

    /// Whether these are not the addresses that it has.
    pub fn would_move(&self, addresses: &[SocketAddr]) -> bool {
        self.addresses() != addresses
    }

    /// The addresses that it has.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let servers = self.servers.load();
        let addresses = servers.iter().filter_map(|server| match &server.address {
            Address::Inet(address) => Some(*address),
            Address::Unix(_) | Address::Sample => None,
        });
        addresses.collect()
    }

    /// The name, if it is one.
    pub fn host_name(&self) -> Option<HostName> {
        match &self.place {
            Place::Named(name) => Some(name.clone()),
            Place::Fixed(_) => None,
        }
    }

    /// Whether a look-up begins now.
    pub fn look_up_begins(&self, now: Instant) -> bool {
        match &self.place {
            Place::Named(_) => self.look_up.lock().begins(now),
            Place::Fixed(_) => false,
        }
    }

    /// What changed and was not told yet, in order.
    pub fn untold(&self) -> Vec<LookedUp> {
        std::mem::take(&mut self.untold.lock())
    }

    /// When the name is looked up next.
    pub fn looked_up(&self, next: Instant) {
        *self.look_up.lock() = Next::At(Some(next));
    }

    /// Takes over what a look-up said. Servers whose address stays keep their state; where nothing was found,
    /// everything stays as it is. Whether something changed.
    pub fn found(&self, said: Result<Vec<SocketAddr>, NotFound>) -> bool {
        let before = self.addresses();
        let was_lost = self.is_lost.swap(said.is_err(), Ordering::Relaxed);
        let Ok(now) = said else {
            self.counts.failed(Cause::Dns);
            if !was_lost {
                self.to_tell(LookedUp::Lost { kept: before });
            }
            return false;
        };
        if was_lost {
            self.to_tell(LookedUp::Found);
        }
        if now == before {
            return false;
        }
        let present = self.servers.load_full();
        let servers = now.iter().map(|address| {
            let address = Address::Inet(*address);
            match present.iter().find(|server| server.address == address) {
                Some(server) => server.clone(),
                None => self.server(address),
            }
        });
        self.servers.store(Arc::new(servers.collect()));
        self.counts.moved();
        self.to_tell(LookedUp::Moved { now, before });
        true
    }

    fn to_tell(&self, change: LookedUp) {
        let mut untold = self.untold.lock();
        if untold.len() < UNTOLD {
            untold.push(change);
        }
    }
}

/// How soon a name is looked up again that was not found: at most this, and never later than others are.
pub fn next_look_up(found: bool, resolve_interval: Duration) -> Duration {
    const SOON: Duration = Duration::from_secs(1);
    match found {
        true => resolve_interval,
        false => resolve_interval.min(SOON),
    }
}
