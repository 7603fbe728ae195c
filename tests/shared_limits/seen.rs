//! What operators see of a key that gateways share, and how they give it back.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::of;
use crate::common::forms::{self, BODY, MEMBER, TARGET, post};
use crate::common::store::{FakeStore, Redis, Says, timed};
use crate::common::{Carrier, Gateway, PATIENCE, Response, Upstream};

const UP: &str = "widget_gateway_ratelimit_store_up";

/// A member may ask five times, and as often from each of two kinds of placement.
fn start(upstream: &Upstream, url: &str, more: &str) -> Gateway {
    let family =
        |name: &str| format!("[[limits.placement]]\nmatch = \"{name}\"\nrate = \"1/h\"\nburst = 5\n");
    Gateway::start(format!(
        "{}[limits.member]\nrate = \"1/h\"\nburst = 5\n[limits.shared]\nurl = \"{url}\"\ntimeout = \"1s\"\n\
         {more}\n{}{}",
        forms::routes(&[upstream.address]),
        family("CRM_*"),
        family("TASK_*"),
    ))
}

fn limits(gateway: &Gateway, method: &str, key: &str) -> Response {
    gateway.ask_admin(method, &format!("/-/limits/{key}"))
}

/// How the key stands with `[limits.member]`, which is asked first.
fn member(answer: &Response) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["policies"][0].clone()
}

fn status(gateway: &Gateway, member: &str) -> u16 {
    Carrier::Http11.ask(gateway, &of(member)).status
}

#[test]
fn an_operator_sees_what_all_gateways_used_and_gives_it_back_to_all() {
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let gateways = [(); 2].map(|()| start(&upstream, &redis.url(), "lease = 1\nreplicas = 2"));
    let [one, other] = &gateways;
    let fresh = member(&limits(one, "GET", MEMBER));
    assert_eq!(
        fresh,
        json!({
            "policy": "member", "match": null, "mode": "enforce", "override": false,
            "quota": { "rate": 1, "per_seconds": 3600, "burst": 5 }, "remaining": 5, "full_in": 0.0,
            "judged_by": "store", "store": { "remaining": 5, "full_in": 0.0 }, "lease": null,
            "local": { "burst": 3, "remaining": 3, "full_in": 0.0 },
        })
    );
    let statuses = [status(one, MEMBER), status(one, MEMBER), status(other, MEMBER)];
    assert_eq!(statuses, [200; 3]);
    for (gateway, local) in [(one, 1), (other, 2)] {
        let used = member(&limits(gateway, "GET", MEMBER));
        let told = |pointer: &str| used.pointer(pointer).unwrap().as_f64().unwrap();
        assert_eq!(
            (told("/remaining"), told("/store/remaining")),
            (2.0, 2.0),
            "{used}"
        );
        assert_eq!(told("/local/remaining"), f64::from(local), "{used}");
        assert!(
            (2.9 * 3600.0..=3.0 * 3600.0).contains(&told("/full_in")),
            "{used}"
        );
        assert_eq!(used["judged_by"], "store", "{used}");
    }
    // To look changes nothing, and what a placement has is its own.
    let policies = limits(one, "GET", MEMBER).json()["policies"].clone();
    let left: Vec<_> = (0..3).map(|at| policies[at]["remaining"].clone()).collect();
    assert_eq!(left, [2, 5, 5]);
    let granted = (0..5).take_while(|_| status(one, MEMBER) == 200).count();
    assert_eq!(granted, 2, "three of five were used");
    let refused = member(&limits(one, "GET", MEMBER));
    assert_eq!(
        (&refused["remaining"], &refused["lease"]["held"]),
        (&json!(0), &json!(0))
    );
    let refused_for = refused["lease"]["refused_for"].as_f64().unwrap();
    assert!((3000.0..=3600.0).contains(&refused_for), "{refused_for}");

    // Given back at the other one, which has not seen the last of them.
    let given_back = limits(other, "DELETE", MEMBER);
    assert_eq!(member(&given_back), fresh);
    assert_eq!(given_back.json()["reset"], true);
    assert_eq!(redis.say(&["KEYS", "*:member"]), "*0\r\n");
    let until = Instant::now() + PATIENCE;
    while status(one, MEMBER) == 429 {
        assert!(Instant::now() < until, "the first one never asks again");
        std::thread::yield_now();
    }
    let granted = (0..8)
        .filter(|at| status(&gateways[at % 2], MEMBER) == 200)
        .count();
    assert_eq!(granted, 4);
    other.wait_log("the reset", |line| {
        line["msg"] == "limit reset" && line["key"] == MEMBER && line["store"] == "answered"
    });
}

