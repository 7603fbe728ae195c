//! Clients that do not read, or hardly, or only pretend to ask: they hold up nobody else, no server for
//! longer than `write_timeout` allows, and little memory.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::common::carrier::table;
use crate::common::client::{connected, connected_tls};
use crate::common::forms::{self, BODY, TARGET};
use crate::common::frames::{self, MAX_WINDOW};
use crate::common::{
    Body, Carrier, Gateway, PATIENCE, Reply, Request, Response, Setup, Upstream, h2, servers,
};
use bytes::Bytes;
use nix::sys::signal::Signal;
use socket2::{Domain, Socket, Type};

const REQUESTS: &str = "widget_gateway_requests_total";
const CLOSED: &str = "widget_gateway_connections_closed_total";
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);
/// For a machine that does other things too.
const SLACK: Duration = Duration::from_secs(4);
/// Twice the timeout.
const FREED: Duration = Duration::from_secs(2).saturating_add(SLACK);
/// More than the kernels on the way keep for anybody.
const LARGE: usize = 20 << 20;

fn answer_of(size: usize) -> Reply {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + size, b'x');
    Reply::Raw(Bytes::from(answer))
}

fn setting(reply: Reply) -> (Upstream, Gateway) {
    let upstream = Upstream::replying(reply);
    let setup = Setup::of(forms::every_route(&[upstream.address]));
    let gateway = Gateway::with(setup.server("write_timeout = \"1s\"").every_carrier());
    (upstream, gateway)
}

#[derive(Clone, Copy, Debug)]
enum Route {
    Held,
    Passed,
    Streamed,
}

const ROUTES: [(&str, Route); 3] = [
    ("held", Route::Held),
    ("passed", Route::Passed),
    ("streamed", Route::Streamed),
];

impl Route {
    fn name(self) -> &'static str {
        match self {
            Route::Held => "widget",
            Route::Passed => "pass",
            Route::Streamed => "up",
        }
    }

    fn request(self) -> Request {
        match self {
            Route::Held => Request::call(),
            Route::Passed => Request::get("/page"),
            Route::Streamed => Request::upload(),
        }
    }
}

fn all_is_over(gateway: &Gateway) {
    gateway.metrics_when("no request in flight", |now| {
        now.value("widget_gateway_requests_in_flight", &[]) == 0.0
    });
}

/// Checks that every connection of the server is free in time, and that the clients are told as gone.
fn expect_freed(upstream: &Upstream, gateway: &Gateway, route: Route, count: usize) {
    let since = Instant::now();
    upstream.wait_for_ends(count);
    let took = since.elapsed();
    assert!(took <= FREED, "the server was held for {took:?}");
    let gone = [("route", route.name()), ("outcome", "client_closed")];
    gateway.metric_reaches(REQUESTS, &gone, count as f64);
    all_is_over(gateway);
}

#[test]
fn who_reads_nothing_frees_the_server() {
    let ran = table(
        "clients that read nothing",
        &ROUTES,
        |row| row.0,
        |_, _| true,
        |_| setting(answer_of(LARGE)),
        |carrier, (upstream, gateway), (_, route)| {
            let ended = upstream.connections();
            let _silent = carrier.send(gateway, &route.request());
            upstream.wait_for(1);
            upstream.take();
            expect_freed_after(upstream, gateway, *route, ended);
        },
    );
    assert_eq!(ran, [3; 5]);
}

/// One request more than those before has its server free in time.
fn expect_freed_after(upstream: &Upstream, gateway: &Gateway, route: Route, ended: usize) {
    let since = Instant::now();
    upstream.wait_for_ends(ended + 1);
    let took = since.elapsed();
    assert!(took <= FREED, "the server was held for {took:?}");
    let gone = [("route", route.name()), ("outcome", "client_closed")];
    gateway.metric_reaches(REQUESTS, &gone, 1.0);
    all_is_over(gateway);
}

