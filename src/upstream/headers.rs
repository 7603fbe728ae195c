//! What the upstream is told beside the client's own headers. Everything under a reserved name is
//! removed first, in every spelling that PHP or a lax server would read as that name.

mod cookies;
mod reserved;
mod rewrite;

use http::{HeaderMap, HeaderName, header};

use super::caller::{Caller, Peer};
use crate::policy::route::ForwardAs;
use crate::policy::validate::Known;
use crate::policy::verify::{UserId, Verdict};
use crate::request::address;
use crate::request::cookie::PlainAuth;
use crate::request::field::{AppSid, Domain, EventName, Placement, Protocol, Status};
use crate::request::form::without_body_fields;
use crate::request::media_type::MediaType;
use crate::request::message::Kind;
pub use cookies::CookieRule;
pub use reserved::is_free;
use reserved::{Reserve, is_removed};
pub use rewrite::Rewrite;

/// What a widget route's upstream is established.
#[derive(Clone, Copy, Debug)]
pub struct Established<'a> {
    /// What is established.
    pub known: Known<'a>,
    /// Who is calling; none where nobody is verified.
    pub verdict: Option<Verdict>,
    /// Of the body.
    pub media_type: MediaType,
    /// Bytes of the body.
    pub length: usize,
    /// What happens to cookies.
    pub cookies: CookieRule,
    /// What one called `auth` does here.
    pub plain_auth: PlainAuth,
    /// How the server is asked.
    pub forward_as: ForwardAs,
    /// Of the address, without `?`.
    pub query: &'a [u8],
}

/// The rewriting for a pass route.
pub fn on_pass_route(peer: Peer, caller: &Caller, headers: &HeaderMap) -> Rewrite {
    let mut rewrite = on_every_route(peer, caller, headers, Reserve::OurNames);
    cookies::join(&mut rewrite, headers);
    rewrite
}

/// The rewriting for the handshake of WebSocket on a pass route. What the client said of this hop is said anew.
pub fn to_websocket(peer: Peer, caller: &Caller, headers: &HeaderMap) -> Rewrite {
    let mut rewrite = on_pass_route(peer, caller, headers);
    rewrite.set("Connection", "upgrade");
    rewrite.set("Upgrade", "websocket");
    rewrite
}

/// The rewriting for a widget route: besides what every route has, the established fields, the framing, the
/// cookies.
pub fn on_widget_route(
    peer: Peer,
    caller: &Caller,
    headers: &HeaderMap,
    established: Established<'_>,
) -> Rewrite {
    let mut rewrite = on_every_route(peer, caller, headers, Reserve::EveryBitrix24Name);
    let verdict = established.verdict;
    rewrite.set_some("X-Bitrix24-Verified", verdict.map(Verdict::label));
    if let Some(Verdict::Yes(Some(UserId(user)))) = verdict {
        rewrite.set("X-Bitrix24-User-Id", itoa::Buffer::new().format(user));
    }
    rewrite.remove.push(header::EXPECT);
    match established.forward_as {
        ForwardAs::Call => {
            rewrite.establish(established.known);
            rewrite.set("Content-Length", &established.length.to_string());
            rewrite.set("Content-Type", established.media_type.as_str());
        }
        ForwardAs::Get => {
            rewrite.establish(established.known.of_address());
            rewrite.fetch(headers, established.query);
        }
    }
    cookies::strip(&mut rewrite, headers, established.cookies, established.plain_auth);
    rewrite
}

fn on_every_route(peer: Peer, caller: &Caller, headers: &HeaderMap, reserve: Reserve) -> Rewrite {
    let mut rewrite = Rewrite::with_room();
    let from_proxy = caller.is_from_trusted();
    let removed = headers
        .keys()
        .filter(|name| is_removed(name, reserve, from_proxy));
    rewrite.remove.extend(removed.cloned());
    let forwarded = |name: &str| match from_proxy {
        true => headers.get(name)?.to_str().ok(),
        false => None,
    };
    rewrite.set("X-Request-Id", &caller.request_id);
    let chain = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter(|_| from_proxy)
        .filter_map(|value| value.to_str().ok());
    rewrite.set_with("X-Forwarded-For", |out| {
        for hops in chain {
            out.extend_from_slice(hops.as_bytes());
            out.extend_from_slice(b", ");
        }
        address::append(out, peer.address.to_canonical());
    });
    rewrite.set(
        "X-Forwarded-Proto",
        forwarded("x-forwarded-proto")
            .and_then(|said| {
                ["http", "https"]
                    .into_iter()
                    .find(|scheme| said.eq_ignore_ascii_case(scheme))
            })
            .unwrap_or(peer.scheme()),
    );
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    rewrite.set("X-Forwarded-Host", forwarded("x-forwarded-host").unwrap_or(host));
    rewrite.set_with("X-Real-IP", |out| address::append(out, caller.client));
    rewrite.set_some("traceparent", caller.traceparent());
    rewrite
}

