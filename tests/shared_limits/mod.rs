//! Limits that gateways share by a store: how much they admit together, and what happens when the store fails.

mod kinds;
mod measured;
mod script;
mod seen;
mod trouble;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::carrier::each;
use crate::common::forms::{self, BODY, MEMBER, OTHER_MEMBER, TARGET, post};
use crate::common::store::Redis;
use crate::common::{Gateway, PATIENCE, Request, Upstream};

/// A quota, the store and the keys of it that a test is about.
fn config(upstream: &Upstream, quota: &str, url: &str, more: &str) -> String {
    format!(
        "{}[limits.member]\n{quota}\n[limits.shared]\nurl = \"{url}\"\ntimeout = \"1s\"\n{more}\n",
        forms::routes(&[upstream.address])
    )
}

fn of(member: &str) -> Request {
    Request::form(TARGET, BODY.replace(MEMBER, member))
}

/// A member that no other test has.
fn member(number: u64) -> String {
    format!("{number:032x}")
}

#[test]
fn what_one_gateway_grants_another_does_not() {
    let redis = Redis::start(&[]);
    each("what one gateway grants another does not", |carrier| {
        let upstream = Upstream::start();
        let prefix = format!("prefix = \"{carrier:?}:\"\nlease = 1");
        let rest = config(&upstream, "rate = \"1/h\"\nburst = 5", &redis.url(), &prefix);
        let gateways = [(); 2].map(|()| Gateway::on_every_carrier(rest.clone()));
        let mut conns = [carrier.open(&gateways[0]), carrier.open(&gateways[1])];
        let mut statuses = Vec::new();
        for at in 0..8 {
            statuses.push(conns[at % 2].ask(&of(MEMBER)).status);
        }
        assert_eq!(statuses, [200, 200, 200, 200, 200, 429, 429, 429]);
        let refused = conns[0].ask(&of(MEMBER));
        assert_eq!(refused.header("RateLimit-Policy"), Some("\"member\";q=1;w=3600"));
        let wait: u32 = refused.header("Retry-After").unwrap().parse().unwrap();
        assert!((3000..=3600).contains(&wait), "{wait}");
        assert_eq!(conns[1].ask(&of(OTHER_MEMBER)).status, 200);
        // A restart forgets nothing either.
        drop(conns);
        let [first, second] = gateways;
        drop(first);
        let successor = Gateway::on_every_carrier(rest);
        assert_eq!(carrier.ask(&successor, &of(MEMBER)).status, 429);
        let keys = redis.say(&["KEYS", &format!("{carrier:?}:{{{MEMBER}}}:*")]);
        assert!(keys.contains(":member"), "{keys}");
        drop(second);
    });
}

/// What came of a flood.
struct Flooded {
    granted: usize,
    refused: usize,
    /// From the first to the last.
    took: Duration,
}

/// Calls of one member to both gateways as fast as they are answered, for a while.
fn flood(gateways: &[Gateway], time: Duration) -> Flooded {
    let (granted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let stop = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for gateway in gateways.iter().chain(gateways) {
            scope.spawn(|| {
                let mut conn = gateway.connect();
                while !stop.load(Ordering::Relaxed) {
                    let response = conn.roundtrip(post(TARGET, &[], BODY));
                    match response.status {
                        200 => granted.fetch_add(1, Ordering::Relaxed),
                        429 => refused.fetch_add(1, Ordering::Relaxed),
                        other => panic!("{other}"),
                    };
                }
            });
        }
        while begun.elapsed() < time {
            std::thread::park_timeout(time.saturating_sub(begun.elapsed()));
        }
        stop.store(true, Ordering::Relaxed);
    });
    Flooded {
        granted: granted.into_inner(),
        refused: refused.into_inner(),
        took: begun.elapsed(),
    }
}

