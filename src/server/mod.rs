//! Puts the process together: configuration, listeners, doors, the admin listener, signals, the drain.
//!
//! The engine's own `Server` is not used: it always sleeps its whole grace period, panics on an address
//! that can not be bound, and shuts down on SIGQUIT without a successor.

pub mod connection;
pub mod engine;
pub mod exchange;
pub mod incoming;
pub mod listeners;
pub mod live;
pub mod notify;
pub mod relay;
pub mod reload;
pub mod tls;
pub mod traced;
pub mod wire;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use log::Level;
use parking_lot::Mutex;
use pingora::apps::ServerApp;
use pingora::connectors::{ConnectorOptions, TransportConnector};
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::proxy::HttpProxy;
use pingora::server::ListenFds;
use pingora::server::configuration::ServerConf;
use pingora::services::Service as _;
use pingora::services::listening::Service;
use pingora_runtime::Runtime;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Admin};
use crate::config::{self, Loaded, ServerSettings, Snapshot, Watched};
use crate::gateway::Gateway;
use crate::policy::limit::keys::KeyTable;
use crate::request::body::HeldBodies;
use crate::telemetry::log::{self as sink, LogSink};
use crate::telemetry::metrics::{Metrics, Reloaded, Trigger};
use crate::telemetry::recent::Recent;
use crate::telemetry::top::Top;
use connection::{ConnectionRules, Door, Http2};
use engine::Engine;
use listeners::{Bound, Sockets};
use live::Live;
use reload::History;

/// Of a client connection. Everyone here reads into a buffer of its own that is larger, which then goes past
/// this one: the engine's 64 KiB would only be zeroed and held, for each slow connection too.
const READ_BUFFER: usize = 512;
/// Idle connections to upstreams, beside which `max_connections` bounds them: a call needs one. An address
/// has not many more ports to call another from.
const MOST_IDLE: usize = 65_536;
/// How often the table of keys is swept.
const SWEEP: Duration = Duration::from_secs(1);
/// The longest that a collector, dead maybe, may hold up a stop.
const TRACES_FINISH: Duration = Duration::from_secs(2);
/// How often a drain looks whether the last request has ended.
const DRAIN_STEP: Duration = Duration::from_millis(10);

/// Serves until a signal. The exit code is the one of the contract: 0 after a clean stop, 1 where the
/// configuration is refused or an address can not be bound.
///
/// With `take_over` the listeners come from a running predecessor (`[server] upgrade_socket`).
pub fn run(path: &Path, take_over: bool) -> ExitCode {
    // The allocator asks for pages of 2 MiB, and the kernel clears one in one go: 3 ms in which a thread answers
    // nobody, over and over while connections come in a burst. Where that can not be had, nothing else changes.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let Ok((log, flush)) = sink::start() else {
        return ExitCode::FAILURE;
    };
    let code = match start(path, take_over, &log) {
        Ok(running) => running.until_signal(),
        Err(()) => ExitCode::FAILURE,
    };
    // The queue is written out before the process ends.
    drop(flush);
    code
}

/// Everything that serves.
pub struct Running {
    process: Arc<Process>,
    fds: ListenFds,
    runtimes: Vec<Runtime>,
    stop_accepting: watch::Sender<bool>,
}

/// What the parts of the process share.
pub struct Process {
    /// The configuration in force.
    pub live: Arc<ArcSwap<Live>>,
    /// Every family.
    pub metrics: Arc<Metrics>,
    /// Who is busy.
    pub top: Arc<Top>,
    /// The last two minutes.
    pub recent: Mutex<Recent>,
    /// Where lines go.
    pub log: LogSink,
    /// The bound of all limiters.
    pub table: Arc<KeyTable>,
    /// The moment that the limiter's time counts from.
    pub epoch: Instant,
    /// Set once the process drains.
    pub draining: Arc<AtomicBool>,
    /// The file that is read and read again.
    pub path: PathBuf,
    /// The files whose content counts, that one and those that it names, as they were last read.
    pub files: Mutex<Vec<Watched>>,
    /// The last reloads. Held while one is under way, which serializes them.
    pub history: Mutex<History>,
    /// As the listeners were built.
    pub server: ServerSettings,
}

