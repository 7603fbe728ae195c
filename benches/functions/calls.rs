//! Calls of realistic sizes, and the surroundings of a decision.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use widget_gateway::pipeline::Env;
use widget_gateway::policy::Mode;
use widget_gateway::policy::limit::KeyTables;
use widget_gateway::policy::limit::keys::KeyTable;
use widget_gateway::policy::limit::{Limiter, Limits, LimitsSpec, Period, PolicySpec, Quota};
use widget_gateway::policy::route::{ForwardAs, Kind, PathRule, Route, Routes, WidgetRoute};
use widget_gateway::policy::selection::Selection;
use widget_gateway::policy::validate::{Call, FieldRules, PlaceRule, Unsound, validate};
use widget_gateway::request::cookie::PlainAuth;
use widget_gateway::request::field::{FieldSet, MemberId, MemberIdShape, ServerEndpoints};
use widget_gateway::request::form::Form;
use widget_gateway::request::head::RequestHead;
use widget_gateway::request::media_type::MediaType;
use widget_gateway::request::message::{Kinds, Message};
use widget_gateway::upstream::address::Address;
use widget_gateway::upstream::caller::Peer;
use widget_gateway::upstream::entry::{Entry, Place};
use widget_gateway::upstream::headers::{CookieRule, Established};
use widget_gateway::upstream::pool::{Listed, Rules, Upstream};

pub const QUERY: &str =
    "DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en&APP_SID=5d41402abc4b2a76b9719d911017c592";

/// A genuine call of today: about 600 bytes.
pub const BODY: &str = "AUTH_ID=8f21aa66007b3c110058f18a00000001f0f1075c0e9d3b7a1f2e4d6c8b0a9f1e3d5c7b\
    &AUTH_EXPIRES=3600&REFRESH_ID=7fa0d166007b3c110058f18a00000001f0f107e1d2c3b4a5968778695a4b3c2d1e0f91\
    &SERVER_ENDPOINT=https%3A%2F%2Foauth.bitrix.info%2Frest%2F&APPLICATION_TOKEN=c4ca4238a0b923820dcc509a6f75849b\
    &APPLICATION_SCOPE=placement%2Ccrm&member_id=3f7a90c1d2e45b68a0719cbe8d243f56&status=L\
    &PLACEMENT=CRM_DEAL_DETAIL_TAB&PLACEMENT_OPTIONS=%7B%22ID%22%3A%22717%22%2C%22URI%22%3A%22%5C%2Fcrm%5C%2F\
    deal%5C%2Fdetails%5C%2F717%5C%2F%22%7D";

/// The call with so many bytes of encoded options in place of the genuine ones.
pub fn body_with_options(bytes: usize) -> String {
    let (rest, _) = BODY.split_once("&PLACEMENT_OPTIONS=").unwrap();
    let pair = "%22UF_CRM_1%22%3A%22%5Cu0436%22%2C";
    let pairs = pair.repeat(bytes / pair.len());
    format!("{rest}&PLACEMENT_OPTIONS=%7B{}%7D", pairs.trim_end_matches("%2C"))
}

/// What a browser sends with a form inside a frame.
pub fn headers(body: usize) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::HOST, "widgets.example"),
        (header::CONTENT_TYPE, "application/x-www-form-urlencoded"),
        (header::ORIGIN, "https://portal.bitrix24.com"),
        (header::REFERER, "https://portal.bitrix24.com/"),
        (
            header::ACCEPT,
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        ),
        (header::ACCEPT_LANGUAGE, "en-US,en;q=0.9"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
        (header::COOKIE, "PHPSESSID=k3v9m2n8b7c6x5z4; theme=dark"),
        (
            header::USER_AGENT,
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0 Safari/537.36",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.insert("sec-fetch-dest", HeaderValue::from_static("iframe"));
    headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
    headers.insert("sec-fetch-site", HeaderValue::from_static("cross-site"));
    headers.insert(header::CONTENT_LENGTH, body.into());
    headers
}

pub const PEER: Peer = Peer {
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)),
    tls: false,
};

pub fn head(target: &str, headers: &HeaderMap) -> RequestHead {
    let target = Bytes::copy_from_slice(target.as_bytes());
    RequestHead::of_http2(Method::POST, target, None, 443, headers.clone(), false).unwrap()
}

pub fn quota(rate: u32) -> Quota {
    let rate = NonZeroU32::new(rate).unwrap();
    Quota {
        rate,
        period: Period::Second,
        burst: rate,
    }
}

pub fn member(number: u64) -> MemberId {
    // Spread over the whole width, as genuine ids are.
    let spread = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    MemberId::parse(format!("{spread:032x}").as_bytes(), MemberIdShape::Hex32).unwrap()
}

pub fn limiter(quota: Quota) -> (Limiter<MemberId>, Arc<KeyTable>) {
    let table = Arc::new(KeyTable::new(2_000_000));
    (Limiter::new(quota, table.clone(), Duration::ZERO), table)
}

/// A widget route.
pub fn route(path: &str) -> Route {
    Route {
        name: "widget".into(),
        path: PathRule::parse(path).unwrap(),
        methods: vec![Method::POST],
        kind: Kind::Widget(WidgetRoute::default()),
        selection: Selection::default(),
        upstream: "handlers".into(),
    }
}

/// A form as the message of such a route.
pub fn read(form: &Form<'_>, server_endpoints: &ServerEndpoints) -> Result<Call, Box<Unsound>> {
    let rules = FieldRules {
        member_id: MemberIdShape::Hex32,
        server_endpoints,
        required: FieldSet::default(),
        places: PlaceRule::Any,
    };
    validate(Message::of(form, Kinds::default()), rules)
}

/// What is told of such a message.
pub fn told(call: &Call, length: usize) -> Established<'_> {
    Established {
        known: call.known(),
        verdict: None,
        media_type: MediaType::Form,
        length,
        cookies: CookieRule::Strip,
        plain_auth: PlainAuth::Harmless,
        forward_as: ForwardAs::Call,
        query: QUERY.as_bytes(),
    }
}

/// One widget route, one upstream, one limit.
pub fn env(quota: Quota) -> Env {
    let place = Place::Fixed(Address::Inet(([127, 0, 0, 1], 9000).into()));
    let listed = Listed {
        entry: Arc::new(Entry::new("127.0.0.1:9000", place, None, None)),
        weight: 1,
        backup: false,
    };
    let upstream = Arc::new(Upstream::new("handlers", vec![listed], Rules::default(), None));
    let spec = LimitsSpec {
        member: Some(PolicySpec {
            mode: Mode::Enforce,
            quota,
        }),
        ..LimitsSpec::default()
    };
    Env {
        routes: Routes::new(vec![route("/")]),
        limits: Limits::build(&spec, None, &KeyTables::new(1_000_000), Duration::ZERO),
        upstreams: [("handlers".into(), upstream)].into(),
        ..Env::default()
    }
}

/// Numbers below a count in an order that no cache foresees (xorshift).
pub fn draws(seed: u64, count: u64) -> impl FnMut() -> u64 {
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ seed;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % count
    }
}
