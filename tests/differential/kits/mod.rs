//! The kits that handlers are built with, where the other tests go by their reading orders: CRest's install, and
//! the readers of b24phpsdk and of b24pysdk. `tests/kits/run` fetches them and runs these.

mod kit;

use std::collections::BTreeMap;

use super::grammar::Case;
use super::handlers::HANDLERS;
use super::{SEED, from_env, nested, polyglots};
use crate::common::case::{self, Case as Fixture};
use crate::common::php::{Parse, PhpWorkers};
use crate::common::{Carrier, Conn, Response, shown};
use kit::{BARE, Kit, Readings, SHIPPED, identity, told};

/// Everything of the fixtures that a portal sends, and what else is forwarded.
fn genuine() -> Vec<Fixture> {
    let messages = case::cases(include_str!("../../fixtures/messages.json"), 108);
    let widgets = case::cases(include_str!("../../fixtures/widgets.json"), 49);
    let is_forwarded = |case: &Fixture| {
        let text = |key: &str| case.expect[key].as_str();
        match text("accepts_all") {
            Some(kind) => ["placement", "event", "robot", "own"].contains(&kind),
            None => text("outcome") == Some("accept") || matches!(text("kind"), Some("event" | "robot")),
        }
    };
    let mut all: Vec<_> = messages.into_iter().chain(widgets).collect();
    all.retain(|case| case.method == "POST" && is_forwarded(case));
    for case in &mut all {
        case.lines
            .retain(|line| !line.starts_with("Host:") && !line.starts_with("Connection:"));
    }
    all
}

/// What a reader does not take, from whomever it comes: it asks for more than every portal sends.
const DEMANDING: [(&str, &str); 15] = [
    // Options that are JSON.
    ("PlacementRequest", "default_open_without_options"),
    ("PlacementRequest", "status_subscription_S"),
    // A refresh token that is not empty.
    ("PlacementRequest", "empty_refresh_id"),
    ("PlacementRequest", "unknown_future_query_parameter"),
    ("PlacementRequest", "unknown_future_body_field"),
    ("PlacementRequest", "onpremise_ip_host"),
    ("PlacementRequest", "onpremise_custom_domain"),
    ("PlacementRequest", "onpremise_punycode"),
    ("PlacementRequest", "options_empty_string"),
    // A query.
    ("PlacementRequest", "all_fields_in_body_as_seed_page_reads"),
    // A refresh token.
    ("IncomingRobotRequest", "robot_call"),
    // A member.
    ("event_required", "event-no-member"),
    // An event_handler_id.
    ("event_required", "event-cookies"),
    ("event_required", "event_onappinstall"),
    ("event_required", "event_onappuninstall_no_token"),
];

#[test]
#[ignore = "the kits have to be fetched: tests/kits/run"]
fn of_every_genuine_message_a_kit_reads_what_the_gateway_told() {
    let mut not_taken = Vec::new();
    for kit in Kit::all() {
        let gateway = kit.gateway();
        let mut taken = 0;
        for case in genuine() {
            let request = case.request();
            let alone = kit.ask(&request.to_http1("HTTP/1.1")).expect("an answer");
            let alone = kit.readings(&alone);
            for carrier in Carrier::ALL {
                let what = format!("{}, {}, {carrier:?}", kit.name, case.name);
                let response = carrier.ask(&gateway, &request);
                assert_eq!(response.status, 200, "{what}: {}", shown(&response.body));
                let readings = kit.readings(&response);
                // Without a php.ini, cookies would outrank what is genuine.
                if !request.lines.iter().any(|line| line.starts_with("Cookie:")) {
                    assert_eq!(readings, alone, "{what}: as without the gateway");
                }
                no_strangers(&response, &readings, &what);
                if carrier == Carrier::H2Tls {
                    match kit.takes(&response, &readings, &what) {
                        Some(Ok(())) => taken += 1,
                        Some(Err(reader)) => not_taken.push((reader, case.name.clone())),
                        None => {}
                    }
                }
            }
        }
        println!("{} takes {taken} genuine messages", kit.name);
        assert!(taken >= 3, "{}", kit.name);
    }
    let not_taken: Vec<_> = not_taken
        .iter()
        .map(|(reader, case)| (*reader, case.as_str()))
        .collect();
    assert_eq!(not_taken, DEMANDING);
}

