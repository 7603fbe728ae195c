//! What a sound configuration file comes to. Plain values: nothing here is open, shared or running.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use log::LevelFilter;
use serde::Serialize;
use serde_json::{Value, json};

use super::certificate::Certificates;
use super::fault::Fault;
use super::mark::Watched;
use super::source::{Source, shown_hash};
use crate::oauth::AskRules;
use crate::pipeline::WidgetRules;
use crate::policy::Mode;
use crate::policy::limit::LimitsSpec;
use crate::policy::route::Route;
use crate::policy::verify::{Method, OnError, Pins, VerifyRules};
use crate::upstream::entry::Place;
use crate::upstream::pool::Rules;
use crate::upstream::resolve::HostName;
use crate::upstream::secure::Secured;

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
    /// Of what it says but for where this gateway listens and where files stand: what replicas share.
    pub shared: [u8; 32],
    /// What it was read from.
    pub source: Arc<Source>,
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
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
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
    #[serde(serialize_with = "spelled::span")]
    pub keepalive_timeout: Duration,
    /// For a header section.
    #[serde(serialize_with = "spelled::span")]
    pub header_timeout: Duration,
    /// For a client that takes nothing of its answer.
    #[serde(serialize_with = "spelled::span")]
    pub write_timeout: Duration,
    /// From SIGTERM until connections are no longer taken.
    #[serde(serialize_with = "spelled::span")]
    pub drain_delay: Duration,
    /// From then on, for running requests.
    #[serde(serialize_with = "spelled::span")]
    pub grace_period: Duration,
    /// Where a successor takes the listeners.
    #[serde(serialize_with = "spelled::optional_path")]
    pub upgrade_socket: Option<PathBuf>,
    /// Who may use the admin address besides loopback.
    #[serde(serialize_with = "spelled::networks")]
    pub admin_allow: Vec<IpNet>,
    /// Who may read metrics there, and whether the gateway is alive.
    #[serde(serialize_with = "spelled::networks")]
    pub admin_metrics_allow: Vec<IpNet>,
    /// The token for writes from elsewhere than loopback.
    #[serde(rename = "admin_token_file", serialize_with = "spelled::token")]
    pub admin_token: Option<AdminToken>,
    /// Whether a changed file is a reason to read it.
    pub watch: bool,
    /// Whether readiness needs an upstream server that is up.
    pub ready_requires_upstream: bool,
    /// Host names that the admin address answers to, lower case.
    pub admin_hosts: Vec<String>,
}

impl ServerSettings {
    /// `max_connections` where the file does not say one.
    pub const MAX_CONNECTIONS: u32 = 20_000;
}

/// Who knows it may write from elsewhere than loopback. The token itself is not kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AdminToken {
    /// Where it stands.
    pub file: PathBuf,
    /// Of the token without the white space around it.
    pub sha256: [u8; 32],
}

/// An address that is served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct ListenerSettings {
    /// An IP address and a port.
    pub address: String,
    /// Whether HTTP/2 without TLS is served too.
    pub h2c: bool,
    /// Empty = no TLS.
    pub tls: Vec<CertPaths>,
    /// Who begins connections with the PROXY protocol.
    #[serde(serialize_with = "spelled::networks")]
    pub proxy_protocol: Vec<IpNet>,
}

/// A certificate and its key.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct CertPaths {
    /// The chain.
    #[serde(serialize_with = "spelled::path")]
    pub cert: PathBuf,
    /// The private key.
    #[serde(serialize_with = "spelled::path")]
    pub key: PathBuf,
}

/// Everything that a `pipeline::Env` is assembled from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnvSpec {
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// How widget routes read.
    pub widget: WidgetRules,
    /// None = nobody is verified.
    pub verify: Option<VerifySpec>,
    /// How much may be asked.
    pub limits: LimitsSpec,
    /// By name, in its order.
    pub upstreams: Vec<UpstreamSpec>,
    /// Whose forwarding headers are believed.
    pub trusted: Vec<IpNet>,
}

impl EnvSpec {
    /// Every name among the servers.
    pub fn host_names(&self) -> impl Iterator<Item = &HostName> {
        let servers = self.upstreams.iter().flat_map(|upstream| &upstream.servers);
        servers.filter_map(|server| match &server.place {
            Place::Named(name) => Some(name),
            Place::Fixed(_) => None,
        })
    }
}

/// `[verify]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifySpec {
    /// What a caller leads to who is not who he says.
    pub mode: Mode,
    /// What becomes of a call of which nobody can say whose it is.
    pub on_error: OnError,
    /// Who says it.
    pub by: VouchedBy,
}

/// Who says whose a call is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum VouchedBy {
    /// Servers that are asked.
    Servers {
        /// Of the application.
        client_id: Arc<str>,
        /// How.
        asks: AskRules,
        /// The file of those who sign their certificates; none = the system's.
        ca: Option<PathBuf>,
    },
    /// A list.
    List {
        /// What it says.
        pins: Arc<Pins>,
        /// The file that it was read from.
        file: PathBuf,
    },
}

impl VerifySpec {
    /// How servers are asked, where they are.
    pub fn ask_rules(&self) -> Option<&AskRules> {
        match &self.by {
            VouchedBy::Servers { asks, .. } => Some(asks),
            VouchedBy::List { .. } => None,
        }
    }

