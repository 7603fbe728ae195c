//! Requests whose body is still on its way, or stalls: whose fault that is, and how long it is waited for.

use std::net::SocketAddr;

use crate::common::carrier::table;
use crate::common::servers::{deaf, saying};
use crate::common::{Body, Gateway, Request};
use serde_json::Value;

fn gateway(server: SocketAddr, keys: &str) -> Gateway {
    Gateway::on_every_carrier(format!(
        "[[routes]]\npath = \"/\"\nkind = \"pass\"\nmethods = [\"GET\", \"POST\"]\nupstream = \"handlers\"\n\
         [upstreams.handlers]\nservers = [\"{server}\"]\n{keys}"
    ))
}

fn stalling() -> Request {
    Request::new("POST", "/up").body(Body::Part {
        length: 1_000_000,
        sent: b"the beginning".to_vec(),
    })
}

/// The server has said all it has to say: nobody is kept waiting for a body that does not come.
#[test]
fn a_whole_answer_ends_an_upload_that_stalls() {
    let ran = table(
        "whole answers to uploads that stall",
        &["a length", "a whole time besides"],
        |row| row,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, row| {
            let server = saying(b"HTTP/1.1 413 Too Much\r\nContent-Length: 3\r\n\r\nno!");
            let keys = match *row {
                "a length" => "",
                _ => "total_timeout = \"1s\"\n",
            };
            let gateway = gateway(server, keys);
            let mut client = carrier.open(&gateway);
            let answer = client.get(&stalling()).whole("an answer");
            assert_eq!((answer.status, answer.text()), (413, "no!"));
            // The client stays, and says nothing.
            let line = gateway.request_lines(1).remove(0);
            assert_eq!(
                (&line["outcome"], &line["status"], &line["cause"]),
                (&"forwarded".into(), &413.into(), &Value::Null),
                "{line}"
            );
            let metrics = gateway.metrics_when("nobody in flight", |now| {
                now.value("widget_gateway_upstream_in_flight", &[]) == 0.0
            });
            assert_eq!(metrics.value("widget_gateway_upstream_failures_total", &[]), 0.0);
        },
    );
    assert_eq!(ran, [2; 5]);
}

/// A server that waits for the rest of a body is not the one who is silent.
#[test]
fn an_upload_that_stalls_is_its_clients_fault() {
    let ran = table(
        "uploads that stall",
        &["timeout", "total_timeout"],
        |row| row,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, key| {
            let gateway = gateway(saying(b""), &format!("{key} = \"500ms\"\n"));
            let answer = carrier.open(&gateway).get(&stalling()).whole("a refusal");
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (408, &"body_timeout".into())
            );
            let line = gateway.request_lines(1).remove(0);
            assert_eq!(line["cause"], Value::Null, "{line}");
            let metrics = gateway.metrics_when("nobody in flight", |now| {
                now.value("widget_gateway_upstream_in_flight", &[]) == 0.0
            });
            assert_eq!(metrics.value("widget_gateway_upstream_failures_total", &[]), 0.0);
        },
    );
    assert_eq!(ran, [2; 5]);
}

/// Nobody waits for more of a body that nobody takes.
#[test]
fn a_server_that_takes_none_of_an_upload_is_the_one_who_is_silent() {
    let ran = table(
        "uploads that are not taken",
        &["timeout", "total_timeout"],
        |row| row,
        |_, _| true,
        |carrier| carrier,
        |carrier, _, key| {
            let gateway = gateway(deaf().0, &format!("{key} = \"500ms\"\n"));
            let upload = Request::new("POST", "/up").body(Body::Length(vec![b'x'; 16 << 20]));
            let answer = carrier.open(&gateway).get(&upload).whole("a refusal");
            assert_eq!(
                (answer.status, &answer.json()["code"]),
                (504, &"upstream_timeout".into())
            );
            let line = gateway.request_lines(1).remove(0);
            assert_eq!(line["cause"], "timeout", "{line}");
            let failures = gateway
                .metrics()
                .value("widget_gateway_upstream_failures_total", &[]);
            assert_eq!(failures, 1.0);
        },
    );
    assert_eq!(ran, [2; 5]);
}
