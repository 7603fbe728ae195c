//! Every refusal of the contract's section 4: what the client gets, what is counted and logged, that
//! nothing reached the upstream, and what becomes of the connection.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::forms::{self, BODY, QUERY, SECRETS, TARGET, post, request};
use common::{Conn, Gateway, Metrics, Response, Setup, Upstream, shown};
use serde_json::{Value, json};

const KEPT: bool = true;
const CLOSED: bool = false;

/// One refusal.
struct Row {
    what: &'static str,
    send: Vec<u8>,
    status: u16,
    code: &'static str,
    errors: &'static [(&'static str, &'static str)],
    headers: &'static [(&'static str, &'static str)],
    route: &'static str,
    kept: bool,
}

fn row(what: &'static str, send: Vec<u8>, status: u16, code: &'static str) -> Row {
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

impl Row {
    fn errors(self, errors: &'static [(&'static str, &'static str)]) -> Row {
        Row { errors, ..self }
    }

    fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Row {
        Row { headers, ..self }
    }

    fn on(self, route: &'static str) -> Row {
        Row { route, ..self }
    }

    fn closed(self) -> Row {
        Row { kept: CLOSED, ..self }
    }

    fn problem_errors(&self) -> Value {
        self.errors
            .iter()
            .map(|(field, code)| json!({"field": field, "code": code}))
            .collect()
    }

    /// Sends it and checks everything that the contract promises of it.
    fn check(&self, gateway: &Gateway, upstream: &Upstream) -> Response {
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

/// Routes below `/app`, so that there are paths without a route, too.
fn routes(upstream: &Upstream) -> String {
    forms::routes(&[upstream.address]).replace("path = \"/\"", "path = \"/app\"")
}

fn form(query: &str, body: &str) -> Vec<u8> {
    post(&format!("/app?{query}"), &[], body)
}

fn also_in_body(pairs: &str) -> Vec<u8> {
    form(QUERY, &format!("{BODY}&{pairs}"))
}

#[test]
fn faults_of_the_form() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let many = |count: usize| vec!["x=1"; count].join("&");
    let deep = format!("member_id{}=x", "[a]".repeat(65));
    let short = "member_id=3f7a90c1d2e45b68a0719cbe8d243f56&PLACEMENT=DEFAULT";
    for row in [
        row("a broken chunk", chunked("z\r\n"), 400, "malformed_form").closed(),
        row(
            "too many parameters in the body",
            also_in_body(&many(1000)),
            400,
            "malformed_form",
        ),
        row(
            "too many parameters in the query",
            form(&format!("{QUERY}&{}", many(1000)), BODY),
            400,
            "malformed_form",
        ),
        row(
            "twice in the body",
            also_in_body("member_id=b81c0d9e7f6a45321908fedcba765432"),
            400,
            "ambiguous_field",
        )
        .errors(&[("member_id", "duplicate")]),
        row(
            "twice in the query",
            form(&format!("{QUERY}&LANG=de"), BODY),
            400,
            "ambiguous_field",
        )
        .errors(&[("LANG", "duplicate")]),
        row(
            "query against body",
            also_in_body("DOMAIN=other.example"),
            400,
            "ambiguous_field",
        )
        .errors(&[("DOMAIN", "conflict")]),
        row(
            "a dot for the underscore",
            also_in_body("member.id=x"),
            400,
            "ambiguous_field",
        )
        .errors(&[("member_id", "mangled")]),
        row(
            "a mangled token",
            also_in_body("AUTH+ID=x"),
            400,
            "ambiguous_field",
        )
        .errors(&[("AUTH_ID", "mangled")]),
        row(
            "an array",
            also_in_body("PLACEMENT%5B%5D=x"),
            400,
            "ambiguous_field",
        )
        .errors(&[("PLACEMENT", "array")]),
        row(
            "a NUL in a name",
            also_in_body("member_id%00x=y"),
            400,
            "ambiguous_field",
        )
        .errors(&[("member_id", "truncated")]),
        row(
            "nesting that deletes",
            also_in_body(&deep),
            400,
            "ambiguous_field",
        )
        .errors(&[("member_id", "truncated")]),
        row(
            "a semicolon that may split",
            form(&format!("{QUERY}&x=1;LANG=de"), BODY),
            400,
            "ambiguous_field",
        )
        .errors(&[("LANG", "mangled")]),
        row(
            "two missing",
            form("PROTOCOL=1&LANG=en", "member_id=3f7a90c1d2e45b68a0719cbe8d243f56"),
            422,
            "missing_field",
        )
        .errors(&[("DOMAIN", "missing"), ("PLACEMENT", "missing")]),
        row(
            "one blank",
            form("DOMAIN=%20%09&PROTOCOL=1&LANG=en", short),
            422,
            "missing_field",
        )
        .errors(&[("DOMAIN", "blank")]),
        row("no form at all", form("", ""), 422, "missing_field").errors(&[
            ("DOMAIN", "missing"),
            ("PROTOCOL", "missing"),
            ("LANG", "missing"),
            ("member_id", "missing"),
            ("PLACEMENT", "missing"),
        ]),
        row("every field invalid", every_field_invalid(), 422, "invalid_field").errors(&[
            ("DOMAIN", "invalid"),
            ("PROTOCOL", "invalid"),
            ("LANG", "invalid"),
            ("APP_SID", "invalid"),
            ("AUTH_EXPIRES", "invalid"),
            ("member_id", "invalid"),
            ("status", "invalid"),
            ("PLACEMENT", "invalid"),
        ]),
        row(
            "ambiguous beats missing beats invalid",
            form("PROTOCOL=7&LANG=en&LANG=de", short),
            400,
            "ambiguous_field",
        )
        .errors(&[
            ("DOMAIN", "missing"),
            ("PROTOCOL", "invalid"),
            ("LANG", "duplicate"),
        ]),
        row(
            "missing beats invalid",
            form("PROTOCOL=7&LANG=en", short),
            422,
            "missing_field",
        )
        .errors(&[("DOMAIN", "missing"), ("PROTOCOL", "invalid")]),
        row(
            "a value that is no UTF-8",
            form("DOMAIN=a%ff.com&PROTOCOL=1&LANG=en", short),
            422,
            "invalid_field",
        )
        .errors(&[("DOMAIN", "invalid")]),
    ] {
        row.check(&gateway, &upstream);
    }
    assert_eq!(upstream.connections(), 0);
}

fn every_field_invalid() -> Vec<u8> {
    form(
        "DOMAIN=https://a.b/&PROTOCOL=2&LANG=1&APP_SID=a%20b",
        "AUTH_EXPIRES=soon&member_id=M&status=L1&PLACEMENT=<script>",
    )
}

/// A widget call whose chunked body begins with these bytes.
fn chunked(body: &str) -> Vec<u8> {
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

fn typed(lines: &[&str]) -> Vec<u8> {
    let length = format!("Content-Length: {}", BODY.len());
    let mut headers = lines.to_vec();
    headers.push(&length);
    request("POST", TARGET, &headers, BODY)
}

#[test]
fn faults_of_route_method_and_media_type() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
    for row in [
        row("no route", post("/other", &[], BODY), 404, "not_found").on("none"),
        row(
            "a path that only looks like the route's",
            post("/apple", &[], BODY),
            404,
            "not_found",
        )
        .on("none"),
        row(
            "another method",
            request("PUT", TARGET, &["Content-Length: 1"], "x"),
            405,
            "method_not_allowed",
        )
        .on("none")
        .headers(&[("Allow", "GET, HEAD, POST")]),
        row(
            "an unknown method",
            request("pOST", TARGET, &[], ""),
            405,
            "method_not_allowed",
        )
        .on("none")
        .headers(&[("Allow", "GET, HEAD, POST")]),
        row("no type", typed(&[]), 415, "unsupported_media_type"),
        row(
            "JSON",
            typed(&["Content-Type: application/json"]),
            415,
            "unsupported_media_type",
        ),
        row("two types", typed(&[FORM, FORM]), 415, "unsupported_media_type"),
        row(
            "a list of types",
            typed(&[&format!("{FORM}, text/plain")]),
            415,
            "unsupported_media_type",
        ),
        row(
            "another charset",
            typed(&[&format!("{FORM}; charset=latin1")]),
            415,
            "unsupported_media_type",
        ),
        row(
            "two parameters",
            typed(&[&format!("{FORM}; charset=utf-8; x=y")]),
            415,
            "unsupported_media_type",
        ),
        row(
            "a content coding",
            typed(&[FORM, "Content-Encoding: gzip"]),
            415,
            "unsupported_media_type",
        ),
        row(
            "an identity coding",
            typed(&[FORM, "Content-Encoding: identity"]),
            415,
            "unsupported_media_type",
        ),
    ] {
        row.check(&gateway, &upstream);
    }
}

#[test]
fn faults_of_size() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(format!(
        "{}[widget]\nbody_limit = \"128KiB\"\n",
        routes(&upstream)
    ));
    const TYPE: &str = "Content-Type: application/x-www-form-urlencoded";
    let announced = |size: usize| request("POST", TARGET, &[TYPE, &format!("Content-Length: {size}")], "");
    let long_chunk = format!("{:x}\r\n{}", 70_000, "x".repeat(70_000));
    for row in [
        // Only the head is sent: the answer can not depend on the body.
        row(
            "too large by its length alone",
            announced(128 * 1024 + 1),
            413,
            "body_too_large",
        )
        .closed(),
        row(
            "larger than any number",
            announced(i64::MAX as usize),
            413,
            "body_too_large",
        )
        .closed(),
        row(
            "too large, and nobody says 100",
            request(
                "POST",
                TARGET,
                &[TYPE, "Content-Length: 200000", "Expect: 100-continue"],
                "",
            ),
            413,
            "body_too_large",
        )
        .closed(),
        row(
            "chunks beyond what can be replayed",
            chunked(&long_chunk),
            411,
            "length_required",
        )
        .closed(),
        row(
            "a long request line",
            request("GET", &format!("/app?{}", "x".repeat(8192)), &[], ""),
            414,
            "uri_too_long",
        )
        .on("none")
        .closed(),
        row(
            "a long header section",
            request("GET", "/app", &[&format!("X: {}", "x".repeat(32 * 1024))], ""),
            431,
            "header_too_large",
        )
        .on("none")
        .closed(),
        row(
            "101 header lines",
            request("GET", "/app", &["X: y"; 100], ""),
            431,
            "header_too_large",
        )
        .on("none")
        .closed(),
        row(
            "a broken head",
            request("GET", "/app/../x", &[], ""),
            400,
            "malformed_request",
        )
        .on("none")
        .closed(),
        row(
            "CONNECT",
            request("CONNECT", "/app", &[], ""),
            501,
            "not_implemented",
        )
        .on("none")
        .closed(),
        row(
            "a transfer coding",
            request("POST", TARGET, &[TYPE, "Transfer-Encoding: gzip, chunked"], ""),
            501,
            "not_implemented",
        )
        .on("none")
        .closed(),
    ] {
        row.check(&gateway, &upstream);
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_client_that_writes_all_before_it_reads_still_gets_its_413() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let mut conn = gateway.connect();
    conn.send_as_far_as_taken(post(TARGET, &[], vec![b'x'; 300 * 1024]));
    let response = conn.response();
    assert_eq!(
        (response.status, &response.json()["code"]),
        (413, &json!("body_too_large"))
    );
    conn.expect_closed();
    upstream.expect_untouched();
}

#[test]
fn a_small_unread_body_is_drained_and_the_connection_goes_on() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let mut conn = gateway.connect();
    for size in [0, 1, 65_535, 65_536] {
        let mut bytes = request("PUT", TARGET, &[&format!("Content-Length: {size}")], "");
        bytes.extend(vec![b'x'; size]);
        assert_eq!(conn.roundtrip(bytes).status, 405, "{size} bytes are left");
    }
    let size = 65_537;
    let mut bytes = request("PUT", TARGET, &[&format!("Content-Length: {size}")], "");
    bytes.extend(vec![b'x'; size]);
    conn.send_as_far_as_taken(bytes);
    assert_eq!(conn.response().status, 405);
    conn.expect_closed();
}

#[test]
fn ten_thousand_refusals_on_one_connection() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let mut conn = gateway.connect();
    let refused = form("PROTOCOL=1&LANG=en", BODY);
    for count in 0..10_000 {
        let response = conn.roundtrip(&refused);
        assert_eq!(response.status, 422, "refusal {count}");
    }
    let metrics = gateway.metric_reaches(
        "widget_gateway_requests_total",
        &[("route", "widget"), ("outcome", "rejected")],
        10_000.0,
    );
    let missing = [("field", "DOMAIN"), ("code", "missing")];
    assert_eq!(
        metrics.value("widget_gateway_field_faults_total", &missing),
        10_000.0
    );
    assert_eq!(
        metrics.value("widget_gateway_connections_open", &[]),
        1.0,
        "it was this one connection"
    );
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn a_browser_gets_a_page_and_everyone_else_the_problem() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let mut conn = gateway.connect();
    let mut ask = |accept: Option<&str>| {
        let line = accept.map(|accept| format!("Accept: {accept}"));
        conn.roundtrip(post(
            "/app?DOMAIN=evil%3Cb%3E.example",
            &line.as_deref().map_or(vec![], |l| vec![l]),
            BODY,
        ))
    };
    for accept in [
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        "text/html",
        "application/json;q=0.5, text/html;q=0.6",
    ] {
        let response = ask(Some(accept));
        assert_eq!(response.status, 422, "{accept}");
        assert_eq!(
            response.header("Content-Type"),
            Some("text/html; charset=utf-8"),
            "{accept}"
        );
        let page = response.text();
        let id = response
            .header("X-Request-Id")
            .expect("the id in a header, too")
            .to_owned();
        assert!(page.contains(&id) && page.contains("missing_field"), "{page}");
        assert!(page.contains("PROTOCOL") && page.contains("LANG"), "{page}");
        assert!(
            !page.contains("evil") && !page.contains(SECRETS[0]),
            "a value is echoed: {page}"
        );
        assert!(
            !page.contains("src=") && !page.contains("<script") && !page.contains("http"),
            "not self-contained"
        );
        assert_eq!(
            response.header("X-Frame-Options"),
            None,
            "the page is shown in a frame"
        );
        let policy = response.header("Content-Security-Policy").unwrap_or_default();
        assert!(!policy.contains("frame-ancestors"), "{policy}");
        gateway.wait_log("the page's id", |line| line["request_id"] == id.as_str());
    }
    for accept in [
        None,
        Some("*/*"),
        Some("application/json, text/html"),
        Some("text/html;q=0"),
        Some("text/*"),
    ] {
        let response = ask(accept);
        assert_eq!(
            response.header("Content-Type"),
            Some("application/problem+json"),
            "{accept:?}"
        );
        assert_eq!(response.json()["code"], "missing_field", "{accept:?}");
    }
}

