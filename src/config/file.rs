//! The configuration file as types: every key, its meaning and its shape. The JSON Schema comes from
//! here too, so the comments are written for operators.

use std::collections::BTreeMap;

use http::Method;
use log::LevelFilter;
use schemars::JsonSchema;
use serde::Deserialize;

use super::addresses::{ListenAddress, Network};
use super::endpoint::Endpoint;
use super::frame::FrameTable;
use super::limits::LimitsTable;
use super::units::{Percent, Size, Span};
use super::upstreams::UpstreamTable;
use super::values::{At, Count, Name, Placed, Share, Word};
use super::verify::VerifyTable;
use super::words::KindWord;
use crate::policy::Mode;
use crate::policy::route::{ForwardAs, Upgrade};
use crate::policy::validate::PlaceRule;
use crate::request::field::{Field, MemberIdShape};
use crate::request::message::Kind;
use crate::upstream::headers::CookieRule;

/// The configuration of widget-gateway.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(title = "widget-gateway", extend("required" = ["server", "routes", "upstreams"]))]
pub struct File {
    /// Read at start only: a reload names the changed keys of this table and applies the rest.
    #[serde(default)]
    pub server: ServerTable,
    /// Networks of the proxies in front whose X-Forwarded-For, X-Request-Id and traceparent are believed.
    pub trusted_proxies: Option<Vec<At<Network>>>,
    /// Which requests are served. The longest matching path wins, then the method.
    #[serde(default)]
    #[schemars(extend("minItems" = 1))]
    pub routes: Vec<Placed<RouteTable>>,
    /// How widget calls are read.
    #[serde(default)]
    pub widget: WidgetTable,
    /// Who is calling; without this table nobody is verified.
    pub verify: Option<Placed<VerifyTable>>,
    /// How much may be asked.
    #[serde(default)]
    pub limits: LimitsTable,
    /// The servers behind the gateway, by the name that routes use.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, UpstreamTable>")]
    pub upstreams: BTreeMap<At<Name>, Placed<UpstreamTable>>,
    /// What is written to standard error.
    #[serde(default)]
    pub log: LogTable,
    /// Where spans of requests are sent; without this table nowhere.
    #[serde(default)]
    pub traces: TracesTable,
}

/// Read at start only.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
// One of the two has to be there.
#[schemars(extend(
    "if" = { "not": { "required": ["listeners"] } },
    "then" = { "required": ["listen"] }
))]
pub struct ServerTable {
    /// Addresses that serve plain HTTP/1.1.
    #[schemars(extend("minItems" = 1))]
    pub listen: Option<Vec<At<ListenAddress>>>,
    /// The long form of `listen`.
    #[serde(default)]
    #[schemars(extend("minItems" = 1))]
    pub listeners: Vec<Placed<ListenerTable>>,
    /// Where health, metrics and reload are served.
    #[schemars(extend("default" = "127.0.0.1:9901"))]
    pub admin: Option<At<ListenAddress>>,
    /// Networks that may read the admin address, besides loopback.
    pub admin_allow: Option<Vec<At<Network>>>,
    /// Networks that may read `/metrics` and `/-/healthy` there and nothing else.
    pub admin_metrics_allow: Option<Vec<At<Network>>>,
    /// A file whose content is the token for writes to the admin address from elsewhere than loopback.
    pub admin_token_file: Option<At<String>>,
    /// Names that a Host header at the admin address may have, besides IP addresses and localhost.
    pub admin_hosts: Option<Vec<At<String>>>,
    /// Whether a changed file is read by itself; `false`: only a signal or a call reloads.
    #[schemars(extend("default" = true))]
    pub watch: Option<At<bool>>,
    /// Whether `/-/ready` is 503 while no server of some upstream is up.
    #[schemars(extend("default" = false))]
    pub ready_requires_upstream: Option<At<bool>>,
    /// Worker threads; left out = one per core.
    pub threads: Option<At<Count<1024>>>,
    /// Client connections open at once.
    #[schemars(extend("default" = 20000))]
    pub max_connections: Option<At<Count<10_000_000>>>,
    /// How long an idle connection is kept.
    #[schemars(extend("default" = "75s"))]
    pub keepalive_timeout: Option<At<Span>>,
    /// How long a request's header section may take, from its first byte.
    #[schemars(extend("default" = "10s"))]
    pub header_timeout: Option<At<Span>>,
    /// How long a client may take nothing of its answer before its connection ends.
    #[schemars(extend("default" = "60s"))]
    pub write_timeout: Option<At<Span>>,
    /// After SIGTERM: how long new connections are still taken, for load balancers to notice.
    #[schemars(extend("default" = "5s"))]
    pub drain_delay: Option<At<Span>>,
    /// After that: the longest wait for running requests.
    #[schemars(extend("default" = "20s"))]
    pub grace_period: Option<At<Span>>,
    /// A socket over which a successor takes the listeners; left out = no hand-over.
    pub upgrade_socket: Option<At<String>>,
}

