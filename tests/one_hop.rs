//! What a request says for this hop alone goes no further, and takes nothing of ours along (RFC 9110 7.6.1).

use crate::common::carrier::table;
use crate::common::forms::{self, BODY, MEMBER};
use crate::common::{Carrier, Gateway, Received, Request, Upstream, shown};

fn setting(_: Carrier) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(forms::every_route(&[upstream.address]));
    (upstream, gateway)
}

/// A request with these lines to a route of each kind.
fn on_every_route(lines: &[&'static str]) -> [(&'static str, Request); 3] {
    [
        ("held", Request::call().lines(lines.iter().copied())),
        ("passed", Request::get("/page").lines(lines.iter().copied())),
        ("streamed", Request::upload().lines(lines.iter().copied())),
    ]
}

struct Row {
    name: String,
    request: Request,
    /// Names that may not reach the server.
    ends_here: &'static [&'static str],
}

fn rows(all: &[(&'static [&'static str], &'static [&'static str])]) -> Vec<Row> {
    let each = |(lines, ends_here): &(&'static [&'static str], &'static [&'static str])| {
        on_every_route(lines).map(|(kind, request)| Row {
            name: format!("{kind}: {}", lines.join(" | ")),
            request,
            ends_here,
        })
    };
    all.iter().flat_map(each).collect()
}

fn check(carrier: Carrier, (upstream, gateway): &(Upstream, Gateway), row: &Row) {
    let response = carrier.ask(gateway, &row.request);
    assert_eq!(response.status, 200, "{}", shown(&response.body));
    let received = upstream.take_one();
    for name in row.ends_here {
        let values = received.values(name);
        assert_eq!(values, Vec::<Vec<u8>>::new(), "{name} of {received:?}");
    }
    assert_eq!(received.header("X-Kept").as_deref(), Some("yes"));
    check_ours(&received, &row.request);
}

/// Everything that the gateway writes is there, once and as it writes it.
fn check_ours(received: &Received, request: &Request) {
    assert_eq!(received.header("Host").as_deref(), Some("widgets.example"));
    assert_eq!(received.header("X-Forwarded-For").as_deref(), Some("127.0.0.1"));
    for name in ["X-Request-Id", "X-Forwarded-Proto", "X-Forwarded-Host"] {
        assert!(received.header(name).is_some(), "no {name} in {received:?}");
    }
    if request.target != forms::TARGET {
        let sent = if request.method == "PUT" { "an upload" } else { "" };
        assert_eq!(shown(&received.body), sent);
    } else {
        assert_eq!(shown(&received.body), BODY);
        let length = BODY.len().to_string();
        for (name, value) in [
            ("Content-Length", length.as_str()),
            ("Content-Type", "application/x-www-form-urlencoded"),
            ("X-Bitrix24-Member-Id", MEMBER),
            ("X-Bitrix24-Domain", "portal.bitrix24.com"),
            ("X-Bitrix24-Placement", "DEFAULT"),
        ] {
            assert_eq!(received.header(name).as_deref(), Some(value), "{name}");
        }
    }
}

/// `_` is `-` to PHP and to servers that are lax, and then a request has another framing behind than here.
#[test]
fn a_spelling_with_underscores_of_what_frames_or_hops_ends_here() {
    let rows = rows(&[
        (
            &["Transfer_Encoding: chunked", "X-Kept: yes"],
            &["Transfer_Encoding", "Transfer-Encoding"],
        ),
        (
            &["TRANSFER_ENCODING: identity", "X-Kept: yes"],
            &["Transfer_Encoding", "Transfer-Encoding"],
        ),
        (&["Content_Length: 1", "X-Kept: yes"], &["Content_Length"]),
        (
            &["Keep_Alive: timeout=1", "X-Kept: yes"],
            &["Keep_Alive", "Keep-Alive"],
        ),
        (
            &["Proxy_Connection: keep-alive", "X-Kept: yes"],
            &["Proxy_Connection", "Proxy-Connection"],
        ),
    ]);
    let count = rows.len();
    let ran = table("underscores", &rows, |row| &row.name, |_, _| true, setting, check);
    assert_eq!(ran, [count; 5]);
}

#[test]
fn what_connection_names_is_not_forwarded() {
    let rows = rows(&[
        (
            &["Connection: X-Named", "X-Named: for you alone", "X-Kept: yes"],
            &["X-Named"],
        ),
        (
            &[
                "X-Named: for you alone",
                "X-Kept: yes",
                "Connection: close, x-named",
            ],
            &["X-Named"],
        ),
        (
            &[
                "Connection: keep-alive ,  X-Named",
                "Connection: ,X-Also,",
                "X-Named: a",
                "X-Also: b",
                "X-Kept: yes",
            ],
            &["X-Named", "X-Also"],
        ),
        (
            &["Connection: keep-alive", "Keep-Alive: timeout=5", "X-Kept: yes"],
            &["Keep-Alive"],
        ),
        (
            &["TE: trailers", "Connection: TE", "Trailer: X-Sum", "X-Kept: yes"],
            &["TE"],
        ),
        (
            &["Proxy-Connection: keep-alive", "X-Kept: yes"],
            &["Proxy-Connection"],
        ),
    ]);
    let count = rows.len();
    let is_for = |carrier: Carrier, _: &Row| !carrier.is_http2();
    let ran = table(
        "names in Connection",
        &rows,
        |row| &row.name,
        is_for,
        setting,
        check,
    );
    assert_eq!(ran, [count, count, count, 0, 0]);
}

/// Else a client could take from the handler what it is to know of the client.
#[test]
fn connection_can_not_name_ours_away() {
    let rows = rows(&[
        (&["Connection: Content-Type, Content-Length", "X-Kept: yes"], &[]),
        (&["Connection: X-Request-Id", "X-Kept: yes"], &[]),
        (
            &[
                "Connection: X-Bitrix24-Member-Id, x-bitrix24-domain",
                "X-Kept: yes",
            ],
            &[],
        ),
        (
            &[
                "Connection: close, X-Bitrix24-Placement",
                "Connection: X-Real-IP",
                "X-Kept: yes",
            ],
            &[],
        ),
    ]);
    let count = rows.len();
    let is_for = |carrier: Carrier, _: &Row| !carrier.is_http2();
    let ran = table(
        "ours in Connection",
        &rows,
        |row| &row.name,
        is_for,
        setting,
        check,
    );
    assert_eq!(ran, [count, count, count, 0, 0]);
}

/// Nobody means it who names what a request can not be without, or who it is from.
#[test]
fn connection_that_names_host_or_the_way_of_a_request_is_refused() {
    let rows = rows(&[
        (&["Connection: Host"], &[]),
        (&["Connection: close, host"], &[]),
        (&["Connection: X-Forwarded-For"], &[]),
        (&["Connection: x-forwarded-proto, X-Forwarded-Host"], &[]),
    ]);
    let count = rows.len();
    let is_for = |carrier: Carrier, _: &Row| !carrier.is_http2();
    let refused = |carrier: Carrier, (upstream, gateway): &(Upstream, Gateway), row: &Row| {
        let response = carrier.ask(gateway, &row.request);
        let code = &response.json()["code"];
        assert_eq!((response.status, code), (400, &"malformed_request".into()));
        upstream.expect_untouched();
    };
    let ran = table(
        "Host in Connection",
        &rows,
        |row| &row.name,
        is_for,
        setting,
        refused,
    );
    assert_eq!(ran, [count, count, count, 0, 0]);
}
