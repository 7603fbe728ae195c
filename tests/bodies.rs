//! Bodies of every size around the borders of the engine's replay buffer arrive whole, however they
//! are sent. All fields stand in the query here, so that the body may be any bytes.

use crate::common::forms::{self, MEMBER, QUERY, Rng, chunked, post, request};
use crate::common::{DeadServer, Gateway, Response, Upstream, h2, shown};
use serde_json::json;

/// 64 KiB is what the engine can replay by itself.
const REPLAY: usize = 64 * 1024;
const SIZES: [usize; 9] = [0, 1, 1000, 65_535, REPLAY, 65_537, 131_073, 262_144, 1 << 20];
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

fn target() -> String {
    format!("/app?{QUERY}&member_id={MEMBER}&PLACEMENT=DEFAULT")
}

/// One unknown parameter of so many bytes, any bytes but `&`: nothing may be lost, doubled or changed.
fn body(size: usize) -> Vec<u8> {
    let mut rng = Rng::new(size as u64);
    let mut body: Vec<u8> = (0..size)
        .map(|_| (rng.next() >> 40) as u8)
        .map(|b| if b == b'&' { b'x' } else { b })
        .collect();
    // A name of its own: random bytes must not spell a known one.
    if let Some(first) = body.first_mut() {
        *first = b'x';
    }
    if let Some(second) = body.get_mut(1) {
        *second = b'=';
    }
    body
}

fn gateway(servers: &[std::net::SocketAddr]) -> Gateway {
    Gateway::start(format!(
        "{}[widget]\nbody_limit = \"2MiB\"\n",
        forms::routes(servers)
    ))
}

/// A million bytes are not for reading: the first difference is.
fn assert_arrived(upstream: &Upstream, response: &Response, body: &[u8], what: &str) {
    assert_eq!(response.status, 200, "{what}: {}", shown(&response.body));
    let received = upstream.take_one();
    let differs = received.body.iter().zip(body).position(|(a, b)| a != b);
    assert_eq!(
        (received.body.len(), differs),
        (body.len(), None),
        "{what}: the body at the upstream"
    );
    assert_eq!(
        received.header("Content-Length"),
        Some(body.len().to_string()),
        "{what}"
    );
    assert_eq!(
        received.values("Transfer-Encoding"),
        Vec::<Vec<u8>>::new(),
        "{what}"
    );
    assert_eq!(received.values("Expect"), Vec::<Vec<u8>>::new(), "{what}");
    let content_type = received.header("Content-Type");
    assert_eq!(
        content_type.as_deref(),
        Some("application/x-www-form-urlencoded"),
        "{what}"
    );
}

fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    request(
        "POST",
        &target(),
        &[FORM, "Transfer-Encoding: chunked"],
        chunked(body, size),
    )
}

#[test]
fn with_content_length() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let mut conn = gateway.connect();
    for size in SIZES {
        let body = body(size);
        let response = conn.roundtrip(post(&target(), &[], &body));
        assert_arrived(&upstream, &response, &body, &format!("{size} bytes"));
    }
}

#[test]
fn in_a_burst_and_in_two_halves() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let mut conn = gateway.connect();
    for size in [2, REPLAY, 131_073] {
        let body = body(size);
        let bytes = post(&target(), &[], &body);
        let head = bytes.len() - size;
        // The head alone, then each half: the engine must not see the body with the head.
        for part in [
            &bytes[..head],
            &bytes[head..head + size / 2],
            &bytes[head + size / 2..],
        ] {
            conn.send(part);
        }
        let response = conn.response();
        assert_arrived(&upstream, &response, &body, &format!("{size} bytes in halves"));
    }
}

#[test]
fn chunked_up_to_what_can_be_replayed() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let mut conn = gateway.connect();
    for size in SIZES.into_iter().filter(|&size| size <= REPLAY) {
        for piece in [REPLAY, 1000, 7] {
            let body = body(size);
            let response = conn.roundtrip(in_chunks(&body, piece));
            assert_arrived(
                &upstream,
                &response,
                &body,
                &format!("{size} bytes in chunks of {piece}"),
            );
        }
    }
}

