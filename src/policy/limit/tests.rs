mod flood;
mod layers;
mod model;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::keys::KeyTable;
use super::*;
use crate::policy::validate::{FieldRules, PlaceRule, validate};
use crate::request::field::{FieldSet, MemberIdShape, ServerEndpoints};
use crate::request::fingerprint::Fingerprint;
use crate::request::form::Form;
use crate::request::message::{Kind, Kinds, Message};

fn quota(rate: u32, period: Period, burst: u32) -> Quota {
    Quota {
        rate: NonZeroU32::new(rate).unwrap(),
        period,
        burst: NonZeroU32::new(burst).unwrap(),
    }
}

fn enforced(quota: Quota) -> PolicySpec {
    PolicySpec {
        mode: Mode::Enforce,
        quota,
    }
}

fn limits(spec: LimitsSpec) -> Limits {
    Limits::build(&spec, None, &KeyTables::new(spec.max_keys), T0)
}

/// Nobody's address, so that no client is asked about.
fn admit(limits: &Limits, call: Call, route: Mode, now: Now) -> Result<Permit, Refused> {
    refused(limits.admit(&limits.enter(None, route, now).unwrap(), call, route, now))
}

/// Of limits that no store keeps.
fn refused(admitted: Result<Permit, Unpermitted>) -> Result<Permit, Refused> {
    admitted.map_err(|unpermitted| match unpermitted {
        Unpermitted::Refused(refused) => refused,
        Unpermitted::Waits(_, waiting) => panic!("{waiting:?}"),
    })
}

fn client(address: &str) -> ClientAddress {
    ClientAddress::of(address.parse().unwrap())
}

fn member(n: u64) -> MemberId {
    MemberId::parse(format!("{n:032x}").as_bytes(), MemberIdShape::Hex32).unwrap()
}

fn limiter<K: Key>(max_keys: usize, quota: Quota) -> (Limiter<K>, Arc<KeyTable>) {
    let table = Arc::new(KeyTable::new(max_keys));
    (
        Limiter::new(quota, table.clone(), Duration::from_secs(1000)),
        table,
    )
}

const T0: Duration = Duration::from_secs(1000);

#[test]
fn the_burst_goes_at_once_and_the_wait_is_rounded_up() {
    let (limiter, _) = limiter(10, quota(2, Period::Minute, 3));
    for _ in 0..3 {
        assert_eq!(limiter.check(&member(1), T0), Ok(()));
    }
    assert_eq!(limiter.check(&member(1), T0).unwrap_err().retry_after, 30);
    assert_eq!(
        limiter
            .check(&member(1), T0 + Duration::from_millis(29_001))
            .unwrap_err()
            .retry_after,
        1
    );
    assert_eq!(limiter.check(&member(1), T0 + Duration::from_secs(30)), Ok(()));
    assert_eq!(limiter.check(&member(2), T0 + Duration::from_secs(30)), Ok(()));
}

#[test]
fn a_full_table_shares_one_bucket_and_keeps_who_is_over() {
    let (limiter, table) = limiter(2, quota(1, Period::Hour, 2));
    for n in 1..=2 {
        assert!(limiter.check(&member(n), T0).is_ok());
        assert!(limiter.check(&member(n), T0).is_ok());
        assert!(limiter.check(&member(n), T0).is_err());
    }
    assert!(limiter.check(&member(3), T0).is_ok());
    assert!(limiter.check(&member(4), T0).is_ok());
    assert!(
        limiter.check(&member(5), T0).is_err(),
        "the overflow bucket has one member's quota"
    );
    assert_eq!(table.overflowed(), 3);
    assert!(limiter.check(&member(1), T0).is_err());
    assert_eq!(table.len(), 2);
}

#[test]
fn only_keys_that_equal_fresh_ones_are_swept() {
    let (limiter, table) = limiter(10, quota(1, Period::Second, 5));
    limiter.check(&member(1), T0).unwrap();
    (0..5).for_each(|_| limiter.check(&member(2), T0).unwrap());
    assert_eq!(limiter.sweep(T0 + Duration::from_millis(999)), 0);
    assert_eq!(limiter.sweep(T0 + Duration::from_secs(1)), 1);
    assert_eq!((table.len(), table.evicted()), (1, 1));
    assert_eq!(
        limiter
            .peek(&member(2), T0 + Duration::from_secs(1))
            .unwrap()
            .remaining,
        1
    );
    assert_eq!(limiter.sweep(T0 + Duration::from_secs(5)), 1);
    assert_eq!(table.len(), 0);
    limiter.check(&member(3), T0 + Duration::from_secs(5)).unwrap();
    assert_eq!(table.len(), 1);
    drop(limiter);
    assert_eq!(table.len(), 0, "a limiter's keys go with it");
}

