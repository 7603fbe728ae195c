//! Answers that flow: an event is there when it was sent, and none of a long answer stays in memory.

use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::channel;

use super::{read_head, scripted};
use crate::common::carrier::table;
use crate::common::forms;
use crate::common::{Body, Carrier, Gateway, PATIENCE, Request};

/// A route of each kind.
fn requests() -> [(&'static str, Request); 2] {
    [("held", Request::call()), ("passed", Request::get("/events"))]
}

fn read_whole(stream: &mut TcpStream, request: &Request) {
    read_head(stream);
    if let Body::Length(body) = &request.body {
        std::io::Read::read_exact(stream, &mut vec![0; body.len()]).unwrap();
    }
}

/// Server-sent events, in each framing that servers use: the server sends the next one only once the client has the
/// one before.
#[test]
fn events_arrive_one_by_one() {
    const EVENTS: usize = 5;
    let rows: Vec<_> = requests()
        .into_iter()
        .flat_map(|(kind, request)| {
            ["in chunks", "until the end"].map(|how| (format!("{kind}, {how}"), request.clone(), how))
        })
        .collect();
    let ran = table(
        "server-sent events",
        &rows,
        |row| &row.0,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, (_, request, how)| {
            let (goes_on, go_on) = channel::<()>();
            let (asked, chunked) = (request.clone(), *how == "in chunks");
            let (address, served) = scripted(vec![Box::new(move |mut stream| {
                stream.set_nodelay(true).unwrap();
                read_whole(&mut stream, &asked);
                let coding = if chunked {
                    "Transfer-Encoding: chunked\r\n"
                } else {
                    ""
                };
                let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{coding}\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                for number in 0..EVENTS {
                    let event = format!("id: {number}\ndata: event {number}\n\n");
                    let event = match chunked {
                        true => format!("{:x}\r\n{event}\r\n", event.len()),
                        false => event,
                    };
                    stream.write_all(event.as_bytes()).unwrap();
                    go_on.recv_timeout(PATIENCE).expect("the client has it");
                }
                if chunked {
                    stream.write_all(b"0\r\n\r\n").unwrap();
                }
            })]);
            let gateway = Gateway::on_every_carrier(forms::routes(&[address]));
            let mut sent = carrier.send(&gateway, request);
            for number in 0..EVENTS {
                sent.read_until(format!("data: event {number}\n\n").as_bytes());
                goes_on.send(()).unwrap();
            }
            served.join().unwrap();
            gateway.metric_reaches("widget_gateway_requests_total", &[("outcome", "forwarded")], 1.0);
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}

/// 200 MB go through and nothing of them stays: the most that the process ever had is close to what it has idle.
#[test]
fn a_long_answer_never_sits_in_memory() {
    const SIZE: usize = 200 << 20;
    const MOST_KIB: u64 = 16 * 1024;
    let rows = requests();
    let ran = table(
        "200 MB",
        &rows,
        |row| row.0,
        // TLS is slow where nothing is optimized; what it keeps does not depend on what is under it.
        |carrier, _| matches!(carrier, Carrier::Http11 | Carrier::H2c),
        |carrier| carrier,
        |carrier, _, (kind, request)| {
            let asked = request.clone();
            let (address, served) = scripted(vec![Box::new(move |mut stream| {
                read_whole(&mut stream, &asked);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                let piece = vec![7; 1 << 20];
                for _ in 0..SIZE / piece.len() {
                    stream.write_all(&piece).unwrap();
                }
            })]);
            let gateway = Gateway::on_every_carrier(forms::routes(&[address]));
            let before = gateway.resident_kib();
            let mut sent = carrier.send(&gateway, request);
            sent.skip(SIZE);
            served.join().unwrap();
            let grown = gateway.most_resident_kib().saturating_sub(before);
            println!("{carrier:?}, {kind}: {grown} KiB more at the most");
            assert!(grown < MOST_KIB, "{grown} KiB more");
        },
    );
    assert_eq!(ran, [2, 0, 0, 2, 0]);
}