#[test]
fn chunked_beyond_that_is_411() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    for size in SIZES.into_iter().filter(|&size| size > REPLAY) {
        for piece in [1 << 20, 1000] {
            let mut conn = gateway.connect();
            conn.send_as_far_as_taken(in_chunks(&body(size), piece));
            let response = conn.response();
            let code = &response.json()["code"];
            assert_eq!(
                (response.status, code),
                (411, &json!("length_required")),
                "{size} bytes in chunks of {piece}"
            );
        }
    }
    upstream.expect_untouched();
}

#[test]
fn one_byte_at_a_time() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let body = body(300);
    for bytes in [post(&target(), &[], &body), in_chunks(&body, 1)] {
        let mut conn = gateway.connect();
        for byte in &bytes {
            conn.send([*byte]);
        }
        let response = conn.response();
        assert_arrived(&upstream, &response, &body, "byte by byte");
        // The framing was not lost on the way: the next request on the connection is read rightly.
        assert_eq!(conn.roundtrip(request("GET", "/", &[], "")).status, 200);
        upstream.take_one();
    }
}

#[test]
fn after_a_refusal_the_connection_goes_on_where_the_chunks_were_read() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let in_chunks = |media_type: &str, body: &[u8]| {
        let headers = [media_type, "Transfer-Encoding: chunked"];
        request("POST", &format!("/app?{QUERY}"), &headers, chunked(body, 5))
    };
    let mut conn = gateway.connect();
    for _ in 0..2 {
        let response = conn.roundtrip(in_chunks(FORM, b"PLACEMENT=DEFAULT"));
        let code = &response.json()["code"];
        assert_eq!((response.status, code), (422, &json!("missing_field")));
    }
    conn.send(in_chunks("Content-Type: text/plain", b"PLACEMENT=DEFAULT"));
    let response = conn.response();
    assert_eq!(
        (response.status, response.header("Connection")),
        (415, Some("close")),
        "how much is left is not known"
    );
    conn.expect_closed();
    upstream.expect_untouched();
}

#[test]
fn expect_100_continue() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let mut conn = gateway.connect();
    for size in [1, 1000, REPLAY, 131_073] {
        let body = body(size);
        let bytes = post(&target(), &["Expect: 100-continue"], &body);
        let head = bytes.len() - size;
        conn.send(&bytes[..head]);
        assert_eq!(conn.head().expect("an interim answer").0, 100, "{size} bytes");
        conn.send(&bytes[head..]);
        let response = conn.response();
        assert_arrived(&upstream, &response, &body, &format!("{size} bytes after 100"));
    }
    // Some do not wait for it.
    let body = body(1000);
    let response = conn.roundtrip(post(&target(), &["Expect: 100-continue"], &body));
    assert_arrived(&upstream, &response, &body, "without waiting for 100");
    assert_eq!(conn.roundtrip(request("GET", "/", &[], "")).status, 200);
}

#[test]
fn on_the_way_to_the_second_server() {
    let (dead, upstream) = (DeadServer::new(), Upstream::start());
    let gateway = gateway(&[dead.address(), upstream.address]);
    let mut conn = gateway.connect();
    let retries = || {
        gateway
            .metrics()
            .value("widget_gateway_upstream_retries_total", &[])
    };
    for size in SIZES {
        let body = body(size);
        // Whoever's turn it is: among two requests, at least one begins with the dead server.
        let before = retries();
        for turn in ["first", "second"] {
            let response = conn.roundtrip(post(&target(), &["Connection: keep-alive"], &body));
            assert_arrived(&upstream, &response, &body, &format!("{size} bytes, {turn}"));
        }
        gateway.metrics_when("a retry", |now| {
            now.value("widget_gateway_upstream_retries_total", &[]) > before
        });
        if size <= REPLAY {
            for turn in ["first", "second"] {
                let response = conn.roundtrip(in_chunks(&body, 1000));
                assert_arrived(
                    &upstream,
                    &response,
                    &body,
                    &format!("{size} bytes in chunks, {turn}"),
                );
            }
        }
    }
}

