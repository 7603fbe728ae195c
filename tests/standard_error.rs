//! Standard error: one JSON object a line whatever happens, and never a reason to stay or to stop.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::time::{Duration, Instant};

use crate::common::forms::{self, BODY, TARGET, post, request};
use crate::common::{Conn, Gateway, Metrics, PATIENCE, Reply, Upstream};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A gateway whose standard error is the test's own affair. Where it listens is agreed before.
struct Bare {
    id: Pid,
    ended: Receiver<ExitStatus>,
    http: SocketAddr,
    admin: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Bare {
    fn start(upstream: SocketAddr, stderr: impl Into<Stdio>) -> Bare {
        let folder = tempfile::tempdir().unwrap();
        let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let file = folder.path().join("gateway.toml");
        let held = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [http, admin] = held.each_ref().map(|listener| listener.local_addr().unwrap());
        let listen = format!(
            "[server]\nlisten = [\"{http}\"]\nadmin = \"{admin}\"\nthreads = 1\ndrain_delay = \"1ms\"\n"
        );
        std::fs::write(&file, format!("{listen}{}", forms::routes(&[upstream]))).unwrap();
        drop(held);
        let mut child = Command::new(env!("CARGO_BIN_EXE_widget-gateway"))
            .args(["run", "-c"])
            .arg(&file)
            .env("NOTIFY_SOCKET", folder.path().join("notify"))
            .stdin(Stdio::null())
            .stderr(stderr)
            .spawn()
            .unwrap();
        let (id, (ends, ended)) = (Pid::from_raw(child.id() as i32), mpsc::channel());
        std::thread::spawn(move || ends.send(child.wait().unwrap()));
        let mut told = [0; 256];
        let mut next = || {
            let length = manager.recv(&mut told).unwrap();
            String::from_utf8(told[..length].to_vec()).unwrap()
        };
        // Both listeners are given to the manager to keep, before it is told more.
        for _ in 0..2 {
            assert_eq!(next().lines().next(), Some("FDSTORE=1"));
        }
        assert_eq!(next().lines().next(), Some("READY=1"));
        Bare {
            id,
            ended,
            http,
            admin,
            _folder: folder,
        }
    }

    fn ask(&self) -> u16 {
        Conn::open(self.http).roundtrip(post(TARGET, &[], BODY)).status
    }

    fn metrics(&self) -> Metrics {
        let mut conn = Conn::open(self.admin);
        conn.send(format!(
            "GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin
        ));
        Metrics::parse(conn.response().text())
    }

    /// The exit code, and how long it took.
    fn end_by(self, signal: Signal) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        kill(self.id, signal).unwrap();
        let status = self.ended.recv_timeout(PATIENCE);
        let status = status.unwrap_or_else(|_| panic!("it stays after {signal}"));
        (status.code(), begun.elapsed())
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // Once it has ended, its number may be another process's.
        if self.ended.try_recv() == Err(TryRecvError::Empty) {
            let _ = kill(self.id, Signal::SIGKILL);
        }
    }
}

/// A pipe that is full to its last byte, so that the next write to it blocks until somebody reads.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let (reader, writer) = std::io::pipe().unwrap();
    let set = |flags| fcntl(writer.as_fd(), FcntlArg::F_SETFL(flags)).unwrap();
    set(OFlag::O_NONBLOCK);
    let mut filler = &writer;
    while std::io::Write::write(&mut filler, &[b'x'; 4096]).is_ok() {}
    while std::io::Write::write(&mut filler, b"x").is_ok() {}
    set(OFlag::empty());
    (reader, writer)
}

#[test]
fn a_reader_that_does_not_read_holds_up_no_end() {
    let upstream = Upstream::replying(Reply::Echo);
    for (signal, longest) in [(Signal::SIGTERM, 4), (Signal::SIGINT, 2)] {
        let (_reader, writer) = full_pipe();
        let gateway = Bare::start(upstream.address, writer);
        assert_eq!(gateway.ask(), 200);
        let (code, took) = gateway.end_by(signal);
        assert_eq!(code, Some(0), "{signal}");
        assert!(took < Duration::from_secs(longest), "{signal}: {took:?}");
    }
}

