//! A store that is slow, gone, full, somebody else's: nobody waits longer than allowed, and all is counted.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{config, member, of};
use crate::common::forms::{BODY, TARGET, post};
use crate::common::load::Load;
use crate::common::store::{FakeStore, Redis, Says, timed};
use crate::common::{Carrier, DeadServer, Gateway, PATIENCE, Upstream};

pub(super) const UP: &str = "widget_gateway_ratelimit_store_up";
const ERRORS: &str = "widget_gateway_ratelimit_store_errors_total";

/// For each thing that a store can say, under which reason it is counted, and whether one is enough to leave it alone.
#[test]
fn whatever_a_store_says_nobody_is_refused_and_it_is_counted() {
    for (says, reason, is_up) in [
        (Says::Nothing, "timeout", false),
        (Says::Close, "connection", false),
        (
            Says::Bytes("-READONLY You can't write against a read only replica.\r\n"),
            "read_only",
            false,
        ),
        (
            Says::Bytes("-OOM command not allowed when used memory > 'maxmemory'.\r\n"),
            "out_of_memory",
            false,
        ),
        (
            Says::Bytes("-ERR Error running script: @user_script:1: -OOM command not allowed\r\n"),
            "out_of_memory",
            false,
        ),
        (
            Says::Bytes("-LOADING Redis is loading the dataset in memory\r\n"),
            "unavailable",
            false,
        ),
        (
            Says::Bytes("-CLUSTERDOWN Hash slot not served\r\n"),
            "unavailable",
            false,
        ),
        (
            Says::Bytes("-NOPERM this user has no permissions\r\n"),
            "auth",
            false,
        ),
        (Says::Bytes("-NOAUTH Authentication required.\r\n"), "auth", false),
        (Says::Bytes("-ERR unknown command\r\n"), "server", false),
        (Says::Bytes("*3\r\n:99999\r\n:0\r\n:0\r\n"), "answer", false),
        (Says::Bytes("*3\r\n:0\r\n:-5\r\n:0\r\n"), "answer", false),
        (Says::Bytes("*3\r\n:0\r\n:0\r\n:9999999999\r\n"), "answer", false),
        (Says::Bytes("*2\r\n:1\r\n:0\r\n"), "answer", false),
        (Says::Bytes("*1\r\n:1\r\n"), "answer", false),
        (Says::Bytes("$5\r\nhello\r\n"), "answer", false),
        (Says::Bytes("hello\r\n"), "answer", false),
        (
            Says::Bytes("-FOREIGN the key holds no arrival time\r\n"),
            "foreign",
            true,
        ),
        (
            Says::Bytes("-WRONGTYPE Operation against a key\r\n"),
            "foreign",
            true,
        ),
    ] {
        let (store, upstream) = (FakeStore::start(), Upstream::start());
        let url = format!("redis://{}", store.address);
        let rest = config(&upstream, "rate = \"1000/s\"", &url, "lease = 1").replace("\"1s\"", "\"300ms\"");
        let gateway = Gateway::start(rest);
        gateway.metric_reaches(UP, &[], 1.0);
        let mut conn = gateway.connect();
        assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200);
        store.says(says);
        for _ in 0..6 {
            assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200, "{reason}");
        }
        gateway.metrics_when(reason, |metrics| {
            metrics.value(ERRORS, &[("reason", reason)]) >= 1.0
                && metrics.value(UP, &[]) == f64::from(u8::from(is_up))
        });
        store.says(Says::Yes);
        gateway.metric_reaches(UP, &[], 1.0);
        assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200, "{reason}");
    }
}

#[test]
fn a_real_store_that_is_full_or_a_replica_is_told_apart() {
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let gateway = Gateway::start(config(&upstream, "rate = \"1000/s\"", &redis.url(), "lease = 1"));
    let mut conn = gateway.connect();
    for (command, back, reason) in [
        (
            &["CONFIG", "SET", "maxmemory", "1"][..],
            &["CONFIG", "SET", "maxmemory", "0"][..],
            "out_of_memory",
        ),
        (
            &["REPLICAOF", "127.0.0.1", "1"],
            &["REPLICAOF", "NO", "ONE"],
            "read_only",
        ),
    ] {
        gateway.metric_reaches(UP, &[], 1.0);
        redis.say(command);
        for _ in 0..5 {
            assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200, "{reason}");
        }
        gateway.metrics_when(reason, |metrics| {
            metrics.value(ERRORS, &[("reason", reason)]) >= 1.0 && metrics.value(UP, &[]) == 0.0
        });
        redis.say(back);
    }
    gateway.metric_reaches(UP, &[], 1.0);
    // What another program has left at a key is that key's trouble alone.
    let foreign = member(1);
    redis.say(&["SET", &format!("widget-gateway:{{{foreign}}}:member"), "hello"]);
    for _ in 0..5 {
        assert_eq!(Carrier::Http11.ask(&gateway, &of(&foreign)).status, 200);
    }
    let metrics = gateway.metrics_when("foreign", |metrics| {
        metrics.value(ERRORS, &[("reason", "foreign")]) >= 1.0
    });
    assert_eq!(metrics.value(UP, &[]), 1.0);
}

