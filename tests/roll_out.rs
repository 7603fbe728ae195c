//! How a legacy handler is turned over: for how many members a route enforces, and what is told of what it
//! would refuse.

use crate::common::carrier::each;
use crate::common::forms::{self, BODY, MEMBER, QUERY, SECRETS};
use crate::common::{Carrier, Gateway, Request, Upstream, shown};
use serde_json::{Value, json};

/// By their ids: one stands among the first ten of a hundred, the other does not.
const IN: &str = "00000000000000000000000000000000";
const OUT: &str = "00000000000000000000000000000002";

const REJECTIONS: &str = "widget_gateway_rejections_total";

fn routes(upstream: &Upstream, mode: &str) -> String {
    let kind = format!("kind = \"widget\"\n{mode}");
    forms::routes(&[upstream.address]).replacen("kind = \"widget\"", &kind, 1)
}

/// A call of a member, after something was done to its body.
fn of(member: &str, more: &str) -> Request {
    Request::form(&format!("/app?{QUERY}"), BODY.replace(MEMBER, member) + more)
}

fn observed(gateway: &Gateway) -> Vec<Value> {
    let answer = gateway.ask_admin("GET", "/-/observe");
    assert_eq!(answer.status, 200, "{}", shown(&answer.body));
    answer.json()["would_refuse"].as_array().expect("rows").clone()
}

#[test]
fn a_portion_of_the_members_is_held_to_the_rules() {
    each("a portion of the members is held to the rules", |carrier| {
        let upstream = Upstream::start();
        let limit = "[limits.member]\nrate = \"1/h\"\nburst = 2\n";
        let gateway = Gateway::on_every_carrier(routes(&upstream, "enforce = 10") + limit);
        let no_lang = |member: &str| {
            let query = QUERY.replace("LANG=en", "LANG=");
            Request::form(&format!("/app?{query}"), BODY.replace(MEMBER, member))
        };
        for (request, status, what) in [
            (no_lang(IN), 422, "blank LANG, in"),
            (no_lang(OUT), 200, "blank LANG, out"),
            (of(IN, "&LANG=de"), 400, "two opinions, in"),
            (of(OUT, "&LANG=de"), 200, "two opinions, out"),
            (of("not-an-id", ""), 200, "an invalid member_id belongs to nobody"),
            (of(IN, "&member.id=other"), 200, "an ambiguous one as well"),
            (of(IN, ""), 200, "sound, in, first"),
            (of(IN, ""), 200, "sound, in, second"),
            (of(IN, ""), 429, "over the limit, in"),
            (of(OUT, ""), 200, "sound, out, first"),
            (of(OUT, ""), 200, "sound, out, second"),
            (of(OUT, ""), 200, "over the limit, out"),
        ] {
            let answer = carrier.ask(&gateway, &request);
            assert_eq!(answer.status, status, "{what}: {}", shown(&answer.body));
        }
        assert_eq!(upstream.take().len(), 9);
        let metrics = gateway.metrics_after(12);
        for (reason, enforced, observed) in [
            ("missing_field", 1.0, 1.0),
            ("ambiguous_field", 1.0, 2.0),
            ("invalid_field", 0.0, 1.0),
            ("rate_limited", 1.0, 1.0),
        ] {
            for (mode, count) in [("enforce", enforced), ("observe", observed)] {
                let labels = [("route", "widget"), ("reason", reason), ("mode", mode)];
                assert_eq!(metrics.value(REJECTIONS, &labels), count, "{reason} {mode}");
            }
        }
    });
}

#[test]
fn the_portion_grows_without_a_restart() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream, "enforce = 10"));
    let status = |request: &Request| Carrier::Http11.ask(&gateway, request).status;
    let faulty = [of(IN, "&LANG=de"), of(OUT, "&LANG=de"), of("not-an-id", "")];
    assert_eq!(faulty.each_ref().map(status), [400, 200, 200]);
    let config = gateway.ask_admin("GET", "/-/config").json();
    assert_eq!(config["settings"]["routes"][0]["enforce"], 10);
    for (portion, statuses) in [
        ("enforce = 99", [400, 400, 200]),
        ("enforce = 100", [400, 400, 422]),
    ] {
        gateway.rewrite(&routes(&upstream, portion));
        assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 200);
        assert_eq!(faulty.each_ref().map(status), statuses, "{portion}");
    }
}

