//! The script and its arithmetic in Rust are one: a real server runs the one against the other.

use std::num::NonZeroU32;
use std::time::Duration;

use widget_gateway::policy::limit::shared::{Bucket, Charge, Charged};
use widget_gateway::policy::limit::{Period, Quota};

use crate::common::forms::Rng;
use crate::common::store::Redis;

const SCRIPT: &str = include_str!("../../src/policy/limit/shared/gcra.lua");

/// The script with a clock that the test sets.
fn at_a_told_time() -> String {
    let told = SCRIPT.replace(
        "local time = redis.call('TIME')",
        "local time = { ARGV[5], ARGV[6] }",
    );
    assert_ne!(told, SCRIPT);
    told
}

fn answer(redis: &Redis, script: &str, key: &str, charge: &Charge, now: u64) -> Charged {
    let cell = f64::from(charge.quota.period.seconds()) * 1e6 / f64::from(charge.quota.rate.get());
    let seconds = 1_735_689_600 + now / 1_000_000;
    let said = redis.say(&[
        "EVAL",
        script,
        "1",
        key,
        &cell.to_string(),
        &charge.quota.burst.to_string(),
        &charge.owed.to_string(),
        &charge.wanted.to_string(),
        &seconds.to_string(),
        &(now % 1_000_000).to_string(),
    ]);
    let numbers: Vec<u64> = said
        .lines()
        .filter_map(|line| line.strip_prefix(':'))
        .map(|number| number.parse().unwrap())
        .collect();
    let [granted, wait, full_in] = numbers[..] else {
        panic!("{said}");
    };
    Charged {
        granted: granted as u32,
        wait: Duration::from_micros(wait),
        full_in: Duration::from_micros(full_in),
    }
}

#[test]
fn the_script_and_its_arithmetic_are_one() {
    let redis = Redis::start(&[]);
    let script = at_a_told_time();
    let seed = 16;
    let mut rng = Rng::new(seed);
    for key in 0..20 {
        let quota = Quota {
            rate: NonZeroU32::new(1 + rng.below(1000) as u32).unwrap(),
            period: rng.pick(&[Period::Second, Period::Minute]),
            burst: NonZeroU32::new(1 + rng.below(100) as u32).unwrap(),
        };
        let cell = f64::from(quota.period.seconds()) * 1e6 / f64::from(quota.rate.get());
        let mut bucket = Bucket::default();
        let mut now = 50_000_000_000_000;
        for step in 0..60 {
            // The key of a real server expires by the real clock, so it is told of little more than that.
            now += rng.below((3.0 * cell) as usize + 1) as u64;
            let charge = Charge {
                quota,
                owed: rng.below(8) as i64 - 2,
                wanted: rng.below(6) as u32,
            };
            let name = format!("key {key}");
            let told = answer(&redis, &script, &name, &charge, now);
            let expected = bucket.charge(&charge, now as f64);
            assert_eq!(
                told.granted, expected.granted,
                "seed {seed}, key {key}, step {step}: {charge:?}"
            );
            // Three digits behind the point are kept.
            let apart = told.wait.abs_diff(expected.wait);
            let apart = apart.max(told.full_in.abs_diff(expected.full_in));
            assert!(apart <= Duration::from_micros(1), "{told:?} {expected:?}");
            redis.say(&["PERSIST", &name]);
        }
    }
}

#[test]
fn a_key_expires_when_its_burst_is_whole_and_a_foreign_one_is_left_alone() {
    let redis = Redis::start(&[]);
    let quota = Quota {
        rate: NonZeroU32::MIN,
        period: Period::Hour,
        burst: NonZeroU32::new(5).unwrap(),
    };
    let charge = |owed, wanted| Charge { quota, owed, wanted };
    let ask = |key: &str, charge: Charge| {
        redis.say(&[
            "EVAL",
            SCRIPT,
            "1",
            key,
            "3600000000",
            "5",
            &charge.owed.to_string(),
            &charge.wanted.to_string(),
        ])
    };
    assert_eq!(ask("a", charge(0, 2)), "*3\r\n:2\r\n:0\r\n:7200000000\r\n");
    let left: i64 = redis.say(&["PTTL", "a"]).trim()[1..].parse().unwrap();
    assert!((7_100_000..=7_200_000).contains(&left), "{left}");
    assert_eq!(ask("a", charge(-9, 0)), "*3\r\n:0\r\n:0\r\n:0\r\n");
    assert_eq!(redis.say(&["EXISTS", "a"]), ":0\r\n");
    for (key, set) in [
        ("text", &["SET", "text", "hello"][..]),
        ("nan", &["SET", "nan", "nan"]),
        ("list", &["RPUSH", "list", "1"]),
    ] {
        redis.say(set);
        let said = ask(key, charge(1, 1));
        assert!(
            said.starts_with("-FOREIGN") || said.contains("WRONGTYPE"),
            "{said}"
        );
        assert_eq!(redis.say(&["EXISTS", key]), ":1\r\n");
    }
    // A number of somebody else's grants no more than a burst, and refuses for no longer than two.
    redis.say(&["SET", "past", "-1e300"]);
    assert_eq!(ask("past", charge(0, 9)).lines().nth(1), Some(":5"));
    redis.say(&["SET", "future", "1e300"]);
    let refused = "*3\r\n:0\r\n:21600000000\r\n:36000000000\r\n";
    assert_eq!(ask("future", charge(0, 1)), refused);
}
