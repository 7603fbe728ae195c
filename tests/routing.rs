//! Routes of one path: each is for some of the messages that come there, on every carrier.

use std::process::Command;

use serde_json::json;

use crate::common::carrier::table;
use crate::common::forms::{BODY, MEMBER, OTHER_MEMBER, TARGET};
use crate::common::{Carrier, Gateway, Request, Upstream};

const NAMES: [&str; 5] = ["crm", "portal", "pilot", "rest", "get"];

/// `crm` is for two placements, `portal` for a domain and what else of it, `pilot` for a member, `rest` for all
/// calls of one other portal. None is for the rest of the world.
fn routes(servers: &[Upstream; 5]) -> String {
    let keys = [
        "placements = [\"CRM_DEAL_*\", \"TASK_VIEW_TAB\"]",
        "domains = [\"Events.example\"]\naccepts = [\"placement\", \"event\", \"own\"]",
        "placements = [\"*\"]\nmembers = [\"b81c*\"]\nmode = \"observe\"",
        "placements = [\"*\"]\ndomains = [\"portal.bitrix24.com\"]\naccepts = [\"placement\", \"event\"]",
    ];
    let mut text = String::new();
    for (name, keys) in NAMES.iter().zip(keys) {
        text += &format!(
            "[[routes]]\nname = \"{name}\"\npath = \"/\"\nkind = \"widget\"\nupstream = \"{name}\"\n{keys}\n"
        );
    }
    text += "[[routes]]\nname = \"get\"\npath = \"/\"\nkind = \"pass\"\nupstream = \"get\"\n";
    for (name, server) in NAMES.iter().zip(servers) {
        text += &format!("[upstreams.{name}]\nservers = [\"{}\"]\n", server.address);
    }
    text
}

struct Row {
    name: &'static str,
    request: Request,
    /// The name of the route, and the status.
    goes_to: &'static str,
    status: u16,
    code: &'static str,
}

fn rows() -> Vec<Row> {
    let call = |name, from: &[(&str, &str)], goes_to, status, code| {
        let replaced = |text: &str| {
            from.iter()
                .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
        };
        Row {
            name,
            request: Request::form(&replaced(TARGET), replaced(BODY)),
            goes_to,
            status,
            code,
        }
    };
    let placed = ("PLACEMENT=DEFAULT", "PLACEMENT=CRM_DEAL_DETAIL_TAB");
    let elsewhere = ("portal.bitrix24.com", "other.example");
    let of_portal = ("portal.bitrix24.com", "events.example");
    let event = |name, body: &str, goes_to, status, code| Row {
        name,
        request: Request::form("/app", body),
        goes_to,
        status,
        code,
    };
    vec![
        call("a placement by its beginning", &[placed], "crm", 200, ""),
        call(
            "a placement by its name",
            &[("PLACEMENT=DEFAULT", "PLACEMENT=TASK_VIEW_TAB")],
            "crm",
            200,
            "",
        ),
        call("the first that fits", &[placed, of_portal], "crm", 200, ""),
        call(
            "a domain in another case",
            &[("portal.bitrix24.com", "EVENTS.example")],
            "portal",
            200,
            "",
        ),
        call(
            "a domain",
            &[of_portal, (MEMBER, OTHER_MEMBER)],
            "portal",
            200,
            "",
        ),
        call("a member", &[elsewhere, (MEMBER, OTHER_MEMBER)], "pilot", 200, ""),
        call("the last", &[], "rest", 200, ""),
        call("nobody's portal", &[elsewhere], "crm", 404, "not_found"),
        // The route that was chosen decides what its faults lead to.
        call(
            "a fault that is observed there",
            &[elsewhere, (MEMBER, OTHER_MEMBER), ("LANG=en", "LANG=")],
            "pilot",
            200,
            "",
        ),
        call("a fault", &[("LANG=en", "LANG=")], "rest", 422, "missing_field"),
        // What says where it goes can not be read: that is what has to be put right.
        call(
            "no portal",
            &[("portal.bitrix24.com", "")],
            "crm",
            422,
            "missing_field",
        ),
        call(
            "two placements",
            &[(
                "PLACEMENT=DEFAULT",
                "PLACEMENT=CRM_DEAL_DETAIL_TAB&PLACEMENT=DEFAULT",
            )],
            "crm",
            400,
            "ambiguous_field",
        ),
        event(
            "an event",
            "event=ONCRMDEALADD&auth[domain]=events.example",
            "portal",
            200,
            "",
        ),
        event(
            "an event of nobody's",
            "event=ONCRMDEALADD&auth[domain]=portal.bitrix24.com",
            "crm",
            404,
            "not_found",
        ),
        event(
            "a robot, which no route takes",
            &format!("event_token=x&auth[domain]=events.example&auth[member_id]={MEMBER}"),
            "portal",
            422,
            "unexpected_message",
        ),
        event(
            "the page's own",
            "DOMAIN=events.example&page=2",
            "portal",
            200,
            "",
        ),
        Row {
            name: "the page's own in JSON",
            request: Request::new("POST", "/app?DOMAIN=events.example")
                .line("Content-Type: application/json")
                .body(crate::common::Body::Length(b"{\"page\":2}".to_vec())),
            goes_to: "portal",
            status: 200,
            code: "",
        },
        Row {
            name: "JSON of nobody's",
            request: Request::new("POST", "/app?DOMAIN=portal.bitrix24.com")
                .line("Content-Type: application/json")
                .body(crate::common::Body::Length(b"{\"page\":2}".to_vec())),
            goes_to: "crm",
            status: 404,
            code: "not_found",
        },
        // Nobody has read the message yet.
        Row {
            name: "refused before its body",
            request: Request::new("POST", "/app").line("Content-Type: text/plain"),
            goes_to: "crm",
            status: 415,
            code: "unsupported_media_type",
        },
        Row {
            name: "another method",
            request: Request::get("/app"),
            goes_to: "get",
            status: 200,
            code: "",
        },
    ]
}

