//! Behind a load balancer that passes TCP on: it says by the PROXY protocol whose a connection is.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::common::carrier::table;
use crate::common::client::connected;
use crate::common::forms::{self, TARGET};
use crate::common::{Carrier, Conn, Gateway, PATIENCE, Request, Setup, Upstream};

const CLOSED: &str = "widget_gateway_connections_closed_total";
const BALANCERS: &str = "proxy_protocol = [\"127.0.0.1\"]";
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// A balancer that begins each connection with these bytes, a few at a time, and passes on what comes.
fn balancer(to: SocketAddr, preamble: Vec<u8>, step: usize) -> SocketAddr {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listening.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listening.incoming().map_while(Result::ok) {
            let mut server = connected(to);
            for piece in preamble.chunks(step) {
                server.write_all(piece).unwrap();
            }
            let back = (server.try_clone().unwrap(), client.try_clone().unwrap());
            for (mut from, mut to) in [(client, server), back] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(Shutdown::Write);
                });
            }
        }
    });
    address
}

fn version_2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap();
    [SIGNATURE, &[command, family], &length.to_be_bytes(), block].concat()
}

const FOUR: &[u8] = &[192, 0, 2, 7, 10, 0, 0, 1, 0xC0, 0, 0, 80];

fn behind_balancers(rest: impl Into<String>) -> Setup {
    Setup::of(rest).listener(BALANCERS).every_carrier()
}

