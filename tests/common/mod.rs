//! What every test of this folder stands on: a real gateway process, a recording upstream, a client
//! that sends bytes as they are, and the matchers for metrics and log lines.
//!
//! Nothing here sleeps to wait for something, and no port is chosen here: everything binds port 0 and
//! tells what it got. `PATIENCE` only says when a thing that should have happened is given up.

pub mod carrier;
pub mod case;
pub mod client;
pub mod forms;
pub mod frames;
pub mod gateway;
pub mod h2;
pub mod identity;
pub mod load;
pub mod metrics;
pub mod oauth;
pub mod php;
pub mod proxy;
pub mod request;
pub mod servers;
pub mod store;
pub mod upstream;

use std::time::Duration;

pub use carrier::{Carrier, Got};
pub use client::{Conn, Response};
pub use gateway::{Gateway, Setup};
pub use metrics::Metrics;
pub use request::{Body, Request};
pub use upstream::{Received, Reply, Upstream};

/// After this long, something that did not happen is a failure.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes as a reader of a failure wants to see them.
pub fn shown(bytes: &[u8]) -> String {
    const MOST: usize = 2000;
    let cut = &bytes[..bytes.len().min(MOST)];
    let more = if bytes.len() > MOST {
        format!("... ({} bytes)", bytes.len())
    } else {
        String::new()
    };
    format!("{}{more}", cut.escape_ascii())
}

/// A name under which nothing listens, held for as long as the value lives: bound, never listening, so
/// that a connect is refused and nobody else can get the port.
pub struct DeadServer(tokio::net::TcpSocket);

impl DeadServer {
    pub fn new() -> DeadServer {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        DeadServer(socket)
    }

    pub fn address(&self) -> std::net::SocketAddr {
        self.0.local_addr().unwrap()
    }

    /// Somebody listens there from now on.
    pub fn revive(self) -> Upstream {
        let listening = h2::run(async move { self.0.listen(128).unwrap().into_std().unwrap() });
        listening.set_nonblocking(false).unwrap();
        Upstream::on(listening)
    }
}