#[test]
fn of_the_routes_of_a_path_the_first_that_fits_is_taken() {
    let ran = table(
        "routing",
        &rows(),
        |row| row.name,
        |_, _| true,
        |_| {
            let servers = [(); 5].map(|()| Upstream::start());
            let gateway = Gateway::on_every_carrier(routes(&servers));
            (servers, gateway)
        },
        |carrier: Carrier, (servers, gateway), row| {
            let told = gateway.log_count();
            let response = carrier.ask(gateway, &row.request);
            assert_eq!(response.status, row.status, "{}", response.text());
            let line = gateway.wait_log_after(told, "its line", |line| line["msg"] == "request");
            assert_eq!(line["route"], row.goes_to, "{line}");
            if row.status == 200 {
                assert_eq!(line["upstream"], row.goes_to, "{line}");
            } else {
                assert_eq!(response.json()["code"], row.code);
            }
            for (name, server) in NAMES.iter().zip(servers) {
                let asked = usize::from(row.status == 200 && *name == row.goes_to);
                assert_eq!(server.take().len(), asked, "{name}");
            }
        },
    );
    assert_eq!(ran, [rows().len(); 5]);
}

#[test]
fn nobodys_message_takes_nothing_from_a_limit_and_is_told_so() {
    let servers = [(); 5].map(|()| Upstream::start());
    let limit = "[limits.member]\nrate = \"1/h\"\nburst = 1\n";
    let gateway = Gateway::on_every_carrier(routes(&servers) + limit);
    let elsewhere = Request::form(&TARGET.replace("portal.bitrix24.com", "other.example"), BODY);
    for _ in 0..3 {
        let refused = Carrier::Http11.ask(&gateway, &elsewhere);
        assert_eq!(refused.status, 404);
        assert_eq!(
            refused.json()["detail"],
            "no route of this path is for this placement, portal or member"
        );
    }
    assert_eq!(Carrier::Http11.ask(&gateway, &Request::call()).status, 200);
    assert_eq!(Carrier::Http11.ask(&gateway, &Request::call()).status, 429);
    let metrics = gateway.metrics_after(5);
    let rejected = [("route", "crm"), ("reason", "not_found"), ("mode", "enforce")];
    assert_eq!(metrics.value("widget_gateway_rejections_total", &rejected), 3.0);
    let limited = [("route", "rest"), ("outcome", "limited")];
    assert_eq!(metrics.value("widget_gateway_requests_total", &limited), 1.0);
    let config = gateway.ask_admin("GET", "/-/config").json();
    let route = &config["settings"]["routes"][1];
    assert_eq!(
        (&route["domains"], &route["placements"]),
        (&json!(["events.example"]), &json!(null))
    );
}

#[test]
fn explain_tells_why_a_route_is_not_the_one() {
    let servers = [(); 5].map(|()| Upstream::start());
    let folder = tempfile::tempdir().unwrap();
    let [config, request] = ["gateway.toml", "request"].map(|name| folder.path().join(name));
    let listen = "[server]\nlisten = [\"127.0.0.1:0\"]\n";
    std::fs::write(&config, format!("{listen}{}", routes(&servers))).unwrap();
    let explain = |target: &str, body: &str| {
        let asked = Request::form(target, body).to_http1("HTTP/1.1");
        std::fs::write(&request, asked).unwrap();
        let told = Command::new(env!("CARGO_BIN_EXE_widget-gateway"))
            .args(["explain", "-c"])
            .args([&config, &request])
            .output()
            .unwrap();
        let words = String::from_utf8(told.stdout).unwrap();
        let lines = words.lines().filter(|line| line.contains("route: "));
        (
            told.status.code(),
            lines.map(str::to_owned).collect::<Vec<_>>(),
            words,
        )
    };
    let (code, lines, words) = explain(TARGET, BODY);
    assert_eq!(
        (code, lines),
        (
            Some(0),
            vec![
                "not route: crm, its placements do not fit".to_owned(),
                "not route: portal, its domains do not fit".to_owned(),
                "not route: pilot, its members do not fit".to_owned(),
                "route: rest (widget, enforce, takes placement, event), upstream rest".to_owned(),
            ]
        ),
        "{words}"
    );
    let (code, lines, words) = explain("/app", "event=x&auth[domain]=portal.bitrix24.com");
    assert_eq!(code, Some(1));
    assert_eq!(
        lines.last().unwrap(),
        "route: none of these is for the message",
        "{words}"
    );
    assert!(words.contains("refused, 404 not_found"), "{words}");
}
