//! Events over their limit are held back until their turn, and none is lost: not to a reload, not to a stop.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::common::carrier::each;
use crate::common::forms::{self, MEMBER};
use crate::common::{Carrier, Gateway, Metrics, Request, Setup, Upstream, shown};

const DECISIONS: &str = "widget_gateway_ratelimit_decisions_total";
const HELD_BACK: &str = "widget_gateway_requests_held_back";

fn rest(upstream: &Upstream, limit: &str) -> String {
    let routes = forms::routes(&[upstream.address]);
    let routes = routes.replacen(
        "kind = \"widget\"",
        "kind = \"widget\"\naccepts = [\"event\", \"robot\"]",
        1,
    );
    format!("{routes}[limits.event]\n{limit}\n")
}

fn event(n: usize) -> Request {
    let auth = format!("auth[domain]=portal.bitrix24.com&auth[member_id]={MEMBER}");
    Request::form(
        "/app",
        format!("event=ONIMCONNECTORMESSAGEADD&data[n]={n}&{auth}"),
    )
}

/// So many came, and some of them wait.
fn held_back(gateway: &Gateway, came: usize) {
    let is_so = |metrics: &Metrics| {
        let has = |name| metrics.find(name, &[]).unwrap_or_default();
        let all =
            has("widget_gateway_requests_in_flight") + metrics.value("widget_gateway_requests_total", &[]);
        all >= came as f64 && has(HELD_BACK) > 0.0
    };
    gateway.metrics_when("events wait", is_so);
}

/// Every one of so many events, each on a connection of its own, gets its answer. Meanwhile something happens.
/// Returns how long they took together.
fn burst(carrier: Carrier, gateway: &Gateway, count: usize, meanwhile: impl FnOnce()) -> Duration {
    let all_are_here = Barrier::new(count + 1);
    let ask = |n| {
        let mut conn = carrier.open(gateway);
        all_are_here.wait();
        let since = Instant::now();
        let answer = conn.ask(&event(n));
        assert_eq!(answer.status, 200, "event {n}: {}", shown(&answer.body));
        since
    };
    let ask = &ask;
    let first = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|n| scope.spawn(move || ask(n))).collect();
        all_are_here.wait();
        meanwhile();
        let began = threads.into_iter().map(|thread| thread.join().unwrap());
        began.min()
    });
    first.unwrap().elapsed()
}

/// Each once, whatever the order in which their connections were served.
fn all_arrived(upstream: &Upstream, count: usize) {
    let number = |body: &[u8]| -> usize {
        let text = String::from_utf8(body.to_vec()).unwrap();
        let (_, rest) = text.split_once("data[n]=").unwrap();
        rest.split('&').next().unwrap().parse().unwrap()
    };
    let received = upstream.take();
    let mut numbers: Vec<_> = received.iter().map(|request| number(&request.body)).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..count).collect::<Vec<_>>());
}

#[test]
fn a_burst_of_events_is_held_back_through_a_reload_and_a_stop() {
    const COUNT: usize = 200;
    each(
        "a burst of events is held back through a reload and a stop",
        |carrier| {
            let upstream = Upstream::start();
            let setup = Setup::of(rest(&upstream, "rate = \"20/s\"\nwait = \"15s\""));
            let setup = setup.server("drain_delay = \"1ms\"\ngrace_period = \"60s\"");
            let gateway = Gateway::with(setup.every_carrier());
            let resident = gateway.resident_kib();
            let mut grown = 0;
            let took = burst(carrier, &gateway, COUNT, || {
                held_back(&gateway, COUNT);
                grown = gateway.most_resident_kib().saturating_sub(resident);
                // Another limit is in force now; who has a turn keeps it.
                gateway.rewrite(&rest(&upstream, "rate = \"1/h\""));
                gateway.metric_reaches("widget_gateway_config_generation", &[], 2.0);
                gateway.signal(Signal::SIGTERM);
                gateway.wait_log("the drain", |line| line["msg"] == "draining");
            });
            // 20 at once, then 20 a second: 180 more take 9 s, and a stop hurries nobody before half of its grace.
            assert!(took >= Duration::from_millis(8_900), "{took:?}");
            all_arrived(&upstream, COUNT);
            assert!(grown < 64 * 1024, "{grown} KiB more");
            assert_eq!(gateway.wait().code(), Some(0));
        },
    );
}

#[test]
fn a_stop_hurries_those_whose_turn_would_come_behind_half_of_its_grace() {
    let upstream = Upstream::start();
    let setup = Setup::of(rest(&upstream, "rate = \"6/m\"\nburst = 1\nwait = \"30s\""));
    let gateway = Gateway::with(setup.server("drain_delay = \"1ms\"\ngrace_period = \"30s\""));
    // Turns at once, after 10, 20 and 30 s.
    let took = burst(Carrier::Http11, &gateway, 4, || {
        gateway.metric_reaches(HELD_BACK, &[], 3.0);
        gateway.signal(Signal::SIGTERM);
    });
    assert!(
        (Duration::from_secs(14)..Duration::from_secs(29)).contains(&took),
        "{took:?}"
    );
    all_arrived(&upstream, 4);
    assert_eq!(gateway.wait().code(), Some(0));
}

#[test]
fn a_client_that_leaves_ends_its_wait_and_one_whose_turn_is_too_late_is_refused() {
    each("a client that leaves ends its wait", |carrier| {
        let upstream = Upstream::start();
        let setup = Setup::of(rest(&upstream, "rate = \"1/m\"\nwait = \"70s\""));
        let gateway = Gateway::with(setup.server("grace_period = \"70s\"").every_carrier());
        assert_eq!(carrier.ask(&gateway, &event(0)).status, 200);
        let waiting = carrier.send(&gateway, &event(1));
        gateway.metric_reaches(HELD_BACK, &[], 1.0);
        // The turn behind that one is two minutes away, which is too long.
        let late = carrier.ask(&gateway, &event(2));
        assert_eq!(late.status, 429);
        assert_eq!(late.json()["violated-policies"], json!(["event"]));
        drop(waiting);
        gateway.metrics_when("nobody waits", |metrics| metrics.value(HELD_BACK, &[]) == 0.0);
        let line = gateway.wait_log("who left", |line| line["reason"] == "client_closed");
        assert_eq!(line["member_id"], MEMBER);
        assert!(line["duration_ms"].as_f64().unwrap() < 55_000.0, "{line}");
        assert_eq!(upstream.take().len(), 1, "nobody waits for its answer");
        // Counted with the record of each, which may still be on its way.
        let told = gateway.metrics_after(3);
        let told = |decision| told.value(DECISIONS, &[("policy", "event"), ("decision", decision)]);
        assert_eq!(["allowed", "held_back", "limited"].map(told), [1.0, 1.0, 1.0]);
    });
}
