//! Names become addresses, as the system's resolver says; its hosts file is part of that.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A host and its port. The host is a name, never an address.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct HostName {
    host: String,
    port: u16,
}

/// What a host in a configuration is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// An address, of which nothing has to be looked up.
    Address(SocketAddr),
    /// A name.
    Name(HostName),
}

impl Host {
    /// An address, without brackets, or a name.
    pub fn of(host: &str, port: u16) -> Host {
        match host.parse::<IpAddr>() {
            Ok(address) => Host::Address(SocketAddr::new(address, port)),
            Err(_) => Host::Name(HostName {
                host: host.to_owned(),
                port,
            }),
        }
    }
}

/// The name has no address, or nobody said so in time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NotFound;

/// What was looked up.
pub type Found = HashMap<HostName, Result<Vec<SocketAddr>, NotFound>>;

impl HostName {
    /// Every address, in an order of its own, each once: the order in which a name server answers means
    /// nothing. Blocks, for as long as the system's resolver does.
    ///
    /// # Errors
    /// Where there is none.
    pub fn look_up(&self) -> Result<Vec<SocketAddr>, NotFound> {
        let found = (self.host.as_str(), self.port).to_socket_addrs();
        let mut addresses: Vec<_> = found.map_err(|_| NotFound)?.collect();
        addresses.sort_unstable();
        addresses.dedup();
        match addresses.is_empty() {
            true => Err(NotFound),
            false => Ok(addresses),
        }
    }
}

/// Looks all names up at the same time. Blocks, at most for so long; what takes longer is not found.
pub fn look_up_all(names: impl Iterator<Item = HostName>, within: Duration) -> Found {
    let mut found: Found = names.map(|name| (name, Err(NotFound))).collect();
    let (tell, told) = mpsc::channel();
    let mut left = 0;
    for name in found.keys() {
        let (name, tell) = (name.clone(), tell.clone());
        // A thread that waits for a resolver can not be called back: it is left to itself.
        let looking = std::thread::Builder::new()
            .name("look-up".to_owned())
            .spawn(move || {
                let said = name.look_up();
                let _ = tell.send((name, said));
            });
        left += usize::from(looking.is_ok());
    }
    let deadline = Instant::now() + within;
    while left > 0 {
        let wait = deadline.saturating_duration_since(Instant::now());
        let Ok((name, said)) = told.recv_timeout(wait) else {
            break;
        };
        found.insert(name, said);
        left -= 1;
    }
    found
}
