//! A listener: each connection is counted when it is accepted, says whose it is where a load balancer has to,
//! shakes hands within its time, and goes on to what is spoken on it.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use ipnet::IpNet;
use log::debug;
use pingora::apps::ServerApp;
use pingora::listeners::tls::Acceptor;
use pingora::protocols::{ALPN, Ssl as _, Stream};
use pingora::server::ShutdownWatch;
use prometheus::IntCounter;
use tokio::time::{Instant, timeout, timeout_at};

use super::front::Front;
use super::pace::Paced;
use super::plain::{self, is_plain};
use super::proxy_protocol::{self, Fault};
use super::{http1, http2};
use crate::telemetry::metrics::Closed;
use crate::upstream::caller::Peer;

/// One listener.
pub struct Listener {
    /// What all of them share.
    pub front: Arc<Front>,
    /// Whose connections begin with the PROXY protocol.
    pub balancers: Vec<IpNet>,
    /// How connections begin, or go on behind that.
    pub protocol: Protocol,
}

/// How the connections of a listener begin.
pub enum Protocol {
    /// With HTTP; with `h2c`, a connection may begin with the HTTP/2 preface.
    Plain {
        /// Whether it may.
        h2c: bool,
    },
    /// With a TLS handshake, which says what is spoken.
    Tls {
        /// Shakes hands.
        acceptor: Box<Acceptor>,
        /// Handshakes that failed.
        failed: IntCounter,
    },
}

/// Counts a connection while it is open.
struct Counted<'s>(&'s Front);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.process.metrics.connections_open.dec();
    }
}

#[async_trait]
impl ServerApp for Listener {
    async fn process_new(self: &Arc<Self>, stream: Stream, stopping: &ShutdownWatch) -> Option<Stream> {
        let front = &self.front;
        let before = front.open.fetch_add(1, Ordering::Relaxed);
        front.process.metrics.connections_open.inc();
        let _counted = Counted(front);
        let closed = match before < front.rules.max_connections {
            true => self.serve(stream, stopping).await,
            false => Closed::Limit,
        };
        front.process.metrics.connection_closed(closed).inc();
        None
    }
}

impl Listener {
    async fn serve(&self, stream: Stream, stopping: &ShutdownWatch) -> Closed {
        let front = &self.front;
        let connected = address_of(&stream);
        let (stream, address) = match self.is_balancer(connected) {
            false => (stream, connected),
            true => {
                let told = timeout(front.rules.header_timeout, proxy_protocol::read(stream));
                match told.await.unwrap_or(Err(Fault::TooSlow)) {
                    Ok((stream, told)) => (stream, told.unwrap_or(connected)),
                    Err(fault) => {
                        debug!("PROXY protocol from {connected}: {fault}");
                        return Closed::ProxyProtocol;
                    }
                }
            }
        };
        let deadline = Instant::now() + front.rules.header_timeout;
        let mut stream = stream;
        if let Protocol::Tls { failed, .. } = &self.protocol
            && timeout_at(deadline, is_plain(&mut stream)).await.unwrap_or(false)
        {
            failed.inc();
            debug!("plain HTTP where TLS is spoken");
            plain::tell(stream).await;
            return Closed::Handshake;
        }
        let paced = Paced::new(stream, front.rules.write_timeout);
        let stalled = paced.stalled();
        let closed = match &self.protocol {
            Protocol::Plain { h2c } => {
                let peer = Peer { address, tls: false };
                http1::serve(front, Box::new(paced), peer, *h2c, stopping).await
            }
            Protocol::Tls { acceptor, failed } => {
                let peer = Peer { address, tls: true };
                match timeout_at(deadline, acceptor.tls_handshake(paced)).await {
                    Ok(Ok(stream)) if stream.selected_alpn_proto() == Some(ALPN::H2) => {
                        http2::serve(front, Box::new(stream), peer, stopping).await
                    }
                    Ok(Ok(stream)) => http1::serve(front, Box::new(stream), peer, false, stopping).await,
                    Ok(Err(error)) => {
                        failed.inc();
                        debug!("TLS handshake failed: {error}");
                        Closed::Handshake
                    }
                    Err(_) => {
                        failed.inc();
                        debug!("TLS handshake took too long");
                        Closed::Handshake
                    }
                }
            }
        };
        match stalled.is_so() {
            true => Closed::WriteTimeout,
            false => closed,
        }
    }
}

impl Listener {
    fn is_balancer(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.balancers.iter().any(|network| network.contains(&address))
    }
}

fn address_of(stream: &Stream) -> IpAddr {
    let digest = stream.get_socket_digest();
    let address = digest.and_then(|digest| Some(digest.peer_addr()?.as_inet()?.ip()));
    address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}
