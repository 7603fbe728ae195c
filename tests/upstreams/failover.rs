//! Server processes under load: one is killed, one falls silent, both come back.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::{UP, call, over};
use crate::common::load::Load;
use crate::common::{Gateway, PATIENCE};

/// A server of its own, which a signal can stop: a gateway with its sample handler behind it.
const SERVER: &str = "[[routes]]\npath = \"/\"\nkind = \"pass\"\nmethods = [\"GET\", \"POST\"]\nupstream = \"sample\"\n\
                      [upstreams.sample]\nservers = [\"sample\"]\n";
/// Who waits longer for an answer has met a silent server.
const TIMEOUT: Duration = Duration::from_secs(2);
const KEYS: &str = "timeout = \"2s\"\n[upstreams.handlers.eject]\nfailures = 2\nfor = \"200ms\"\n\
                    [upstreams.handlers.check]\npath = \"/\"\ninterval = \"100ms\"\nrise = 1\nfall = 2\n";
const CLIENTS: usize = 8;

fn answers(load: &Load, more: usize) {
    let (wanted, deadline) = (load.answered() + more, Instant::now() + PATIENCE);
    while load.answered() < wanted {
        assert!(
            Instant::now() < deadline,
            "{} of {wanted} answers",
            load.answered()
        );
        std::thread::yield_now();
    }
}

fn up_reaches(gateway: &Gateway, count: f64) {
    gateway.metrics_when(&format!("{count} servers up"), |now| now.value(UP, &[]) == count);
}

#[test]
fn a_request_that_was_not_sent_is_never_lost() {
    let [killed, stopped, third] = [(); 3].map(|()| Gateway::start(SERVER));
    let addresses = [killed.http(), stopped.http(), third.http()];
    let gateway = Gateway::start(over(&addresses, KEYS));
    let load = Load::start(gateway.http(), CLIENTS);
    answers(&load, 200);
    killed.signal(Signal::SIGKILL);
    up_reaches(&gateway, 2.0);
    answers(&load, 200);
    stopped.signal(Signal::SIGSTOP);
    up_reaches(&gateway, 1.0);
    answers(&load, 200);

    stopped.signal(Signal::SIGCONT);
    let file = killed.folder().join("again.toml");
    let listen = format!(
        "[server]\nlisten = [\"{}\"]\nadmin = \"127.0.0.1:0\"\nthreads = 1\n",
        addresses[0]
    );
    std::fs::write(&file, listen + SERVER).unwrap();
    let again = Gateway::on(&file, &[]);
    up_reaches(&gateway, 3.0);
    answers(&load, 200);
    let (answered, failed) = load.stop();

    // What a server had when it died or fell silent may have been executed: it is told, and not sent again.
    let lines = gateway.request_lines(answered + failed);
    let lost: Vec<_> = lines.iter().filter(|line| !line["reason"].is_null()).collect();
    for line in &lost {
        let told = (line["reason"].as_str(), line["cause"].as_str());
        assert!(
            matches!(
                told,
                (Some("upstream_error"), Some("reset")) | (Some("upstream_timeout"), Some("timeout"))
            ),
            "{line}"
        );
    }
    assert_eq!(lost.len(), failed);
    assert!(failed <= 2 * CLIENTS, "{failed} of {answered}");
    let tried_again = lines
        .iter()
        .filter(|line| line["status"] == 200 && line["tries"] == 2)
        .count();
    println!("{answered} answered, {failed} lost with their server, {tried_again} went to another one");
    drop(again);
}

#[test]
fn who_is_silent_is_waited_for_no_more_once_it_is_known() {
    let [stopped, other] = [(); 2].map(|()| Gateway::start(SERVER));
    let gateway = Gateway::start(over(&[stopped.http(), other.http()], KEYS));
    let times = || {
        let mut times: Vec<Duration> = (0..300)
            .map(|_| {
                let began = Instant::now();
                assert_eq!(call(&gateway).status, 200);
                began.elapsed()
            })
            .collect();
        times.sort_unstable();
        let [p50, p99] = [0.5, 0.99].map(|share| times[(times.len() as f64 * share) as usize]);
        (p50, p99, times[times.len() - 1])
    };
    let calm = times();
    stopped.signal(Signal::SIGSTOP);
    up_reaches(&gateway, 1.0);
    let silent = times();
    stopped.signal(Signal::SIGCONT);
    println!("p50, p99 and longest: calm {calm:?}, one of two silent {silent:?}");
    assert!(silent.2 < TIMEOUT, "somebody waited for it: {silent:?}");
    // Where nothing else runs: ACCEPTANCE=1 on a quiet machine.
    if std::env::var_os("ACCEPTANCE").is_some() {
        assert!(
            silent.1 < calm.1 + Duration::from_millis(50),
            "{calm:?} {silent:?}"
        );
    }
}
