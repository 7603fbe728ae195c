//! Several limits over one request, seen from outside: whose each is, in which order they are asked, and what the
//! answer, the log and the metrics say of the one that binds.

use crate::common::carrier::each;
use crate::common::forms::{self, BODY, MEMBER, OTHER_MEMBER, TARGET};
use crate::common::{Body, Carrier, Gateway, Metrics, Request, Response, Setup, Upstream, shown};
use serde_json::json;

const DECISIONS: &str = "widget_gateway_ratelimit_decisions_total";

/// Everything is taken, and the client is whom the header names.
fn gateway(upstream: &Upstream, limits: &str) -> Gateway {
    let routes = forms::routes(&[upstream.address]).replacen(
        "kind = \"widget\"",
        "kind = \"widget\"\naccepts = [\"placement\", \"event\", \"robot\", \"own\"]",
        1,
    );
    let setup = Setup::of(format!("{routes}{limits}")).top("trusted_proxies = [\"127.0.0.0/8\"]");
    Gateway::with(setup.every_carrier())
}

fn placed(member: &str, placement: &str) -> Request {
    let body = BODY.replace(MEMBER, member);
    Request::form(
        TARGET,
        body.replace("PLACEMENT=DEFAULT", &format!("PLACEMENT={placement}")),
    )
}

fn event(member: &str) -> Request {
    let auth = format!("auth[domain]=portal.bitrix24.com&auth[member_id]={member}");
    Request::form("/app", format!("event=ONCRMDEALADD&{auth}"))
}

fn from(client: &str, request: Request) -> Request {
    request.line(format!("X-Forwarded-For: {client}"))
}

/// The refusal names this policy everywhere.
fn is_refused_by(response: &Response, policy: &str) {
    assert_eq!(response.status, 429, "{policy}: {}", shown(&response.body));
    let header = |name| response.header(name).unwrap().to_owned();
    let quoted = format!("\"{policy}\";");
    assert!(header("RateLimit-Policy").starts_with(&quoted), "{policy}");
    assert!(header("RateLimit").starts_with(&quoted), "{policy}");
    assert!(header("Retry-After").parse::<u32>().unwrap() > 0, "{policy}");
    assert_eq!(response.json()["violated-policies"], json!([policy]));
}

fn said(metrics: &Metrics, policy: &str) -> [f64; 3] {
    ["allowed", "limited", "would_limit"]
        .map(|decision| metrics.value(DECISIONS, &[("policy", policy), ("decision", decision)]))
}

#[test]
fn a_client_over_its_limit_is_refused_before_its_body_comes() {
    each(
        "a client over its limit is refused before its body comes",
        |carrier| {
            let upstream = Upstream::start();
            let gateway = gateway(&upstream, "[limits.client]\nrate = \"2/h\"\n");
            let busy = |request| from("2001:db8::7", request);
            for _ in 0..2 {
                assert_eq!(carrier.ask(&gateway, &busy(Request::call())).status, 200);
            }
            // The whole /64 is one client, whatever it sends; not a byte of this body ever comes.
            let never = Body::Part {
                length: 1000,
                sent: Vec::new(),
            };
            let waiting = from("2001:db8::ffff", Request::call().body(never));
            is_refused_by(&carrier.ask(&gateway, &waiting), "client");
            for request in [event(MEMBER), Request::form("/app", "page=2")] {
                is_refused_by(&carrier.ask(&gateway, &busy(request)), "client");
            }
            // Pass routes are not counted, others are not concerned, and the proxy itself is nobody's client.
            assert_eq!(carrier.ask(&gateway, &busy(Request::get("/app"))).status, 200);
            assert_eq!(
                carrier
                    .ask(&gateway, &from("2001:db8:0:1::7", Request::call()))
                    .status,
                200
            );
            for _ in 0..5 {
                assert_eq!(carrier.ask(&gateway, &Request::call()).status, 200);
            }
            assert_eq!(upstream.take().len(), 9);
            let metrics = gateway.metrics_after(12);
            assert_eq!(said(&metrics, "client"), [3.0, 3.0, 0.0]);
            let refused = [
                ("route", "widget"),
                ("reason", "rate_limited"),
                ("mode", "enforce"),
            ];
            assert_eq!(metrics.value("widget_gateway_rejections_total", &refused), 3.0);
            assert_eq!(
                metrics.value("widget_gateway_ratelimit_keys", &[("policy", "client")]),
                2.0
            );
        },
    );
}