#[test]
fn a_store_that_does_not_answer_is_told_and_holds_no_operator_up() {
    let (store, upstream) = (FakeStore::start(), Upstream::start());
    let gateway = start(&upstream, &format!("redis://{}", store.address), "replicas = 2");
    for (says, fault) in [
        (Says::Nothing, "timeout"),
        (Says::Bytes("-ERR unheard-of\r\n"), "server"),
        (Says::Bytes("-OOM unheard-of\r\n"), "out_of_memory"),
        (Says::Bytes("-FOREIGN unheard-of\r\n"), "foreign"),
        (Says::Bytes("$10\r\nunheard-of\r\n"), "answer"),
        (Says::Bytes("*3\r\n:0\r\n:0\r\n:987654321987654\r\n"), "answer"),
        (Says::Bytes("*3\r\n:7\r\n:0\r\n:0\r\n"), "answer"),
    ] {
        store.says(Says::Yes);
        gateway.metric_reaches(UP, &[], 1.0);
        store.says(says);
        let (answer, took) = timed(|| limits(&gateway, "GET", MEMBER));
        assert_eq!(answer.status, 200);
        let policies = answer.json()["policies"].as_array().unwrap().clone();
        assert_eq!(policies.len(), 3);
        for policy in policies {
            assert_eq!(policy["store"], json!({ "fault": fault }), "{policy}");
            assert_eq!(
                (&policy["judged_by"], &policy["remaining"]),
                (&json!("local"), &json!(3))
            );
        }
        for secret in ["unheard-of", "987654321987654"] {
            assert!(!answer.text().contains(secret), "{}", answer.text());
        }
        // Three questions, and one limit of a second for all of them.
        assert!(took < Duration::from_millis(1900), "{fault}: {took:?}");
        // Three faults are enough, but of a key's own trouble; the operator may know of them first.
        if fault != "foreign" {
            gateway.metrics_when("it is down", |metrics| metrics.value(UP, &[]) == 0.0);
        }
    }
    // Who waits for it keeps nobody else waiting.
    store.says(Says::Yes);
    gateway.metric_reaches(UP, &[], 1.0);
    store.says(Says::Nothing);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| timed(|| limits(&gateway, "DELETE", MEMBER)));
        let (healthy, took) = timed(|| gateway.ask_admin("GET", "/-/healthy"));
        assert_eq!(healthy.status, 200);
        assert!(took < Duration::from_millis(900), "{took:?}");
        // What was not confirmed is not told as done.
        let (answer, took) = waits.join().unwrap();
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (503, &json!("store_silent"))
        );
        assert_eq!(
            answer.json()["policies"][0]["store"],
            json!({ "fault": "timeout" })
        );
        assert!(
            took >= Duration::from_millis(950),
            "it waits for the store: {took:?}"
        );
    });
    gateway.wait_log("the reset", |line| {
        line["msg"] == "limit reset" && line["store"] == "silent"
    });
}