/// Two gateways, a member at ten times its rate or more: no more than the bound, no less than 95 % of the quota.
fn share(rate: usize, burst: usize, lease: usize, time: Duration) {
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let quota = format!("rate = \"{rate}/s\"\nburst = {burst}");
    let more = format!("lease = {lease}");
    let gateways = [(); 2].map(|()| Gateway::start(config(&upstream, &quota, &redis.url(), &more)));
    let Flooded {
        granted,
        refused,
        took,
    } = flood(&gateways, time);
    let times = (granted + refused) as f64 / (rate as f64 * took.as_secs_f64());
    let quota = burst as f64 + rate as f64 * took.as_secs_f64();
    let ahead = if lease == 1 { 0.0 } else { 2.0 * lease as f64 };
    println!(
        "lease {lease}: {granted} granted in {took:?} at {times:.1} times the rate, the quota is {quota:.1} and {ahead} ahead"
    );
    assert!(times >= 10.0, "asked for {times:.1} times the rate");
    assert!(
        granted as f64 <= quota + ahead + 1.0,
        "{granted} of {quota} and {ahead}"
    );
    assert!(
        granted as f64 >= 0.95 * quota - 2.0 * lease as f64,
        "{granted} of {quota}"
    );
}

/// A call that waits for the store is decided a second time, and is still the same one.
#[test]
fn who_is_not_vouched_for_and_waits_for_the_store_is_one_key() {
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let tokens = tempfile::NamedTempFile::new().unwrap();
    let more = format!(
        "lease = 1\n[verify]\nmethod = \"application_token\"\nmode = \"observe\"\ntokens_file = \"{}\"\n",
        tokens.path().display()
    );
    let gateway = Gateway::start(config(&upstream, "rate = \"100/h\"", &redis.url(), &more));
    for _ in 0..3 {
        assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    }
    let metrics = gateway.metrics_after(3);
    let of_members = [("policy", "member")];
    assert_eq!(metrics.value("widget_gateway_ratelimit_keys", &of_members), 1.0);
    let waited = [("by", "store"), ("decision", "allowed")];
    let name = "widget_gateway_ratelimit_shared_decisions_total";
    assert_eq!(metrics.value(name, &waited), 3.0);
    let keys = redis.say(&["KEYS", "*unproven*"]);
    assert!(keys.contains(MEMBER), "{keys}");
}

/// A counter that stood still until a fresh one had overtaken it would hide what the store does meanwhile.
#[test]
fn a_store_that_is_given_up_and_taken_again_is_counted_on() {
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let shared = config(&upstream, "rate = \"100/h\"", &redis.url(), "lease = 1");
    let (alone, _) = shared.split_once("[limits.shared]").unwrap();
    let gateway = Gateway::start(shared.clone());
    let ask = |times: usize| {
        for _ in 0..times {
            assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
        }
    };
    let judged = [("by", "store"), ("decision", "allowed")];
    let name = "widget_gateway_ratelimit_shared_decisions_total";
    ask(3);
    for (reloads, text) in [(1, alone), (2, &*shared)] {
        gateway.rewrite(text);
        assert_eq!(gateway.reload_lines(reloads)[reloads - 1]["result"], "applied");
        // Nobody had looked before it was given up.
        assert_eq!(gateway.metrics_after(3).value(name, &judged), 3.0);
    }
    ask(2);
    assert_eq!(gateway.metrics_after(5).value(name, &judged), 5.0);
}

/// How often a Redis has read from its clients, and how often the script was asked for.
fn reads_and_questions(redis: &Redis) -> (u64, u64) {
    let number = |section: &str, after: &str| -> u64 {
        let told = redis.say(&["INFO", section]);
        let rest = told.split_once(after).map_or("0", |(_, rest)| rest);
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .map_or(rest, |end| &rest[..end]);
        digits.parse().unwrap()
    };
    (
        number("stats", "total_reads_processed:"),
        number("commandstats", "cmdstat_evalsha:calls="),
    )
}

