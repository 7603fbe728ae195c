//! A real gateway process on ports of its own, its log lines and its metrics.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{Conn, Metrics, PATIENCE, Response, identity};

/// The parts of a configuration file that the harness completes with its listeners.
#[derive(Clone)]
pub struct Setup {
    /// Where the admin listener is.
    pub admin: String,
    /// Keys before the first table.
    pub top: String,
    /// More keys of `[server]`.
    pub server: String,
    /// Where clients come in.
    pub listeners: Listeners,
    /// Everything else.
    pub rest: String,
    /// What stands in /etc/hosts, for the gateway alone.
    pub hosts: Option<String>,
    /// What a shell does before it becomes the gateway.
    pub limits: Option<String>,
    /// More keys of the listeners that take HTTP/2.
    pub listener: String,
}

/// The listeners of the harness.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Listeners {
    /// Plain HTTP/1, and one that takes HTTP/2 with prior knowledge.
    #[default]
    Plain,
    /// These and one of TLS, so that every carrier finds its way.
    EveryCarrier,
}

impl Default for Setup {
    fn default() -> Setup {
        let (top, server, listeners, rest) = Default::default();
        Setup {
            admin: "127.0.0.1:0".to_owned(),
            top,
            server,
            listeners,
            rest,
            hosts: None,
            limits: None,
            listener: String::new(),
        }
    }
}

impl Setup {
    pub fn of(rest: impl Into<String>) -> Setup {
        Setup {
            rest: rest.into(),
            ..Setup::default()
        }
    }

    pub fn top(mut self, lines: &str) -> Setup {
        self.top = lines.to_owned();
        self
    }

    pub fn server(mut self, lines: &str) -> Setup {
        self.server = lines.to_owned();
        self
    }

    /// A name server of the gateway's own; see [`Gateway::hosts`].
    pub fn hosts(mut self, lines: &str) -> Setup {
        self.hosts = Some(lines.to_owned());
        self
    }

    /// Limits under which the gateway starts, as a shell sets them.
    pub fn limits(mut self, lines: &str) -> Setup {
        self.limits = Some(lines.to_owned());
        self
    }

    pub fn every_carrier(mut self) -> Setup {
        self.listeners = Listeners::EveryCarrier;
        self
    }

    /// More keys of the listeners that take HTTP/2, with TLS or without.
    pub fn listener(mut self, lines: &str) -> Setup {
        self.listener = lines.to_owned();
        self
    }

    pub fn admin(mut self, address: &str) -> Setup {
        self.admin = address.to_owned();
        self
    }

    /// Two workers: enough to show races, few enough for a small machine. What it names stands in the folder.
    fn text(&self, folder: &std::path::Path) -> String {
        let Setup {
            admin,
            top,
            server,
            listeners,
            rest,
            hosts: _,
            limits: _,
            listener,
        } = self;
        let tls = match listeners {
            Listeners::Plain => String::new(),
            Listeners::EveryCarrier => identity::listener(folder) + listener + "\n",
        };
        format!(
            "{top}\n[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"{admin}\"\nthreads = 2\n{server}\n\
             [[server.listeners]]\naddress = \"127.0.0.1:0\"\nh2c = true\n{listener}\n\n{tls}{rest}\n"
        )
    }
}

pub struct Gateway {
    child: Child,
    log: Arc<Log>,
    addresses: HashMap<Listener, SocketAddr>,
    setup: Setup,
    folder: tempfile::TempDir,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Listener {
    Http,
    H2c,
    Tls,
    Admin,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    raw: Vec<String>,
    parsed: Vec<Value>,
    ended: bool,
}

impl Gateway {
    pub fn start(rest: impl Into<String>) -> Gateway {
        Gateway::with(Setup::of(rest))
    }

    /// With a listener for every carrier.
    pub fn on_every_carrier(rest: impl Into<String>) -> Gateway {
        Gateway::with(Setup::of(rest).every_carrier())
    }