fn no_strangers(response: &Response, readings: &Readings, what: &str) {
    for (reader, facts) in readings {
        if let Ok(facts) = facts {
            let strangers = told(response).strangers(reader, identity(facts));
            assert_eq!(strangers, [""; 0], "{what}");
        }
    }
}

/// A kit, a message, the reader that it is for, and what that must read.
type Row = (&'static str, &'static str, &'static str, Vec<Fact>);
type Fact = (&'static str, &'static str);

#[test]
#[ignore = "the kits have to be fetched: tests/kits/run"]
fn what_a_kit_goes_by_is_the_messages_own() {
    const AUTH: [Fact; 5] = [
        ("member_id", "da45a03b265ed12127f8a258d793cc5d"),
        ("domain", "portal.example"),
        ("client_endpoint", "https://portal.example/rest/"),
        ("access_token", "s6p6eclrvim6da22ft9ch94ekreb52lv"),
        ("application_token", "51856fefc120afa4b628cc82d3935cce"),
    ];
    const REFRESH: Fact = ("refresh_token", "4s386p3q0tr8dy89xvmt96234v3dljg8");
    const PAGE: [Fact; 3] = [
        ("domain", "portal.example"),
        ("access_token", "6061e72600631fcd00005a4b00000001f0f107"),
        ("refresh_token", "50e00aa340631fcd00005a4b00000001f0f107"),
    ];
    let member = AUTH[0];
    let rows: [Row; 9] = [
        (
            "CRest",
            "event-install",
            "installApp",
            [&AUTH[..], &[REFRESH]].concat(),
        ),
        (
            "CRest",
            "placement-beside",
            "installApp",
            [&PAGE[..], &[("client_endpoint", "https://portal.example/rest/")]].concat(),
        ),
        ("b24phpsdk", "event-install", "RemoteEventsFactory", AUTH.to_vec()),
        (
            "b24phpsdk",
            "event-connector",
            "RemoteEventsFactory",
            AUTH.to_vec(),
        ),
        (
            "b24phpsdk",
            "robot",
            "IncomingRobotRequest",
            [&AUTH[..], &[REFRESH, ("event_token", "65a1|A12|hash")]].concat(),
        ),
        (
            "b24phpsdk",
            "placement-beside",
            "PlacementRequest",
            [&PAGE[..], &[member]].concat(),
        ),
        (
            "b24pysdk",
            "event-install",
            "event_required",
            [&AUTH[..], &[REFRESH]].concat(),
        ),
        (
            "b24pysdk",
            "robot",
            "workflow_required",
            [&AUTH[..], &[REFRESH, ("event_token", "65a1|A12|hash")]].concat(),
        ),
        (
            "b24pysdk",
            "placement-beside",
            "placement_required",
            [&PAGE[..], &[member]].concat(),
        ),
    ];
    let cases = genuine();
    for kit in Kit::all() {
        let gateway = kit.gateway();
        for (_, name, reader, expected) in rows.iter().filter(|row| row.0 == kit.name) {
            let case = cases.iter().find(|case| case.name == *name).expect(name);
            let response = Carrier::H2Tls.ask(&gateway, &case.request());
            let readings = kit.readings(&response);
            let Some(Ok(facts)) = readings.get(*reader) else {
                panic!("{}, {name}: {readings:?}", kit.name);
            };
            for (fact, value) in expected {
                let read = facts.get(*fact).map(|read| shown(read));
                assert_eq!(read.as_deref(), Some(*value), "{}, {name}, {fact}", kit.name);
            }
        }
    }
}

/// Every polyglot.
fn smuggled() -> Vec<Case> {
    let all = polyglots::all().into_iter().map(|(_, case)| case);
    all.chain(polyglots::in_json()).collect()
}

/// What the tests of this file send beside the polyglots.
fn nested_cases() -> impl Iterator<Item = Case> {
    let (seed, count) = (from_env("DIFFERENTIAL_SEED", SEED), from_env("KITS_CASES", 2_000));
    println!("seed {seed}, {count} cases");
    (0..count).map(move |index| nested::case(seed, index))
}

#[test]
#[ignore = "the kits have to be fetched: tests/kits/run"]
fn no_kit_reads_a_second_portal_in_what_is_forwarded() {
    let polyglots = smuggled();
    for kit in Kit::all() {
        let gateway = kit.gateway();
        let (mut forwarded, mut refused, mut taken) = (0, 0, 0);
        let mut conn: Option<Conn> = None;
        for case in polyglots.iter().cloned().chain(nested_cases()) {
            let bytes = case.bytes();
            let what = shown(&bytes);
            let mut open = conn.take().unwrap_or_else(|| gateway.connect());
            open.send_as_far_as_taken(&bytes);
            let response = open.response_to("POST");
            if response.header("Connection") != Some("close") {
                conn = Some(open);
            }
            if response.status == 200 {
                forwarded += 1;
                let readings = kit.readings(&response);
                no_strangers(&response, &readings, &what);
                taken += readings.values().filter(|read| read.is_ok()).count();
            } else {
                refused += 1;
                assert!(
                    (400..500).contains(&response.status),
                    "{}: {what}",
                    response.status
                );
                let stored = kit.stores.as_ref().is_some_and(|file| file.exists());
                assert!(!stored, "{what}");
            }
        }
        println!(
            "{}: {refused} refused, {forwarded} forwarded, of which {taken} were read",
            kit.name
        );
        assert!(refused > 0 && forwarded > 0 && taken > 0, "{}", kit.name);
        // What was refused did not come to it.
        let metrics = gateway.metrics_after(forwarded + refused);
        let answers = metrics.value("widget_gateway_upstream_responses_total", &[]);
        assert_eq!(answers, forwarded as f64, "{}", kit.name);
    }
}

/// Round the gateway: whatever a PHP kit reads, the differential test's account of it says so too.
#[test]
#[ignore = "the kits have to be fetched: tests/kits/run"]
fn the_reading_orders_that_stand_for_the_kits_are_theirs() {
    let kits = [
        (Kit::crest(SHIPPED), SHIPPED),
        (Kit::crest(BARE), BARE),
        (Kit::php_sdk(), SHIPPED),
    ];
    let polyglots = smuggled();
    for (kit, settings) in kits {
        let mut php = PhpWorkers::start(settings);
        let mut php = php.connect();
        let mut taken: BTreeMap<String, usize> = BTreeMap::new();
        for mut case in polyglots.iter().cloned().chain(nested_cases()) {
            let [media_type] = case.types[..] else {
                continue;
            };
            // PHP's own server joins several of them with a comma, as no web server does.
            case.cookie_lines = false;
            let bytes = case.bytes();
            let cookie = case.cookies.join(&b"; "[..]);
            let seen = php.parse(&Parse {
                query: &case.query(),
                content_type: media_type.as_bytes(),
                cookie: (!cookie.is_empty()).then_some(&cookie),
                body: &case.body(),
            });
            let Some(response) = kit.ask(&bytes) else {
                continue;
            };
            for (reader, facts) in kit.readings(&response) {
                let Ok(facts) = facts else { continue };
                let (_, account) = HANDLERS
                    .iter()
                    .find(|(name, _)| name.ends_with(&reader))
                    .unwrap_or_else(|| panic!("{reader}"));
                assert_eq!(identity(&facts), account(&seen), "{reader}: {}", shown(&bytes));
                *taken.entry(reader).or_default() += 1;
            }
        }
        println!("{}: {taken:?}", kit.name);
        let readers = if kit.name == "CRest" { 1 } else { 3 };
        assert_eq!(taken.len(), readers, "{}", kit.name);
    }
}
