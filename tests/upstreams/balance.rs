//! Which server has the next request.

use std::collections::BTreeMap;
use std::time::Instant;

use super::{call, call_of, over, shares, spelled};
use crate::common::forms::{BODY, MEMBER, TARGET, post, request};
use crate::common::load::Load;
use crate::common::{DeadServer, Gateway, PATIENCE, Upstream};

const IN_FLIGHT: &str = "widget_gateway_upstream_in_flight";

#[test]
fn shares_are_by_weight_and_a_backup_waits() {
    let [heavy, light, backup] = [Upstream::start(), Upstream::start(), Upstream::start()];
    let servers = format!(
        "{{ address = \"{}\", weight = 3 }}, \"{}\", {{ address = \"{}\", backup = true }}",
        heavy.address, light.address, backup.address
    );
    let gateway = Gateway::start(spelled(&servers, ""));
    for _ in 0..12 {
        assert_eq!(call(&gateway).status, 200);
    }
    assert_eq!(shares([&heavy, &light, &backup]), [9, 3, 0]);
}

/// However many ask at once, and whichever server is slow.
#[test]
fn shares_even_out_by_weight_under_load() {
    let [heavy, light, backup] = [Upstream::start(), Upstream::start(), Upstream::start()];
    let servers = format!(
        "{{ address = \"{}\", weight = 3 }}, \"{}\", {{ address = \"{}\", backup = true }}",
        heavy.address, light.address, backup.address
    );
    let gateway = Gateway::start(spelled(&servers, ""));
    let load = Load::start(gateway.http(), 8);
    let deadline = Instant::now() + PATIENCE;
    while load.answered() < 400 {
        assert!(Instant::now() < deadline, "{} answers", load.answered());
        std::thread::yield_now();
    }
    let (answered, failed) = load.stop();
    assert_eq!(failed, 0);
    let [heavy, light, backup] = shares([&heavy, &light, &backup]);
    assert_eq!((heavy + light, backup), (answered, 0));
    // A turn of the order is four requests: nobody is further off than those that were under way.
    assert!(heavy.abs_diff(3 * light) <= 3 * 8, "{heavy} to {light}");
}

#[test]
fn a_backup_is_asked_where_no_other_is_up() {
    let (dead, backup) = (DeadServer::new(), Upstream::start());
    let servers = format!(
        "\"{}\", {{ address = \"{}\", backup = true }}",
        dead.address(),
        backup.address
    );
    let gateway = Gateway::start(spelled(&servers, ""));
    for _ in 0..4 {
        assert_eq!(call(&gateway).status, 200);
    }
    assert_eq!(backup.take().len(), 4);
    let revived = dead.revive();
    gateway.metrics_when("both up", |metrics| metrics.value(super::UP, &[]) == 2.0);
    for _ in 0..4 {
        assert_eq!(call(&gateway).status, 200);
    }
    assert_eq!(shares([&revived, &backup]), [4, 0]);
}

#[test]
fn the_least_loaded_is_asked() {
    let [first, second] = [Upstream::start(), Upstream::start()];
    let gateway = Gateway::start(over(
        &[first.address, second.address],
        "balance = \"least_connections\"\n",
    ));
    let gate = first.hold();
    let mut held = gateway.connect();
    held.send(post(TARGET, &[], BODY));
    first.wait_for(1);
    for _ in 0..5 {
        assert_eq!(call(&gateway).status, 200);
        // A request is over a moment after its answer.
        gateway.metrics_when("one in flight", |metrics| {
            metrics.value(IN_FLIGHT, &[("upstream", "handlers")]) == 1.0
        });
    }
    assert_eq!(shares([&first, &second]), [1, 5]);
    gate.open();
    assert_eq!(held.response().status, 200);
    gateway.metrics_when("nothing in flight", |metrics| {
        metrics.value(IN_FLIGHT, &[]) == 0.0
    });
}

#[test]
fn a_portal_meets_the_same_server_whichever_gateway_it_comes_by() {
    let servers = [Upstream::start(), Upstream::start(), Upstream::start()];
    let addresses = servers.each_ref().map(|server| server.address);
    let keys = "balance = \"member_id\"\n";
    let reversed: Vec<_> = addresses.iter().rev().copied().collect();
    let gateways = [
        Gateway::start(over(&addresses, keys)),
        Gateway::start(over(&reversed, keys)),
    ];
    let members: Vec<_> = (0..24).map(|n| format!("{n:032x}")).collect();
    let mut met = BTreeMap::new();
    for gateway in gateways.iter().chain(&gateways) {
        for member in &members {
            assert_eq!(call_of(gateway, member).status, 200);
            let at = servers
                .iter()
                .position(|server| !server.take().is_empty())
                .unwrap();
            assert_eq!(*met.entry(member).or_insert(at), at, "{member}");
        }
    }
    for at in 0..3 {
        assert!(met.values().any(|met| *met == at), "{met:?}");
    }
    // What has no portal takes turns.
    for _ in 0..6 {
        assert_eq!(gateways[0].ask(request("GET", "/", &[], "")).status, 200);
    }
    assert_eq!(shares(servers.each_ref()), [2, 2, 2]);
    assert!(!members.contains(&MEMBER.to_owned()));
}
