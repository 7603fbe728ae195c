//! Section 6 of the contract, byte by byte: what is not sound HTTP, or has two meanings, is answered
//! with its status, counted under its reason, closed, and reaches nobody.

mod heads;
mod paths;
mod limits;
mod http2;

use crate::common::forms::{self, TARGET};
use crate::common::{Gateway, Setup, Upstream, shown};

const REJECTIONS: &str = "widget_gateway_rejections_total";

/// A route inside another one, so that merging slashes can select another route.
fn setting(server: &str) -> (Upstream, Gateway) {
    let upstream = Upstream::start();
    let inner = "[[routes]]\npath = \"/admin\"\nname = \"admin\"\nkind = \"pass\"\nupstream = \"handlers\"\n";
    let rest = format!("{inner}{}", forms::routes(&[upstream.address]));
    let gateway = Gateway::with(Setup::of(rest).server(server));
    (upstream, gateway)
}

/// Sends the bytes as they are on a connection of their own.
fn refused(gateway: &Gateway, upstream: &Upstream, bytes: &[u8], status: u16, reason: &str) {
    let before = gateway.metrics();
    let mut conn = gateway.connect();
    conn.send(bytes);
    let response = conn
        .try_response("GET")
        .unwrap_or_else(|| panic!("no answer to {}", shown(bytes)));
    assert_eq!(response.status, status, "{}", shown(bytes));
    conn.expect_closed();
    upstream.expect_untouched();
    let total = before.value(REJECTIONS, &[]) + 1.0;
    let after = gateway.metrics_when(&shown(bytes), |now| now.value(REJECTIONS, &[]) >= total);
    let rose =
        after.value(REJECTIONS, &[("reason", reason)]) - before.value(REJECTIONS, &[("reason", reason)]);
    assert_eq!(
        rose,
        1.0,
        "{} is not counted as {reason}:\n{}",
        shown(bytes),
        after.lines(REJECTIONS)
    );
    assert_eq!(after.value(REJECTIONS, &[]), total);
}

/// The same for a table of header lines in a POST to the widget route and a GET to the pass route.
fn refused_on_every_route(lines: &[&str], status: u16, reason: &str) {
    let (upstream, gateway) = setting("");
    for line in lines {
        let head = |start: &str| format!("{start} HTTP/1.1\r\nHost: widgets.example\r\n{line}\r\n\r\n");
        for start in [format!("POST {TARGET}"), "GET /admin/x".to_owned()] {
            refused(&gateway, &upstream, head(&start).as_bytes(), status, reason);
        }
    }
    assert_eq!(upstream.connections(), 0);
}
