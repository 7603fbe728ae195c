//! What servers answer that is odd, and what of it a client may see: the same on held and on pass routes,
//! whatever carries it (RFC 9110 7.6.1, 8.6 and 15.2; RFC 9112 6).

use std::io::{ErrorKind, Read, Write};

use crate::common::carrier::{Client, table};
use crate::common::client::connected_tls;
use crate::common::forms;
use crate::common::{Carrier, Gateway, Got, Reply, Request, Response, Upstream, shown};
use serde_json::json;

/// An answer as it stands on the wire; the server closes behind it.
struct Odd {
    what: &'static str,
    answer: &'static [u8],
    becomes: Becomes,
}

enum Becomes {
    /// An answer with this status, this body, and this much said of its length.
    Answer(u16, &'static str, Length),
    /// 502 with a problem document.
    Refused,
}

/// What is said of the body's length.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Length {
    /// That of the body.
    Own,
    /// Another: that of a body which is not there.
    Said(&'static str),
    /// Nothing: it is not known beforehand.
    Open,
    /// Nothing, and there is no body.
    Never,
}

use Becomes::{Answer, Refused};
use Length::{Never, Open, Own, Said};

const ODD: [Odd; 33] = [
    odd(
        "204 with a length",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        Answer(204, "", Never),
    ),
    odd(
        "204 with a length of nothing",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
        Answer(204, "", Never),
    ),
    odd(
        "204 with chunks",
        b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Answer(204, "", Never),
    ),
    odd(
        "304 with a length",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: \"x\"\r\n\r\n",
        Answer(304, "", Said("7")),
    ),
    odd(
        "two equal lengths",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        Answer(200, "ok", Own),
    ),
    odd(
        "two different lengths",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        Refused,
    ),
    odd(
        "a length that is no number",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2x\r\n\r\nok",
        Refused,
    ),
    odd(
        "a length below nothing",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        Refused,
    ),
    odd(
        "length and chunks together",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Answer(200, "ok", Open),
    ),
    odd(
        "chunks with extensions and trailers",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
          3;x=y\r\nabc\r\nb\r\nhello world\r\n0\r\nX-Sum: 1\r\n\r\n",
        Answer(200, "abchello world", Open),
    ),
    odd(
        "neither length nor chunks",
        b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
        Answer(200, "until the end", Open),
    ),
    odd(
        "an empty body until the end",
        b"HTTP/1.1 200 OK\r\n\r\n",
        Answer(200, "", Open),
    ),
    odd(
        "HTTP/1.0 with a length",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        Answer(200, "ok", Own),
    ),
    odd(
        "HTTP/1.0 without a length",
        b"HTTP/1.0 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nuntil the end",
        Answer(200, "until the end", Open),
    ),
    odd(
        "HTTP/1.0 that says keep-alive",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nContent-Length: 2\r\n\r\nok",
        Answer(200, "ok", Own),
    ),
    // Faulty framing, whatever else it says (RFC 9112 6.1).
    odd(
        "HTTP/1.0 with chunks",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Refused,
    ),
    odd(
        "another protocol that nobody asked for",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x00",
        Refused,
    ),
    odd(
        "100 and 103 before the answer",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
          HTTP/1.1 207 Own Words\r\nContent-Length: 2\r\n\r\nok",
        Answer(207, "ok", Own),
    ),
    odd(
        "lines for one hop",
        b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nUpgrade: h2,h2c\r\n\
          Trailer: X-Sum\r\nTE: trailers\r\nProxy-Connection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
        Answer(200, "ok", Own),
    ),
    odd(
        "headers that Connection names",
        b"HTTP/1.1 200 OK\r\nX-Named: for you alone\r\nConnection: close, X-Named\r\nConnection: x-also\r\n\
          X-Also: for you alone\r\nContent-Length: 2\r\n\r\nok",
        Answer(200, "ok", Own),
    ),
    odd(
        "cut before the head ends",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        Refused,
    ),
    odd("cut in the status line", b"HTTP/1.1 20", Refused),
    odd("nothing but a close", b"", Refused),
    odd(
        "cut behind an interim answer",
        b"HTTP/1.1 103 Early Hints\r\n\r\n",
        Refused,
    ),
    odd(
        "a broken chunk right behind the head",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        Refused,
    ),
    // Both are to be mended by who stands between (RFC 9112 5.1, 5.2).
    odd(
        "white space before the colon",
        b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\nX-Spaced\t: x\r\n\r\nok",
        Answer(200, "ok", Own),
    ),
    odd(
        "a line that goes on in the next",
        b"HTTP/1.1 200 OK\r\nX-Folded: one\r\n  two\r\n\tthree\r\nContent-Length: 2\r\n\r\nok",
        Answer(200, "ok", Own),
    ),
    odd(
        "a length that goes on in the next line",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n 3\r\n\r\nok",
        Refused,
    ),
    odd("garbage", b"garbage\r\n\r\n", Refused),
    odd("a status that is no number", b"HTTP/1.1 2xx OK\r\n\r\n", Refused),
    odd("binary garbage", b"\0\0\0\0\0\0\0\0\r\n\r\n", Refused),
    odd(
        "a transfer coding that nobody knows",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: x-own\r\n\r\nok",
        Refused,
    ),
    odd(
        "a transfer coding that was not asked for",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        Refused,
    ),
];

const fn odd(what: &'static str, answer: &'static [u8], becomes: Becomes) -> Odd {
    Odd {
        what,
        answer,
        becomes,
    }
}

fn setting(_: Carrier) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(forms::every_route(&[upstream.address]));
    (upstream, gateway)
}

