//! More requests than the servers of an upstream are to have.

use std::time::{Duration, Instant};

use super::{call, over};
use crate::common::carrier::each;
use crate::common::forms::{BODY, TARGET, post};
use crate::common::{Carrier, Gateway, Request, Upstream};

const QUEUED: &str = "widget_gateway_upstream_queued";

#[test]
fn what_is_too_much_waits_and_what_is_more_is_refused_at_once() {
    each("what is too much", refuse_what_is_more);
}

fn refuse_what_is_more(carrier: Carrier) {
    let server = Upstream::start();
    let gate = server.hold();
    let keys = "max_in_flight = 1\nqueue = 1\nqueue_timeout = \"1h\"\n";
    let gateway = Gateway::on_every_carrier(over(&[server.address], keys));
    let [mut asked, mut queued] = [gateway.connect(), gateway.connect()];
    asked.send(post(TARGET, &[], BODY));
    server.wait_for(1);
    queued.send(post(TARGET, &[], BODY));
    gateway.metric_reaches(QUEUED, &[("upstream", "handlers")], 1.0);
    let more = [Request::call(), Request::get("/"), Request::upload()];
    for refused in more.map(|asked| carrier.ask(&gateway, &asked)) {
        assert_eq!(refused.status, 503);
        assert_eq!(
            (refused.header("retry-after"), &refused.json()["code"]),
            (Some("1"), &"overloaded".into())
        );
    }
    assert_eq!(gateway.ask_admin("GET", "/-/healthy").status, 200);
    assert_eq!(server.take().len(), 1);
    gate.open();
    assert_eq!([asked.response().status, queued.response().status], [200, 200]);
    gateway.metrics_when("nobody in the queue", |metrics| metrics.value(QUEUED, &[]) == 0.0);
    assert_eq!(call(&gateway).status, 200);
}

#[test]
fn the_wait_in_the_queue_has_an_end() {
    let server = Upstream::start();
    let gate = server.hold();
    let keys = "max_in_flight = 1\nqueue_timeout = \"300ms\"\n";
    let gateway = Gateway::on_every_carrier(over(&[server.address], keys));
    let mut asked = gateway.connect();
    asked.send(post(TARGET, &[], BODY));
    server.wait_for(1);
    each("the wait in the queue", |carrier| {
        let began = Instant::now();
        assert_eq!(carrier.ask(&gateway, &Request::call()).status, 503);
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(300), "{took:?}");
    });
    gate.open();
    assert_eq!(asked.response().status, 200);
}

/// Bitrix24 looks at the whole of it.
#[test]
fn what_the_background_waits_in_the_queue_is_part_of_its_time() {
    each("the background in the queue", |carrier| {
        let server = Upstream::start();
        let gate = server.hold();
        let keys = "max_in_flight = 1\nqueue_timeout = \"1h\"\nbackground_timeout = \"300ms\"\n";
        let gateway = Gateway::on_every_carrier(over(&[server.address], keys));
        let mut asked = gateway.connect();
        asked.send(post(TARGET, &[], BODY));
        server.wait_for(1);
        let worker = BODY.replace("PLACEMENT=DEFAULT", "PLACEMENT=PAGE_BACKGROUND_WORKER");
        let refused = carrier.ask(&gateway, &Request::form(TARGET, worker));
        assert_eq!(
            (refused.status, &refused.json()["code"]),
            (503, &"overloaded".into())
        );
        gate.open();
        assert_eq!(asked.response().status, 200);
    });
}

#[test]
fn a_client_that_leaves_the_queue_is_noticed() {
    each("leaving the queue", |carrier| {
        let server = Upstream::start();
        let gate = server.hold();
        let keys = "max_in_flight = 1\nqueue = 1\nqueue_timeout = \"1h\"\n";
        let gateway = Gateway::on_every_carrier(over(&[server.address], keys));
        let mut asked = gateway.connect();
        asked.send(post(TARGET, &[], BODY));
        server.wait_for(1);
        for request in [Request::call(), Request::get("/"), Request::upload()] {
            let queued = carrier.send(&gateway, &request);
            gateway.metrics_when("one in the queue", |now| now.value(QUEUED, &[]) == 1.0);
            drop(queued);
            gateway.metrics_when("nobody in the queue", |now| now.value(QUEUED, &[]) == 0.0);
        }
        // What a client sends ahead, if only a line end, does not hide that it leaves.
        let ahead: &[&[u8]] = match carrier {
            Carrier::H2c | Carrier::H2Tls => &[],
            Carrier::Http11 | Carrier::Http10 | Carrier::Tls11 => {
                &[b"\r\n", b"GET /next HTTP/1.1\r\nHost: widgets.example\r\n\r\n"]
            }
        };
        for more in ahead {
            let mut queued = carrier.send(&gateway, &Request::call());
            gateway.metrics_when("one in the queue", |now| now.value(QUEUED, &[]) == 1.0);
            queued.send_last(more);
            drop(queued);
            gateway.metrics_when("nobody in the queue", |now| now.value(QUEUED, &[]) == 0.0);
        }
        gate.open();
        assert_eq!(asked.response().status, 200);
        let lines = gateway.request_lines(4 + ahead.len());
        let left = lines.iter().filter(|line| line["reason"] == "client_closed");
        assert_eq!(left.count(), 3 + ahead.len());
        assert_eq!(server.take().len(), 1, "nobody asks for who has left");
    });
}
