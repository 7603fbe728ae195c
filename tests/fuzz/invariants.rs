//! What must hold for any bytes. The fuzz targets and `tests/properties.rs` call these four functions
//! with bytes from different sources; a broken invariant panics.

#[path = "readings.rs"]
mod readings;

use std::borrow::Cow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use widget_gateway::pipeline::{self, BodyPlan, Decision, Env, Forward};
use widget_gateway::policy::Mode;
use widget_gateway::policy::limit::KeyTables;
use widget_gateway::policy::limit::{
    ClientSpec, EventSpec, Limits, LimitsSpec, Period, PlacementSpec, PolicySpec, Quota,
};
use widget_gateway::policy::pattern::Pattern;
use widget_gateway::policy::route::{Kind, PathRule, Route, Routes, Upgrade, WidgetRoute};
use widget_gateway::policy::selection::Selection;
use widget_gateway::policy::validate::PlaceRule;
use widget_gateway::request::chunks::Chunks;
use widget_gateway::request::field::{Field, FieldSet};
use widget_gateway::request::form::{Form, FormFault};
use widget_gateway::request::head::fault::{MAX_HEADER_SECTION, MAX_REQUEST_LINE};
use widget_gateway::request::head::{Framing, HeadScan, RequestHead, Version};
use widget_gateway::request::media_type::MediaType;
use widget_gateway::request::message::{self, Kinds};
use widget_gateway::upstream::address::Address;
use widget_gateway::upstream::caller::{Caller, Peer, TrustedProxies};
use widget_gateway::upstream::entry::{Entry, Place};
use widget_gateway::upstream::pool::{Listed, Rules, Upstream};

use super::php;
use readings::{Readings, set};

const MAX_PARAMS: usize = 1000;
const MAX_KEYS: usize = 1000;

// ---------------------------------------------------------------- the form

/// `query LF body`; without LF all of it is body.
pub fn form(data: &[u8]) {
    let (query, body) = halves(data);
    let parsed = Form::parse(query, body, MAX_PARAMS);
    let query_pairs = query
        .split(|&b| b == b'&')
        .filter(|pair| !pair.is_empty())
        .count();
    let body_pairs = if body.is_empty() {
        0
    } else {
        body.split(|&b| b == b'&').count()
    };
    let too_many = query_pairs > MAX_PARAMS || body_pairs > MAX_PARAMS;
    let form = match parsed {
        Ok(form) => form,
        Err(FormFault::TooManyParams) => {
            assert!(too_many, "refused {query_pairs} and {body_pairs} parameters");
            return;
        }
    };
    assert!(!too_many, "accepted {query_pairs} and {body_pairs} parameters");
    let whatwg: Vec<(Cow<'_, str>, Cow<'_, str>)> = [query, body]
        .into_iter()
        .flat_map(|part| serde_urlencoded::from_bytes::<Vec<_>>(part).unwrap_or_default())
        .collect();
    readings::one_opinion(&form, &Readings::of(query, body), &whatwg);
}

fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    match data.iter().position(|&b| b == b'\n') {
        Some(at) => (&data[..at], &data[at + 1..]),
        None => (&[], data),
    }
}

// ---------------------------------------------------------------- the head

/// Bytes as they come on a connection.
pub fn head(data: &[u8]) {
    let whole = HeadScan::default().advance(data);
    for cut in cuts(data.len()) {
        let mut scan = HeadScan::default();
        match scan.advance(&data[..cut]) {
            Ok(None) => assert_eq!(scan.advance(data), whole, "cut at {cut}"),
            early => assert_eq!(early, whole, "cut at {cut}"),
        }
    }
    let Ok(Some(end)) = whole else {
        return;
    };
    let head = &data[..end];
    assert!(head.ends_with(b"\r\n\r\n"), "a head ends with an empty line");
    assert!(
        end <= MAX_REQUEST_LINE + MAX_HEADER_SECTION + 8,
        "a head of {end} bytes"
    );
    if let Ok(parsed) = RequestHead::parse(&Bytes::copy_from_slice(head)) {
        one_meaning(head, &parsed);
    }
}

