//! Paths, and what routes make of them.

use super::{refused, setting};
use crate::common::forms::{BODY, post, request};
use crate::common::shown;

pub const BAD_PATHS: [&str; 24] = [
    "/a/../b",
    "/..",
    "/../x",
    "/a/..",
    "/a/.",
    "/./a",
    "/a/./b",
    "/a/%2e%2e/b",
    "/a/%2E./b",
    "/a/.%2e",
    "/%2e",
    "/a/%2e/b",
    "/a\\b",
    "/a/..\\b",
    "/a%5cb",
    "/a%5Cb",
    "/a%2fb",
    "/a%2Fb",
    "/a%00b",
    "/x.php%00.png",
    "/%2f/a",
    "/a/..%2fb",
    "/%2e%2e%2fadmin",
    "/%2Fadmin",
];

#[test]
fn paths_that_could_mean_another_script() {
    let (upstream, gateway) = setting("");
    for path in BAD_PATHS {
        refused(
            &gateway,
            &upstream,
            &request("GET", path, &[], ""),
            400,
            "malformed_request",
        );
        refused(
            &gateway,
            &upstream,
            &request("GET", &format!("{path}?x=y"), &[], ""),
            400,
            "malformed_request",
        );
        refused(
            &gateway,
            &upstream,
            &post(path, &[], ""),
            400,
            "malformed_request",
        );
    }
    assert_eq!(upstream.connections(), 0);
}

#[test]
fn slashes_that_hide_a_route() {
    let (upstream, gateway) = setting("");
    for path in ["//admin", "///admin/x", "//%61dmin"] {
        refused(
            &gateway,
            &upstream,
            &request("GET", path, &[], ""),
            400,
            "malformed_request",
        );
        refused(
            &gateway,
            &upstream,
            &post(path, &[], BODY),
            400,
            "malformed_request",
        );
    }
}

#[test]
fn what_only_looks_dangerous_is_forwarded_byte_for_byte() {
    let (upstream, gateway) = setting("");
    for target in [
        "/a//b",
        "/a///b?x",
        "/a%252fb",
        "/a%252e%252e/b",
        "/a%25005c",
        "/...",
        "/a/..b/c",
        "/a/b..",
        "/.well-known/x",
        "/a%20b",
        "/%41",
        "/a;b=c",
        "/a?x=/../y",
        "/a?x=%2e%2e%2f",
        "/a?x=\\",
        "/a?x=%00",
        "/a?b?c",
        "/a%zz",
        "/a%",
        "/index.php/x.php/y",
        "/%E4%BD%A0",
        "/a?x=y//z",
        "/a:b@c",
        "/app/",
    ] {
        let response = gateway.ask(request("GET", target, &[], ""));
        assert_eq!(response.status, 200, "{target}: {}", shown(&response.body));
        assert_eq!(shown(&upstream.take_one().target()), shown(target.as_bytes()));
    }
    // An absolute-form target is our own Host's; behind, it is origin-form.
    for (target, want) in [
        ("http://widgets.example/a?b", "/a?b"),
        ("http://widgets.example?b", "/?b"),
    ] {
        assert_eq!(
            gateway.ask(request("GET", target, &[], "")).status,
            200,
            "{target}"
        );
        assert_eq!(shown(&upstream.take_one().target()), want);
    }
}

#[test]
fn routes_match_the_path_decoded_once() {
    let (upstream, gateway) = setting("");
    let requests = "widget_gateway_requests_total";
    for (count, path) in ["/admin", "/%61dmin", "/admin/x", "/adm%69n/%78"]
        .into_iter()
        .enumerate()
    {
        assert_eq!(gateway.ask(request("GET", path, &[], "")).status, 200, "{path}");
        gateway.metric_reaches(requests, &[("route", "admin")], count as f64 + 1.0);
        assert_eq!(shown(&upstream.take_one().target()), path);
    }
    // Decoded twice these would be the route's.
    for path in ["/%2561dmin", "/adminx"] {
        assert_eq!(gateway.ask(request("GET", path, &[], "")).status, 200, "{path}");
    }
    gateway.metric_reaches(requests, &[("route", "pass")], 2.0);
    gateway.metric_reaches(requests, &[("route", "admin")], 4.0);
}
