//! Every case of `fixtures/messages.json`: what else Bitrix24 and a handler's own page send to one address,
//! through a route that takes placements alone and through one that takes everything, over every carrier.

use crate::common::carrier::table;
use crate::common::case::{self, Case};
use crate::common::forms;
use crate::common::{Carrier, Gateway, Received, Response, Upstream, shown};

const KINDS: [&str; 4] = ["placement", "event", "robot", "own"];

fn cases() -> Vec<Case> {
    let mut cases = case::cases(include_str!("fixtures/messages.json"), 108);
    for case in &mut cases {
        case.lines
            .retain(|line| !line.starts_with("Host:") && !line.starts_with("Connection:"));
    }
    cases
}

impl Case {
    fn send(&self, gateway: &Gateway) -> Response {
        Carrier::Http11.ask(gateway, &self.request())
    }
}

fn named(name: &str) -> Case {
    let found = cases().into_iter().find(|case| case.name == name);
    found.unwrap_or_else(|| panic!("{name} was lost"))
}

fn setting(accepts: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let routes = forms::routes(&[upstream.address]);
    let routes = routes.replacen("kind = \"widget\"", &format!("kind = \"widget\"\n{accepts}"), 1);
    let gateway = Gateway::on_every_carrier(routes);
    (upstream, gateway)
}

/// Runs every case over every carrier.
fn run(what: &str, accepts: &str, key: &str) -> [usize; 5] {
    let outcome = |case: &Case| case.expect[key].as_str().unwrap().to_owned();
    table(
        what,
        &cases(),
        |case| &case.name,
        |_, _| true,
        |_| setting(accepts),
        |carrier, (upstream, gateway), case| {
            let response = carrier.ask(gateway, &case.request());
            let (name, expected) = (&case.name, outcome(case));
            if expected == "passed" || KINDS.contains(&expected.as_str()) {
                assert_eq!(response.status, 200, "{name}: {}", shown(&response.body));
                is_told(case, &expected, &upstream.take_one(), name);
            } else {
                is_refused(&expected, &response, name);
                upstream.expect_untouched();
            }
        },
    )
}

fn is_told(case: &Case, kind: &str, received: &Received, name: &str) {
    let header = |name: &str| received.header(&format!("X-Bitrix24-{name}"));
    assert_eq!(shown(&received.target()), shown(case.target.as_bytes()), "{name}");
    assert_eq!(shown(&received.body), shown(case.body.as_bytes()), "{name}");
    let canonical = &case.expect["canonical"];
    let text = |key: &str| canonical[key].as_str().map(str::to_owned);
    let message = (KINDS[..3].contains(&kind)).then(|| kind.to_owned());
    assert_eq!(header("Message"), message, "{name}");
    assert_eq!(header("Event"), text("event"), "{name}");
    assert_eq!(header("Domain"), text("domain"), "{name}");
    assert_eq!(header("Member-Id"), text("member_id"), "{name}");
    let portal = (matches!(kind, "event" | "robot")).then(|| {
        let scheme = text("scheme").unwrap_or("https".to_owned());
        format!("{scheme}://{}", text("domain").unwrap())
    });
    if kind != "placement" {
        assert_eq!(header("Portal"), portal, "{name}");
        for of_calls in ["Protocol", "Lang", "Locale", "Placement", "App-Sid", "Status"] {
            assert_eq!(header(of_calls), None, "{name}");
        }
        assert_eq!(header("Placement-Options-State"), None, "{name}");
    }
    if let Some(cookie) = text("cookie") {
        assert_eq!(received.header("Cookie"), Some(cookie), "{name}");
    }
    if case.method == "POST" {
        let json = case
            .lines
            .iter()
            .any(|line| line.starts_with("Content-Type:") && line.contains("json"));
        let media_type = if json {
            "application/json"
        } else {
            "application/x-www-form-urlencoded"
        };
        assert_eq!(
            received.header("Content-Type").as_deref(),
            Some(media_type),
            "{name}"
        );
    }
}

