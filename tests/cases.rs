//! Every case of `fixtures/widgets.json` through a real gateway into a recording upstream.

use crate::common::carrier::table;
use crate::common::case::{self, Case};
use crate::common::forms::{self, KNOWN};
use crate::common::{Carrier, Gateway, Received, Upstream, shown};
use serde_json::{Value, json};

fn cases() -> Vec<Case> {
    case::cases(include_str!("fixtures/widgets.json"), 49)
}

impl Case {
    fn is(&self, outcome: &str) -> bool {
        self.expect["outcome"] == outcome
    }

    /// How often the name stands, undecoded, in the query and in the body.
    fn count(&self, name: &str) -> (usize, usize) {
        let begins = |part: &str| {
            part.split('&')
                .filter(|pair| pair.split('=').next() == Some(name))
                .count()
        };
        (
            self.target.split_once('?').map_or(0, |(_, query)| begins(query)),
            begins(&self.body),
        )
    }

    fn names(&self, key: &str) -> Vec<&str> {
        self.expect[key]
            .as_array()
            .map(|a| a.iter().map(|v| v.as_str().unwrap()).collect())
            .unwrap_or_default()
    }

    /// What the problem document has to list, exactly, in the order of the contract.
    fn errors(&self, missing: &str) -> Vec<Value> {
        let mut errors = Vec::new();
        for name in KNOWN {
            let (query, body) = self.count(name);
            if self.names(missing).contains(&name) {
                errors.push(
                    json!({"field": name, "code": if query + body == 0 { "missing" } else { "blank" }}),
                );
            }
            if self.names("invalid").contains(&name) {
                errors.push(json!({"field": name, "code": "invalid"}));
            }
            if self.names("conflict").contains(&name) {
                let code = if query > 1 || body > 1 {
                    "duplicate"
                } else {
                    "conflict"
                };
                errors.push(json!({"field": name, "code": code}));
            }
        }
        errors
    }
}

fn setting() -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(forms::routes(&[upstream.address]));
    (upstream, gateway)
}

fn on_every_carrier(
    what: &str,
    cases: &[Case],
    check: impl Fn(Carrier, &(Upstream, Gateway), &Case) + Sync,
) -> [usize; 5] {
    table(what, cases, |case| &case.name, |_, _| true, |_| setting(), check)
}

#[test]
fn accepted_cases_arrive_byte_for_byte_with_canonical_headers() {
    let accepted: Vec<_> = cases().into_iter().filter(|case| case.is("accept")).collect();
    let ran = on_every_carrier(
        "accepted cases",
        &accepted,
        |carrier, (upstream, gateway), case| {
            let name = &case.name;
            let response = carrier.ask(gateway, &case.request());
            assert_eq!(response.status, 200, "{name}: {}", shown(&response.body));
            assert_eq!(response.text(), "handled\n", "{name}");
            let received = upstream.take_one();
            assert_eq!(received.method(), "POST", "{name}");
            assert_eq!(shown(&received.target()), shown(case.target.as_bytes()), "{name}");
            assert_eq!(shown(&received.body), shown(case.body.as_bytes()), "{name}");
            let host = received.header("Host");
            assert_eq!(host.as_deref(), Some("widgets.example"), "{name}");
            assert_canonical(case, &received);
        },
    );
    assert_eq!(ran, [23; 5]);
}

fn assert_canonical(case: &Case, received: &Received) {
    let name = &case.name;
    let canonical = &case.expect["canonical"];
    let text = |key: &str| canonical[key].as_str().map(str::to_owned);
    let header = |name: &str| received.header(&format!("X-Bitrix24-{name}"));
    assert_eq!(header("Domain"), text("domain"), "{name}");
    assert_eq!(header("Protocol"), text("scheme"), "{name}");
    let portal = format!(
        "{}://{}",
        canonical["scheme"].as_str().unwrap(),
        canonical["domain"].as_str().unwrap()
    );
    assert_eq!(header("Portal"), Some(portal), "{name}");
    assert_eq!(header("Lang"), text("lang"), "{name}");
    assert!(header("Locale").is_some(), "{name}");
    assert_eq!(header("Member-Id"), text("member_id"), "{name}");
    assert_eq!(header("Placement"), text("placement"), "{name}");
    assert_eq!(
        header("App-Sid"),
        text("app_sid").filter(|sid| !sid.is_empty()),
        "{name}"
    );
    assert_eq!(header("Status"), text("status"), "{name}");
    let options = &canonical["placement_options"];
    let state = match (case.expect["placement_options_state"].as_str(), options) {
        (Some(state), _) => state,
        (None, Value::Object(_)) => "object",
        (None, Value::Array(_)) => "array",
        (None, _) => "absent",
    };
    assert_eq!(
        header("Placement-Options-State").as_deref(),
        Some(state),
        "{name}"
    );
    match header("Placement-Options") {
        Some(json) => {
            assert!(json.bytes().all(|b| (b' '..=b'~').contains(&b)), "{name}: {json}");
            assert_eq!(&serde_json::from_str::<Value>(&json).unwrap(), options, "{name}");
        }
        None => assert!(!matches!(state, "object" | "array"), "{name}"),
    }
}

