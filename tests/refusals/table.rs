//! The rows, by what is at fault.

use super::row::{also_in_body, check_on_every_carrier, chunked, form, part, row, typed};
use crate::common::forms::{BODY, QUERY, TARGET, TYPE, request};
use crate::common::{Body, Request};

#[test]
fn faults_of_the_form() {
    let many = |count: usize| vec!["x=1"; count].join("&");
    let deep = format!("member_id{}=x", "[a]".repeat(65));
    let short = "member_id=3f7a90c1d2e45b68a0719cbe8d243f56&PLACEMENT=DEFAULT";
    let rows = [
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
    ];
    // One needs chunks.
    let ran = check_on_every_carrier("faults of the form", "", &rows);
    assert_eq!(ran, [19, 18, 19, 18, 18]);
}

fn every_field_invalid() -> Request {
    form(
        "DOMAIN=https://a.b/&PROTOCOL=2&LANG=1&APP_SID=a%20b",
        "AUTH_EXPIRES=soon&member_id=M&status=L1&PLACEMENT=<script>",
    )
}

#[test]
fn faults_of_route_method_and_media_type() {
    let to = |path: &str| Request::form(path, BODY);
    let rows = [
        row("no route", to("/other"), 404, "not_found").on("none"),
        row(
            "a path that only looks like the route's",
            to("/apple"),
            404,
            "not_found",
        )
        .on("none"),
        row(
            "another method",
            Request::new("PUT", TARGET).body(Body::Length(b"x".to_vec())),
            405,
            "method_not_allowed",
        )
        .on("none")
        .headers(&[("Allow", "GET, HEAD, POST")]),
        row(
            "an unknown method",
            Request::new("pOST", TARGET),
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
        row("two types", typed(&[TYPE, TYPE]), 415, "unsupported_media_type"),
        row(
            "a list of types",
            typed(&[&format!("{TYPE}, text/plain")]),
            415,
            "unsupported_media_type",
        ),
        row(
            "another charset",
            typed(&[&format!("{TYPE}; charset=latin1")]),
            415,
            "unsupported_media_type",
        ),
        row(
            "two parameters",
            typed(&[&format!("{TYPE}; charset=utf-8; x=y")]),
            415,
            "unsupported_media_type",
        ),
        row(
            "a content coding",
            typed(&[TYPE, "Content-Encoding: gzip"]),
            415,
            "unsupported_media_type",
        ),
        row(
            "an identity coding",
            typed(&[TYPE, "Content-Encoding: identity"]),
            415,
            "unsupported_media_type",
        ),
    ];
    let ran = check_on_every_carrier("faults of route, method and type", "", &rows);
    assert_eq!(ran, [12; 5]);
}

#[test]
fn faults_of_size() {
    let limit = 128 * 1024;
    let rows = [
        // Only the head is sent: the answer can not depend on the body.
        row(
            "too large by its length alone",
            part(limit + 1, ""),
            413,
            "body_too_large",
        )
        .closed(),
        row(
            "larger than any number",
            part(i64::MAX as usize, ""),
            413,
            "body_too_large",
        )
        .closed(),
        row(
            "too large, and nobody says 100",
            part(200_000, "").line("Expect: 100-continue"),
            413,
            "body_too_large",
        )
        .closed(),
        row(
            "too large, which nobody announced",
            Request::form(TARGET, vec![b'x'; limit + 1]).unannounced(),
            413,
            "body_too_large",
        )
        .closed(),
        row(
            "a long request line",
            Request::get(&format!("/app?{}", "x".repeat(8192))),
            414,
            "uri_too_long",
        )
        .on("none")
        .closed(),
        row(
            "a long header section",
            Request::get("/app").line(format!("X: {}", "x".repeat(32 * 1024))),
            431,
            "header_too_large",
        )
        .on("none")
        .closed(),
        row(
            "101 header lines",
            Request::get("/app").lines(["X: y"; 100]),
            431,
            "header_too_large",
        )
        .on("none")
        .closed(),
        row(
            "a broken head",
            Request::get("/app/../x"),
            400,
            "malformed_request",
        )
        .on("none")
        .closed(),
        row(
            "CONNECT",
            Request::new("CONNECT", "widgets.example:443"),
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
    ];
    let ran = check_on_every_carrier("faults of size", "[widget]\nbody_limit = \"128KiB\"\n", &rows);
    // One needs a word for a coding, one a body without a length.
    assert_eq!(ran, [10, 8, 10, 9, 9]);
}

#[test]
fn a_body_that_does_not_come_in_time_is_408() {
    let rows = [
        row("no body", part(500, ""), 408, "body_timeout").waits(),
        row("half a body", part(500, &BODY[..200]), 408, "body_timeout").waits(),
        row("half a chunk", chunked("ff\r\nmember_id"), 408, "body_timeout").closed(),
    ];
    let slow = "[widget]\nbody_timeout = \"300ms\"\n";
    let ran = check_on_every_carrier("bodies that do not come", slow, &rows);
    assert_eq!(ran, [3, 2, 3, 2, 2]);
}
