//! Keys that nobody has: what a flood of invented members can and can not do.

use super::shared::{Bucket, OnError, Settled, SharedSpec, StoreAddress};
use super::*;

const ENFORCE: Mode = Mode::Enforce;

fn asked_from(limits: &Limits, address: &str, call: Call, now: Now) -> Result<Permit, Refused> {
    let entered = limits.enter(Some(client(address)), ENFORCE, now).unwrap();
    refused(limits.admit(&entered, call, ENFORCE, now))
}

/// Members may ask twice an hour, and a client may bring three new ones a minute.
fn spec(max_keys: usize) -> LimitsSpec {
    LimitsSpec {
        max_keys,
        new_keys_per_client: quota(3, Period::Minute, 3),
        member: Some(enforced(quota(1, Period::Hour, 2))),
        overrides: vec![(member(900), quota(1, Period::Hour, 5))],
        ..LimitsSpec::default()
    }
}

const FLOODER: &str = "192.0.2.66";

#[test]
fn new_members_of_a_client_beyond_its_budget_share_one_state() {
    let tables = KeyTables::new(1000);
    let limits = Limits::build(&spec(1000), None, &tables, T0);
    let is_granted = |address: &str, n| asked_from(&limits, address, call(n), T0).is_ok();
    assert!((0..3).all(|n| is_granted(FLOODER, n)), "each has its own");
    let beyond: Vec<_> = (3..9).map(|n| is_granted(FLOODER, n)).collect();
    assert_eq!(
        beyond,
        [true, true, false, false, false, false],
        "one state, with a member's quota"
    );
    let table = tables.of(PolicyName::Member);
    assert_eq!((table.len(), table.overflowed()), (3, 6));
    // Whom others brought, who has a state, and who is listed, pass.
    assert!((10..13).all(|n| is_granted("192.0.2.1", n)));
    assert!(
        is_granted(FLOODER, 0) && !is_granted(FLOODER, 0),
        "by its own state"
    );
    assert!(is_granted(FLOODER, 10));
    assert_eq!((0..6).filter(|_| is_granted(FLOODER, 900)).count(), 5);
    // A proxy that is trusted and names no client may bring any number.
    assert!((100..200).all(|n| admit(&limits, call(n), ENFORCE, T0).is_ok()));
    // And the budget comes back.
    let minute = T0 + Duration::from_secs(60);
    assert!((20..23).all(|n| asked_from(&limits, FLOODER, call(n), minute).is_ok()));
}

#[test]
fn a_budget_is_one_for_members_and_placements_and_none_for_events() {
    let once = enforced(quota(1, Period::Hour, 1));
    let limits = limits(LimitsSpec {
        member: Some(once),
        placement: vec![PlacementSpec {
            matches: Pattern::parse("A*").unwrap(),
            policy: once,
        }],
        event: Some(EventSpec {
            policy: once,
            wait: Duration::ZERO,
        }),
        ..spec(1000)
    });
    let placed = |n: u64| {
        let body = format!("DOMAIN=p.bitrix24.com&PROTOCOL=1&LANG=en&PLACEMENT=A&member_id={n:032x}");
        asked_from(&limits, FLOODER, read(&body), T0).is_ok()
    };
    assert!(placed(1) && placed(2));
    let of_member: Vec<_> = (3..7)
        .map(|n| asked_from(&limits, FLOODER, call(n), T0).is_ok())
        .collect();
    assert_eq!(
        of_member,
        [true, true, false, false],
        "one of its own, one shared"
    );
    let event = |n: u64| format!("event=X&auth[domain]=p.bitrix24.com&auth[member_id]={n:032x}");
    assert!((0..100).all(|n| asked_from(&limits, FLOODER, read(&event(n)), T0).is_ok()));
}

#[test]
fn at_the_bound_nobody_is_refused_for_being_new_and_who_is_known_has_a_place() {
    let tables = KeyTables::new(80);
    let limits = Limits::build(&spec(80), None, &tables, T0);
    let from = |n: u64| format!("198.51.{}.{}", n / 250, n % 250 + 1);
    // A portal that opened a widget now and then.
    let known = |now| asked_from(&limits, "203.0.113.5", call(5000), now);
    for hours in [0, 2, 4] {
        let now = T0 + Duration::from_secs(hours * 3600);
        assert!(known(now).is_ok());
        limits.sweep(now + Duration::from_secs(3600));
    }
    let later = T0 + Duration::from_secs(6 * 3600);
    let table = tables.of(PolicyName::Member);
    assert_eq!(table.len(), 0, "its quota is whole, so no state is held");
    // One that is over its limit, and then strangers of many addresses, each sparing its budget.
    let over = || asked_from(&limits, "203.0.113.9", call(6000), later);
    assert!(over().is_ok() && over().is_ok() && over().is_err());
    for n in 0..600 {
        let asked = asked_from(&limits, &from(n), call(n), later);
        // 70 places, 10 addresses that share by themselves, and one state of two requests for the rest.
        assert!(asked.is_ok() || n >= 80, "{n}");
    }
    assert_eq!(table.len(), 70, "an eighth is kept");
    assert!(over().is_err(), "nothing was forgotten for a stranger");
    assert!(
        known(later).is_ok() && known(later).is_ok() && known(later).is_err(),
        "its own state"
    );
    assert_eq!(table.len(), 71);
    let listed = || asked_from(&limits, &from(1), call(900), later);
    assert_eq!((0..6).filter(|_| listed().is_ok()).count(), 5);
}