/// A head that passed has the meaning that a naive reader finds, and the engine's parser the same.
fn one_meaning(head: &[u8], read: &RequestHead) {
    let text = &head[..head.len() - 4];
    assert!(
        head.iter()
            .all(|&b| b >= b' ' && b != 0x7f || matches!(b, b'\t' | b'\r' | b'\n')),
        "a control byte"
    );
    let mut lines = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.windows(2).position(|pair| pair == b"\r\n") {
        lines.push(&rest[..at]);
        rest = &rest[at + 2..];
    }
    lines.push(rest);
    for line in &lines {
        assert!(
            !line.contains(&b'\r') && !line.contains(&b'\n'),
            "a line end inside a line"
        );
    }
    let request: Vec<&[u8]> = lines[0].split(|&b| b == b' ').collect();
    let [_, target, version] = request[..] else {
        panic!("a request line of {} parts", request.len());
    };
    let values = |wanted: &str| -> Vec<&[u8]> {
        lines[1..]
            .iter()
            .filter_map(|line| {
                let colon = line.iter().position(|&b| b == b':').expect("a colon");
                line[..colon]
                    .eq_ignore_ascii_case(wanted.as_bytes())
                    .then(|| line[colon + 1..].trim_ascii())
            })
            .collect()
    };
    assert!(!target.contains(&b'#') && !target.contains(&b'\t'), "target");
    let (hosts, lengths, codings) = (
        values("host"),
        values("content-length"),
        values("transfer-encoding"),
    );
    assert!(
        hosts.len() == 1 || (hosts.is_empty() && version == b"HTTP/1.0"),
        "hosts"
    );
    match read.framing {
        Framing::Frames => panic!("frames on HTTP/1"),
        Framing::Chunked => {
            assert!(
                lengths.is_empty() && codings.len() == 1 && version == b"HTTP/1.1",
                "chunked"
            );
            assert!(codings[0].eq_ignore_ascii_case(b"chunked"), "coding");
        }
        Framing::Length(length) => {
            assert!(codings.is_empty() && lengths.len() <= 1, "length");
            let told = lengths.first().map_or(Some(0), |digits| {
                digits.iter().try_fold(0_u64, |sum, digit| {
                    sum.checked_mul(10)?
                        .checked_add(u64::from(digit.checked_sub(b'0')?))
                })
            });
            assert_eq!(Some(length), told, "length");
        }
    }
    no_other_script(target);
    let mut slots = [httparse::EMPTY_HEADER; 256];
    let mut parsed = httparse::Request::new(&mut slots);
    assert_eq!(
        parsed.parse(head),
        Ok(httparse::Status::Complete(head.len())),
        "the engine's parser"
    );
    assert_eq!(
        parsed.path.map(str::as_bytes),
        Some(target),
        "the engine's target"
    );
    assert_eq!(parsed.headers.len(), lines.len() - 1, "the engine's headers");
    let mut headers = HeaderMap::new();
    for line in &*parsed.headers {
        headers.append(
            HeaderName::from_bytes(line.name.as_bytes()).expect("a name"),
            HeaderValue::from_bytes(line.value.trim_ascii()).expect("a value"),
        );
    }
    assert_eq!(
        (read.method.as_str(), &read.target.raw()[..], &read.headers),
        (parsed.method.unwrap_or_default(), target, &headers),
        "the strict reader"
    );
    let is_http11 = version == b"HTTP/1.1";
    assert_eq!(read.version == Version::Http11, is_http11, "version");
    // What was kept of the lines is what came.
    let mut kept = Vec::new();
    read.append_lines(&mut kept, |_| true);
    assert_eq!(kept, &head[lines[0].len() + 2..head.len() - 2], "the lines");
}

/// However often a server decodes and resolves, the path names the script that the route saw.
fn no_other_script(target: &[u8]) {
    let path = target.split(|&b| b == b'?').next().unwrap_or_default();
    let path = match path.windows(3).position(|at| at == b"://") {
        Some(scheme) if !path.starts_with(b"/") => {
            let after = &path[scheme + 3..];
            after
                .iter()
                .position(|&b| b == b'/')
                .map_or(&b"/"[..], |at| &after[at..])
        }
        _ => path,
    };
    // In a path `+` is itself.
    let kept = path
        .iter()
        .map(|&b| if b == b'+' { b'~' } else { b })
        .collect::<Vec<_>>();
    let decoded = php::url_decode(&kept);
    assert_eq!(
        path.iter().filter(|&&b| b == b'/').count(),
        decoded.iter().filter(|&&b| b == b'/').count(),
        "an encoded slash"
    );
    assert!(
        !decoded.contains(&b'\\') && !decoded.contains(&0),
        "a backslash or NUL"
    );
    assert!(
        decoded
            .split(|&b| b == b'/')
            .all(|segment| segment != b"." && segment != b".."),
        "a dot segment"
    );
}