#[test]
fn a_storm_of_one_member_uses_up_no_other_limit() {
    each("a storm of one member uses up no other limit", |carrier| {
        let upstream = Upstream::start();
        let limits = "[limits.gateway]\nrate = \"3/h\"\n[limits.member]\nrate = \"1/h\"\n";
        let gateway = gateway(&upstream, limits);
        let mut conn = carrier.open(&gateway);
        let mut ask = |member: &str| conn.ask(&placed(member, "DEFAULT"));
        assert_eq!(ask(MEMBER).status, 200);
        for _ in 0..10 {
            is_refused_by(&ask(MEMBER), "member");
        }
        assert_eq!(ask(OTHER_MEMBER).status, 200);
        let third = "0".repeat(32);
        assert_eq!(ask(&third).status, 200);
        // Now the gateway's is used up, and it is asked first.
        is_refused_by(&ask(MEMBER), "gateway");
        is_refused_by(&ask(&"1".repeat(32)), "gateway");
        let metrics = gateway.metrics_after(15);
        assert_eq!(said(&metrics, "gateway"), [13.0, 2.0, 0.0]);
        assert_eq!(said(&metrics, "member"), [3.0, 10.0, 0.0]);
    });
}

#[test]
fn a_placement_with_a_limit_of_its_own_neither_eats_nor_is_eaten() {
    each(
        "a placement with a limit of its own neither eats nor is eaten",
        |carrier| {
            let upstream = Upstream::start();
            let limits = "[limits.member]\nrate = \"2/h\"\n\
             [[limits.placement]]\nmatch = \"PAGE_BACKGROUND_WORKER\"\nrate = \"3/h\"\n\
             [[limits.placement]]\nmatch = \"CRM_*\"\nrate = \"1/h\"\n";
            let gateway = gateway(&upstream, limits);
            let mut conn = carrier.open(&gateway);
            let mut ask = |placement: &str| conn.ask(&placed(MEMBER, placement));
            let worker: Vec<u16> = (0..5).map(|_| ask("PAGE_BACKGROUND_WORKER").status).collect();
            assert_eq!(worker, [200, 200, 200, 429, 429]);
            is_refused_by(&ask("PAGE_BACKGROUND_WORKER"), "placement");
            assert_eq!(ask("CRM_DEAL_DETAIL_TAB").status, 200);
            is_refused_by(&ask("CRM_LEAD_LIST_MENU"), "placement");
            let others: Vec<u16> = (0..3).map(|_| ask("DEFAULT").status).collect();
            assert_eq!(others, [200, 200, 429]);
            is_refused_by(&ask("DEFAULT"), "member");
        },
    );
}

#[test]
fn events_have_a_limit_of_their_own() {
    each("events have a limit of their own", |carrier| {
        let upstream = Upstream::start();
        let limits = "[limits.member]\nrate = \"1/h\"\n[limits.event]\nrate = \"2/h\"\n";
        let gateway = gateway(&upstream, limits);
        let mut conn = carrier.open(&gateway);
        let mut statuses =
            |request: &Request, times| -> Vec<u16> { (0..times).map(|_| conn.ask(request).status).collect() };
        assert_eq!(statuses(&placed(MEMBER, "DEFAULT"), 2), [200, 429]);
        assert_eq!(statuses(&event(MEMBER), 3), [200, 200, 429]);
        let unnamed = Request::form("/app", "event=ONIMBOTMESSAGEADD&auth[domain]=a.bitrix24.com");
        assert_eq!(statuses(&unnamed, 3), [200, 200, 429]);
        assert_eq!(statuses(&event(OTHER_MEMBER), 1), [200]);
        is_refused_by(&conn.ask(&event(MEMBER)), "event");
    });
}

#[test]
fn a_policy_that_observes_is_counted_apart_and_refuses_nothing() {
    each(
        "a policy that observes is counted apart and refuses nothing",
        |carrier| {
            let upstream = Upstream::start();
            let observe = |table: &str| format!("[limits.{table}]\nrate = \"1/h\"\nmode = \"observe\"\n");
            let limits = ["client", "gateway", "member"].map(observe).concat();
            let gateway = gateway(&upstream, &limits);
            let ask = || carrier.ask(&gateway, &from("192.0.2.1", Request::call()));
            for _ in 0..3 {
                assert_eq!(ask().status, 200);
            }
            let metrics = gateway.metrics_after(3);
            for policy in ["client", "gateway", "member"] {
                assert_eq!(said(&metrics, policy), [1.0, 0.0, 2.0], "{policy}");
            }
            // One request is refused once, however many limits it is over.
            let rejections = [("reason", "rate_limited"), ("mode", "observe")];
            assert_eq!(metrics.value("widget_gateway_rejections_total", &rejections), 2.0);
            gateway.wait_log("would_reject", |line| {
                line["would_reject"] == json!(["rate_limited"])
            });
        },
    );
}

