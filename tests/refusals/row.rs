//! One refusal as a row, and everything that the contract promises of each.

use crate::common::carrier::table;
use crate::common::forms::{self, BODY, QUERY, SECRETS, TARGET, request};
use crate::common::{Body, Carrier, Gateway, Metrics, Request, Response, Upstream, shown};
use serde_json::{Value, json};

/// What becomes of an HTTP/1.1 connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Connection {
    /// It says nothing else, and the next request is answered.
    Kept,
    /// It says so.
    Closed,
    /// Little of the body is left: it may go on once that came, and is closed where it does not come.
    Waits,
}

/// One refusal.
pub struct Row {
    what: &'static str,
    send: Sent,
    status: u16,
    code: &'static str,
    errors: &'static [(&'static str, &'static str)],
    headers: &'static [(&'static str, &'static str)],
    route: &'static str,
    connection: Connection,
}

/// What a row sends.
pub enum Sent {
    /// On every carrier that has words for it.
    Request(Request),
    /// As it stands, which only HTTP/1.1 can say.
    Bytes(Vec<u8>),
}

impl From<Request> for Sent {
    fn from(request: Request) -> Sent {
        Sent::Request(request)
    }
}

impl From<Vec<u8>> for Sent {
    fn from(bytes: Vec<u8>) -> Sent {
        Sent::Bytes(bytes)
    }
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
        Row {
            connection: Connection::Closed,
            ..self
        }
    }

    pub fn waits(self) -> Row {
        Row {
            connection: Connection::Waits,
            ..self
        }
    }

    fn problem_errors(&self) -> Value {
        self.errors
            .iter()
            .map(|(field, code)| json!({"field": field, "code": code}))
            .collect()
    }

    fn is_for(&self, carrier: Carrier) -> bool {
        match &self.send {
            Sent::Request(request) => carrier.can_say(request),
            Sent::Bytes(_) => matches!(carrier, Carrier::Http11 | Carrier::Tls11),
        }
    }

    /// Whether the connection goes on: with HTTP/1.0, where nobody asked for it, it never does, and with
    /// HTTP/2 a refusal is the stream's own business.
    fn is_kept_on(&self, carrier: Carrier) -> bool {
        match carrier {
            Carrier::Http11 | Carrier::Tls11 => self.connection == Connection::Kept,
            Carrier::Http10 => false,
            Carrier::H2c | Carrier::H2Tls => true,
        }
    }

    /// Sends it and checks everything that the contract promises of it.
    pub fn check(&self, carrier: Carrier, gateway: &Gateway, upstream: &Upstream) -> Response {
        let what = &format!("{carrier:?}: {}", self.what);
        let kept = self.is_kept_on(carrier);
        let before = gateway.metrics();
        let mut client = carrier.open(gateway);
        let response = match &self.send {
            Sent::Request(request) => client.ask(request),
            Sent::Bytes(bytes) => {
                let conn = client
                    .http1()
                    .unwrap_or_else(|| panic!("{what}: only HTTP/1 can say this"));
                conn.send_as_far_as_taken(bytes);
                conn.response()
            }
        };
        self.check_answer(what, &response);
        let said = response.header("Connection");
        match carrier {
            Carrier::Http11 | Carrier::Tls11 if self.connection == Connection::Waits => {}
            Carrier::Http11 | Carrier::Tls11 => {
                assert_eq!(said == Some("close"), !kept, "{what}: Connection: {said:?}");
            }
            Carrier::Http10 => assert_ne!(said, Some("keep-alive"), "{what}"),
            Carrier::H2c | Carrier::H2Tls => assert_eq!(said, None, "{what}"),
        }
        upstream.expect_untouched();
        if kept {
            let next = client.ask(&Request::get("/kept/alive"));
            assert_eq!(next.status, 404, "{what}: the connection is of no more use");
        } else if let Some(conn) = client.http1() {
            conn.expect_closed();
        }
        self.check_counted(what, kept, gateway, &before);
        self.check_logged(what, gateway, &response);
        response
    }

    fn check_answer(&self, what: &str, response: &Response) {
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
    fn check_counted(&self, what: &str, kept: bool, gateway: &Gateway, before: &Metrics) {
        let others = if kept { 1.0 } else { 0.0 };
        let requests = "widget_gateway_requests_total";
        let rejections = "widget_gateway_rejections_total";
        let faults = "widget_gateway_field_faults_total";
        // A scrape may come in the middle of counting: wait until every family has moved.
        let expected = [
            (requests, 1.0 + others),
            (rejections, 1.0 + others),
            (faults, self.errors.len() as f64),
        ];
        let after = gateway.metrics_when(what, |now| {
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
        let also = |mine: bool| 1.0 + if mine && kept { 1.0 } else { 0.0 };
        let own = [("route", self.route), ("outcome", outcome)];
        assert_eq!(
            rose(requests, &own),
            also(self.route == "none" && outcome == "rejected"),
            "{what}"
        );
        assert_eq!(rose(requests, &[]), 1.0 + others, "{what}");
        let own = [("route", self.route), ("reason", self.code), ("mode", "enforce")];
        assert_eq!(rose(rejections, &own), also(self.code == "not_found"), "{what}");
        assert_eq!(rose(rejections, &[]), 1.0 + others, "{what}");
        for (field, code) in self.errors {
            assert_eq!(
                rose(faults, &[("field", field), ("code", code)]),
                1.0,
                "{what}: {field} {code}"
            );
        }
        assert_eq!(rose(faults, &[]), self.errors.len() as f64, "{what}");
    }

    fn check_logged(&self, what: &str, gateway: &Gateway, response: &Response) {
        let id = response.json()["request_id"].clone();
        let line = gateway.wait_log(what, |line| line["request_id"] == id);
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
            assert_eq!(line[key], value, "{what}: {key} in {line}");
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
            _ => assert_eq!(line["errors"], self.problem_errors(), "{what}"),
        }
    }
}

pub fn row(what: &'static str, send: impl Into<Sent>, status: u16, code: &'static str) -> Row {
    Row {
        what,
        send: send.into(),
        status,
        code,
        errors: &[],
        headers: &[],
        route: "widget",
        connection: Connection::Kept,
    }
}

/// Routes below `/app`, so that there are paths without a route, too.
pub fn routes(upstream: &Upstream) -> String {
    forms::routes(&[upstream.address]).replace("path = \"/\"", "path = \"/app\"")
}

/// Every row on every carrier that has words for it. Returns how many ran on each.
pub fn check_on_every_carrier(what: &str, more: &str, rows: &[Row]) -> [usize; 5] {
    let setting = |_| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(format!("{}{more}", routes(&upstream)));
        (gateway, upstream)
    };
    table(
        what,
        rows,
        |row| row.what,
        |carrier, row| row.is_for(carrier),
        setting,
        |carrier, (gateway, upstream), row| {
            row.check(carrier, gateway, upstream);
            assert_eq!(upstream.connections(), 0, "{}", row.what);
        },
    )
}

pub fn form(query: &str, body: &str) -> Request {
    Request::form(&format!("/app?{query}"), body)
}

pub fn also_in_body(pairs: &str) -> Request {
    form(QUERY, &format!("{BODY}&{pairs}"))
}

/// A widget call whose chunked body begins with these bytes.
pub fn chunked(body: &str) -> Vec<u8> {
    request("POST", TARGET, &[forms::TYPE, "Transfer-Encoding: chunked"], body)
}

/// The genuine call with these lines in the place of its type's.
pub fn typed(lines: &[&str]) -> Request {
    Request::new("POST", TARGET)
        .lines(lines.iter().copied())
        .body(Body::Length(BODY.into()))
}

/// The head of a call that announces so much, and the beginning of its body.
pub fn part(length: usize, sent: &str) -> Request {
    let sent = sent.into();
    Request::call().body(Body::Part { length, sent })
}
