//! No second opinion: whatever the gateway forwards from a widget route, genuine PHP reads as the
//! gateway did, for every order of precedence.
//!
//! `DIFFERENTIAL_CASES` (default 20000) and `DIFFERENTIAL_SEED` make longer and other runs; a failure
//! prints the seed, and the smallest case that it could be shrunk to.

mod bench;
mod genuine;
mod grammar;
mod handlers;
mod judge;
mod kits;
mod nested;
mod peers;
mod polyglots;
mod quirks;
mod spelling;

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::common::shown;
use bench::{Became, Bench};
use grammar::Case;

const SEED: u64 = 20_261_122;

fn from_env(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is no number")),
        Err(_) => default,
    }
}

#[test]
fn php_reads_every_forwarded_form_as_the_gateway_did() {
    let seed = from_env("DIFFERENTIAL_SEED", SEED);
    let count = from_env("DIFFERENTIAL_CASES", 20_000);
    println!("seed {seed}, {count} cases");
    let became = run(
        Bench::start(""),
        count,
        |index| grammar::case(seed, index),
        |became| became.disagrees(),
        seed,
    );
    println!("{became:?}");
    // A gateway that refuses everything, or hardly ever does, has not been tested.
    let forwarded = became.get("forwarded").copied().unwrap_or_default();
    assert!(
        forwarded > count / 5 && forwarded < count * 4 / 5,
        "{forwarded} of {count} were forwarded"
    );
    for code in [
        "ambiguous_field",
        "missing_field",
        "invalid_field",
        "unsupported_media_type",
        "malformed_request",
    ] {
        assert!(became.contains_key(code), "no case was refused as {code}");
    }
}

#[test]
fn genuine_traffic_in_harmless_disguise_is_never_refused() {
    let seed = from_env("DIFFERENTIAL_SEED", SEED);
    let count = from_env("DIFFERENTIAL_CASES", 20_000) / 5;
    let wrong = |became: &Became| became.refused_as().is_some() || became.disagrees();
    // Its route takes what some of the disguises could hide, so that nothing is refused for its kind.
    let became = run(
        Bench::of_all_messages(),
        count,
        |index| genuine::case(seed, index),
        wrong,
        seed,
    );
    assert_eq!(became, BTreeMap::from([("forwarded".to_owned(), count)]));
}

#[test]
fn php_reads_every_kind_of_message_as_the_gateway_did() {
    let seed = from_env("DIFFERENTIAL_SEED", SEED);
    let count = from_env("DIFFERENTIAL_CASES", 20_000) / 2;
    println!("seed {seed}, {count} cases");
    let became = run(
        Bench::of_all_messages(),
        count,
        |index| nested::case(seed, index),
        |became| became.disagrees(),
        seed,
    );
    println!("{became:?}");
    let forwarded = became.get("forwarded").copied().unwrap_or_default();
    assert!(
        forwarded > count / 5 && forwarded < count * 4 / 5,
        "{forwarded} of {count} were forwarded"
    );
    for code in [
        "ambiguous_field",
        "missing_field",
        "invalid_field",
        "unsupported_media_type",
    ] {
        assert!(became.contains_key(code), "no case was refused as {code}");
    }
}

/// Runs the cases on two threads; the first wrong one is shrunk and ends the test.
fn run(
    bench: Bench,
    count: u64,
    make: impl Fn(u64) -> Case + Sync,
    wrong: impl Fn(&Became) -> bool + Sync,
    seed: u64,
) -> BTreeMap<String, u64> {
    const THREADS: u64 = 2;
    let counts = Mutex::new(BTreeMap::new());
    let failure = Mutex::new(None);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let mut worker = bench.worker();
            let (make, wrong, counts, failure) = (&make, &wrong, &counts, &failure);
            scope.spawn(move || {
                for index in (thread..count).step_by(THREADS as usize) {
                    if failure.lock().unwrap().is_some() {
                        return;
                    }
                    let case = make(index);
                    let became = worker.run(&case);
                    if wrong(&became) {
                        let smallest = case.shrunk(|smaller| wrong(&worker.run(smaller)));
                        let became = worker.run(&smallest);
                        let bytes = smallest.bytes();
                        let report = format!("seed {seed}, case {index}:\n{}\n{became}", shown(&bytes));
                        failure.lock().unwrap().get_or_insert(report);
                        return;
                    }
                    let what = became.refused_as().unwrap_or("forwarded").to_owned();
                    *counts.lock().unwrap().entry(what).or_insert(0) += 1;
                }
            });
        }
    });
    if let Some(report) = failure.into_inner().unwrap() {
        panic!("{report}");
    }
    counts.into_inner().unwrap()
}
