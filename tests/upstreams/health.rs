//! Whether a server is asked, and how it comes back.

use std::time::Instant;

use serde_json::json;

use super::{EJECTIONS, UP, call, over, shares};
use crate::common::upstream::Gate;
use crate::common::{DeadServer, Gateway, PATIENCE, Reply, Setup, Upstream};

fn status_reaches(gateway: &Gateway, path: &str, status: u16) {
    let deadline = Instant::now() + PATIENCE;
    while gateway.ask_admin("GET", path).status != status {
        assert!(Instant::now() < deadline, "{path} is never {status}");
    }
}

#[test]
fn a_server_that_could_not_be_connected_to_comes_back_without_a_request() {
    let (dead, other) = (DeadServer::new(), Upstream::start());
    let gateway = Gateway::start(over(&[dead.address(), other.address], ""));
    let name = dead.address().to_string();
    for _ in 0..6 {
        assert_eq!(call(&gateway).status, 200);
    }
    assert_eq!(other.take().len(), 6);
    let metrics = gateway.metrics();
    assert_eq!(metrics.value(UP, &[("server", &name)]), 0.0);
    assert_eq!(
        metrics.value("widget_gateway_upstream_retries_total", &[]),
        1.0,
        "what is down is asked last"
    );
    let is_told = |msg: &str| {
        let line = gateway.wait_log(msg, |line| line["msg"] == msg && line["server"] == *name);
        assert_eq!(
            (&line["level"], &line["upstream"]),
            (&json!("warn"), &json!("handlers")),
            "{line}"
        );
        line
    };
    assert_eq!(is_told("a server is down")["cause"], "refused");

    let revived = dead.revive();
    gateway.metrics_when("a server that is up", |metrics| {
        metrics.value(UP, &[("server", &name)]) == 1.0
    });
    is_told("a server is up");
    for _ in 0..6 {
        assert_eq!(call(&gateway).status, 200);
    }
    assert_eq!(shares([&revived, &other]), [3, 3]);
    let told = gateway.logs();
    let told = told.iter().filter(|line| {
        line["msg"]
            .as_str()
            .is_some_and(|msg| msg.starts_with("a server"))
    });
    assert_eq!(told.count(), 2, "one line each way");
}

#[test]
fn readiness_heals_by_itself() {
    let dead = DeadServer::new();
    let setup = Setup::of(over(&[dead.address()], "")).server("ready_requires_upstream = true");
    let gateway = Gateway::with(setup);
    assert_eq!(gateway.ask_admin("GET", "/-/ready").status, 200);
    assert_eq!(call(&gateway).status, 502);
    status_reaches(&gateway, "/-/ready", 503);
    let _revived = dead.revive();
    status_reaches(&gateway, "/-/ready", 200);
}

#[test]
fn a_silent_server_is_ejected_and_the_last_one_never() {
    let gate = Gate::default();
    let (silent, other) = (Upstream::replying(Reply::Held(gate.clone())), Upstream::start());
    let keys = "timeout = \"200ms\"\n[upstreams.handlers.eject]\nfailures = 2\nfor = \"1h\"\n";
    let gateway = Gateway::start(over(&[silent.address, other.address], keys));
    let statuses: Vec<_> = (0..12).map(|_| call(&gateway).status).collect();
    assert_eq!(
        statuses,
        [504, 200, 504, 200, 200, 200, 200, 200, 200, 200, 200, 200]
    );
    assert_eq!(shares([&silent, &other]), [2, 10]);
    let name = silent.address.to_string();
    let line = gateway.wait_log("the ejection", |line| line["msg"] == "a server is ejected");
    assert_eq!(
        (&line["server"], &line["cause"], &line["for_ms"]),
        (&json!(name), &json!("timeout"), &json!(3_600_000))
    );
    let metrics = gateway.metrics();
    assert_eq!(metrics.value(UP, &[("server", &name)]), 0.0);
    assert_eq!(metrics.value(EJECTIONS, &[("server", &name)]), 1.0);

    // It stays out over a reload.
    gateway.rewrite(&over(
        &[silent.address, other.address],
        &format!("retries = 1\n{keys}"),
    ));
    gateway.reload_lines(1);
    for _ in 0..4 {
        assert_eq!(call(&gateway).status, 200);
    }
    assert_eq!(shares([&silent, &other]), [0, 4]);

    // The other one fails too, and is not ejected: somebody has to be asked.
    other.reply(Reply::Held(gate.clone()));
    let statuses: Vec<_> = (0..5).map(|_| call(&gateway).status).collect();
    assert_eq!(statuses, [504; 5]);
    assert_eq!(shares([&silent, &other]), [0, 5]);
    assert_eq!(gateway.metrics().value(EJECTIONS, &[]), 1.0);
    gate.open();
}