#[test]
fn two_requests_in_one_write_are_both_answered_in_order() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let mut conn = gateway.connect();
    for size in [0, 1000, 65_537] {
        let body = body(size);
        let mut bytes = post(&format!("{}&n=1", target()), &[], &body);
        bytes.extend(post(&format!("{}&n=2", target()), &[], &body));
        conn.send(bytes);
        assert_eq!(
            (conn.response().status, conn.response().status),
            (200, 200),
            "{size} bytes"
        );
        let received = upstream.take();
        let ends: Vec<_> = received.iter().map(|r| r.target().last().copied()).collect();
        assert_eq!(ends, [Some(b'1'), Some(b'2')], "{size} bytes");
        assert!(received.iter().all(|r| r.body == body), "{size} bytes");
    }
}

#[test]
fn a_body_over_the_limit_is_413_at_the_border() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let limit = 2 << 20;
    let at_limit = body(limit);
    let response = gateway.ask(post(&target(), &[], &at_limit));
    assert_arrived(&upstream, &response, &at_limit, "exactly the limit");
    let head = request(
        "POST",
        &target(),
        &[FORM, &format!("Content-Length: {}", limit + 1)],
        "",
    );
    assert_eq!(gateway.ask(head).status, 413);
    upstream.expect_untouched();
}

fn h2_request(length: Option<usize>) -> http::Request<()> {
    let mut request = http::Request::builder()
        .method("POST")
        .version(http::Version::HTTP_2)
        .uri(format!("http://widgets.example{}", target()))
        .header("content-type", "application/x-www-form-urlencoded");
    if let Some(length) = length {
        request = request.header("content-length", length);
    }
    request.body(()).unwrap()
}

#[test]
fn over_http2() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    for size in SIZES {
        let body = body(size);
        let response = h2::ask(gateway.h2c(), h2_request(Some(size)), &body).unwrap();
        assert_arrived(&upstream, &response, &body, &format!("h2, {size} bytes"));
        let response = h2::ask(gateway.h2c(), h2_request(None), &body).unwrap();
        if size <= REPLAY {
            assert_arrived(
                &upstream,
                &response,
                &body,
                &format!("h2, {size} bytes, no length"),
            );
        } else {
            assert_eq!(response.status, 411, "h2, {size} bytes, no length");
            upstream.expect_untouched();
        }
    }
}

#[test]
fn over_http2_on_the_way_to_the_second_server() {
    let (dead, upstream) = (DeadServer::new(), Upstream::start());
    let gateway = gateway(&[dead.address(), upstream.address]);
    for size in [0, 1, REPLAY, 65_537, 1 << 20] {
        let body = body(size);
        for turn in ["first", "second"] {
            let response = h2::ask(gateway.h2c(), h2_request(Some(size)), &body).unwrap();
            assert_arrived(&upstream, &response, &body, &format!("h2, {size} bytes, {turn}"));
        }
    }
}

#[test]
fn http2_refusals_are_answers_too() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let response = h2::ask(gateway.h2c(), h2_request(Some(3 << 20)), &[]);
    // Content-Length without the bytes is malformed by itself; either way nothing is forwarded.
    if let Ok(response) = response {
        assert_eq!(response.status, 413);
    }
    let large = body(3 << 20);
    let response = h2::ask(gateway.h2c(), h2_request(Some(large.len())), &large).unwrap();
    assert_eq!(
        (response.status, &response.json()["code"]),
        (413, &json!("body_too_large"))
    );
    upstream.expect_untouched();
}
