//! What happens to a request that its server did not answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use super::{FAILURES, call, over};
use crate::common::carrier::{Got, each};
use crate::common::forms::{BODY, TARGET, post, routes};
use crate::common::servers::saying;
use crate::common::{Body, Carrier, Gateway, PATIENCE, Reply, Request, Upstream};

const RETRIES: &str = "widget_gateway_upstream_retries_total";

/// A server that closes its first connection when it has read the request, and answers on the next one.
fn dying() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut read = Vec::new();
            let mut piece = [0; 4096];
            while !read.ends_with(BODY.as_bytes()) {
                let size = stream.read(&mut piece).unwrap();
                read.extend_from_slice(&piece[..size]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn a_post_is_sent_again_only_where_the_file_allows_it() {
    let gateway = Gateway::start(over(&[dying()], ""));
    assert_eq!(call(&gateway).status, 502);
    assert_eq!(gateway.metrics().value(RETRIES, &[]), 0.0);

    let gateway = Gateway::start(over(&[dying()], "idempotent = true\n"));
    let answer = call(&gateway);
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    let metrics = gateway.metric_reaches(RETRIES, &[], 1.0);
    assert_eq!(metrics.value(FAILURES, &[("cause", "reset")]), 1.0);
}

#[test]
fn the_whole_time_is_bounded_and_that_of_the_background_by_itself() {
    let gate = crate::common::upstream::Gate::default();
    let server = Upstream::replying(Reply::Held(gate.clone()));
    let gateway = Gateway::start(over(&[server.address], "total_timeout = \"200ms\"\n"));
    assert_eq!(call(&gateway).status, 504);
    assert_eq!(gateway.request_lines(1)[0]["cause"], "timeout");

    let gateway = Gateway::start(over(&[server.address], "background_timeout = \"200ms\"\n"));
    let worker = BODY.replace("PLACEMENT=DEFAULT", "PLACEMENT=PAGE_BACKGROUND_WORKER");
    let mut usual = gateway.connect();
    usual.send(post(TARGET, &[], BODY));
    assert_eq!(gateway.ask(post(TARGET, &[], worker)).status, 504);
    gate.open();
    assert_eq!(
        usual.response().status,
        200,
        "another placement has the time it needs"
    );
}

#[test]
fn the_whole_of_an_answer_is_bounded_on_a_pass_route_too() {
    each("the whole time", |carrier| {
        let keys = "timeout = \"1h\"\ntotal_timeout = \"500ms\"\n";
        // Silence is told; an answer that has begun is cut.
        let gate = crate::common::upstream::Gate::default();
        let silent = Upstream::replying(Reply::Held(gate.clone()));
        let gateway = Gateway::on_every_carrier(over(&[silent.address], keys));
        for asked in [Request::get("/"), Request::upload()] {
            let refused = carrier.ask(&gateway, &asked);
            assert_eq!(
                (refused.status, &refused.json()["code"]),
                (504, &"upstream_timeout".into())
            );
        }
        gate.open();
        let server = saying(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nthe beginning");
        let gateway = Gateway::on_every_carrier(over(&[server], keys));
        let mut got = Vec::new();
        for request in [Request::get("/"), Request::call(), Request::upload()] {
            let began = Instant::now();
            match carrier.open(&gateway).get(&request) {
                Got::Cut(answer) => {
                    assert_eq!(answer.status, 200);
                    got.push(answer.body.len() as u64);
                }
                other => panic!("{other:?}"),
            }
            assert!(
                began.elapsed() >= Duration::from_millis(400),
                "{:?}",
                began.elapsed()
            );
        }
        for (line, got) in gateway.request_lines(3).iter().zip(got) {
            assert_eq!((&line["bytes_out"], got), (&got.into(), 13), "{line}");
            assert_eq!(
                (&line["reason"], &line["cause"], &line["server"]),
                (
                    &"upstream_timeout".into(),
                    &"timeout".into(),
                    &server.to_string().into()
                ),
                "{line}"
            );
        }
    });
}

#[test]
fn a_failure_counts_though_the_request_is_sent_again() {
    let server = Upstream::start();
    let gateway = Gateway::start(routes(&[server.address]));
    // A client may be back before the connection of its last answer is. Where it is the request is not sent again,
    // and one failure is all there is; once the connection was kept, there are two.
    let mut failed = 0;
    loop {
        let mut client = gateway.connect();
        let mut get = || client.roundtrip("GET / HTTP/1.1\r\nHost: h\r\n\r\n").status;
        server.reply(Reply::Ok);
        assert_eq!(get(), 200);
        server.take();
        server.reply(Reply::Close);
        assert_eq!(get(), 502);
        let delivered = server.take().len();
        failed += delivered;
        let metrics = gateway.metric_reaches(FAILURES, &[("cause", "reset")], failed as f64);
        if delivered == 2 {
            break;
        }
        assert_eq!((delivered, metrics.value(RETRIES, &[])), (1, 0.0));
        assert!(failed < 20, "no connection is ever kept");
    }
    // Failures are counted as they happen, what became of the request at its end.
    let metrics = gateway.metrics_when("its end", |metrics| metrics.value(RETRIES, &[]) > 0.0);
    assert_eq!(metrics.value(RETRIES, &[]), 1.0);
}

/// A server that keeps every connection open, whatever it says of that, and tells each by the connection's number.
fn hinting(hint: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0]);
                while stream.read(&mut byte).unwrap_or(0) == 1 {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let answer = format!(
                            "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n{hint}Content-Length: 1\r\n\r\n{number}"
                        );
                        stream.write_all(answer.as_bytes()).unwrap();
                    }
                }
            });
        }
    });
    address
}

#[test]
fn what_a_server_says_of_its_idle_connections_is_obeyed() {
    for (hint, numbers) in [
        ("", ["0", "0", "0"]),
        ("Keep-Alive: timeout=60, max=100\r\n", ["0", "0", "0"]),
        ("Keep-Alive: timeout=18446744073709551615\r\n", ["0", "0", "0"]),
        ("Keep-Alive: timeout=5, max=0\r\n", ["0", "1", "2"]),
        ("Keep-Alive: timeout=0\r\n", ["0", "1", "2"]),
    ] {
        each(&format!("hints of idle connections, {hint:?}"), |carrier| {
            let upload = Request::new("PUT", "/").body(Body::Length(b"an upload".to_vec()));
            for (kind, keys, asked) in [
                ("pass", "", Request::get("/")),
                ("pass", "methods = [\"PUT\"]\n", upload),
                ("widget", "accepts = [\"own\"]\n", Request::form("/", "")),
            ] {
                let is_engines = asked.method == "PUT";
                let gateway = Gateway::on_every_carrier(format!(
                    "[[routes]]\npath = \"/\"\nkind = \"{kind}\"\n{keys}upstream = \"u\"\n\
                     [upstreams.u]\nservers = [\"{}\"]\n",
                    hinting(hint)
                ));
                // Over one connection, since each thread keeps its own; HTTP/1.0 has one for each, and the engine gives up one
                // that it has just kept at times.
                let mut client = carrier.open(&gateway);
                let said = numbers.map(|_| client.ask(&asked).text().to_owned());
                if numbers[1] != "0" || (carrier != Carrier::Http10 && !is_engines) {
                    assert_eq!(said, numbers, "{kind}");
                }
            }
        });
    }
}