/// An address to listen on, with options.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct ListenerTable {
    /// An IP address and a port.
    #[schemars(required)]
    pub address: Option<At<ListenAddress>>,
    /// Certificates; left out = no TLS.
    #[schemars(extend("minItems" = 1))]
    pub tls: Option<Placed<Vec<Placed<CertTable>>>>,
    /// Whether HTTP/2 without TLS is served beside HTTP/1.1.
    #[schemars(extend("default" = false))]
    pub h2c: Option<At<bool>>,
    /// Networks whose connections have to begin with the PROXY protocol, version 1 or 2: load balancers that
    /// pass TCP on. Who else connects must not send it.
    pub proxy_protocol: Option<Placed<Vec<At<Network>>>>,
}

/// A certificate.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table with cert and key")]
pub struct CertTable {
    /// The certificate chain, a PEM file.
    #[schemars(required)]
    pub cert: Option<At<String>>,
    /// Its private key, a PEM file.
    #[schemars(required)]
    pub key: Option<At<String>>,
}

/// Which requests go where.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct RouteTable {
    /// The name in metrics and logs, unique; left out = the kind.
    pub name: Option<At<Name>>,
    /// `"/x"` is /x and everything below it; `"= /x"` is /x alone. Matched decoded, once.
    #[schemars(required)]
    pub path: Option<At<String>>,
    /// `widget`: Bitrix24 widget calls, read, checked, limited and normalized. `pass`: passed on.
    #[schemars(required)]
    pub kind: Option<At<Word<KindWord>>>,
    /// The name of an upstream.
    #[schemars(required)]
    pub upstream: Option<At<String>>,
    /// The methods; left out = POST for widget, GET and HEAD for pass.
    #[schemars(extend("minItems" = 1))]
    pub methods: Option<Placed<Vec<At<Word<Method>>>>>,
    /// Instead of `[widget] mode` on this route.
    pub mode: Option<At<Word<Mode>>>,
    /// For how many per cent of the members a widget route enforces, by member_id; the rest is observed, and so is
    /// who says no member_id, until it is 100.
    #[schemars(extend("default" = 100))]
    pub enforce: Option<At<Percent>>,
    /// The kinds of message that a widget route takes: calls of widgets, events and what else a portal sends
    /// by itself, robots, requests of the handler's own page.
    #[schemars(extend("default" = ["placement"], "minItems" = 1))]
    pub accepts: Option<Placed<Vec<At<Word<Kind>>>>>,
    /// Further fields without which a widget route refuses a message.
    pub require: Option<Vec<At<Word<Field>>>>,
    /// Where fields have to stand: `any`, or `strict` for DOMAIN, PROTOCOL, LANG and APP_SID in the query
    /// and all others in the body.
    #[schemars(extend("default" = "any"))]
    pub places: Option<At<Word<PlaceRule>>>,
    /// `GET`: the call is judged, then its page is fetched by GET, without the body and what stood in it; for
    /// hosts of static pages. It needs `places` to be strict, and makes it so.
    pub forward_as: Option<At<Word<ForwardAs>>>,
    /// The placements that a widget route is for, `*` at the end for all that begin so; left out = any message.
    /// Of the routes with the same path and method the first in the file that fits is taken.
    #[schemars(extend("minItems" = 1))]
    pub placements: Option<Placed<Vec<At<String>>>>,
    /// The same for the domains of portals, in lower case.
    #[schemars(extend("minItems" = 1))]
    pub domains: Option<Placed<Vec<At<String>>>>,
    /// The same for the member_ids of portals.
    #[schemars(extend("minItems" = 1))]
    pub members: Option<Placed<Vec<At<String>>>>,
    /// The protocols that a pass route's clients and servers may change to, by HTTP/1.1's Upgrade.
    pub upgrade: Option<Placed<Vec<At<Word<Upgrade>>>>>,
}

