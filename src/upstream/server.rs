//! One address that serves, and what is known of it. The state outlives a reload that keeps the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::address::Address;
use super::failure::{self, Cause};
use super::health::Health;
use super::idle::Idle;
use super::secure::Secured;
use super::seed::seed;
use super::socket::{Connection, Unopened};

/// What is counted of a server, over all addresses of its name.
#[derive(Debug, Default)]
pub struct Counts {
    responses: [AtomicU64; 5],
    failures: [AtomicU64; Cause::ALL.len()],
    ejections: AtomicU64,
    address_changes: AtomicU64,
}

impl Counts {
    /// An answer of this status.
    pub fn answered(&self, status: u16) {
        if let Some(class) = self.responses.get(usize::from(status / 100).wrapping_sub(1)) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A failure that a request or a look-up met.
    pub fn failed(&self, cause: Cause) {
        if let Some(failures) = self.failures.get(cause as usize) {
            failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn ejected(&self) {
        self.ejections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn moved(&self) {
        self.address_changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Answers so far, of 1xx to 5xx.
    pub fn responses(&self) -> [u64; 5] {
        self.responses
            .each_ref()
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// Failures so far, by cause.
    pub fn failures(&self) -> [(Cause, u64); Cause::ALL.len()] {
        let mut counts = self.failures.iter().map(|count| count.load(Ordering::Relaxed));
        Cause::ALL.map(|cause| (cause, counts.next().unwrap_or_default()))
    }

    /// Ejections so far.
    pub fn ejections(&self) -> u64 {
        self.ejections.load(Ordering::Relaxed)
    }

    /// How often the name's addresses changed.
    pub fn address_changes(&self) -> u64 {
        self.address_changes.load(Ordering::Relaxed)
    }
}

/// One address that serves.
#[derive(Debug)]
pub struct Server {
    /// As the configuration spells it: the label `server`.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// None = it is spoken to without TLS.
    pub secured: Option<Secured>,
    /// The address, to be read: `server_address`.
    pub shown: String,
    /// Connections of held calls that wait for the next one.
    pub idle: Idle,
    /// Whether it is asked.
    pub health: Health,
    /// What it shares with the other addresses of its name.
    pub counts: Arc<Counts>,
    /// Stands for the address, the same in every process.
    pub(super) seed: u64,
    in_flight: AtomicUsize,
}

impl Server {
    /// A server that is taken to be up until something fails.
    pub fn new(name: Arc<str>, address: Address, secured: Option<Secured>, counts: Arc<Counts>) -> Server {
        let shown = address.to_string();
        Server {
            name,
            seed: seed(shown.as_bytes()),
            address,
            secured,
            shown,
            idle: Idle::default(),
            health: Health::default(),
            counts,
            in_flight: AtomicUsize::new(0),
        }
    }

    /// Connects to it. There is no time limit to that.
    ///
    /// # Errors
    /// What it says of the server that there is no connection; none where this process is to blame.
    pub async fn connect(&self) -> Result<Connection, Option<Cause>> {
        let opened = Connection::open(&self.address, self.secured.as_ref()).await;
        opened.map_err(|unopened| match unopened {
            Unopened::Unconnected(error) => failure::of_connect(&error),
            Unopened::Unproven(error) => {
                self.health.unproven(&error);
                Some(Cause::Tls)
            }
        })
    }

    /// Requests that it has at the moment.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Takes a request on, until the guard is dropped.
    pub(super) fn taken(self: &Arc<Server>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }
}

/// A request that a server has.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Server>);

impl InFlight {
    pub(super) fn server(&self) -> &Arc<Server> {
        &self.0
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
