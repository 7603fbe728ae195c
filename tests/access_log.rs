//! A line for each request that deserves one, and none of them lost at the end.

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::common::forms::{self, BODY, TARGET, post, request};
use crate::common::{Conn, DeadServer, Gateway, Reply, Setup, Upstream};
use nix::sys::signal::Signal;

#[test]
fn only_sound_answers_of_the_handler_are_sampled_out() {
    let upstream = Upstream::start();
    let gone = DeadServer::new();
    let rest = format!(
        "[[routes]]\nname = \"new\"\npath = \"/new\"\nkind = \"widget\"\nmode = \"observe\"\nupstream = \"handlers\"\n\
         [[routes]]\nname = \"gone\"\npath = \"/gone\"\nkind = \"pass\"\nupstream = \"gone\"\n\
         [upstreams.gone]\nservers = [\"{}\"]\n{}[log]\nsample_forwarded = 0.0\n",
        gone.address(),
        forms::routes(&[upstream.address])
    );
    let gateway = Gateway::start(rest);
    let answered = |status: u16| {
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        upstream.reply(Reply::Raw(answer.into()));
        gateway.ask(post(TARGET, &[], BODY)).status
    };
    // A handler's 4xx is an answer like any other.
    for status in [200, 302, 404, 200] {
        assert_eq!(answered(status), status);
    }
    for status in [500, 503, 599] {
        assert_eq!(answered(status), status);
    }
    upstream.reply(Reply::Close);
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 502);
    assert_eq!(gateway.ask(request("GET", "/gone", &[], "")).status, 502);
    upstream.reply(Reply::Ok);
    assert_eq!(gateway.ask(post("/new", &[], BODY)).status, 200);
    assert_eq!(gateway.ask(post("/app", &[], BODY)).status, 422);
    assert_eq!(gateway.ask(request("GET", "/a/../b", &[], "")).status, 400);
    gateway.metric_reaches("widget_gateway_requests_total", &[], 12.0);
    let told = |line: &serde_json::Value| {
        let outcome = line["outcome"].as_str().unwrap().to_owned();
        (outcome, line["status"].as_u64().unwrap())
    };
    let mut lines: Vec<_> = gateway.request_lines(8).iter().map(told).collect();
    // Whose line is written first is open: each came on a connection of its own.
    lines.sort();
    let mut expected = [
        ("forwarded", 500),
        ("forwarded", 503),
        ("forwarded", 599),
        ("upstream_error", 502),
        ("upstream_error", 502),
        ("observed", 200),
        ("rejected", 422),
        ("rejected", 400),
    ]
    .map(|(outcome, status)| (outcome.to_owned(), status));
    expected.sort();
    assert_eq!(lines, expected);
}

#[test]
fn refusals_with_4xx_are_sampled_out_and_nothing_else_with_them() {
    let upstream = Upstream::start();
    let gone = DeadServer::new();
    let rest = format!(
        "[[routes]]\nname = \"new\"\npath = \"/new\"\nkind = \"widget\"\nmode = \"observe\"\nupstream = \"handlers\"\n\
         [[routes]]\nname = \"gone\"\npath = \"/gone\"\nkind = \"widget\"\nupstream = \"gone\"\n\
         [upstreams.gone]\nservers = [\"{}\"]\n{}[limits.member]\nrate = \"1/h\"\nburst = 3\n[log]\nsample_refused = 0.0\n",
        gone.address(),
        forms::routes(&[upstream.address])
    );
    let gateway = Gateway::start(rest);
    assert_eq!(gateway.ask(post("/app", &[], BODY)).status, 422);
    assert_eq!(gateway.ask(request("GET", "/a/../b", &[], "")).status, 400);
    assert_eq!(gateway.ask(request("PUT", TARGET, &[], "")).status, 405);
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    assert_eq!(
        gateway
            .ask(post(&TARGET.replace("/app", "/gone"), &[], BODY))
            .status,
        502
    );
    assert_eq!(gateway.ask(post("/new", &[], "")).status, 200);
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 429);
    gateway.metric_reaches("widget_gateway_requests_total", &[], 8.0);
    let told: Vec<_> = gateway
        .request_lines(4)
        .iter()
        .map(|line| {
            (
                line["outcome"].as_str().unwrap().to_owned(),
                line["status"].as_u64().unwrap(),
            )
        })
        .collect();
    let expected = [
        ("forwarded", 200),
        ("upstream_error", 502),
        ("observed", 200),
        ("forwarded", 200),
    ];
    assert_eq!(
        told,
        expected.map(|(outcome, status)| (outcome.to_owned(), status))
    );
}

/// Calls on one connection, then on the next, until an answer says that the gateway stops. Returns how
/// many were answered, all of them with 200.
fn call_until_it_stops(address: SocketAddr, draining: &dyn Fn() -> bool) -> usize {
    let mut answered = 0;
    let mut conn = Conn::open(address);
    loop {
        let answer = conn.roundtrip(post(TARGET, &[], BODY));
        assert_eq!(answer.status, 200);
        answered += 1;
        if answer.header("Connection") == Some("close") {
            assert!(draining(), "an answer closes without a reason");
            return answered;
        }
    }
}

fn request_ids(lines: &[String]) -> (usize, usize) {
    let parsed = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line in JSON"));
    let ids: Vec<_> = parsed
        .filter_map(|line| line["request_id"].as_str().map(str::to_owned))
        .collect();
    (ids.len(), ids.into_iter().collect::<HashSet<_>>().len())
}

#[test]
fn a_stop_under_load_loses_no_line() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let upstream = Upstream::replying(Reply::Echo);
    let server = "drain_delay = \"300ms\"";
    let gateway = Gateway::with(Setup::of(forms::routes(&[upstream.address])).server(server));
    let http = gateway.http();
    let stops = AtomicBool::new(false);
    let draining = || stops.load(Ordering::SeqCst);
    let answered: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| call_until_it_stops(http, &draining)))
            .collect();
        gateway.metrics_when("some traffic", |metrics| {
            metrics.value("widget_gateway_requests_total", &[]) > 500.0
        });
        stops.store(true, Ordering::SeqCst);
        gateway.signal(Signal::SIGTERM);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let (status, lines) = gateway.wait_with_lines();
    assert_eq!(status.code(), Some(0));
    assert_eq!(request_ids(&lines), (answered, answered));
}

#[test]
fn even_a_stop_without_a_drain_writes_what_was_told() {
    const REQUESTS: usize = 300;
    let upstream = Upstream::replying(Reply::Echo);
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    let mut conn = gateway.connect();
    for _ in 0..REQUESTS {
        assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200);
    }
    // A line is told right after its answer.
    gateway.metric_reaches("widget_gateway_requests_total", &[], REQUESTS as f64);
    gateway.signal(Signal::SIGINT);
    let (status, lines) = gateway.wait_with_lines();
    assert_eq!(status.code(), Some(0));
    assert_eq!(request_ids(&lines), (REQUESTS, REQUESTS));
}
