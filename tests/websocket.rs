//! WebSocket on pass routes: only a sound handshake passes, and then bytes go both ways as they are.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::common::client::{Duplex, connected, connected_tls};
use crate::common::forms::Rng;
use crate::common::{Carrier, Conn, Gateway, PATIENCE, Setup, shown};
use crate::common::{frames, h2};

/// The key and its answer in RFC 6455 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const CLOSED: &str = "widget_gateway_connections_closed_total";
/// A server's frame: close, 1001.
const GOING_AWAY: &[u8] = &[0x88, 0x02, 0x03, 0xE9];

fn routes(server: SocketAddr, more: &str) -> String {
    format!(
        "[[routes]]\npath = \"/ws\"\nname = \"socket\"\nkind = \"pass\"\nupgrade = [\"websocket\"]\nupstream = \"app\"\n\
         [[routes]]\npath = \"/\"\nkind = \"pass\"\nupstream = \"app\"\n\
         [upstreams.app]\nservers = [\"{server}\"]\n{more}"
    )
}

/// A server that answers each request with these bytes and gives the test its connection.
struct Server {
    address: SocketAddr,
    opened: Receiver<(String, TcpStream)>,
}

impl Server {
    fn answering(answer: &str) -> Server {
        let listening = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listening.local_addr().unwrap();
        let (opens, opened) = channel();
        let answer = answer.to_owned();
        std::thread::spawn(move || {
            for mut stream in listening.incoming().map_while(Result::ok) {
                let (opens, answer) = (opens.clone(), answer.clone());
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    stream.set_write_timeout(Some(PATIENCE)).unwrap();
                    while let Some(head) = read_head(&mut stream) {
                        stream.write_all(answer.as_bytes()).unwrap();
                        let switches = answer.contains(" 101 ");
                        if opens.send((head, stream.try_clone().unwrap())).is_err() || switches {
                            break;
                        }
                    }
                });
            }
        });
        Server { address, opened }
    }

    fn switching() -> Server {
        Server::answering(&switch(""))
    }

    /// The head of a request and the connection that it came by.
    fn connection(&self) -> (String, TcpStream) {
        self.opened
            .recv_timeout(PATIENCE)
            .expect("a request at the server")
    }
}

fn switch(behind: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\nX-App: 7\r\n\r\n{behind}"
    )
}

/// None where the connection ends before.
fn read_head(stream: &mut impl Read) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

fn handshake(target: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nHost: widgets.example\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Protocol: chat\r\n\
         Cookie: a=1\r\nX-Real-IP: 203.0.113.9\r\n\r\n"
    )
}

const CARRIERS: [Carrier; 2] = [Carrier::Http11, Carrier::Tls11];

fn open(carrier: Carrier, gateway: &Gateway) -> Box<dyn Duplex> {
    match carrier.is_tls() {
        true => Box::new(connected_tls(gateway.tls(), b"http/1.1")),
        false => Box::new(connected(gateway.http())),
    }
}

/// A client and a server that speak to each other.
fn joined(carrier: Carrier, gateway: &Gateway, server: &Server) -> (Box<dyn Duplex>, TcpStream) {
    let mut client = open(carrier, gateway);
    client.write_all(handshake("/ws").as_bytes()).unwrap();
    let head = read_head(&mut client).expect("a switch");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    (client, server.connection().1)
}

fn expect(from: &mut impl Read, bytes: &[u8]) {
    let mut got = vec![0; bytes.len()];
    from.read_exact(&mut got).unwrap();
    assert_eq!(shown(&got), shown(bytes));
}

fn expect_end(from: &mut impl Read) {
    let mut rest = Vec::new();
    // TLS says so where the end was not announced; a reset is none.
    match from.read_to_end(&mut rest) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {}
        Err(e) => panic!("{e}"),
    }
    assert_eq!(shown(&rest), "");
}