#[test]
fn what_enforcing_would_refuse_is_told_by_rule_route_and_placement() {
    each("what enforcing would refuse is told", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(routes(&upstream, "mode = \"observe\""));
        assert_eq!(observed(&gateway), [json!(null); 0]);
        let options = "%7B%22ID%22%3A%22hidden%22%2C%22deal+of%22%3A1%7D";
        let body = BODY.replace("%7B%22ID%22%3A%22717%22%7D", options);
        let query = QUERY.replace("LANG=en&", "");
        let missing = format!("/app?{query}");
        // Two members, the second in another widget too; a sound call is no row.
        for member in [IN, OUT, OUT] {
            let request = Request::form(&missing, body.replace(MEMBER, member));
            assert_eq!(carrier.ask(&gateway, &request).status, 200);
        }
        let tab = body.replace("PLACEMENT=DEFAULT", "PLACEMENT=CRM_DYNAMIC_177_DETAIL_TAB");
        let request = Request::form(&missing, tab.replace(MEMBER, OUT) + "&AUTH_ID=a-second-secret");
        assert_eq!(carrier.ask(&gateway, &request).status, 200);
        let event = format!("event=ONAPPTEST&auth[domain]=portal.bitrix24.com&auth[member_id]={IN}");
        assert_eq!(carrier.ask(&gateway, &Request::form("/app", event)).status, 200);
        assert_eq!(carrier.ask(&gateway, &of(IN, "")).status, 200);
        gateway.metrics_after(6);

        let rows = observed(&gateway);
        let told: Vec<_> = rows
            .iter()
            .map(|row| ["reason", "rule", "placement", "requests", "members"].map(|key| row[key].clone()))
            .collect();
        let row = |reason: &str, rule: &str, placement: Option<&str>, requests: u64, members: u64| {
            [
                json!(reason),
                json!(rule),
                json!(placement),
                json!(requests),
                json!(members),
            ]
        };
        assert_eq!(
            told,
            [
                row("missing_field", "LANG missing", Some("DEFAULT"), 3, 2),
                row("ambiguous_field", "LANG missing", Some("CRM_DYNAMIC"), 1, 1),
                row("ambiguous_field", "AUTH_ID duplicate", Some("CRM_DYNAMIC"), 1, 1),
                row("unexpected_message", "message event", None, 1, 1),
            ]
        );
        for row in &rows {
            assert_eq!(row["route"], "widget");
            assert!(row["first"].as_u64() <= row["last"].as_u64(), "{row}");
        }
        let examples = rows[0]["examples"].as_array().expect("examples");
        assert_eq!(examples.len(), 3);
        let line = gateway.wait_log("its line", |line| line["request_id"] == examples[0]["request_id"]);
        assert_eq!(line["member_id"], IN);
        let example = &examples[0];
        assert_eq!(
            (
                &example["message"],
                &example["query_bytes"],
                &example["body_bytes"]
            ),
            (&json!("placement"), &json!(query.len()), &json!(body.len()))
        );
        assert_eq!(
            (&example["option_keys"], &example["other_option_keys"]),
            (&json!(["ID"]), &json!(1))
        );
        let fields = example["fields"].as_array().expect("fields");
        assert_eq!(
            fields[0],
            json!({ "field": "DOMAIN", "in": "query", "bytes": 19 })
        );
        assert!(
            fields.contains(&json!({ "field": "AUTH_ID", "in": "body", "bytes": 70 })),
            "{example}"
        );
        let ambiguous = rows[2]["examples"][0]["fields"].as_array().expect("fields");
        let twice = json!({ "field": "AUTH_ID", "in": "body", "fault": "duplicate" });
        assert!(ambiguous.contains(&twice), "{ambiguous:?}");

        for path in ["/-/observe", "/-/status"] {
            let text = gateway.ask_admin("GET", path).text().to_owned();
            let more = ["a-second-secret", "hidden\"", "deal of", "deal+of"];
            for value in SECRETS.iter().chain(&more) {
                assert!(!text.contains(value), "{path} shows {value}");
            }
        }
        let status = gateway.ask_admin("GET", "/-/status").json();
        assert_eq!(status["would_refuse"][0]["rule"], "LANG missing");
        assert_eq!(
            gateway.ask_admin("GET", "/-/observe?n=1").json()["would_refuse"],
            json!([rows[0]])
        );
        assert_eq!(gateway.ask_admin("GET", "/-/observe?n=0").status, 400);
        assert_eq!(gateway.ask_admin("POST", "/-/observe").status, 405);
    });
}

#[test]
fn what_observe_mode_let_through_is_kept_in_bounds() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream, "mode = \"observe\""));
    let mut client = Carrier::Http11.open(&gateway);
    for n in 0..2000 {
        let member = format!("{n:032x}");
        let request = Request::form(
            &format!("/app?{QUERY}&x{n}=1"),
            BODY.replace(MEMBER, &member) + &format!("&LANG=x{n}"),
        );
        assert_eq!(client.ask(&request).status, 200);
        upstream.take();
    }
    gateway.metrics_after(2000);
    let rows = observed(&gateway);
    assert_eq!((rows.len(), &rows[0]["requests"]), (1, &json!(2000)));
    let members = rows[0]["members"].as_f64().expect("members");
    assert!((members / 2000.0 - 1.0).abs() < 0.05, "{members}");
    assert_eq!(rows[0]["examples"].as_array().map(Vec::len), Some(3));
    // What a route said goes with it.
    gateway.rewrite(&routes(&upstream, "mode = \"observe\"\nname = \"other\""));
    assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 200);
    assert_eq!(observed(&gateway), [json!(null); 0]);
}