#[test]
fn answers_count_as_failures_where_the_file_says_so() {
    let busy = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
    let (bad, other) = (
        Upstream::replying(Reply::Raw(busy.to_vec().into())),
        Upstream::start(),
    );
    let keys = "[upstreams.handlers.eject]\nfailures = 1\nstatuses = [503]\n";
    let gateway = Gateway::start(over(&[bad.address, other.address], keys));
    let statuses: Vec<_> = (0..4).map(|_| call(&gateway).status).collect();
    assert_eq!(statuses, [503, 200, 200, 200]);
    let line = gateway.wait_log("the ejection", |line| line["msg"] == "a server is ejected");
    assert_eq!(
        (&line["cause"], &line["for_ms"]),
        (&json!("bad_answer"), &json!(30_000))
    );
}

#[test]
fn checks_take_a_server_out_and_bring_it_back() {
    let (server, other) = (Upstream::start(), Upstream::start());
    let check = "[upstreams.handlers.check]\npath = \"/health?deep=1\"\nstatus = \"200-299\"\ninterval = \"50ms\"\n\
                 rise = 2\nfall = 2\n";
    let gateway = Gateway::start(over(&[server.address, other.address], check));
    server.wait_for(2);
    let name = server.address.to_string();
    for check in server.take() {
        assert_eq!(
            (check.method().as_str(), check.target()),
            ("GET", b"/health?deep=1".to_vec())
        );
        assert_eq!(check.header("host").unwrap(), name);
    }
    server.reply(Reply::Raw(
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n".to_vec().into(),
    ));
    gateway.metrics_when("a server that is down", |metrics| {
        metrics.value(UP, &[("server", &name)]) == 0.0
    });
    let line = gateway.wait_log("it", |line| line["msg"] == "a server is down");
    assert_eq!(
        (&line["server"], &line["cause"]),
        (&json!(name), &json!("bad_answer"))
    );
    server.reply(Reply::Ok);
    gateway.metrics_when("a server that is up", |metrics| metrics.value(UP, &[]) == 2.0);
}

/// `RELOADS=1000` is the long run.
#[test]
fn reloads_leave_nothing_behind() {
    let reloads: usize = std::env::var("RELOADS").map_or(60, |count| count.parse().unwrap());
    let (dead, server) = (DeadServer::new(), Upstream::start());
    let check = "[upstreams.handlers.check]\ninterval = \"10ms\"\n";
    let rest = |n: usize| {
        over(
            &[dead.address(), server.address],
            &format!("timeout = \"{}s\"\n{check}", n + 1),
        )
    };
    let gateway = Gateway::start(rest(0));
    let mut after_ten = (0, String::new());
    for n in 1..=reloads {
        gateway.rewrite(&rest(n));
        let answer = gateway.ask_admin("POST", "/-/reload");
        assert_eq!(answer.status, 200, "{}", answer.text());
        if n == 10 {
            after_ten = (gateway.descriptors(), gateway.kernel_says("Threads"));
        }
    }
    // Checks that are under way have a descriptor each, and one thread reads files.
    let deadline = Instant::now() + PATIENCE;
    while gateway.descriptors() > after_ten.0 + 2 {
        assert!(
            Instant::now() < deadline,
            "{} descriptors, {} then",
            gateway.descriptors(),
            after_ten.0
        );
    }
    let threads = |text: &str| text.parse::<usize>().unwrap();
    assert!(threads(&gateway.kernel_says("Threads")) <= threads(&after_ten.1) + 2);
}
