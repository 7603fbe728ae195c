//! The life of the process: start, signals, drain, hand-over. It puts the clients' listeners and the
//! operator's over what they share.
//!
//! The engine's own `Server` is not used: it always sleeps its whole grace period, panics on an address
//! that can not be bound, and shuts down on SIGQUIT without a successor.

mod signals;

use std::future::Future;
use std::io;
use std::mem::ManuallyDrop;
use std::net::TcpListener;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use pingora::server::ListenFds;
use pingora::services::listening::Service;
use pingora_runtime::Runtime;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{self, Admin};
use crate::config;
use crate::process::{Process, notify};
use crate::server;
use crate::server::listeners::{self, Bound, Sockets};
use crate::telemetry::log::{self as sink, LogSink};
use crate::telemetry::metrics::{Metrics, Trigger};
use signals::{Heard, Signals};

/// How often the table of keys is swept.
const SWEEP: Duration = Duration::from_secs(1);
/// The longest that a collector, dead maybe, may hold up a stop.
const TRACES_FINISH: Duration = Duration::from_secs(2);
/// How often a drain looks whether the last request has ended.
const DRAIN_STEP: Duration = Duration::from_millis(10);
/// Without a connection for so long, whatever was accepted at the very end has been counted.
const SETTLED: Duration = Duration::from_millis(250);

/// How the process ended.
#[derive(Clone, Copy)]
enum End {
    /// After a drain.
    Drained,
    /// At once, as it was asked to.
    Interrupted,
    /// It could not serve.
    Failed,
}

impl End {
    const fn code(self) -> ExitCode {
        match self {
            End::Drained | End::Interrupted => ExitCode::SUCCESS,
            End::Failed => ExitCode::FAILURE,
        }
    }

    /// How long the process waits until its last log lines are read.
    const fn patience(self) -> Duration {
        match self {
            End::Drained | End::Failed => Duration::from_secs(1),
            // A reader that reads needs a few milliseconds.
            End::Interrupted => Duration::from_millis(200),
        }
    }
}

/// Serves until a signal. The exit code is the one of the contract: 0 after a clean stop, 1 where the
/// configuration is refused or an address can not be bound.
///
/// With `take_over` the listeners come from a running predecessor (`[server] upgrade_socket`).
pub fn run(path: &Path, take_over: bool) -> ExitCode {
    // Before there are threads: the environment says what they are, and is cleared of it.
    let inherited = listeners::inherited();
    // The allocator asks for pages of 2 MiB, and the kernel clears one in one go: 3 ms in which a thread answers
    // nobody, over and over while connections come in a burst. Where that can not be had, nothing else changes.
    let _ = nix::sys::prctl::set_thp_disable(true);
    let Ok((log, flush)) = sink::start() else {
        return ExitCode::FAILURE;
    };
    let end = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let end = runtime.block_on(serve(path, take_over, inherited, &log));
            // Nobody waits for a name look-up or a reload that is still under way.
            runtime.shutdown_background();
            end
        }
        Err(e) => {
            log.error("can not serve", json!({ "error": e.to_string() }));
            End::Failed
        }
    };
    flush.finish_within(end.patience());
    end.code()
}

async fn serve(path: &Path, take_over: bool, inherited: Vec<TcpListener>, log: &LogSink) -> End {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(e) => {
            log.error("signals", json!({ "error": e.to_string() }));
            return End::Failed;
        }
    };
    // Names are looked up and a predecessor is waited for: a signal is heard meanwhile.
    let mut starting = {
        let (path, log) = (path.to_owned(), log.clone());
        tokio::task::spawn_blocking(move || start(&path, take_over, inherited, &log))
    };
    // What was read by then may be older than what the operator wants to be read.
    let mut reloads = false;
    let running = loop {
        tokio::select! {
            started = &mut starting => match started {
                Ok(Ok(running)) => break running,
                Ok(Err(())) | Err(_) => return End::Failed,
            },
            heard = signals.next() => match heard {
                Heard::Interrupt | Heard::Terminate => return interrupted(log, heard),
                Heard::Hangup => reloads = true,
                Heard::Quit => ignored(log, heard, "the gateway is not ready yet"),
                Heard::User1 | Heard::User2 => ignored(log, heard, MEANS_NOTHING),
            },
        }
    };
    running.until_signal(&mut signals, reloads).await
}

