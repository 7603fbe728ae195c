//! The life of the process: start, signals, drain, hand-over. It puts the clients' listeners and the
//! operator's over what they share.
//!
//! The engine's own `Server` is not used: it always sleeps its whole grace period, panics on an address
//! that can not be bound, and shuts down on SIGQUIT without a successor.

mod notify;

use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use log::Level;
use pingora::server::ListenFds;
use pingora::services::listening::Service;
use pingora_runtime::Runtime;
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::admin::{self, Admin};
use crate::config;
use crate::process::Process;
use crate::server;
use crate::server::listeners::{self, Bound, Sockets};
use crate::telemetry::log::{self as sink, LogSink};
use crate::telemetry::metrics::{Metrics, Trigger};

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
struct Running {
    process: Arc<Process>,
    fds: ListenFds,
    runtimes: Vec<Runtime>,
    stop_accepting: watch::Sender<bool>,
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

impl Running {
    fn new(process: Arc<Process>, fds: ListenFds, bound: &Bound) -> pingora::Result<Running> {
        let (stop_accepting, stopped) = watch::channel(false);
        let threads = process.server.threads.map_or_else(cores, usize::from);
        let requests = Runtime::new_no_steal(threads, "requests");
        let admin = Runtime::new_no_steal(1, "admin");
        server::start(&process, &requests, threads, &fds, bound, &stopped)?;
        // The admin listener answers while the others drain, so it never hears of the stop.
        let (never, not_stopped) = watch::channel(false);
        let mut service = Service::new(bound.admin.to_string(), Admin::new(process.clone()));
        service.add_tcp(&bound.admin.to_string());
        server::serve(&admin, service, &fds, &not_stopped);
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
                let live = sweeper.live.load();
                live.env().limits.sweep(sweeper.epoch.elapsed());
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