#[test]
fn cookies_named_like_a_field_are_refused_where_that_is_wanted() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(format!("{}[widget]\ncookies = \"refuse\"\n", routes(&upstream)));
    row(
        "a shadowing cookie",
        post(TARGET, &["Cookie: a=b; member.id=x"], BODY),
        400,
        "ambiguous_field",
    )
    .errors(&[("member_id", "cookie")])
    .check(&gateway, &upstream);
    assert_eq!(
        gateway
            .ask(post(TARGET, &["Cookie: a=b; session=x"], BODY))
            .status,
        200
    );
    assert_eq!(
        upstream.take_one().header("Cookie").as_deref(),
        Some("a=b; session=x")
    );
}

#[test]
fn shadowing_cookies_are_removed_and_counted_by_default() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let cookies = [
        "Cookie: a=b; member.id=x; c=d",
        "Cookie: DOMAIN=evil.example; e=f",
    ];
    assert_eq!(gateway.ask(post(TARGET, &cookies, BODY)).status, 200);
    let forwarded = upstream.take_one().values("Cookie").join(&b"; "[..]);
    assert_eq!(shown(&forwarded), "a=b; c=d; e=f");
    let faults = "widget_gateway_field_faults_total";
    let metrics = gateway.metric_reaches(faults, &[("field", "member_id"), ("code", "cookie")], 1.0);
    assert_eq!(
        metrics.value(faults, &[("field", "DOMAIN"), ("code", "cookie")]),
        1.0
    );
    assert_eq!(metrics.value(faults, &[]), 2.0);
}