fn start(path: &Path, take_over: bool, log: &LogSink) -> Result<Running, ()> {
    let loaded = config::read(path).map_err(|faults| {
        for fault in &faults {
            log.event(
                Level::Error,
                "configuration refused",
                json!({ "fault": fault.to_string() }),
            );
        }
    })?;
    let metrics = Metrics::new(
        env!("CARGO_PKG_VERSION"),
        env!("GATEWAY_REVISION"),
        env!("GATEWAY_RUSTC"),
    );
    let metrics = metrics
        .map(Arc::new)
        .map_err(|e| log.event(Level::Error, "metrics", json!({ "error": e.to_string() })))?;
    let process = Process::new(path, loaded, metrics, log.clone());
    let server = &process.server;
    let cannot_listen = |(address, e): (String, io::Error)| {
        let details = json!({ "address": address, "error": e.to_string() });
        log.event(Level::Error, "can not listen", details);
    };
    let mut sockets = match (take_over, &server.upgrade_socket) {
        (false, _) => Sockets::none(),
        (true, Some(socket)) => {
            log.event(
                Level::Info,
                "waiting for the predecessor",
                json!({ "upgrade_socket": socket }),
            );
            Sockets::from_predecessor(socket).map_err(|e| cannot_listen((socket.display().to_string(), e)))?
        }
        (true, None) => {
            let e = io::Error::new(io::ErrorKind::NotFound, "server.upgrade_socket is not configured");
            cannot_listen(("upgrade_socket".to_owned(), e));
            return Err(());
        }
    };
    let bound = sockets.bind_all(server).map_err(cannot_listen)?;
    Running::new(process, sockets.into_fds(), &bound)
        .map_err(|e| log.event(Level::Error, "can not serve", json!({ "error": e.to_string() })))
}

impl Process {
    fn new(path: &Path, loaded: Loaded, metrics: Arc<Metrics>, log: LogSink) -> Arc<Process> {
        let epoch = Instant::now();
        let table = Arc::new(KeyTable::new(loaded.settings.spec.max_keys));
        let server = loaded.settings.server.clone();
        ::log::set_max_level(loaded.settings.log.level);
        let files = loaded.files.clone();
        let snapshot = Snapshot::build(loaded, None, &table, Duration::ZERO);
        metrics.certificates(&snapshot.not_after());
        metrics.reloaded(Trigger::Start, Reloaded::Applied, unix_now());
        metrics.in_force(snapshot.generation, &snapshot.sha256, 0);
        let live = Live::new(snapshot, None, &metrics, &log);
        Arc::new(Process {
            live: Arc::new(ArcSwap::from_pointee(live)),
            metrics,
            top: Arc::default(),
            recent: Mutex::default(),
            log,
            table,
            epoch,
            draining: Arc::new(AtomicBool::new(false)),
            path: path.to_owned(),
            files: Mutex::new(files),
            history: Mutex::default(),
            server,
        })
    }

    /// Brings the families up to date whose source counts by itself; before each scrape.
    pub fn refresh_metrics(&self) {
        let table = &self.table;
        self.metrics
            .limiter_table(table.len(), table.max_keys(), table.evicted(), table.overflowed());
        self.metrics.log_lines_dropped(self.log.dropped());
        for (name, upstream) in &self.live.load().env().upstreams {
            for server in &upstream.servers {
                self.metrics.server_up(name, &server.name, server.is_up());
            }
        }
    }

    /// Whether a load balancer should send requests here.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }
}

/// Seconds since the epoch.
pub fn unix_now() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

impl Running {
    fn new(process: Arc<Process>, fds: ListenFds, bound: &Bound) -> pingora::Result<Running> {
        let (stop_accepting, stopped) = watch::channel(false);
        let threads = process.server.threads.map_or_else(cores, usize::from);
        let requests = Runtime::new_no_steal(threads, "requests");
        let admin = Runtime::new_no_steal(1, "admin");
        let conf = ServerConf {
            threads,
            // Attempts, not retries: each server of an upstream once. `fail_to_connect` stops earlier.
            max_retries: 64,
            // The engine keeps so many for each thread.
            upstream_keepalive_pool_size: process.server.max_connections.min(MOST_IDLE).div_ceil(threads),
            ..ServerConf::default()
        };
        let gateway = Arc::new(Gateway {
            live: process.live.clone(),
            metrics: process.metrics.clone(),
            top: process.top.clone(),
            log: process.log.clone(),
            held: Arc::new(HeldBodies::default()),
            epoch: process.epoch,
            draining: process.draining.clone(),
        });
        let connector = Arc::new(TransportConnector::new(Some(ConnectorOptions::from_server_conf(
            &conf,
        ))));
        let mut proxy = HttpProxy::new(Engine(gateway.clone()), Arc::new(conf));
        proxy.handle_init_modules();
        let proxy = Arc::new(proxy);
        let http2 = Arc::new(Http2::new(proxy.clone(), process.server.keepalive_timeout));
        let open = Arc::new(AtomicUsize::new(0));
        for (listener, address) in &bound.http {
            let door = Door {
                gateway: gateway.clone(),
                proxy: proxy.clone(),
                connector: connector.clone(),
                http2: http2.clone(),
                rules: ConnectionRules {
                    max_connections: process.server.max_connections,
                    keepalive_timeout: process.server.keepalive_timeout,
                    header_timeout: process.server.header_timeout,
                },
                h2c: listener.h2c,
                open: open.clone(),
                metrics: process.metrics.clone(),
            };
            let mut service = Service::new(address.to_string(), door);
            let mut endpoint = ListenerConfig::tcp(address.to_string())
                .l4_buffer(L4BufferSettings::default().read(READ_BUFFER));
            if !listener.tls.is_empty() {
                endpoint = endpoint.tls(tls::settings(&process.live, &listener.address)?);
            }
            service.add_listener(endpoint);
            serve(&requests, service, &fds, &stopped);
            process.log.event(
                Level::Info,
                "listening",
                json!({ "listener": "http", "address": address.to_string() }),
            );
        }
        // The admin listener answers while the others drain, so it never hears of the stop.
        let (never, not_stopped) = watch::channel(false);
        let mut service = Service::new(bound.admin.to_string(), Admin::new(process.clone()));
        service.add_tcp(&bound.admin.to_string());
        serve(&admin, service, &fds, &not_stopped);
        process.log.event(
            Level::Info,
            "listening",
            json!({ "listener": "admin", "address": bound.admin.to_string() }),
        );
        let sweeper = process.clone();
        admin.get_handle().spawn(async move {
            let _never = never;
            let mut tick = tokio::time::interval(SWEEP);
            loop {
                tick.tick().await;
                if let Some(policy) = &sweeper.live.load().env().member_limit {
                    policy.limiters().for_each(|limiter| {
                        limiter.sweep(sweeper.epoch.elapsed());
                    });
                }
            }
        });
        admin.get_handle().spawn(admin::status::sample(process.clone()));
        admin.get_handle().spawn(process.clone().watch());
        Ok(Running {
            process,
            fds,
            runtimes: vec![requests, admin],
            stop_accepting,
        })
    }

