//! Section 6 of the contract, byte by byte: what is not sound HTTP, or has two meanings, is answered
//! with its status, counted under its reason, closed, and reaches nobody.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use std::time::Duration;

use common::forms::{self, BODY, TARGET, post, request};
use common::h2::{self, Raw};
use common::{Gateway, Setup, Upstream, shown};

const REJECTIONS: &str = "widget_gateway_rejections_total";

/// A route inside another one, so that merging slashes can select another route.
fn setting(server: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let inner = "[[routes]]\npath = \"/admin\"\nname = \"admin\"\nkind = \"pass\"\nupstream = \"handlers\"\n";
    let rest = format!("{inner}{}", forms::routes(&[upstream.address]));
    let gateway = Gateway::with(Setup::of(rest).server(server));
    (upstream, gateway)
}

/// Sends the bytes as they are on a connection of their own.
fn refused(gateway: &Gateway, upstream: &Upstream, bytes: &[u8], status: u16, reason: &str) {
    let before = gateway.metrics();
    let mut conn = gateway.connect();
    conn.send(bytes);
    let response = conn
        .try_response("GET")
        .unwrap_or_else(|| panic!("no answer to {}", shown(bytes)));
    assert_eq!(response.status, status, "{}", shown(bytes));
    conn.expect_closed();
    upstream.expect_untouched();
    let total = before.value(REJECTIONS, &[]) + 1.0;
    let after = gateway.metrics_when(&shown(bytes), |now| now.value(REJECTIONS, &[]) >= total);
    let rose =
        after.value(REJECTIONS, &[("reason", reason)]) - before.value(REJECTIONS, &[("reason", reason)]);
    assert_eq!(
        rose,
        1.0,
        "{} is not counted as {reason}:\n{}",
        shown(bytes),
        after.lines(REJECTIONS)
    );
    assert_eq!(after.value(REJECTIONS, &[]), total);
}

