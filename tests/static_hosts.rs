//! Widgets on hosts of static pages (`forward_as = "GET"`): what the host is asked, whatever carries the call.

use serde_json::json;

use crate::common::carrier::{each, table};
use crate::common::forms::{self, BODY, MEMBER, SECRETS, TARGET};
use crate::common::{Carrier, Gateway, Request, Upstream, shown};

fn routes(upstream: &Upstream, more: &str) -> String {
    forms::routes(&[upstream.address]).replace(
        "kind = \"widget\"",
        &format!("kind = \"widget\"\nforward_as = \"GET\"\n{more}"),
    )
}

#[test]
fn a_call_is_judged_and_its_page_is_fetched() {
    each("pages that are fetched", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(routes(&upstream, ""));
        let call = Request::call().lines([
            "Cookie: a=1",
            "Content-Language: en",
            "Range: bytes=0-1",
            "If-None-Match: \"x\"",
            "Accept: text/html",
        ]);
        let response = carrier.ask(&gateway, &call);
        assert_eq!((response.status, response.text()), (200, "handled\n"));
        let got = upstream.take_one();
        assert_eq!(
            (got.method().as_str(), got.target().as_slice()),
            ("GET", TARGET.as_bytes())
        );
        assert_eq!(got.body, b"");
        for absent in [
            "Content-Length",
            "Content-Type",
            "Transfer-Encoding",
            "Content-Language",
            "Range",
            "If-None-Match",
            "X-Bitrix24-Member-Id",
            "X-Bitrix24-Placement",
            "X-Bitrix24-Placement-Options",
        ] {
            assert_eq!(got.header(absent), None, "{absent}");
        }
        for (name, value) in [
            ("X-Bitrix24-Message", "placement"),
            ("X-Bitrix24-Portal", "https://portal.bitrix24.com"),
            ("X-Bitrix24-Locale", "en"),
            ("Cookie", "a=1"),
            ("Accept", "text/html"),
        ] {
            assert_eq!(got.header(name).as_deref(), Some(value), "{name}");
        }
        let head = String::from_utf8(got.head.clone()).unwrap();
        for secret in SECRETS.into_iter().chain([MEMBER]) {
            assert!(!head.contains(secret), "{}", shown(&got.head));
        }
        let metrics = gateway.metrics_after(1);
        let forwarded = [("route", "widget"), ("outcome", "forwarded")];
        assert_eq!(metrics.value("widget_gateway_requests_total", &forwarded), 1.0);
        assert_eq!(gateway.request_lines(1)[0]["member_id"], MEMBER);
    });
}

/// The target of a call, and the target of what the host is asked; none where it is refused.
type Row = (&'static str, String, Option<String>);

fn token_in_query() -> Vec<Row> {
    let with = |more: &str| format!("{TARGET}&{more}");
    vec![
        (
            "a call as Bitrix24 makes it",
            TARGET.to_owned(),
            Some(TARGET.to_owned()),
        ),
        ("the address' own", with("v=2&x=a%20b"), Some(with("v=2&x=a%20b"))),
        ("a token", with("REFRESH_ID=secret-r"), None),
        ("a mangled token", with("REFRESH.ID=secret-r"), None),
        ("an array of tokens", with("AUTH_ID[]=secret-a"), None),
        ("a token under auth", with("auth[access_token]=secret-t"), None),
    ]
}

fn ask(carrier: Carrier, gateway: &Gateway, target: &str) -> u16 {
    carrier.ask(gateway, &Request::form(target, BODY)).status
}

#[test]
fn no_token_stands_in_the_address_that_is_fetched() {
    let rows = token_in_query();
    let ran = table(
        "addresses that are fetched",
        &rows,
        |row| row.0,
        |_, _| true,
        |_| {
            let upstream = Upstream::start();
            let enforcing = Gateway::on_every_carrier(routes(&upstream, ""));
            let observing = Gateway::on_every_carrier(routes(&upstream, "mode = \"observe\""));
            (upstream, enforcing, observing)
        },
        |carrier, (upstream, enforcing, observing), (_, target, fetched)| {
            let status = ask(carrier, enforcing, target);
            match fetched {
                Some(fetched) => {
                    assert_eq!(status, 200);
                    assert_eq!(upstream.take_one().target(), fetched.as_bytes());
                }
                None => {
                    assert_eq!(status, 400);
                    upstream.expect_untouched();
                }
            }
            // What is let through goes without it.
            assert_eq!(ask(carrier, observing, target), 200);
            let got = upstream.take_one();
            assert_eq!(got.method(), "GET");
            let want = fetched.as_deref().unwrap_or(TARGET);
            assert_eq!(got.target(), want.as_bytes(), "{}", shown(&got.head));
            assert!(!String::from_utf8_lossy(&got.head).contains("secret-"));
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}

#[test]
fn limits_hold_and_the_configuration_is_told() {
    let upstream = Upstream::start();
    let limits = "[limits.member]\nrate = \"1/h\"\n";
    let gateway = Gateway::start(routes(&upstream, "") + limits);
    let call = || gateway.ask(forms::post(TARGET, &[], BODY)).status;
    assert_eq!([call(), call()], [200, 429]);
    upstream.take_one();
    let config = gateway.ask_admin("GET", "/-/config").json();
    let route = &config["settings"]["routes"][0];
    assert_eq!(
        (&route["forward_as"], &route["places"]),
        (&json!("GET"), &json!("strict"))
    );
}