#[test]
fn lines_that_a_full_disk_does_not_take_are_counted_one_by_one() {
    let upstream = Upstream::replying(Reply::Echo);
    let full = File::options().write(true).open("/dev/full").unwrap();
    let gateway = Bare::start(upstream.address, full);
    for _ in 0..50 {
        assert_eq!(gateway.ask(), 200);
    }
    let name = "widget_gateway_log_lines_dropped_total";
    // "listening" twice, "ready", and one for each request.
    let deadline = Instant::now() + PATIENCE;
    loop {
        let dropped = gateway.metrics().value(name, &[]);
        if dropped == 53.0 {
            break;
        }
        assert!(dropped < 53.0 && Instant::now() < deadline, "{dropped}");
    }
    assert_eq!(gateway.end_by(Signal::SIGTERM).0, Some(0));
}

#[test]
fn a_reader_that_goes_away_stops_nothing() {
    let upstream = Upstream::replying(Reply::Echo);
    let (reader, writer) = std::io::pipe().unwrap();
    let gateway = Bare::start(upstream.address, writer);
    drop(reader);
    for _ in 0..5 {
        assert_eq!(gateway.ask(), 200);
    }
    assert_eq!(gateway.end_by(Signal::SIGTERM).0, Some(0));
}

/// Run by the next test, in a process of its own.
#[test]
#[ignore = "it panics on purpose"]
fn panics() {
    let (_log, flush) = widget_gateway::telemetry::log::start().unwrap();
    let secret = std::env::var("SECRET").unwrap();
    let thread = |name: &str, work: Box<dyn FnOnce() + Send>| {
        let _ = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(work)
            .unwrap()
            .join();
    };
    let said = secret.clone();
    thread("one", Box::new(move || panic!("AUTH_ID={said}")));
    thread("two", Box::new(|| panic!("always the same")));
    thread(
        "three",
        Box::new(move || {
            let _: u8 = secret.parse().unwrap();
        }),
    );
    flush.finish_within(PATIENCE);
}

#[test]
fn a_panic_is_a_line_like_any_other_and_tells_nothing_of_a_request() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "standard_error::panics"])
        .env("SECRET", "5up3r-secret")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let location = line["location"].as_str().unwrap();
            assert!(location.starts_with("tests/standard_error.rs:"), "{location}");
            (
                line["level"].as_str().unwrap(),
                line["msg"].as_str().unwrap(),
                line["thread"].as_str().unwrap(),
                line["reason"].as_str(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            ("error", "panic", "one", None),
            ("error", "panic", "two", Some("always the same")),
            ("error", "panic", "three", None),
        ]
    );
    assert!(!text.contains("5up3r"), "{text}");
}

/// Two threads share a pool of connections: every tenth time the engine takes one that its watcher still
/// holds, and says so at error.
#[test]
fn healthy_traffic_writes_no_line_above_info() {
    const CLIENTS: usize = 8;
    const CALLS: usize = 250;
    let upstream = Upstream::replying(Reply::Echo);
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    let http = gateway.http();
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut conn = Conn::open(http);
                for _ in 0..CALLS {
                    assert_eq!(conn.roundtrip(request("GET", "/", &[], "")).status, 200);
                    assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200);
                }
            });
        }
    });
    gateway.request_lines(2 * CLIENTS * CALLS);
    let above: Vec<_> = gateway
        .logs()
        .into_iter()
        .filter(|line| line["level"] != "info")
        .collect();
    assert_eq!(above, [Value::Null; 0]);
    let metrics = gateway.metrics();
    for kind in ["told", "unknown"] {
        let name = "widget_gateway_engine_lines_total";
        assert_eq!(metrics.value(name, &[("kind", kind)]), 0.0, "{kind}");
    }
}

#[test]
fn what_is_read_late_is_whole() {
    let upstream = Upstream::replying(Reply::Echo);
    let (mut reader, writer) = full_pipe();
    let gateway = Bare::start(upstream.address, writer);
    for _ in 0..100 {
        assert_eq!(gateway.ask(), 200);
    }
    let reading = std::thread::spawn(move || {
        let mut first = [0];
        // What the pipe was filled with ends where the first object begins.
        loop {
            reader.read_exact(&mut first).unwrap();
            if first == *b"{" {
                break;
            }
        }
        let lines = BufReader::new(std::io::Cursor::new(b"{").chain(reader)).lines();
        lines
            .map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap())
            .filter(|line| line["msg"] == "request")
            .count()
    });
    assert_eq!(gateway.end_by(Signal::SIGTERM).0, Some(0));
    assert_eq!(reading.join().unwrap(), 100);
}