#[test]
fn a_sweep_makes_room_in_a_full_table() {
    let (limiter, table) = limiter(1, quota(1, Period::Second, 1));
    let later = T0 + Duration::from_secs(2);
    limiter.check(&member(1), T0).unwrap();
    limiter.sweep(later);
    limiter.check(&member(2), later).unwrap();
    assert_eq!((table.len(), table.overflowed(), table.evicted()), (1, 0, 1));
}

#[test]
fn a_reload_keeps_the_state_of_a_quota_that_stays() {
    let tables = KeyTables::new(10);
    let slow = quota(1, Period::Hour, 1);
    let none = Policy::unlimited(PolicyName::Member);
    let build = |quota, overrides: &[(MemberId, Quota)], before: Option<&Policy<MemberId>>, now| {
        let (overrides, spec) = (overrides.iter().cloned(), Some(enforced(quota)));
        let before = (before.unwrap_or(&none), None);
        Policy::build(PolicyName::Member, spec, overrides, before, (&tables, now))
    };
    let check = |policy: &Policy<MemberId>, now| {
        let quotas = policy.quotas().unwrap();
        quotas.limiter_of(&member(1)).check(&member(1), now)
    };
    let before = build(slow, &[(member(9), quota(5, Period::Second, 5))], None, T0);
    check(&before, T0).unwrap();
    let later = T0 + Duration::from_secs(60);
    let after = build(slow, &[], Some(&before), later);
    assert_eq!(check(&after, later).unwrap_err().retry_after, 3540);
    let raised = build(quota(2, Period::Hour, 1), &[], Some(&after), later);
    assert_eq!(check(&raised, later), Ok(()));
    let lifted = Policy::unlimited(PolicyName::Member);
    assert_eq!(check(&build(slow, &[], Some(&lifted), later), later), Ok(()));
}

#[test]
fn a_reset_gives_the_whole_burst_back() {
    let (limiter, table) = limiter(10, quota(1, Period::Hour, 1));
    limiter.check(&member(1), T0).unwrap();
    assert!(limiter.check(&member(1), T0).is_err());
    assert!(limiter.reset(&member(1)).had_state && !limiter.reset(&member(1)).had_state);
    assert_eq!(table.len(), 0);
    assert!(limiter.check(&member(1), T0).is_ok());
}

fn call(n: u64) -> Call {
    read(&format!(
        "DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en&PLACEMENT=DEFAULT&member_id={n:032x}"
    ))
}

fn read(body: &str) -> Call {
    let form = Form::parse(b"", body.as_bytes(), 1000).unwrap();
    let rules = FieldRules {
        member_id: MemberIdShape::Hex32,
        server_endpoints: &ServerEndpoints::default(),
        required: FieldSet::default(),
        places: PlaceRule::Any,
    };
    validate(Message::of(&form, Kinds::of(&Kind::ALL)), rules).unwrap()
}

#[test]
fn what_a_portal_sends_by_itself_takes_from_no_members_quota() {
    let limits = limits(LimitsSpec {
        member: Some(enforced(quota(1, Period::Hour, 1))),
        ..LimitsSpec::default()
    });
    let auth = format!("auth[domain]=portal.bitrix24.com&auth[member_id]={:032x}", 1);
    for event in ["event=ONCRMDEALADD", "event_token=1", "x=1"] {
        for _ in 0..3 {
            let call = read(&format!("{event}&{auth}"));
            let permit = admit(&limits, call, Mode::Enforce, T0).unwrap();
            let asked: Vec<_> = permit.decisions().iter().map(|said| said.policy).collect();
            assert_eq!(asked, [PolicyName::Gateway, PolicyName::Event], "{event}");
        }
    }
    // The page's own requests do, where they say whose they are.
    let own = format!("page=2&member_id={:032x}", 1);
    let admit = |call| admit(&limits, call, Mode::Enforce, T0);
    assert!(admit(read(&own)).is_ok());
    assert!(admit(read(&own)).is_err());
    assert!(admit(call(1)).is_err());
    assert!(admit(read("page=2")).is_ok());
}

