//! The one grammar of `host[:port]` (RFC 3986 3.2.2 and 3.2.3, without user part).

use std::net::Ipv6Addr;

/// What stands before the port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Host<'a> {
    /// A name or an IPv4 address, as it stands; which names are sound is for who reads it to say.
    Name(&'a str),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

/// `host` or `host:port`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Authority<'a> {
    /// The host.
    pub host: Host<'a>,
    /// From 1 to 65535; none where there is no colon.
    pub port: Option<u16>,
}

impl<'a> Authority<'a> {
    /// Splits at the colon. None where the host is empty, an address in brackets is no IPv6 address, or the
    /// port is not a number from 1 to 65535 of at most five digits.
    pub fn parse(text: &'a str) -> Option<Authority<'a>> {
        let (host, after) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']')?;
                (Host::V6(address.parse().ok()?), after)
            }
            None => {
                let end = memchr::memchr(b':', text.as_bytes());
                let (name, after) = text.split_at(end.unwrap_or(text.len()));
                (Host::Name(name), after)
            }
        };
        let port = match after.strip_prefix(':') {
            None if after.is_empty() => None,
            None => return None,
            Some(digits) => Some(port(digits)?),
        };
        (host != Host::Name("")).then_some(Authority { host, port })
    }

    /// Whether both are one, where a port that is not there is this one.
    pub fn is_same(self, other: Authority<'_>, default_port: u16) -> bool {
        let is_same_host = match (self.host, other.host) {
            (Host::Name(one), Host::Name(other)) => one.eq_ignore_ascii_case(other),
            (Host::V6(one), Host::V6(other)) => one == other,
            (Host::Name(_), Host::V6(_)) | (Host::V6(_), Host::Name(_)) => false,
        };
        is_same_host && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }
}

fn port(digits: &str) -> Option<u16> {
    let is_number = digits.len() <= 5 && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|&port| is_number && port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_and_port_are_told_apart() {
        let parsed = |text| Authority::parse(text).map(|found| (found.host, found.port));
        assert_eq!(parsed("a.b:80"), Some((Host::Name("a.b"), Some(80))));
        assert_eq!(parsed("a"), Some((Host::Name("a"), None)));
        assert_eq!(
            parsed("[::1]:8080"),
            Some((Host::V6(Ipv6Addr::LOCALHOST), Some(8080)))
        );
        for text in [
            "", ":80", "a:", "a:0", "a:65536", "a:+1", "a:000080", "a:b", "a:1:2", "[::1", "[::1]x", "[a]",
            "::1",
        ] {
            assert_eq!(parsed(text), None, "{text:?}");
        }
    }
}