/// `FLOOD=10000000` is the long run, alone and with `--nocapture`: it tells what memory was taken.
#[test]
fn millions_of_invented_members_take_bounded_memory_and_nobodys_quota() {
    let count: u64 = std::env::var("FLOOD").map_or(100_000, |count| count.parse().unwrap());
    for (addresses, shared, bound_mib) in [(1, false, 128), (1000, false, 128), (1000, true, 320)] {
        let grown = flood(count, addresses, shared);
        assert!(grown < bound_mib * 1024, "{grown} KiB");
    }
}

/// So many members that nobody has, from so many addresses, under limits that a store keeps or not. Returns how much
/// memory it took, in KiB.
fn flood(count: u64, addresses: u64, shared: bool) -> u64 {
    let max_keys = 1_000_000;
    let before = resident_kib();
    let tables = KeyTables::new(max_keys);
    let spec = LimitsSpec {
        max_keys,
        member: Some(enforced(quota(100, Period::Hour, 100))),
        shared: shared.then(|| SharedSpec {
            address: StoreAddress::parse("redis://store").unwrap(),
            lease: SharedSpec::LEASE,
            timeout: SharedSpec::TIMEOUT,
            on_error: OnError::Local,
            replicas: 1,
            prefix: String::new(),
        }),
        ..LimitsSpec::default()
    };
    let limits = Limits::build(&spec, None, &tables, T0);
    let mut store = limits.store().map(|store| {
        store.set_up(true);
        store.questions().unwrap()
    });
    // One that is over its limit, and a portal that asks once in a while.
    let (over, genuine) = (member(u64::MAX), member(u64::MAX - 1));
    let (mut bucket, mut questions) = (Bucket::default(), 0);
    let mut ask = |client, member: &MemberId, now| {
        let entered = |settled: Option<Settled>| {
            let limiter = limits.member.quotas().unwrap().limiter_of(member);
            limiter.ask_from(member, Source::Client(client), settled.into(), now)
        };
        let said = entered(None);
        // The store refuses the one that is over, and has room for everybody else.
        while let Some(asked) = store.as_mut().and_then(|store| store.try_recv().ok()) {
            questions += 1;
            let charged = match asked.name.contains(&over.to_string()) {
                true => bucket.charge(&asked.charge, now.as_secs_f64() * 1e6),
                false => Bucket::default().charge(&asked.charge, now.as_secs_f64() * 1e6),
            };
            asked.answered(charged, now);
        }
        match said {
            Verdict::Waits(mut waiting) => matches!(entered(waiting.settled_now()), Verdict::Granted),
            said => matches!(said, Verdict::Granted),
        }
    };
    let flooders: Vec<_> = (0..addresses)
        .map(|n| client(&format!("198.51.{}.{}", n / 250, n % 250)))
        .collect();
    let elsewhere = client("203.0.113.5");
    while ask(elsewhere, &over, T0) {}
    let (mut now, mut answered) = (T0, 0);
    for n in 0..count {
        // 100 000 a second.
        now += Duration::from_micros(10);
        let _ = ask(flooders[n as usize % flooders.len()], &member(n), now);
        if n % 100_000 == 0 {
            limits.sweep(now);
            // Of what came back meanwhile, one request each 36 s; half a lease runs ahead of the store.
            let back = (0..200).take_while(|_| ask(elsewhere, &over, now)).count();
            let most = if shared { 6 } else { 1 };
            assert!(back <= most, "never forgotten: {back} after {n}");
            assert!(ask(elsewhere, &genuine, now), "{n}");
            answered += 1;
        }
    }
    let table = tables.of(PolicyName::Member);
    let (keys, overflowed) = (table.len(), table.overflowed());
    let grown = resident_kib().saturating_sub(before);
    println!(
        "{count} invented members from {addresses} addresses, shared: {shared}: {keys} keys, {overflowed} requests \
         shared a state, {questions} questions to the store, {answered} genuine ones answered, {grown} KiB more resident"
    );
    assert!(keys <= max_keys - max_keys / 8 + 1);
    grown
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}
