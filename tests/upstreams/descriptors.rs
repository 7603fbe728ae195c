//! The limit of descriptors, as a container starts with it.

use super::over;
use crate::common::{Gateway, Setup, Upstream};

#[test]
fn the_soft_limit_is_raised_and_too_low_a_hard_one_is_told() {
    let server = Upstream::start();
    let setup = || Setup::of(over(&[server.address], "")).server("max_connections = 600");
    let gateway = Gateway::with(setup().limits("ulimit -Sn 64; ulimit -Hn 1500"));
    assert_eq!(gateway.kernel_limit("Max open files"), ["1500", "1500"]);
    assert!(gateway.logs().iter().all(|line| line["needed"].is_null()));

    let gateway = Gateway::with(setup().limits("ulimit -n 512"));
    let line = gateway.wait_log("the warning", |line| !line["needed"].is_null());
    assert_eq!(
        (&line["level"], &line["limit"], &line["needed"]),
        (&"warn".into(), &512.into(), &1456.into())
    );
}