#[test]
fn a_body_that_does_not_come_in_time_is_408() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(format!(
        "{}[widget]\nbody_timeout = \"300ms\"\n",
        routes(&upstream)
    ));
    const TYPE: &str = "Content-Type: application/x-www-form-urlencoded";
    let cut = |rest: &str| request("POST", TARGET, &[TYPE, "Content-Length: 500"], rest);
    for row in [
        row("no body", cut(""), 408, "body_timeout").closed(),
        row("half a body", cut(&BODY[..200]), 408, "body_timeout").closed(),
        row("half a chunk", chunked("ff\r\nmember_id"), 408, "body_timeout").closed(),
    ] {
        row.check(&gateway, &upstream);
    }
}

#[test]
fn bodies_beyond_the_common_bound_are_503() {
    let gate = common::upstream::Gate::default();
    let upstream = Upstream::replying(common::Reply::Held(gate.clone()));
    let gateway = Gateway::start(format!(
        "{}[widget]\nheld_bodies = \"96KiB\"\nbody_limit = \"64KiB\"\n",
        routes(&upstream)
    ));
    let large = format!("{BODY}&x={}", "x".repeat(60_000));
    let mut first = gateway.connect();
    first.send(post(TARGET, &[], &large));
    upstream.wait_for(1);
    upstream.take();
    row(
        "no room for a second",
        post(TARGET, &[], &large),
        503,
        "overloaded",
    )
    .headers(&[("Retry-After", "1")])
    .check(&gateway, &upstream);
    // A small one still has room, and the room comes back with the first one's end.
    let mut small = gateway.connect();
    small.send(post(TARGET, &[], BODY));
    upstream.wait_for(1);
    gate.open();
    assert_eq!(first.response().status, 200);
    assert_eq!(small.response().status, 200);
    gateway.metrics_when("no request in flight", |now| {
        now.value("widget_gateway_requests_in_flight", &[]) == 0.0
    });
    assert_eq!(gateway.ask(post(TARGET, &[], &large)).status, 200);
}

