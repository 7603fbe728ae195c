//! Each alert fires for its cause, for no other, and ends with it: in a real Prometheus that scrapes real gateways,
//! with the shipped rules in shorter times.

mod callers;
mod configuration;
mod limiter;
mod process;
mod refusals;
mod service;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::scale::Scale;
use super::server::Prometheus;
use crate::common::forms::{BODY, MEMBER, QUERY, post, routes};
use crate::common::{Gateway, Upstream};

/// One step of a case may take so long, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(240);
/// How often Prometheus is asked what fires, and every cause goes on.
const PACE: Duration = Duration::from_millis(500);
/// So long nothing else fires, over several judgements of the rules.
const ALONE: Duration = Duration::from_millis(1500);
/// What a busy machine does to an unoptimized build, where that is not what the case is about.
const OF_THE_MACHINE: [&str; 1] = ["WidgetGatewayOverheadHigh"];

/// What goes on, and which alerts of the job fire meanwhile, exactly.
struct Step {
    goes_on: Box<dyn FnMut() + Send>,
    fire: &'static [&'static str],
}

/// The cause goes on as long as the step.
fn step(goes_on: impl FnMut() + Send + 'static, fire: &'static [&'static str]) -> Step {
    Step {
        goes_on: Box::new(goes_on),
        fire,
    }
}

/// What happens once, and what goes on after it.
fn once(
    happens: impl FnOnce() + Send + 'static,
    mut goes_on: impl FnMut() + Send + 'static,
    fire: &'static [&'static str],
) -> Step {
    let mut happens = Some(happens);
    step(
        move || match happens.take() {
            Some(happens) => happens(),
            None => goes_on(),
        },
        fire,
    )
}

/// One job: who is scraped, and what happens to them.
struct Case {
    job: &'static str,
    targets: Vec<SocketAddr>,
    steps: VecDeque<Step>,
    /// What is kept ends with the case.
    ends: Vec<Box<dyn FnMut() + Send>>,
}

fn case<const N: usize>(job: &'static str, gateways: &[&'static Gateway], steps: [Step; N]) -> Case {
    Case {
        job,
        targets: gateways.iter().map(|gateway| gateway.admin()).collect(),
        steps: steps.into(),
        ends: gateways.iter().copied().map(killing).collect(),
    }
}

fn killing(gateway: &'static Gateway) -> Box<dyn FnMut() + Send> {
    Box::new(move || gateway.signal(Signal::SIGKILL))
}

impl Case {
    /// The same, which ends something besides.
    fn ending(mut self, end: impl FnMut() + Send + 'static) -> Case {
        self.ends.push(Box::new(end));
        self
    }

    /// Every alert that its steps bring about.
    fn fire(&self) -> BTreeSet<String> {
        self.steps.iter().flat_map(|step| names(step.fire)).collect()
    }

    /// The same, with another target.
    fn scraped_at(mut self, target: SocketAddr) -> Case {
        self.targets = vec![target];
        self
    }
}

/// A value that lives as long as the test's process, so that every step may use it.
fn kept<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Nobody else ends what is kept.
impl Drop for Case {
    fn drop(&mut self) {
        self.ends.iter_mut().for_each(|end| end());
    }
}

/// What fired when Prometheus was asked last; everyone who waits for news is woken.
#[derive(Default)]
struct Board {
    /// The number of the answer, and job and name of each alert in it.
    last: Mutex<(u64, BTreeSet<(String, String)>)>,
    news: Condvar,
}

impl Board {
    /// The names of the job's alerts, once there is an answer after that one.
    fn after(&self, number: &mut u64, job: &str) -> BTreeSet<String> {
        let last = self.last.lock().unwrap();
        let last = self
            .news
            .wait_timeout_while(last, PATIENCE, |(now, _)| *now <= *number);
        let last = last.unwrap().0;
        *number = last.0;
        // An alert that says no job concerns all.
        let of_job = last.1.iter().filter(|(of, _)| of == job || of.is_empty());
        of_job.map(|(_, name)| name.clone()).collect()
    }
}

fn names(of: &[&str]) -> BTreeSet<String> {
    of.iter().map(|&name| name.to_owned()).collect()
}

impl Case {
    /// Goes through the steps. At the end, what fired in all the time is what was to fire, and nothing else.
    fn go(mut self, prometheus: &Prometheus, board: &Board) -> Result<(), String> {
        let since = Instant::now();
        let mut expected = BTreeSet::new();
        let mut number = 0;
        while let Some(mut step) = self.steps.pop_front() {
            let fire = names(step.fire);
            expected.extend(fire.clone());
            let machine: BTreeSet<_> = names(&OF_THE_MACHINE).difference(&fire).cloned().collect();
            let begun = Instant::now();
            let mut alone = None;
            loop {
                (step.goes_on)();
                let firing = board.after(&mut number, self.job);
                let firing: BTreeSet<_> = firing.difference(&machine).cloned().collect();
                match firing == fire {
                    true if alone.get_or_insert_with(Instant::now).elapsed() > ALONE => break,
                    true => {}
                    false => alone = None,
                }
                if begun.elapsed() > PATIENCE {
                    return Err(format!("{}: {firing:?} fire, not {fire:?}", self.job));
                }
            }
            println!(
                "{}: {fire:?} after {:.1} s",
                self.job,
                begun.elapsed().as_secs_f32()
            );
        }
        let ever = prometheus.query(&format!(
            "count_over_time(ALERTS{{job=~\"{}|\",alertstate=\"firing\"}}[{}ms])",
            self.job,
            since.elapsed().as_millis()
        ));
        let ever = ever.iter().filter_map(|labels| labels["alertname"].as_str());
        let ever: BTreeSet<_> = ever.map(str::to_owned).collect();
        let others: Vec<_> = ever
            .difference(&expected)
            .filter(|name| !OF_THE_MACHINE.contains(&name.as_str()))
            .collect();
        match others.as_slice() {
            [] => Ok(()),
            others => Err(format!("{}: {others:?} fired too", self.job)),
        }
    }
}