// ---------------------------------------------------------------- chunks

/// The bytes behind a head with `Transfer-Encoding: chunked`.
pub fn chunks(data: &[u8]) {
    let (mut chunks, mut held) = (Chunks::default(), BytesMut::new());
    let whole = chunks.read(data, &mut held);
    for cut in cuts(data.len()) {
        let (mut parts, mut pieces) = (Chunks::default(), BytesMut::new());
        let taken = parts.read(&data[..cut], &mut pieces).and_then(|first| {
            if parts.is_complete() {
                Ok(first)
            } else {
                parts.read(&data[first..], &mut pieces).map(|then| first + then)
            }
        });
        assert_eq!(taken, whole, "cut at {cut}");
        if whole.is_ok() {
            assert_eq!((parts, &pieces), (chunks, &held), "cut at {cut}");
        }
    }
    match (whole, naive_chunks(data)) {
        (Ok(taken), Some((end, body))) => {
            assert!(
                chunks.is_complete() && taken == end,
                "ends at {taken} instead of {end}"
            );
            assert_eq!(held, body, "what the chunks hold");
        }
        (Ok(taken), None) => assert!(!chunks.is_complete() && taken == data.len(), "complete too early"),
        // Stricter in extensions and trailers, never in the frame.
        (Err(_), _) => {}
    }
}

/// Where the body ends and what it holds, read line by line. None where it does not end.
fn naive_chunks(data: &[u8]) -> Option<(usize, Vec<u8>)> {
    let line_end = |from: usize| {
        data.get(from..)?
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .map(|at| from + at)
    };
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let end = line_end(at)?;
        let line = &data[at..end];
        let digits = line.split(|&b| b == b';').next().unwrap_or_default();
        let size = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        at = end + 2;
        if size == 0 {
            loop {
                let end = line_end(at)?;
                let empty = end == at;
                at = end + 2;
                if empty {
                    return Some((at, body));
                }
            }
        }
        let start = at;
        at = at.checked_add(usize::try_from(size).ok()?)?;
        body.extend_from_slice(data.get(start..at)?);
        if data.get(at..at.checked_add(2)?)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
}

// ---------------------------------------------------------------- the decision

/// A request as it comes on a connection; or, where that is no sound head, `target LF cookie LF body` of
/// a widget call, so that mutations reach the form. Tells whether an enforcing widget route forwards it.
pub fn decision(data: &[u8]) -> bool {
    if let Ok(Some(end)) = HeadScan::default().advance(data) {
        return RequestHead::parse(&Bytes::copy_from_slice(&data[..end]))
            .is_ok_and(|head| decide(&head, &data[end..]));
    }
    let (target, rest) = halves(data);
    let (cookie, body) = halves(rest);
    let target = match target.first() {
        Some(b'/') => target.to_vec(),
        _ => [b"/?", target].concat(),
    };
    let mut headers = HeaderMap::new();
    headers.insert(header::HOST, HeaderValue::from_static("widgets.example"));
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    if let Ok(cookie) = HeaderValue::from_bytes(cookie)
        && !cookie.is_empty()
    {
        headers.insert(header::COOKIE, cookie);
    }
    RequestHead::of_http2(Method::POST, target.into(), None, 443, headers, false)
        .is_ok_and(|head| decide(&head, body))
}

const PEER: Peer = Peer {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    tls: false,
};

