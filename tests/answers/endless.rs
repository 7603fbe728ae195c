//! Servers that never come to the point: heads without end, silence, and more than was asked for. The client gets a
//! clean refusal, it is counted by its cause, and neither memory nor the next request pays for it.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{read_head, scripted};
use crate::common::carrier::table;
use crate::common::forms;
use crate::common::{Body, Gateway, Got, PATIENCE, Request, shown};

const FAILURES: &str = "widget_gateway_upstream_failures_total";

fn requests() -> [(&'static str, Request); 3] {
    [
        ("held", Request::call()),
        ("passed", Request::get("/page")),
        ("streamed", Request::upload()),
    ]
}

/// Answers every request with this and then this again and again, until nobody takes it.
fn endless(first: &'static [u8], again: &'static [u8]) -> (std::net::SocketAddr, Arc<AtomicU64>) {
    let listening = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, taken) = (listening.local_addr().unwrap(), Arc::<AtomicU64>::default());
    let counts = taken.clone();
    std::thread::spawn(move || {
        for mut stream in listening.incoming().map_while(Result::ok) {
            let taken = counts.clone();
            std::thread::spawn(move || {
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                read_head(&mut stream);
                stream.write_all(first).ok()?;
                let many = again.repeat(64 * 1024 / again.len() + 1);
                loop {
                    let size = stream.write(&many).ok()?;
                    taken.fetch_add(size as u64, Ordering::Relaxed);
                }
                #[expect(unreachable_code, reason = "says what the question marks return")]
                Some(())
            });
        }
    });
    (address, taken)
}

/// 2 GB of head would come, and a thousandth of it is too much.
#[test]
fn a_head_without_end_is_refused_soon() {
    const ENDLESS: [(&str, &[u8], &[u8]); 5] = [
        ("one line", b"HTTP/1.1 200 OK\r\nX: ", b"a"),
        ("lines", b"HTTP/1.1 200 OK\r\n", b"X-Line: value\r\n"),
        ("a reason", b"HTTP/1.1 200 ", b"OK "),
        ("a name", b"HTTP/1.1 200 OK\r\n", b"a"),
        (
            "interim answers",
            b"",
            b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
        ),
    ];
    let rows: Vec<_> = ENDLESS
        .iter()
        .flat_map(|row| requests().map(|(kind, request)| (format!("{kind}, {}", row.0), request, row)))
        .collect();
    let ran = table(
        "heads without end",
        &rows,
        |row| &row.0,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, (_, request, (what, first, again))| {
            let (address, taken) = endless(first, again);
            let gateway = Gateway::on_every_carrier(forms::every_route(&[address]));
            let before = gateway.resident_kib();
            let got = carrier.open(&gateway).get(request).whole(what);
            assert_eq!((got.status, &got.json()["code"]), (502, &"upstream_error".into()));
            gateway.metric_reaches(FAILURES, &[("cause", "bad_answer")], 1.0);
            let taken = taken.load(Ordering::Relaxed);
            // The buffers of both kernels hold most of it.
            assert!(taken < 16 << 20, "{taken} bytes were taken");
            let grown = gateway.most_resident_kib().saturating_sub(before);
            assert!(grown < 12 * 1024, "{grown} KiB more");
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}

#[test]
fn a_server_that_never_answers_is_a_timeout() {
    let rows: Vec<_> = [
        ("nothing", ""),
        ("half a head", "HTTP/1.1 200 OK\r\nX-"),
        ("an interim answer", "HTTP/1.1 103 Early Hints\r\n\r\n"),
    ]
    .into_iter()
    .flat_map(|(what, said)| requests().map(|(kind, request)| (format!("{kind}, {what}"), request, said)))
    .collect();
    let ran = table(
        "silence",
        &rows,
        |row| &row.0,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, (_, request, said)| {
            let said = (*said).to_owned();
            let (address, served) = scripted(vec![Box::new(move |mut stream: TcpStream| {
                read_head(&mut stream);
                stream.write_all(said.as_bytes()).unwrap();
                // Until the gateway has had enough.
                let _ = stream.read_to_end(&mut Vec::new());
            })]);
            let rest = format!("{}timeout = \"1s\"\n", forms::every_route(&[address]));
            let gateway = Gateway::on_every_carrier(rest);
            let got = carrier.ask(&gateway, request);
            assert_eq!(
                (got.status, &got.json()["code"]),
                (504, &"upstream_timeout".into())
            );
            gateway.metric_reaches(FAILURES, &[("cause", "timeout")], 1.0);
            served.join().unwrap();
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}

/// What a server sends that nobody asked for is nobody's answer: neither behind an answer nor on an idle connection.
#[test]
fn what_was_not_asked_for_is_no_answer_to_the_next() {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nasked";
    const POISON: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison";
    let rows: Vec<_> = ["at once", "while idle"]
        .into_iter()
        .flat_map(|when| requests().map(|(kind, request)| (format!("{kind}, {when}"), request, when)))
        .collect();
    let ran = table(
        "answers that nobody asked for",
        &rows,
        |row| &row.0,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, (_, request, when)| {
            let listening = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listening.local_addr().unwrap();
            let (asked, at_once) = (request.clone(), *when == "at once");
            let (has_answer, answered) = std::sync::mpsc::channel::<()>();
            let (poisons, poisoned) = std::sync::mpsc::channel::<()>();
            let answered = Arc::new(std::sync::Mutex::new(answered));
            std::thread::spawn(move || {
                for mut stream in listening.incoming().map_while(Result::ok) {
                    let (asked, answered, poisons) = (asked.clone(), answered.clone(), poisons.clone());
                    std::thread::spawn(move || {
                        let mut body = match &asked.body {
                            Body::Length(body) => vec![0; body.len()],
                            _ => Vec::new(),
                        };
                        // Each request that comes: one who was poisoned would ask on the same connection.
                        loop {
                            let mut head = Vec::new();
                            let mut byte = [0];
                            while !head.ends_with(b"\r\n\r\n") {
                                match stream.read(&mut byte) {
                                    Ok(1) => head.push(byte[0]),
                                    _ => return,
                                }
                            }
                            if stream.read_exact(&mut body).is_err() {
                                return;
                            }
                            if at_once {
                                let _ = stream.write_all(&[ANSWER, POISON].concat());
                                let _ = poisons.send(());
                            } else {
                                let _ = stream.write_all(ANSWER);
                                let _ = answered.lock().unwrap().recv_timeout(PATIENCE);
                                let _ = stream.write_all(POISON);
                                let _ = poisons.send(());
                            }
                        }
                    });
                }
            });
            let gateway = Gateway::on_every_carrier(forms::every_route(&[address]));
            let mut client = carrier.open(&gateway);
            for turn in 0..4 {
                match client.get(request) {
                    Got::Whole(got) => {
                        assert_eq!((got.status, got.text()), (200, "asked"), "{turn}");
                    }
                    got => panic!("{turn}: {got:?}"),
                }
                has_answer.send(()).unwrap();
                poisoned
                    .recv_timeout(PATIENCE)
                    .unwrap_or_else(|e| panic!("{turn}: {e}"));
            }
            println!("{}", shown(POISON));
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}
