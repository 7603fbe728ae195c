//! A connection that speaks HTTP/1: it waits for each head with a deadline, one request after another.

pub mod client;
pub mod incoming;
pub mod wire;

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use tokio::time::timeout;

use super::drain::drains;
use super::exchange::exchange;
use super::front::Front;
use super::http2;
use super::waits::within;
use crate::process::request::{Request, Sent};
use crate::request::head::fault::{HeadFault, Malformed};
use crate::request::head::{HeadScan, RequestHead, Version};
use crate::response::rejection::Rejection;
use crate::telemetry::metrics::Closed;
use crate::upstream::caller::Peer;
use client::Http1Client;
use wire::{READ_AHEAD, Wire};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the wait for a head ends with.
enum Arrived {
    /// So many bytes are a head.
    Head(usize),
    /// What came can not become one.
    Refused(HeadFault),
    /// The preface of HTTP/2.
    Http2,
    /// Nothing more comes.
    Ended(Closed),
}

/// Serves a connection to its end. `h2c`: it may begin with the HTTP/2 preface.
pub async fn serve(
    front: &Arc<Front>,
    stream: Stream,
    peer: Peer,
    h2c: bool,
    stopping: &ShutdownWatch,
) -> Closed {
    let mut wire = Box::new(Wire::new(stream));
    let mut is_first = true;
    loop {
        let arrived = next_head(front, &mut wire, is_first, h2c && is_first, stopping.clone()).await;
        is_first = false;
        let (head, at) = match arrived {
            Arrived::Head(length) => (wire.take(length), Instant::now()),
            Arrived::Refused(fault) => return refuse_head(front, wire, fault, &[], peer).await,
            Arrived::Http2 => {
                return http2::serve(front, wire, peer, stopping).await;
            }
            Arrived::Ended(closed) => return closed,
        };
        let parsed = match RequestHead::parse(&head) {
            Ok(parsed) => parsed,
            Err(fault) => return refuse_head(front, wire, fault, &head, peer).await,
        };
        let client = Http1Client::new(wire, &parsed);
        // Boxed: what a request needs is freed with it, and taken by the next one on whichever connection while it is
        // still in the processor's cache.
        match Box::pin(exchange(&**front, client, Box::new(parsed), peer, at)).await {
            Ok(at_head) => wire = at_head,
            Err(closed) => return closed,
        }
    }
}

async fn next_head(
    front: &Front,
    wire: &mut Wire,
    is_first: bool,
    may_be_http2: bool,
    mut stopping: ShutdownWatch,
) -> Arrived {
    if wire.ahead().is_empty() {
        let first = timeout(front.rules.keepalive_timeout, wire.read_ahead(READ_AHEAD));
        let first = tokio::select! {
            biased;
            first = first => first,
            () = drains(&mut stopping, || is_first) => return Arrived::Ended(Closed::Drain),
        };
        match first {
            Err(_) => return Arrived::Ended(Closed::Idle),
            Ok(Ok(0) | Err(_)) => return Arrived::Ended(Closed::Client),
            Ok(Ok(_)) => {}
        }
    }
    let (rest, _) = within(front.rules.header_timeout, pin!(rest_of_head(wire, may_be_http2))).await;
    rest.unwrap_or(Arrived::Ended(Closed::HeaderTimeout))
}

async fn rest_of_head(wire: &mut Wire, may_be_http2: bool) -> Arrived {
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
                Ok(Some(head)) => return Arrived::Head(head),
                Ok(None) => {}
                Err(fault) => return Arrived::Refused(fault),
            }
        }
        match wire.read_ahead(READ_AHEAD).await {
            Ok(0) | Err(_) => return Arrived::Ended(Closed::Client),
            Ok(_) => {}
        }
    }
}

fn look(scan: &mut HeadScan, ahead: &[u8], may_skip_line: bool) -> Result<Option<usize>, HeadFault> {
    match ahead.first() {
        None => Ok(None),
        Some(b'\r') if may_skip_line && ahead.len() == 1 => Ok(None),
        // No method begins so: a TLS handshake, say, is refused at its first byte.
        Some(b) if !b.is_ascii_graphic() => Err(Malformed::RequestLine.into()),
        Some(_) => scan.advance(ahead),
    }
}

/// Answers a head that is refused; the connection ends with it. `head` is what was taken of it.
async fn refuse_head(
    front: &Front,
    mut wire: Box<Wire>,
    fault: HeadFault,
    head: &[u8],
    peer: Peer,
) -> Closed {
    let (method, headers) = what_it_tells(if head.is_empty() { wire.ahead() } else { head });
    let mut request = Request::begin(&front.process, &method, &HeaderMap::new(), peer, Instant::now());
    request.own_time_ends();
    let rejection = Rejection::from(fault);
    let (reply, body) = request.refusal(&rejection, &method, &headers, b"");
    let mut out = Vec::with_capacity(1024);
    reply.append_http1(&mut out, Version::Http11, false);
    out.extend_from_slice(&body);
    match wire.send(&out).await {
        Ok(()) => request.refused(
            rejection,
            Sent {
                status: Some(reply.status.as_u16()),
                bytes: body.len(),
            },
        ),
        Err(_) => request.refused(Rejection::ClientClosed, Sent::default()),
    }
    wire.refuse();
    wire.close().await;
    Closed::Refused
}

/// What the look of a refusal depends on.
const LOOKS: [HeaderName; 2] = [header::ACCEPT, header::ACCEPT_LANGUAGE];

/// What a refused head still tells, read leniently: it only decides how the answer looks.
fn what_it_tells(head: &[u8]) -> (Method, HeaderMap) {
    let mut lines = head.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next().unwrap_or_default();
    let method = first.split(|&b| b == b' ').next().unwrap_or_default();
    let told = lines.take_while(|line| !line.is_empty()).filter_map(|line| {
        let (name, value) = line.split_at_checked(line.iter().position(|&b| b == b':')?)?;
        let known = LOOKS
            .iter()
            .find(|known| name.eq_ignore_ascii_case(known.as_str().as_bytes()))?;
        let value = Bytes::copy_from_slice(value.get(1..)?.trim_ascii());
        Some((known.clone(), HeaderValue::from_maybe_shared(value).ok()?))
    });
    let unknown = || Method::from_bytes(b"_OTHER").unwrap_or_default();
    (
        Method::from_bytes(method).unwrap_or_else(|_| unknown()),
        told.collect(),
    )
}
