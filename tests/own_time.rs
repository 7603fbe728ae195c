//! What the gateway calls its own time has no wait for somebody else in it, however the request ends: an alert stands
//! on it.

use crate::common::carrier::table;
use crate::common::forms::{self, BODY, TARGET};
use crate::common::frames::MAX_WINDOW;
use crate::common::metrics::Metrics;
use crate::common::oauth::{AuthServer, CLIENT_ID, Says};
use crate::common::store::Redis;
use crate::common::{Body, Gateway, Request, Setup, Upstream};
use nix::sys::signal::Signal;

/// How long each request has to wait for somebody, in seconds.
const WAIT: f64 = 1.0;

/// With these sections besides.
fn gateway(upstream: &Upstream, more: &str) -> Gateway {
    let rest = format!("{}{more}", forms::every_route(&[upstream.address]));
    Gateway::with(
        Setup::of(rest)
            .server("keepalive_timeout = \"1s\"")
            .every_carrier(),
    )
}

/// Returns when so long has passed: an idle connection tells.
fn wait(gateway: &Gateway) {
    gateway.connect().expect_closed();
}

/// So many requests of a route ended so, each after its wait, of which nothing is their own time.
fn waits_are_not_its_own(gateway: &Gateway, route: &str, outcome: &str, requests: usize) {
    const OWN: &str = "widget_gateway_overhead_seconds";
    const ALL: &str = "widget_gateway_request_duration_seconds";
    let of_route = [("route", route)];
    let ended = [("route", route), ("outcome", outcome)];
    let counted = |now: &Metrics, family: &str, of: &[(&str, &str)]| {
        now.value(&format!("{family}_count"), of) == requests as f64
    };
    let metrics = gateway.metrics_when("so many ended so", |now| {
        counted(now, ALL, &ended) && counted(now, OWN, &of_route)
    });
    let took = metrics.value(&format!("{ALL}_sum"), &ended);
    assert!(took > 0.9 * WAIT * requests as f64, "{took} s: nobody waited");
    let of_their_own = [("route", route), ("le", "0.25")];
    let short = metrics.value(&format!("{OWN}_bucket"), &of_their_own);
    assert_eq!(short, requests as f64);
    assert!(metrics.value(&format!("{OWN}_sum"), &of_route) > 0.0);
}

/// A call of which not more than this has come.
fn call_up_to(at: usize) -> Request {
    let (length, sent) = (BODY.len(), BODY.as_bytes()[..at].to_vec());
    Request::form(TARGET, "").body(Body::Part { length, sent })
}

#[test]
fn a_body_that_is_waited_for_is_not_the_gateways_time() {
    let ran = table(
        "bodies that are waited for",
        &["it comes", "it comes too late", "its client goes away"],
        |row| row,
        |_, _| true,
        |_| (),
        |carrier, (), row| {
            let upstream = Upstream::start();
            let is_late = *row == "it comes too late";
            let patience = if is_late { "1s" } else { "20s" };
            let gateway = gateway(&upstream, &format!("[widget]\nbody_timeout = \"{patience}\"\n"));
            if is_late {
                assert_eq!(carrier.ask(&gateway, &call_up_to(100)).status, 408);
                return waits_are_not_its_own(&gateway, "widget", "rejected", 1);
            }
            let mut sent = carrier.send(&gateway, &call_up_to(100));
            wait(&gateway);
            match *row {
                "it comes" => {
                    sent.send_last(&BODY.as_bytes()[100..]);
                    waits_are_not_its_own(&gateway, "widget", "forwarded", 1);
                }
                _ => {
                    drop(sent);
                    waits_are_not_its_own(&gateway, "widget", "client_closed", 1);
                }
            }
        },
    );
    assert_eq!(ran, [3; 5]);
}

#[test]
fn who_is_asked_about_a_call_is_not_the_gateways_time() {
    let ran = table(
        "who is asked about a call, and says nothing",
        &[
            "an authorization server",
            "its client goes away",
            "the store of limits",
        ],
        |row| row,
        |_, _| true,
        |_| (),
        |carrier, (), row| {
            let upstream = Upstream::start();
            let (server, redis) = (AuthServer::start(), Redis::start(&[]));
            server.says(forms::SECRETS[0], Says::Nothing);
            let patience = if *row == "its client goes away" {
                "20s"
            } else {
                "1s"
            };
            let more = match *row {
                "the store of limits" => format!(
                    "[limits.member]\nrate = \"10/s\"\n[limits.shared]\nurl = \"{}\"\ntimeout = \"1s\"\nlease = 1\n",
                    redis.url()
                ),
                _ => format!(
                    "[verify]\nmethod = \"app_info\"\nclient_id = \"{CLIENT_ID}\"\ntimeout = \"{patience}\"\nservers = [\"http://{}\"]\n\
                     [widget]\nserver_endpoints = [\"127.0.0.1\", \"oauth.bitrix.info\"]\n",
                    server.address
                ),
            };
            let gateway = gateway(&upstream, &more);
            redis.signal(Signal::SIGSTOP);
            let outcome = match *row {
                "its client goes away" => {
                    let sent = carrier.send(&gateway, &Request::call());
                    wait(&gateway);
                    drop(sent);
                    "client_closed"
                }
                _ => {
                    assert_eq!(carrier.ask(&gateway, &Request::call()).status, 200);
                    "forwarded"
                }
            };
            redis.signal(Signal::SIGCONT);
            waits_are_not_its_own(&gateway, "widget", outcome, 1);
        },
    );
    assert_eq!(ran, [3; 5]);
}

#[test]
fn a_stream_that_waits_for_its_turn_is_not_the_gateways_time() {
    /// As many as go on at once.
    const PLACES: usize = 24;
    const MORE: usize = 2;
    let ran = table(
        "streams that wait for their turn",
        &["it comes", "their client resets them"],
        |row| row,
        |carrier, _| carrier.is_http2(),
        |_| (),
        |carrier, (), row| {
            let upstream = Upstream::start();
            let gate = upstream.hold();
            let gateway = gateway(&upstream, "");
            let mut frames = carrier.frames(&gateway, MAX_WINDOW);
            let stream = |at: usize| 2 * at as u32 + 1;
            (0..PLACES + MORE).for_each(|at| frames.ask(stream(at), &Request::upload()));
            upstream.wait_for(PLACES);
            wait(&gateway);
            assert_eq!(upstream.take().len(), PLACES, "the others wait");
            if *row == "it comes" {
                gate.open();
                return waits_are_not_its_own(&gateway, "up", "forwarded", PLACES + MORE);
            }
            (PLACES..PLACES + MORE).for_each(|at| frames.reset(stream(at)));
            waits_are_not_its_own(&gateway, "up", "client_closed", MORE);
            gate.open();
        },
    );
    assert_eq!(ran, [0, 0, 0, 2, 2]);
}