/// How widget calls are read.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct WidgetTable {
    /// `enforce` refuses faulty calls; `observe` counts and logs them and lets them through.
    #[schemars(extend("default" = "enforce"))]
    pub mode: Option<At<Word<Mode>>>,
    /// The largest body, at most 8MiB.
    #[schemars(extend("default" = "1MiB"))]
    pub body_limit: Option<At<Size>>,
    /// For the whole body to arrive.
    #[schemars(extend("default" = "10s"))]
    pub body_timeout: Option<At<Span>>,
    /// All bodies held at once; above it new ones are answered with 503.
    #[schemars(extend("default" = "256MiB"))]
    pub held_bodies: Option<At<Size>>,
    /// Parameters in the query, and in the body.
    #[schemars(extend("default" = 1000))]
    pub max_params: Option<At<Count<100_000>>>,
    /// `hex32`: 32 lower-case hex digits. `token`: 1 to 64 of A-Za-z0-9_-.
    #[schemars(extend("default" = "hex32"))]
    pub member_id: Option<At<Word<MemberIdShape>>>,
    /// Cookies that PHP could take for a field: `strip` them, `refuse` the request, or `keep` them.
    #[schemars(extend("default" = "strip"))]
    pub cookies: Option<At<Word<CookieRule>>>,
    /// The hosts that SERVER_ENDPOINT and auth[server_endpoint] may name: handlers send tokens there. `*` is
    /// any.
    #[schemars(extend("default" = ["oauth.bitrix.info", "oauth.bitrix24.info", "oauth.bitrix24.tech"], "minItems" = 1))]
    pub server_endpoints: Option<Placed<Vec<At<String>>>>,
    /// What answers say that are shown in a frame of a portal; left out = what the handler says.
    pub frame: Option<FrameTable>,
    /// An HTML file with placeholders that is shown instead of the built-in page where a request is refused.
    pub refusal_page: Option<At<String>>,
}

/// What is written to standard error.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct LogTable {
    /// The least important lines that are written.
    #[schemars(extend("default" = "info"))]
    pub level: Option<At<Word<LevelFilter>>>,
    /// The share of forwarded requests whose line is written; those with 5xx always are.
    #[schemars(extend("default" = 1.0))]
    pub sample_forwarded: Option<At<Share>>,
    /// The share of refusals with 4xx whose line is written; those with 5xx always are.
    #[schemars(extend("default" = 1.0))]
    pub sample_refused: Option<At<Share>>,
}

/// Where spans of requests are sent.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct TracesTable {
    /// The URL that takes OTLP over HTTP (protobuf); left out = no traces.
    pub endpoint: Option<At<Endpoint>>,
    /// The share of traces that begin here which is sent. Those that a trusted proxy began are sent as
    /// their traceparent says.
    #[schemars(extend("default" = 0.01))]
    pub sample: Option<At<Share>>,
}
