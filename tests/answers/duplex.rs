//! Servers that say something before they have read the body, and then read it: they are sent the rest.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::thread::JoinHandle;

use super::read_head;
use crate::common::carrier::{each, table};
use crate::common::forms::{self, BODY, TARGET};
use crate::common::servers::small_listener;
use crate::common::upstream::Gate;
use crate::common::{Body, Carrier, Gateway, Got, PATIENCE, Request, shown};

/// More than the kernels on the way keep of it.
const SIZE: usize = 8 << 20;

/// Says something behind the head, then reads the body, then says the rest.
fn server(said: &'static str, rest: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let listener = small_listener();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = read_head(&mut stream);
        stream.write_all(said.as_bytes()).unwrap();
        let mut body = vec![0; SIZE];
        stream
            .read_exact(&mut body)
            .unwrap_or_else(|e| panic!("{e} behind {}", shown(&head)));
        assert!(body.ends_with(b"the end"));
        stream.write_all(rest.as_bytes()).unwrap();
    });
    (address, served)
}

fn large() -> String {
    let mut body = BODY.to_owned() + "&x=";
    body.extend(std::iter::repeat_n('x', SIZE - body.len() - 7));
    body + "the end"
}

#[test]
fn a_server_that_speaks_first_is_sent_the_rest() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n";
    let saids = [
        (
            "early hints",
            "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n",
            format!("{OK}ok"),
        ),
        ("go on", "HTTP/1.1 100 Continue\r\n\r\n", format!("{OK}ok")),
        ("the head of its answer", OK, "ok".to_owned()),
        (
            "half of its answer",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\no",
            "k".to_owned(),
        ),
    ];
    let body = large();
    let held = Request::form(TARGET, body.clone());
    let streamed = Request::new("PUT", "/up").body(Body::Length(body.into_bytes()));
    let rows: Vec<_> = saids
        .iter()
        .flat_map(|(what, said, rest)| {
            [("held", &held), ("streamed", &streamed)]
                .map(|(kind, request)| (format!("{kind}, {what}"), request, *said, &*rest.clone().leak()))
        })
        .collect();
    let ran = table(
        "servers that speak first",
        &rows,
        |row| &row.0,
        |_, _| true,
        |_| (),
        |carrier, (), (_, request, said, rest)| {
            let (address, served) = server(said, rest);
            let routes = forms::every_route(&[address]);
            let gateway = Gateway::on_every_carrier(format!(
                "{routes}timeout = \"8s\"\n[widget]\nbody_limit = \"8MiB\"\n"
            ));
            let response = carrier.ask(&gateway, request);
            assert_eq!((response.status, response.text()), (200, "ok"));
            served.join().unwrap();
        },
    );
    assert_eq!(ran, [8; 5]);
}

/// Its answer is whole before it has read anything, and its connection stays.
#[test]
fn a_server_that_answers_first_gets_it_all() {
    each("servers that answer first", |carrier| {
        let (address, served) = server("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n", "");
        let routes = forms::routes(&[address]);
        let gateway = Gateway::on_every_carrier(format!("{routes}[widget]\nbody_limit = \"8MiB\"\n"));
        let response = carrier.ask(&gateway, &Request::form(TARGET, large()));
        assert_eq!((response.status, response.text()), (202, ""));
        served.join().unwrap();
    });
}

/// Where only the end of the stream tells that of an answer, a reset is none, though it was a write that met it.
#[test]
fn a_reset_while_the_rest_is_sent_is_no_end_of_an_answer() {
    each("resets while the rest is sent", |carrier| {
        let gate = Gate::default();
        let opened = gate.clone();
        let listener = small_listener();
        let address = listener.local_addr().unwrap();
        let served = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            read_head(&mut stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").unwrap();
            assert!(opened.wait());
            // Closed with all that was not read.
        });
        let routes = forms::routes(&[address]);
        let gateway = Gateway::on_every_carrier(format!("{routes}[widget]\nbody_limit = \"8MiB\"\n"));
        let mut client = carrier.open(&gateway);
        let got = client.get_noticing(&Request::form(TARGET, large()), || gate.open());
        match got {
            Got::Cut(answer) => assert_eq!((answer.status, answer.text()), (200, "half")),
            // Nothing can tell it apart for them.
            Got::Whole(answer) if carrier == Carrier::Http10 => assert_eq!(answer.text(), "half"),
            got => panic!("not cut: {got:?}"),
        }
        served.join().unwrap();
        let line = &gateway.request_lines(1)[0];
        assert_eq!(
            (&line["outcome"], &line["cause"]),
            (&"upstream_error".into(), &"reset".into())
        );
    });
}
