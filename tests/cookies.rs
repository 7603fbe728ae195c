//! Cookies, in however many lines they come: HTTP/2 cuts them into crumbs (RFC 9113 8.2.3), some HTTP/1
//! clients send several lines, and PHP reads one.

use crate::common::carrier::{each, table};
use crate::common::forms::{self, BODY, MEMBER, TARGET};
use crate::common::php::{PhpServer, Seen};
use crate::common::{Carrier, Gateway, Request, Upstream, shown};
use serde_json::json;

const FAULTS: &str = "widget_gateway_field_faults_total";
const REQUESTS: &str = "widget_gateway_requests_total";
const REJECTIONS: &str = "widget_gateway_rejections_total";
const DECISIONS: &str = "widget_gateway_ratelimit_decisions_total";

/// What a client sends, line by line, and what one line the server gets of it on each kind of route.
struct Row {
    what: &'static str,
    lines: &'static [&'static str],
    /// None: no Cookie line at all.
    widget: Option<&'static str>,
    pass: Option<&'static str>,
}

const ROWS: [Row; 7] = [
    Row {
        what: "one line",
        lines: &["PHPSESSID=abc; theme=dark"],
        widget: Some("PHPSESSID=abc; theme=dark"),
        pass: Some("PHPSESSID=abc; theme=dark"),
    },
    Row {
        what: "two crumbs",
        lines: &["PHPSESSID=abc", "theme=dark"],
        widget: Some("PHPSESSID=abc; theme=dark"),
        pass: Some("PHPSESSID=abc; theme=dark"),
    },
    Row {
        what: "crumbs of more than one",
        lines: &["a=1; b=2", "c=3", "d=4; e=5"],
        widget: Some("a=1; b=2; c=3; d=4; e=5"),
        pass: Some("a=1; b=2; c=3; d=4; e=5"),
    },
    Row {
        what: "values that look like lists",
        lines: &["a=x, y", "b=\"q; r\""],
        widget: Some("a=x, y; b=\"q; r\""),
        pass: Some("a=x, y; b=\"q; r\""),
    },
    Row {
        what: "one that shadows among others",
        lines: &["a=b; member.id=x; c=d", "DOMAIN=evil.example; e=f"],
        widget: Some("a=b; c=d; e=f"),
        pass: Some("a=b; member.id=x; c=d; DOMAIN=evil.example; e=f"),
    },
    Row {
        what: "a crumb that shadows",
        lines: &["a=b", "member_id=x", "c=d"],
        widget: Some("a=b; c=d"),
        pass: Some("a=b; member_id=x; c=d"),
    },
    Row {
        what: "nothing but shadows",
        lines: &["member_id=x", "PLACEMENT[]=y"],
        widget: None,
        pass: Some("member_id=x; PLACEMENT[]=y"),
    },
];

fn with_cookies(request: Request, lines: &[&str]) -> Request {
    lines
        .iter()
        .fold(request, |request, line| request.line(format!("Cookie: {line}")))
}

#[test]
fn they_reach_the_server_as_one_line() {
    let setting = |_| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(forms::every_route(&[upstream.address]));
        (upstream, gateway)
    };
    let ran = table(
        "cookie lines",
        &ROWS,
        |row| row.what,
        |_, _| true,
        setting,
        |carrier, (upstream, gateway), row| {
            for (request, expected) in [
                (Request::call(), row.widget),
                (Request::get("/page"), row.pass),
                (Request::upload(), row.pass),
            ] {
                let response = carrier.ask(gateway, &with_cookies(request, row.lines));
                assert_eq!(response.status, 200, "{}", shown(&response.body));
                let received = upstream.take_one();
                assert_eq!(received.header("Cookie").as_deref(), expected, "{}", row.what);
            }
        },
    );
    assert_eq!(ran, [7; 5]);
}

#[test]
fn php_finds_every_one_of_them() {
    each("crumbs at PHP", |carrier| {
        // Without php.ini, where a cookie outranks the form.
        let php = PhpServer::start(&["-n"]);
        let gateway = Gateway::on_every_carrier(forms::routes(&[php.address]));
        let crumbs = ["PHPSESSID=abc", "theme=dark", "member_id=evil", "last=1"];
        for request in [Request::call(), Request::get("/page")] {
            let is_call = request.method == "POST";
            let response = carrier.ask(&gateway, &with_cookies(request, &crumbs));
            assert_eq!(response.status, 200, "{}", shown(&response.body));
            let seen = Seen::of_body(&response.body);
            for (name, value) in [("PHPSESSID", "abc"), ("theme", "dark"), ("last", "1")] {
                assert_eq!(seen.text("cookie", name).as_deref(), Some(value), "{name}");
            }
            let shadow = (!is_call).then_some("evil");
            assert_eq!(seen.text("cookie", "member_id").as_deref(), shadow);
            if is_call {
                assert_eq!(seen.text("request", "member_id").as_deref(), Some(MEMBER));
            }
        }
    });
}