fn is_refused(code: &str, response: &Response, name: &str) {
    let status = match code {
        "ambiguous_field" => 400,
        "unsupported_media_type" => 415,
        "unexpected_message" | "missing_field" | "invalid_field" => 422,
        other => panic!("{other}"),
    };
    assert_eq!(response.status, status, "{name}: {}", shown(&response.body));
    let problem = response.json();
    assert_eq!(problem["code"], code, "{name}: {problem}");
    let has_errors = problem["errors"]
        .as_array()
        .is_some_and(|errors| !errors.is_empty());
    assert_eq!(
        has_errors,
        status != 415 && code != "unexpected_message",
        "{name}: {problem}"
    );
}

#[test]
fn a_route_that_takes_placements_says_of_everything_else_what_it_is() {
    assert_eq!(run("default", "", "accepts_default"), [108; 5]);
}

#[test]
fn a_route_that_takes_everything_tells_one_from_the_other() {
    let accepts = "accepts = [\"placement\", \"event\", \"robot\", \"own\"]";
    assert_eq!(run("everything", accepts, "accepts_all"), [108; 5]);
}

#[test]
fn what_is_not_taken_is_named_with_the_key_that_takes_it() {
    let (upstream, gateway) = setting("");
    for (case, kind) in [("event-crm", "event"), ("robot", "robot")] {
        let case = named(case);
        for _ in 0..3 {
            let problem = case.send(&gateway).json();
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains(&format!("of the kind {kind}")) && detail.contains("accepts"),
                "{detail}"
            );
        }
    }
    upstream.expect_untouched();
    gateway.request_lines(6);
    // Once for each kind, however many come.
    let notices: Vec<_> = gateway
        .logs()
        .into_iter()
        .filter(|line| line["msg"] == "unexpected_message")
        .map(|line| {
            assert_eq!(
                (&line["level"], &line["route"]),
                (&"warn".into(), &"widget".into())
            );
            line["message"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(notices, ["event", "robot"]);
    let metrics = gateway.metric_reaches(
        "widget_gateway_messages_total",
        &[("route", "widget"), ("message", "robot")],
        3.0,
    );
    let count =
        |name: &str, labels: &[(&str, &str)]| metrics.value(&format!("widget_gateway_{name}"), labels);
    for (message, messages) in [("event", 3.0), ("placement", 0.0), ("own", 0.0)] {
        assert_eq!(
            count("messages_total", &[("route", "widget"), ("message", message)]),
            messages
        );
    }
    let refused = [
        ("route", "widget"),
        ("reason", "unexpected_message"),
        ("mode", "enforce"),
    ];
    assert_eq!(count("rejections_total", &refused), 6.0);
    // It is nobody's missing field.
    let missing = [("field", "DOMAIN"), ("code", "missing")];
    assert_eq!(count("field_faults_total", &missing), 0.0);
}

#[test]
fn observing_lets_an_event_through_and_says_what_it_is() {
    let (upstream, gateway) = setting("mode = \"observe\"");
    let event = named("event-crm");
    assert_eq!(event.send(&gateway).status, 200);
    let received = upstream.take_one();
    assert_eq!(received.header("X-Bitrix24-Message").as_deref(), Some("event"));
    assert_eq!(
        received.header("X-Bitrix24-Domain").as_deref(),
        Some("portal.example")
    );
    let line = &gateway.request_lines(1)[0];
    assert_eq!(line["would_reject"], serde_json::json!(["unexpected_message"]));
    assert_eq!(line["message"], "event");
}

#[test]
fn events_and_robots_are_outside_of_the_members_limit_and_the_pages_are_not() {
    let upstream = Upstream::start();
    let routes = forms::routes(&[upstream.address]).replacen(
        "kind = \"widget\"",
        "kind = \"widget\"\naccepts = [\"placement\", \"event\", \"robot\", \"own\"]",
        1,
    );
    let gateway = Gateway::start(format!("{routes}[limits.member]\nrate = \"2/h\"\n"));
    let status = |name: &str| named(name).send(&gateway).status;
    assert_eq!(
        ["placement-beside", "own-member", "own-member", "placement-beside"].map(status),
        [200, 200, 429, 429]
    );
    assert_eq!(
        [
            "event-crm",
            "event-crm",
            "robot",
            "own-xhr",
            "own-keeps-the-query"
        ]
        .map(status),
        [200; 5]
    );
}

#[test]
fn no_token_of_an_event_shows_in_log_metric_or_answer() {
    let (_upstream, gateway) = setting("accepts = [\"event\", \"robot\"]");
    let secrets = [
        "s6p6eclrvim6da22ft9ch94ekreb52lv",
        "4s386p3q0tr8dy89xvmt96234v3dljg8",
        "51856fefc120afa4b628cc82d3935cce",
        "65a1%7CA12%7Chash",
        "65a1|A12|hash",
    ];
    let mut told = Vec::new();
    let mut count = 0;
    for case in cases() {
        let response = case.send(&gateway);
        count += 1;
        if response.status != 200 {
            told.push(String::from_utf8_lossy(&response.body).into_owned());
        }
    }
    gateway.request_lines(count);
    told.push(gateway.metrics().text);
    told.extend(gateway.raw_logs());
    for secret in secrets {
        assert!(!told.iter().any(|text| text.contains(secret)), "a token is told");
    }
}

#[test]
fn the_handlers_own_query_is_named_where_it_is_the_cause() {
    let (_upstream, gateway) = setting("");
    let detail = |target: &str| {
        let response = gateway.ask(forms::post(target, &[], forms::BODY));
        assert_eq!(response.status, 400);
        response.json()["detail"].as_str().unwrap().to_owned()
    };
    let own = "of these the query has LANG: if the handler's own address carries it";
    let said = detail(&format!("/app?LANG=de&{}", forms::QUERY));
    assert!(
        said.starts_with("LANG is given twice") && said.contains(own),
        "{said}"
    );
    let said = detail(&format!("/app?status=new&{}", forms::QUERY));
    assert!(
        said.contains("status differs between query and body; of these the query has status"),
        "{said}"
    );
}

#[test]
fn a_route_may_need_more_and_in_its_place() {
    let (upstream, gateway) = setting(
        "accepts = [\"placement\", \"event\"]\nrequire = [\"APPLICATION_TOKEN\", \"auth[application_token]\"]\n\
         places = \"strict\"",
    );
    let told = |target: &str, body: &str| {
        let response = gateway.ask(forms::post(target, &[], body));
        match response.status {
            200 => "forwarded".to_owned(),
            _ => {
                let problem = response.json();
                format!("{}: {}", problem["code"].as_str().unwrap(), problem["errors"])
            }
        }
    };
    let call = format!("/app?{}", forms::QUERY);
    assert_eq!(told(&call, forms::BODY), "forwarded");
    assert_eq!(
        told(&call, &forms::BODY.replace("APPLICATION_TOKEN", "x")),
        "missing_field: [{\"code\":\"missing\",\"field\":\"APPLICATION_TOKEN\"}]"
    );
    assert_eq!(
        told(&format!("{call}&AUTH_ID={}", forms::SECRETS[0]), forms::BODY),
        "ambiguous_field: [{\"code\":\"conflict\",\"field\":\"AUTH_ID\"}]",
        "no token stands in the query"
    );
    let event = "event=ONAPPINSTALL&auth[domain]=p.example";
    assert_eq!(
        told("/app", event),
        "missing_field: [{\"code\":\"missing\",\"field\":\"auth[token]\"}]"
    );
    assert_eq!(
        told("/app", &format!("{event}&auth[application_token]=x")),
        "forwarded"
    );
    assert_eq!(upstream.take().len(), 2);
}

#[test]
fn tokens_may_go_to_a_server_that_the_operator_lists() {
    let upstream = Upstream::start();
    let status = |listed: &str, endpoint: &str| {
        let routes = forms::routes(&[upstream.address]);
        let gateway = Gateway::start(format!("{routes}[widget]\nserver_endpoints = [{listed}]\n"));
        let body = format!("{}&SERVER_ENDPOINT={endpoint}", forms::BODY);
        gateway.ask(forms::post(forms::TARGET, &[], body)).status
    };
    assert_eq!(
        status("\"oauth.corp.example\"", "https://OAuth.corp.example/rest/"),
        200
    );
    assert_eq!(
        status("\"oauth.corp.example\"", "https://oauth.bitrix.info/rest/"),
        422
    );
    assert_eq!(status("\"*\"", "https://oauth.bitrix.info/rest/"), 200);
    assert_eq!(status("\"*\"", "http://oauth.bitrix.info/rest/"), 422);
}