    pub fn with(setup: Setup) -> Gateway {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gateway.toml");
        std::fs::write(&file, setup.text(folder.path())).unwrap();
        let mut gateway = Gateway::spawn(&file, &[], &[], setup, folder);
        gateway.learn_addresses();
        gateway
    }

    /// On a file of the test's own, whose addresses the test knows.
    pub fn on(file: &std::path::Path, options: &[&str]) -> Gateway {
        Gateway::with_env(file, options, &[])
    }

    /// The same, in an environment of its own.
    pub fn with_env(file: &std::path::Path, options: &[&str], env: &[(&str, &OsStr)]) -> Gateway {
        Gateway::spawn(file, options, env, Setup::default(), tempfile::tempdir().unwrap())
    }

    fn spawn(
        file: &std::path::Path,
        options: &[&str],
        env: &[(&str, &OsStr)],
        setup: Setup,
        folder: tempfile::TempDir,
    ) -> Gateway {
        let mut command = match (&setup.hosts, &setup.limits) {
            (None, None) => Command::new(env!("CARGO_BIN_EXE_widget-gateway")),
            (None, Some(lines)) => {
                let mut command = Command::new("sh");
                command.args(["-c", &format!("{lines}; exec \"$@\""), "sh"]);
                command.arg(env!("CARGO_BIN_EXE_widget-gateway"));
                command
            }
            (Some(lines), _) => {
                let hosts = folder.path().join("hosts");
                std::fs::write(&hosts, lines).unwrap();
                in_a_mount_namespace(&hosts)
            }
        };
        let mut child = command
            .arg("run")
            .arg("-c")
            .arg(file)
            .args(options)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let log = Arc::new(Log::default());
        let (sink, stderr) = (log.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || sink.read(stderr));
        Gateway {
            child,
            log,
            addresses: HashMap::new(),
            setup,
            folder,
        }
    }

    /// One line per listener tells where it is; the plain ones come in the order of the file.
    fn learn_addresses(&mut self) {
        let listening = |line: &Value| line["msg"] == "listening";
        // The operator's listener is the last one told.
        let lines = self.log.wait("the admin listener", |lines| {
            let found: Vec<Value> = lines.iter().filter(|line| listening(line)).cloned().collect();
            found
                .iter()
                .any(|line| line["listener"] == "admin")
                .then_some(found)
        });
        for line in lines {
            let address = line["address"]
                .as_str()
                .and_then(|a| a.parse().ok())
                .expect("an address");
            let listener = match line["listener"].as_str() {
                Some("admin") => Listener::Admin,
                Some("h2c") => Listener::H2c,
                _ if self.addresses.contains_key(&Listener::H2c) => Listener::Tls,
                _ if self.addresses.contains_key(&Listener::Http) => Listener::H2c,
                _ => Listener::Http,
            };
            self.addresses.insert(listener, address);
        }
        assert!(self.addresses.len() >= 3, "{:?}", self.addresses);
    }

    /// What its names mean from now on.
    pub fn hosts(&self, lines: &str) {
        // In place: the file is mounted over /etc/hosts.
        std::fs::write(self.folder().join("hosts"), lines).unwrap();
    }

    /// The folder of the configuration, for files that it names.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// The configuration file.
    pub fn file(&self) -> std::path::PathBuf {
        self.folder().join("gateway.toml")
    }

    /// The text of the configuration with everything but the listeners exchanged.
    pub fn text(&self, rest: &str) -> String {
        Setup {
            rest: rest.to_owned(),
            ..self.setup.clone()
        }
        .text(self.folder())
    }

    /// Puts another configuration in the file's place at once, as a careful editor does.
    pub fn rewrite(&self, rest: &str) {
        self.replace_file(self.text(rest));
    }