impl Rewrite {
    /// Makes it a GET of the address. What is said of a body, and what could make the answer another one than the
    /// whole page (RFC 9110 13 and 14), goes with the body.
    fn fetch(&mut self, headers: &HeaderMap, query: &[u8]) {
        const OF_PARTS: [HeaderName; 6] = [
            header::RANGE,
            header::IF_RANGE,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
        ];
        let goes = |name: &&HeaderName| name.as_str().starts_with("content-") || OF_PARTS.contains(name);
        self.remove.extend(headers.keys().filter(goes).cloned());
        let query = without_body_fields(query);
        self.fetched = Some(match query.as_slice() {
            [] => Vec::new(),
            query => [b"?", query].concat(),
        });
    }

    /// Writes what is established of a message.
    fn establish(&mut self, known: Known<'_>) {
        self.set_some(
            "X-Bitrix24-Message",
            match known.message {
                Some(message @ (Kind::Placement | Kind::Event | Kind::Robot)) => Some(message.label()),
                // Nothing of it came from Bitrix24.
                Some(Kind::Own) | None => None,
            },
        );
        self.set_some("X-Bitrix24-Event", known.event.map(EventName::as_str));
        self.set_some("X-Bitrix24-Domain", known.domain.map(Domain::as_str));
        self.set_some("X-Bitrix24-Protocol", known.protocol.map(Protocol::scheme));
        if let (Some(domain), Some(scheme)) = (known.domain, known.portal) {
            self.set_with("X-Bitrix24-Portal", |out| {
                for part in [scheme.scheme(), "://", domain.as_str()] {
                    out.extend_from_slice(part.as_bytes());
                }
            });
        }
        if let Some(lang) = known.lang {
            self.set("X-Bitrix24-Lang", lang.as_str());
            self.set("X-Bitrix24-Locale", &lang.locale());
        }
        if let Some(member_id) = known.member_id {
            member_id.with_text(|text| self.set("X-Bitrix24-Member-Id", text));
        }
        self.set_some("X-Bitrix24-Placement", known.placement.map(Placement::as_str));
        self.set_some("X-Bitrix24-App-Sid", known.app_sid.map(AppSid::as_str));
        self.set_some("X-Bitrix24-Status", known.status.map(Status::as_str));
        if let Some(options) = known.options {
            self.set("X-Bitrix24-Placement-Options-State", options.state());
            self.set_some("X-Bitrix24-Placement-Options", options.header());
        }
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::request::head::RequestHead;
    use crate::upstream::caller::TrustedProxies;

    const PEER: Peer = Peer {
        address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)),
        tls: false,
    };

    fn headers(list: &[(&str, &str)]) -> HeaderMap {
        list.iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_bytes(name.as_bytes()).unwrap(),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect()
    }

    fn trusted(networks: &[&str]) -> TrustedProxies {
        TrustedProxies::new(networks.iter().map(|n| n.parse().unwrap()).collect())
    }

    fn value<'r>(rewrite: &'r Rewrite, name: &str) -> Option<&'r str> {
        rewrite
            .to_set()
            .filter(|(n, _)| *n == name)
            .last()
            .map(|(_, v)| std::str::from_utf8(v).unwrap())
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let given = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-request-id", "mine"),
            ("x-forwarded-proto", "https"),
            ("host", "h:1"),
        ]);
        let caller = Caller::of(PEER, &given, &TrustedProxies::default(), || [0xab; 16]);
        let rewrite = on_pass_route(PEER, &caller, &given);
        assert_eq!(caller.client, PEER.address);
        assert_eq!(value(&rewrite, "X-Forwarded-For"), Some("10.0.0.1"));
        assert_eq!(value(&rewrite, "X-Forwarded-Proto"), Some("http"));
        assert_eq!(value(&rewrite, "X-Forwarded-Host"), Some("h:1"));
        assert_eq!(value(&rewrite, "X-Real-IP"), Some("10.0.0.1"));
        assert_eq!(value(&rewrite, "X-Request-Id"), Some("ab".repeat(16).as_str()));
        assert_eq!(value(&rewrite, "traceparent"), None, "no trace is begun here");
    }

    #[test]
    fn a_trusted_peer_is_appended_to() {
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let given = headers(&[
            ("x-forwarded-for", "6.6.6.6, 9.9.9.9"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-request-id", "mine-1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "front.example"),
            ("host", "h"),
            ("traceparent", trace),
        ]);
        let caller = Caller::of(PEER, &given, &trusted(&["10.0.0.0/8"]), || [0; 16]);
        let rewrite = on_pass_route(PEER, &caller, &given);
        assert_eq!(caller.client.to_string(), "9.9.9.9");
        assert_eq!(caller.request_id, "mine-1");
        assert_eq!(caller.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            value(&rewrite, "X-Forwarded-For"),
            Some("6.6.6.6, 9.9.9.9, 10.0.0.2, 10.0.0.1")
        );
        assert_eq!(value(&rewrite, "X-Forwarded-Proto"), Some("https"));
        assert_eq!(value(&rewrite, "X-Forwarded-Host"), Some("front.example"));
        assert_eq!(value(&rewrite, "X-Real-IP"), Some("9.9.9.9"));
        assert_eq!(value(&rewrite, "traceparent"), Some(trace));
    }

    #[test]
    fn cookies_that_shadow_a_field_are_cut_out() {
        let given = headers(&[("cookie", "a=1; member.id=2;b=3"), ("cookie", "DOMAIN=x")]);
        let stripped = |given: &HeaderMap, rule, plain_auth| {
            let mut rewrite = Rewrite::default();
            cookies::strip(&mut rewrite, given, rule, plain_auth);
            let line = value(&rewrite, "Cookie").map(str::to_owned);
            (line, rewrite.remove.contains(&header::COOKIE))
        };
        let (strip, keep) = (CookieRule::Strip, CookieRule::Keep);
        let line = |text: &str| (Some(text.to_owned()), false);
        assert_eq!(stripped(&given, strip, PlainAuth::Harmless), line("a=1; b=3"));
        assert_eq!(
            stripped(&given, keep, PlainAuth::Harmless),
            line("a=1; member.id=2;b=3; DOMAIN=x")
        );
        let alone = headers(&[("cookie", "member_id=2")]);
        assert_eq!(stripped(&alone, strip, PlainAuth::Harmless), (None, true));
        let auth = headers(&[("cookie", "auth=1; auth[x]=2; x=3")]);
        assert_eq!(stripped(&auth, strip, PlainAuth::Harmless), line("auth=1; x=3"));
        assert_eq!(stripped(&auth, strip, PlainAuth::Shadows), line("x=3"));
        let nothing = headers(&[("cookie", "auth=1")]);
        assert_eq!(stripped(&nothing, strip, PlainAuth::Harmless), (None, false));
    }

    #[test]
    fn lines_that_stay_are_sent_as_they_came() {
        let head = b"POST /w?a=1 HTTP/1.1\r\nHOST:h\r\nX_Bitrix24_Domain: evil\r\nConnection: close\r\n\
            content-length: 9\r\nx-odd:  \xff \r\n\r\n";
        let head = RequestHead::parse(&bytes::Bytes::from_static(head)).unwrap();
        let caller = Caller::of(PEER, &head.headers, &TrustedProxies::default(), || [7; 16]);
        let mut rewrite = on_pass_route(PEER, &caller, &head.headers);
        rewrite.set("Content-Length", "3");
        let mut want = b"POST /w?a=1 HTTP/1.1\r\nHOST:h\r\nx-odd:  \xff \r\n".to_vec();
        for (name, value) in [
            ("X-Request-Id", "07".repeat(16).as_str()),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "h"),
            ("X-Real-IP", "10.0.0.1"),
            ("Content-Length", "3"),
        ] {
            want.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        want.extend_from_slice(b"\r\n");
        assert_eq!(
            rewrite.to_wire(&head).escape_ascii().to_string(),
            want.escape_ascii().to_string()
        );
    }
}
