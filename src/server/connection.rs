//! The door of a listener. It waits for each head with a deadline, judges it before the engine sees it,
//! and bounds how many connections there are and how long they may be idle.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use http::{HeaderValue, Method, header};
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream, ServerApp};
use pingora::connectors::TransportConnector;
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::protocols::{Shutdown as _, Stream};
use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;
use tokio::time::timeout;

use super::engine::{Arrival, Engine};
use super::exchange::{Call, Moment, RefusedHead, is_short, view};
use super::wire::Wire;
use crate::gateway::Gateway;
use crate::pipeline;
use crate::request::front_door::{self, Framing, HeadFault, HeadScan, MAX_HEADER_SECTION, Malformed};
use crate::request::head::PlainHead;
use crate::telemetry::access_log;
use crate::telemetry::metrics::{Closed, Metrics};
use crate::upstream::origin::Peer;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// For the first request of a connection that was accepted just before the gateway stopped accepting.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(1);

/// Bounds of all connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionRules {
    /// Connections of all listeners together.
    pub max_connections: usize,
    /// For a connection between requests.
    pub keepalive_timeout: Duration,
    /// From the first byte of a head to its last.
    pub header_timeout: Duration,
}

/// One listener's door.
pub struct Door {
    /// What every request goes through.
    pub gateway: Arc<Gateway>,
    /// The engine's proxy.
    pub proxy: Arc<HttpProxy<Engine>>,
    /// The engine's connections to upstreams, with their pool.
    pub connector: Arc<TransportConnector>,
    /// The engine for connections that speak HTTP/2.
    pub http2: Arc<Http2>,
    /// Bounds.
    pub rules: ConnectionRules,
    /// Whether plain connections may begin with the HTTP/2 preface.
    pub h2c: bool,
    /// Open connections of all doors.
    pub open: Arc<AtomicUsize>,
    /// Where connections are counted.
    pub metrics: Arc<Metrics>,
}

/// What the wait for a head ends with.
enum Arrived {
    Request { head: usize, framing: Framing },
    Refused(HeadFault),
    Http2,
    Gone(Closed),
}

/// Counts a connection while it is open.
struct Counted<'d>(&'d Door);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
        self.0.metrics.connections_open.dec();
    }
}

#[async_trait]
impl ServerApp for Door {
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        self.metrics.connections_open.inc();
        let _counted = Counted(self);
        let closed = if before < self.rules.max_connections {
            self.serve(stream, shutdown).await
        } else {
            Closed::Limit
        };
        self.metrics.connection_closed(closed).inc();
        None
    }
}