    /// Puts these bytes in the file's place at once.
    pub fn replace_file(&self, content: impl AsRef<[u8]>) {
        let new = self.folder().join("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, self.file()).unwrap();
    }

    /// The lines of reloads, once there are so many.
    pub fn reload_lines(&self, count: usize) -> Vec<Value> {
        self.log.wait(&format!("{count} reloads"), |lines| {
            let reloads = || lines.iter().filter(|line| line["msg"] == "reload");
            (reloads().count() >= count).then(|| reloads().cloned().collect())
        })
    }

    /// The exit code of a gateway that ends by itself.
    pub fn wait(mut self) -> ExitStatus {
        self.log.wait_for_end();
        self.child.wait().unwrap()
    }

    /// The same, with every line that it wrote.
    pub fn wait_with_lines(mut self) -> (ExitStatus, Vec<String>) {
        self.log.wait_for_end();
        (self.child.wait().unwrap(), self.raw_logs())
    }

    pub fn http(&self) -> SocketAddr {
        self.addresses[&Listener::Http]
    }

    pub fn h2c(&self) -> SocketAddr {
        self.addresses[&Listener::H2c]
    }

    /// The third listener: the harness's own, or one that the test adds.
    pub fn tls(&self) -> SocketAddr {
        self.addresses[&Listener::Tls]
    }

    pub fn admin(&self) -> SocketAddr {
        self.addresses[&Listener::Admin]
    }

    pub fn connect(&self) -> Conn {
        Conn::open(self.http())
    }

    /// One request on a connection of its own.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Response {
        self.connect().roundtrip(request)
    }

    pub fn ask_admin(&self, method: &str, path: &str) -> Response {
        let mut conn = Conn::open(self.admin());
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.admin()
        );
        conn.send(head);
        conn.response_to(method)
    }

    /// Scrapes a gateway whose admin address the test knows until the metrics are as they should be.
    pub fn metrics_at(&self, admin: SocketAddr, wanted: impl Fn(&Metrics) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut conn = Conn::open(admin);
            conn.send(format!(
                "GET /metrics HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"
            ));
            let metrics = Metrics::parse(conn.response().text());
            if wanted(&metrics) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the metrics never came to it:\n{}",
                metrics.text
            );
        }
    }

    pub fn metrics(&self) -> Metrics {
        let response = self.ask_admin("GET", "/metrics");
        assert_eq!(response.status, 200);
        Metrics::parse(response.text())
    }

    /// A scrape that has all of so many requests: a line is written once everything else was counted.
    pub fn metrics_after(&self, requests: usize) -> Metrics {
        self.request_lines(requests);
        self.metrics()
    }

    /// Scrapes until the metrics are as they should be: they move right after an answer, not before.
    pub fn metrics_when(&self, what: &str, wanted: impl Fn(&Metrics) -> bool) -> Metrics {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics();
            if wanted(&metrics) {
                return metrics;
            }
            assert!(
                Instant::now() < deadline,
                "the metrics never showed {what}:\n{}",
                metrics.text
            );
        }
    }

    /// Waits until the series stands exactly at the value.
    pub fn metric_reaches(&self, name: &str, labels: &[(&str, &str)], value: f64) -> Metrics {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let metrics = self.metrics();
            let is = metrics.value(name, labels);
            if is == value {
                return metrics;
            }
            assert!(
                is <= value && Instant::now() < deadline,
                "{name}{labels:?} is {is}, not {value}:\n{}",
                metrics.lines(name)
            );
        }
    }

    /// Every line so far; one that is no JSON stands as a string.
    pub fn logs(&self) -> Vec<Value> {
        self.log.lines().parsed.clone()
    }

    /// How many lines there are so far.
    pub fn log_count(&self) -> usize {
        self.log.lines().raw.len()
    }

    /// Every line so far as it was written.
    pub fn raw_logs(&self) -> Vec<String> {
        self.log.lines().raw.clone()
    }

    /// The first line, past or coming, that fits.
    pub fn wait_log(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.log
            .wait(what, |lines| lines.iter().find(|line| fits(line)).cloned())
    }

    /// The first line that fits behind the first `told` ones.
    pub fn wait_log_after(&self, told: usize, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.log.wait(what, |lines| {
            lines.iter().skip(told).find(|line| fits(line)).cloned()
        })
    }

    /// Descriptors that the process has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// A soft and a hard limit of the process (proc_pid_limits(5)).
    pub fn kernel_limit(&self, name: &str) -> [String; 2] {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let mut values = limits.lines().filter_map(|line| line.strip_prefix(name));
        let mut values = values.next().unwrap().split_whitespace();
        [(); 2].map(|()| values.next().unwrap().to_owned())
    }

    /// Resident memory of the process.
    pub fn resident_kib(&self) -> u64 {
        let resident = self.kernel_says("VmRSS");
        resident.trim_end_matches(" kB").parse().unwrap()
    }

    /// The most that it ever was.
    pub fn most_resident_kib(&self) -> u64 {
        self.kernel_says("VmHWM").trim_end_matches(" kB").parse().unwrap()
    }

    /// A line of the process's status (proc_pid_status(5)).
    pub fn kernel_says(&self, key: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let mut values = status
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        values.next().unwrap().trim().to_owned()
    }

    /// The lines of requests, once there are so many.
    pub fn request_lines(&self, count: usize) -> Vec<Value> {
        self.log.wait(&format!("{count} requests"), |lines| {
            let of_requests = || lines.iter().filter(|line| line["request_id"].is_string());
            (of_requests().count() >= count).then(|| of_requests().cloned().collect())
        })
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).unwrap();
        kill(Pid::from_raw(id), signal).expect("the gateway is alive");
    }

    /// SIGTERM, and the way it ends.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.log.wait_for_end();
        self.child.wait().unwrap()
    }
}

