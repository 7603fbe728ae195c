//! What a sound configuration file comes to. Plain values: nothing here is open, shared or running.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use log::LevelFilter;

use super::certificate::Certificates;
use super::fault::Fault;
use super::mark::Watched;
use crate::pipeline::WidgetRules;
use crate::policy::Mode;
use crate::policy::limit::Quota;
use crate::policy::route::Route;
use crate::request::field::MemberId;
use crate::upstream::pool::Address;

/// A file that was read and found sound.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// For the TLS listeners.
    pub certificates: Certificates,
    /// What is suspicious, but no reason to refuse it.
    pub warnings: Vec<Fault>,
    /// Of the file's content; where it names other files, of theirs too.
    pub sha256: [u8; 32],
    /// The file.
    pub file: PathBuf,
    /// Every file whose content counts, the configuration file first. A watch looks at all of them.
    pub files: Vec<Watched>,
}

/// A whole configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Read at start only.
    pub server: ServerSettings,
    /// What requests are decided by.
    pub spec: EnvSpec,
    /// What is logged.
    pub log: LogSettings,
    /// Where spans are sent.
    pub traces: TracesSettings,
}

/// `[server]`, with every default filled in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSettings {
    /// Never empty; those of `listen` first.
    pub listeners: Vec<ListenerSettings>,
    /// Where the operator's endpoints are.
    pub admin: String,
    /// None = one per core.
    pub threads: Option<usize>,
    /// Client connections open at once.
    pub max_connections: usize,
    /// For an idle connection.
    pub keepalive_timeout: Duration,
    /// For a header section.
    pub header_timeout: Duration,
    /// For a client that takes nothing of its answer.
    pub write_timeout: Duration,
    /// From SIGTERM until connections are no longer taken.
    pub drain_delay: Duration,
    /// From then on, for running requests.
    pub grace_period: Duration,
    /// Where a successor takes the listeners.
    pub upgrade_socket: Option<PathBuf>,
    /// Who may use the admin address besides loopback.
    pub admin_allow: Vec<IpNet>,
    /// The token for writes from elsewhere than loopback.
    pub admin_token_file: Option<PathBuf>,
    /// Whether readiness needs an upstream server that is up.
    pub ready_requires_upstream: bool,
    /// Host names that the admin address answers to, lower case.
    pub admin_hosts: Vec<String>,
}

/// An address that is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerSettings {
    /// An IP address and a port.
    pub address: String,
    /// Whether HTTP/2 without TLS is served too.
    pub h2c: bool,
    /// Empty = no TLS.
    pub tls: Vec<CertPaths>,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CertPaths {
    /// The chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Everything that a `pipeline::Env` is assembled from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvSpec {
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// How widget routes read.
    pub widget: WidgetRules,
    /// Members whose state is held at once.
    pub max_keys: usize,
    /// None = no limit per member.
    pub member_limit: Option<MemberLimitSpec>,
    /// By name, in its order.
    pub upstreams: Vec<UpstreamSpec>,
    /// Whose forwarding headers are believed.
    pub trusted: Vec<IpNet>,
}

/// `[limits.member]` and its overrides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberLimitSpec {
    /// What a used-up quota leads to.
    pub mode: Mode,
    /// Of a member without an override.
    pub quota: Quota,
    /// Each member once.
    pub overrides: Vec<(MemberId, Quota)>,
}

/// One `[upstreams.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamSpec {
    /// The label `upstream`.
    pub name: Arc<str>,
    /// Never empty, each name once.
    pub servers: Vec<ServerSpec>,
    /// For one connect.
    pub connect_timeout: Duration,
    /// The longest silence.
    pub timeout: Duration,
}

/// One server of an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSpec {
    /// As the file spells it: the label `server`.
    pub name: String,
    /// What it means now.
    pub address: Address,
}

/// `[log]`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct LogSettings {
    /// The least important lines that are written.
    pub level: LevelFilter,
    /// The share of forwarded requests whose line is written, 0.0 to 1.0.
    pub sample_forwarded: f64,
    /// The share of refusals with 4xx whose line is written, 0.0 to 1.0.
    pub sample_refused: f64,
}

/// `[traces]`.
#[derive(Clone, PartialEq, Debug)]
pub struct TracesSettings {
    /// None = nothing is traced.
    pub endpoint: Option<String>,
    /// The share of traces beginning here that is sent, 0.0 to 1.0.
    pub sample: f64,
}

/// The keys of `[server]` that differ, which only a restart applies.
pub fn restart_only_changes(old: &ServerSettings, new: &ServerSettings) -> Vec<&'static str> {
    // Taken apart, so that a new key can not be forgotten here.
    let ServerSettings {
        listeners,
        admin,
        threads,
        max_connections,
        keepalive_timeout,
        header_timeout,
        write_timeout,
        drain_delay,
        grace_period,
        upgrade_socket,
        admin_allow,
        admin_token_file,
        ready_requires_upstream,
        admin_hosts,
    } = old;
    [
        ("server.listen", !same_sockets(listeners, &new.listeners)),
        ("server.admin", *admin != new.admin),
        ("server.threads", *threads != new.threads),
        ("server.max_connections", *max_connections != new.max_connections),
        (
            "server.keepalive_timeout",
            *keepalive_timeout != new.keepalive_timeout,
        ),
        ("server.header_timeout", *header_timeout != new.header_timeout),
        ("server.write_timeout", *write_timeout != new.write_timeout),
        ("server.drain_delay", *drain_delay != new.drain_delay),
        ("server.grace_period", *grace_period != new.grace_period),
        ("server.upgrade_socket", *upgrade_socket != new.upgrade_socket),
        ("server.admin_allow", *admin_allow != new.admin_allow),
        (
            "server.admin_token_file",
            *admin_token_file != new.admin_token_file,
        ),
        (
            "server.ready_requires_upstream",
            *ready_requires_upstream != new.ready_requires_upstream,
        ),
        ("server.admin_hosts", *admin_hosts != new.admin_hosts),
    ]
    .into_iter()
    .filter_map(|(key, changed)| changed.then_some(key))
    .collect()
}

/// Certificates are exchanged while running; whether there is TLS at all is not.
fn same_sockets(old: &[ListenerSettings], new: &[ListenerSettings]) -> bool {
    let socket = |one: &ListenerSettings| (one.address.clone(), one.h2c, one.tls.is_empty());
    old.iter().map(socket).eq(new.iter().map(socket))
}