#[test]
fn a_sound_handshake_is_passed_on_and_answered() {
    for carrier in CARRIERS {
        let server = Server::answering(&switch("said at once"));
        let gateway = Gateway::on_every_carrier(routes(server.address, ""));
        let mut client = open(carrier, &gateway);
        client
            .write_all((handshake("/ws/a?b=c") + "too early").as_bytes())
            .unwrap();
        let (head, mut behind) = server.connection();
        let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
        assert_eq!(lines.remove(0), "GET /ws/a?b=c HTTP/1.1");
        for line in [
            "Host: widgets.example",
            "Connection: upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            &format!("Sec-WebSocket-Key: {KEY}"),
            "Sec-WebSocket-Protocol: chat",
            "Cookie: a=1",
            "X-Forwarded-For: 127.0.0.1",
            "X-Real-IP: 127.0.0.1",
        ] {
            let name = line.split_once(':').unwrap().0;
            let named: Vec<_> = lines
                .iter()
                .filter(|line| line.split_once(':').unwrap().0.eq_ignore_ascii_case(name))
                .collect();
            assert_eq!(named, [&line], "{head}");
        }
        let answer = read_head(&mut client).unwrap();
        let mut lines: Vec<&str> = answer.trim_end().split("\r\n").collect();
        assert_eq!(lines.remove(0), "HTTP/1.1 101 Switching Protocols");
        lines.sort_unstable();
        let accept = format!("Sec-WebSocket-Accept: {ACCEPT}");
        assert_eq!(
            lines,
            ["Connection: upgrade", &accept, "Upgrade: websocket", "X-App: 7"]
        );
        expect(&mut client, b"said at once");
        expect(&mut behind, b"too early");
        gateway.metric_reaches("widget_gateway_requests_in_flight", &[], 1.0);
        assert_eq!(
            gateway.metrics().value("widget_gateway_upstream_in_flight", &[]),
            1.0
        );
        drop(behind);
        expect_end(&mut client);
        let line = &gateway.request_lines(1)[0];
        assert_eq!(
            (
                &line["status"],
                &line["outcome"],
                &line["bytes_in"],
                &line["bytes_out"]
            ),
            (&101.into(), &"forwarded".into(), &9.into(), &12.into()),
            "{line}"
        );
        let metrics = gateway.metrics();
        assert_eq!(metrics.value("widget_gateway_requests_in_flight", &[]), 0.0);
        assert_eq!(metrics.value("widget_gateway_upstream_in_flight", &[]), 0.0);
        let of_1xx = [("code_class", "1xx")];
        assert_eq!(
            metrics.value("widget_gateway_upstream_responses_total", &of_1xx),
            1.0
        );
    }
}

/// Both sides send first and read later: nobody waits for the other one to take what it sends.
#[test]
fn bytes_go_both_ways_as_they_are() {
    const SIZE: usize = 8 << 20;
    for carrier in CARRIERS {
        let server = Server::switching();
        let gateway = Gateway::on_every_carrier(routes(server.address, ""));
        let (mut client, mut behind) = joined(carrier, &gateway, &server);
        let bytes = |seed| -> Vec<u8> {
            let mut rng = Rng::new(seed);
            (0..SIZE / 8).flat_map(|_| rng.next().to_le_bytes()).collect()
        };
        let (up, down) = (bytes(1), bytes(2));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut writer = behind.try_clone().unwrap();
                let sending = scope.spawn({
                    let down = &down;
                    move || writer.write_all(down).unwrap()
                });
                let mut got = vec![0; SIZE];
                behind.read_exact(&mut got).unwrap();
                assert!(got == up, "what the client sent");
                sending.join().unwrap();
            });
            // Its own receive buffer holds a little of what comes meanwhile.
            client.write_all(&up).unwrap();
            let mut got = vec![0; SIZE];
            client.read_exact(&mut got).unwrap();
            assert!(got == down, "what the server sent");
        });
        client.finish();
        expect_end(&mut behind);
        drop(behind);
        let line = &gateway.request_lines(1)[0];
        assert_eq!(
            (&line["bytes_in"], &line["bytes_out"]),
            (&SIZE.into(), &SIZE.into()),
            "{line}"
        );
    }
}

/// What is no handshake, or is not on such a route, stays HTTP: the server hears nothing of an upgrade.
#[test]
fn anything_else_stays_http() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let sound = handshake("/ws");
    let cases = [
        handshake("/other"),
        sound.replacen("GET", "HEAD", 1),
        sound.replace("Sec-WebSocket-Version: 13\r\n", ""),
        sound.replace("Version: 13", "Version: 8"),
        sound.replace(KEY, "c2hvcnQ="),
        sound.replace("Upgrade: websocket", "Upgrade: h2c"),
        sound.replace("keep-alive, Upgrade", "keep-alive"),
        sound.replace("HTTP/1.1", "HTTP/1.0"),
    ];
    for carrier in CARRIERS {
        let server = Server::answering(answer);
        let gateway = Gateway::on_every_carrier(routes(server.address, ""));
        for case in &cases {
            let mut client = open(carrier, &gateway);
            client.write_all(case.as_bytes()).unwrap();
            let answer = read_head(&mut client).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{case}: {answer}");
            let (head, _) = server.connection();
            let head = head.to_ascii_lowercase();
            assert!(
                !head.contains("\r\nupgrade:") && !head.contains("connection: upgrade"),
                "{head}"
            );
        }
    }
}

