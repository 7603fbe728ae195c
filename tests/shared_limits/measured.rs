//! How long a store that fails keeps anybody waiting, in milliseconds. By hand and on a machine that has nothing else
//! to do, alone: `cargo test --test suite -- --ignored --nocapture --test-threads 1 shared_limits::measured`.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::trouble::UP;
use super::{config, member, of};
use crate::common::forms::{BODY, TARGET, post};
use crate::common::load::Load;
use crate::common::store::{Redis, timed};
use crate::common::{Carrier, Gateway, PATIENCE, Upstream};

/// What a request may take beyond the time limit of the store.
const BEYOND: Duration = Duration::from_millis(5);
const ROUNDS: usize = 10;
const CLIENTS: usize = 2;
const CALLS: usize = 200;

/// What one call took.
#[derive(Clone, Copy)]
struct Took {
    time: Duration,
    /// How much of it the machine ran nobody who wanted to run: how late a clock was that ticks beside the calls.
    stalled: Duration,
}

/// What each of the calls took that so many clients made at the same time.
fn calls(gateway: &Gateway) -> Vec<Took> {
    const TICK: Duration = Duration::from_millis(1);
    let (stalls, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let mut took = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let due = Instant::now() + TICK;
                std::thread::sleep(TICK);
                stalls.lock().unwrap().push((due, Instant::now()));
            }
        });
        let clients = [(); CLIENTS].map(|()| {
            scope.spawn(|| {
                let mut conn = gateway.connect();
                let timed_call = |_| {
                    let begun = Instant::now();
                    assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200);
                    (begun, Instant::now())
                };
                (0..CALLS).map(timed_call).collect::<Vec<_>>()
            })
        });
        for client in clients {
            took.extend(client.join().unwrap());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let stalls = stalls.into_inner().unwrap();
    let during = |begun: Instant, ended: Instant| {
        let parts = stalls
            .iter()
            .map(|(from, to)| (*to).min(ended).saturating_duration_since((*from).max(begun)));
        parts.sum()
    };
    let took = took.into_iter().map(|(begun, ended)| Took {
        time: ended - begun,
        stalled: during(begun, ended),
    });
    took.collect()
}

#[test]
#[ignore = "it measures milliseconds; by hand"]
fn a_store_that_stands_still_costs_no_request_more_than_its_time_limit() {
    for (limit, lease) in [(5, 1), (5, 10), (20, 1)] {
        let redis = Redis::start(&[]);
        let upstream = Upstream::start();
        let rest = config(
            &upstream,
            "rate = \"1000000/s\"",
            &redis.url(),
            &format!("lease = {lease}"),
        );
        let gateway = Gateway::start(rest.replace("\"1s\"", &format!("\"{limit}ms\"")));
        let limit = Duration::from_millis(limit);
        let (mut well, mut stopped) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            gateway.metric_reaches(UP, &[], 1.0);
            well.extend(calls(&gateway));
            redis.signal(Signal::SIGSTOP);
            stopped.extend(calls(&gateway));
            redis.signal(Signal::SIGCONT);
        }
        for took in [&mut well, &mut stopped] {
            took.sort_unstable_by_key(|took| took.time);
        }
        let told = |took: &[Took]| {
            let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize].time;
            format!("p50 {:?}, p99 {:?}, longest {:?}", at(0.5), at(0.99), at(1.0))
        };
        let beyond: Vec<_> = stopped
            .iter()
            .filter(|took| took.time > limit + BEYOND)
            .map(|took| (took.time, took.stalled))
            .collect();
        println!(
            "limit {limit:?}, lease {lease}, {} calls each: store well {}; standing still {}; over {:?}, and of that \
             the machine's: {beyond:?}",
            stopped.len(),
            told(&well),
            told(&stopped),
            limit + BEYOND,
        );
        let ours = beyond
            .iter()
            .filter(|(time, stalled)| time.saturating_sub(*stalled) > limit + BEYOND);
        assert_eq!(ours.count(), 0, "requests over {limit:?} and {BEYOND:?}");
    }
}

#[test]
#[ignore = "it measures milliseconds; by hand"]
fn a_store_that_is_killed_is_noticed_and_found_again_in_time_and_fails_nobody() {
    let mut redis = Redis::start(&[]);
    let upstream = Upstream::start();
    let few: Vec<_> = (0..ROUNDS as u64).map(member).collect();
    let overrides: String = few
        .iter()
        .map(|few| format!("[[limits.overrides]]\nmember_id = \"{few}\"\nrate = \"1/h\"\nburst = 40\n"))
        .collect();
    let quota = format!("rate = \"1000000/s\"\n{overrides}");
    let rest = config(&upstream, &quota, &redis.url(), "replicas = 4").replace("\"1s\"", "\"5ms\"");
    let gateway = Gateway::start(rest);
    let load = Load::start(gateway.http(), CLIENTS);
    let reaches = |count: usize| {
        let until = Instant::now() + PATIENCE;
        while load.answered() < count {
            assert!(Instant::now() < until, "the load goes on");
            std::thread::yield_now();
        }
    };
    let (mut noticed, mut found) = (Vec::new(), Vec::new());
    for few in &few {
        gateway.metric_reaches(UP, &[], 1.0);
        reaches(load.answered() + 200);
        let told = gateway.logs().len();
        let (_, took) = timed(|| {
            redis.kill();
            gateway.wait_log_after(told, "it is down", |line| {
                line["msg"] == "the store of limits is down"
            })
        });
        noticed.push(took);
        // A fourth of the burst, from the first request on.
        let granted = (0..20).filter(|_| Carrier::Http11.ask(&gateway, &of(few)).status == 200);
        assert_eq!(granted.count(), 10);
        redis.start_again();
        let (_, took) = timed(|| gateway.metric_reaches(UP, &[], 1.0));
        found.push(took);
    }
    let (answered, failed) = load.stop();
    noticed.sort_unstable();
    found.sort_unstable();
    println!(
        "{answered} calls answered, {failed} failed; noticed after {noticed:?}, found again after {found:?}"
    );
    assert_eq!(failed, 0);
    assert!(noticed.iter().all(|took| *took < Duration::from_millis(100)));
    assert!(found.iter().all(|took| *took < Duration::from_secs(5)));
}
