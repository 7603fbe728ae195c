//! What becomes of connections, and of clients that leave them.

use super::row::{chunked, form, part, routes, row};
use crate::common::carrier::{each, table};
use crate::common::forms::{BODY, TARGET, post, request};
use crate::common::{Body, Conn, Gateway, Reply, Request, Upstream};
use serde_json::json;

#[test]
fn a_client_that_writes_all_before_it_reads_still_gets_its_413() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let mut conn = gateway.connect();
    conn.send_as_far_as_taken(post(TARGET, &[], vec![b'x'; (1 << 20) + 1]));
    let response = conn.response();
    assert_eq!(
        (response.status, &response.json()["code"]),
        (413, &json!("body_too_large"))
    );
    conn.expect_closed();
    upstream.expect_untouched();
}

#[test]
fn a_small_unread_body_is_drained_and_the_connection_goes_on() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let mut conn = gateway.connect();
    for size in [0, 1, 65_535, 65_536] {
        let mut bytes = request("PUT", TARGET, &[&format!("Content-Length: {size}")], "");
        bytes.extend(vec![b'x'; size]);
        assert_eq!(conn.roundtrip(bytes).status, 405, "{size} bytes are left");
    }
    let size = 65_537;
    let mut bytes = request("PUT", TARGET, &[&format!("Content-Length: {size}")], "");
    bytes.extend(vec![b'x'; size]);
    conn.send_as_far_as_taken(bytes);
    assert_eq!(conn.response().status, 405);
    conn.expect_closed();
}

#[test]
fn ten_thousand_refusals_on_one_connection() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let mut conn = gateway.connect();
    let refused = form("PROTOCOL=1&LANG=en", BODY).to_http1("HTTP/1.1");
    for count in 0..10_000 {
        let response = conn.roundtrip(&refused);
        assert_eq!(response.status, 422, "refusal {count}");
    }
    let metrics = gateway.metric_reaches(
        "widget_gateway_requests_total",
        &[("route", "widget"), ("outcome", "rejected")],
        10_000.0,
    );
    let missing = [("field", "DOMAIN"), ("code", "missing")];
    assert_eq!(
        metrics.value("widget_gateway_field_faults_total", &missing),
        10_000.0
    );
    assert_eq!(
        metrics.value("widget_gateway_connections_open", &[]),
        1.0,
        "it was this one connection"
    );
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn bodies_beyond_the_common_bound_are_503() {
    let large = format!("{BODY}&x={}", "x".repeat(60_000));
    each("bodies beyond the common bound", |carrier| {
        let gate = crate::common::upstream::Gate::default();
        let upstream = Upstream::replying(Reply::Held(gate.clone()));
        let gateway = Gateway::on_every_carrier(format!(
            "{}[widget]\nheld_bodies = \"96KiB\"\nbody_limit = \"64KiB\"\n",
            routes(&upstream)
        ));
        let mut first = gateway.connect();
        first.send(post(TARGET, &[], &large));
        upstream.wait_for(1);
        upstream.take();
        let large = Request::form(TARGET, large.clone());
        row("no room for a second", large.clone(), 503, "overloaded")
            .headers(&[("Retry-After", "1")])
            .check(carrier, &gateway, &upstream);
        // A small one still has room, and the room comes back with the first one's end.
        let mut small = gateway.connect();
        small.send(post(TARGET, &[], BODY));
        upstream.wait_for(1);
        gate.open();
        assert_eq!(first.response().status, 200);
        assert_eq!(small.response().status, 200);
        gateway.metrics_when("no request in flight", |now| {
            now.value("widget_gateway_requests_in_flight", &[]) == 0.0
        });
        assert_eq!(carrier.ask(&gateway, &large).status, 200);
    });
}