#[test]
fn who_reads_a_hundred_bytes_a_second_frees_the_server() {
    let ran = table(
        "clients that hardly read",
        &ROUTES,
        |row| row.0,
        |_, _| true,
        |_| setting(answer_of(LARGE)),
        |carrier, (upstream, gateway), (_, route)| {
            let ended = upstream.connections();
            let mut silent = carrier.send(gateway, &route.request());
            upstream.wait_for(1);
            upstream.take();
            let since = Instant::now();
            // The wait for the server is the pace of the client.
            while !upstream.ends_within(ended + 1, Duration::from_millis(100)) && since.elapsed() < PATIENCE {
                silent.sip(10);
            }
            let took = since.elapsed();
            assert!(took <= FREED, "the server was held for {took:?}");
            let gone = [("route", route.name()), ("outcome", "client_closed")];
            gateway.metric_reaches(REQUESTS, &gone, 1.0);
        },
    );
    assert_eq!(ran, [3; 5]);
}

/// Where the whole time runs out at a client's pace, the server is not to blame, nor out of turn.
#[test]
fn a_server_is_not_blamed_for_a_client_that_takes_its_time() {
    const FAILURES: &str = "widget_gateway_upstream_failures_total";
    let ran = table(
        "whole times that a client has used up",
        &ROUTES,
        |row| row.0,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, (_, route)| {
            let upstream = Upstream::replying(answer_of(LARGE));
            let keys = "total_timeout = \"500ms\"\n[upstreams.handlers.eject]\nfailures = 1\n";
            let rest = forms::every_route(&[upstream.address]) + keys;
            let gateway = Gateway::with(Setup::of(rest).every_carrier());
            let silent = carrier.send(&gateway, &route.request());
            let line = gateway.request_lines(1).remove(0);
            assert_eq!(line["reason"], "client_closed", "{line}");
            assert_eq!(line["cause"], serde_json::Value::Null, "{line}");
            let metrics = gateway.metrics();
            assert_eq!(metrics.value(FAILURES, &[]), 0.0);
            assert_eq!(metrics.value("widget_gateway_upstream_up", &[]), 1.0);
            drop(silent);
        },
    );
    assert_eq!(ran, [3; 5]);
}

/// Whoever reads, however slowly the rest is asked for, is not cut off.
#[test]
fn who_reads_slowly_but_reads_gets_it_all() {
    const SIZE: usize = 256 * 1024;
    let ran = table(
        "clients that take their time",
        &ROUTES,
        |row| row.0,
        |_, _| true,
        |_| setting(answer_of(SIZE)),
        |carrier, (upstream, gateway), (_, route)| {
            let response = carrier.ask(gateway, &route.request());
            assert_eq!((response.status, response.body.len()), (200, SIZE));
            upstream.take();
        },
    );
    assert_eq!(ran, [3; 5]);
}

/// Less than a kibibyte a second is too little, though it is not nothing.
#[test]
fn the_pace_of_a_client_is_measured() {
    const PATIENT: Duration = Duration::from_secs(4);
    const STEP: Duration = Duration::from_millis(250);
    // Small steps, so that the client's kernel tells of each few of them.
    let paced = |what: &str, bytes: usize, is_cut: bool| {
        let upstream = Upstream::replying(answer_of(LARGE));
        let setup = Setup::of(forms::every_route(&[upstream.address]));
        let gateway = Gateway::with(setup.server("write_timeout = \"4s\"").every_carrier());
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(2304).unwrap();
        socket.connect(&gateway.http().into()).unwrap();
        let mut client: TcpStream = socket.into();
        client.write_all(&Request::call().to_http1("HTTP/1.1")).unwrap();
        upstream.wait_for(1);
        let since = Instant::now();
        let mut ended = false;
        while !ended && since.elapsed() < 4 * PATIENT {
            client.read_exact(&mut vec![0; bytes]).unwrap();
            ended = upstream.ends_within(1, STEP);
        }
        assert_eq!(ended, is_cut, "{what}, {:?}", since.elapsed());
    };
    std::thread::scope(|scope| {
        scope.spawn(|| paced("3 KiB/s", 768, false));
        scope.spawn(|| paced("half a KiB/s", 128, true));
    });
}

