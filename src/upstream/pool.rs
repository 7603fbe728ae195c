//! The servers of an upstream take turns; a failed connect goes to the next.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::idle::Idle;

/// An idle connection is kept this long. Below Apache's default KeepAliveTimeout of 5 s, so that a
/// request is not sent into a connection that the handler's server is just closing.
const KEEPALIVE: Duration = Duration::from_secs(4);

/// Where a server listens.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// TCP.
    Inet(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
    /// The embedded sample handler.
    Sample,
}

/// One server of an upstream. The state outlives a reload that keeps the server.
#[derive(Debug)]
pub struct Server {
    /// As the configuration spells it: the label `server`.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Address,
    /// An idle connection is kept this long.
    pub keepalive: Duration,
    /// Connections of held calls that wait for the next one.
    pub idle: Idle,
    up: AtomicBool,
}

impl Server {
    /// A server that is taken to be up until a connect fails.
    pub fn new(name: &str, address: Address) -> Server {
        Server {
            name: name.into(),
            address,
            keepalive: KEEPALIVE,
            idle: Idle::default(),
            up: AtomicBool::new(true),
        }
    }

    /// Whether the last connect or check succeeded.
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Tells how a connect or check went.
    pub fn set_up(&self, up: bool) {
        // Read first: in the common case nothing changes and the cache line stays shared.
        if self.is_up() != up {
            self.up.store(up, Ordering::Relaxed);
        }
    }
}

/// A named group of servers that serve the same handlers.
#[derive(Debug)]
pub struct Upstream {
    /// The label `upstream`.
    pub name: Arc<str>,
    /// Never empty.
    pub servers: Vec<Arc<Server>>,
    /// For one connect.
    pub connect_timeout: Duration,
    /// The longest silence while the answer is awaited or read.
    pub timeout: Duration,
    turn: AtomicUsize,
}

impl Upstream {
    /// An upstream whose first server takes the first turn.
    pub fn new(
        name: &str,
        servers: Vec<Arc<Server>>,
        connect_timeout: Duration,
        timeout: Duration,
    ) -> Upstream {
        Upstream {
            name: name.into(),
            servers,
            connect_timeout,
            timeout,
            turn: AtomicUsize::new(0),
        }
    }
}

/// The servers that one request may try, in order: all of its upstream, each once, beginning with
/// the one whose turn it is.
#[derive(Clone, Debug)]
pub struct Target {
    upstream: Arc<Upstream>,
    first: usize,
    tried: usize,
}

impl Target {
    /// Takes a turn.
    pub fn take(upstream: &Arc<Upstream>) -> Target {
        Target {
            upstream: upstream.clone(),
            first: upstream.turn.fetch_add(1, Ordering::Relaxed),
            tried: 0,
        }
    }

    /// Whose servers they are.
    pub fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// The server to connect to now.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.upstream.servers.get(self.index()?)
    }

    /// For one connect.
    pub fn connect_timeout(&self) -> Duration {
        self.upstream.connect_timeout
    }

    /// The longest silence while the answer is awaited or read.
    pub fn timeout(&self) -> Duration {
        self.upstream.timeout
    }

    fn index(&self) -> Option<usize> {
        let all = self.upstream.servers.len();
        self.first.wrapping_add(self.tried).checked_rem(all)
    }

    /// After a failed connect: whether there is a server that was not tried yet, which is then the
    /// one to connect to.
    pub fn try_next(&mut self) -> bool {
        self.tried += 1;
        self.tried < self.upstream.servers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_take_turns_and_each_is_tried_once() {
        let servers = ["a", "b", "c"].map(|name| Arc::new(Server::new(name, Address::Sample)));
        let second = Duration::from_secs(1);
        let upstream = Arc::new(Upstream::new("u", servers.to_vec(), second, second));
        let mut seen = Vec::new();
        for _ in 0..2 {
            let mut target = Target::take(&upstream);
            seen.push(target.server().unwrap().name.to_string());
            while target.try_next() {
                seen.push(target.server().unwrap().name.to_string());
            }
        }
        assert_eq!(seen, ["a", "b", "c", "b", "c", "a"]);
    }
}
