//! Whoever calls, with whatever values: the metrics have the series that the configuration gives them,
//! and the list of the busiest stays as long as it was.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use crate::common::forms::{post, request};
use crate::common::{Conn, Gateway, Metrics, Setup};

/// Clients at once, and requests that each of them sends before it reads the answers.
const CLIENTS: usize = 4;
const AT_ONCE: usize = 50;
/// Far fewer than the members that come, so that most of them share the state of the full table.
const MAX_KEYS: usize = 500;

/// What is sent, each with values that no other request has, and the status that it must get (none
/// where that depends on who came before).
const KINDS: [(&str, Option<u16>); 8] = [
    ("accepted or limited", None),
    ("observed", Some(200)),
    ("missing", Some(422)),
    ("invalid", Some(422)),
    ("ambiguous", Some(400)),
    ("passed", Some(200)),
    ("nowhere", Some(404)),
    ("method", Some(405)),
];

fn rest(level: &str) -> String {
    let route = |name: &str, path: &str, more: &str| {
        format!("[[routes]]\nname = \"{name}\"\npath = \"{path}\"\nupstream = \"sample\"\n{more}\n")
    };
    [
        route("crm", "/crm", "kind = \"widget\""),
        route("new", "/new", "kind = \"widget\"\nmode = \"observe\""),
        route("files", "/files", "kind = \"pass\""),
        "[upstreams.sample]\nservers = [\"sample\"]\n".to_owned(),
        format!("[limits]\nmax_keys = {MAX_KEYS}\n[limits.member]\nrate = \"1/h\"\n"),
        format!("[log]\nlevel = \"{level}\"\n"),
    ]
    .concat()
}

/// The request with this number: its member, domain, placement and path are no other's.
fn numbered(kind: &str, n: usize) -> Vec<u8> {
    let query = format!("DOMAIN=p{n}.bitrix24.example&PROTOCOL=1&LANG=en&APP_SID=s{n}");
    let body = format!("member_id={n:032x}&PLACEMENT=PLACE_{n}&AUTH_ID=a{n}&status=L");
    match kind {
        "accepted or limited" => post(&format!("/crm/{n}?{query}"), &[], body),
        "observed" => post(&format!("/new/{n}?{query}&LANG=x{n}"), &[], body),
        "missing" => post(
            &format!("/crm/{n}?{query}"),
            &[],
            format!("member_id={n:032x}&X{n}=1"),
        ),
        "invalid" => post(
            &format!("/crm/{n}?{query}"),
            &[],
            format!("{body}&AUTH_EXPIRES=x{n}"),
        ),
        "ambiguous" => post(&format!("/crm/{n}?{query}&member.id={n}"), &[], body),
        "passed" => request(
            "GET",
            &format!("/files/{n}?{query}"),
            &[&format!("X-Name-{n}: {n}")],
            "",
        ),
        "nowhere" => post(&format!("/nowhere-{n}?{query}"), &[], body),
        "method" => request(
            &format!("M{n}"),
            &format!("/crm/{n}?{query}"),
            &["Content-Length: 0"],
            "",
        ),
        other => panic!("{other}"),
    }
}

/// A head that the front door refuses, which ends its connection.
fn broken(n: usize) -> Vec<u8> {
    request("GET", &format!("/crm/../{n}"), &[], "")
}

/// Sends the requests of the numbers from `from` on, the last of them broken.
fn batch(address: SocketAddr, from: usize) {
    let mut conn = Conn::open(address);
    let numbers = from..from + AT_ONCE - 1;
    let mut bytes: Vec<u8> = numbers
        .clone()
        .flat_map(|n| numbered(KINDS[n % KINDS.len()].0, n))
        .collect();
    bytes.extend(broken(numbers.end));
    conn.send(bytes);
    for n in numbers {
        let (kind, status) = KINDS[n % KINDS.len()];
        let answer = conn.response();
        let fits = status.map_or([200, 429].contains(&answer.status), |status| {
            status == answer.status
        });
        assert!(fits, "{kind} {n}: {} {}", answer.status, answer.text());
    }
    assert_eq!(conn.response().status, 400);
    conn.expect_closed();
}

/// Name and labels of every series.
fn series(metrics: &Metrics) -> BTreeSet<String> {
    let lines = metrics
        .text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
        .collect()
}

/// `CARDINALITY=1000000` is the long run, for a release build.
#[test]
fn distinct_values_make_no_series() {
    let count: usize = std::env::var("CARDINALITY").map_or(24_000, |count| count.parse().unwrap());
    let gateway = Gateway::with(Setup::of(rest("info")));
    // The harness keeps every line: a million of them are another test's business.
    gateway.rewrite(&rest("error"));
    gateway.metric_reaches("widget_gateway_config_generation", &[], 2.0);
    // One request of each kind; then everything that can have series has them.
    batch(gateway.http(), 0);
    let before = gateway.metric_reaches("widget_gateway_requests_total", &[], AT_ONCE as f64);
    let top_before = gateway.ask_admin("GET", "/-/top?n=1000").body.len();

    let started = Instant::now();
    let resident = gateway.resident_kib();
    let batches = count.div_ceil(AT_ONCE * CLIENTS);
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let address = gateway.http();
            scope.spawn(move || {
                for at in 0..batches {
                    batch(address, (1 + at * CLIENTS + client) * AT_ONCE);
                }
            });
        }
    });
    let sent = batches * CLIENTS * AT_ONCE;
    let took = started.elapsed();
    let grown = gateway.resident_kib().saturating_sub(resident);
    eprintln!("{sent} requests in {took:?}, {grown} KiB more resident");

    let after = gateway.metric_reaches("widget_gateway_requests_total", &[], (sent + AT_ONCE) as f64);
    assert_eq!(series(&before), series(&after));
    // An eighth is kept for members that are known.
    let keys = after.value("widget_gateway_ratelimit_keys", &[("policy", "member")]);
    assert_eq!(keys, (MAX_KEYS - MAX_KEYS / 8) as f64);
    assert!(after.value("widget_gateway_ratelimit_overflow_total", &[]) > 0.0);
    assert_eq!(after.value("widget_gateway_log_lines_dropped_total", &[]), 0.0);

    let top = gateway.ask_admin("GET", "/-/top?n=1000");
    let lengths = ["busiest", "most_limited"].map(|list| top.json()[list].as_array().unwrap().len());
    assert!(lengths.iter().all(|&length| length <= 1000), "{lengths:?}");
    assert!(
        top.body.len() < 400 * 1024 && top_before < top.body.len(),
        "{top_before} bytes then, {} now",
        top.body.len()
    );
    assert_eq!(
        gateway.ask_admin("GET", "/-/top").json()["busiest"]
            .as_array()
            .unwrap()
            .len(),
        20
    );
    assert!(grown < 64 * 1024, "{grown} KiB more");
}
