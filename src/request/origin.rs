//! An origin (RFC 6454): the scheme and the authority of a page.

use super::authority::{Authority, Host};
use super::byte_set::{ByteSet, byte_set};
use super::field::{Domain, Invalid, Protocol};

/// A scheme and a `host[:port]`, both in lower case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    scheme: Protocol,
    authority: Domain,
}

impl Origin {
    /// Of a page whose scheme and authority are known.
    pub const fn new(scheme: Protocol, authority: Domain) -> Origin {
        Origin { scheme, authority }
    }

    /// Takes what browsers write into `Origin` for a page of http or https; `null` is none.
    ///
    /// # Errors
    /// Any other value.
    pub fn parse(bytes: &[u8]) -> Result<Origin, Invalid> {
        let (scheme, authority) = if let Some(rest) = bytes.strip_prefix(b"https://") {
            (Protocol::Https, rest)
        } else {
            (Protocol::Http, bytes.strip_prefix(b"http://").ok_or(Invalid)?)
        };
        Ok(Origin::new(scheme, Domain::parse(authority)?))
    }

    /// Whether its host is that of the domain, whatever the ports are.
    pub fn has_host_of(&self, domain: &Domain) -> bool {
        Authority::parse(self.authority.as_str()).is_some_and(|own| domain.has_host(own.host))
    }

    /// Whether it is that of pages under this `Host`.
    pub fn is_at(&self, host: &[u8]) -> bool {
        host.eq_ignore_ascii_case(self.authority.as_str().as_bytes())
    }

    /// As a source expression of a Content-Security-Policy. None for a host that none can spell (CSP 3, 2.3.1): an
    /// IPv6 address, a name with `_` in it, or with a dot at its end.
    pub fn source(&self) -> Option<String> {
        self.name()?;
        Some(format!("{}://{}", self.scheme.scheme(), self.authority.as_str()))
    }

    /// The same for whoever may err about the port: of a page of https at its usual port there is none to err
    /// about. In a policy http stands for https too (CSP 3, 6.7.2.8).
    pub fn source_at_any_port(&self) -> Option<String> {
        if self.scheme == Protocol::Https && !self.authority.has_port() {
            return self.source();
        }
        Some(format!("{}://{}:*", self.scheme.scheme(), self.name()?))
    }

    /// Its host, as a policy can spell it.
    fn name(&self) -> Option<&str> {
        // Nothing that could end the expression, the directive or the policy, and no wildcard.
        static IN_SOURCES: ByteSet = byte_set!(b => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.'));
        match Authority::parse(self.authority.as_str())?.host {
            Host::Name(name) if IN_SOURCES.has_all(name.as_bytes()) && !name.ends_with('.') => Some(name),
            Host::Name(_) | Host::V6(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_a_scheme_and_an_authority() {
        for (given, want) in [
            ("https://portal.example", "https://portal.example"),
            ("https://Portal.Example:8443", "https://portal.example:8443"),
            ("http://10.0.0.7:8080", "http://10.0.0.7:8080"),
        ] {
            let origin = Origin::parse(given.as_bytes()).unwrap();
            assert_eq!(origin.source().as_deref(), Some(want));
        }
        for unspeakable in [
            "https://[2001:db8::1]",
            "https://portal.example.",
            "http://b24_dev:8080",
        ] {
            let origin = Origin::parse(unspeakable.as_bytes()).unwrap();
            assert_eq!((origin.source(), origin.source_at_any_port()), (None, None));
        }
        for bad in [
            "",
            "null",
            "portal.example",
            "ftp://portal.example",
            "HTTPS://portal.example",
            "https://",
            "https://portal.example/",
            "https://user@portal.example",
            "https://portal.example *",
            "https://portal.example;script-src *",
            "https://portal.example,x",
            "https://*.example",
            "https://portal.example\r\nX: y",
            "https://'self'",
        ] {
            assert_eq!(Origin::parse(bad.as_bytes()), Err(Invalid), "{bad:?}");
        }
    }

    #[test]
    fn hosts_are_compared_without_ports() {
        let origin = Origin::parse(b"https://crm.local").unwrap();
        let domain = |text: &str| Domain::parse(text.as_bytes()).unwrap();
        assert!(origin.has_host_of(&domain("CRM.local:8080")));
        assert!(!origin.has_host_of(&domain("crm.local.evil.example")));
        let address = Origin::parse(b"https://[2001:db8::1]:8443").unwrap();
        assert!(address.has_host_of(&domain("[2001:DB8:0::1]")));
    }
}