/// Each end of a connection has its reason, whatever is spoken on it.
#[test]
fn connections_are_told_by_what_ended_them() {
    let ran = table(
        "ends of connections",
        &["idle", "header_timeout", "write_timeout"],
        |row| row,
        // One of HTTP/1.0 has one request.
        |carrier, reason| *reason != "idle" || carrier != Carrier::Http10,
        |_| (),
        |carrier, (), reason| {
            let upstream = Upstream::replying(answer_of(LARGE));
            let setup = Setup::of(forms::every_route(&[upstream.address]));
            let rules = "keepalive_timeout = \"1s\"\nheader_timeout = \"1s\"\nwrite_timeout = \"1s\"";
            let gateway = Gateway::with(setup.server(rules).every_carrier());
            let ended = || gateway.metric_reaches(CLOSED, &[("reason", reason)], 1.0);
            match *reason {
                "idle" => {
                    upstream.reply(Reply::Ok);
                    let mut client = carrier.open(&gateway);
                    assert_eq!(client.ask(&Request::call()).status, 200);
                    ended();
                }
                "header_timeout" => {
                    let begun: &[u8] = match carrier.is_http2() {
                        true => b"PRI * HTTP/2.0\r\n",
                        false => b"GET / HTTP/1.1\r\n",
                    };
                    if carrier.is_tls() {
                        let protocol: &[u8] = if carrier.is_http2() { b"h2" } else { b"http/1.1" };
                        let mut stream = connected_tls(gateway.tls(), protocol);
                        stream.write_all(begun).unwrap();
                        ended();
                    } else {
                        let mut stream = connected(carrier.address(&gateway));
                        stream.write_all(begun).unwrap();
                        ended();
                    }
                }
                _ => {
                    let _silent = carrier.send(&gateway, &Request::call());
                    ended();
                }
            }
            let all = gateway.metrics().value(CLOSED, &[]);
            assert_eq!(all, 1.0, "no other reason");
        },
    );
    assert_eq!(ran, [3, 2, 3, 3, 3]);
}

/// 279 bytes used to hold eight workers of PHP for as long as their sender liked.
#[test]
fn windows_that_stay_shut_free_the_servers() {
    let rows: Vec<_> = [("large", 4 << 20), ("small", 10)]
        .into_iter()
        .flat_map(|(size, bytes)| {
            ROUTES.map(|(kind, route)| (format!("{kind}, {size} answers"), route, bytes))
        })
        .collect();
    let ran = table(
        "windows of nothing",
        &rows,
        |row| &row.0,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, (_, route, bytes)| {
            let (upstream, gateway) = setting(answer_of(*bytes));
            let mut frames = carrier.frames(&gateway, 0);
            for stream in 0..8 {
                frames.ask(2 * stream + 1, &route.request());
            }
            upstream.wait_for(8);
            expect_freed(&upstream, &gateway, *route, 8);
        },
    );
    assert_eq!(ran, [0, 0, 0, 6, 6]);
}

/// One stream that nobody reads ends alone; the connection and its other streams go on.
#[test]
fn one_window_that_stays_shut_ends_its_stream_alone() {
    let ran = table(
        "one shut window among open ones",
        &ROUTES,
        |row| row.0,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, (_, route)| {
            let (upstream, gateway) = setting(answer_of(1 << 20));
            let mut frames = carrier.frames(&gateway, 0);
            frames.ask(1, &route.request());
            upstream.wait_for(1);
            let since = Instant::now();
            let ended = frames.next_that(|frame| frame.stream == 1 && frame.kind == frames::RST_STREAM);
            assert!(ended.is_some(), "the stream is reset, not the connection ended");
            let took = since.elapsed();
            assert!(took >= WRITE_TIMEOUT / 2 && took <= FREED, "{took:?}");
            upstream.wait_for_ends(1);
            frames.ask(3, &route.request());
            frames.open_window(3, MAX_WINDOW);
            let last = frames.next_that(|frame| frame.stream == 3 && frame.ends_stream());
            assert!(last.is_some(), "the connection goes on");
        },
    );
    assert_eq!(ran, [0, 0, 0, 3, 3]);
}

/// A window that opens by a byte now and then is as good as shut: the time is for a piece, not for each byte of it.
#[test]
fn a_window_that_drips_frees_the_server() {
    let ran = table(
        "windows that drip",
        &ROUTES,
        |row| row.0,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, (_, route)| {
            let (upstream, gateway) = setting(answer_of(4 << 20));
            let mut frames = carrier.frames(&gateway, 0);
            frames.ask(1, &route.request());
            upstream.wait_for(1);
            let since = Instant::now();
            // The wait for the server is the pace of the window.
            while !upstream.ends_within(1, WRITE_TIMEOUT / 5) && since.elapsed() < PATIENCE {
                frames.open_window(1, 1);
            }
            let took = since.elapsed();
            assert!(took <= FREED, "the server was held for {took:?}");
            let gone = [("route", route.name()), ("outcome", "client_closed")];
            gateway.metric_reaches(REQUESTS, &gone, 1.0);
        },
    );
    assert_eq!(ran, [0, 0, 0, 3, 3]);
}

