//! How often a handler gets a request: a POST at most once, whatever breaks (RFC 9110 9.2.2); a GET that only
//! passes through at most twice.

use std::collections::HashSet;
use std::io::Write;
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::RcvBuf;

use super::read_head;
use crate::common::carrier::{each, table};
use crate::common::forms::{self, BODY, TARGET};
use crate::common::{Body, Carrier, Conn, Gateway, PATIENCE, Reply, Request, Upstream, shown};
use serde_json::json;

const RETRIES: &str = "widget_gateway_upstream_retries_total";
/// Connections that stand idle before the one request that counts.
const POOLED: usize = 20;

/// A widget route, and a pass route that takes POST too.
fn setting(_: Carrier) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let passed = "[[routes]]\npath = \"/passed\"\nname = \"passed\"\nkind = \"pass\"\nupstream = \"handlers\"\n\
        methods = [\"GET\", \"POST\", \"OPTIONS\"]\n";
    let rest = format!("{passed}{}", forms::routes(&[upstream.address]));
    (upstream, Gateway::on_every_carrier(rest))
}

/// Leaves so many idle connections to the server, all of them used once.
fn fill_the_pool(gateway: &Gateway, upstream: &Upstream, request: &Request) {
    let gate = upstream.hold();
    let mut clients: Vec<Conn> = (0..POOLED).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(request.to_http1("HTTP/1.1"));
    }
    upstream.wait_for(POOLED);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response_to(&request.method).status, 200);
    }
    assert_eq!(upstream.take().len(), POOLED);
    assert_eq!(upstream.connections(), POOLED);
}

struct Row {
    what: &'static str,
    request: Request,
    /// How the handler dies, once it has read the request.
    dies: Reply,
    /// How often it may have read it.
    deliveries: std::ops::RangeInclusive<usize>,
}

/// One who died after reading may have done what was asked.
#[test]
fn a_handler_that_reads_and_dies_is_not_asked_again() {
    let passed = |method: &str| Request::new(method, "/passed");
    let posted = passed("POST").body(Body::Length(b"pay=1".to_vec()));
    let rows: Vec<Row> = [("closes", Reply::Close), ("resets", Reply::Reset)]
        .into_iter()
        .flat_map(|(how, dies)| {
            let row = |what, request: &Request, deliveries| Row {
                what,
                request: request.clone(),
                dies: dies.clone(),
                deliveries,
            };
            match how {
                "closes" => [
                    row("a held POST, then a close", &Request::call(), 1..=1),
                    row("a passed POST, then a close", &posted, 1..=1),
                    row("a passed GET, then a close", &passed("GET"), 1..=2),
                    row("a passed OPTIONS, then a close", &passed("OPTIONS"), 1..=2),
                ],
                _ => [
                    row("a held POST, then a reset", &Request::call(), 1..=1),
                    row("a passed POST, then a reset", &posted, 1..=1),
                    row("a passed GET, then a reset", &passed("GET"), 1..=2),
                    row("a passed OPTIONS, then a reset", &passed("OPTIONS"), 1..=2),
                ],
            }
        })
        .collect();
    let ran = table(
        "deliveries",
        &rows,
        |row| row.what,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, row| {
            // Each with a pool of its own.
            let (upstream, gateway) = setting(carrier);
            let warm_up = match row.request.method.as_str() {
                "POST" => row.request.clone(),
                _ => passed("GET"),
            };
            fill_the_pool(&gateway, &upstream, &warm_up);
            upstream.reply(row.dies.clone());
            let response = carrier.ask(&gateway, &row.request);
            let problem = response.json();
            assert_eq!(
                (response.status, &problem["code"]),
                (502, &json!("upstream_error"))
            );
            let deliveries = upstream.take().len();
            assert!(row.deliveries.contains(&deliveries), "{deliveries} deliveries");
            // A second delivery is a retry, and nothing else is.
            gateway.metric_reaches(RETRIES, &[], deliveries as f64 - 1.0);
        },
    );
    assert_eq!(ran, [8; 5]);
}

/// On a connection that nobody used before it is the same.
#[test]
fn a_handler_that_dies_on_a_fresh_connection_is_not_asked_again() {
    each("deliveries over fresh connections", |carrier| {
        let (upstream, gateway) = setting(carrier);
        for dies in [Reply::Close, Reply::Reset] {
            upstream.reply(dies);
            let response = carrier.ask(&gateway, &Request::call());
            assert_eq!(response.status, 502, "{}", shown(&response.body));
            assert_eq!(upstream.take().len(), 1);
        }
        assert_eq!(gateway.metrics().value(RETRIES, &[]), 0.0);
    });
}

/// Whoever closed an idle connection has not read what was sent into it afterwards.
#[test]
fn connections_that_the_server_closed_while_idle_are_no_ones_failure() {
    let rows = [
        ("held", Request::call()),
        ("passed", Request::new("GET", "/passed")),
    ];
    let ran = table(
        "idle connections that were closed",
        &rows,
        |row| row.0,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, (_, request)| {
            let (upstream, gateway) = setting(carrier);
            fill_the_pool(&gateway, &upstream, request);
            upstream.reply(Reply::Ok);
            upstream.close_connections();
            for count in 1..=3 {
                let response = carrier.ask(&gateway, request);
                assert_eq!(response.status, 200, "{}", shown(&response.body));
                assert_eq!(upstream.take().len(), 1);
                // A client may be back before its last answer's connection is.
                let fresh = upstream.connections() - POOLED;
                assert!((1..=count).contains(&fresh), "{fresh} fresh for {count} requests");
            }
            // None if the end was seen before anything was written, one if it was not.
            let retries = gateway.metrics().value(RETRIES, &[]);
            assert!(retries <= 1.0, "{retries} retries");
        },
    );
    assert_eq!(ran, [2; 5]);
}