impl Door {
    async fn serve(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Closed {
        let peer = peer_of(&stream);
        let mut wire = Box::new(Wire::new(stream));
        let mut is_first = true;
        loop {
            let arrived = self.next_head(&mut wire, is_first, shutdown.clone()).await;
            is_first = false;
            let (head, framing) = match arrived {
                Arrived::Request { head, framing } => (wire.take(head), framing),
                Arrived::Refused(fault) => {
                    let refused = refused_head(fault, wire.ahead());
                    self.refuse_head(&mut wire, refused, self.moment(), peer).await;
                    wire.shutdown().await;
                    return Closed::Refused;
                }
                Arrived::Http2 => {
                    wire.open();
                    self.http2.process_new(wire, shutdown).await;
                    return Closed::Client;
                }
                Arrived::Gone(closed) => return closed,
            };
            let moment = self.moment();
            if let Some(plain) = PlainHead::parse(&head) {
                let opened = pipeline::open(&view(&plain, peer), moment.live.env());
                if is_short(&opened) {
                    let call = Call {
                        head: &plain,
                        opened,
                        framing,
                        peer,
                    };
                    match self.exchange(&mut wire, call, &moment).await {
                        None => continue,
                        Some(closed) => {
                            wire.shutdown().await;
                            return closed;
                        }
                    }
                }
            }
            wire.put_back(&head);
            match self
                .through_engine(wire, head.len(), framing, moment.at, shutdown)
                .await
            {
                Ok(at_head) => wire = at_head,
                Err(closed) => return closed,
            }
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            live: self.gateway.live.load_full(),
            at: Instant::now(),
        }
    }

    /// Lets the engine carry a request. The connection comes back if it may have another.
    async fn through_engine(
        &self,
        mut wire: Box<Wire>,
        head: usize,
        framing: Framing,
        at: Instant,
        shutdown: &ShutdownWatch,
    ) -> Result<Box<Wire>, Closed> {
        let prefix = wire.take_request(head, framing);
        let mut session = ServerSession::new_http1(wire);
        session.set_pipelined_prefix(prefix);
        session.set_connection_user_context(Some(Box::new(Arrival(at))));
        let reused = self.proxy.process_new_http(session, shutdown).await;
        let next = reused
            .map(ReusedHttpStream::consume)
            .and_then(|(stream, _)| stream.into_any().downcast().ok());
        match next {
            Some(at_head) if Wire::is_at_head(&at_head) => Ok(at_head),
            Some(_) => Err(Closed::Refused),
            None if *shutdown.borrow() => Err(Closed::Drain),
            None => Err(Closed::Client),
        }
    }

    async fn next_head(&self, wire: &mut Wire, is_first: bool, mut shutdown: ShutdownWatch) -> Arrived {
        if wire.ahead().is_empty() {
            let first = timeout(self.rules.keepalive_timeout, wire.read_ahead());
            let first = tokio::select! {
                biased;
                first = first => first,
                () = drains(&mut shutdown, is_first) => return Arrived::Gone(Closed::Drain),
            };
            match first {
                Err(_) => return Arrived::Gone(Closed::Idle),
                Ok(Ok(0) | Err(_)) => return Arrived::Gone(Closed::Client),
                Ok(Ok(_)) => {}
            }
        }
        match timeout(self.rules.header_timeout, self.rest_of_head(wire, is_first)).await {
            Ok(arrived) => arrived,
            Err(_) => Arrived::Gone(Closed::HeaderTimeout),
        }
    }

    async fn rest_of_head(&self, wire: &mut Wire, is_first: bool) -> Arrived {
        let may_be_http2 = is_first && (self.h2c || wire.is_http2_by_alpn());
        let mut scan = HeadScan::default();
        let mut may_skip_line = true;
        loop {
            let ahead = wire.ahead();
            if may_be_http2 && ahead.starts_with(PREFACE) {
                return Arrived::Http2;
            }
            let may_become_preface = may_be_http2 && PREFACE.starts_with(ahead);
            if !may_become_preface {
                // One empty line before a request is allowed (RFC 9112 2.2).
                if may_skip_line && ahead.starts_with(b"\r\n") {
                    may_skip_line = false;
                    wire.skip(2);
                    continue;
                }
                match look(&mut scan, ahead, may_skip_line) {
                    Ok(Some((head, framing))) => return Arrived::Request { head, framing },
                    Ok(None) => {}
                    Err(fault) => return Arrived::Refused(fault),
                }
            }
            match wire.read_ahead().await {
                Ok(0) | Err(_) => return Arrived::Gone(Closed::Client),
                Ok(_) => {}
            }
        }
    }
}

fn look(
    scan: &mut HeadScan,
    ahead: &[u8],
    may_skip_line: bool,
) -> Result<Option<(usize, Framing)>, HeadFault> {
    match ahead.first() {
        None => return Ok(None),
        Some(b'\r') if may_skip_line && ahead.len() == 1 => return Ok(None),
        // No method begins so: a TLS handshake, say, is refused at its first byte.
        Some(b) if !b.is_ascii_graphic() => return Err(Malformed::RequestLine.into()),
        Some(_) => {}
    }
    match scan.advance(ahead)? {
        None => Ok(None),
        Some(head) => {
            front_door::check(ahead.get(..head).unwrap_or_default()).map(|framing| Some((head, framing)))
        }
    }
}

/// What a refused head still tells, read leniently: it only decides how the answer looks.
fn refused_head(fault: HeadFault, ahead: &[u8]) -> RefusedHead {
    let mut lines = ahead.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next().unwrap_or_default();
    let method = first
        .split(|&b| b == b' ')
        .next()
        .and_then(|token| Method::from_bytes(token).ok());
    let accept = lines.take_while(|line| !line.is_empty()).find_map(|line| {
        let (name, value) = line.split_at_checked(7)?;
        name.eq_ignore_ascii_case(b"accept:")
            .then(|| HeaderValue::from_bytes(value.trim_ascii()).ok())?
    });
    RefusedHead {
        rejection: fault.into(),
        method: method.map_or("_OTHER", |method| access_log::known_method(&method)),
        headers: accept.into_iter().map(|value| (header::ACCEPT, value)).collect(),
    }
}

fn peer_of(stream: &Stream) -> Peer {
    let digest = stream.get_socket_digest();
    let address = digest.and_then(|digest| Some(digest.peer_addr()?.as_inet()?.ip()));
    Peer {
        address: address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        tls: stream.get_ssl_digest().is_some(),
    }
}

/// Resolves when the gateway drains, so that a connection without a request is closed. One that has not
/// had its first request yet was opened to make one: it gets a moment for it.
async fn drains(shutdown: &mut ShutdownWatch, is_first: bool) {
    // An error says that the sender is gone, which happens at the very end only.
    if shutdown.wait_for(|&drains| drains).await.is_err() {
        std::future::pending::<()>().await;
    }
    if is_first {
        tokio::time::sleep(FIRST_REQUEST_GRACE).await;
    }
}

/// The engine's own handling of HTTP/2 connections, with our bounds.
pub struct Http2 {
    proxy: Arc<HttpProxy<Engine>>,
    options: HttpServerOptions,
}

impl Http2 {
    /// A connection without streams is closed after `idle`.
    pub fn new(proxy: Arc<HttpProxy<Engine>>, idle: Duration) -> Http2 {
        let mut options = HttpServerOptions::default();
        // The door has seen the preface; on TLS the engine goes by ALPN.
        options.h2c = true;
        options.h2_idle_timeout = Some(idle);
        Http2 { proxy, options }
    }
}

#[async_trait]
impl HttpServerApp for Http2 {
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        self.proxy.process_new_http(session, shutdown).await
    }

    fn h2_options(&self) -> Option<H2Options> {
        let mut options = default_h2_options();
        // HPACK counts 32 bytes more for each line (RFC 9113 6.5.2).
        options.max_header_list_size(MAX_HEADER_SECTION as u32 + 32 * front_door::MAX_HEADER_LINES as u32);
        Some(options)
    }

    fn server_options(&self) -> Option<&HttpServerOptions> {
        Some(&self.options)
    }
}