#[test]
fn a_client_that_leaves_is_client_closed_and_no_fault_of_ours() {
    let gate = common::upstream::Gate::default();
    let upstream = Upstream::replying(common::Reply::Held(gate.clone()));
    let gateway = Gateway::start(routes(&upstream));
    const TYPE: &str = "Content-Type: application/x-www-form-urlencoded";
    let half = |rest: &str| request("POST", TARGET, &[TYPE, "Content-Length: 500"], rest);
    let left = [("route", "widget"), ("outcome", "client_closed")];
    let requests = "widget_gateway_requests_total";

    let mut cut_by_fin = gateway.connect();
    cut_by_fin.send(half("member_id=3f7a"));
    cut_by_fin.finish_sending();
    cut_by_fin.expect_closed();
    gateway.metric_reaches(requests, &left, 1.0);

    let mut gone = gateway.connect();
    gone.send(half("member_id=3f7a"));
    drop(gone);
    gateway.metric_reaches(requests, &left, 2.0);

    let mut half_a_chunk = gateway.connect();
    half_a_chunk.send(chunked("5\r\nab"));
    drop(half_a_chunk);
    gateway.metric_reaches(requests, &left, 3.0);
    upstream.expect_untouched();

    let mut impatient = gateway.connect();
    impatient.send(post(TARGET, &[], BODY));
    upstream.wait_for(1);
    drop(impatient);
    let metrics = gateway.metric_reaches(requests, &left, 4.0);
    gate.open();
    assert_eq!(metrics.value(requests, &[]), 4.0, "{}", metrics.lines(requests));
    let lines = gateway.request_lines(4);
    for line in &lines {
        assert_eq!(
            (&line["outcome"], &line["status"]),
            (&json!("client_closed"), &json!(499)),
            "{line}"
        );
    }
}