/// All cases at the same time, each in a thread of its own.
fn try_all(scale: Scale, cases: Vec<Case>) {
    let jobs: Vec<_> = cases
        .iter()
        .map(|case| (case.job, case.targets.clone()))
        .collect();
    let targets: usize = jobs.iter().map(|(_, targets)| targets.len()).sum();
    let prometheus = Prometheus::start(&jobs, &scale.rules(), PACE);
    // Growth is only seen from a first scrape on.
    prometheus.wait("two scrapes of each", |prometheus| {
        let scraped = "count_over_time(widget_gateway_build_info[5m]) >= 2";
        let seen = prometheus.query(scraped).len();
        (seen == targets)
            .then_some(())
            .ok_or(format!("{seen} of {targets}"))
    });
    let (board, running) = (Board::default(), (Mutex::new(cases.len()), Condvar::new()));
    let faults: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = cases
            .into_iter()
            .map(|case| {
                let (prometheus, board, running) = (&prometheus, &board, &running);
                let job = case.job;
                let thread = scope.spawn(move || {
                    let _ended = Ended(running);
                    case.go(prometheus, board)
                });
                (job, thread)
            })
            .collect();
        while *running.0.lock().unwrap() > 0 {
            let asked = Instant::now();
            let alerts = prometheus.alerts();
            let mut last = board.last.lock().unwrap();
            *last = (last.0 + 1, alerts);
            drop(last);
            board.news.notify_all();
            // The pace of the causes; it ends with the last of them.
            let (running, ended) = &running;
            let running = running.lock().unwrap();
            let rest = PACE.saturating_sub(asked.elapsed());
            drop(ended.wait_timeout_while(running, rest, |running| *running > 0));
        }
        let ends = threads
            .into_iter()
            .filter_map(|(job, thread)| match thread.join() {
                Ok(end) => end.err(),
                Err(_) => Some(format!("{job}: its cause can not be brought about")),
            });
        ends.collect()
    });
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Counts a case's thread down, however it ends.
struct Ended<'a>(&'a (Mutex<usize>, Condvar));

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        let (running, ended) = self.0;
        *running.lock().unwrap() -= 1;
        ended.notify_all();
    }
}

fn call(member: usize) -> Vec<u8> {
    post(
        &format!("/app?{QUERY}"),
        &[],
        BODY.replace(MEMBER, &format!("{member:032x}")),
    )
}

/// So many calls on one connection, all answered with that status.
fn calls(gateway: &Gateway, count: usize, status: u16, request: impl Fn(usize) -> Vec<u8>) {
    let mut conn = gateway.connect();
    for at in 0..count {
        let answer = conn.roundtrip(request(at));
        assert_eq!(answer.status, status, "{}", answer.text());
        if answer.header("connection") == Some("close") {
            conn = gateway.connect();
        }
    }
}

/// A little traffic, as there is while nothing is wrong, whatever it is answered with.
fn traffic(gateway: &Gateway) {
    for member in 0..2 {
        gateway.ask(call(member));
    }
}

/// A gateway before one sound handler.
fn sound(more: &str) -> &'static Gateway {
    let upstream = kept(Upstream::start());
    kept(Gateway::start(format!("{}{more}", routes(&[upstream.address]))))
}

/// What is told by a level, not by growth, so that no window has to pass.
#[test]
fn alerts_of_what_stands_fire_for_their_cause_alone_and_end_with_it() {
    let scale = Scale {
        minute: 500,
        hour: 8000,
        step: 500,
    };
    try_all(
        scale,
        vec![
            service::server_down(),
            configuration::reloads(),
            configuration::replicas(),
            configuration::certificates(),
        ],
    );
}

/// So many causes at a time, or a small machine does nothing but being scraped.
const AT_A_TIME: usize = 9;

/// Every alert. Minutes are seconds.
#[test]
#[ignore = "minutes of a live Prometheus and thirty gateways, alone: .ci/more does so"]
fn every_alert_fires_for_its_cause_alone_and_ends_with_it() {
    let scale = Scale {
        minute: 1000,
        hour: 40_000,
        step: 4000,
    };
    let causes: [fn() -> Case; 27] = [
        service::a_few_errors,
        service::upstream_down,
        service::server_down,
        service::slow_upstream,
        refusals::spike,
        callers::nobody_says,
        limiter::store_down,
        configuration::replicas,
        configuration::certificates,
        service::errors,
        service::server_ejected,
        service::slow_gateway,
        refusals::limited,
        callers::somebody_else,
        limiter::store_fails,
        limiter::store_closed,
        configuration::reloads,
        process::no_traffic,
        process::target_down,
        service::overloaded,
        service::own_faults,
        refusals::ambiguous,
        refusals::unexpected,
        limiter::overflow,
        process::restarting,
        process::descriptors,
        process::log_lines,
    ];
    let mut fired = BTreeSet::new();
    for round in causes.chunks(AT_A_TIME) {
        let cases: Vec<_> = round.iter().map(|cause| cause()).collect();
        fired.extend(cases.iter().flat_map(Case::fire));
        try_all(scale, cases);
    }
    // It concerns a Prometheus as a whole.
    let absent = process::absent();
    fired.extend(absent.fire());
    try_all(scale, vec![absent]);
    let rules = std::fs::read_to_string("conf/prometheus/alerts.yml").unwrap();
    let shipped = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "));
    assert_eq!(
        fired,
        shipped.map(str::to_owned).collect(),
        "a cause for each alert"
    );
}