/// Who waits for a place among a connection's streams and is reset waits no longer.
#[test]
fn streams_that_are_reset_while_they_wait_are_gone() {
    const IN_FLIGHT: &str = "widget_gateway_requests_in_flight";
    /// As many as go on at once.
    const PLACES: u32 = 24;
    const MORE: u32 = 60;
    let ran = table(
        "streams that are reset while they wait",
        &["passed"],
        |row| row,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, _| {
            let upstream = Upstream::start();
            let gate = upstream.hold();
            let setup = Setup::of(forms::every_route(&[upstream.address]));
            let gateway = Gateway::with(setup.server("write_timeout = \"60s\"").every_carrier());
            let mut frames = carrier.frames(&gateway, MAX_WINDOW);
            let asked = |stream: u32| 2 * stream + 1;
            (0..PLACES + MORE).for_each(|stream| frames.ask(asked(stream), &Request::upload()));
            let in_flight = |count: u32| {
                gateway.metrics_when("so many in flight", |now| {
                    now.value(IN_FLIGHT, &[]) == f64::from(count)
                });
            };
            in_flight(PLACES + MORE);
            let since = Instant::now();
            (PLACES..PLACES + MORE).for_each(|stream| frames.reset(asked(stream)));
            in_flight(PLACES);
            assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
            gate.open();
            in_flight(0);
            assert_eq!(upstream.take().len(), PLACES as usize, "nobody else was sent on");
        },
    );
    assert_eq!(ran, [0, 0, 0, 1, 1]);
}

/// Windows are a promise to read: what is sent on their strength alone must not pile up here.
#[test]
fn open_windows_that_nobody_reads_cost_little_memory() {
    const CONNECTIONS: usize = 3;
    const STREAMS: u32 = 100;
    // The proxy of pass routes gathers half a megabyte a stream, of 24 at a time on each connection.
    const MOST_KIB: [u64; 2] = [40 * 1024, 64 * 1024];
    let ran = table(
        "open windows that nobody reads",
        &ROUTES,
        |row| row.0,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, (kind, route)| {
            let (_upstream, gateway) = setting(answer_of(1 << 20));
            // What a first request allocates is none of theirs.
            assert_eq!(carrier.ask(&gateway, &route.request()).status, 200);
            let before = gateway.most_resident_kib();
            let held: Vec<_> = (0..CONNECTIONS)
                .map(|_| {
                    let mut frames = carrier.frames(&gateway, MAX_WINDOW);
                    (0..STREAMS).for_each(|stream| frames.ask(2 * stream + 1, &route.request()));
                    frames
                })
                .collect();
            gateway.metrics_when("no connection left", |now| {
                now.value("widget_gateway_connections_open", &[]) == 0.0
            });
            all_is_over(&gateway);
            let grown = gateway.most_resident_kib() - before;
            println!("{carrier:?}, {kind}: {grown} KiB for {CONNECTIONS} connections");
            let most = MOST_KIB[usize::from(*kind == "streamed")];
            assert!(grown <= most, "{grown} KiB of at most {most}");
            drop(held);
        },
    );
    assert_eq!(ran, [0, 0, 0, 3, 3]);
}

