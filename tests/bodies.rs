//! Bodies of every size around the borders of buffers arrive whole, however they are sent and whatever
//! carries them. All fields stand in the query here, so that the body may be any bytes.

use crate::common::carrier::{each, table};
use crate::common::forms::{self, MEMBER, QUERY, Rng, TYPE, chunked, post, request};
use crate::common::{Body, Carrier, DeadServer, Gateway, Request, Response, Upstream, shown};
use serde_json::json;

/// 64 KiB is what the engine keeps of a request for a second try.
const REPLAY: usize = 64 * 1024;
const SIZES: [usize; 9] = [0, 1, 1000, 65_535, REPLAY, 65_537, 131_073, 262_144, 1 << 20];

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
    Gateway::on_every_carrier(format!(
        "{}[widget]\nbody_limit = \"2MiB\"\n",
        forms::routes(servers)
    ))
}

/// Bodies of pass routes are streamed, whatever says where they end.
#[test]
fn an_upload_arrives_whole_however_its_end_is_told() {
    let upload = Request::upload();
    let rows = [("a length", upload.clone()), ("none", upload.unannounced())];
    let ran = table(
        "uploads",
        &rows,
        |row| row.0,
        |carrier, (_, request)| carrier.can_say(request),
        |_| {
            let upstream = Upstream::start();
            let gateway = Gateway::on_every_carrier(forms::every_route(&[upstream.address]));
            (upstream, gateway)
        },
        |carrier, (upstream, gateway), (what, request)| {
            assert_eq!(carrier.ask(gateway, request).status, 200);
            let received = upstream.take_one();
            assert_eq!(shown(&received.body), "an upload");
            let told = (
                received.header("Content-Length"),
                received.header("Transfer-Encoding"),
            );
            let want = match *what {
                "a length" => (Some("9".to_owned()), None),
                _ => (None, Some("chunked".to_owned())),
            };
            assert_eq!(told, want);
        },
    );
    assert_eq!(ran, [2, 1, 2, 2, 2]);
}

/// Only HTTP/1.0 can leave the host out (RFC 9112 3.2), towards the server too.
#[test]
fn who_names_no_host_is_asked_for_by_http10_on_every_kind_of_route() {
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(forms::every_route(&[upstream.address]));
    let call = format!(
        "POST /app?{QUERY}&member_id={MEMBER} HTTP/1.0\r\n{TYPE}\r\nContent-Length: 17\r\n\r\nPLACEMENT=DEFAULT"
    );
    for (request, line) in [
        (call.as_str(), "POST "),
        ("GET /page HTTP/1.0\r\n\r\n", "GET /page HTTP/1.0"),
        (
            "PUT /up HTTP/1.0\r\nContent-Length: 3\r\n\r\nabc",
            "PUT /up HTTP/1.0",
        ),
    ] {
        assert_eq!(gateway.ask(request).status, 200, "{request}");
        let received = upstream.take_one();
        let head = String::from_utf8(received.head.clone()).unwrap();
        let first = head.lines().next().unwrap();
        assert!(first.starts_with(line) && first.ends_with(" HTTP/1.0"), "{first}");
        assert_eq!(received.header("Host"), None);
    }
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
        &[TYPE, "Transfer-Encoding: chunked"],
        chunked(body, size),
    )
}

/// One body: its name, and the request that brings it.
type Row = (String, Request, Vec<u8>);

/// Each size with its length and without a word of it.
fn rows(sizes: &[usize]) -> Vec<Row> {
    let of_size = |&size: &usize| {
        let body = body(size);
        let said = Request::form(&target(), body.clone());
        [
            (format!("{size} bytes"), said.clone(), body.clone()),
            (format!("{size} bytes, unannounced"), said.unannounced(), body),
        ]
    };
    sizes.iter().flat_map(of_size).collect()
}

fn on_every_carrier<S>(
    what: &str,
    rows: &[Row],
    setting: impl Fn() -> S + Sync,
    check: impl Fn(Carrier, &S, &Row) + Sync,
) -> [usize; 5] {
    table(
        what,
        rows,
        |(name, ..)| name,
        |carrier, (_, request, _)| carrier.can_say(request),
        |_| setting(),
        check,
    )
}

