//! `[upstreams.NAME]` as types; like [`super::file`] it is what the JSON Schema is made from.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::addresses::{HttpPath, ServerText};
use super::units::{Span, StatusRange};
use super::values::{At, Count, Placed, Raw, Value, Whole, Word};
use crate::upstream::balance::Balance;

/// Servers that serve the same handlers.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct UpstreamTable {
    /// `host:port`, `unix:/path` or `sample` (embedded), or a table with `address`, `weight`, `backup`. Every
    /// address of a name is a server.
    #[schemars(required, extend("minItems" = 1))]
    pub servers: Option<Placed<Vec<Placed<ServerItem>>>>,
    /// `round_robin`: they take turns. `least_connections`: the one with the fewest requests. `member_id`: the
    /// calls of one portal meet one server.
    #[schemars(extend("default" = "round_robin"))]
    pub balance: Option<At<Word<Balance>>>,
    /// How often names are looked up again.
    #[schemars(extend("default" = "10s"))]
    pub resolve_interval: Option<At<Span>>,
    /// For one connect.
    #[schemars(extend("default" = "2s"))]
    pub connect_timeout: Option<At<Span>>,
    /// The longest silence while the answer is awaited or read.
    #[schemars(extend("default" = "30s"))]
    pub timeout: Option<At<Span>>,
    /// How long an idle connection is kept; a server's own `Keep-Alive` is obeyed where it is shorter.
    #[schemars(extend("default" = "4s"))]
    pub keepalive: Option<At<Span>>,
    /// Further servers after a failed connect; left out = all the others.
    pub retries: Option<At<Whole<0, 100>>>,
    /// Whether a request may be sent once more after its connection broke, a POST too.
    #[schemars(extend("default" = false))]
    pub idempotent: Option<At<bool>>,
    /// From the first connect to the end of the answer; left out = no limit but that of silence.
    pub total_timeout: Option<At<Span>>,
    /// The same for calls of PAGE_BACKGROUND_WORKER.
    #[schemars(extend("default" = "4500ms"))]
    pub background_timeout: Option<At<Span>>,
    /// Requests that the servers have at once; left out = as many as come.
    pub max_in_flight: Option<At<Count<1_000_000>>>,
    /// Further ones that wait; beyond them the answer is 503.
    #[schemars(extend("default" = 100))]
    pub queue: Option<At<Count<1_000_000>>>,
    /// How long one of them waits.
    #[schemars(extend("default" = "1s"))]
    pub queue_timeout: Option<At<Span>>,
    /// Has servers be spoken to over TLS, their certificates verified.
    pub tls: Option<Placed<UpstreamTlsTable>>,
    /// A header by which handlers tell the gateway from a neighbour on their network.
    pub proof: Option<Placed<ProofTable>>,
    /// Checks of every server; left out = one that failed is connected to until it can be.
    pub check: Option<Placed<CheckTable>>,
    /// When a server that fails requests is not asked for a while.
    pub eject: Option<Placed<EjectTable>>,
}

/// How servers are spoken to over TLS.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table with ca, server_name")]
pub struct UpstreamTlsTable {
    /// A PEM file with the authorities whose certificates are taken; left out = the system's.
    pub ca: Option<At<String>>,
    /// The name that a certificate has to be for, sent as SNI too; left out = the host of each server.
    pub server_name: Option<At<String>>,
}

/// A header by which handlers tell the gateway from others.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table with header, secret_file")]
pub struct ProofTable {
    /// Its name; what a client sends under it is taken away.
    #[schemars(required)]
    pub header: Option<At<String>>,
    /// A file with its value, 16 to 4096 visible ASCII characters.
    #[schemars(required)]
    pub secret_file: Option<At<String>>,
}

/// Checks of every server, whether requests come or not.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct CheckTable {
    /// A path that is asked for by GET; left out = a connect is enough.
    pub path: Option<At<HttpPath>>,
    /// Statuses of a healthy answer.
    #[schemars(extend("default" = "200-399"))]
    pub status: Option<At<StatusRange>>,
    /// From one check to the next.
    #[schemars(extend("default" = "5s"))]
    pub interval: Option<At<Span>>,
    /// For a whole check.
    #[schemars(extend("default" = "2s"))]
    pub timeout: Option<At<Span>>,
    /// Checks in a row that bring a server back.
    #[schemars(extend("default" = 2))]
    pub rise: Option<At<Count<100>>>,
    /// Checks in a row that take it out.
    #[schemars(extend("default" = 3))]
    pub fall: Option<At<Count<100>>>,
}

/// When a server that fails requests is not asked for a while.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct EjectTable {
    /// Failed connects, resets, timeouts and broken answers in a row.
    #[schemars(extend("default" = 5))]
    pub failures: Option<At<Count<1000>>>,
    /// How long; doubled each time up to 5m.
    #[serde(rename = "for")]
    #[schemars(extend("default" = "30s"))]
    pub duration: Option<At<Span>>,
    /// Answers that count as failures too.
    pub statuses: Option<Vec<At<Count<599>>>>,
}

/// A server, in either form.
#[derive(Debug)]
pub enum ServerItem {
    /// The address alone.
    Text(ServerText),
    /// With its options.
    Table(ServerTable),
}

impl ServerItem {
    /// Which one and where that is said, of an item that stands at `span`; none where a table does not say it.
    pub(super) fn server<'i>(&'i self, span: &'i Range<usize>) -> Option<(&'i ServerText, &'i Range<usize>)> {
        match self {
            ServerItem::Text(text) => Some((text, span)),
            ServerItem::Table(table) => table
                .address
                .as_ref()
                .map(|address| (&address.value, &address.span)),
        }
    }
}

/// A server with its options.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table with address, weight, backup")]
pub struct ServerTable {
    /// `host:port`, `unix:/path` or `sample`.
    #[schemars(required)]
    pub address: Option<At<ServerText>>,
    /// Its share, relative to the others.
    #[schemars(extend("default" = 1))]
    pub weight: Option<At<Count<1000>>>,
    /// Whether it is asked only where no other is up.
    #[schemars(extend("default" = false))]
    pub backup: Option<At<bool>>,
}

impl<'de> Deserialize<'de> for ServerItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ServerItem, D::Error> {
        struct Item;

        impl<'de> Visitor<'de> for Item {
            type Value = ServerItem;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&ServerText::allowed())
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<ServerItem, E> {
                let read = ServerText::read(Raw::Text(text));
                read.map(ServerItem::Text)
                    .map_err(|wrong| E::custom(format!("{wrong}, allowed is {}", ServerText::allowed())))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ServerItem, A::Error> {
                ServerTable::deserialize(MapAccessDeserializer::new(map)).map(ServerItem::Table)
            }
        }

        deserializer.deserialize_any(Item)
    }
}

impl JsonSchema for ServerItem {
    fn schema_name() -> Cow<'static, str> {
        "ServerItem".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = generator.subschema_for::<ServerTable>();
        json_schema!({ "anyOf": [ServerText::schema(), table] })
    }
}