#[test]
fn every_series_of_a_closed_set_is_there_before_the_first_request() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(format!("{}[limits.member]\nrate = \"5/m\"\n", routes(&upstream)));
    let metrics = gateway.metrics();
    let reasons = [
        "malformed_request",
        "malformed_form",
        "ambiguous_field",
        "missing_field",
        "invalid_field",
        "not_found",
        "method_not_allowed",
        "body_timeout",
        "length_required",
        "body_too_large",
        "uri_too_long",
        "header_too_large",
        "unsupported_media_type",
        "rate_limited",
        "not_implemented",
        "overloaded",
        "upstream_unavailable",
        "upstream_error",
        "upstream_timeout",
        "internal_error",
        "client_closed",
    ];
    let zero = |name: &str, labels: &[(&str, &str)]| {
        assert_eq!(
            metrics.value(&format!("widget_gateway_{name}"), labels),
            0.0,
            "{name}{labels:?}"
        );
    };
    for route in ["widget", "pass", "none"] {
        for reason in reasons {
            for mode in ["enforce", "observe"] {
                zero(
                    "rejections_total",
                    &[("route", route), ("reason", reason), ("mode", mode)],
                );
            }
        }
        for outcome in [
            "forwarded",
            "observed",
            "rejected",
            "limited",
            "upstream_error",
            "client_closed",
        ] {
            zero("requests_total", &[("route", route), ("outcome", outcome)]);
            zero(
                "request_duration_seconds_count",
                &[("route", route), ("outcome", outcome)],
            );
        }
        zero("overhead_seconds_count", &[("route", route)]);
        zero("request_body_bytes_count", &[("route", route)]);
    }
    for field in forms::KNOWN {
        for code in [
            "missing",
            "blank",
            "invalid",
            "duplicate",
            "conflict",
            "mangled",
            "array",
            "truncated",
            "cookie",
        ] {
            zero("field_faults_total", &[("field", field), ("code", code)]);
        }
    }
    for class in ["1xx", "2xx", "3xx", "4xx", "5xx"] {
        zero(
            "upstream_responses_total",
            &[("upstream", "handlers"), ("code_class", class)],
        );
    }
    zero("upstream_retries_total", &[("upstream", "handlers")]);
    zero("upstream_duration_seconds_count", &[("upstream", "handlers")]);
    zero("ratelimit_keys", &[("policy", "member")]);
    zero("ratelimit_key_evictions_total", &[("policy", "member")]);
    zero("ratelimit_decisions_total", &[("policy", "member")]);
    zero("placements_total", &[("placement", "DEFAULT")]);
    zero("placements_total", &[("placement", "other")]);
    zero("log_lines_dropped_total", &[]);
    zero("requests_in_flight", &[]);
    zero("config_restart_pending", &[]);
    for trigger in ["start", "sighup", "watch", "api"] {
        for result in ["applied", "unchanged", "refused"] {
            let is = metrics.value(
                "widget_gateway_config_reloads_total",
                &[("trigger", trigger), ("result", result)],
            );
            assert_eq!(
                is,
                if (trigger, result) == ("start", "applied") {
                    1.0
                } else {
                    0.0
                },
                "{trigger} {result}"
            );
        }
    }
    let server = upstream.address.to_string();
    assert_eq!(
        metrics.value(
            "widget_gateway_upstream_up",
            &[("upstream", "handlers"), ("server", &server)]
        ),
        1.0
    );
    for name in [
        "ratelimit_keys_limit",
        "config_last_reload_successful",
        "config_generation",
        "build_info",
    ] {
        assert!(
            metrics.value(&format!("widget_gateway_{name}"), &[]) >= 1.0,
            "{name}"
        );
    }
    for name in ["config_hash", "config_last_reload_success_timestamp_seconds"] {
        assert!(
            metrics.value(&format!("widget_gateway_{name}"), &[]) > 0.0,
            "{name}"
        );
    }
    assert!(metrics.value("process_resident_memory_bytes", &[]) > 0.0);
}

