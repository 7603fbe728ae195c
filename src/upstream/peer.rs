//! A server becomes Pingora's `HttpPeer`.

use std::fmt;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::Duration;

use pingora::protocols::l4::socket::SocketAddr;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy, Peer, PeerOptions};
use pingora::{Error, ErrorType, Result};

use super::pool::{Address, Server, Upstream};
use super::sample;

/// An idle connection is kept this long. Below Apache's default KeepAliveTimeout of 5 s, so that a
/// request is not sent into a connection that the handler's server is just closing.
const IDLE: Duration = Duration::from_secs(4);

/// The peer of a server with the timeouts of its upstream.
pub fn of(server: &Server, upstream: &Upstream) -> Result<HttpPeer> {
    let mut peer = match &server.address {
        Address::Inet(address) => HttpPeer::new(*address, false, String::new()),
        Address::Sample => {
            let address = sample::address()
                .map_err(|e| Error::because(ErrorType::ConnectError, "sample handler", e))?;
            HttpPeer::new(address, false, String::new())
        }
        Address::Unix(path) => {
            let path = path
                .to_str()
                .ok_or_else(|| Error::explain(ErrorType::ConnectError, "socket path"))?;
            HttpPeer::new_uds(path, false, String::new())?
        }
    };
    let options = &mut peer.options;
    options.connection_timeout = Some(upstream.connect_timeout);
    options.total_connection_timeout = Some(upstream.connect_timeout);
    options.read_timeout = Some(upstream.timeout);
    options.write_timeout = Some(upstream.timeout);
    options.idle_timeout = Some(IDLE);
    // The bytes after an Upgrade stay HTTP (RFC 9110 7.8 lets a server ignore it).
    options.http_upstream_request_policy = HttpUpstreamRequestPolicy::deny_upgrades();
    Ok(peer)
}

/// The same, made once and shared by all requests.
#[derive(Clone, Debug)]
pub struct PooledPeer(Arc<Prepared>);

#[derive(Debug)]
struct Prepared {
    peer: HttpPeer,
    reuse_hash: u64,
}

impl PooledPeer {
    /// Keeps the peer and the key of its connections.
    pub fn new(peer: HttpPeer) -> PooledPeer {
        let reuse_hash = peer.reuse_hash();
        PooledPeer(Arc::new(Prepared { peer, reuse_hash }))
    }
}

impl fmt::Display for PooledPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.peer.fmt(f)
    }
}

impl Peer for PooledPeer {
    fn address(&self) -> &SocketAddr {
        self.0.peer.address()
    }

    fn tls(&self) -> bool {
        self.0.peer.tls()
    }

    fn sni(&self) -> &str {
        self.0.peer.sni()
    }

    fn reuse_hash(&self) -> u64 {
        self.0.reuse_hash
    }

    fn get_peer_options(&self) -> Option<&PeerOptions> {
        self.0.peer.get_peer_options()
    }

    /// The pool hands out the very stream that was put in under the key, and the key holds the address:
    /// asking the kernel again, for each request, would tell nothing new.
    fn matches_fd<V: AsRawFd>(&self, _: V) -> bool {
        true
    }
}
