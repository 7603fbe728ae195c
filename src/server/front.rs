//! What all connections share, and what bounds them.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use pingora::proxy::HttpProxy;
use pingora::server::ShutdownWatch;

use super::stream::hooks::Hooks;
use crate::config::ServerSettings;
use crate::process::Process;

/// Bounds of all connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionRules {
    /// Connections of all listeners together.
    pub max_connections: usize,
    /// For a connection between requests.
    pub keepalive_timeout: Duration,
    /// From the first byte of a head to its last; for a TLS handshake, too.
    pub header_timeout: Duration,
    /// For a client that takes nothing of what is sent to it.
    pub write_timeout: Duration,
}

impl ConnectionRules {
    /// As the file says, with as many connections as there are descriptors for.
    pub fn of(settings: &ServerSettings, max_connections: usize) -> ConnectionRules {
        ConnectionRules {
            max_connections,
            keepalive_timeout: settings.keepalive_timeout,
            header_timeout: settings.header_timeout,
            write_timeout: settings.write_timeout,
        }
    }
}

/// What all connections share.
pub struct Front {
    /// What runs.
    pub process: Arc<Process>,
    /// Bounds.
    pub rules: ConnectionRules,
    /// Pingora's proxy, for pass routes.
    pub proxy: Arc<HttpProxy<Hooks>>,
    /// Open connections of all listeners.
    pub open: AtomicUsize,
    /// Says when connections without a request have to end.
    pub stopping: ShutdownWatch,
}
