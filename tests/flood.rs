//! Invented members by the thousand, from one address and from many, seen from outside. The long run of ten million
//! is by hand; without a gateway around it, it is in `src/policy/limit/tests/flood.rs`.

use crate::common::client::Conn;
use crate::common::forms::{self, BODY, MEMBER, OTHER_MEMBER, TARGET, post};
use crate::common::{Gateway, Setup, Upstream};

/// An eighth of these are for members that are known, and as many addresses have a state that theirs share.
const MAX_KEYS: usize = 8800;
/// Requests of a batch, on one connection.
const AT_ONCE: usize = 100;

fn call(client: &str, member: &str) -> Vec<u8> {
    post(
        TARGET,
        &[&format!("X-Forwarded-For: {client}")],
        BODY.replace(MEMBER, member),
    )
}

/// Members that nobody has, by as many addresses as `address` makes of their numbers.
fn flood(gateway: &Gateway, invented: std::ops::Range<usize>, address: impl Fn(usize) -> String) {
    for at in invented.step_by(AT_ONCE) {
        let mut conn = Conn::open(gateway.http());
        let numbers = at..at + AT_ONCE;
        let requests = numbers.map(|n| call(&address(n), &format!("{n:032x}")));
        conn.send(requests.collect::<Vec<_>>().concat());
        for _ in 0..AT_ONCE {
            let status = conn.response().status;
            assert!([200, 429].contains(&status), "{status}");
        }
    }
}

#[test]
fn a_flood_of_invented_members_limits_itself_and_nobody_else() {
    let upstream = Upstream::start();
    let limits = format!(
        "[limits]\nmax_keys = {MAX_KEYS}\nnew_keys_per_client = \"60/h\"\n[limits.member]\nrate = \"10/h\"\n\
         [[limits.overrides]]\nmember_id = \"{OTHER_MEMBER}\"\nrate = \"50/h\"\n"
    );
    let rest = format!(
        "{}{limits}[log]\nsample_forwarded = 0.0\nsample_refused = 0.0\n",
        forms::routes(&[upstream.address])
    );
    let gateway = Gateway::with(Setup::of(rest).top("trusted_proxies = [\"127.0.0.0/8\"]"));
    let ask = |client: &str, member: &str| gateway.ask(call(client, member)).status;
    let mut seen = vec![ask("203.0.113.5", MEMBER)];
    let over = "f".repeat(32);
    while ask("203.0.113.9", &over) == 200 {}
    let resident = gateway.resident_kib();
    let metric = |name: &str| {
        let metrics = gateway.metrics();
        metrics.value(
            &format!("widget_gateway_ratelimit_{name}"),
            &[("policy", "member")],
        )
    };

    // One address: sixty members have a state of their own, the rest share one.
    flood(&gateway, 1_000_000..1_002_000, |_| "192.0.2.66".to_owned());
    let (keys, shared) = (metric("keys"), metric("overflow_total"));
    // One more for each minute that it took.
    assert!((62.0..70.0).contains(&keys), "{keys}");
    assert_eq!(keys + shared, 2002.0);
    assert_eq!(
        ask("192.0.2.66", &"a".repeat(32)),
        429,
        "a new member there shares it"
    );
    seen.push(ask("192.0.2.66", MEMBER));
    assert_eq!(ask("203.0.113.9", &over), 429);

    // A thousand: the table fills up to the eighth that is kept.
    flood(&gateway, 2_000_000..2_009_000, |n| {
        format!("198.51.{}.{}", n / 200 % 5, n % 200)
    });
    assert_eq!(metric("keys"), (MAX_KEYS - MAX_KEYS / 8) as f64);
    seen.push(ask("203.0.113.5", MEMBER));
    seen.push(ask("192.0.2.66", OTHER_MEMBER));
    // Nobody is refused for being new, at an address of its own.
    seen.push(ask("203.0.113.77", &"b".repeat(32)));
    assert_eq!(seen, [200; 5]);
    assert_eq!(
        ask("203.0.113.9", &over),
        429,
        "nothing was forgotten for a stranger"
    );
    let grown = gateway.resident_kib().saturating_sub(resident);
    assert!(grown < 48 * 1024, "{grown} KiB more");
}

/// `FLOOD` says how many; a gateway without optimization takes a few thousand a second.
#[test]
#[ignore = "ten million requests: FLOOD=10000000 cargo test --release --test suite -- --ignored --nocapture flood; by hand"]
fn ten_million_invented_members_take_bounded_memory_and_nobodys_quota() {
    let count: usize = std::env::var("FLOOD").map_or(10_000_000, |count| count.parse().unwrap());
    for addresses in [1, 1000] {
        let upstream = Upstream::start();
        let rest = format!(
            "{}[limits.member]\nrate = \"100/h\"\n[log]\nsample_forwarded = 0.0\nsample_refused = 0.0\n",
            forms::routes(&[upstream.address])
        );
        let gateway = Gateway::with(Setup::of(rest).top("trusted_proxies = [\"127.0.0.0/8\"]"));
        let ask = |client: &str, member: &str| gateway.ask(call(client, member)).status;
        let over = "f".repeat(32);
        while ask("203.0.113.9", &over) == 200 {}
        let resident = gateway.resident_kib();
        let (step, mut answered) = ((count / 20).max(AT_ONCE), 0);
        for from in (0..count).step_by(step) {
            flood(&gateway, from..from + step, |n| {
                format!("198.51.{}.{}", n % addresses / 250, n % addresses % 250)
            });
            // Of what comes back meanwhile, one request each 36 s.
            let back = (0..50).take_while(|_| ask("203.0.113.9", &over) == 200).count();
            assert!(back < 50, "never forgotten, after {from}");
            assert_eq!(ask("203.0.113.5", MEMBER), 200, "after {from}");
            upstream.take();
            answered += 1;
        }
        let metrics = gateway.metrics();
        let metric = |name: &str| {
            let policy = [("policy", "member")];
            metrics.value(&format!("widget_gateway_ratelimit_{name}"), &policy)
        };
        let grown = gateway.resident_kib().saturating_sub(resident);
        println!(
            "{count} invented members from {addresses} addresses: {} keys, {} requests shared a state, {answered} \
             genuine ones answered, {grown} KiB more resident",
            metric("keys"),
            metric("overflow_total"),
        );
        assert!(metric("keys") <= 875_001.0);
        assert!(grown < 192 * 1024, "{grown} KiB");
    }
}
