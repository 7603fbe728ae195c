//! One refusal as a row, and everything that the contract promises of each.

use crate::common::forms::{self, BODY, QUERY, SECRETS, TARGET, post, request};
use crate::common::{Gateway, Metrics, Response, Upstream, shown};
use serde_json::{Value, json};

pub const KEPT: bool = true;

pub const CLOSED: bool = false;

/// One refusal.
pub struct Row {
    what: &'static str,
    send: Vec<u8>,
    status: u16,
    code: &'static str,
    errors: &'static [(&'static str, &'static str)],
    headers: &'static [(&'static str, &'static str)],
    route: &'static str,
    kept: bool,
}

impl Row {
    pub fn errors(self, errors: &'static [(&'static str, &'static str)]) -> Row {
        Row { errors, ..self }
    }

    pub fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Row {
        Row { headers, ..self }
    }

    pub fn on(self, route: &'static str) -> Row {
        Row { route, ..self }
    }

    pub fn closed(self) -> Row {
        Row { kept: CLOSED, ..self }
    }

    fn problem_errors(&self) -> Value {
        self.errors
            .iter()
            .map(|(field, code)| json!({"field": field, "code": code}))
            .collect()
    }

    /// Sends it and checks everything that the contract promises of it.
    pub fn check(&self, gateway: &Gateway, upstream: &Upstream) -> Response {
        println!("{}", self.what);
        let before = gateway.metrics();
        let mut conn = gateway.connect();
        conn.send(&self.send);
        let response = conn.response();
        self.check_answer(&response);
        upstream.expect_untouched();
        if self.kept {
            let next = conn.roundtrip(request("GET", "/kept/alive", &[], ""));
            assert_eq!(
                next.status, 404,
                "{}: the connection is of no more use",
                self.what
            );
        } else {
            conn.expect_closed();
        }
        self.check_counted(gateway, &before);
        self.check_logged(gateway, &response);
        response
    }

    fn check_answer(&self, response: &Response) {
        let what = self.what;
        assert_eq!(response.status, self.status, "{what}: {}", shown(&response.body));
        assert_eq!(
            response.header("Content-Type"),
            Some("application/problem+json"),
            "{what}"
        );
        let problem = response.json();
        assert_eq!(problem["code"], self.code, "{what}: {problem}");
        assert_eq!(
            problem["type"],
            format!("urn:widget-gateway:problem:{}", self.code),
            "{what}"
        );
        assert_eq!(problem["status"], self.status, "{what}");
        for text in ["title", "detail", "request_id"] {
            assert!(
                problem[text].as_str().is_some_and(|text| !text.is_empty()),
                "{what}: {problem}"
            );
        }
        match self.errors {
            [] => assert!(problem.get("errors").is_none(), "{what}: {problem}"),
            _ => assert_eq!(problem["errors"], self.problem_errors(), "{what}"),
        }
        for (name, value) in self.headers {
            assert_eq!(response.header(name), Some(*value), "{what}: {name}");
        }
        for secret in SECRETS {
            assert!(!response.text().contains(secret), "{what}: a token is echoed");
        }
    }

    /// One request more, one refusal more, one fault more per error, and not one anywhere else.
    fn check_counted(&self, gateway: &Gateway, before: &Metrics) {
        let others = if self.kept { 1.0 } else { 0.0 };
        let requests = "widget_gateway_requests_total";
        let rejections = "widget_gateway_rejections_total";
        let faults = "widget_gateway_field_faults_total";
        // A scrape may come in the middle of counting: wait until every family has moved.
        let expected = [
            (requests, 1.0 + others),
            (rejections, 1.0 + others),
            (faults, self.errors.len() as f64),
        ];
        let after = gateway.metrics_when(self.what, |now| {
            expected
                .iter()
                .all(|(name, by)| now.value(name, &[]) >= before.value(name, &[]) + by)
        });
        let rose =
            |name: &str, labels: &[(&str, &str)]| after.value(name, labels) - before.value(name, labels);
        let outcome = if self.code == "rate_limited" {
            "limited"
        } else {
            "rejected"
        };
        // The request that shows that the connection lives is a 404 of no route.
        let also = |mine: bool| 1.0 + if mine && self.kept { 1.0 } else { 0.0 };
        let own = [("route", self.route), ("outcome", outcome)];
        assert_eq!(
            rose(requests, &own),
            also(self.route == "none" && outcome == "rejected"),
            "{}",
            self.what
        );
        assert_eq!(rose(requests, &[]), 1.0 + others, "{}", self.what);
        let own = [("route", self.route), ("reason", self.code), ("mode", "enforce")];
        assert_eq!(
            rose(rejections, &own),
            also(self.code == "not_found"),
            "{}",
            self.what
        );
        assert_eq!(rose(rejections, &[]), 1.0 + others, "{}", self.what);
        for (field, code) in self.errors {
            assert_eq!(
                rose(faults, &[("field", field), ("code", code)]),
                1.0,
                "{}: {field} {code}",
                self.what
            );
        }
        assert_eq!(rose(faults, &[]), self.errors.len() as f64, "{}", self.what);
    }

    fn check_logged(&self, gateway: &Gateway, response: &Response) {
        let id = response.json()["request_id"].clone();
        let line = gateway.wait_log(self.what, |line| line["request_id"] == id);
        let outcome = if self.code == "rate_limited" {
            "limited"
        } else {
            "rejected"
        };
        for (key, value) in [
            ("route", json!(self.route)),
            ("outcome", json!(outcome)),
            ("reason", json!(self.code)),
            ("status", json!(self.status)),
            ("client", json!("127.0.0.1")),
        ] {
            assert_eq!(line[key], value, "{}: {key} in {line}", self.what);
        }
        assert!(
            line["ts"]
                .as_str()
                .is_some_and(|ts| ts.len() == 24 && ts.ends_with('Z')),
            "{line}"
        );
        assert!(
            line["level"].is_string() && line["msg"].is_string() && line["duration_ms"].is_number(),
            "{line}"
        );
        match self.errors {
            [] => assert!(line.get("errors").is_none(), "{line}"),
            _ => assert_eq!(line["errors"], self.problem_errors(), "{}", self.what),
        }
    }
}

pub fn row(what: &'static str, send: Vec<u8>, status: u16, code: &'static str) -> Row {
    Row {
        what,
        send,
        status,
        code,
        errors: &[],
        headers: &[],
        route: "widget",
        kept: KEPT,
    }
}

/// Routes below `/app`, so that there are paths without a route, too.
pub fn routes(upstream: &Upstream) -> String {
    forms::routes(&[upstream.address]).replace("path = \"/\"", "path = \"/app\"")
}

pub fn form(query: &str, body: &str) -> Vec<u8> {
    post(&format!("/app?{query}"), &[], body)
}

pub fn also_in_body(pairs: &str) -> Vec<u8> {
    form(QUERY, &format!("{BODY}&{pairs}"))
}

/// A widget call whose chunked body begins with these bytes.
pub fn chunked(body: &str) -> Vec<u8> {
    request(
        "POST",
        TARGET,
        &[
            "Content-Type: application/x-www-form-urlencoded",
            "Transfer-Encoding: chunked",
        ],
        body,
    )
}

pub fn typed(lines: &[&str]) -> Vec<u8> {
    let length = format!("Content-Length: {}", BODY.len());
    let mut headers = lines.to_vec();
    headers.push(&length);
    request("POST", TARGET, &headers, BODY)
}