/// What was said by those that are keyed by the call.
fn of_member(decisions: &Decisions) -> Vec<Decision> {
    let all = decisions.iter();
    all.filter(|said| said.policy != PolicyName::Gateway).collect()
}

#[test]
fn a_permit_says_how_its_call_was_let_through() {
    let hourly = quota(1, Period::Hour, 1);
    let limited = Limited {
        quota: hourly,
        retry_after: 3600,
    };
    let said = |permit: &Permit| {
        let each = of_member(permit.decisions());
        assert_eq!(
            permit.decisions().is_over(),
            matches!(
                each[..],
                [Decision {
                    outcome: Outcome::Observed(_),
                    ..
                }]
            )
        );
        each
    };
    let member = |outcome| {
        vec![Decision {
            policy: PolicyName::Member,
            outcome,
        }]
    };
    let permit = admit(&Limits::default(), call(1), Mode::Enforce, T0).unwrap();
    assert_eq!(said(&permit), member(Outcome::Unlimited));
    assert_eq!(*permit.call(), call(1));
    for (policy, route) in [
        (Mode::Enforce, Mode::Enforce),
        (Mode::Enforce, Mode::Observe),
        (Mode::Observe, Mode::Enforce),
        (Mode::Observe, Mode::Observe),
    ] {
        let limits = limits(LimitsSpec {
            member: Some(PolicySpec {
                mode: policy,
                quota: hourly,
            }),
            ..LimitsSpec::default()
        });
        let granted = admit(&limits, call(1), route, T0).unwrap();
        assert_eq!(said(&granted), member(Outcome::Granted(hourly)));
        let over = admit(&limits, call(1), route, T0);
        if (policy, route) == (Mode::Enforce, Mode::Enforce) {
            let refused = over.unwrap_err();
            assert_eq!((refused.policy, refused.limited), (PolicyName::Member, limited));
            assert!(refused.decisions.is_over());
            let each = of_member(&refused.decisions);
            assert_eq!(each, member(Outcome::Refused(limited)));
        } else {
            assert_eq!(said(&over.unwrap()), member(Outcome::Observed(limited)));
        }
        // Another member is not concerned.
        let other = admit(&limits, call(2), route, T0).unwrap();
        assert_eq!(said(&other), member(Outcome::Granted(hourly)));
    }
}

#[test]
fn any_kind_of_key_has_its_own_state() {
    fn each_once<K: Key>(keys: &[K]) {
        let (limiter, table) = limiter(10, quota(1, Period::Hour, 1));
        for key in keys {
            assert_eq!(limiter.check(key, T0), Ok(()));
            assert!(limiter.check(key, T0).is_err());
        }
        assert_eq!(table.len(), keys.len());
    }
    each_once(&["192.0.2.1", "192.0.2.2", "2001:db8::1"].map(client));
    each_once(&[Everyone]);
}

#[test]
fn threads_together_get_the_burst_and_no_more() {
    let (limiter, table) = limiter(3, quota(1, Period::Hour, 1000));
    let granted = |n: u64| {
        (0..2000)
            .filter(|_| limiter.check(&member(n), T0).is_ok())
            .count()
    };
    let granted: Vec<usize> = std::thread::scope(|scope| {
        let threads: Vec<_> = [1, 2, 1, 2].map(|n| scope.spawn(move || granted(n))).into();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!((granted[0] + granted[2], granted[1] + granted[3]), (1000, 1000));
    assert_eq!(table.len(), 2);
}

#[test]
fn what_a_flood_took_is_given_back_and_nothing_else_lost() {
    let (limiter, table) = limiter(1_000_000, quota(1, Period::Second, 2));
    // One of a hundred is asked for twice, and so is not forgotten after a second.
    for n in 0..200_000 {
        limiter.check(&member(n), T0).unwrap();
        if n % 100 == 0 {
            limiter.check(&member(n), T0).unwrap();
        }
    }
    let large = limiter.places();
    let later = T0 + Duration::from_secs(1);
    assert_eq!(limiter.sweep(later), 198_000);
    assert!(limiter.places() < large / 8, "{} of {large}", limiter.places());
    assert_eq!(table.len(), 2000);
    assert!((0..200_000).all(|n| limiter.peek(&member(n), later).is_some() == (n % 100 == 0)));
}