/// What it has not read of the request before keeps the next one out of a server's kernel. Where it then ends the
/// connection, nothing of that request was taken, whatever it is: it goes on over a fresh connection, and is counted.
#[test]
fn a_call_that_its_server_has_not_taken_goes_on_over_a_fresh_connection() {
    let options = "x".repeat(24 * 1024);
    let large = Request::form(TARGET, format!("{BODY}&unknown={options}"));
    each("calls that were not taken", |carrier| {
        let is_won = || {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            setsockopt(&listener, RcvBuf, &2048).unwrap();
            let gateway = Gateway::on_every_carrier(forms::routes(&[listener.local_addr().unwrap()]));
            let (end, ends) = std::sync::mpsc::channel::<()>();
            let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            let server = std::thread::spawn(move || {
                let (mut first, _) = listener.accept().unwrap();
                read_head(&mut first);
                first.write_all(ok).unwrap();
                ends.recv().unwrap();
                first.shutdown(Shutdown::Write).unwrap();
                let (mut second, _) = listener.accept().unwrap();
                super::read_request(&mut second);
                second.write_all(ok).unwrap();
            });
            let mut client = carrier.open(&gateway);
            assert_eq!(client.ask(&large).status, 200);
            std::thread::scope(|scope| {
                let second = scope.spawn(|| client.ask(&Request::call()).status);
                gateway.metrics_when("it is under way", |metrics| {
                    metrics.value("widget_gateway_upstream_in_flight", &[]) == 1.0
                });
                end.send(()).unwrap();
                assert_eq!(second.join().unwrap(), 200);
            });
            server.join().unwrap();
            gateway.metrics_after(2).value(RETRIES, &[]) == 1.0
        };
        // Under way it is a moment before it is written.
        assert!((0..10).any(|_| is_won()), "never seen to be sent again");
    });
}

/// A server whose idle connections end just when the next request comes. Whatever of it the gateway sees,
/// no call is executed twice, and the gateway goes on. What carries the call has no part in it: two carriers are
/// enough.
#[test]
fn a_race_with_a_server_that_closes_executes_no_call_twice() {
    let is_for = |carrier, _: &()| matches!(carrier, Carrier::Http11 | Carrier::H2Tls);
    let what = "races with the close of an idle connection";
    let ran = table(
        what,
        &[()],
        |()| what,
        is_for,
        |_| (),
        |carrier, (), ()| {
            let server = Closing::start();
            let gateway = Gateway::on_every_carrier(forms::routes(&[server.address]));
            let mut client = carrier.open(&gateway);
            let (mut answered, mut lost) = (0, 0);
            for number in 0..300 {
                let call = Request::form(&format!("{TARGET}&n={number}"), BODY);
                let response = client.ask(&call);
                match response.status {
                    200 => answered += 1,
                    502 => lost += 1,
                    other => panic!("{other}: {}", shown(&response.body)),
                }
                if response.header("Connection") == Some("close") {
                    client = carrier.open(&gateway);
                }
            }
            let read = server.read();
            let once: HashSet<_> = read.iter().collect();
            assert_eq!(read.len(), once.len(), "a call was read twice: {read:?}");
            assert!(read.len() >= answered, "{} read, {answered} answered", read.len());
            let retries = gateway.metrics().value(RETRIES, &[]);
            println!("{carrier:?}: {answered} answered, {lost} lost, {retries} won by another try");
            assert!(answered > 0, "{lost} lost");
        },
    );
    assert_eq!(ran, [1, 0, 0, 0, 1]);
}

/// Answers each connection once as if it stayed, and closes it at a time of its own.
struct Closing {
    address: std::net::SocketAddr,
    read: std::sync::Arc<std::sync::Mutex<Vec<Vec<u8>>>>,
}

impl Closing {
    fn start() -> Closing {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let read = std::sync::Arc::<std::sync::Mutex<Vec<Vec<u8>>>>::default();
        let (told, count) = (read.clone(), AtomicUsize::new(0));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let number = count.fetch_add(1, Ordering::Relaxed);
                let told = told.clone();
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    // Until the whole request is there: its end is known.
                    let request = super::read_until(&mut stream, BODY.as_bytes())?;
                    let line = request.split(|&b| b == b'\r').next()?.to_vec();
                    told.lock().unwrap().push(line);
                    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(ok).ok()?;
                    // Not to wait for something but to come too early, too late and just in time by turns.
                    let since = Instant::now();
                    let pause = Duration::from_micros(number as u64 % 40 * 20);
                    while since.elapsed() < pause {
                        std::hint::spin_loop();
                    }
                    Some(())
                });
            }
        });
        Closing { address, read }
    }

    /// The request lines that were read.
    fn read(&self) -> Vec<String> {
        let read = self.read.lock().unwrap();
        read.iter().map(|line| shown(line)).collect()
    }
}
