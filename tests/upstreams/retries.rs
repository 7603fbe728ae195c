//! What happens to a request that its server did not answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use super::{FAILURES, call, over};
use crate::common::forms::{BODY, TARGET, post};
use crate::common::{Gateway, PATIENCE, Reply, Upstream};

const RETRIES: &str = "widget_gateway_upstream_retries_total";

/// A server that closes its first connection when it has read the request, and answers on the next one.
fn dying() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for answer in ["", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut read = Vec::new();
            let mut piece = [0; 4096];
            while !read.ends_with(BODY.as_bytes()) {
                let size = stream.read(&mut piece).unwrap();
                read.extend_from_slice(&piece[..size]);
            }
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    address
}

#[test]
fn a_post_is_sent_again_only_where_the_file_allows_it() {
    let gateway = Gateway::start(over(&[dying()], ""));
    assert_eq!(call(&gateway).status, 502);
    assert_eq!(gateway.metrics().value(RETRIES, &[]), 0.0);

    let gateway = Gateway::start(over(&[dying()], "idempotent = true\n"));
    let answer = call(&gateway);
    assert_eq!((answer.status, answer.text()), (200, "ok"));
    let metrics = gateway.metric_reaches(RETRIES, &[], 1.0);
    assert_eq!(metrics.value(FAILURES, &[("cause", "reset")]), 1.0);
}

#[test]
fn the_whole_time_is_bounded_and_that_of_the_background_by_itself() {
    let gate = crate::common::upstream::Gate::default();
    let server = Upstream::replying(Reply::Held(gate.clone()));
    let gateway = Gateway::start(over(&[server.address], "total_timeout = \"200ms\"\n"));
    assert_eq!(call(&gateway).status, 504);
    assert_eq!(gateway.request_lines(1)[0]["cause"], "timeout");

    let gateway = Gateway::start(over(&[server.address], "background_timeout = \"200ms\"\n"));
    let worker = BODY.replace("PLACEMENT=DEFAULT", "PLACEMENT=PAGE_BACKGROUND_WORKER");
    let mut usual = gateway.connect();
    usual.send(post(TARGET, &[], BODY));
    assert_eq!(gateway.ask(post(TARGET, &[], worker)).status, 504);
    gate.open();
    assert_eq!(
        usual.response().status,
        200,
        "another placement has the time it needs"
    );
}
