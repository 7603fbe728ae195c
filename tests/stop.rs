//! Stopping, draining, and handing the listeners to a successor.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::common::forms::{self, BODY, TARGET, post};
use crate::common::load::Load;
use crate::common::{Gateway, Setup, Upstream};
use nix::sys::signal::Signal;
use serde_json::json;

#[test]
fn sigterm_lets_the_last_request_end_and_then_exits_at_once() {
    let upstream = Upstream::start();
    let server = "drain_delay = \"500ms\"\ngrace_period = \"15s\"";
    let gateway = Gateway::with(Setup::of(forms::routes(&[upstream.address])).server(server));
    let mut idle = gateway.connect();
    assert_eq!(
        idle.roundtrip(post(TARGET, &[], BODY)).header("Connection"),
        Some("keep-alive")
    );
    assert_eq!(gateway.ask_admin("GET", "/-/ready").status, 200);
    let gate = upstream.hold();
    let mut last = gateway.connect();
    last.send(post(TARGET, &[], BODY));
    upstream.wait_for(2);

    gateway.signal(Signal::SIGTERM);
    gateway.wait_log("the drain", |line| line["msg"] == "draining");
    // Load balancers are told at once, and whoever still comes is answered.
    assert_eq!(gateway.ask_admin("GET", "/-/ready").status, 503);
    assert_eq!(gateway.ask_admin("GET", "/-/healthy").status, 200);
    let refused = gateway.ask(post("/?DOMAIN=x", &[], BODY));
    assert_eq!(
        (refused.status, refused.header("Connection")),
        (422, Some("close"))
    );
    // Then nobody is accepted any more, and idle connections end.
    idle.expect_closed();
    gate.open();
    let released = Instant::now();
    assert_eq!(last.response().status, 200);
    let status = gateway.wait();
    assert_eq!(status.code(), Some(0));
    assert!(
        released.elapsed() < Duration::from_secs(5),
        "it does not sleep its grace period"
    );
}

#[test]
fn the_grace_period_ends_what_does_not_end() {
    let upstream = Upstream::start();
    let server = "drain_delay = \"1ms\"\ngrace_period = \"300ms\"";
    let gateway = Gateway::with(Setup::of(forms::routes(&[upstream.address])).server(server));
    let _gate = upstream.hold();
    let mut cut = gateway.connect();
    cut.send(post(TARGET, &[], BODY));
    upstream.wait_for(1);
    gateway.signal(Signal::SIGTERM);
    let stopped = gateway.wait_log("the end", |line| line["msg"] == "stopped");
    assert_eq!(stopped["requests_cut"], 1);
    assert_eq!(gateway.wait().code(), Some(0));
    cut.expect_closed();
}

#[test]
fn sigint_stops_now() {
    let upstream = Upstream::start();
    // More than once: a stop that races with the accept loops hung every now and then.
    for _ in 0..20 {
        let gateway = Gateway::start(forms::routes(&[upstream.address]));
        gateway.wait_log("readiness", |line| line["msg"] == "ready");
        gateway.signal(Signal::SIGINT);
        assert_eq!(gateway.wait().code(), Some(0));
    }
}

/// Where names are looked up, a look-up of a name without a dot reads the file of this variable first.
const ALIASES: &str = "HOSTALIASES";

/// Holds every look-up back for as long as it lives.
struct Resolver {
    fifo: PathBuf,
}

impl Resolver {
    fn new(folder: &Path) -> Resolver {
        let fifo = folder.join("aliases");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        Resolver { fifo }
    }

    /// Waits for a look-up. It reads from what is returned, where nothing comes.
    fn is_asked(&self) -> std::fs::File {
        let (opens, opened) = std::sync::mpsc::channel();
        let fifo = self.fifo.clone();
        std::thread::spawn(move || opens.send(std::fs::File::options().write(true).open(fifo)));
        let asked = opened.recv_timeout(crate::common::PATIENCE);
        asked.expect("a name is looked up").unwrap()
    }
}

/// A gateway on a file with this server, whose look-ups the resolver holds back.
fn looking_up(file: &Path, resolver: &Resolver, server: &str) -> Gateway {
    write_with_server(file, server);
    Gateway::with_env(file, &[], &[(ALIASES, resolver.fifo.as_os_str())])
}