/// A server that switches though nobody asked it to, or to something else, has given no answer.
#[test]
fn a_switch_that_nobody_asked_for_is_no_answer() {
    let unsound = handshake("/ws").replace("Version: 13", "Version: 8");
    for (request, answer) in [
        (handshake("/other"), switch("")),
        (unsound, switch("")),
        (handshake("/ws"), switch("").replace("WebSocket\r\n", "h2c\r\n")),
        (handshake("/ws"), switch("").replace("Upgrade: WebSocket\r\n", "")),
        (
            handshake("/ws"),
            switch("").replace("keep-alive, Upgrade", "keep-alive"),
        ),
    ] {
        let server = Server::answering(&answer);
        let gateway = Gateway::start(routes(server.address, ""));
        let refused = Conn::open(gateway.http()).roundtrip(&request);
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (502, &"upstream_error".into())
        );
        let bad = [("cause", "bad_answer")];
        gateway.metric_reaches("widget_gateway_upstream_failures_total", &bad, 1.0);
    }
}

/// A server may refuse; its answer goes back as any other, and the connection goes on.
#[test]
fn a_refusal_of_the_server_is_an_answer() {
    for carrier in CARRIERS {
        let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\nX-App: 7\r\n\r\nno!";
        let server = Server::answering(refusal);
        let gateway = Gateway::on_every_carrier(routes(server.address, ""));
        let mut conn = match carrier.is_tls() {
            true => Conn::open_tls(gateway.tls()),
            false => Conn::open(gateway.http()),
        };
        for _ in 0..2 {
            let refused = conn.roundtrip(handshake("/ws"));
            assert_eq!((refused.status, refused.text()), (403, "no!"));
            assert_eq!(refused.header("X-App"), Some("7"));
        }
    }
}

#[test]
fn silence_both_ways_ends_it_and_speech_either_way_does_not() {
    let limit = Duration::from_secs(2);
    let server = Server::switching();
    let gateway = Gateway::start(routes(server.address, "timeout = \"2s\"\n"));
    let (mut speaker, mut listens) = joined(Carrier::Http11, &gateway, &server);
    let (mut hearer, mut speaks) = joined(Carrier::Http11, &gateway, &server);
    // Opened after the others, and silent: once its time is over, theirs would have been.
    let (mut clock, mut behind_clock) = joined(Carrier::Http11, &gateway, &server);
    let mut speech = || {
        speaker.write_all(b"x").unwrap();
        expect(&mut listens, b"x");
        speaks.write_all(b"y").unwrap();
        expect(&mut hearer, b"y");
    };
    std::thread::scope(|scope| {
        let over = scope.spawn(|| {
            expect_end(&mut clock);
            expect_end(&mut behind_clock);
        });
        while !over.is_finished() {
            speech();
        }
    });
    speech();
    let since = Instant::now();
    expect_end(&mut speaker);
    expect_end(&mut listens);
    expect_end(&mut hearer);
    expect_end(&mut speaks);
    assert!(since.elapsed() >= limit - limit / 10, "{:?}", since.elapsed());
    gateway.metric_reaches(CLOSED, &[("reason", "idle")], 3.0);
    for line in gateway.request_lines(3) {
        assert_eq!(line["outcome"], "forwarded", "{line}");
    }
}

/// In the middle of a frame nothing is put in; between two the client is told, answers, and the server knows.
#[test]
fn a_drain_says_farewell_between_two_frames() {
    for carrier in CARRIERS {
        let server = Server::switching();
        let rules = "drain_delay = \"1ms\"\ngrace_period = \"18s\"";
        let setup = Setup::of(routes(server.address, ""))
            .server(rules)
            .every_carrier();
        let gateway = Gateway::with(setup);
        let (mut client, mut behind) = joined(carrier, &gateway, &server);
        let (mut quiet, mut quiet_behind) = joined(carrier, &gateway, &server);
        let (mut closing, mut closing_behind) = joined(carrier, &gateway, &server);
        let frame = [&[0x82, 126, 1, 0][..], &[7; 256]].concat();
        behind.write_all(&frame[..100]).unwrap();
        expect(&mut client, &frame[..100]);
        let own_close = [0x88, 0x02, 0x03, 0xE8];
        closing_behind.write_all(&own_close).unwrap();
        expect(&mut closing, &own_close);
        let since = Instant::now();
        gateway.signal(Signal::SIGTERM);
        expect(&mut quiet, GOING_AWAY);
        // What the server still sends of this frame arrives, of those behind it nothing.
        behind.write_all(&[&frame[100..], &frame[..]].concat()).unwrap();
        expect(&mut client, &[&frame[100..], GOING_AWAY].concat());
        let masked_close = [0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xE9 ^ 2];
        for (client, behind) in [(&mut client, &mut behind), (&mut quiet, &mut quiet_behind)] {
            client.write_all(&masked_close).unwrap();
            expect(behind, &masked_close);
            // Nothing arrives behind the farewell.
            let _ = behind.write_all(&[&frame[..], &own_close].concat());
            behind.shutdown(Shutdown::Write).unwrap();
            expect_end(client);
        }
        // Who was taking leave already is not told twice.
        closing.write_all(&masked_close).unwrap();
        expect(&mut closing_behind, &masked_close);
        closing_behind.shutdown(Shutdown::Write).unwrap();
        expect_end(&mut closing);
        assert_eq!(gateway.wait().code(), Some(0));
        assert!(since.elapsed() < Duration::from_secs(17), "{:?}", since.elapsed());
    }
}

