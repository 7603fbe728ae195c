//! Sizes, times and numbers, and what stands behind a request on its connection.

use std::time::Duration;

use super::{refused, setting};
use crate::common::forms::{BODY, TARGET, post, request};
use crate::common::{Upstream, shown};

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
        let mut conn = crate::common::Conn::open(gateway.h2c());
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
