//! What the gateway calls its own time has no wait for somebody else in it, however the request ends: an alert stands
//! on it.

use crate::common::carrier::table;
use crate::common::forms::{self, BODY, TARGET};
use crate::common::frames::MAX_WINDOW;
use crate::common::{Body, Carrier, Gateway, Request, Setup, Upstream};

/// How long each row lets the gateway wait, in seconds.
const WAIT: f64 = 1.0;

fn gateway(upstream: &Upstream, widget: &str) -> Gateway {
    let rest = format!("{widget}{}", forms::every_route(&[upstream.address]));
    // Told by a connection that is idle for the same time.
    Gateway::with(
        Setup::of(rest)
            .server("keepalive_timeout = \"1s\"")
            .every_carrier(),
    )
}

/// Returns when so long has passed.
fn wait(gateway: &Gateway) {
    gateway.connect().expect_closed();
}

/// So many requests of a route were recorded, and the own time of all of them is far from one wait.
fn own_time_is_short(gateway: &Gateway, route: &str, requests: usize) {
    let of_route = [("route", route)];
    let counted = |what: &str| format!("widget_gateway_overhead_seconds_{what}");
    let metrics = gateway.metrics_when("recorded", |now| {
        now.value(&counted("count"), &of_route) == requests as f64
    });
    let sum = metrics.value(&counted("sum"), &of_route);
    assert!(sum < WAIT / 2.0, "{sum} s of its own");
}

fn half_a_call() -> Request {
    let sent = BODY.as_bytes()[..100].to_vec();
    Request::form(TARGET, "").body(Body::Part { length: 500, sent })
}

#[test]
fn a_body_that_is_waited_for_is_not_the_gateways_time() {
    let rows = ["it comes too late", "the client goes away"];
    let ran = table(
        "bodies that are waited for",
        &rows,
        |row| row,
        |_, _| true,
        |_| (),
        |carrier, (), row| {
            let upstream = Upstream::start();
            let late = *row == "it comes too late";
            let gateway = gateway(
                &upstream,
                if late {
                    "[widget]\nbody_timeout = \"1s\"\n"
                } else {
                    ""
                },
            );
            match late {
                true => assert_eq!(carrier.ask(&gateway, &half_a_call()).status, 408),
                false => {
                    let sent = carrier.send(&gateway, &half_a_call());
                    wait(&gateway);
                    drop(sent);
                }
            }
            own_time_is_short(&gateway, "widget", 1);
        },
    );
    assert_eq!(ran, [2; 5]);
}

#[test]
fn a_stream_that_waits_for_its_turn_is_not_the_gateways_time() {
    /// As many as go on at once.
    const PLACES: usize = 24;
    const MORE: usize = 2;
    let ran = table(
        "streams that wait for their turn",
        &["it comes", "the client resets them"],
        |row| row,
        |carrier, _| carrier.is_http2(),
        |_| (),
        |carrier: Carrier, (), row| {
            let upstream = Upstream::start();
            let gate = upstream.hold();
            let gateway = gateway(&upstream, "");
            let mut frames = carrier.frames(&gateway, MAX_WINDOW);
            let stream = |at: usize| 2 * at as u32 + 1;
            (0..PLACES + MORE).for_each(|at| frames.ask(stream(at), &Request::upload()));
            upstream.wait_for(PLACES);
            wait(&gateway);
            if *row != "it comes" {
                (PLACES..PLACES + MORE).for_each(|at| frames.reset(stream(at)));
                own_time_is_short(&gateway, "up", MORE);
            }
            gate.open();
            own_time_is_short(&gateway, "up", PLACES + MORE);
        },
    );
    assert_eq!(ran, [0, 0, 0, 2, 2]);
}