#[test]
fn rejected_cases_name_exactly_their_faults_and_reach_nobody() {
    let rejected: Vec<_> = cases().into_iter().filter(|case| case.is("reject")).collect();
    let ran = on_every_carrier(
        "rejected cases",
        &rejected,
        |carrier, (upstream, gateway), case| {
            let name = &case.name;
            let response = carrier.ask(gateway, &case.request());
            let errors = case.errors("missing");
            let (status, code) = match errors[0]["code"].as_str().unwrap() {
                "duplicate" | "conflict" => (400, "ambiguous_field"),
                "missing" | "blank" => (422, "missing_field"),
                _ => (422, "invalid_field"),
            };
            assert_eq!(response.status, status, "{name}: {}", shown(&response.body));
            let problem = response.json();
            assert_eq!(problem["code"], code, "{name}");
            assert_eq!(problem["errors"], Value::from(errors), "{name}");
            assert_eq!(
                upstream.connections(),
                0,
                "a refused call costs no upstream connection"
            );
            upstream.expect_untouched();
        },
    );
    assert_eq!(ran, [16; 5]);
}

#[test]
fn calls_that_are_no_placement_are_refused_by_post_and_passed_by_get() {
    let others: Vec<_> = cases()
        .into_iter()
        .filter(|case| case.is("not_a_placement_call"))
        .collect();
    let what = "calls that are no placement";
    let ran = on_every_carrier(what, &others, |carrier, (upstream, gateway), case| {
        let name = &case.name;
        let response = carrier.ask(gateway, &case.request());
        if case.method == "GET" {
            assert_eq!(response.status, 200, "{name}");
            let received = upstream.take_one();
            assert_eq!(shown(&received.target()), shown(case.target.as_bytes()), "{name}");
            let ours = received
                .headers()
                .into_iter()
                .filter(|(name, _)| name.to_lowercase().starts_with("x-bitrix24"));
            assert_eq!(ours.count(), 0, "{name}: a pass route establishes nothing");
            return;
        }
        assert_eq!(response.status, 422, "{name}: {}", shown(&response.body));
        let problem = response.json();
        upstream.expect_untouched();
        // What says whose it is under `auth` is told for what it is.
        if case.body.contains("auth%5B") {
            assert_eq!(problem["code"], "unexpected_message", "{name}");
            return;
        }
        assert_eq!(problem["code"], "missing_field", "{name}");
        for error in case.errors("missing_if_judged_as_placement") {
            assert!(
                problem["errors"].as_array().unwrap().contains(&error),
                "{name}: {error} in {problem}"
            );
        }
        upstream.expect_untouched();
    });
    assert_eq!(ran, [9; 5]);
}

#[test]
fn a_multipart_form_is_415() {
    let (upstream, gateway) = setting();
    let case = cases()
        .into_iter()
        .find(|case| case.is("accept_if_supported_else_415"))
        .unwrap();
    for carrier in Carrier::ALL {
        let response = carrier.ask(&gateway, &case.request());
        assert_eq!(
            (response.status, &response.json()["code"]),
            (415, &json!("unsupported_media_type")),
            "{carrier:?}"
        );
    }
    upstream.expect_untouched();
}

#[test]
fn no_token_shows_in_log_metric_or_answer() {
    let (_upstream, gateway) = setting();
    let mut answers = Vec::new();
    let mut secrets = std::collections::BTreeSet::new();
    let mut count = 0.0;
    for case in cases() {
        let html = case.request().line("Accept: text/html");
        for (carrier, request) in Carrier::ALL
            .into_iter()
            .flat_map(|carrier| [(carrier, case.request()), (carrier, html.clone())])
        {
            let response = carrier.ask(&gateway, &request);
            count += 1.0;
            if response.status != 200 {
                answers.push(String::from_utf8_lossy(&response.body).into_owned());
            }
        }
        for pair in case.body.split('&') {
            if let Some(("AUTH_ID" | "REFRESH_ID" | "APPLICATION_TOKEN", value)) = pair.split_once('=') {
                secrets.insert(value.to_owned());
            }
        }
    }
    secrets.remove("");
    assert!(secrets.len() >= 5, "{secrets:?}");
    // Metrics and log lines are written at the same moment; all of them are there now.
    let metrics = gateway.metric_reaches("widget_gateway_requests_total", &[], count);
    gateway.request_lines(count as usize);
    let mut told = answers;
    told.push(metrics.text);
    told.extend(gateway.raw_logs());
    for secret in &secrets {
        assert!(
            !told.iter().any(|text| text.contains(secret.as_str())),
            "a token is told"
        );
    }
}