/// Nobody reads what those send that wait for their turn: it must not use up the window that all streams share.
#[test]
fn uploads_that_wait_leave_room_for_the_others() {
    const PLACES: usize = 24;
    const WAITING: usize = 6;
    const SIZE: usize = 200_000;
    let ran = table(
        "uploads that wait for their turn",
        &["passed"],
        |row| row,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, _| {
            let upstream = Upstream::start();
            let gate = upstream.hold();
            let pass = "[[routes]]\npath = \"/up\"\nkind = \"pass\"\nname = \"up\"\nmethods = [\"GET\", \"POST\"]\nupstream = \"handlers\"\n";
            let rest = format!("{pass}{}", forms::routes(&[upstream.address]));
            let gateway = Gateway::on_every_carrier(rest);
            let session = match carrier.is_tls() {
                true => h2::Session::open_tls(gateway.tls()),
                false => h2::Session::open(gateway.h2c()),
            };
            let ask = |request: &Request| {
                let answer = session.exchange(request, || ());
                h2::spawn(answer)
            };
            let under_way: Vec<_> = (0..PLACES)
                .map(|_| ask(&Request::new("POST", "/up").body(Body::Length(b"x".to_vec()))))
                .collect();
            upstream.wait_for(PLACES);
            let upload = Request::new("POST", "/up").body(Body::Length(vec![b'x'; SIZE]));
            // Whichever come first wait; the client sends them in an order of its own.
            let (answered, answers) = mpsc::channel();
            for _ in 0..WAITING {
                let (uploaded, answered) = (session.exchange(&upload, || ()), answered.clone());
                h2::spawn(async move { answered.send(uploaded.await) });
            }
            let uploaded = || -> Response {
                let got = answers.recv_timeout(PATIENCE).expect("an answer in time");
                got.unwrap().whole("an answer")
            };
            // Two of them may wait; there is no room for a third.
            for refused in (2..WAITING).map(|_| uploaded()) {
                assert_eq!(
                    (refused.status, &refused.json()["code"]),
                    (503, &"overloaded".into())
                );
            }
            let call = Request::form(TARGET, [BODY.as_bytes(), b"&x=", &[b'y'; SIZE]].concat());
            let called = ask(&call);
            upstream.wait_for(PLACES + 1);
            gate.open();
            for asked in under_way.into_iter().chain([called]) {
                let got = h2::run(asked).unwrap().unwrap();
                assert_eq!(got.whole("an answer").status, 200);
            }
            for uploaded in (0..2).map(|_| uploaded()) {
                assert_eq!(uploaded.status, 200);
            }
        },
    );
    assert_eq!(ran, [0, 0, 0, 1, 1]);
}

/// What no server takes must not use up that window either.
#[test]
fn uploads_that_no_server_takes_leave_room_for_calls() {
    const PLACES: u32 = 24;
    /// As much as a stream's window takes, in the largest frames that need not be asked for.
    const FRAME: usize = 16 * 1024;
    const FRAMES: usize = 16;
    let ran = table(
        "uploads that no server takes",
        &["streamed"],
        |row| row,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, _| {
            let upstream = Upstream::start();
            let (deaf, heads) = servers::deaf();
            let rest = format!(
                "[[routes]]\npath = \"/up\"\nname = \"up\"\nkind = \"pass\"\nmethods = [\"PUT\"]\nupstream = \"deaf\"\n\
                 [upstreams.deaf]\nservers = [\"{deaf}\"]\n{}",
                forms::routes(&[upstream.address])
            );
            let gateway = Gateway::on_every_carrier(rest);
            let mut frames = carrier.frames(&gateway, MAX_WINDOW);
            // Before that there is no room for as much.
            let grown = frames.next_that(|frame| (frame.stream, frame.kind) == (0, frames::WINDOW_UPDATE));
            assert!(grown.is_some());
            let upload = Request::new("PUT", "/up").body(Body::Part {
                length: 8 << 20,
                sent: vec![b'x'; FRAME],
            });
            for stream in 0..PLACES {
                frames.ask(2 * stream + 1, &upload);
            }
            for _ in 0..PLACES {
                heads.recv_timeout(PATIENCE).unwrap();
            }
            for _ in 1..FRAMES {
                for stream in 0..PLACES {
                    frames.send(frames::DATA, 0, 2 * stream + 1, &[b'x'; FRAME]);
                }
            }
            frames.ask(2 * PLACES + 1, &Request::call());
            let answered = frames.next_that(|frame| frame.stream == 2 * PLACES + 1);
            assert_eq!(answered.expect("an answer").kind, frames::HEADERS);
            assert_eq!(upstream.take_one().body, BODY.as_bytes());
        },
    );
    assert_eq!(ran, [0, 0, 0, 1, 1]);
}

