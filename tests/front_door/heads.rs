//! Request lines, header lines and framing.

use super::{REJECTIONS, refused, refused_on_every_route, setting};
use crate::common::Gateway;
use crate::common::Upstream;
use crate::common::forms::{self, BODY, TARGET, request};
use crate::common::shown;

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
fn an_absolute_target_names_its_host_in_any_case_and_with_the_schemes_port() {
    let (upstream, gateway) = setting("");
    for (authority, host) in [
        ("widgets.example", "widgets.example"),
        ("Widgets.EXAMPLE", "widgets.example"),
        ("widgets.example:80", "Widgets.Example"),
        ("widgets.example", "widgets.example:80"),
        ("[::1]", "[0:0::1]:80"),
    ] {
        for (method, path, body) in [("POST", TARGET, forms::BODY), ("GET", "/admin/x?y=z", "")] {
            let length = body.len();
            let answer = gateway.ask(format!(
                "{method} http://{authority}{path} HTTP/1.1\r\nHost: {host}\r\n{}\r\nContent-Length: {length}\r\n\r\n{body}",
                forms::TYPE
            ));
            assert_eq!(
                answer.status,
                200,
                "{method} {authority} {host}: {}",
                answer.text()
            );
            let received = upstream.take_one();
            assert_eq!(received.target(), path.as_bytes(), "{authority}");
            assert_eq!(received.header("Host").as_deref(), Some(host));
        }
    }
    // Another port is another authority, and so is the other scheme's.
    for authority in ["widgets.example:443", "widgets.example:8080", "widgets.example."] {
        let head = format!("GET http://{authority}/admin/x HTTP/1.1\r\nHost: widgets.example\r\n\r\n");
        refused(&gateway, &upstream, head.as_bytes(), 400, "malformed_request");
    }
    let https = "GET https://widgets.example:443/admin/x HTTP/1.1\r\nHost: widgets.example\r\n\r\n";
    assert_eq!(gateway.ask(https).status, 200);
}