/// What does not take leave ends with the grace period.
#[test]
fn a_drain_ends_within_grace() {
    let server = Server::switching();
    let rules = "drain_delay = \"1ms\"\ngrace_period = \"1s\"";
    let gateway = Gateway::with(Setup::of(routes(server.address, "")).server(rules));
    let (mut client, _behind) = joined(Carrier::Http11, &gateway, &server);
    gateway.signal(Signal::SIGTERM);
    expect(&mut client, GOING_AWAY);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_connection_that_breaks_is_told_of_and_takes_the_other_along() {
    let reset = |stream: &TcpStream| {
        nix::sys::socket::setsockopt(
            stream,
            nix::sys::socket::sockopt::Linger,
            &nix::libc::linger {
                l_onoff: 1,
                l_linger: 0,
            },
        )
        .unwrap();
    };
    let server = Server::switching();
    let gateway = Gateway::start(routes(server.address, ""));
    let (mut client, behind) = joined(Carrier::Http11, &gateway, &server);
    reset(&behind);
    drop(behind);
    expect_end(&mut client);
    let line = &gateway.request_lines(1)[0];
    let told = [&line["status"], &line["outcome"], &line["cause"]];
    assert_eq!(
        told,
        [
            &101.into(),
            &"upstream_error".into(),
            &serde_json::Value::from("reset")
        ],
        "{line}"
    );

    let mut client = connected(gateway.http());
    client.write_all(handshake("/ws").as_bytes()).unwrap();
    read_head(&mut client).unwrap();
    let (_, mut behind) = server.connection();
    reset(&client);
    drop(client);
    expect_end(&mut behind);
    assert_eq!(gateway.request_lines(2)[1]["outcome"], "client_closed");
}

/// A client that takes nothing is given up, and what the server sends meanwhile stays with the server.
#[test]
fn a_client_that_does_not_read_costs_no_memory() {
    let server = Server::switching();
    let setup = Setup::of(routes(server.address, "")).server("write_timeout = \"2s\"");
    let gateway = Gateway::with(setup);
    let (_client, mut behind) = joined(Carrier::Http11, &gateway, &server);
    let before = gateway.resident_kib();
    let mut sent = 0_usize;
    let piece = [7; 1 << 16];
    while let Ok(size) = behind.write(&piece) {
        sent += size;
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken");
    gateway.metric_reaches(CLOSED, &[("reason", "write_timeout")], 1.0);
    let grown = gateway.most_resident_kib().saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

/// RFC 8441 is not offered: browsers then come by HTTP/1.1, and who asks all the same is reset.
#[test]
fn over_http2_there_is_none() {
    const ENABLE_CONNECT_PROTOCOL: [u8; 2] = [0, 8];
    let server = Server::switching();
    let gateway = Gateway::on_every_carrier(routes(server.address, ""));
    for carrier in [Carrier::H2c, Carrier::H2Tls] {
        let mut session = carrier.frames(&gateway, frames::DEFAULT_WINDOW);
        let settings = session
            .next_that(|frame| frame.kind == frames::SETTINGS && !frame.content.is_empty())
            .expect("settings");
        let offered = settings
            .content
            .chunks(6)
            .any(|setting| setting[..2] == ENABLE_CONNECT_PROTOCOL);
        assert!(!offered, "{carrier:?}: {settings:?}");
    }
    let of_handshake: [(&[u8], &[u8]); 5] = [
        (b":scheme", b"http"),
        (b":authority", b"widgets.example"),
        (b":path", b"/ws"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", KEY.as_bytes()),
    ];
    let with = |method: (&'static [u8], &'static [u8]), more: (&'static [u8], &'static [u8])| {
        [&[method, more][..], &of_handshake].concat()
    };
    for fields in [
        with((b":method", b"CONNECT"), (b":protocol", b"websocket")),
        [
            &[(&b":method"[..], &b"GET"[..])][..],
            &of_handshake,
            &[(b"upgrade", b"websocket")],
        ]
        .concat(),
    ] {
        let raw = h2::raw(gateway.h2c(), &fields, None);
        assert!(raw == h2::Raw::Reset, "{fields:?}: {raw:?}");
    }
    assert!(server.opened.try_recv().is_err(), "the server hears nothing");
}