/// A piece of an answer may take longer than `write_timeout`, as long as a client takes enough.
#[test]
fn a_stream_at_a_fair_pace_is_not_given_up() {
    const SIZE: usize = 64 * 1024;
    const STEP: u32 = 4 * 1024;
    let ran = table(
        "streams at a fair pace",
        &ROUTES,
        |row| row.0,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, (_, route)| {
            let (upstream, gateway) = setting(answer_of(SIZE));
            let mut frames = carrier.frames(&gateway, 0);
            frames.ask(1, &route.request());
            upstream.wait_for(1);
            let mut whole = 0;
            while whole < SIZE {
                frames.open_window(1, STEP);
                frames.skip(STEP as usize);
                whole += STEP as usize;
                // Four such steps, one piece, take longer than the timeout.
                upstream.comes_within(2, WRITE_TIMEOUT / 3);
            }
            let forwarded = [("route", route.name()), ("outcome", "forwarded")];
            gateway.metric_reaches(REQUESTS, &forwarded, 1.0);
        },
    );
    assert_eq!(ran, [0, 0, 0, 3, 3]);
}

/// What was handed over reaches a client that has to catch up first, though its stream is cut meanwhile.
#[test]
fn a_cut_takes_nothing_away_that_was_sent() {
    const SIZE: usize = 40_000;
    let ran = table(
        "cuts behind a backlog",
        &ROUTES,
        |row| row.0,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, (_, route)| {
            let upstream = Upstream::replying(answer_of(LARGE));
            let gateway = Gateway::on_every_carrier(forms::every_route(&[upstream.address]));
            let mut frames = carrier.frames(&gateway, MAX_WINDOW);
            // It fills all that is between here and there.
            frames.ask(1, &Request::get("/large"));
            upstream.wait_for(1);
            gateway.metrics_when("the first answer begins", |now| {
                now.value("widget_gateway_upstream_responses_total", &[]) == 1.0
            });
            let mut cut = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
            cut.resize(cut.len() + SIZE, b'y');
            upstream.reply(Reply::Raw(Bytes::from(cut)));
            let told = gateway.log_count();
            frames.ask(3, &route.request());
            let line = gateway.wait_log_after(told, "the cut", |line| line["outcome"] == "upstream_error");
            assert_eq!(line["bytes_out"], SIZE, "{line}");
            let (mut has_head, mut bytes) = (false, 0);
            loop {
                let frame = frames
                    .next_that(|frame| frame.stream == 3)
                    .expect("the cut stream");
                match frame.kind {
                    frames::HEADERS => has_head = true,
                    frames::DATA => bytes += frame.content.len(),
                    frames::RST_STREAM => break,
                    other => panic!("a frame of kind {other}"),
                }
            }
            assert_eq!((has_head, bytes), (true, SIZE));
        },
    );
    assert_eq!(ran, [0, 0, 0, 3, 3]);
}

/// What was answered may still be on its way to a client that takes its time: its connection is not idle.
#[test]
fn a_connection_is_not_idle_while_its_client_takes_answers() {
    const STREAMS: u32 = 100;
    const SIZE: usize = 60_000;
    let ran = table(
        "answers that are on their way",
        &ROUTES,
        |row| row.0,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, (_, route)| {
            let upstream = Upstream::replying(answer_of(SIZE));
            let setup = Setup::of(forms::every_route(&[upstream.address]));
            let rules = "keepalive_timeout = \"1s\"\nwrite_timeout = \"60s\"";
            let gateway = Gateway::with(setup.server(rules).every_carrier());
            let mut frames = carrier.frames(&gateway, MAX_WINDOW);
            let asked = |stream: u32| 2 * stream + 1;
            (0..STREAMS).for_each(|stream| frames.ask(asked(stream), &route.request()));
            let forwarded = [("route", route.name()), ("outcome", "forwarded")];
            gateway.metric_reaches(REQUESTS, &forwarded, f64::from(STREAMS));
            // One that is opened now and idle says when the time of that one would have been over.
            let mut idle = gateway.connect();
            idle.expect_closed();
            let mut whole = 0;
            while whole < STREAMS {
                let frame = frames.next().expect("the rest of the answers");
                assert_ne!(frame.kind, frames::RST_STREAM);
                whole += u32::from(frame.ends_stream());
            }
        },
    );
    assert_eq!(ran, [0, 0, 0, 3, 3]);
}

