//! Who is calling: the client behind trusted proxies, the id of the request, the trace it belongs to.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use crate::request::byte_set::hex;

const TRACE: HeaderName = HeaderName::from_static("traceparent");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Characters of a `traceparent`, version 00.
const TRACEPARENT: usize = 55;

/// What the connection itself says of the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer {
    /// The other end of the connection.
    pub address: IpAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
}

impl Peer {
    /// Of the connection.
    pub const fn scheme(self) -> &'static str {
        if self.tls { "https" } else { "http" }
    }
}

/// The peers whose forwarding headers are believed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// The networks of `trusted_proxies`.
    pub fn new(networks: Vec<IpNet>) -> TrustedProxies {
        TrustedProxies(networks)
    }

    fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// Who is calling, for the log and for the headers of every route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The rightmost address that is not a trusted proxy.
    pub client: IpAddr,
    /// Whether that is a trusted proxy all the same: it names nobody behind it.
    pub client_is_proxy: bool,
    /// Kept from a trusted peer, else made: letters, digits, `-`, `_` and `.`.
    pub request_id: String,
    /// Whether a trusted peer began the trace.
    pub traceparent_received: bool,
    /// Whether a peer that is not believed said another scheme than its connection has: a proxy that is
    /// missing in `trusted_proxies`, most of all.
    pub scheme_replaced: bool,
    traceparent: Option<String>,
    trusted: bool,
}

impl Caller {
    /// Reads the forwarding headers of a trusted peer; `fresh` supplies 16 random bytes for an id.
    pub fn of(
        peer: Peer,
        headers: &HeaderMap,
        trusted: &TrustedProxies,
        mut fresh: impl FnMut() -> [u8; 16],
    ) -> Caller {
        let is_trusted = trusted.contains(peer.address);
        let kept = |name: &HeaderName| match is_trusted {
            true => headers.get(name)?.to_str().ok(),
            false => None,
        };
        let received = kept(&TRACE).filter(|value| is_traceparent(value));
        let request_id = match kept(&REQUEST_ID).filter(|id| is_request_id(id)) {
            Some(kept) => kept.to_owned(),
            None => {
                let mut made = String::with_capacity(32);
                push_hex(&mut made, fresh());
                made
            }
        };
        let client = match is_trusted {
            true => rightmost_untrusted(peer, headers, trusted),
            false => peer.address.to_canonical(),
        };
        Caller {
            client,
            client_is_proxy: is_trusted && trusted.contains(client),
            request_id,
            traceparent_received: received.is_some(),
            scheme_replaced: !is_trusted
                && headers
                    .get(&X_FORWARDED_PROTO)
                    .is_some_and(|said| !said.as_bytes().eq_ignore_ascii_case(peer.scheme().as_bytes())),
            traceparent: received.map(str::to_owned),
            trusted: is_trusted,
        }
    }

    /// Whether the peer is one whose forwarding headers are believed.
    pub fn is_from_trusted(&self) -> bool {
        self.trusted
    }

    /// What the upstream is told: kept from a trusted peer, or begun here.
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Begins a trace, sampled, unless a trusted peer has begun it; `fresh` supplies 16 random bytes for an id.
    /// Returns its traceparent.
    pub fn begin_trace(&mut self, mut fresh: impl FnMut() -> [u8; 16]) -> &str {
        self.traceparent.get_or_insert_with(|| {
            let (trace, [span @ .., _, _, _, _, _, _, _, _]) = (fresh(), fresh());
            let span: [u8; 8] = span;
            let mut made = String::with_capacity(TRACEPARENT);
            made.push_str("00-");
            push_hex(&mut made, trace);
            made.push('-');
            push_hex(&mut made, span);
            made.push_str("-01");
            made
        })
    }

    /// For a span of ours: it becomes the parent of what the upstream does. The trace stays the same.
    pub fn set_traceparent(&mut self, traceparent: String) {
        self.traceparent = Some(traceparent);
    }

    /// The trace id of `traceparent`, 32 hex digits; empty where the request belongs to no trace.
    pub fn trace_id(&self) -> &str {
        let traceparent = self.traceparent().unwrap_or_default();
        traceparent.get(3..35).unwrap_or_default()
    }
}

fn rightmost_untrusted(peer: Peer, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let mut client = peer.address.to_canonical();
    let lines: Vec<_> = headers.get_all(&X_FORWARDED_FOR).iter().collect();
    for hop in lines
        .iter()
        .rev()
        .flat_map(|line| line.as_bytes().rsplit(|&b| b == b','))
    {
        // What is no address was written by someone who is not to be believed further.
        let Some(address) = std::str::from_utf8(hop)
            .ok()
            .and_then(|hop| hop_address(hop.trim()))
        else {
            break;
        };
        client = address.to_canonical();
        if !trusted.contains(client) {
            break;
        }
    }
    client
}

/// An address, alone or with the port that some balancers write (`203.0.113.9:4711`, `[2001:db8::9]:4711`).
fn hop_address(hop: &str) -> Option<IpAddr> {
    let alone = || hop.parse().ok();
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    let in_brackets = || hop.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok();
    alone()
        .or_else(with_port)
        .or_else(|| in_brackets().map(IpAddr::V6))
}

fn is_request_id(id: &str) -> bool {
    (1..=128).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// W3C Trace Context, version 00.
fn is_traceparent(value: &str) -> bool {
    let parts: Vec<_> = value.split('-').collect();
    let is_hex = |part: &str, length: usize| {
        part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_zero = |part: &str| part.bytes().all(|b| b == b'0');
    matches!(parts.as_slice(), ["00", trace, parent, flags]
        if is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2) && !is_zero(trace) && !is_zero(parent))
}

fn push_hex<const N: usize>(out: &mut String, bytes: [u8; N]) {
    out.push_str(std::str::from_utf8(hex(bytes).as_flattened()).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_found_behind_proxies_that_write_ports() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let peer = Peer {
            address: IpAddr::from([10, 0, 0, 1]),
            tls: false,
        };
        for (chain, client) in [
            ("203.0.113.9", "203.0.113.9"),
            ("203.0.113.9:4711", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9:4711, 10.0.0.2:80", "203.0.113.9"),
            ("2001:db8::9", "2001:db8::9"),
            ("[2001:db8::9]:4711", "2001:db8::9"),
            ("[2001:db8::9]", "2001:db8::9"),
            // No address: whoever wrote it is not believed further.
            ("6.6.6.6, 203.0.113.9:x", "10.0.0.1"),
            ("unknown", "10.0.0.1"),
        ] {
            let headers = [("x-forwarded-for", chain), ("x-forwarded-proto", "HTTP")];
            let headers: HeaderMap = headers
                .into_iter()
                .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
                .collect();
            let caller = Caller::of(peer, &headers, &trusted, || [0; 16]);
            assert_eq!(caller.client, client.parse::<IpAddr>().unwrap(), "{chain}");
            let stranger = Caller::of(peer, &headers, &TrustedProxies::default(), || [0; 16]);
            assert!(!stranger.scheme_replaced, "the scheme's case means nothing");
        }
    }
}