fn decide(head: &RequestHead, body: &[u8]) -> bool {
    static WORLD: OnceLock<World> = OnceLock::new();
    let World { env, tables, tick } = WORLD.get_or_init(World::new);
    let caller = Caller::of(PEER, &head.headers, &TrustedProxies::default(), || [7; 16]);
    let now = Duration::from_millis(tick.fetch_add(1, Ordering::Relaxed));
    let routed = match pipeline::route(head, &caller, now, env) {
        Ok(routed) => routed,
        Err(unrouted) => {
            sound_answer(&unrouted.rejection);
            return false;
        }
    };
    let body = match routed.body {
        BodyPlan::Hold(bounds) => &body[..body.len().min(bounds.limit)],
        BodyPlan::Stream | BodyPlan::None | BodyPlan::Switch => &[],
    };
    let kind = &routed.route.kind;
    let read = pipeline::read(routed, head, body, env);
    let Ok(Decision { result, findings, .. }) = pipeline::decide(read, None, PEER, &caller, now, env) else {
        panic!("there is no store to wait for");
    };
    for (policy, table) in tables.each() {
        let keys = table.len();
        assert!(
            keys <= MAX_KEYS,
            "the table of {} outgrew its bound",
            policy.label()
        );
    }
    if now.as_millis().is_multiple_of(1024) {
        env.limits.sweep(now);
    }
    let forward = match result {
        Ok(forward) => forward,
        Err(rejection) => {
            sound_answer(&rejection);
            return false;
        }
    };
    nothing_forged(&head.headers, &forward, *kind);
    let query = head.target.query();
    no_token(&forward, query, body);
    let Kind::Widget(WidgetRoute {
        mode: Mode::Enforce, ..
    }) = *kind
    else {
        return false;
    };
    assert!(findings.would_reject.is_empty(), "enforced");
    let message = findings.message.expect("what is forwarded was recognized");
    let is_json = MediaType::of(&head.headers) == Some(MediaType::Json);
    assert!(!is_json || message == message::Kind::Own, "JSON of Bitrix24's");
    let form = if is_json { &[] } else { body };
    readings::unique(message, &forward, &head.headers, query, form, body.len());
    true
}

struct World {
    env: Env,
    tables: KeyTables,
    tick: AtomicU64,
}

impl World {
    fn new() -> World {
        let route = |name: &str, path: &str, methods: &[Method], kind| Route {
            name: name.into(),
            path: PathRule::parse(path).expect("a path"),
            methods: methods.to_vec(),
            kind,
            selection: Selection::default(),
            upstream: "handlers".into(),
        };
        let widget = Kind::Widget;
        let all = WidgetRoute {
            accepts: Kinds::of(&message::Kind::ALL),
            ..WidgetRoute::default()
        };
        let place = Place::Fixed(Address::Inet(([127, 0, 0, 1], 9000).into()));
        let listed = Listed {
            entry: std::sync::Arc::new(Entry::new("127.0.0.1:9000", place, None, None)),
            weight: 1,
            backup: false,
        };
        let upstream = Upstream::new("handlers", vec![listed], Rules::default(), None);
        let most = std::num::NonZeroU32::new(Quota::MAX).expect("not zero");
        let policy = PolicySpec {
            mode: Mode::Enforce,
            quota: Quota {
                rate: most,
                period: Period::Second,
                burst: most,
            },
        };
        let tables = KeyTables::new(MAX_KEYS);
        let spec = LimitsSpec {
            shared: None,
            max_keys: MAX_KEYS,
            new_keys_per_client: LimitsSpec::NEW_KEYS,
            client: Some(ClientSpec {
                policy,
                except: Vec::new(),
            }),
            gateway: Some(policy),
            member: Some(policy),
            overrides: Vec::new(),
            placement: vec![PlacementSpec {
                matches: Pattern::parse("CRM_*").expect("a pattern"),
                policy,
            }],
            event: Some(EventSpec {
                policy,
                wait: Duration::from_secs(1),
            }),
        };
        let limits = Limits::build(&spec, None, &tables, Duration::ZERO);
        let env = Env {
            routes: Routes::new(vec![
                route("widget", "/", &[Method::POST], widget(WidgetRoute::default())),
                route("all", "/all", &[Method::POST], widget(all)),
                route(
                    "strict",
                    "/strict",
                    &[Method::POST],
                    widget(WidgetRoute {
                        places: PlaceRule::Strict,
                        ..all
                    }),
                ),
                route(
                    "observed",
                    "/observed",
                    &[Method::POST],
                    widget(WidgetRoute {
                        mode: Mode::Observe,
                        ..WidgetRoute::default()
                    }),
                ),
                route(
                    "pass",
                    "/",
                    &[Method::GET, Method::HEAD],
                    Kind::Pass(Upgrade::Never),
                ),
            ]),
            limits,
            upstreams: [("handlers".into(), std::sync::Arc::new(upstream))].into(),
            ..Env::default()
        };
        World {
            env,
            tables,
            tick: AtomicU64::new(0),
        }
    }
}

