//! The PROXY protocol, versions 1 and 2: what a load balancer that passes TCP on sends before the first byte of
//! a connection, to say whose it is.
//!
//! Where a preamble ends is found here, and nothing behind it is taken; the `ppp` crate reads it.

use std::fmt;
use std::net::IpAddr;

use bytes::BytesMut;
use pingora::protocols::Stream;
use pingora::protocols::l4::stream::Stream as Socket;
use ppp::{v1, v2};
use tokio::io::AsyncReadExt;

const V1: &[u8] = b"PROXY ";
/// The longest line of version 1 that its specification allows, in bytes.
const V1_LONGEST: usize = 107;
const V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command LOCAL.
const V2_LOCAL: u8 = 0x20;
/// Signature, command, family, length: in bytes.
const V2_FIXED: usize = 16;
/// The longest of version 2, in bytes. Addresses are at most 216; what else balancers add is for others.
const V2_LONGEST: usize = 4096;

/// Why a connection does not begin as it has to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It begins with something else.
    Absent,
    /// It ended within the preamble.
    Cut,
    /// The preamble has the signature, and is none.
    Malformed,
    /// It is longer than a preamble may be.
    TooLong,
    /// It did not come in time.
    TooSlow,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::Absent => "the connection begins without it",
            Fault::Cut => "the connection ended within it",
            Fault::Malformed => "it is malformed",
            Fault::TooLong => "it is too long",
            Fault::TooSlow => "it took too long",
        })
    }
}

/// Reads the preamble of a connection; its stream then stands behind it. Also returns the client's address, or
/// none where the balancer speaks for itself (a health check) or of a client that has no such address.
///
/// # Errors
/// Where the connection does not begin with a sound preamble.
pub async fn read(stream: Stream) -> Result<(Stream, Option<IpAddr>), Fault> {
    // A listener's streams are sockets: nothing was put around them yet.
    let mut socket = stream
        .into_any()
        .downcast::<Socket>()
        .map_err(|_| Fault::Absent)?;
    let mut ahead = BytesMut::with_capacity(256);
    let length = loop {
        if let Some(length) = length(&ahead)? {
            break length;
        }
        match socket.read_buf(&mut ahead).await {
            Ok(0) | Err(_) => return Err(Fault::Cut),
            Ok(_) => {}
        }
    };
    let preamble = ahead.split_to(length);
    socket.rewind(&ahead);
    Ok((socket, client(&preamble)?))
}

/// How long the preamble is that these bytes begin with, in bytes; none while that, or the rest of it, is missing.
///
/// # Errors
/// Where they can not become one.
fn length(ahead: &[u8]) -> Result<Option<usize>, Fault> {
    let begins = |signature: &[u8]| ahead.starts_with(signature) || signature.starts_with(ahead);
    if begins(V2) {
        let Some(&[high, low]) = ahead.get(V2_FIXED - 2..V2_FIXED) else {
            return Ok(None);
        };
        let length = V2_FIXED + usize::from(u16::from_be_bytes([high, low]));
        return match length <= V2_LONGEST {
            true => Ok((length <= ahead.len()).then_some(length)),
            false => Err(Fault::TooLong),
        };
    }
    if !begins(V1) {
        return Err(Fault::Absent);
    }
    let line_end = ahead.iter().take(V1_LONGEST).position(|&b| b == b'\n');
    match line_end {
        Some(at) => Ok(Some(at + 1)),
        None if ahead.len() < V1_LONGEST => Ok(None),
        None => Err(Fault::TooLong),
    }
}

/// The client that a whole preamble tells of. What is not TCP's over IP is accepted and not believed, as the
/// specification wants it.
fn client(preamble: &[u8]) -> Result<Option<IpAddr>, Fault> {
    if preamble.starts_with(V1) {
        let header = v1::Header::try_from(preamble).map_err(|_| Fault::Malformed)?;
        // It reads up to a carriage return.
        if header.header.len() != preamble.len() {
            return Err(Fault::Malformed);
        }
        return Ok(match header.addresses {
            v1::Addresses::Tcp4(told) => Some(told.source_address.into()),
            v1::Addresses::Tcp6(told) => Some(told.source_address.into()),
            v1::Addresses::Unknown => None,
        });
    }
    // Whatever family it names, the balancer speaks for itself.
    if preamble.get(V2.len()) == Some(&V2_LOCAL) {
        return Ok(None);
    }
    let header = v2::Header::try_from(preamble).map_err(|_| Fault::Malformed)?;
    Ok(match (header.command, header.protocol, header.addresses) {
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv4(told)) => {
            Some(told.source_address.into())
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::IPv6(told)) => {
            Some(told.source_address.into())
        }
        (v2::Command::Proxy, v2::Protocol::Stream, v2::Addresses::Unix(_) | v2::Addresses::Unspecified)
        | (v2::Command::Proxy, v2::Protocol::Datagram | v2::Protocol::Unspecified, _)
        | (v2::Command::Local, _, _) => None,
    })
}

#[cfg(test)]
mod tests;