#[test]
fn what_is_only_observed_counts_for_the_gateway_all_the_same() {
    let upstream = Upstream::start();
    let limits = "[widget]\nmode = \"observe\"\n[limits.gateway]\nrate = \"1/h\"\n";
    let gateway = gateway(&upstream, limits);
    for _ in 0..2 {
        let faulty = Request::form("/app?PROTOCOL=9", "member_id=x&PLACEMENT=A");
        assert_eq!(Carrier::Http11.ask(&gateway, &faulty).status, 200);
    }
    assert_eq!(said(&gateway.metrics_after(2), "gateway"), [1.0, 0.0, 1.0]);
}

#[test]
fn an_operator_sees_and_frees_each_key() {
    let upstream = Upstream::start();
    let limits = "[limits.client]\nrate = \"3/h\"\nexcept = [\"192.0.2.9/32\"]\n[limits.gateway]\nrate = \"9/h\"\n\
         [limits.member]\nrate = \"2/h\"\n[[limits.placement]]\nmatch = \"DEF*\"\nrate = \"4/h\"\n\
         [limits.event]\nrate = \"5/h\"\n";
    let gateway = gateway(&upstream, limits);
    let ask = |client: &str, request| Carrier::Http11.ask(&gateway, &from(client, request)).status;
    assert_eq!(ask("192.0.2.1", placed(MEMBER, "DEFAULT")), 200);
    assert_eq!(ask("192.0.2.9", event(MEMBER)), 200);
    assert_eq!(
        ask(
            "192.0.2.1",
            Request::form("/app", "event=ONAPPTEST&auth[domain]=a.bitrix24.com")
        ),
        200
    );
    let told = |method: &str, key: &str| {
        let answer = gateway.ask_admin(method, &format!("/-/limits/{key}"));
        assert_eq!(answer.status, 200, "{key}: {}", answer.text());
        let policies = answer.json()["policies"].as_array().unwrap().clone();
        let left = policies.iter().map(|policy| {
            let matches = policy["match"].as_str().unwrap_or_default();
            let policy_name = policy["policy"].as_str().unwrap();
            (
                format!("{policy_name}{matches}"),
                policy["remaining"].as_u64().unwrap(),
            )
        });
        left.collect::<Vec<_>>()
    };
    let one = |policy: &str, left| vec![(policy.to_owned(), left)];
    let of_member = |left: [u64; 3]| -> Vec<_> {
        let names = ["member", "placementDEF*", "event"].map(str::to_owned);
        names.into_iter().zip(left).collect()
    };
    assert_eq!(told("GET", MEMBER), of_member([2, 3, 4]));
    assert_eq!(told("GET", "gateway"), one("gateway", 6));
    assert_eq!(told("GET", "192.0.2.1"), one("client", 1));
    assert_eq!(told("GET", "192.0.2.9"), one("client", 3));
    assert_eq!(told("GET", "A.bitrix24.com"), one("event", 4));
    assert_eq!(told("DELETE", MEMBER), of_member([2, 4, 5]));
    assert_eq!(told("DELETE", "gateway"), one("gateway", 9));
    assert_eq!(told("DELETE", "192.0.2.1"), one("client", 3));
    assert_eq!(
        told("GET", "a.bitrix24.com"),
        one("event", 4),
        "another key stays"
    );
    let status = gateway.ask_admin("GET", "/-/status").json();
    let policies: Vec<_> = status["limiter"]["policies"]
        .as_array()
        .unwrap()
        .iter()
        .map(|policy| {
            (
                policy["name"].clone(),
                policy["keys"].clone(),
                policy["allowed"].clone(),
            )
        })
        .collect();
    let row = |name: &str, keys: u32, allowed: u32| (json!(name), json!(keys), json!(allowed));
    assert_eq!(
        policies,
        [
            row("client", 0, 2),
            row("gateway", 0, 3),
            row("member", 0, 0),
            row("placement", 0, 1),
            row("event", 1, 2)
        ]
    );
}