/// A route of each kind, and requests to it.
fn requests() -> [(&'static str, Request); 3] {
    [
        ("held", Request::call()),
        ("passed", Request::get("/page")),
        ("streamed", Request::upload()),
    ]
}

#[test]
fn odd_answers_come_out_clean_or_are_refused() {
    let rows: Vec<_> = ODD
        .iter()
        .flat_map(|odd| {
            requests().map(|(kind, request)| (format!("{kind}, {}", odd.what), kind, request, odd))
        })
        .collect();
    let ran = table(
        "odd answers",
        &rows,
        |(name, ..)| name,
        |_, _| true,
        setting,
        |carrier, (upstream, gateway), (_, kind, request, odd)| {
            upstream.take();
            upstream.reply(Reply::Raw(odd.answer.into()));
            let ended = upstream.ended();
            let mut client = carrier.open(gateway);
            let got = client.get(request);
            // The next request is not to find this connection dying.
            upstream.wait_for_ends(ended + 1);
            let deliveries = upstream.take().len();
            let at_most = if *kind == "passed" { 2 } else { 1 };
            assert!((1..=at_most).contains(&deliveries), "{deliveries} deliveries");
            let response = match (&odd.becomes, got) {
                (Answer(status, body, length), Got::Whole(response)) => {
                    assert_eq!((response.status, response.text()), (*status, *body));
                    check_length(carrier, &response, *length);
                    response
                }
                (Refused, Got::Whole(response)) => {
                    check_refusal(gateway, &response);
                    response
                }
                (_, got) => panic!("{got:?} of {}", shown(odd.answer)),
            };
            check_one_hop(carrier, &response);
            let is_folded = shown(odd.answer).contains("X-Folded");
            assert_eq!(response.header("X-Folded"), is_folded.then_some("one two three"));
            check_interim(carrier, &response, odd);
            upstream.reply(Reply::Ok);
            check_connection(carrier, &mut client, &response);
        },
    );
    assert_eq!(ran, [3 * ODD.len(); 5]);
}

/// One bound for the heads of answers, whichever way they go.
#[test]
fn a_head_of_an_answer_may_have_128_kib() {
    let head = |lines: usize| {
        let lines = format!("X-Line: {}\r\n", "a".repeat(1000)).repeat(lines);
        format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok").into_bytes()
    };
    let rows: Vec<_> = [(30, 200), (200, 502)]
        .into_iter()
        .flat_map(|(lines, status)| {
            requests().map(|(kind, request)| (format!("{kind}, {lines} lines"), request, head(lines), status))
        })
        .collect();
    let ran = table(
        "heads of many sizes",
        &rows,
        |(name, ..)| name,
        |_, _| true,
        setting,
        |carrier, (upstream, gateway), (_, request, head, status)| {
            upstream.reply(Reply::Raw(head.clone().into()));
            let ended = upstream.ended();
            assert_eq!(carrier.ask(gateway, request).status, *status);
            upstream.wait_for_ends(ended + 1);
            upstream.take();
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}

fn check_length(carrier: Carrier, response: &Response, length: Length) {
    let body = response.body.len().to_string();
    let said = response.header("Content-Length");
    match length {
        Own => assert_eq!(said, Some(body.as_str())),
        Said(other) => assert_eq!(said, Some(other)),
        // Who has it whole may count it.
        Open => assert!(said.is_none() || said == Some(&body), "{said:?}"),
        Never => assert_eq!(said, None),
    }
    let coding = response.header("Transfer-Encoding");
    match (carrier, length, said) {
        (Carrier::Http11 | Carrier::Tls11, Open, None) => assert_eq!(coding, Some("chunked")),
        _ => assert_eq!(coding, None),
    }
    if carrier == Carrier::Http10 && length == Open && said.is_none() {
        let connection = response.header("Connection");
        assert_eq!(connection, Some("close"), "nothing else tells the end");
    }
}

fn check_refusal(gateway: &Gateway, response: &Response) {
    assert_eq!(response.status, 502, "{}", shown(&response.body));
    let media_type = response.header("Content-Type");
    assert_eq!(media_type, Some("application/problem+json"));
    let problem = response.json();
    assert_eq!(problem["code"], "upstream_error", "{problem}");
    let line = gateway.wait_log("the refusal", |line| line["request_id"] == problem["request_id"]);
    for (key, value) in [
        ("outcome", json!("upstream_error")),
        ("reason", json!("upstream_error")),
        ("status", json!(502)),
        ("bytes_out", json!(response.body.len())),
    ] {
        assert_eq!(line[key], value, "{key} in {line}");
    }
}

/// Nothing that was said for the hop behind is said to the client.
fn check_one_hop(carrier: Carrier, response: &Response) {
    for name in [
        "Keep-Alive",
        "Proxy-Connection",
        "TE",
        "Trailer",
        "Upgrade",
        "X-Named",
        "X-Also",
    ] {
        assert_eq!(response.header(name), None, "{name}");
    }
    let connection = response.header("Connection");
    match carrier {
        Carrier::Http11 | Carrier::Tls11 => {
            assert!(
                matches!(connection, None | Some("close" | "keep-alive")),
                "{connection:?}"
            );
        }
        Carrier::Http10 => assert!(matches!(connection, None | Some("close")), "{connection:?}"),
        Carrier::H2c | Carrier::H2Tls => {
            assert_eq!(connection, None);
            assert_eq!(response.header("Transfer-Encoding"), None);
        }
    }
}

/// Nobody here asked for 100; 103 is for those who know of interim answers (RFC 9110 15.2).
fn check_interim(carrier: Carrier, response: &Response, odd: &Odd) {
    let has_hints = odd.answer.windows(3).any(|three| three == b"103");
    let hints: Vec<_> = response.interim.iter().filter(|&&code| code != 100).collect();
    match carrier {
        Carrier::Http10 => assert_eq!(response.interim, [0; 0]),
        // Again where the request was sent again.
        Carrier::Http11 | Carrier::Tls11 if has_hints => {
            assert!(
                !hints.is_empty() && hints.iter().all(|code| **code == 103),
                "{hints:?}"
            );
        }
        // Its library may keep them to itself.
        Carrier::H2c | Carrier::H2Tls if has_hints => assert!(hints.iter().all(|code| **code == 103)),
        Carrier::Http11 | Carrier::Tls11 | Carrier::H2c | Carrier::H2Tls => {
            assert_eq!(response.interim, [0; 0])
        }
    }
}

/// What the answer says of the connection is what becomes of it.
fn check_connection(carrier: Carrier, client: &mut Client, response: &Response) {
    let says_close = response.header("Connection") == Some("close");
    if carrier == Carrier::Http10 || says_close {
        let conn = client.http1().expect("a carrier that can say so");
        conn.expect_closed();
    } else {
        let next = client.ask(&Request::get("/next"));
        assert_eq!((next.status, next.text()), (200, "handled\n"));
    }
}

/// A head says what a body would be like that HEAD does not send (RFC 9110 9.3.2).
#[test]
fn the_answer_to_head_has_no_body() {
    const HEADS: [(&str, &[u8], u16, Option<&str>); 5] = [
        (
            "a length",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
            200,
            Some("1000"),
        ),
        ("no length", b"HTTP/1.1 200 OK\r\n\r\n", 200, None),
        (
            "chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            200,
            None,
        ),
        (
            "HTTP/1.0",
            b"HTTP/1.0 200 OK\r\nContent-Length: 1000\r\n\r\n",
            200,
            Some("1000"),
        ),
        (
            "404 with a length",
            b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n",
            404,
            Some("9"),
        ),
    ];
    let ran = table(
        "answers to HEAD",
        &HEADS,
        |row| row.0,
        |_, _| true,
        setting,
        |carrier, (upstream, gateway), (_, answer, status, length)| {
            upstream.reply(Reply::Raw(answer.to_vec().into()));
            let ended = upstream.ended();
            let mut client = carrier.open(gateway);
            let response = client.ask(&Request::new("HEAD", "/page"));
            upstream.wait_for_ends(ended + 1);
            assert_eq!((response.status, response.text()), (*status, ""));
            assert_eq!(response.header("Content-Length"), *length);
            check_one_hop(carrier, &response);
            if carrier == Carrier::Http10 {
                assert_eq!(response.header("Transfer-Encoding"), None);
            }
            upstream.take();
            upstream.reply(Reply::Ok);
            check_connection(carrier, &mut client, &response);
        },
    );
    assert_eq!(ran, [HEADS.len(); 5]);
}

/// A server that breaks off once the client has read the head leaves a cut answer, never one that looks whole,
/// and the log has what was sent of it.
#[test]
fn an_answer_that_breaks_off_behind_its_head_is_cut_and_counted() {
    const BREAKS: [(&str, &[u8]); 3] = [
        ("a length", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"),
        (
            "chunks",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
        ),
        (
            "half a chunk",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nshort",
        ),
    ];
    let rows: Vec<_> = BREAKS
        .iter()
        .flat_map(|(what, answer)| {
            requests().map(|(kind, request)| (format!("{kind}, {what}"), request, *answer))
        })
        .collect();
    let ran = table(
        "answers that break off",
        &rows,
        |(name, ..)| name,
        |_, _| true,
        setting,
        |carrier, (upstream, gateway), (name, request, answer)| {
            let told = gateway.log_count();
            let gate = crate::common::upstream::Gate::default();
            upstream.reply(Reply::RawUntil(answer.to_vec().into(), gate.clone()));
            let mut client = carrier.open(gateway);
            let got = client.get_noticing(request, || gate.open());
            let response = match got {
                Got::Cut(response) => response,
                // Where only the close tells the end, nothing can tell this one apart.
                Got::Whole(response) if carrier == Carrier::Http10 && !name.contains("a length") => response,
                got => panic!("not cut: {got:?}"),
            };
            assert_eq!((response.status, response.text()), (200, "short"));
            assert_eq!(
                upstream.take().len(),
                1,
                "nobody asks again for an answer that has begun"
            );
            let line =
                gateway.wait_log_after(told, "the cut answer", |line| line["outcome"] == "upstream_error");
            assert_eq!(
                (&line["status"], &line["bytes_out"]),
                (&json!(200), &json!(5)),
                "{line}"
            );
            if let Some(conn) = client.http1() {
                conn.expect_closed();
            } else {
                upstream.reply(Reply::Ok);
                let next = client.ask(&Request::get("/next"));
                assert_eq!((next.status, next.text()), (200, "handled\n"));
                upstream.take();
            }
        },
    );
    assert_eq!(ran, [3 * BREAKS.len(); 5]);
}

/// Where only the close says where an answer ends, TLS tells a whole one from a cut one by its farewell (RFC 9112 9.8).
#[test]
fn over_tls_a_cut_answer_to_http10_does_not_look_whole() {
    const WHOLE: &[u8] =
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n";
    const CUT: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n";
    let (upstream, gateway) = setting(Carrier::Tls11);
    for (kind, request) in requests() {
        for (answer, farewell) in [(WHOLE, Ok(())), (CUT, Err(ErrorKind::UnexpectedEof))] {
            let gate = crate::common::upstream::Gate::default();
            upstream.reply(Reply::RawUntil(answer.to_vec().into(), gate.clone()));
            let mut client = connected_tls(gateway.tls(), b"http/1.1");
            client.write_all(&request.to_http1("HTTP/1.0")).unwrap();
            let mut got = Vec::new();
            while !got.ends_with(b"\r\n\r\nshort") {
                let mut piece = [0; 1024];
                let read = client.read(&mut piece).unwrap();
                assert!(read > 0, "{kind}: {}", shown(&got));
                got.extend_from_slice(&piece[..read]);
            }
            assert!(got.starts_with(b"HTTP/1.1 200 OK\r\n"), "{kind}: {}", shown(&got));
            gate.open();
            let ended = client.read_to_end(&mut got).map_err(|error| error.kind());
            assert_eq!(ended.map(|more| assert_eq!(more, 0)), farewell, "{kind}");
        }
    }
}
