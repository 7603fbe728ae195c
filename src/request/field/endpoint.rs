//! The addresses that a call tells its handler to talk to. Handlers send tokens there, so a forged one is
//! a stolen portal: each is a plain URL, spelled so that every reader finds the same host in it.

use std::sync::Arc;

use super::values::{Domain, Invalid, Protocol, bounded, host_and_port};
use crate::request::authority::{Authority, Host};
use crate::request::byte_set::{ByteSet, byte_set};

/// `auth[client_endpoint]`: where the portal takes REST calls.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ClientEndpoint {
    /// Of the URL.
    pub scheme: Protocol,
}

impl ClientEndpoint {
    /// Takes an http or https URL without user part whose host is that of `domain`; where the domain is
    /// not known, of any host.
    ///
    /// # Errors
    /// Any other value.
    pub fn parse(bytes: &[u8], domain: Option<&Domain>) -> Result<ClientEndpoint, Invalid> {
        let url = Url::parse(bytes)?;
        match domain {
            Some(domain) if !domain.has_host(url.host) => Err(Invalid),
            Some(_) | None => Ok(ClientEndpoint { scheme: url.scheme }),
        }
    }
}

/// The hosts that `SERVER_ENDPOINT` may name (`[widget] server_endpoints`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ServerEndpoints {
    /// Whichever.
    Any,
    /// These; without ports.
    Listed(Arc<[Domain]>),
}

impl Default for ServerEndpoints {
    /// Bitrix24's own authorization servers.
    fn default() -> ServerEndpoints {
        const OURS: [&str; 3] = ["oauth.bitrix.info", "oauth.bitrix24.info", "oauth.bitrix24.tech"];
        let hosts = OURS.iter().filter_map(|host| Domain::parse(host.as_bytes()).ok());
        ServerEndpoints::Listed(hosts.collect())
    }
}

/// `SERVER_ENDPOINT` and `auth[server_endpoint]`: an https URL without user part to one of the hosts;
/// checked, not kept.
///
/// # Errors
/// Any other value.
pub fn check_server_endpoint(bytes: &[u8], allowed: &ServerEndpoints) -> Result<(), Invalid> {
    let url = Url::parse(bytes)?;
    let is_allowed = match allowed {
        ServerEndpoints::Any => true,
        ServerEndpoints::Listed(hosts) => hosts.iter().any(|listed| listed.has_host(url.host)),
    };
    (url.scheme == Protocol::Https && is_allowed)
        .then_some(())
        .ok_or(Invalid)
}

struct Url<'a> {
    scheme: Protocol,
    host: Host<'a>,
}