#[test]
fn a_store_that_stands_still_is_waited_for_no_longer_than_allowed_and_not_for_long() {
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let rest =
        config(&upstream, "rate = \"1000/s\"", &redis.url(), "lease = 1").replace("\"1s\"", "\"500ms\"");
    let gateway = Gateway::start(rest);
    let mut conn = gateway.connect();
    let call = || post(TARGET, &[], BODY);
    assert_eq!(conn.roundtrip(call()).status, 200);
    redis.signal(Signal::SIGSTOP);
    let waits: Vec<Duration> = (0..20)
        .map(|_| {
            let (response, time) = timed(|| conn.roundtrip(call()));
            assert_eq!(response.status, 200);
            time
        })
        .collect();
    let waited = waits
        .iter()
        .filter(|wait| **wait >= Duration::from_millis(450))
        .count();
    // What is tried while nobody asks may have been one of the three that open the breaker.
    assert!((1..=3).contains(&waited), "{waits:?}");
    println!("the longest wait at a limit of 500 ms: {:?}", waits.iter().max());
    let longest = Duration::from_millis(500) + Duration::from_millis(400);
    assert!(waits.iter().all(|wait| *wait < longest), "{waits:?}");
    gateway.wait_log("it is down", |line| {
        line["msg"] == "the store of limits is down" && line["reason"] == "timeout"
    });
    gateway.metric_reaches(UP, &[], 0.0);
    let told = gateway.logs().len();
    redis.signal(Signal::SIGCONT);
    gateway.metric_reaches(UP, &[], 1.0);
    gateway.wait_log_after(told, "it is up again", |line| {
        line["msg"] == "the store of limits is up"
    });
    let told = gateway.logs();
    let changes = told.iter().filter(|line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.starts_with("the store of limits"))
    });
    assert_eq!(changes.count(), 3, "up, down, up");
}

#[test]
fn nobody_waits_for_a_store_that_was_given_up_meanwhile() {
    let limit = Duration::from_secs(1);
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let rest = config(&upstream, "rate = \"1000/s\"", &redis.url(), "lease = 1");
    let gateway = Gateway::start(rest);
    redis.signal(Signal::SIGSTOP);
    let wait = |number: u64| {
        let (response, wait) = timed(|| gateway.ask(of(&member(number)).to_http1("HTTP/1.1")));
        assert_eq!(response.status, 200);
        wait
    };
    let late = std::thread::scope(|scope| {
        let (answered, answers) = std::sync::mpsc::channel();
        for number in 0..3 {
            let answered = answered.clone();
            scope.spawn(move || answered.send(wait(number)));
        }
        // It comes when those before it have waited for half of their time, and would wait as long as they.
        let early = answers.recv_timeout(limit / 2);
        assert_eq!(early, Err(std::sync::mpsc::RecvTimeoutError::Timeout));
        wait(3)
    });
    redis.signal(Signal::SIGCONT);
    assert!(late < limit * 4 / 5, "{late:?}");
}

#[test]
fn a_store_that_is_killed_under_load_fails_nobody_and_each_gateway_grants_its_share() {
    let mut redis = Redis::start(&[]);
    let upstream = Upstream::start();
    // The members of the load have room; the others have an exact share.
    let few = member(7);
    let overrides = format!(
        "rate = \"1000000/s\"\n[[limits.overrides]]\nmember_id = \"{few}\"\nrate = \"1/h\"\nburst = 40"
    );
    let rest = config(&upstream, &overrides, &redis.url(), "replicas = 4");
    let gateway = Gateway::start(rest);
    let load = Load::start(gateway.http(), 4);
    let reaches = |count: usize| {
        let until = Instant::now() + crate::common::PATIENCE;
        while load.answered() < count {
            assert!(Instant::now() < until, "the load goes on");
            std::thread::yield_now();
        }
    };
    reaches(200);
    redis.kill();
    let (_, noticed) =
        timed(|| gateway.wait_log("it is down", |line| line["msg"] == "the store of limits is down"));
    let granted = (0..30)
        .filter(|_| Carrier::Http11.ask(&gateway, &of(&few)).status == 200)
        .count();
    assert_eq!(granted, 10, "a fourth of the burst");
    let so_far = load.answered();
    reaches(so_far + 200);
    gateway.metric_reaches(UP, &[], 0.0);
    redis.start_again();
    let (_, found) = timed(|| gateway.metric_reaches(UP, &[], 1.0));
    println!("noticed after {noticed:?}, found again after {found:?}");
    assert!(found < Duration::from_secs(5), "{found:?}");
    let so_far = load.answered();
    reaches(so_far + 200);
    let (_, failed) = load.stop();
    assert_eq!(failed, 0);
    // What it got without the store is charged now: of the burst of 40, 30 are left, and half a lease runs ahead.
    let granted = (0..60)
        .filter(|_| Carrier::Http11.ask(&gateway, &of(&few)).status == 200)
        .count();
    assert!((30..=32).contains(&granted), "{granted}");
}