    /// What the pipeline needs of it.
    pub fn rules(&self) -> VerifyRules {
        let method = match &self.by {
            VouchedBy::Servers { client_id, asks, .. } => Method::AppInfo {
                client_id: client_id.clone(),
                servers: asks.servers.clone(),
            },
            VouchedBy::List { pins, .. } => Method::ApplicationToken(pins.clone()),
        };
        VerifyRules {
            mode: self.mode,
            on_error: self.on_error,
            method,
        }
    }
}

/// One `[upstreams.NAME]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamSpec {
    /// The label `upstream`.
    pub name: Arc<str>,
    /// Never empty, each name once.
    pub servers: Vec<ServerSpec>,
    /// How they are asked.
    pub rules: Rules,
    /// None = without TLS.
    pub tls: Option<UpstreamTlsSpec>,
    /// The file of `rules.proof`.
    pub secret_file: Option<PathBuf>,
}

/// `tls` of an upstream, as the file says it; what it comes to stands with each server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UpstreamTlsSpec {
    /// None = the system's authorities.
    pub ca: Option<PathBuf>,
    /// None = the host of each server.
    pub server_name: Option<String>,
}

/// One server of an upstream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServerSpec {
    /// As the file spells it: the label `server`.
    pub name: String,
    /// What it means.
    pub place: Place,
    /// Its share, relative to the others.
    pub weight: u32,
    /// Whether it is asked only where no other is up.
    pub backup: bool,
    /// None = without TLS.
    pub secured: Option<Secured>,
}

/// `[log]`.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct LogSettings {
    /// The least important lines that are written.
    #[serde(serialize_with = "spelled::level")]
    pub level: LevelFilter,
    /// The share of forwarded requests whose line is written, 0.0 to 1.0.
    pub sample_forwarded: f64,
    /// The share of refusals with 4xx whose line is written, 0.0 to 1.0.
    pub sample_refused: f64,
}

/// `[traces]`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TracesSettings {
    /// None = nothing is traced.
    pub endpoint: Option<String>,
    /// The share of traces beginning here that is sent, 0.0 to 1.0.
    pub sample: f64,
}

/// A changed key that only a restart applies.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Waiting {
    /// Its path.
    pub key: String,
    /// What the process runs with, defaults filled in.
    pub running: Value,
    /// What a restart would bring.
    pub waiting: Value,
}

/// The keys of `[server]` that differ, which only a restart applies. Certificates are exchanged while
/// running; whether there is TLS at all is not.
pub fn restart_only_changes(running: &ServerSettings, waiting: &ServerSettings) -> Vec<Waiting> {
    let (old, new) = (keys(running), keys(waiting));
    let mut told = Vec::new();
    for (key, old) in old {
        let new = new.get(&key).cloned().unwrap_or_default();
        let (key, is_same) = match key.as_str() {
            "listeners" => (
                "listen",
                without_certificates(old.clone()) == without_certificates(new.clone()),
            ),
            key => (key, old == new),
        };
        if !is_same {
            told.push(Waiting {
                key: format!("server.{key}"),
                running: old,
                waiting: new,
            });
        }
    }
    let token = |of: &ServerSettings| of.admin_token.as_ref().map(|token| shown_hash(&token.sha256));
    if told.iter().all(|waiting| waiting.key != ADMIN_TOKEN) && token(running) != token(waiting) {
        // The same file with another token.
        told.push(Waiting {
            key: ADMIN_TOKEN.to_owned(),
            running: token(running).into(),
            waiting: token(waiting).into(),
        });
    }
    told
}

const ADMIN_TOKEN: &str = "server.admin_token_file";

/// Listeners with whether there is TLS, and not by which certificates.
fn without_certificates(mut listeners: Value) -> Value {
    for listener in listeners.as_array_mut().into_iter().flatten() {
        if let Some(tls) = listener.get_mut("tls") {
            *tls = (*tls != json!([])).into();
        }
    }
    listeners
}

fn keys(server: &ServerSettings) -> serde_json::Map<String, Value> {
    match serde_json::to_value(server) {
        Ok(Value::Object(keys)) => keys,
        // A struct whose keys are text and whose values are written by us is always an object.
        _ => serde_json::Map::new(),
    }
}

/// Values as the file spells them.
mod spelled {
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use ipnet::IpNet;
    use log::LevelFilter;
    use serde::{Serialize, Serializer};

    use crate::config::settings::AdminToken;
    use crate::config::units::Span;

    pub(super) fn span<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&Span(*span))
    }

    pub(super) fn networks<S: Serializer>(networks: &[IpNet], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(networks.iter().map(IpNet::to_string))
    }

    pub(super) fn path<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&path.display())
    }

    pub(super) fn optional_path<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
        path.as_ref().map(|path| path.display().to_string()).serialize(to)
    }

    pub(super) fn token<S: Serializer>(token: &Option<AdminToken>, to: S) -> Result<S::Ok, S::Error> {
        let file = token.as_ref().map(|token| token.file.display().to_string());
        file.serialize(to)
    }

    pub(super) fn level<S: Serializer>(level: &LevelFilter, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&level.as_str().to_ascii_lowercase())
    }
}
