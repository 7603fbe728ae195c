//! The metrics as a scraper gets them: packed where it takes that, and from where a scraper may be.

use std::io::Read as _;
use std::net::SocketAddr;

use crate::admin::{ask, own_address};
use crate::common::{Gateway, Metrics, Setup, Upstream, forms};
use flate2::read::GzDecoder;

#[test]
fn metrics_are_packed_where_the_scraper_takes_it() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    let host = format!("Host: {}", gateway.admin());
    let get = |accepts: &str| ask(gateway.admin(), "GET", "/metrics", &[&host, accepts]);
    let plain = get("Accept-Encoding: identity");
    let packed = get("Accept-Encoding: gzip");
    assert_eq!(
        (plain.header("content-encoding"), plain.header("vary")),
        (None, Some("accept-encoding"))
    );
    assert_eq!(
        (packed.header("content-encoding"), packed.header("vary")),
        (Some("gzip"), Some("accept-encoding"))
    );
    assert!(
        packed.body.len() * 10 < plain.body.len(),
        "{} of {}",
        packed.body.len(),
        plain.body.len()
    );
    let mut text = String::new();
    GzDecoder::new(packed.body.as_slice())
        .read_to_string(&mut text)
        .unwrap();
    for name in [
        "widget_gateway_requests_in_flight",
        "widget_gateway_held_body_bytes",
    ] {
        assert_eq!(Metrics::parse(&text).value(name, &[]), 0.0);
    }
    assert_eq!(text.lines().count(), plain.text().lines().count());
}

#[test]
fn a_scraper_reads_metrics_and_nothing_else() {
    let own = own_address();
    let upstream = Upstream::start();
    let setup = Setup::of(forms::routes(&[upstream.address]))
        .admin("0.0.0.0:0")
        .server(&format!("admin_metrics_allow = [\"{own}\"]"));
    let gateway = Gateway::with(setup);
    let from_outside = SocketAddr::new(own, gateway.admin().port());
    let host = format!("Host: {from_outside}");
    for (path, status) in [
        ("/metrics", 200),
        ("/-/healthy", 200),
        ("/", 403),
        ("/-/ready", 403),
        ("/-/status", 403),
        ("/-/config", 403),
        ("/-/top", 403),
        ("/-/limits/3f7a90c1d2e45b68a0719cbe8d243f56", 403),
        ("/nothing", 403),
    ] {
        assert_eq!(ask(from_outside, "GET", path, &[&host]).status, status, "{path}");
    }
    assert_eq!(ask(from_outside, "POST", "/-/reload", &[&host]).status, 403);
}

/// A body that is held shows while it is held.
#[test]
fn held_bytes_are_told_while_they_are_held() {
    let upstream = Upstream::start();
    let gate = upstream.hold();
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    let mut conn = gateway.connect();
    conn.send(forms::post(forms::TARGET, &[], forms::BODY));
    upstream.wait_for(1);
    let held = forms::BODY.len() as f64;
    let name = "widget_gateway_held_body_bytes";
    gateway.metrics_when("the held body", |now| now.value(name, &[]) == held);
    let status = gateway.ask_admin("GET", "/-/status").json();
    assert_eq!(
        (&status["held_body_bytes"], &status["held_bodies"]),
        (&forms::BODY.len().into(), &(256 << 20).into())
    );
    assert_eq!(status["upstreams"][0]["servers"][0]["in_flight"], 1);
    gate.open();
    assert_eq!(conn.response().status, 200);
    gateway.metrics_when("its end", |now| now.value(name, &[]) == 0.0);
}
