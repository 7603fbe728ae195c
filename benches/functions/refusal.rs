//! The whole decision, `route` and `decide`, for each way a call can go and for many members; the words of a
//! refusal.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::calls::{BODY, PEER, QUERY, draws, env, head, headers, member, quota};
use criterion::Criterion;
use widget_gateway::pipeline::{Env, decide, read, route};
use widget_gateway::response::problem::problem;
use widget_gateway::response::rejection::{Reason, Rejection};
use widget_gateway::upstream::caller::{Caller, TrustedProxies};

fn refusal(env: &Env, target: &str, body: &str) -> Option<Rejection> {
    let headers = headers(body.len());
    let head = head(target, &headers);
    let caller = Caller::of(PEER, &headers, &TrustedProxies::default(), || [7; 16]);
    let routed = route(&head, &caller, Duration::from_secs(1), env).unwrap();
    let read = read(routed, &head, body.as_bytes(), env);
    let decided = decide(read, None, PEER, &caller, Duration::ZERO, env).ok();
    decided.unwrap().result.err()
}

pub fn decisions(c: &mut Criterion) {
    let mut group = c.benchmark_group("decision");
    let target = format!("/?{QUERY}");
    let without = BODY.replace("&PLACEMENT=CRM_DEAL_DETAIL_TAB", "");
    let twice = format!("{BODY}&member.id=b81c0d9e7f6a45321908fedcba765432");
    let wide = env(quota(1_000_000));
    let narrow = env(quota(1));
    assert_eq!(refusal(&narrow, &target, BODY), None);
    for (name, env, body, reason) in [
        ("accepted", &wide, BODY, None),
        (
            "missing field",
            &wide,
            without.as_str(),
            Some(Reason::MissingField),
        ),
        ("ambiguous", &wide, twice.as_str(), Some(Reason::AmbiguousField)),
        ("rate limited", &narrow, BODY, Some(Reason::RateLimited)),
    ] {
        let refused = refusal(env, &target, body);
        assert_eq!(refused.as_ref().map(Rejection::reason), reason, "{name}");
        let headers = headers(body.len());
        let head = head(&target, &headers);
        let caller = Caller::of(PEER, &headers, &TrustedProxies::default(), || [7; 16]);
        // Time goes on as at a million requests a second, so that the wide limit stays wide.
        let mut now = Duration::from_secs(1);
        let step = if reason == Some(Reason::RateLimited) { 0 } else { 1 };
        group.bench_function(name, |b| {
            b.iter(|| {
                now += Duration::from_micros(step);
                let routed = route(black_box(&head), &caller, now, env).unwrap();
                let read = read(routed, &head, black_box(body.as_bytes()), env);
                decide(read, None, PEER, &caller, now, env).ok()
            });
        });
        if let Some(rejection) = refused {
            group.bench_function(format!("{name}: problem document"), |b| {
                b.iter(|| problem(black_box(&rejection), "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"));
            });
        }
    }
}

/// Calls of so many members in turn, in an order that no cache foresees: what their number costs a decision.
pub fn members(c: &mut Criterion) {
    const BATCH: usize = 64;
    let mut group = c.benchmark_group("decision");
    let target = format!("/?{QUERY}");
    let (before, rest) = BODY.split_once("member_id=").unwrap();
    let headers = headers(BODY.len());
    let head = head(&target, &headers);
    let caller = Caller::of(PEER, &headers, &TrustedProxies::default(), || [7; 16]);
    let body = |number: u64| format!("{before}member_id={}{}", member(number), &rest[32..]);
    for count in [1, 10_000, 1_000_000_u64] {
        let env = env(quota(1_000_000));
        let limits = env.limits.member.quotas().unwrap();
        for member in (0..count).map(member) {
            let _ = limits.limiter_of(&member).check(&member, Duration::from_secs(1));
        }
        let mut draw = draws(0, count);
        let mut now = Duration::from_secs(1);
        group.bench_function(format!("accepted, one of {count} members"), |b| {
            b.iter_custom(|iterations| {
                let mut left = usize::try_from(iterations).unwrap();
                let mut taken = Duration::ZERO;
                while left > 0 {
                    let bodies: Vec<_> = (0..BATCH.min(left)).map(|_| body(draw())).collect();
                    left -= bodies.len();
                    let started = Instant::now();
                    for body in &bodies {
                        now += Duration::from_micros(1);
                        let routed = route(black_box(&head), &caller, now, &env).unwrap();
                        let read = read(routed, &head, black_box(body.as_bytes()), &env);
                        let decision = decide(read, None, PEER, &caller, now, &env).ok();
                        assert!(black_box(decision).unwrap().result.is_ok());
                    }
                    taken += started.elapsed();
                }
                taken
            });
        });
    }
}
