//! Clients' sockets: listeners, what is spoken on them, and the exchange of a request with its server.

pub mod accept;
mod awaited;
pub mod client;
mod drain;
pub mod exchange;
pub mod http1;
pub mod http2;
pub mod listeners;
pub mod pace;
mod plain;
pub mod proxy_protocol;
pub mod front;
pub mod stream;
pub mod tls;
pub mod tunnel;
mod waits;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use pingora::apps::ServerApp;
use pingora::listeners::L4BufferSettings;
use pingora::listeners::ListenerConfig;
use pingora::proxy::HttpProxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{ListenFds, ShutdownWatch};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use pingora_runtime::Runtime;
use serde_json::json;
use tokio::task::JoinHandle;

use crate::process::Process;
use crate::process::descriptors::most_idle;
use crate::upstream::wire;
use accept::{Listener, Protocol};
use front::{ConnectionRules, Front};
use listeners::Bound;
use stream::hooks::Hooks;

/// Serves every clients' listener on the runtime until `stopping` says so. What it returns ends with the listeners'
/// loops: nobody is accepted after them.
///
/// # Errors
/// Where TLS can not be set up.
pub fn start(
    process: &Arc<Process>,
    runtime: &Runtime,
    threads: usize,
    fds: &ListenFds,
    bound: &Bound,
    stopping: &ShutdownWatch,
) -> Result<Vec<JoinHandle<()>>, rustls::Error> {
    let conf = ServerConf {
        threads,
        // Attempts, not retries: each server of an upstream once. `fail_to_connect` stops earlier.
        max_retries: 64,
        // The engine keeps so many for each thread.
        upstream_keepalive_pool_size: most_idle(process.max_connections).div_ceil(threads),
        ..ServerConf::default()
    };
    let rules = ConnectionRules::of(&process.server, process.max_connections);
    let mut proxy = HttpProxy::new(Hooks::default(), Arc::new(conf));
    proxy.handle_init_modules();
    let front = Arc::new(Front {
        process: process.clone(),
        rules,
        proxy: Arc::new(proxy),
        open: AtomicUsize::new(0),
        stopping: stopping.clone(),
    });
    if !wire::can_prove() {
        let msg = "this kernel does not tell what was acknowledged: no call is sent again";
        process.log.warn(msg, json!({}));
    }
    let mut loops = Vec::new();
    for (listener, address) in &bound.http {
        let protocol = match listener.tls.is_empty() {
            true => Protocol::Plain { h2c: listener.h2c },
            false => Protocol::Tls {
                acceptor: Box::new(tls::acceptor(&process.live, &listener.address)?),
                failed: process.metrics.handshake_failures(&listener.address),
            },
        };
        let front = front.clone();
        let app = Listener {
            front,
            balancers: listener.proxy_protocol.clone(),
            protocol,
        };
        let mut service = Service::new(address.to_string(), app);
        // Everyone here reads into a buffer of its own, and gathers what it writes.
        let endpoint = ListenerConfig::tcp(address.to_string()).l4_buffer(L4BufferSettings::unbuffered());
        service.add_listener(endpoint);
        loops.push(serve(runtime, service, fds, stopping));
        process.log.info(
            "listening",
            json!({ "listener": "http", "address": address.to_string() }),
        );
    }
    Ok(loops)
}

/// Runs one listener until `stopping` says so, and ends with its loop.
pub fn serve<A: ServerApp + Send + Sync + 'static>(
    runtime: &Runtime,
    mut service: Service<A>,
    fds: &ListenFds,
    stopping: &ShutdownWatch,
) -> JoinHandle<()> {
    let (fds, stopping) = (fds.clone(), stopping.clone());
    runtime
        .get_handle()
        .spawn(async move { service.start_service(Some(fds), stopping, 1).await })
}
