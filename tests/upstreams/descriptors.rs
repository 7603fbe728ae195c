//! The limit of descriptors, as a container starts with it.

use std::net::TcpStream;

use super::over;
use crate::common::{Gateway, Setup, Upstream};

#[test]
fn the_soft_limit_is_raised_and_a_low_hard_one_leaves_the_admin_listener_its_own() {
    let server = Upstream::start();
    let setup = || Setup::of(over(&[server.address], "")).server("max_connections = 600");
    let gateway = Gateway::with(setup().limits("ulimit -Sn 64; ulimit -Hn 1500"));
    assert_eq!(gateway.kernel_limit("Max open files"), ["1500", "1500"]);
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
        (&"warn".into(), &128.into(), &600.into(), &48.into())
    );
    // More clients than there are descriptors.
    let _idle: Vec<_> = (0..150)
        .map(|_| TcpStream::connect(gateway.http()).unwrap())
        .collect();
    gateway.metrics_when("that the others are refused", |now| {
        now.value("widget_gateway_connections_open", &[]) == 48.0
    });
    for _ in 0..20 {
        assert_eq!(gateway.ask_admin("GET", "/-/healthy").status, 200);
    }
}
