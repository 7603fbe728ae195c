//! Names of servers: what they mean may change.

use serde_json::{Value, json};

use super::{FAILURES, UP, call, shares, spelled};
use crate::common::{Gateway, Request, Setup, Upstream};

const MOVED: &str = "a name has other addresses";

/// `app.test` with this port and more keys, where it means the first of the pair.
fn gateway(servers: &[Upstream; 2], keys: &str) -> Gateway {
    let name = format!("\"app.test:{}\"", servers[0].address.port());
    Gateway::with(Setup::of(spelled(&name, keys)).hosts("127.0.0.1 app.test\n"))
}

#[test]
fn a_name_that_moves_is_followed_without_a_reload() {
    let servers = Upstream::pair();
    let gateway = gateway(&servers, "resolve_interval = \"100ms\"\n");
    let [first, second] = &servers;
    assert_eq!(call(&gateway).status, 200);
    assert_eq!(shares([first, second]), [1, 0]);

    gateway.hosts("127.0.0.2 app.test\n");
    // The first look-up is a change too, from no address.
    let line = gateway.wait_log(MOVED, |line| line["msg"] == MOVED && line["before"] != json!([]));
    let name = format!("app.test:{}", first.address.port());
    assert_eq!(
        (
            &line["level"],
            &line["upstream"],
            &line["server"],
            &line["before"],
            &line["addresses"]
        ),
        (
            &json!("info"),
            &json!("handlers"),
            &json!(name),
            &json!([first.address]),
            &json!([second.address])
        )
    );
    assert_eq!(call(&gateway).status, 200);
    assert_eq!(shares([first, second]), [0, 1]);
    let metrics = gateway.metrics();
    let labels = [("upstream", "handlers"), ("server", &*name)];
    assert_eq!(
        metrics.value("widget_gateway_upstream_address_changes_total", &labels),
        2.0,
        "the first look-up too"
    );
    assert_eq!(metrics.value("widget_gateway_config_generation", &[]), 1.0);

    // Where it no longer resolves, the addresses stay.
    gateway.hosts("");
    gateway.metrics_when("a failed look-up", |metrics| {
        metrics.value(FAILURES, &[("cause", "dns")]) > 0.0
    });
    assert_eq!(call(&gateway).status, 200);
    assert_eq!(gateway.metrics().value(UP, &labels), 1.0);
}

#[test]
fn a_reload_looks_up_at_once_and_knows_a_move_from_nothing() {
    let servers = Upstream::pair();
    let gateway = gateway(&servers, "resolve_interval = \"1h\"\n");
    let [first, second] = &servers;
    let reload = || {
        let answer = gateway.ask_admin("POST", "/-/reload").json();
        (
            answer["result"].as_str().unwrap().to_owned(),
            answer["generation"].as_u64().unwrap(),
        )
    };
    assert_eq!(reload(), ("unchanged".to_owned(), 1));
    gateway.hosts("127.0.0.2 app.test\n");
    assert_eq!(reload(), ("applied".to_owned(), 2));
    assert_eq!(call(&gateway).status, 200);
    assert_eq!(shares([first, second]), [0, 1]);
    assert_eq!(reload(), ("unchanged".to_owned(), 2));
    gateway.hosts("");
    assert_eq!(
        reload(),
        ("unchanged".to_owned(), 2),
        "a name that is lost has moved nowhere"
    );
    assert_eq!(call(&gateway).status, 200);
}

#[test]
fn every_address_of_a_name_is_a_server() {
    let servers = Upstream::pair();
    let gateway = gateway(&servers, "resolve_interval = \"100ms\"\n");
    gateway.hosts("127.0.0.1 app.test\n127.0.0.2 app.test\n");
    gateway.wait_log(MOVED, |line| {
        line["msg"] == MOVED && line["addresses"].as_array().unwrap().len() == 2
    });
    let [first, second] = &servers;
    for _ in 0..6 {
        assert_eq!(call(&gateway).status, 200);
    }
    assert_eq!(shares([first, second]), [3, 3]);
    let addresses: Vec<_> = gateway
        .request_lines(6)
        .iter()
        .map(|line| line["server_address"].clone())
        .collect();
    assert!(addresses.contains(&json!(first.address)) && addresses.contains(&json!(second.address)));
    let up = gateway.metrics();
    assert_eq!(
        up.lines(UP).lines().filter(|line| !line.starts_with('#')).count(),
        1,
        "{}",
        up.lines(UP)
    );
}

#[test]
fn a_name_without_an_address_is_a_server_that_is_down_until_it_has_one() {
    let server = Upstream::start();
    let name = format!("app.test:{}", server.address.port());
    let gateway = Gateway::with(Setup::of(spelled(&format!("\"{name}\""), "")).hosts(""));
    let told = |what: &str, msg: &str, cause: Value| {
        gateway.wait_log(what, |line| {
            line["msg"] == msg && line["server"] == *name && line["level"] == "warn" && line["cause"] == cause
        })
    };
    told("that it is down", "a server is down", json!("dns"));
    let refused = call(&gateway);
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("upstream_unavailable"))
    );
    let line = &gateway.request_lines(1)[0];
    assert_eq!(
        (&line["cause"], &line["tries"], &line["server"]),
        (&json!("dns"), &json!(0), &json!(null))
    );
    for asked in [Request::get("/"), Request::upload()] {
        let passed = gateway.ask(asked.to_http1("HTTP/1.1"));
        assert_eq!(
            (
                passed.status,
                &passed.json()["code"],
                passed.header("retry-after")
            ),
            (503, &json!("upstream_unavailable"), Some("1"))
        );
    }
    let labels = [("upstream", "handlers"), ("server", &*name)];
    assert_eq!(gateway.metrics().value(UP, &labels), 0.0);
    assert!(
        gateway
            .metrics()
            .value(FAILURES, &[("server", &*name), ("cause", "dns")])
            >= 1.0
    );

    gateway.hosts("127.0.0.1 app.test\n");
    gateway.metrics_when("a server that is up", |metrics| metrics.value(UP, &labels) == 1.0);
    told("that it is found", "a name is found again", Value::Null);
    assert_eq!(call(&gateway).status, 200);
    assert_eq!(server.take().len(), 1);
}