#[test]
fn the_address_that_is_told_is_the_peers() {
    struct Row {
        name: &'static str,
        preamble: Vec<u8>,
        peer: &'static str,
    }
    let row = |name, preamble: &[u8], peer| Row {
        name,
        preamble: preamble.to_vec(),
        peer,
    };
    let six: Vec<u8> = [
        "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets(),
        std::net::Ipv6Addr::LOCALHOST.octets(),
    ]
    .concat();
    let six = [&six[..], &[0, 1, 0, 2]].concat();
    let tlvs = [FOUR, &[0x01, 0, 2], b"h2", &[0xE0, 3, 0], &[7; 768]].concat();
    let rows = [
        row(
            "1: TCP4",
            b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 80\r\n",
            "192.0.2.7",
        ),
        row(
            "1: TCP6",
            b"PROXY TCP6 2001:db8::7 ::1 49152 80\r\n",
            "2001:db8::7",
        ),
        row("1: UNKNOWN", b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        row(
            "1: UNKNOWN with words",
            b"PROXY UNKNOWN 192.0.2.7 x\r\n",
            "127.0.0.1",
        ),
        row("2: IPv4", &version_2(0x21, 0x11, FOUR), "192.0.2.7"),
        row("2: IPv4 and more", &version_2(0x21, 0x11, &tlvs), "192.0.2.7"),
        row("2: IPv6", &version_2(0x21, 0x21, &six), "2001:db8::7"),
        row("2: LOCAL", &version_2(0x20, 0x00, &[]), "127.0.0.1"),
        row(
            "2: LOCAL with an address",
            &version_2(0x20, 0x11, FOUR),
            "127.0.0.1",
        ),
        row("2: UNSPEC", &version_2(0x21, 0x00, b"??"), "127.0.0.1"),
        row(
            "2: a Unix socket",
            &version_2(0x21, 0x31, &[b'/'; 216]),
            "127.0.0.1",
        ),
    ];
    let ran = table(
        "PROXY protocol",
        &rows,
        |row| row.name,
        |_, _| true,
        |_| {
            let upstream = Upstream::start();
            let gateway = Gateway::with(behind_balancers(forms::routes(&[upstream.address])));
            (upstream, gateway)
        },
        |carrier, (upstream, gateway), row| {
            let to = match carrier.is_tls() {
                true => gateway.tls(),
                false => gateway.h2c(),
            };
            let before = gateway.log_count();
            for step in [usize::MAX, 1] {
                let mut client = carrier.open_at(balancer(to, row.preamble.clone(), step));
                // The second says that nothing was lost of the first.
                for request in [Request::call(), Request::get("/page")] {
                    let request = request.line("X-Forwarded-For: 203.0.113.9");
                    assert_eq!(client.ask(&request).status, 200);
                    let received = upstream.take_one();
                    for name in ["X-Real-IP", "X-Forwarded-For"] {
                        assert_eq!(received.header(name).as_deref(), Some(row.peer), "{name}");
                    }
                }
            }
            gateway.wait_log_after(before, "the client", |line| line["client"] == row.peer);
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}

/// `trusted_proxies` looks at the address that is told, not at the balancer's.
#[test]
fn trust_is_in_the_address_that_is_told() {
    let upstream = Upstream::start();
    let setup = behind_balancers(forms::routes(&[upstream.address])).top("trusted_proxies = [\"192.0.2.7\"]");
    let gateway = Gateway::with(setup);
    for (peer, expected) in [
        ("192.0.2.7", "203.0.113.9, 192.0.2.7"),
        ("192.0.2.8", "192.0.2.8"),
    ] {
        let preamble = format!("PROXY TCP4 {peer} 10.0.0.1 49152 80\r\n").into_bytes();
        let mut client = Carrier::Http11.open_at(balancer(gateway.h2c(), preamble, usize::MAX));
        client.ask(&Request::call().line("X-Forwarded-For: 203.0.113.9"));
        let received = upstream.take_one();
        assert_eq!(received.header("X-Forwarded-For").as_deref(), Some(expected));
    }
}

#[test]
fn who_has_to_send_it_is_closed_without_it() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(behind_balancers(forms::routes(&[upstream.address])));
    let hello = b"\x16\x03\x01\x00\x05hello";
    let cases: [(SocketAddr, Vec<u8>); 9] = [
        (gateway.h2c(), forms::post(TARGET, &[], forms::BODY)),
        (gateway.h2c(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        (gateway.tls(), hello.to_vec()),
        (gateway.h2c(), b"PROXY TCP4 192.0.2.7 10.0.0.1 49152\r\n".to_vec()),
        (
            gateway.h2c(),
            b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 80\n".to_vec(),
        ),
        (gateway.h2c(), [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat()),
        (gateway.tls(), version_2(0x21, 0x11, &FOUR[..11])),
        (gateway.tls(), version_2(0x2F, 0x11, FOUR)),
        (gateway.h2c(), version_2(0x21, 0x11, &[0; 4081])),
    ];
    let before = gateway.metrics().value("widget_gateway_requests_total", &[]);
    for (count, (address, bytes)) in cases.into_iter().enumerate() {
        let mut conn = Conn::open(address);
        conn.send(&bytes);
        conn.expect_closed();
        gateway.metric_reaches(CLOSED, &[("reason", "proxy_protocol")], count as f64 + 1.0);
    }
    upstream.expect_untouched();
    let metrics = gateway.metrics();
    assert_eq!(metrics.value("widget_gateway_requests_total", &[]), before);
    assert_eq!(metrics.value("widget_gateway_connections_open", &[]), 0.0);
    assert_eq!(
        metrics.value("widget_gateway_tls_handshake_failures_total", &[]),
        0.0
    );
    // The operator's listener and the one without the key go on as ever.
    assert_eq!(
        Carrier::Http11
            .open_at(gateway.http())
            .ask(&Request::call())
            .status,
        200
    );
}

/// What is wrong with it is told at debug, without a byte of it.
#[test]
fn a_line_says_what_was_wrong() {
    let upstream = Upstream::start();
    let rest = format!("{}[log]\nlevel = \"debug\"\n", forms::routes(&[upstream.address]));
    let gateway = Gateway::with(behind_balancers(rest));
    for (bytes, fault) in [
        (&b"PROXY TCP4 secret\r\n"[..], "it is malformed"),
        (
            b"GET /secret HTTP/1.1\r\n\r\n",
            "the connection begins without it",
        ),
    ] {
        let mut conn = Conn::open(gateway.h2c());
        conn.send(bytes);
        conn.expect_closed();
        let text = format!("PROXY protocol from 127.0.0.1: {fault}");
        gateway.wait_log(&text, |line| {
            line.to_string().contains(&text) && line["level"] == "debug"
        });
    }
    assert!(!gateway.raw_logs().concat().contains("secret"));
}

/// From anyone else it is what it looks like: no HTTP, and no TLS.
#[test]
fn who_must_not_send_it_is_refused_with_it() {
    let upstream = Upstream::start();
    let setup = Setup::of(forms::routes(&[upstream.address])).every_carrier();
    let gateway = Gateway::with(setup.listener("proxy_protocol = [\"10.0.0.0/8\", \"2001:db8::/32\"]"));
    let preambles = [
        b"PROXY TCP4 10.0.0.7 10.0.0.1 49152 80\r\n".to_vec(),
        version_2(0x21, 0x11, FOUR),
    ];
    for preamble in preambles {
        let mut conn = Conn::open(gateway.h2c());
        conn.send_as_far_as_taken([preamble.clone(), forms::post(TARGET, &[], forms::BODY)].concat());
        let refused = conn.response();
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (400, &"malformed_request".into())
        );
        let mut conn = connected(gateway.tls());
        conn.write_all(&preamble).unwrap();
        let mut alert = Vec::new();
        let _ = conn.read_to_end(&mut alert);
        assert!(alert.first().is_none_or(|&kind| kind == 21), "{alert:?}");
    }
    upstream.expect_untouched();
    gateway.metric_reaches(CLOSED, &[("reason", "handshake")], 2.0);
    assert_eq!(
        gateway.metrics().value(CLOSED, &[("reason", "proxy_protocol")]),
        0.0
    );
    for carrier in Carrier::ALL {
        let address = match carrier.is_tls() {
            true => gateway.tls(),
            false => gateway.h2c(),
        };
        assert_eq!(
            carrier.open_at(address).ask(&Request::call()).status,
            200,
            "{carrier:?}"
        );
        let received = upstream.take_one();
        assert_eq!(received.header("X-Real-IP").as_deref(), Some("127.0.0.1"));
    }
}

/// Both kinds on one listener: the networks tell them apart.
#[test]
fn the_networks_tell_who_has_to() {
    let upstream = Upstream::start();
    let setup = Setup::of(forms::routes(&[upstream.address])).every_carrier();
    let gateway = Gateway::with(setup.listener("proxy_protocol = [\"127.0.0.2\"]"));
    let from = |address: Ipv4Addr| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        let to = gateway.h2c();
        let stream = crate::common::h2::run(async { socket.connect(to).await.unwrap().into_std().unwrap() });
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    };
    let call = forms::post(TARGET, &["Connection: close"], forms::BODY);
    let answer = |mut stream: TcpStream, bytes: &[u8]| {
        stream.write_all(bytes).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer.get(..12).unwrap_or_default().to_owned()
    };
    let preamble = b"PROXY TCP4 192.0.2.7 10.0.0.1 49152 80\r\n";
    let with = [preamble, &call[..]].concat();
    let (balancer, other) = (Ipv4Addr::new(127, 0, 0, 2), Ipv4Addr::new(127, 0, 0, 3));
    assert_eq!(answer(from(balancer), &with), "HTTP/1.1 200");
    assert_eq!(
        upstream.take_one().header("X-Real-IP").as_deref(),
        Some("192.0.2.7")
    );
    assert_eq!(answer(from(balancer), &call), "");
    assert_eq!(answer(from(other), &call), "HTTP/1.1 200");
    assert_eq!(
        upstream.take_one().header("X-Real-IP").as_deref(),
        Some("127.0.0.3")
    );
    assert_eq!(answer(from(other), &with), "HTTP/1.1 400");
}

#[test]
fn it_has_its_time() {
    let limit = Duration::from_secs(1);
    let upstream = Upstream::start();
    let setup = behind_balancers(forms::routes(&[upstream.address])).server("header_timeout = \"1s\"");
    let gateway = Gateway::with(setup);
    let cut = version_2(0x21, 0x11, FOUR);
    for (count, part) in [&b""[..], b"PROXY TCP4 192.0.2.7", &cut[..13], &cut[..27]]
        .into_iter()
        .enumerate()
    {
        let since = Instant::now();
        let mut conn = Conn::open(gateway.tls());
        conn.send(part);
        conn.expect_closed();
        assert!(since.elapsed() >= limit, "{:?}", since.elapsed());
        gateway.metric_reaches(CLOSED, &[("reason", "proxy_protocol")], count as f64 + 1.0);
    }
}