#[test]
fn every_log_line_is_one_json_object_and_a_stop_is_clean() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(Setup::of(routes(&upstream)).server("drain_delay = \"1ms\""));
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    assert_eq!(gateway.ask(form("", "")).status, 422);
    for line in gateway.request_lines(2) {
        assert!(line.is_object());
    }
    for line in gateway.logs() {
        assert!(
            line.is_object() && line["level"].is_string() && line["ts"].is_string(),
            "{line}"
        );
    }
    let start = std::time::Instant::now();
    let status = gateway.stop();
    assert_eq!(status.code(), Some(0));
    assert!(
        start.elapsed() < std::time::Duration::from_secs(10),
        "a stop waits for nobody: {:?}",
        start.elapsed()
    );
}

/// Kept beside the others because it is the one answer that is not the gateway's own.
#[test]
fn an_upstream_answer_passes_unchanged() {
    let answer =
        b"HTTP/1.1 418 Teapot\r\nContent-Type: text/html\r\nX-Own: yes\r\nContent-Length: 5\r\n\r\nshort";
    let upstream = Upstream::replying(common::Reply::Raw(answer.to_vec()));
    let gateway = Gateway::start(routes(&upstream));
    let response = Conn::open(gateway.http()).roundtrip(post(TARGET, &[], BODY));
    assert_eq!(
        (response.status, response.text(), response.header("X-Own")),
        (418, "short", Some("yes"))
    );
    let metrics = gateway.metric_reaches(
        "widget_gateway_upstream_responses_total",
        &[("upstream", "handlers"), ("code_class", "4xx")],
        1.0,
    );
    assert_eq!(
        metrics.value(
            "widget_gateway_requests_total",
            &[("route", "widget"), ("outcome", "forwarded")]
        ),
        1.0
    );
}