/// A command that starts the gateway where this file is /etc/hosts.
fn in_a_mount_namespace(hosts: &std::path::Path) -> Command {
    assert_own_mounts();
    let mut command = own_mounts();
    command
        .args([
            "sh",
            "-c",
            "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"",
            "sh",
        ])
        .arg(hosts)
        .arg(env!("CARGO_BIN_EXE_widget-gateway"));
    command
}

/// A name can be given a meaning for one process, or the test ends here.
fn assert_own_mounts() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut command = own_mounts();
    command
        .args(["mount", "--bind"])
        .arg(file.path())
        .arg("/etc/hosts");
    let output = command
        .output()
        .expect("unshare; apt-get install util-linux mount");
    assert!(
        output.status.success(),
        "a mount namespace of its own is needed for a hosts file of its own: as root with CAP_SYS_ADMIN, or \
         where unprivileged user namespaces are allowed (sysctl kernel.unprivileged_userns_clone=1): {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A command that runs another with mounts of its own.
fn own_mounts() -> Command {
    let mut command = Command::new("unshare");
    command.arg("--mount");
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        command.arg("--map-root-user");
    }
    command
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let lines = self.raw_logs();
            let recent = lines.len().saturating_sub(60);
            let mut stderr = std::io::stderr().lock();
            let _ = writeln!(
                stderr,
                "--- the gateway's last log lines\n{}\n---",
                lines[recent..].join("\n")
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Log {
    /// Readable after a failed wait too: the last lines are printed while the test unwinds.
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, stderr: impl std::io::Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let parsed = serde_json::from_str(&line).unwrap_or_else(|_| Value::String(line.clone()));
            let mut lines = self.lines();
            lines.raw.push(line);
            lines.parsed.push(parsed);
            drop(lines);
            self.more.notify_all();
        }
        self.lines().ended = true;
        self.more.notify_all();
    }

    fn wait<T>(&self, what: &str, find: impl Fn(&[Value]) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines();
        loop {
            if let Some(found) = find(&lines.parsed) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if lines.ended || left.is_zero() {
                let ended = if lines.ended {
                    " before the process ended"
                } else {
                    ""
                };
                let (all, count) = (&lines.raw, lines.raw.len());
                panic!(
                    "no log line for {what}{ended}; last of {count}:\n{}",
                    all[count.saturating_sub(30)..].join("\n")
                );
            }
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    fn wait_for_end(&self) {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.lines();
        while !lines.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "the gateway does not stop");
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}