/// Heads that are none are answered, but a connection that brings little else is not kept.
#[test]
fn malformed_heads_without_end_are_bounded() {
    /// A hundred that come to nothing, and what is on its way by then.
    const MOST: usize = 110;
    let ran = table(
        "malformed heads",
        &["two hosts"],
        |row| row,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, _| {
            let (_upstream, gateway) = setting(Reply::Ok);
            let mut frames = carrier.frames(&gateway, MAX_WINDOW);
            let fields = [
                (":method", "GET"),
                (":scheme", "http"),
                (":authority", "one.example"),
                (":path", "/"),
                ("host", "another.example"),
            ];
            let fields = fields.map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            // One after another, as long as there are answers.
            let mut answered = 0;
            for stream in (0..1000).map(|stream| 2 * stream + 1) {
                frames.headers(stream, &fields, true);
                match frames.next_that(|frame| frame.stream == stream && frame.ends_stream()) {
                    Some(_) => answered += 1,
                    None => break,
                }
            }
            assert!((100..=MOST).contains(&answered), "{answered} of 1000");
            gateway.metric_reaches(CLOSED, &[("reason", "refused")], 1.0);
        },
    );
    assert_eq!(ran, [0, 0, 0, 1, 1]);
}

#[derive(Clone, Copy)]
enum Flood {
    /// Each stream is broken so that the library here resets it (CVE-2025-8671).
    OverflowingWindows,
    /// Each stream is reset by its client (CVE-2023-44487).
    Resets,
}

#[derive(Clone, Copy)]
enum Pace {
    /// All streams as fast as they can be written.
    AtOnce,
    /// A few at a time, each ended only once the server has its request.
    InBatches,
}

/// A thousand streams that nobody wants answered are no thousand requests to the server.
#[test]
fn floods_of_resets_are_bounded() {
    const STREAMS: u32 = 1000;
    const BATCH: u32 = 20;
    /// A hundred that come to nothing, and what is on its way by then.
    const MOST: usize = 150;
    let mut rows = Vec::new();
    for (what, flood) in [
        ("windows that overflow", Flood::OverflowingWindows),
        ("resets", Flood::Resets),
    ] {
        for (how, pace) in [("at once", Pace::AtOnce), ("in batches", Pace::InBatches)] {
            for (kind, route) in ROUTES {
                rows.push((format!("{what}, {how}, {kind}"), flood, pace, route));
            }
        }
    }
    let ran = table(
        "floods",
        &rows,
        |row| &row.0,
        |carrier, _| carrier.is_http2(),
        |carrier| carrier,
        |carrier, _, (name, flood, pace, route)| {
            let (upstream, gateway) = setting(Reply::Ok);
            let gate = upstream.hold();
            let mut frames = carrier.frames(&gateway, 65_535);
            let batch = match pace {
                Pace::AtOnce => 1,
                Pace::InBatches => BATCH,
            };
            for first in (0..STREAMS).step_by(batch as usize) {
                let streams = (first..first + batch).map(|stream| 2 * stream + 1);
                for stream in streams.clone() {
                    frames.ask(stream, &route.request());
                }
                let asked = (first + batch) as usize;
                if matches!(pace, Pace::InBatches) {
                    upstream.comes_within(BATCH as usize, PATIENCE);
                    // Once the gateway has had enough, they no longer come.
                    if !upstream.comes_within(asked, WRITE_TIMEOUT) {
                        break;
                    }
                }
                for stream in streams {
                    match flood {
                        Flood::OverflowingWindows => frames.open_window(stream, MAX_WINDOW),
                        Flood::Resets => frames.reset(stream),
                    }
                }
            }
            drop(frames);
            gate.open();
            all_is_over(&gateway);
            let asked = upstream.take_whole().len();
            println!("{carrier:?}: {name}: {asked} requests");
            assert!(asked <= MOST, "{asked} requests reached the server");
            if matches!(pace, Pace::InBatches) {
                // Else the flood may be over before it was noticed.
                gateway.metric_reaches(CLOSED, &[("reason", "refused")], 1.0);
                assert!(asked >= BATCH as usize, "nothing was tested: {asked} requests");
            }
            // Nobody else is made to pay for it.
            let next = carrier.ask(&gateway, &Request::get("/page"));
            assert_eq!(next.status, 200);
        },
    );
    assert_eq!(ran, [0, 0, 0, 12, 12]);
}