#[test]
fn what_a_gateway_grants_alone_is_told_and_given_back_while_the_store_is_gone() {
    let mut redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let gateway = start(&upstream, &redis.url(), "lease = 1\nreplicas = 2");
    // What another program has left is that key's trouble, and nothing of it is told.
    redis.say(&[
        "SET",
        &format!("widget-gateway:{{{MEMBER}}}:member"),
        "unheard-of",
    ]);
    let answer = limits(&gateway, "GET", MEMBER);
    assert_eq!(member(&answer)["store"], json!({ "fault": "foreign" }));
    assert!(!answer.text().contains("unheard-of"), "{}", answer.text());
    assert_eq!(limits(&gateway, "DELETE", MEMBER).status, 503, "it is left alone");
    redis.say(&["FLUSHALL"]);
    redis.kill();
    gateway.wait_log("it is down", |line| line["msg"] == "the store of limits is down");
    let statuses = [(); 4].map(|()| gateway.ask(post(TARGET, &[], BODY)).status);
    assert_eq!(statuses, [200, 200, 200, 429], "half of the burst, rounded up");
    let alone = member(&limits(&gateway, "GET", MEMBER));
    assert_eq!(alone["store"], json!({ "fault": "down" }));
    assert_eq!(
        (&alone["judged_by"], &alone["remaining"]),
        (&json!("local"), &json!(0))
    );
    assert_eq!(
        (&alone["lease"]["owed"], &alone["local"]["burst"]),
        (&json!(3), &json!(3))
    );
    let answer = limits(&gateway, "DELETE", MEMBER);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &json!("store_silent"))
    );
    assert_eq!(answer.json()["policies"][0]["local"]["remaining"], 3);
    assert_eq!(
        gateway.ask(post(TARGET, &[], BODY)).status,
        200,
        "it is given back here"
    );
    // Nothing of what was given back is owed to the store.
    redis.start_again();
    gateway.metric_reaches(UP, &[], 1.0);
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    let back = member(&limits(&gateway, "GET", MEMBER));
    assert_eq!(
        (&back["judged_by"], &back["remaining"]),
        (&json!("store"), &json!(3))
    );
}

#[test]
fn who_is_over_is_refused_without_a_question_and_what_judged_whom_is_counted() {
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let gateway = start(&upstream, &redis.url(), "lease = 1");
    let mut conn = gateway.connect();
    let mut statuses = |count: usize| -> Vec<u16> {
        let ask = |_| conn.roundtrip(post(TARGET, &[], BODY)).status;
        (0..count).map(ask).collect()
    };
    assert_eq!(statuses(6), [200, 200, 200, 200, 200, 429]);
    let judged = |by: &str, decision: &str| {
        gateway.metrics().value(
            "widget_gateway_ratelimit_shared_decisions_total",
            &[("by", by), ("decision", decision)],
        )
    };
    // The last that was granted was told that nothing is left.
    assert_eq!(
        (judged("store", "allowed"), judged("lease", "limited")),
        (5.0, 1.0)
    );
    let evals = |redis: &Redis| {
        let stats = redis.say(&["INFO", "commandstats"]);
        let line = stats
            .lines()
            .find(|line| line.starts_with("cmdstat_evalsha:"))
            .unwrap();
        line["cmdstat_evalsha:calls=".len()..]
            .split(',')
            .next()
            .unwrap()
            .parse::<u64>()
            .unwrap()
    };
    let (before, since) = (evals(&redis), Instant::now());
    assert_eq!(statuses(200), [429; 200]);
    // One a second while it goes on, since it may have been given back elsewhere, and one where nobody asks.
    let asked = evals(&redis) - before;
    assert!(asked <= 2 + 2 * since.elapsed().as_secs(), "{asked} questions");
    assert_eq!(judged("lease", "limited"), 201.0);
    assert_eq!(judged("alone", "limited") + judged("no_place", "limited"), 0.0);
    let store = gateway.ask_admin("GET", "/-/status").json()["limiter"]["store"].clone();
    assert_eq!(store["judged"]["lease"], json!({ "allowed": 0, "limited": 201 }));
    assert_eq!(store["judged"]["store"], json!({ "allowed": 5, "limited": 0 }));
    assert!(store["asked"].as_u64().unwrap() >= 5 && store["mean_seconds"].as_f64().unwrap() > 0.0);
}