fn write_with_server(file: &Path, server: &str) {
    let listen = "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\ndrain_delay = \"1ms\"\n";
    let routes = forms::routes(&["127.0.0.1:9".parse().unwrap()]).replace("127.0.0.1:9", server);
    std::fs::write(file, format!("{listen}{routes}")).unwrap();
}

#[test]
fn a_name_look_up_holds_up_no_end() {
    let folder = tempfile::tempdir().unwrap();
    let resolver = Resolver::new(folder.path());
    let file = folder.path().join("gateway.toml");
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // A reload.
        let gateway = looking_up(&file, &resolver, "127.0.0.1:9");
        gateway.wait_log("readiness", |line| line["msg"] == "ready");
        write_with_server(&file, "nowhere:9");
        gateway.signal(Signal::SIGHUP);
        let asked = resolver.is_asked();
        ends_soon(gateway, signal);
        drop(asked);
        // The start.
        let gateway = looking_up(&file, &resolver, "nowhere:9");
        let asked = resolver.is_asked();
        ends_soon(gateway, signal);
        drop(asked);
    }
}

/// What was read at the start may be older than what the operator has written by then.
#[test]
fn a_reload_that_is_asked_for_before_readiness_follows_it() {
    let folder = tempfile::tempdir().unwrap();
    let resolver = Resolver::new(folder.path());
    let file = folder.path().join("gateway.toml");
    let gateway = looking_up(&file, &resolver, "nowhere:9");
    let asked = resolver.is_asked();
    write_with_server(&file, "127.0.0.1:9");
    gateway.signal(Signal::SIGHUP);
    drop(asked);
    gateway.wait_log("readiness", |line| line["msg"] == "ready");
    let reload = &gateway.reload_lines(1)[0];
    assert_eq!(
        (&reload["trigger"], &reload["result"]),
        (&json!("sighup"), &json!("applied"))
    );
    gateway.signal(Signal::SIGINT);
}

fn ends_soon(gateway: Gateway, signal: Signal) {
    let begun = Instant::now();
    gateway.signal(signal);
    assert_eq!(gateway.wait().code(), Some(0), "{signal}");
    assert!(begun.elapsed() < Duration::from_secs(4), "{signal}");
}

#[test]
fn sigint_waits_for_no_successor() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let server = format!("upgrade_socket = \"{}/upgrade\"", folder.path().display());
    let rest = format!("{}[log]\nlevel = \"debug\"\n", forms::routes(&[upstream.address]));
    let gateway = Gateway::with(Setup::of(rest).server(&server));
    gateway.wait_log("readiness", |line| line["msg"] == "ready");
    gateway.signal(Signal::SIGQUIT);
    // The engine tries five times, a second apart.
    gateway.wait_log("the first try", |line| line["engine"] == "hand_over");
    let begun = Instant::now();
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn what_log_rotation_sends_is_told_and_changes_nothing() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    gateway.wait_log("readiness", |line| line["msg"] == "ready");
    for signal in [Signal::SIGUSR1, Signal::SIGUSR2] {
        gateway.signal(signal);
        let line = gateway.wait_log(signal.as_str(), |line| {
            line["msg"]
                .as_str()
                .is_some_and(|msg| msg.contains(signal.as_str()))
        });
        assert_eq!(line["level"], "warn");
        assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    }
    assert_eq!(gateway.stop().code(), Some(0));
}

#[test]
fn sigquit_without_a_successor_changes_nothing() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let server = format!("upgrade_socket = \"{}/upgrade\"", folder.path().display());
    for (server, why) in [("", "not configured"), (server.as_str(), "no successor waits")] {
        let gateway = Gateway::with(Setup::of(forms::routes(&[upstream.address])).server(server));
        gateway.wait_log("readiness", |line| line["msg"] == "ready");
        gateway.signal(Signal::SIGQUIT);
        gateway.wait_log(why, |line| {
            line["msg"].as_str().is_some_and(|msg| msg.contains(why))
        });
        assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    }
}