const MEANS_NOTHING: &str = "it means nothing here, standard error is the log";

fn interrupted(log: &LogSink, heard: Heard) -> End {
    log.info("stopping now", json!({ "signal": heard.name() }));
    End::Interrupted
}

fn ignored(log: &LogSink, heard: Heard, why: &str) {
    log.warn(&format!("{} ignored: {why}", heard.name()), json!({}));
}

/// How a process came to its listeners.
#[derive(Clone, Copy)]
enum Began {
    Alone,
    OnListenersOfAPredecessor,
}

/// Everything that serves.
struct Running {
    process: Arc<Process>,
    fds: ListenFds,
    began: Began,
    /// The process ends under their threads. A runtime that is shut down first would have to wait for
    /// the engine's accept loops, which then fail without a pause and never end.
    _runtimes: ManuallyDrop<[Runtime; 2]>,
    stop_accepting: watch::Sender<bool>,
    /// The listeners' loops.
    accepting: Vec<JoinHandle<()>>,
}

fn start(path: &Path, take_over: bool, inherited: Vec<TcpListener>, log: &LogSink) -> Result<Running, ()> {
    let loaded = config::read(path).map_err(|refused| {
        for fault in &refused.faults {
            log.error("configuration refused", json!({ "fault": fault.to_string() }));
        }
    })?;
    let metrics = Metrics::new(
        env!("CARGO_PKG_VERSION"),
        env!("GATEWAY_REVISION"),
        env!("GATEWAY_RUSTC"),
    );
    let metrics = metrics
        .map(Arc::new)
        .map_err(|e| log.error("metrics", json!({ "error": e.to_string() })))?;
    let process = Process::new(path, loaded, metrics, log.clone());
    let server = &process.server;
    let cannot_listen = |(address, e): (String, io::Error)| {
        let details = json!({ "address": address, "error": e.to_string() });
        log.error("can not listen", details);
    };
    let mut sockets = match (take_over, &server.upgrade_socket) {
        (false, _) => {
            Sockets::of(inherited).map_err(|e| cannot_listen(("an inherited socket".to_owned(), e)))?
        }
        (true, Some(socket)) => {
            log.info("waiting for the predecessor", json!({ "upgrade_socket": socket }));
            Sockets::from_predecessor(socket).map_err(|e| cannot_listen((socket.display().to_string(), e)))?
        }
        (true, None) => {
            let e = io::Error::new(io::ErrorKind::NotFound, "server.upgrade_socket is not configured");
            cannot_listen(("upgrade_socket".to_owned(), e));
            return Err(());
        }
    };
    let bound = sockets.bind_all(server).map_err(cannot_listen)?;
    let began = match take_over {
        true => Began::OnListenersOfAPredecessor,
        false => Began::Alone,
    };
    Running::new(process, sockets.into_fds(), &bound, began)
        .map_err(|e| log.error("can not serve", json!({ "error": e.to_string() })))
}

impl Running {
    fn new(
        process: Arc<Process>,
        fds: ListenFds,
        bound: &Bound,
        began: Began,
    ) -> Result<Running, rustls::Error> {
        let (stop_accepting, stopped) = watch::channel(false);
        let threads = process.threads;
        let requests = Runtime::new_no_steal(threads, "requests");
        let admin = Runtime::new_no_steal(1, "admin");
        let accepting = server::start(&process, &requests, threads, &fds, bound, &stopped)?;
        // The admin listener answers while the others drain, so it never hears of the stop.
        let (never, not_stopped) = watch::channel(false);
        let mut service = Service::new(bound.admin.to_string(), Admin::new(process.clone()));
        service.add_tcp(&bound.admin.to_string());
        server::serve(&admin, service, &fds, &not_stopped);
        process.log.info(
            "listening",
            json!({ "listener": "admin", "address": bound.admin.to_string() }),
        );
        let sweeper = process.clone();
        admin.get_handle().spawn(async move {
            let _never = never;
            let mut tick = tokio::time::interval(SWEEP);
            loop {
                tick.tick().await;
                sweeper.sweep_idle();
                let live = sweeper.live.load();
                live.env().limits.sweep(sweeper.epoch.elapsed());
            }
        });
        admin.get_handle().spawn(admin::status::sample(process.clone()));
        if process.server.watch {
            admin.get_handle().spawn(process.clone().watch());
        }
        admin.get_handle().spawn(process.clone().keep_upstreams());
        Ok(Running {
            process,
            fds,
            began,
            _runtimes: ManuallyDrop::new([requests, admin]),
            stop_accepting,
            accepting,
        })
    }