#[test]
fn of_every_size_with_a_length_and_without() {
    let setting = || {
        let upstream = Upstream::start();
        let gateway = gateway(&[upstream.address]);
        (upstream, gateway)
    };
    let rows = rows(&SIZES);
    let what = "bodies of every size";
    let ran = on_every_carrier(what, &rows, setting, |carrier, (upstream, gateway), row| {
        let (name, request, body) = row;
        assert_arrived(upstream, &carrier.ask(gateway, request), body, name);
    });
    assert_eq!(ran, [18, 9, 18, 18, 18]);
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
fn in_chunks_of_any_size() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let mut conn = gateway.connect();
    for size in SIZES {
        // A byte of body for seven of framing and more would take a while.
        let smallest = if size <= REPLAY { 7 } else { 500 };
        for piece in [1 << 20, REPLAY, 1000, smallest] {
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
        let response = conn.roundtrip(in_chunks(TYPE, b"PLACEMENT=DEFAULT"));
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
fn expect_100_continue_over_http2() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let body = body(1000);
    for carrier in [Carrier::H2c, Carrier::H2Tls] {
        for (line, interim) in [("Expect: 100-continue", &[100][..]), ("X-No: 1", &[])] {
            let asked = Request::form(&target(), body.clone()).line(line);
            let response = carrier.ask(&gateway, &asked);
            assert_eq!(response.interim, interim, "{carrier:?}, {line}");
            assert_arrived(&upstream, &response, &body, line);
        }
    }
}

/// HTTP/1.0 does not know it (RFC 9110 10.1.1): nobody waits, and a 100 would be taken for the answer.
#[test]
fn expect_100_continue_over_http_1_0_is_ignored() {
    let upstream = Upstream::start();
    let gateway = gateway(&[upstream.address]);
    let body = body(1000);
    let asked = Request::form(&target(), body.clone()).line("Expect: 100-continue");
    let response = Carrier::Http10.ask(&gateway, &asked);
    assert_eq!(response.interim, [0; 0]);
    assert_arrived(&upstream, &response, &body, "over HTTP/1.0");
}

#[test]
fn on_the_way_to_the_second_server() {
    let retries = "widget_gateway_upstream_retries_total";
    let setting = || {
        let (dead, upstream) = (DeadServer::new(), Upstream::start());
        let gateway = gateway(&[dead.address(), upstream.address]);
        (upstream, gateway, dead)
    };
    let rows = rows(&SIZES);
    let what = "bodies on the way to the second server";
    let ran = on_every_carrier(what, &rows, setting, |carrier, (upstream, gateway, _), row| {
        let (name, request, body) = row;
        let mut client = carrier.open(gateway);
        for turn in ["first", "second"] {
            let response = client.ask(request);
            assert_arrived(upstream, &response, body, &format!("{name}, {turn}"));
        }
        // A server that is down is asked last; before that was known it had the first turn of one.
        gateway.metrics_when("a retry", |now| now.value(retries, &[]) >= 1.0);
    });
    assert_eq!(ran, [18, 9, 18, 18, 18]);
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
    each("bodies around the limit", |carrier| {
        let upstream = Upstream::start();
        let gateway = gateway(&[upstream.address]);
        let limit = 2 << 20;
        let (at_limit, over) = (body(limit), body(limit + 1));
        let of = |body: &[u8]| Request::form(&target(), body);
        let accepted = [of(&at_limit), of(&at_limit).unannounced()];
        for request in accepted.iter().filter(|request| carrier.can_say(request)) {
            let response = carrier.ask(&gateway, request);
            assert_arrived(&upstream, &response, &at_limit, "exactly the limit");
        }
        // Its head alone is enough where the length is said.
        let head = of(&[]).body(Body::Part {
            length: limit + 1,
            sent: Vec::new(),
        });
        let refused = [head, of(&over), of(&over).unannounced()];
        for request in refused.iter().filter(|request| carrier.can_say(request)) {
            let response = carrier.ask(&gateway, request);
            let code = &response.json()["code"];
            assert_eq!((response.status, code), (413, &json!("body_too_large")));
        }
        upstream.expect_untouched();
    });
}