#[test]
fn questions_that_nobody_waits_for_go_out_together() {
    const AT_ONCE: u64 = 100;
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    // Strangers that share a state are one key.
    let more = "lease = 10\n[limits]\nnew_keys_per_client = \"1000000/s\"";
    let gateway = Gateway::start(config(&upstream, "rate = \"100/s\"", &redis.url(), more));
    let mut conn = gateway.connect();
    let mut round = 0;
    let until = Instant::now() + PATIENCE;
    // A machine that is busy may make them come too slowly for one to meet another, but not each time.
    loop {
        let before = reads_and_questions(&redis);
        for number in 0..AT_ONCE {
            let call = of(&member(round * AT_ONCE + number)).to_http1("HTTP/1.1");
            assert_eq!(conn.roundtrip(call).status, 200);
        }
        let (reads, questions) = loop {
            let now = reads_and_questions(&redis);
            let (reads, questions) = (now.0 - before.0, now.1 - before.1);
            if questions >= AT_ONCE {
                break (reads, questions);
            }
            assert!(Instant::now() < until, "{questions} questions");
        };
        if reads * 3 < questions {
            break;
        }
        assert!(Instant::now() < until, "{questions} questions in {reads} reads");
        round += 1;
    }
}

#[test]
fn two_gateways_together_grant_one_quota_where_each_request_waits() {
    share(10, 100, 1, Duration::from_secs(4));
}

#[test]
fn two_gateways_together_grant_one_quota_and_their_leases() {
    share(10, 100, 10, Duration::from_secs(4));
}

#[test]
#[ignore = "a minute long; by hand"]
fn two_gateways_together_grant_one_quota_over_a_minute() {
    for lease in [1, 10] {
        share(40, 100, lease, Duration::from_secs(60));
    }
}

#[test]
fn operators_see_the_store_and_nobody_its_url() {
    let redis = Redis::start(&[
        "--requirepass",
        "store-secret",
        "--user",
        "gate",
        "on",
        ">gate-secret",
        "~widget-gateway:*",
        // What the reference says that the user needs, and nothing else.
        "+evalsha",
        "+eval",
        "+get",
        "+set",
        "+del",
        "+time",
        "+hello",
        "+select",
        "+client",
    ]);
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.url");
    std::fs::write(&file, format!("redis://gate:gate-secret@{}/0\n", redis.address())).unwrap();
    let limits = format!(
        "[limits.member]\nrate = \"1/h\"\nburst = 20\n[limits.shared]\nurl_file = {file:?}\ntimeout = \"1s\"\n",
    );
    let gateway = Gateway::start(format!("{}{limits}", forms::routes(&[upstream.address])));
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    let status = gateway.ask_admin("GET", "/-/status").json();
    let store = &status["limiter"]["store"];
    assert_eq!(
        (&store["up"], &store["lease"]),
        (&json!(true), &json!(10)),
        "{store}"
    );
    let config = gateway.ask_admin("GET", "/-/config");
    assert_eq!(config.json()["settings"]["limits"]["shared"]["url"], "redacted");
    gateway.wait_log("the store", |line| line["msg"] == "the store of limits is up");
    let metrics = gateway.metrics();
    assert_eq!(metrics.value("widget_gateway_ratelimit_store_up", &[]), 1.0);
    assert!(metrics.value("widget_gateway_ratelimit_store_duration_seconds_count", &[]) >= 1.0);
    // Another password does not do, and that is not told with it.
    std::fs::write(
        &file,
        format!("redis://gate:other-secret@{}/0\n", redis.address()),
    )
    .unwrap();
    gateway.wait_log("no store", |line| {
        line["msg"] == "the store of limits is down" && line["reason"] == "auth" && line["instead"] == "local"
    });
    let told = [
        gateway.raw_logs().join("\n"),
        config.text().to_owned(),
        gateway.metrics().text,
    ];
    for told in told {
        for secret in ["gate-secret", "other-secret", "store-secret", &redis.address()] {
            assert!(!told.contains(secret), "{secret} in {told}");
        }
    }
}