    /// Serves until it is told to stop. `reloads`: once at its start, as it was told before it was ready.
    async fn until_signal(mut self, signals: &mut Signals, reloads: bool) -> End {
        let log = &self.process.log.clone();
        let generation = self.process.live.load().snapshot.generation;
        match self.began {
            Began::Alone => notify::ready(generation),
            Began::OnListenersOfAPredecessor => notify::ready_as_successor(generation),
        }
        log.info("ready", json!({ "version": env!("CARGO_PKG_VERSION") }));
        if reloads {
            self.reload();
        }
        loop {
            match signals.next().await {
                Heard::Terminate => {
                    notify::stopping();
                    break;
                }
                heard @ Heard::Interrupt => return interrupted(log, heard),
                // The successor goes on for the unit: it does not stop.
                Heard::Quit => match unless_interrupted(signals, self.hand_over()).await {
                    Ok(true) => break,
                    Ok(false) => {}
                    Err(heard) => return interrupted(log, heard),
                },
                Heard::Hangup => self.reload(),
                heard @ (Heard::User1 | Heard::User2) => ignored(log, heard, MEANS_NOTHING),
            }
        }
        match unless_interrupted(signals, self.drain()).await {
            Ok(()) => End::Drained,
            Err(heard) => interrupted(log, heard),
        }
    }

    fn reload(&self) {
        let process = self.process.clone();
        tokio::task::spawn_blocking(move || process.reload(Trigger::Sighup));
    }

    /// Hands the listeners to a successor. Without one nothing changes.
    async fn hand_over(&self) -> bool {
        let Process { log, server, .. } = &*self.process;
        let Some(socket) = server.upgrade_socket.clone() else {
            ignored(log, Heard::Quit, "server.upgrade_socket is not configured");
            return false;
        };
        let fds = self.fds.clone();
        let handed = tokio::task::spawn_blocking(move || listeners::hand_over(&fds, &socket)).await;
        match handed.unwrap_or_else(|e| Err(e.into())) {
            Ok(()) => {
                log.info("handed the listeners over", json!({}));
                true
            }
            Err(e) => {
                let details = json!({ "error": e.to_string() });
                log.warn("SIGQUIT ignored: no successor waits", details);
                false
            }
        }
    }

    /// Tells load balancers, waits for them, stops accepting, waits for the last request.
    async fn drain(&mut self) {
        let Process {
            log,
            metrics,
            draining,
            server,
            ..
        } = &*self.process;
        draining.store(true, Ordering::Relaxed);
        log.info(
            "draining",
            json!({ "delay_ms": server.drain_delay.as_millis() as u64 }),
        );
        tokio::time::sleep(server.drain_delay).await;
        let _ = self.stop_accepting.send(true);
        let deadline = Instant::now() + server.grace_period;
        // A loop that has not heard of it yet, on a busy machine, still takes connections away from the successor.
        for accepting in &mut self.accepting {
            let _ = tokio::time::timeout_at(deadline.into(), accepting).await;
        }
        // Connections, not requests: one that was accepted may have a request on its way. Idle ones end
        // at once. One that was accepted at the very end is not counted yet, and its reset would be the first that
        // its client hears: there has to be none for a while.
        let mut none_since = Instant::now();
        while none_since.elapsed() < SETTLED && Instant::now() < deadline {
            tokio::time::sleep(DRAIN_STEP).await;
            if metrics.connections_open.get() > 0 {
                none_since = Instant::now();
            }
        }
        let traces = self.process.live.load().traces.clone();
        if let Some(traces) = traces {
            let left = deadline.saturating_duration_since(Instant::now());
            traces.finish(left.min(TRACES_FINISH)).await;
        }
        log.info("stopped", json!({ "requests_cut": metrics.in_flight.get() }));
    }
}

/// What comes of the work, unless SIGINT comes before. Other signals wait until it is done.
async fn unless_interrupted<T>(signals: &mut Signals, work: impl Future<Output = T>) -> Result<T, Heard> {
    tokio::select! {
        done = work => Ok(done),
        heard = signals.interrupt() => Err(heard),
    }
}