/// A handshake is part of a connection: counted from the first moment, and over in its time.
#[test]
fn silent_connections_to_a_tls_listener_are_counted_bounded_and_closed() {
    const CONNECTIONS: usize = 200;
    const MOST: usize = 5;
    let limit = Duration::from_secs(2);
    let upstream = Upstream::start();
    let rules = format!(
        "max_connections = {MOST}\nheader_timeout = \"{}ms\"",
        limit.as_millis()
    );
    let setup = Setup::of(forms::routes(&[upstream.address]));
    let gateway = Gateway::with(setup.server(&rules).every_carrier());
    let since = Instant::now();
    let silent: Vec<_> = (0..CONNECTIONS)
        .map(|_| TcpStream::connect(gateway.tls()).unwrap())
        .collect();
    let metrics = gateway.metrics_when("the end of all of them", |now| {
        now.value(CLOSED, &[]) == CONNECTIONS as f64
    });
    let took = since.elapsed();
    assert!(took >= limit && took <= limit + SLACK, "{took:?}");
    let [over, waited] = ["limit", "handshake"].map(|reason| metrics.value(CLOSED, &[("reason", reason)]));
    assert_eq!(over + waited, CONNECTIONS as f64);
    // A slow machine may have had time for a second five.
    assert!(
        waited >= MOST as f64 && waited <= 4.0 * MOST as f64,
        "{waited} waited"
    );
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(matches!(stream.read(&mut [0]), Ok(0)), "it is closed");
    }
    for carrier in [Carrier::Tls11, Carrier::H2Tls] {
        assert_eq!(carrier.ask(&gateway, &Request::call()).status, 200, "{carrier:?}");
    }
}

/// Scanners come all day: a number, and no line at error.
#[test]
fn a_handshake_that_fails_is_counted_and_nobodys_error() {
    const FAILURES: &str = "widget_gateway_tls_handshake_failures_total";
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(forms::routes(&[upstream.address]));
    assert_eq!(gateway.metrics().value(FAILURES, &[]), 0.0);
    for (count, bytes) in [
        &b"GET / HTTP/1.1\r\nHost: widgets.example\r\n\r\n"[..],
        b"\x16\x03\x01\xff\xff garbage",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut stream = TcpStream::connect(gateway.tls()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        gateway.metric_reaches(FAILURES, &[], count as f64 + 1.0);
    }
    gateway.metric_reaches(CLOSED, &[("reason", "handshake")], 3.0);
    assert_eq!(Carrier::H2Tls.ask(&gateway, &Request::call()).status, 200);
    let loud: Vec<_> = gateway
        .logs()
        .into_iter()
        .filter(|line| line["level"] == "error" || line["level"] == "warn")
        .collect();
    assert_eq!(loud, [serde_json::Value::Null; 0]);
}

/// A drain asks each client of HTTP/2 whether it has heard; who does not say so is not waited for.
#[test]
fn a_drain_does_not_wait_for_an_answer_to_its_ping() {
    for carrier in [Carrier::H2c, Carrier::H2Tls] {
        let upstream = Upstream::start();
        let gate = upstream.hold();
        let rules = "drain_delay = \"1ms\"\ngrace_period = \"15s\"";
        let setup = Setup::of(forms::routes(&[upstream.address]));
        let gateway = Gateway::with(setup.server(rules).every_carrier());
        let mut idle = carrier.frames(&gateway, 65_535);
        idle.next_that(|frame| frame.kind == frames::SETTINGS).unwrap();
        let mut last = carrier.frames(&gateway, 65_535);
        last.ask(1, &Request::call());
        upstream.wait_for(1);
        gateway.signal(Signal::SIGTERM);
        gateway.wait_log("the drain", |line| line["msg"] == "draining");
        let told = last.next_that(|frame| frame.kind == frames::GOAWAY);
        assert!(told.is_some(), "{carrier:?}: it is told");
        gate.open();
        let end = last.next_that(|frame| frame.stream == 1 && frame.ends_stream());
        assert!(end.is_some(), "{carrier:?}: the last stream is answered");
        let since = Instant::now();
        assert_eq!(gateway.wait().code(), Some(0));
        let took = since.elapsed();
        assert!(took < Duration::from_secs(2) + SLACK, "{carrier:?}: {took:?}");
    }
}