#[test]
fn without_a_store_everything_or_nothing_is_granted_where_that_is_asked_for() {
    let upstream = Upstream::start();
    let dead = DeadServer::new();
    for (on_error, expected) in [("open", 200), ("closed", 429)] {
        let more = format!("on_error = \"{on_error}\"");
        let url = format!("redis://{}", dead.address());
        let gateway = Gateway::start(config(&upstream, "rate = \"1/h\"\nburst = 2", &url, &more));
        let mut conn = gateway.connect();
        for _ in 0..5 {
            let response = conn.roundtrip(post(TARGET, &[], BODY));
            assert_eq!(response.status, expected, "{on_error}");
            let retry_after = (expected == 429).then_some("1");
            assert_eq!(response.header("Retry-After"), retry_after, "{on_error}");
        }
        gateway.wait_log("it is down", |line| {
            line["msg"] == "the store of limits is down" && line["instead"] == on_error
        });
        let decision = if expected == 200 { "allowed" } else { "limited" };
        let judged = [("by", "alone"), ("decision", decision)];
        let metrics = gateway.metrics();
        assert_eq!(
            metrics.value("widget_gateway_ratelimit_shared_decisions_total", &judged),
            5.0
        );
    }
}

/// The master becomes a replica in the middle of a load, by the sentinel's hand, and another server the master.
#[test]
fn a_failover_in_the_middle_fails_nobody_and_forgets_nothing() {
    let one = Redis::start(&[]);
    let other = Redis::start(&["--replicaof", "127.0.0.1", &one.port().to_string()]);
    let sentinel = Redis::sentinel(&one);
    let upstream = Upstream::start();
    let few = member(7);
    let quota = format!(
        "rate = \"1000000/s\"\n[[limits.overrides]]\nmember_id = \"{few}\"\nrate = \"1/h\"\nburst = 5"
    );
    let url = format!("redis-sentinel://{}/main", sentinel.address());
    let quiet = "lease = 1\n[log]\nsample_forwarded = 0.0\nsample_refused = 0.0";
    let gateway = Gateway::start(config(&upstream, &quota, &url, quiet));
    gateway.metric_reaches(UP, &[], 1.0);
    let granted = |count: usize| {
        let ask = |_: &usize| Carrier::Http11.ask(&gateway, &of(&few)).status == 200;
        (0..count).filter(ask).count()
    };
    assert_eq!(granted(3), 3);
    let load = Load::start(gateway.http(), 2);
    let until = Instant::now() + 3 * crate::common::PATIENCE;
    let has_come = |what: &str, is_there: &dyn Fn() -> bool| {
        while !is_there() {
            assert!(Instant::now() < until, "{what}");
            std::thread::yield_now();
        }
    };
    let is_linked = || {
        other
            .say(&["INFO", "replication"])
            .contains("master_link_status:up")
    };
    has_come("the replica has everything", &is_linked);
    has_come("the sentinel knows the replica", &|| {
        sentinel.say(&["SENTINEL", "FAILOVER", "main"]).starts_with("+OK")
    });
    let is_master = || other.say(&["ROLE"]).contains("master");
    has_come("another master", &is_master);
    let told = || gateway.logs();
    has_come("the gateway has followed", &|| {
        let told = told();
        let changes = told.iter().filter_map(|line| line["msg"].as_str());
        changes.filter(|msg| *msg == "the store of limits is up").count() >= 2
    });
    gateway.metric_reaches(UP, &[], 1.0);
    let (answered, failed) = load.stop();
    assert!(answered > 0 && failed == 0, "{failed} of {answered}");
    assert_eq!(granted(4), 2, "three of five were used before");
}

/// What was used up of a small quota is no longer than a burst of a large one, whatever stands in the store.
#[test]
fn a_quota_that_is_widened_is_there_within_its_own_burst() {
    let redis = Redis::start(&[]);
    let upstream = Upstream::start();
    for (number, carrier) in (0..).zip(Carrier::ALL) {
        let [busy, foreign] = [1, 2].map(|kind| member(2 * number + kind));
        for lease in ["lease = 1", "lease = 10"] {
            redis.say(&["FLUSHALL"]);
            let quota = |quota: &str| config(&upstream, quota, &redis.url(), lease);
            let gateway = Gateway::on_every_carrier(quota("rate = \"10/h\"\nburst = 10"));
            let status = |member: &str| carrier.ask(&gateway, &of(member)).status;
            let granted = (0..30).take_while(|_| status(&busy) == 200).count();
            assert!((10..30).contains(&granted), "{granted}");
            gateway.rewrite(&quota("rate = \"50/s\"\nburst = 15"));
            assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 200);
            // The same of what another program wrote.
            let key = format!("widget-gateway:{{{foreign}}}:member");
            redis.say(&["SET", &key, "99999999999999999999"]);
            for member in [&busy, &foreign] {
                let until = Instant::now() + PATIENCE;
                while status(member) != 200 {
                    assert!(
                        Instant::now() < until,
                        "{carrier:?}, {lease}: it is refused for good"
                    );
                }
            }
        }
    }
}
