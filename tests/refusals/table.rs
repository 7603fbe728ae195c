//! The rows, by what is at fault.

use super::row::{also_in_body, chunked, form, routes, row, typed};
use crate::common::forms::{BODY, QUERY, TARGET, post, request};
use crate::common::{Gateway, Upstream};

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