/// The same for a table of header lines in a POST to the widget route and a GET to the pass route.
fn refused_on_every_route(lines: &[&str], status: u16, reason: &str) {
    let (upstream, gateway) = setting("");
    for line in lines {
        let head = |start: &str| format!("{start} HTTP/1.1\r\nHost: widgets.example\r\n{line}\r\n\r\n");
        for start in [format!("POST {TARGET}"), "GET /admin/x".to_owned()] {
            refused(&gateway, &upstream, head(&start).as_bytes(), status, reason);
        }
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn framing_that_two_readers_could_take_differently() {
    refused_on_every_route(
        &[
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length: -5",
            "Content-Length: 0x5",
            "Content-Length: 5e0",
            "Content-Length: 5 5",
            "Content-Length:",
            "Content-Length: 5;",
            "Content-Length: \u{665}",
            "Content-Length: 9223372036854775808",
            "Content-Length: 18446744073709551621",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: chunked, chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: ,chunked",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: \"chunked\"",
            "Transfer-Encoding:",
            "Transfer-Encoding: \u{b}chunked",
            "Transfer-Encoding : chunked",
        ],
        400,
        "malformed_request",
    );
}

#[test]
fn transfer_codings_that_are_not_served() {
    refused_on_every_route(
        &[
            "Transfer-Encoding: gzip, chunked",
            "Transfer-Encoding: gzip",
            "Transfer-Encoding: identity",
        ],
        501,
        "not_implemented",
    );
}

#[test]
fn header_lines_that_are_none() {
    refused_on_every_route(
        &[
            "Host: widgets.example",
            "Host: other.example",
            "X-A: b\r\n continued",
            "X-A: b\r\n\tcontinued",
            "X-A : b",
            "X-A\t: b",
            "X-A",
            ": b",
            "X(A): b",
            "X-A: b\0c",
            "X-A: b\u{1}c",
            "X-A: b\u{7f}c",
            "X-A: b\u{b}c",
            "X-A: b\rc",
            "X-A: b\nX-B: c",
            "X-A: b\r\r\nX-B: c",
            "\u{1}: b",
            "X-\u{e9}: b",
        ],
        400,
        "malformed_request",
    );
}

#[test]
fn heads_that_are_none() {
    let (upstream, gateway) = setting("");
    for head in [
        // Host: HTTP/1.1 demands one, of the form host[:port].
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:port\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n",
        // HTTP/1.0 knows no Transfer-Encoding.
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // Line ends.
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET /\r HTTP/1.1\r\nHost: a\r\n\r\n",
        // Request lines.
        "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1 x\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.2\r\nHost: a\r\n\r\n",
        "GET / HTTP/0.9\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1.\r\nHost: a\r\n\r\n",
        "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\u{16}\u{3}\u{1} \r\n\r\n",
        // Targets.
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\u{b}b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a\0b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?a=<b> HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?a=\"b\" HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /<a> HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?a#b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ?a HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        // Absolute-form: the authority that counts is Host's.
        // (Case does not matter to HTTP, but it does to the engine.)
        "GET http://A/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST http://b/app HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    ] {
        refused(&gateway, &upstream, head.as_bytes(), 400, "malformed_request");
    }
    assert_eq!(upstream.connections(), 0);
}

const BAD_PATHS: [&str; 24] = [
    "/a/../b",
    "/..",
    "/../x",
    "/a/..",
    "/a/.",
    "/./a",
    "/a/./b",
    "/a/%2e%2e/b",
    "/a/%2E./b",
    "/a/.%2e",
    "/%2e",
    "/a/%2e/b",
    "/a\\b",
    "/a/..\\b",
    "/a%5cb",
    "/a%5Cb",
    "/a%2fb",
    "/a%2Fb",
    "/a%00b",
    "/x.php%00.png",
    "/%2f/a",
    "/a/..%2fb",
    "/%2e%2e%2fadmin",
    "/%2Fadmin",
];

#[test]
fn paths_that_could_mean_another_script() {
    let (upstream, gateway) = setting("");
    for path in BAD_PATHS {
        refused(
            &gateway,
            &upstream,
            &request("GET", path, &[], ""),
            400,
            "malformed_request",
        );
        refused(
            &gateway,
            &upstream,
            &request("GET", &format!("{path}?x=y"), &[], ""),
            400,
            "malformed_request",
        );
        refused(
            &gateway,
            &upstream,
            &post(path, &[], ""),
            400,
            "malformed_request",
        );
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn slashes_that_hide_a_route() {
    let (upstream, gateway) = setting("");
    for path in ["//admin", "///admin/x", "//%61dmin"] {
        refused(
            &gateway,
            &upstream,
            &request("GET", path, &[], ""),
            400,
            "malformed_request",
        );
        refused(
            &gateway,
            &upstream,
            &post(path, &[], BODY),
            400,
            "malformed_request",
        );
    }
}

#[test]
fn what_only_looks_dangerous_is_forwarded_byte_for_byte() {
    let (upstream, gateway) = setting("");
    for target in [
        "/a//b",
        "/a///b?x",
        "/a%252fb",
        "/a%252e%252e/b",
        "/a%25005c",
        "/...",
        "/a/..b/c",
        "/a/b..",
        "/.well-known/x",
        "/a%20b",
        "/%41",
        "/a;b=c",
        "/a?x=/../y",
        "/a?x=%2e%2e%2f",
        "/a?x=\\",
        "/a?x=%00",
        "/a?b?c",
        "/a%zz",
        "/a%",
        "/index.php/x.php/y",
        "/%E4%BD%A0",
        "/a?x=y//z",
        "/a:b@c",
        "/app/",
    ] {
        let response = gateway.ask(request("GET", target, &[], ""));
        assert_eq!(response.status, 200, "{target}: {}", shown(&response.body));
        assert_eq!(shown(&upstream.take_one().target()), shown(target.as_bytes()));
    }
    // An absolute-form target is our own Host's; behind, it is origin-form.
    for (target, want) in [
        ("http://widgets.example/a?b", "/a?b"),
        ("http://widgets.example?b", "/?b"),
    ] {
        assert_eq!(
            gateway.ask(request("GET", target, &[], "")).status,
            200,
            "{target}"
        );
        assert_eq!(shown(&upstream.take_one().target()), want);
    }
}

#[test]
fn routes_match_the_path_decoded_once() {
    let (upstream, gateway) = setting("");
    let requests = "widget_gateway_requests_total";
    for (count, path) in ["/admin", "/%61dmin", "/admin/x", "/adm%69n/%78"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(gateway.ask(request("GET", path, &[], "")).status, 200, "{path}");
        gateway.metric_reaches(requests, &[("route", "admin")], count as f64 + 1.0);
        assert_eq!(shown(&upstream.take_one().target()), path);
    }
    // Decoded twice these would be the route's.
    for path in ["/%2561dmin", "/adminx"] {
        assert_eq!(gateway.ask(request("GET", path, &[], "")).status, 200, "{path}");
    }
    gateway.metric_reaches(requests, &[("route", "pass")], 2.0);
    gateway.metric_reaches(requests, &[("route", "admin")], 4.0);
}

#[test]
fn broken_chunk_framing() {
    let (upstream, gateway) = setting("");
    let head = "Content-Type: application/x-www-form-urlencoded\r\nTransfer-Encoding: chunked";
    let bodies = [
        "\r\n",
        "\r\n0\r\n\r\n",
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "3_0\r\nabc\r\n0\r\n\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3\r\nabc\r\n0\n\r\n",
        "3\r\nabc\r\n0\r\n\n",
        "3\r\nabc\r\n0\r\nX: y\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\0b\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
        "10000000000000000\r\nabc\r\n0\r\n\r\n",
    ];
    // All at once: each connection is drained for up to two seconds before it closes.
    let mut conns: Vec<_> = bodies
        .iter()
        .map(|body| {
            let mut conn = gateway.connect();
            conn.send(format!(
                "POST {TARGET} HTTP/1.1\r\nHost: widgets.example\r\n{head}\r\n\r\n{body}"
            ));
            conn
        })
        .collect();
    for (conn, body) in conns.iter_mut().zip(bodies) {
        let response = conn.response();
        let code = &response.json()["code"];
        assert_eq!(
            (response.status, code),
            (400, &"malformed_form".into()),
            "{body:?}"
        );
    }
    for (conn, body) in conns.iter_mut().zip(bodies) {
        println!("{body:?}");
        conn.expect_closed();
    }
    let labels = [
        ("route", "widget"),
        ("reason", "malformed_form"),
        ("mode", "enforce"),
    ];
    gateway.metric_reaches(REJECTIONS, &labels, bodies.len() as f64);
    assert_eq!(upstream.connections(), 0);
    // What the grammar allows still works: extensions, upper-case digits, leading zeros, trailers.
    let sound = format!(
        "{:X};ext=\"a\"\r\n{BODY}\r\n000;x\r\nX-Bitrix24-Domain: evil\r\n\r\n",
        BODY.len()
    );
    let bytes = format!("POST {TARGET} HTTP/1.1\r\nHost: widgets.example\r\n{head}\r\n\r\n{sound}");
    assert_eq!(gateway.ask(bytes).status, 200);
    let received = upstream.take_one();
    assert_eq!(shown(&received.body), BODY);
    assert_eq!(
        received.header("X-Bitrix24-Domain").as_deref(),
        Some("portal.bitrix24.com")
    );
}

#[test]
fn broken_chunks_do_not_reach_a_pass_route_as_a_whole_request_either() {
    let upstream = Upstream::start();
    let pass = "[[routes]]\npath = \"/\"\nkind = \"pass\"\nmethods = [\"POST\"]\nupstream = \"handlers\"\n";
    let servers = format!("[upstreams.handlers]\nservers = [\"{}\"]\n", upstream.address);
    let gateway = Gateway::start(format!("{pass}{servers}"));
    let bytes = request("POST", "/x", &["Transfer-Encoding: chunked"], "3\r\nabc\r\n\r\n");
    let response = gateway.ask(bytes);
    assert_eq!(response.status, 400, "{}", shown(&response.body));
    gateway.metric_reaches(
        REJECTIONS,
        &[("route", "pass"), ("reason", "malformed_form")],
        1.0,
    );
    // The body streams here, so the upstream may have seen its begin, but never a whole request.
    assert!(upstream.connections() <= 1);
}

#[test]
fn limits_of_the_head() {
    let (upstream, gateway) = setting("");
    let line = |size: usize| {
        let fixed = "GET /? HTTP/1.1".len();
        request("GET", &format!("/?{}", "x".repeat(size - fixed)), &[], "")
    };
    assert_eq!(gateway.ask(line(8192)).status, 200);
    refused_after(&upstream, || {
        refused(&gateway, &upstream, &line(8193), 414, "uri_too_long")
    });
    refused(&gateway, &upstream, &vec![b'x'; 20_000], 414, "uri_too_long");
    // Host and 99 more are a hundred lines.
    assert_eq!(gateway.ask(request("GET", "/", &["X: y"; 99], "")).status, 200);
    refused_after(&upstream, || {
        refused(
            &gateway,
            &upstream,
            &request("GET", "/", &["X: y"; 100], ""),
            431,
            "header_too_large",
        );
    });
    let section = |size: usize| {
        let fixed = "Host: widgets.example\r\nX: \r\n\r\n".len();
        request("GET", "/", &[&format!("X: {}", "y".repeat(size - fixed))], "")
    };
    assert_eq!(gateway.ask(section(32 * 1024)).status, 200);
    refused_after(&upstream, || {
        refused(
            &gateway,
            &upstream,
            &section(32 * 1024 + 1),
            431,
            "header_too_large",
        );
    });
    // Refused while it arrives, not once it is complete.
    let endless = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "y".repeat(40 * 1024));
    refused(&gateway, &upstream, endless.as_bytes(), 431, "header_too_large");
    refused(
        &gateway,
        &upstream,
        &request("CONNECT", "a:443", &[], ""),
        501,
        "not_implemented",
    );
}

/// The sound request before left its trace at the upstream.
fn refused_after(upstream: &Upstream, refused: impl FnOnce()) {
    upstream.take_one();
    refused();
}

#[test]
fn a_head_that_drips_is_cut_off() {
    let (upstream, gateway) = setting("header_timeout = \"400ms\"");
    let limit = Duration::from_millis(400);
    let mut conn = gateway.connect();
    conn.send("GET / HTTP/1.1\r\nHost: widg");
    assert!(conn.time_until_closed() >= limit - Duration::from_millis(50));
    // The same on a connection that has served a request.
    let mut conn = gateway.connect();
    assert_eq!(conn.roundtrip(request("GET", "/", &[], "")).status, 200);
    conn.send("G");
    assert!(conn.time_until_closed() >= limit - Duration::from_millis(50));
    let closed = "widget_gateway_connections_closed_total";
    gateway.metric_reaches(closed, &[("reason", "header_timeout")], 2.0);
    // On the listener that also takes HTTP/2, a part of its preface is no better.
    for bytes in ["PRI * HTTP/2.0\r\n", "P", "GET / HTTP"] {
        let mut conn = common::Conn::open(gateway.h2c());
        conn.send(bytes);
        conn.expect_closed();
    }
    gateway.metric_reaches(closed, &[("reason", "header_timeout")], 5.0);
    assert_eq!(upstream.take().len(), 1);
}

#[test]
fn an_idle_connection_is_closed_but_not_before_its_time() {
    let (_upstream, gateway) = setting("keepalive_timeout = \"400ms\"");
    let limit = Duration::from_millis(400);
    let mut fresh = gateway.connect();
    assert!(fresh.time_until_closed() >= limit - Duration::from_millis(50));
    let mut used = gateway.connect();
    assert_eq!(used.roundtrip(request("GET", "/", &[], "")).status, 200);
    assert!(used.time_until_closed() >= limit - Duration::from_millis(50));
    gateway.metric_reaches(
        "widget_gateway_connections_closed_total",
        &[("reason", "idle")],
        2.0,
    );
}

#[test]
fn connections_are_capped() {
    let (_upstream, gateway) = setting("max_connections = 2");
    let mut first = gateway.connect();
    let mut second = gateway.connect();
    assert_eq!(first.roundtrip(request("GET", "/", &[], "")).status, 200);
    assert_eq!(second.roundtrip(request("GET", "/", &[], "")).status, 200);
    gateway.connect().expect_closed();
    gateway.metric_reaches(
        "widget_gateway_connections_closed_total",
        &[("reason", "limit")],
        1.0,
    );
    // Those that are in go on, and one that leaves makes room.
    assert_eq!(first.roundtrip(request("GET", "/", &[], "")).status, 200);
    drop(first);
    gateway.metric_reaches(
        "widget_gateway_connections_closed_total",
        &[("reason", "client")],
        1.0,
    );
    assert_eq!(gateway.ask(request("GET", "/", &[], "")).status, 200);
    assert_eq!(second.roundtrip(request("GET", "/", &[], "")).status, 200);
}

#[test]
fn the_bytes_after_an_upgrade_stay_http() {
    let (upstream, gateway) = setting("");
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
    ];
    let mut conn = gateway.connect();
    let mut bytes = request("GET", "/a", &upgrade, "");
    bytes.extend(request("GET", "/admin/../x", &[], ""));
    conn.send(bytes);
    assert_eq!(conn.response().status, 200);
    let received = upstream.take_one();
    assert_eq!(received.values("Upgrade"), Vec::<Vec<u8>>::new());
    assert_eq!(
        conn.response().status,
        400,
        "the second head is judged like any other"
    );
    conn.expect_closed();
    upstream.expect_untouched();
}

#[test]
fn a_bad_second_request_does_not_spoil_the_first() {
    let (upstream, gateway) = setting("");
    let mut conn = gateway.connect();
    let mut bytes = post(TARGET, &[], BODY);
    bytes.extend(b"GET / HTTP/1.1\nHost: a\n\n");
    conn.send(bytes);
    assert_eq!((conn.response().status, conn.response().status), (200, 400));
    conn.expect_closed();
    assert_eq!(shown(&upstream.take_one().body), BODY);
}

/// Nothing tells a client that only stopped sending from one that has left. The gateway may answer or
/// count it as gone, but not lose it.
#[test]
fn a_half_close_after_a_whole_request_is_answered_or_counted() {
    let (_upstream, gateway) = setting("");
    let mut conn = gateway.connect();
    conn.send(post(TARGET, &[], BODY));
    conn.finish_sending();
    let outcome = match conn.try_response("POST") {
        Some(response) => {
            assert_eq!(response.status, 200);
            "forwarded"
        }
        None => "client_closed",
    };
    let requests = "widget_gateway_requests_total";
    let metrics = gateway.metric_reaches(requests, &[("route", "widget"), ("outcome", outcome)], 1.0);
    assert_eq!(metrics.value(requests, &[]), 1.0);
}

fn h2_get(path_and_query: &str) -> http::Request<()> {
    let uri = http::Uri::builder()
        .scheme("http")
        .authority("widgets.example")
        .path_and_query(path_and_query);
    http::Request::builder()
        .version(http::Version::HTTP_2)
        .uri(uri.build().unwrap())
        .body(())
        .unwrap()
}

#[test]
fn http2_paths_are_judged_alike() {
    let (upstream, gateway) = setting("");
    for path in BAD_PATHS.into_iter().filter(|path| !path.contains('\\')) {
        let response = h2::ask(gateway.h2c(), h2_get(path), &[]).unwrap();
        assert_eq!(
            (response.status, &response.json()["code"]),
            (400, &"malformed_request".into()),
            "{path}"
        );
    }
    let count = BAD_PATHS.iter().filter(|path| !path.contains('\\')).count();
    gateway.metric_reaches(REJECTIONS, &[("reason", "malformed_request")], count as f64);
    upstream.expect_untouched();
    let long = h2::ask(gateway.h2c(), h2_get(&format!("/?{}", "x".repeat(9000))), &[]).unwrap();
    assert_eq!((long.status, &long.json()["code"]), (414, &"uri_too_long".into()));
    let fine = h2::ask(gateway.h2c(), h2_get("/a//b%252f?x=%2e"), &[]).unwrap();
    assert_eq!(fine.status, 200);
    let received = upstream.take_one();
    assert_eq!(shown(&received.target()), "/a//b%252f?x=%2e");
    assert_eq!(received.header("Host").as_deref(), Some("widgets.example"));
}

/// The HTTP/2 library drops a fragment before anyone can see it; what is left has one meaning.
#[test]
fn an_http2_fragment_does_not_reach_the_upstream() {
    let (upstream, gateway) = setting("");
    let fields: [(&[u8], &[u8]); 4] = [
        (b":method", b"GET"),
        (b":scheme", b"http"),
        (b":authority", b"a"),
        (b":path", b"/a?b#c"),
    ];
    match h2::raw(gateway.h2c(), &fields, None) {
        Raw::Ok => assert_eq!(shown(&upstream.take_one().target()), "/a?b"),
        became => assert!(
            matches!(became, Raw::BadRequest | Raw::Reset | Raw::Gone),
            "{became:?}"
        ),
    }
}

#[test]
fn malformed_http2_never_reaches_the_upstream() {
    let (upstream, gateway) = setting("");
    const GET: [(&[u8], &[u8]); 3] = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"a")];
    let with = |path: &'static [u8], more: &[(&'static [u8], &'static [u8])]| {
        let mut fields = GET.to_vec();
        fields.push((b":path", path));
        fields.extend_from_slice(more);
        fields
    };
    // The table's own vessel is sound.
    assert_eq!(h2::raw(gateway.h2c(), &with(b"/", &[]), None), Raw::Ok);
    upstream.take_one();
    for fields in [
        with(b"/", &[(b"connection", b"close")]),
        with(b"/", &[(b"transfer-encoding", b"chunked")]),
        with(b"/", &[(b"keep-alive", b"1")]),
        with(b"/", &[(b"upgrade", b"h2c")]),
        with(b"/", &[(b"te", b"gzip")]),
        with(b"/", &[(b"X-Upper", b"x")]),
        with(b"/", &[(b"x y", b"x")]),
        with(b"/", &[(b"x:y", b"x")]),
        with(b"/", &[(b"", b"x")]),
        with(b"/", &[(b"x", b"a\r\nX-Bitrix24-Domain: evil")]),
        with(b"/", &[(b"x", b"a\nb")]),
        with(b"/", &[(b"x", b"a\0b")]),
        with(b"/", &[(b":path", b"/b")]),
        with(b"/", &[(b"x", b"y"), (b":method", b"POST")]),
        with(b"/", &[(b":unknown", b"y")]),
        with(b"/", &[(b"host", b"b")]),
        with(b"/", &[(b"host", b"a"), (b"host", b"b")]),
        with(b"/", &[(b"content-length", b"1"), (b"content-length", b"2")]),
        with(b"/", &[(b"content-length", b"+1")]),
        with(b"/", &[(b"content-length", b"5")]),
        with(b"/a b", &[]),
        with(b"/a\\b", &[]),
        with(b"/a\r\nX: y", &[]),
        with(b"/a\0b", &[]),
        with(b"", &[]),
        with(b"a", &[]),
        with(b"/ HTTP/1.1\r\nHost: b", &[]),
        vec![(b":method", b"GET"), (b":scheme", b"http"), (b":path", b"/")],
        vec![
            (b":method", b"G T"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"a"),
        ],
        vec![
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"u@a"),
        ],
        vec![
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":path", b"/"),
            (b":authority", b"a b"),
        ],
        vec![(b":method", b"GET"), (b":path", b"/"), (b":authority", b"a")],
        vec![(b":scheme", b"http"), (b":path", b"/"), (b":authority", b"a")],
    ] {
        let became = h2::raw(gateway.h2c(), &fields, None);
        let readable: Vec<_> = fields
            .iter()
            .map(|(name, value)| format!("{}: {}", shown(name), shown(value)))
            .collect();
        assert!(
            matches!(became, Raw::BadRequest | Raw::Reset | Raw::Gone),
            "{became:?} for {readable:?}"
        );
        upstream.expect_untouched();
    }
    let short = with(b"/", &[(b"content-length", b"9")]);
    let became = h2::raw(gateway.h2c(), &short, Some(b"abc"));
    assert!(
        matches!(became, Raw::BadRequest | Raw::Reset | Raw::Gone),
        "{became:?}"
    );
    upstream.expect_untouched();
}
