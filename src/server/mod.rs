//! Clients' sockets: listeners, what is spoken on them, and the exchange of a request with its upstream.

pub mod connection;
pub mod engine;
pub mod exchange;
pub mod incoming;
pub mod listeners;
pub mod relay;
pub mod tls;
pub mod traced;
pub mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use log::Level;
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
use tokio::sync::watch;

use crate::gateway::Gateway;
use crate::process::Process;
use crate::request::body::HeldBodies;
use crate::telemetry::notice::Notices;
use connection::{ConnectionRules, Door, Http2};
use engine::Engine;
use listeners::Bound;

/// Of a client connection. Everyone here reads into a buffer of its own that is larger, which then goes past
/// this one: the engine's 64 KiB would only be zeroed and held, for each slow connection too.
const READ_BUFFER: usize = 512;
/// Idle connections to upstreams, beside which `max_connections` bounds them: a call needs one. An address
/// has not many more ports to call another from.
const MOST_IDLE: usize = 65_536;

/// Serves every clients' listener on the runtime until `stopped` says so.
///
/// # Errors
/// Where TLS can not be set up.
pub fn start(
    process: &Arc<Process>,
    runtime: &Runtime,
    threads: usize,
    fds: &ListenFds,
    bound: &Bound,
    stopped: &watch::Receiver<bool>,
) -> pingora::Result<()> {
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
        notices: Notices::default(),
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
        let mut endpoint =
            ListenerConfig::tcp(address.to_string()).l4_buffer(L4BufferSettings::default().read(READ_BUFFER));
        if !listener.tls.is_empty() {
            endpoint = endpoint.tls(tls::settings(&process.live, &listener.address)?);
        }
        service.add_listener(endpoint);
        serve(runtime, service, fds, stopped);
        process.log.event(
            Level::Info,
            "listening",
            json!({ "listener": "http", "address": address.to_string() }),
        );
    }
    Ok(())
}

/// Runs one listener until `stopped` says so.
pub fn serve<A: ServerApp + Send + Sync + 'static>(
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