/// No header of the client's is left that PHP would show under a name of ours. On a pass route the application has names
/// of its own that begin as ours do.
fn nothing_forged(headers: &HeaderMap, forward: &Forward, kind: Kind) {
    const OURS: [&str; 15] = [
        "MESSAGE",
        "EVENT",
        "DOMAIN",
        "PROTOCOL",
        "PORTAL",
        "LANG",
        "LOCALE",
        "MEMBER_ID",
        "PLACEMENT",
        "PLACEMENT_OPTIONS",
        "PLACEMENT_OPTIONS_STATE",
        "APP_SID",
        "STATUS",
        "VERIFIED",
        "USER_ID",
    ];
    for name in headers.keys() {
        let php = |name: &str| -> String {
            name.bytes()
                .map(|b| {
                    if b.is_ascii_alphanumeric() {
                        b.to_ascii_uppercase() as char
                    } else {
                        '_'
                    }
                })
                .collect()
        };
        let gone = forward.rewrite.remove.contains(name)
            || forward
                .rewrite
                .to_set()
                .any(|(set, _)| set.eq_ignore_ascii_case(name.as_str()));
        let shown = php(name.as_str());
        let bitrix24 = shown.strip_prefix("X_BITRIX24_");
        let ours = bitrix24.is_some_and(|own| matches!(kind, Kind::Widget(_)) || OURS.contains(&own))
            || forward.rewrite.to_set().any(|(set, _)| php(set) == shown);
        assert!(gone || !ours, "{name} reaches the handler as {shown}");
    }
}

/// Tokens are in no header that we write, unless another field has the same text.
fn no_token(forward: &Forward, query: &[u8], body: &[u8]) {
    const SECRET: FieldSet = FieldSet::of(&[
        Field::AuthId,
        Field::RefreshId,
        Field::ApplicationToken,
        Field::AuthAccessToken,
        Field::AuthRefreshToken,
        Field::AuthApplicationToken,
    ]);
    let public = Field::ALL.into_iter().filter(|field| !SECRET.has(*field));
    let mut public = readings::texts(public, query, body);
    // The portal's address is put together from two fields.
    public.extend(set(forward, "X-Bitrix24-Portal").map(<[u8]>::to_vec));
    let within = |long: &[u8], short: &[u8]| long.windows(short.len()).any(|at| at == short);
    let secrets = readings::texts(SECRET.iter(), query, body);
    for token in secrets.iter().filter(|token| token.len() >= 16) {
        for (name, value) in forward.rewrite.to_set() {
            if name.starts_with("X-Bitrix24-") && within(value, token) {
                let lower = token.to_ascii_lowercase();
                assert!(
                    public
                        .iter()
                        .any(|text| within(&text.to_ascii_lowercase(), &lower))
                        || name == "X-Bitrix24-Placement-Options",
                    "{name} holds a token"
                );
            }
        }
    }
}

/// A refusal can be said.
fn sound_answer(rejection: &widget_gateway::response::rejection::Rejection) {
    assert!((400..=599).contains(&rejection.reason().status()), "status");
    let detail = rejection.detail();
    assert!(
        !detail.is_empty() && detail.bytes().all(|b| (b' '..=b'~').contains(&b)),
        "detail"
    );
    for line in rejection.headers() {
        assert!(line.value.to_str().is_ok(), "{}", line.name);
    }
}

// ---------------------------------------------------------------- cuts

/// All places to cut a short text, some of a long one.
fn cuts(length: usize) -> impl Iterator<Item = usize> {
    let step = (length / 16).max(1);
    (0..length).step_by(step).chain(length.saturating_sub(4)..length)
}
