//! Who may use the admin listener. A browser on the same machine is the dangerous client: any page may
//! send requests from it, under a host name of its choice (DNS rebinding) and with methods that change
//! something (cross-site requests).

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, Uri, header};
use ipnet::IpNet;
use pingora::protocols::http::ServerSession;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::answer::{Answer, Problem};
use crate::config::ServerSettings;
use crate::request::authority::{Authority, Host};

/// The rules, as the process started with them.
pub(super) struct Guard {
    allow: Vec<IpNet>,
    metrics_allow: Vec<IpNet>,
    /// Lower case.
    hosts: Vec<String>,
    /// Of the token. The token itself is not kept, and digests are compared, so that neither its bytes
    /// nor its length show in the time.
    token: Option<[u8; 32]>,
}

/// What a request is for, as far as it matters to who may ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asked {
    /// Numbers, and whether the gateway is alive.
    ForMetrics,
    /// Members, the configuration, and whatever else.
    ForMore,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refusal {
    Peer,
    Host,
    NotFound,
    Method(&'static str),
    CrossSite,
    Token,
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Answer {
        match refusal {
            Refusal::Peer => Problem::new(403, "peer_not_allowed", "Not from this address")
                .with("detail", "allowed are loopback and the networks of server.admin_allow, for metrics those of server.admin_metrics_allow too"),
            Refusal::Host => Problem::new(403, "host_not_allowed", "Not under this host name")
                .with("detail", "allowed are IP addresses, localhost and the names of server.admin_hosts"),
            Refusal::NotFound => Problem::new(404, "not_found", "There is nothing here").with(
                "detail",
                "/, /metrics, /-/healthy, /-/ready, /-/status, /-/top, /-/limits/{key}, /-/config, /-/reload",
            ),
            Refusal::Method(allowed) => {
                Problem::new(405, "method_not_allowed", "Not by this method").header("allow", allowed)
            }
            Refusal::CrossSite => Problem::new(403, "cross_site", "Not from another site"),
            Refusal::Token => Problem::new(401, "token_required", "A token is needed to change something")
                .with(
                    "detail",
                    "from elsewhere than loopback, the content of server.admin_token_file is asked for",
                )
                .header("www-authenticate", "Bearer realm=\"widget-gateway\""),
        }
        .into()
    }
}

impl Guard {
    pub(super) fn new(server: &ServerSettings) -> Guard {
        Guard {
            allow: server.admin_allow.clone(),
            metrics_allow: server.admin_metrics_allow.clone(),
            hosts: server.admin_hosts.clone(),
            token: server.admin_token.as_ref().map(|token| token.sha256),
        }
    }

    /// The address of a peer that may ask for this, under a name that is ours.
    pub(super) fn admit(&self, session: &ServerSession, asked: Asked) -> Result<IpAddr, Refusal> {
        let peer = session
            .client_addr()
            .and_then(|address| address.as_inet())
            .map(|address| address.ip().to_canonical())
            .filter(|peer| self.may_ask(peer, asked))
            .ok_or(Refusal::Peer)?;
        let head = session.req_header();
        if self.is_ours(&head.headers, &head.uri) {
            Ok(peer)
        } else {
            Err(Refusal::Host)
        }
    }

    fn may_ask(&self, peer: &IpAddr, asked: Asked) -> bool {
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(peer));
        peer.is_loopback()
            || within(&self.allow)
            || match asked {
                Asked::ForMetrics => within(&self.metrics_allow),
                Asked::ForMore => false,
            }
    }

    /// Whether that peer may change something with this request.
    pub(super) fn admit_write(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        if is_cross_site(headers) {
            return Err(Refusal::CrossSite);
        }
        if peer.is_loopback() || self.has_token(headers) {
            Ok(())
        } else {
            Err(Refusal::Token)
        }
    }

    /// An IP literal, localhost or a listed name: a page whose name was rebound to this address is
    /// refused.
    fn is_ours(&self, headers: &HeaderMap, uri: &Uri) -> bool {
        let Some(host) = only(headers, header::HOST).and_then(|host| host.to_str().ok()) else {
            return false;
        };
        self.is_our_name(host)
            && uri
                .authority()
                .is_none_or(|authority| self.is_our_name(authority.as_str()))
    }

    fn is_our_name(&self, host: &str) -> bool {
        match Authority::parse(host).map(|authority| authority.host) {
            Some(Host::V6(_)) => true,
            Some(Host::Name(name)) => {
                let mut ours = self.hosts.iter().map(String::as_str).chain(["localhost"]);
                name.parse::<IpAddr>().is_ok() || ours.any(|ours| ours.eq_ignore_ascii_case(name))
            }
            None => false,
        }
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let given = only(headers, header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme
                .eq_ignore_ascii_case(b"bearer ")
                .then(|| token.trim_ascii())
        });
        match (given, &self.token) {
            (Some(given), Some(token)) => Sha256::digest(given).ct_eq(token.as_slice()).into(),
            (None, _) | (_, None) => false,
        }
    }
}