impl<'a> Url<'a> {
    /// `scheme://authority`, then nothing or a path. What readers of URLs are known to differ in is not
    /// taken: user parts, backslashes, white space, a query or fragment right behind the host, `@` and `:`
    /// that are no port, hosts that are escaped or not ASCII.
    fn parse(bytes: &'a [u8]) -> Result<Url<'a>, Invalid> {
        static IN_URLS: ByteSet =
            byte_set!(b => b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'<' | b'>' | b'\\' | b'`'));
        let text = bounded(bytes, 2048, &IN_URLS)?;
        let begins_with = |begin: &str| {
            let (given, rest) = text.split_at_checked(begin.len())?;
            given.eq_ignore_ascii_case(begin).then_some(rest)
        };
        let (scheme, rest) = [(Protocol::Https, "https://"), (Protocol::Http, "http://")]
            .into_iter()
            .find_map(|(scheme, begin)| Some((scheme, begins_with(begin)?)))
            .ok_or(Invalid)?;
        let end = memchr::memchr(b'/', rest.as_bytes());
        let (authority, _) = rest.split_at(end.unwrap_or(rest.len()));
        // As in DOMAIN, a colon without a port is none.
        let (_, Authority { host, .. }) = host_and_port(authority)?;
        Ok(Url { scheme, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(url: &str, domain: &str) -> Result<Protocol, Invalid> {
        let domain = Domain::parse(domain.as_bytes()).unwrap();
        ClientEndpoint::parse(url.as_bytes(), Some(&domain)).map(|endpoint| endpoint.scheme)
    }

    #[test]
    fn a_portal_is_called_at_its_own_host() {
        for (url, domain) in [
            ("https://portal.example/rest/", "portal.example"),
            ("https://Portal.Example/rest/", "portal.example"),
            ("HTTPS://portal.example", "portal.example:8443"),
            ("https://portal.example:8443/rest/1/abc/", "portal.example:8443"),
            ("https://portal.example:/rest/", "portal.example:"),
            ("https://portal.example./rest/", "portal.example"),
            ("https://xn--80ak6aa92e.com/rest/", "xn--80ak6aa92e.com"),
            ("https://[2001:db8::1]:8443/rest/", "[2001:DB8:0::1]:8443"),
            ("https://10.0.0.7/rest/", "10.0.0.7"),
        ] {
            assert_eq!(client(url, domain), Ok(Protocol::Https), "{url}");
        }
        assert_eq!(client("http://crm.local/rest/", "crm.local"), Ok(Protocol::Http));
    }

    #[test]
    fn no_spelling_leads_to_another_host() {
        for url in [
            "",
            "/rest/",
            "//portal.example/rest/",
            "https:portal.example/rest/",
            "https:/portal.example/rest/",
            "https:///portal.example/rest/",
            "ftp://portal.example/",
            "javascript://portal.example/",
            "https://evil.example/rest/",
            "https://portal.example.evil.example/",
            "https://portal.example@evil.example/rest/",
            "https://portal.example:443@evil.example/rest/",
            "https://user@portal.example/rest/",
            "https://user:secret@portal.example/rest/",
            "https://@portal.example/",
            "https://portal.example:@evil.example/",
            "https://portal.example\\@evil.example/",
            "https://evil.example\\portal.example/",
            "https://evil.example#@portal.example/",
            "https://portal.example#@evil.example/",
            "https://portal.example?@evil.example/",
            "https://evil.example/@portal.example",
            " https://portal.example/",
            "https://portal.example/ ",
            "https:// portal.example/",
            "https://portal.example /",
            "https://portal.example\t/",
            "https://portal.example/\r\nX: y",
            "https://portal%2eexample/",
            "https://portal.example%00.evil.example/",
            "https://portal\u{3002}example/",
            "https://p\u{f6}rtal.example/",
            "https://portal.example:0/",
            "https://portal.example:65536/",
            "https://portal.example:80:80/",
            "https://portal.example../",
            "https://.portal.example/",
            "https://[::1]/",
            "https://portal.example/<b>",
            "https://portal.example/\"",
        ] {
            assert_eq!(client(url, "portal.example"), Err(Invalid), "{url:?}");
        }
        assert_eq!(client("https://[::2]/", "[::1]"), Err(Invalid));
        let long = format!("https://portal.example/{}", "a".repeat(2048));
        assert_eq!(client(&long, "portal.example"), Err(Invalid));
    }

    #[test]
    fn tokens_go_to_listed_servers_alone() {
        let default = ServerEndpoints::default();
        let check = |url: &str, allowed: &ServerEndpoints| check_server_endpoint(url.as_bytes(), allowed);
        for url in [
            "https://oauth.bitrix.info/rest/",
            "https://oauth.bitrix24.info/rest/",
            "https://oauth.bitrix24.tech/rest/",
            "https://OAuth.Bitrix.info./rest/",
            "https://oauth.bitrix.info:443/rest/",
        ] {
            assert_eq!(check(url, &default), Ok(()), "{url}");
        }
        for url in [
            "http://oauth.bitrix.info/rest/",
            "http://169.254.169.254/",
            "https://169.254.169.254/",
            "https://oauth.bitrix.info.evil.example/rest/",
            "https://oauth.bitrix.info@evil.example/rest/",
            "https://evil.example/oauth.bitrix.info",
            "https://[::1]/rest/",
            "oauth.bitrix.info",
        ] {
            assert_eq!(check(url, &default), Err(Invalid), "{url}");
        }
        assert_eq!(
            check("https://oauth.corp.example/rest/", &ServerEndpoints::Any),
            Ok(())
        );
        assert_eq!(
            check("http://oauth.corp.example/rest/", &ServerEndpoints::Any),
            Err(Invalid)
        );
        assert_eq!(check("https://a@b.example/", &ServerEndpoints::Any), Err(Invalid));
    }
}
