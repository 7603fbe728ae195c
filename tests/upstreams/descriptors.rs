//! The limit of descriptors, as a container starts with it.

use std::net::TcpStream;

use super::over;
use crate::common::client::Conn;
use crate::common::forms::{BODY, TARGET, post, request};
use crate::common::{Gateway, Setup, Upstream};

#[test]
fn the_soft_limit_is_raised_and_a_low_hard_one_leaves_the_admin_listener_its_own() {
    let server = Upstream::start();
    let setup = || Setup::of(over(&[server.address], "")).server("max_connections = 600");
    let gateway = Gateway::with(setup().limits("ulimit -Sn 64; ulimit -Hn 2000"));
    assert_eq!(gateway.kernel_limit("Max open files"), ["2000", "2000"]);
    assert!(gateway.logs().iter().all(|line| line["configured"].is_null()));

    let gateway = Gateway::with(setup().limits("ulimit -n 128"));
    let line = gateway.wait_log("that there is less room", |line| !line["configured"].is_null());
    assert_eq!(
        (
            &line["level"],
            &line["limit"],
            &line["configured"],
            &line["max_connections"]
        ),
        (&"warn".into(), &128.into(), &600.into(), &34.into())
    );
    // More clients than there are descriptors.
    let _idle: Vec<_> = (0..150)
        .map(|_| TcpStream::connect(gateway.http()).unwrap())
        .collect();
    gateway.metrics_when("that the others are refused", |now| {
        now.value("widget_gateway_connections_open", &[]) == 34.0
    });
    for _ in 0..20 {
        assert_eq!(gateway.ask_admin("GET", "/-/healthy").status, 200);
    }
}

/// Connections to one server that are idle now are not what another one needs: both have room.
#[test]
fn idle_connections_to_servers_leave_room_for_busy_ones() {
    let servers = [(); 3].map(|()| Upstream::start());
    let [first, second, third] = &servers;
    let upstream =
        |name: &str, server: &Upstream| format!("[upstreams.{name}]\nservers = [\"{}\"]\n", server.address);
    let route = |path: &str, kind: &str, name: &str| {
        format!(
            "[[routes]]\npath = \"{path}\"\nkind = \"{kind}\"\nname = \"{name}\"\nupstream = \"{name}\"\n"
        )
    };
    let rest = [
        route("/app", "widget", "first"),
        route("/other", "widget", "second"),
        route("/page", "pass", "third"),
        "methods = [\"PUT\"]\n".to_owned(),
        upstream("first", first),
        upstream("second", second),
        upstream("third", third),
    ];
    let setup = Setup::of(rest.concat()).limits("ulimit -n 256");
    let gateway = Gateway::with(setup);
    // (256 - 64 - 2 * 5) / 5 * 2
    let mut clients: Vec<_> = (0..72).map(|_| Conn::open(gateway.http())).collect();
    let call = |path: &str| post(&TARGET.replacen("/app", path, 1), &[], BODY);
    let rounds = [
        (first, call("/app")),
        (second, call("/other")),
        (third, request("PUT", "/page", &["Content-Length: 1"], "x")),
        (first, call("/app")),
    ];
    for (server, asked) in rounds {
        let gate = server.hold();
        clients.iter_mut().for_each(|client| client.send(&asked));
        server.wait_for(clients.len());
        gate.open();
        for client in &mut clients {
            assert_eq!(client.response().status, 200);
        }
        server.take();
        assert_eq!(gateway.ask_admin("GET", "/-/healthy").status, 200);
    }
}