/// Browsers say where a request comes from: `Sec-Fetch-Site` where they are current, `Origin` for any
/// method that changes something. What is no browser says neither.
fn is_cross_site(headers: &HeaderMap) -> bool {
    let from_elsewhere = headers
        .get_all("sec-fetch-site")
        .iter()
        .any(|site| site != "same-origin" && site != "none");
    let host = headers
        .get(header::HOST)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let from_another = headers.get_all(header::ORIGIN).iter().any(|origin| {
        let origin = origin.as_bytes();
        let name = origin
            .strip_prefix(b"http://")
            .or_else(|| origin.strip_prefix(b"https://"));
        !name.is_some_and(|name| name.eq_ignore_ascii_case(host))
    });
    from_elsewhere || from_another
}

/// A header that is there exactly once.
fn only(headers: &HeaderMap, name: header::HeaderName) -> Option<&HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(token: Option<&str>) -> Guard {
        Guard {
            allow: Vec::new(),
            metrics_allow: vec!["10.0.0.0/8".parse().unwrap()],
            hosts: vec!["gateway.internal".to_owned()],
            token: token.map(|token| Sha256::digest(token).into()),
        }
    }

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    const LOOPBACK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn only_our_names_are_hosts() {
        for (host, ours) in [
            ("127.0.0.1", true),
            ("10.1.2.3:9901", true),
            ("[::1]:9901", true),
            ("[::1]", true),
            ("LocalHost:9901", true),
            ("Gateway.Internal", true),
            ("evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
            ("[::1]evil.example", false),
            ("[evil.example]", false),
            ("localhost:evil", false),
            ("", false),
        ] {
            let headers = headers(&[("host", host)]);
            assert_eq!(
                guard(None).is_ours(&headers, &"/".parse().unwrap()),
                ours,
                "{host}"
            );
        }
        let ours = headers(&[("host", "localhost")]);
        assert!(!guard(None).is_ours(&ours, &"http://evil.example/".parse().unwrap()));
        assert!(!guard(None).is_ours(&HeaderMap::new(), &"/".parse().unwrap()));
    }

    #[test]
    fn a_scraper_reads_metrics_alone() {
        let guard = guard(None);
        for (peer, metrics, more) in [
            (LOOPBACK, true, true),
            (ELSEWHERE, true, false),
            (IpAddr::from([192, 0, 2, 1]), false, false),
        ] {
            assert_eq!(guard.may_ask(&peer, Asked::ForMetrics), metrics, "{peer}");
            assert_eq!(guard.may_ask(&peer, Asked::ForMore), more, "{peer}");
        }
    }

    #[test]
    fn writes_from_elsewhere_need_the_token() {
        let guard = guard(Some("a-token-of-some-length"));
        for (authorization, may) in [
            (None, false),
            (Some("Bearer a-token-of-some-length"), true),
            (Some("bearer a-token-of-some-length"), true),
            (Some("Bearer a-token-of-some-lengtH"), false),
            (Some("Bearer a-token-of-some-length-"), false),
            (Some("Bearer "), false),
            (Some("Basic a-token-of-some-length"), false),
        ] {
            let headers = match authorization {
                Some(value) => headers(&[("authorization", value)]),
                None => HeaderMap::new(),
            };
            let want = if may { Ok(()) } else { Err(Refusal::Token) };
            assert_eq!(guard.admit_write(ELSEWHERE, &headers), want, "{authorization:?}");
            assert_eq!(guard.admit_write(LOOPBACK, &headers), Ok(()));
        }
        let none = super::tests::guard(None);
        assert_eq!(
            none.admit_write(ELSEWHERE, &headers(&[("authorization", "Bearer ")])),
            Err(Refusal::Token)
        );
    }

    #[test]
    fn cross_site_writes_are_refused() {
        let guard = guard(None);
        for (name, value, may) in [
            ("origin", "http://127.0.0.1:9901", true),
            ("origin", "https://127.0.0.1:9901", true),
            ("origin", "http://127.0.0.1:8080", false),
            ("origin", "http://evil.example", false),
            ("origin", "null", false),
            ("sec-fetch-site", "same-origin", true),
            ("sec-fetch-site", "none", true),
            ("sec-fetch-site", "same-site", false),
            ("sec-fetch-site", "cross-site", false),
        ] {
            let headers = headers(&[("host", "127.0.0.1:9901"), (name, value)]);
            let want = if may { Ok(()) } else { Err(Refusal::CrossSite) };
            assert_eq!(guard.admit_write(LOOPBACK, &headers), want, "{name}: {value}");
        }
    }
}
