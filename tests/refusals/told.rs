//! What is told: the page for people, metrics before the first request, log lines.

use super::row::{form, routes};
use crate::common::forms::{self, BODY, SECRETS, TARGET, post};
use crate::common::{Gateway, Setup, Upstream};

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
        assert!(
            !page.contains("evil") && !page.contains(SECRETS[0]),
            "a value is echoed: {page}"
        );
        assert!(
            !page.contains("src=") && !page.contains("href=") && !page.contains("http"),
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
    zero("trace_spans_dropped_total", &[]);
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
    assert_eq!(gateway.ask(form("", "").to_http1("HTTP/1.1")).status, 422);
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