    fn until_signal(self) -> ExitCode {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return ExitCode::FAILURE;
        };
        let ended = runtime.block_on(self.signals());
        // The process ends under its threads. A runtime that is shut down first would have to wait for the
        // engine's accept loops, which then fail without a pause and never end.
        std::mem::forget(self.runtimes);
        match ended {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                self.process
                    .log
                    .event(Level::Error, "signals", json!({ "error": e.to_string() }));
                ExitCode::FAILURE
            }
        }
    }

    async fn signals(&self) -> io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let log = &self.process.log;
        notify::tell("READY=1");
        log.event(
            Level::Info,
            "ready",
            json!({ "version": env!("CARGO_PKG_VERSION") }),
        );
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => {
                    log.event(Level::Info, "stopping now", json!({ "signal": "SIGINT" }));
                    return Ok(());
                }
                _ = quit.recv() => if self.hand_over().await { break },
                _ = hangup.recv() => {
                    let process = self.process.clone();
                    tokio::task::spawn_blocking(move || process.reload(Trigger::Sighup));
                }
            }
        }
        tokio::select! {
            () = self.drain() => {}
            _ = interrupt.recv() => log.event(Level::Info, "stopping now", json!({ "signal": "SIGINT" })),
        }
        Ok(())
    }

    /// Hands the listeners to a successor. Without one nothing changes.
    async fn hand_over(&self) -> bool {
        let Process { log, server, .. } = &*self.process;
        let Some(socket) = server.upgrade_socket.clone() else {
            log.event(
                Level::Warn,
                "SIGQUIT ignored: server.upgrade_socket is not configured",
                json!({}),
            );
            return false;
        };
        let fds = self.fds.clone();
        let handed = tokio::task::spawn_blocking(move || listeners::hand_over(&fds, &socket)).await;
        match handed.unwrap_or_else(|e| Err(e.into())) {
            Ok(()) => {
                log.event(Level::Info, "handed the listeners over", json!({}));
                true
            }
            Err(e) => {
                let details = json!({ "error": e.to_string() });
                log.event(Level::Warn, "SIGQUIT ignored: no successor waits", details);
                false
            }
        }
    }

    /// Tells load balancers, waits for them, stops accepting, waits for the last request.
    async fn drain(&self) {
        let Process {
            log,
            metrics,
            draining,
            server,
            ..
        } = &*self.process;
        draining.store(true, Ordering::Relaxed);
        notify::tell("STOPPING=1");
        log.event(
            Level::Info,
            "draining",
            json!({ "delay_ms": server.drain_delay.as_millis() as u64 }),
        );
        tokio::time::sleep(server.drain_delay).await;
        let _ = self.stop_accepting.send(true);
        let deadline = Instant::now() + server.grace_period;
        // Connections, not requests: one that was accepted may have a request on its way. Idle ones end
        // at once.
        while metrics.connections_open.get() > 0 && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_STEP).await;
        }
        let traces = self.process.live.load().traces.clone();
        if let Some(traces) = traces {
            let left = deadline.saturating_duration_since(Instant::now());
            traces.finish(left.min(TRACES_FINISH)).await;
        }
        log.event(
            Level::Info,
            "stopped",
            json!({ "requests_cut": metrics.in_flight.get() }),
        );
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn serve<A: ServerApp + Send + Sync + 'static>(
    runtime: &Runtime,
    mut service: Service<A>,
    fds: &ListenFds,
    stopped: &watch::Receiver<bool>,
) {
    let (fds, stopped) = (fds.clone(), stopped.clone());
    runtime
        .get_handle()
        .spawn(async move { service.start_service(Some(fds), stopped, 1).await });
}
