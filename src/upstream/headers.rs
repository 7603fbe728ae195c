//! What the upstream is told beside the client's own headers. Everything under a reserved name is
//! removed first, in every spelling that PHP or a lax server would read as that name.

use http::{HeaderMap, HeaderName, header};

use super::origin::{Origin, Peer};
use crate::policy::validate::Known;
use crate::request::field::Field;
use crate::request::head::RequestHead;
use crate::request::{address, cookie};

/// Headers to take away, then headers to set.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Rewrite {
    /// Names as the client spelled them (lower case).
    pub remove: Vec<HeaderName>,
    /// Each name with the end of its value in `values`.
    set: Vec<(&'static str, usize)>,
    /// All values behind one another.
    values: Vec<u8>,
}

impl Rewrite {
    fn set(&mut self, name: &'static str, value: &str) {
        self.set_with(name, |out| out.extend_from_slice(value.as_bytes()));
    }

    /// Every value comes from a checked type; one that is no header value is left out, not sent.
    fn set_with(&mut self, name: &'static str, append: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.values.len();
        append(&mut self.values);
        let value = self.values.get(begin..).unwrap_or_default();
        // All bytes are looked at, which the compiler does many at a time.
        let is_bad = |b: u8| (b < b' ') & (b != b'\t') | (b == 0x7f);
        if value.iter().fold(false, |bad, &b| bad | is_bad(b)) {
            self.values.truncate(begin);
        } else {
            self.set.push((name, self.values.len()));
        }
    }

    /// In order; each replaces what has the name.
    pub fn to_set(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.set.iter().scan(0, |begin, &(name, end)| {
            let value = self.values.get(*begin..end)?;
            *begin = end;
            Some((name, value))
        })
    }