#[test]
fn shadowing_ones_are_removed_and_counted_by_default() {
    each("cookies = \"strip\"", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(forms::routes(&[upstream.address]));
        let cookies = ["a=b; member.id=x; c=d", "DOMAIN=evil.example; e=f"];
        let response = carrier.ask(&gateway, &with_cookies(Request::call(), &cookies));
        assert_eq!(response.status, 200);
        let metrics = gateway.metrics_after(1);
        for field in ["member_id", "DOMAIN"] {
            let shadowed = [("field", field), ("code", "cookie")];
            assert_eq!(metrics.value(FAULTS, &shadowed), 1.0, "{field}");
        }
        assert_eq!(metrics.value(FAULTS, &[]), 2.0);
        assert_eq!(metrics.value(REJECTIONS, &[]), 0.0);
    });
}

#[test]
fn shadowing_ones_are_refused_where_that_is_wanted() {
    each("cookies = \"refuse\"", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(format!(
            "{}[widget]\ncookies = \"refuse\"\n",
            forms::routes(&[upstream.address])
        ));
        for lines in [&["a=b; member.id=x"][..], &["a=b", "member.id=x"]] {
            let response = carrier.ask(&gateway, &with_cookies(Request::call(), lines));
            let problem = response.json();
            assert_eq!(
                (response.status, &problem["code"]),
                (400, &json!("ambiguous_field"))
            );
            assert_eq!(
                problem["errors"],
                json!([{"field": "member_id", "code": "cookie"}])
            );
        }
        assert_eq!(upstream.connections(), 0);
        let sound = with_cookies(Request::call(), &["a=b", "session=x"]);
        assert_eq!(carrier.ask(&gateway, &sound).status, 200);
        let received = upstream.take_one();
        assert_eq!(received.header("Cookie").as_deref(), Some("a=b; session=x"));
    });
}

#[test]
fn all_of_them_pass_where_the_handler_is_known_not_to_read_them() {
    each("cookies = \"keep\"", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(format!(
            "{}[widget]\ncookies = \"keep\"\n",
            forms::routes(&[upstream.address])
        ));
        let cookies = ["a=b; member.id=x", "DOMAIN=other.example"];
        let response = carrier.ask(&gateway, &with_cookies(Request::call(), &cookies));
        assert_eq!(response.status, 200, "{}", shown(&response.body));
        let received = upstream.take_one();
        assert_eq!(
            received.header("Cookie").as_deref(),
            Some("a=b; member.id=x; DOMAIN=other.example")
        );
        assert_eq!(received.header("X-Bitrix24-Member-Id").as_deref(), Some(MEMBER));
    });
}

/// What would be refused is told and let through, but never so that the handler reads another member than
/// the header says, and never past the limit.
#[test]
fn observe_mode_tells_of_a_shadow_and_does_not_pass_it_on() {
    each("cookies = \"refuse\" observed", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(format!(
            "{}[widget]\nmode = \"observe\"\ncookies = \"refuse\"\n[limits.member]\nrate = \"1/h\"\n",
            forms::routes(&[upstream.address])
        ));
        let call = with_cookies(Request::form(TARGET, BODY), &["a=b; member.id=x", "c=d"]);
        for _ in 0..2 {
            let response = carrier.ask(&gateway, &call);
            assert_eq!(response.status, 200, "{}", shown(&response.body));
            let received = upstream.take_one();
            assert_eq!(received.header("Cookie").as_deref(), Some("a=b; c=d"));
            assert_eq!(received.header("X-Bitrix24-Member-Id").as_deref(), Some(MEMBER));
        }
        let observed = [("route", "widget"), ("outcome", "observed")];
        let metrics = gateway.metrics_after(2);
        assert_eq!(metrics.value(REQUESTS, &observed), 2.0);
        for (reason, count) in [("ambiguous_field", 2.0), ("rate_limited", 1.0)] {
            let labels = [("reason", reason), ("mode", "observe")];
            assert_eq!(metrics.value(REJECTIONS, &labels), count, "{reason}");
        }
        for (decision, count) in [("allowed", 1.0), ("would_limit", 1.0)] {
            let labels = [("policy", "member"), ("decision", decision)];
            assert_eq!(metrics.value(DECISIONS, &labels), count, "{decision}");
        }
        let fault = [("field", "member_id"), ("code", "cookie")];
        assert_eq!(metrics.value(FAULTS, &fault), 2.0);
    });
}

/// The order of the lines is what decides which of two equal names PHP takes: the first.
#[test]
fn their_order_stays() {
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(forms::routes(&[upstream.address]));
    for carrier in Carrier::ALL {
        let lines = ["a=2", "a=1", "b=3; a=0"];
        let response = carrier.ask(&gateway, &with_cookies(Request::call(), &lines));
        assert_eq!(response.status, 200, "{carrier:?}");
        let received = upstream.take_one();
        let cookie = received.header("Cookie");
        assert_eq!(cookie.as_deref(), Some("a=2; a=1; b=3; a=0"), "{carrier:?}");
    }
}