#[test]
fn an_address_that_can_not_be_bound_is_exit_1_within_a_second() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let listen = format!(
        "[server]\nlisten = [\"{}\"]\nadmin = \"127.0.0.1:0\"\n",
        taken.local_addr().unwrap()
    );
    std::fs::write(
        &file,
        format!("{listen}{}", forms::routes(&["127.0.0.1:9".parse().unwrap()])),
    )
    .unwrap();
    let started = Instant::now();
    let output = gateway_command()
        .arg("run")
        .arg("-c")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(started.elapsed() < Duration::from_secs(1));
    let line: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(line["address"], taken.local_addr().unwrap().to_string());
}

fn gateway_command() -> std::process::Command {
    std::process::Command::new(env!("CARGO_BIN_EXE_widget-gateway"))
}

/// Two addresses that are free now. The successor has to bind what the predecessor names, so the ports
/// are chosen before both.
fn two_addresses() -> [SocketAddr; 2] {
    let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}

#[test]
fn a_successor_takes_the_listeners_over_and_no_request_is_lost() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let [http, admin] = two_addresses();
    let file = folder.path().join("gateway.toml");
    let text = format!(
        "[server]\nlisten = [\"{http}\"]\nadmin = \"{admin}\"\nthreads = 2\ndrain_delay = \"1s\"\n\
         upgrade_socket = \"upgrade\"\n{}",
        forms::routes(&[upstream.address])
    );
    std::fs::write(&file, text).unwrap();
    let old = Gateway::on(&file, &[]);
    old.wait_log("readiness", |line| line["msg"] == "ready");

    let load = Load::start(http, 4);
    let new = Gateway::on(&file, &["--take-over"]);
    new.wait_log("the wait", |line| line["msg"] == "waiting for the predecessor");
    let before = load.answered();
    old.signal(Signal::SIGQUIT);
    old.wait_log("the hand-over", |line| line["msg"] == "handed the listeners over");
    assert_eq!(old.wait().code(), Some(0));
    let handed = load.answered();
    assert!(handed > before);
    // The successor serves alone now.
    new.metrics_at(admin, |metrics| {
        metrics.value("widget_gateway_requests_total", &[("outcome", "forwarded")]) > 50.0
    });
    let (answered, failed) = load.stop();
    assert_eq!(failed, 0);
    assert!(answered > handed);
}

#[test]
fn nobody_listens_after_the_end() {
    let upstream = Upstream::start();
    let gateway =
        Gateway::with(Setup::of(forms::routes(&[upstream.address])).server("drain_delay = \"1ms\""));
    let http = gateway.http();
    assert_eq!(gateway.stop().code(), Some(0));
    assert!(TcpStream::connect(http).is_err());
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_and_when_it_stops() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("notify");
    let manager = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
    let file = folder.path().join("gateway.toml");
    let listen = "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\ndrain_delay = \"1ms\"\n";
    let text = format!("{listen}{}", forms::routes(&["127.0.0.1:9".parse().unwrap()]));
    std::fs::write(&file, &text).unwrap();
    let mut child = gateway_command()
        .arg("run")
        .arg("-c")
        .arg(&file)
        .env("NOTIFY_SOCKET", &socket)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut told = [0; 512];
    let mut next = || {
        let length = manager.recv(&mut told).unwrap();
        String::from_utf8(told[..length].to_vec()).unwrap()
    };
    // Each listener, the operator's too, is kept for the process after this one.
    for _ in 0..2 {
        let kept = next();
        assert!(kept.starts_with("FDSTORE=1\nFDNAME=127.0.0.1_"), "{kept}");
    }
    assert_eq!(next(), "READY=1\nSTATUS=serving, generation 1\n");
    // A reload that is refused, and one that is not.
    for (text, status) in [
        (
            format!("{text}["),
            "serving, generation 1; the last reload was refused, faults: 1",
        ),
        (format!("{text}# sound\n"), "serving, generation 2"),
    ] {
        let new = folder.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &file).unwrap();
        let begins = next();
        let at = begins.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        assert!(
            at.is_some_and(|at| at.trim_end().parse::<u64>().is_ok()),
            "{begins}"
        );
        assert_eq!(next(), format!("READY=1\nSTATUS={status}\n"));
    }
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(next(), "STOPPING=1\nSTATUS=draining\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