    /// The head for the server, with its empty line. Lines that stay are sent as they came.
    pub fn to_wire(&self, head: &RequestHead) -> Vec<u8> {
        // Room for a small body as well.
        let mut out = Vec::with_capacity(4096);
        let [path, query] = head.target.origin_form();
        // Only HTTP/1.0 can leave the host out (RFC 9112 3.2), towards the server too.
        let version: &[u8] = match head.has_host() {
            true => b" HTTP/1.1\r\n",
            false => b" HTTP/1.0\r\n",
        };
        for part in [head.method.as_str().as_bytes(), b" ", path, query, version] {
            out.extend_from_slice(part);
        }
        head.append_lines(&mut out, |name| !head.hop.ends_here(name) && !self.replaces(name));
        for (name, value) in self.to_set() {
            for part in [name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    fn replaces(&self, name: &HeaderName) -> bool {
        self.remove.contains(name)
            || self
                .set
                .iter()
                .any(|(set, _)| name.as_str().eq_ignore_ascii_case(set))
    }
}

/// Names that no client may use, in the form in which they are compared: lower case, every byte that
/// is not a letter or digit read as `_`.
const RESERVED: [&[u8]; 16] = [
    b"x_request_id",
    b"traceparent",
    b"tracestate",
    b"forwarded",
    b"x_real_ip",
    b"x_original_url",
    b"x_rewrite_url",
    b"x_http_method_override",
    b"proxy",
    b"upgrade",
    b"http2_settings",
    b"content_length",
    b"content_type",
    b"transfer_encoding",
    b"keep_alive",
    b"proxy_connection",
];
const RESERVED_PREFIXES: [&[u8]; 3] = [b"x_bitrix24_", b"x_forwarded_", b"x_accel_"];

/// Reserved names that are kept when they are spelled exactly so: the engine has judged them.
const KEPT_IF_EXACT: [&str; 3] = ["content-length", "content-type", "transfer-encoding"];
/// Reserved names that are kept, exactly spelled, from a trusted peer.
const KEPT_FROM_TRUSTED: [&str; 4] = [
    "tracestate",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
];

fn is_reserved(name: &str) -> bool {
    let byte = |b: u8| {
        if b.is_ascii_alphanumeric() {
            b.to_ascii_lowercase()
        } else {
            b'_'
        }
    };
    let begins = |reserved: &[u8]| {
        name.len() >= reserved.len()
            && name
                .bytes()
                .zip(reserved)
                .all(|(given, &reserved)| byte(given) == reserved)
    };
    RESERVED_PREFIXES.iter().any(|prefix| begins(prefix))
        || RESERVED
            .iter()
            .any(|reserved| name.len() == reserved.len() && begins(reserved))
}

/// What happens to a cookie that PHP could take for a field (`[widget] cookies`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CookieRule {
    /// It is removed from the forwarded `Cookie` header and counted.
    #[default]
    Strip,
    /// The request is ambiguous.
    Refuse,
    /// It stays: PHP's `request_order` is known to leave cookies out.
    Keep,
}

/// The fields that cookies of this request shadow, each once.
pub fn shadowed_by_cookies(headers: &HeaderMap) -> Vec<Field> {
    let mut fields: Vec<_> = headers
        .get_all(header::COOKIE)
        .iter()
        .flat_map(|line| cookie::crumbs(line.as_bytes()).filter_map(cookie::shadows))
        .collect();
    fields.sort_unstable();
    fields.dedup();
    fields
}

/// The rewriting that every route does.
pub fn on_every_route(peer: Peer, origin: &Origin, headers: &HeaderMap) -> Rewrite {
    let mut rewrite = Rewrite {
        remove: Vec::with_capacity(8),
        set: Vec::with_capacity(20),
        values: Vec::with_capacity(768),
    };
    for name in headers.keys() {
        let spelled = name.as_str();
        let kept = KEPT_IF_EXACT.contains(&spelled)
            || (origin.is_from_trusted() && KEPT_FROM_TRUSTED.contains(&spelled));
        if is_reserved(spelled) && !kept {
            rewrite.remove.push(name.clone());
        }
    }
    let forwarded = |name: &str| match origin.is_from_trusted() {
        true => headers.get(name)?.to_str().ok(),
        false => None,
    };
    rewrite.set("X-Request-Id", &origin.request_id);
    let chain = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter(|_| origin.is_from_trusted())
        .filter_map(|value| value.to_str().ok());
    rewrite.set_with("X-Forwarded-For", |out| {
        for hops in chain {
            out.extend_from_slice(hops.as_bytes());
            out.extend_from_slice(b", ");
        }
        address::append(out, peer.address.to_canonical());
    });
    let scheme = if peer.tls { "https" } else { "http" };
    rewrite.set(
        "X-Forwarded-Proto",
        forwarded("x-forwarded-proto")
            .filter(|p| matches!(*p, "http" | "https"))
            .unwrap_or(scheme),
    );
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .unwrap_or_default();
    rewrite.set("X-Forwarded-Host", forwarded("x-forwarded-host").unwrap_or(host));
    rewrite.set("traceparent", origin.traceparent());
    rewrite
}

/// What a widget or event route adds: the established fields, the framing, the cookies.
pub fn on_widget_route(
    rewrite: &mut Rewrite,
    known: Known<'_>,
    body: usize,
    cookies: CookieRule,
    headers: &HeaderMap,
) {
    if let Some(domain) = known.domain {
        rewrite.set("X-Bitrix24-Domain", domain.as_str());
    }
    if let Some(protocol) = known.protocol {
        rewrite.set("X-Bitrix24-Protocol", protocol.scheme());
    }
    if let (Some(domain), Some(protocol)) = (known.domain, known.protocol) {
        rewrite.set_with("X-Bitrix24-Portal", |out| {
            for part in [protocol.scheme(), "://", domain.as_str()] {
                out.extend_from_slice(part.as_bytes());
            }
        });
    }
    if let Some(lang) = known.lang {
        rewrite.set("X-Bitrix24-Lang", lang.as_str());
        rewrite.set("X-Bitrix24-Locale", &lang.locale());
    }
    if let Some(member_id) = known.member_id {
        rewrite.set("X-Bitrix24-Member-Id", &member_id.to_string());
    }
    if let Some(placement) = known.placement {
        rewrite.set("X-Bitrix24-Placement", placement.as_str());
    }
    if let Some(app_sid) = known.app_sid {
        rewrite.set("X-Bitrix24-App-Sid", app_sid.as_str());
    }
    if let Some(status) = known.status {
        rewrite.set("X-Bitrix24-Status", status.as_str());
    }
    if let Some(options) = known.options {
        rewrite.set("X-Bitrix24-Placement-Options-State", options.state());
        if let Some(json) = options.header() {
            rewrite.set("X-Bitrix24-Placement-Options", json);
        }
    }
    rewrite.remove.push(header::EXPECT);
    rewrite.set("Content-Length", &body.to_string());
    rewrite.set("Content-Type", "application/x-www-form-urlencoded");
    match cookies {
        CookieRule::Keep => join_cookies(rewrite, headers),
        // Where it is only observed that they would be refused, the handler still reads what our headers say.
        CookieRule::Strip | CookieRule::Refuse => strip_cookies(rewrite, headers),
    }
}

/// What a pass route adds.
pub fn on_pass_route(rewrite: &mut Rewrite, headers: &HeaderMap) {
    join_cookies(rewrite, headers);
}

/// Several `Cookie` lines, as HTTP/2 sends them, become one (RFC 9113 8.2.3): PHP reads the first or glues
/// them together with commas.
fn join_cookies(rewrite: &mut Rewrite, headers: &HeaderMap) {
    let lines = headers.get_all(header::COOKIE);
    if lines.iter().nth(1).is_none() {
        return;
    }
    let mut lines = lines.iter();
    rewrite.set_with("Cookie", |out| {
        if let Some(first) = lines.next() {
            out.extend_from_slice(first.as_bytes());
        }
        for line in lines {
            out.extend_from_slice(b"; ");
            out.extend_from_slice(line.as_bytes());
        }
    });
}

/// Writes the `Cookie` header without the crumbs that shadow a field.
fn strip_cookies(rewrite: &mut Rewrite, headers: &HeaderMap) {
    let lines = || headers.get_all(header::COOKIE).iter();
    if !lines().any(|line| cookie::crumbs(line.as_bytes()).any(|crumb| cookie::shadows(crumb).is_some())) {
        return join_cookies(rewrite, headers);
    }
    let kept: Vec<&[u8]> = lines()
        .flat_map(|line| cookie::crumbs(line.as_bytes()))
        .filter(|crumb| cookie::shadows(crumb).is_none())
        .map(<[u8]>::trim_ascii)
        .filter(|crumb| !crumb.is_empty())
        .collect();
    if kept.is_empty() {
        rewrite.remove.push(header::COOKIE);
    } else {
        rewrite.set_with("Cookie", |out| out.extend_from_slice(&kept.join(&b"; "[..])));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::upstream::origin::TrustedProxies;

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
    fn look_alikes_of_reserved_names_are_removed() {
        let given = headers(&[
            ("X-Bitrix24-Member-Id", "evil"),
            ("X_Bitrix24_Member_Id", "evil"),
            ("x.bitrix24.domain", "evil"),
            ("X-Bitrix24-Anything", "evil"),
            ("x_forwarded_for", "1.1.1.1"),
            ("Content_Length", "1"),
            ("Proxy", "x"),
            ("X-Accel-Redirect", "/x"),
            ("upgrade", "h2c"),
            ("content-type", "a/b"),
            ("host", "h"),
            ("x-bitrix24", "ok"),
        ]);
        let origin = Origin::of(PEER, &given, &TrustedProxies::default(), || [7; 16]);
        let rewrite = on_every_route(PEER, &origin, &given);
        let mut removed: Vec<_> = rewrite.remove.iter().map(HeaderName::as_str).collect();
        removed.sort_unstable();
        assert_eq!(
            removed,
            [
                "content_length",
                "proxy",
                "upgrade",
                "x-accel-redirect",
                "x-bitrix24-anything",
                "x-bitrix24-member-id",
                "x.bitrix24.domain",
                "x_bitrix24_member_id",
                "x_forwarded_for",
            ]
        );
    }

    #[test]
    fn an_untrusted_peer_is_not_believed() {
        let given = headers(&[
            ("x-forwarded-for", "6.6.6.6"),
            ("x-request-id", "mine"),
            ("x-forwarded-proto", "https"),
            ("host", "h:1"),
        ]);
        let origin = Origin::of(PEER, &given, &TrustedProxies::default(), || [0xab; 16]);
        let rewrite = on_every_route(PEER, &origin, &given);
        assert_eq!(origin.client, PEER.address);
        assert_eq!(value(&rewrite, "X-Forwarded-For"), Some("10.0.0.1"));
        assert_eq!(value(&rewrite, "X-Forwarded-Proto"), Some("http"));
        assert_eq!(value(&rewrite, "X-Forwarded-Host"), Some("h:1"));
        assert_eq!(value(&rewrite, "X-Request-Id"), Some("ab".repeat(16).as_str()));
        assert_eq!(
            value(&rewrite, "traceparent"),
            Some(format!("00-{}-{}-01", "ab".repeat(16), "ab".repeat(8)).as_str())
        );
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
        let origin = Origin::of(PEER, &given, &trusted(&["10.0.0.0/8"]), || [0; 16]);
        let rewrite = on_every_route(PEER, &origin, &given);
        assert_eq!(origin.client.to_string(), "9.9.9.9");
        assert_eq!(origin.request_id, "mine-1");
        assert_eq!(origin.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(
            value(&rewrite, "X-Forwarded-For"),
            Some("6.6.6.6, 9.9.9.9, 10.0.0.2, 10.0.0.1")
        );
        assert_eq!(value(&rewrite, "X-Forwarded-Proto"), Some("https"));
        assert_eq!(value(&rewrite, "X-Forwarded-Host"), Some("front.example"));
        assert_eq!(value(&rewrite, "traceparent"), Some(trace));
    }

    #[test]
    fn cookies_that_shadow_a_field_are_cut_out() {
        let given = headers(&[("cookie", "a=1; member.id=2;b=3"), ("cookie", "DOMAIN=x")]);
        assert_eq!(shadowed_by_cookies(&given), [Field::Domain, Field::MemberId]);
        let mut rewrite = Rewrite::default();
        strip_cookies(&mut rewrite, &given);
        assert_eq!(value(&rewrite, "Cookie"), Some("a=1; b=3"));
        let mut rewrite = Rewrite::default();
        strip_cookies(&mut rewrite, &headers(&[("cookie", "member_id=2")]));
        assert_eq!(rewrite.remove, [header::COOKIE]);
    }

    #[test]
    fn lines_that_stay_are_sent_as_they_came() {
        let head = b"POST /w?a=1 HTTP/1.1\r\nHOST:h\r\nX_Bitrix24_Domain: evil\r\nConnection: close\r\n\
            content-length: 9\r\nx-odd:  \xff \r\n\r\n";
        let head = RequestHead::parse(&bytes::Bytes::from_static(head)).unwrap();
        let origin = Origin::of(PEER, &head.headers, &TrustedProxies::default(), || [7; 16]);
        let mut rewrite = on_every_route(PEER, &origin, &head.headers);
        rewrite.set("Content-Length", "3");
        let mut want = b"POST /w?a=1 HTTP/1.1\r\nHOST:h\r\nx-odd:  \xff \r\n".to_vec();
        for (name, value) in [
            ("X-Request-Id", "07".repeat(16).as_str()),
            ("X-Forwarded-For", "10.0.0.1"),
            ("X-Forwarded-Proto", "http"),
            ("X-Forwarded-Host", "h"),
            (
                "traceparent",
                &format!("00-{}-{}-01", "07".repeat(16), "07".repeat(8)),
            ),
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