#[test]
fn a_client_that_leaves_is_client_closed_and_no_fault_of_ours() {
    let gate = crate::common::upstream::Gate::default();
    let upstream = Upstream::replying(Reply::Held(gate.clone()));
    let gateway = Gateway::start(routes(&upstream));
    const TYPE: &str = "Content-Type: application/x-www-form-urlencoded";
    let half = |rest: &str| request("POST", TARGET, &[TYPE, "Content-Length: 500"], rest);
    let left = [("route", "widget"), ("outcome", "client_closed")];
    let requests = "widget_gateway_requests_total";

    let mut cut_by_fin = gateway.connect();
    cut_by_fin.send(half("member_id=3f7a"));
    cut_by_fin.finish_sending();
    cut_by_fin.expect_closed();
    gateway.metric_reaches(requests, &left, 1.0);

    let mut gone = gateway.connect();
    gone.send(half("member_id=3f7a"));
    drop(gone);
    gateway.metric_reaches(requests, &left, 2.0);

    let mut half_a_chunk = gateway.connect();
    half_a_chunk.send(chunked("5\r\nab"));
    drop(half_a_chunk);
    gateway.metric_reaches(requests, &left, 3.0);
    upstream.expect_untouched();

    let mut impatient = gateway.connect();
    impatient.send(post(TARGET, &[], BODY));
    upstream.wait_for(1);
    drop(impatient);
    let metrics = gateway.metric_reaches(requests, &left, 4.0);
    gate.open();
    assert_eq!(metrics.value(requests, &[]), 4.0, "{}", metrics.lines(requests));
    let lines = gateway.request_lines(4);
    for line in &lines {
        assert_eq!(
            (&line["outcome"], &line["status"]),
            (&json!("client_closed"), &json!(499)),
            "{line}"
        );
    }
}

/// The same on every carrier: in the middle of a body, and before the answer.
#[test]
fn who_leaves_is_client_closed_whatever_carried_it() {
    let half = part(BODY.len(), &BODY[..BODY.len() / 2]);
    let rows = [
        ("a connection that ends in a body", half.clone(), Leaves::ByClose),
        ("a stream that is reset in a body", half, Leaves::ByReset),
        (
            "a connection that ends before the answer",
            Request::call(),
            Leaves::ByClose,
        ),
        (
            "a stream that is reset before the answer",
            Request::call(),
            Leaves::ByReset,
        ),
    ];
    let ran = table(
        "clients that leave",
        &rows,
        |row| row.0,
        |carrier, row| carrier.is_http2() || row.2 == Leaves::ByClose,
        |carrier| carrier,
        |carrier, _, (_, request, leaves)| {
            let upstream = Upstream::start();
            let gate = upstream.hold();
            let gateway = Gateway::on_every_carrier(routes(&upstream));
            let is_whole = matches!(request.body, Body::Length(_));
            let sent = carrier.send(&gateway, request);
            if is_whole {
                upstream.wait_for(1);
                upstream.take();
            } else {
                gateway.metrics_when("a request in flight", |now| {
                    now.value("widget_gateway_requests_in_flight", &[]) == 1.0
                });
            }
            let kept = match leaves {
                Leaves::ByClose => {
                    drop(sent);
                    None
                }
                Leaves::ByReset => Some(sent.reset()),
            };
            let left = [("route", "widget"), ("outcome", "client_closed")];
            gateway.metric_reaches("widget_gateway_requests_total", &left, 1.0);
            let line = &gateway.request_lines(1)[0];
            assert_eq!(
                (&line["outcome"], &line["status"]),
                (&json!("client_closed"), &json!(499)),
                "{line}"
            );
            upstream.expect_untouched();
            gate.open();
            drop(kept);
        },
    );
    assert_eq!(ran, [2, 2, 2, 4, 4]);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Leaves {
    ByClose,
    ByReset,
}

/// Kept beside the others because it is the one answer that is not the gateway's own.
#[test]
fn an_upstream_answer_passes_unchanged() {
    let answer =
        b"HTTP/1.1 418 Teapot\r\nContent-Type: text/html\r\nX-Own: yes\r\nContent-Length: 5\r\n\r\nshort";
    let upstream = Upstream::replying(Reply::Raw(answer.to_vec().into()));
    let gateway = Gateway::start(routes(&upstream));
    let response = Conn::open(gateway.http()).roundtrip(post(TARGET, &[], BODY));
    assert_eq!(
        (response.status, response.text(), response.header("X-Own")),
        (418, "short", Some("yes"))
    );
    let metrics = gateway.metrics_after(1);
    assert_eq!(
        metrics.value(
            "widget_gateway_upstream_responses_total",
            &[("upstream", "handlers"), ("code_class", "4xx")]
        ),
        1.0
    );
    assert_eq!(
        metrics.value(
            "widget_gateway_requests_total",
            &[("route", "widget"), ("outcome", "forwarded")]
        ),
        1.0
    );
}
