//! What becomes of an upstream's answer on its way to the client, and of a connection that breaks.

mod odd;
mod early;
mod endless;
mod flow;
mod delivery;
mod duplex;
mod frame;

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use crate::common::carrier::each;
use crate::common::forms::{self, BODY, TARGET, post};
use crate::common::{Body, Gateway, PATIENCE, Request, shown};

/// A server whose connections do what they are told, each its own part.
fn scripted(parts: Vec<Box<dyn FnOnce(TcpStream) + Send>>) -> (std::net::SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        for part in parts {
            let (stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            part(stream);
        }
    });
    (address, served)
}

fn read_head(stream: &mut TcpStream) -> Vec<u8> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", shown(&head));
        head.push(byte[0]);
    }
    head
}

/// What comes until these bytes have come; none where it ends earlier.
fn read_until(stream: &mut TcpStream, end: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let mut piece = [0; 4096];
    while !all.ends_with(end) {
        match stream.read(&mut piece) {
            Ok(size @ 1..) => all.extend_from_slice(&piece[..size]),
            Ok(0) | Err(_) => return None,
        }
    }
    Some(all)
}

fn read_request(stream: &mut TcpStream) {
    read_head(stream);
    let mut body = vec![0; BODY.len()];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(body, BODY.as_bytes());
}

fn answers(answer: &'static [u8]) -> Box<dyn FnOnce(TcpStream) + Send> {
    Box::new(move |mut stream| {
        read_request(&mut stream);
        stream.write_all(answer).unwrap();
    })
}

/// Everything that the client gets until the gateway closes, `Date` lines aside.
fn got(gateway: &Gateway) -> String {
    let mut client = TcpStream::connect(gateway.http()).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client
        .write_all(&post(TARGET, &["Connection: close"], BODY))
        .unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).unwrap();
    let text = String::from_utf8(all).unwrap();
    let lines = text
        .split_inclusive('\n')
        .filter(|line| !line.starts_with("Date: "));
    lines.collect()
}

#[test]
fn interim_answers_pass_and_what_is_for_one_hop_does_not() {
    let (address, served) = scripted(vec![answers(
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
          HTTP/1.1 207 Own Words\r\nConnection: keep-alive\r\nKeep-Alive: timeout=5\r\nUpgrade: h2,h2c\r\n\
          X-tWo: a\r\nx-Two: b\r\nContent-Length: 2\r\n\r\nok",
    )]);
    let gateway = Gateway::start(forms::routes(&[address]));
    assert_eq!(
        got(&gateway),
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n\
         HTTP/1.1 207 Own Words\r\nX-tWo: a\r\nx-Two: b\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    );
    served.join().unwrap();
}

#[test]
fn a_body_keeps_its_length_and_one_without_comes_in_chunks() {
    let (address, served) = scripted(vec![
        answers(b"HTTP/1.0 200 OK\r\nDate: kept\r\n\r\nuntil the end"),
        answers(b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nb\r\nhello world\r\n0\r\nT: x\r\n\r\n"),
        answers(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        answers(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\nContent-Length: 7\r\n\r\n"),
    ]);
    let gateway = Gateway::start(forms::routes(&[address]));
    let end = "Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n";
    assert_eq!(
        got(&gateway),
        format!("HTTP/1.1 200 OK\r\n{end}d\r\nuntil the end\r\n0\r\n\r\n")
    );
    // Pieces may be joined or parted, so chunks are compared by what they hold.
    let chunked = got(&gateway);
    let body = chunked
        .strip_prefix(&format!("HTTP/1.1 200 OK\r\n{end}"))
        .unwrap_or_else(|| panic!("{chunked:?}"));
    let mut lines = body.split("\r\n");
    let mut held = String::new();
    while let Some(size) = lines.next().filter(|size| *size != "0") {
        let data = lines.next().unwrap();
        assert_eq!(usize::from_str_radix(size, 16), Ok(data.len()), "{chunked:?}");
        held.push_str(data);
    }
    assert_eq!(held, "abchello world");
    assert_eq!(
        got(&gateway),
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        got(&gateway),
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nConnection: close\r\n\r\n"
    );
    served.join().unwrap();
}

#[test]
fn an_answer_may_come_before_the_body_was_read() {
    const SIZE: usize = 8 * 1024 * 1024;
    each("answers before the body was read", |carrier| {
        let (is_answered, answered) = std::sync::mpsc::channel::<()>();
        let (address, served) = scripted(vec![Box::new(move |mut stream| {
            read_head(&mut stream);
            let answer = b"HTTP/1.1 413 Too Much\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig";
            stream.write_all(answer).unwrap();
            // Nothing more is read, and the connection stays, until the client has its answer.
            answered.recv_timeout(PATIENCE).unwrap();
        })]);
        let gateway = Gateway::on_every_carrier(format!(
            "{}[widget]\nbody_limit = \"8MiB\"\n",
            forms::routes(&[address])
        ));
        let mut body = BODY.to_owned();
        body.push_str("&x=");
        body.extend(std::iter::repeat_n('a', SIZE - body.len()));
        let response = carrier.ask(&gateway, &Request::form(TARGET, body));
        assert_eq!((response.status, response.text()), (413, "big"));
        is_answered.send(()).unwrap();
        served.join().unwrap();
    });
}

#[test]
fn a_client_that_leaves_takes_its_upstream_connection_along() {
    each("clients that leave", |carrier| {
        for (route, request) in [
            ("widget", Request::call()),
            ("pass", Request::get("/page")),
            ("up", Request::upload()),
        ] {
            let body = match &request.body {
                Body::Length(body) => body.len(),
                _ => 0,
            };
            let (address, served) = scripted(vec![Box::new(move |mut stream| {
                read_head(&mut stream);
                stream.read_exact(&mut vec![0; body]).unwrap();
                let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nsh\r\n";
                stream.write_all(begun).unwrap();
                let left = stream.read(&mut [0]);
                assert!(
                    !matches!(left, Ok(1..)) && !left.is_err_and(|e| e.kind() == ErrorKind::WouldBlock),
                    "the gateway closed its side"
                );
            })]);
            let gateway = Gateway::on_every_carrier(forms::every_route(&[address]));
            carrier.open(&gateway).leave_behind_the_head(&request);
            served.join().unwrap();
            gateway.metric_reaches(
                "widget_gateway_requests_total",
                &[("route", route), ("outcome", "client_closed")],
                1.0,
            );
        }
    });
}
