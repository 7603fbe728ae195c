//! `[limits]` as the file has it.

use schemars::JsonSchema;
use serde::Deserialize;

use super::addresses::Network;
use super::units::{Rate, Span};
use super::values::{At, Count, Placed, Word};
use crate::policy::Mode;
use crate::policy::limit::Quota;
use crate::policy::limit::shared::OnError;

/// How much may be asked. A request goes through the limits of its client's address, of the gateway, and then of
/// its member, of its placement or of events.
#[derive(Deserialize, JsonSchema, Default, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct LimitsTable {
    /// Keys whose state each limit holds at once; above it new ones share one.
    #[schemars(extend("default" = 1_000_000))]
    pub max_keys: Option<At<Count<100_000_000>>>,
    /// Members never seen before that one client address may bring; further ones of it share one state, under the
    /// same quota. Not for events and robots, nor for addresses in `trusted_proxies` and `[limits.client] except`.
    #[schemars(extend("default" = "600/m"))]
    pub new_keys_per_client: Option<At<Rate>>,
    /// The limit per client address, judged before the body is read; left out = no such limit.
    pub client: Option<Placed<ClientTable>>,
    /// The limit of all requests to widget routes together; left out = no such limit.
    pub gateway: Option<Placed<PolicyTable>>,
    /// The limit per member_id; left out = no such limit.
    pub member: Option<Placed<PolicyTable>>,
    /// Members with a limit of their own instead of that.
    #[serde(default)]
    pub overrides: Vec<Placed<OverrideTable>>,
    /// Placements with a limit of their own, per member, instead of that. The first that fits judges.
    #[serde(default)]
    pub placement: Vec<Placed<PlacementTable>>,
    /// The limit of events and robots, per member; left out = no such limit.
    pub event: Option<Placed<EventTable>>,
    /// A store that keeps the limits of members for several gateways together. Left out, each keeps its own.
    pub shared: Option<Placed<SharedTable>>,
}

/// Tables of a limit: the keys that each has, between those of its own, in the order in which they are told.
macro_rules! limit_tables {
    ($($(#[doc = $doc:literal])+ $name:ident { $($before:tt)* } { $($behind:tt)* })+) => {$(
        $(#[doc = $doc])+
        #[derive(Deserialize, JsonSchema, Debug)]
        #[serde(deny_unknown_fields, expecting = "a table")]
        pub struct $name {
            $($before)*
            /// `enforce` refuses what is over the limit; `observe` counts and logs it.
            #[schemars(extend("default" = "enforce"))]
            pub mode: Option<At<Word<Mode>>>,
            /// Requests per second, minute or hour on average.
            #[schemars(required)]
            pub rate: Option<At<Rate>>,
            /// Requests at once after a pause; left out = the number of the rate.
            pub burst: Option<At<Count<{ Quota::MAX }>>>,
            $($behind)*
        }
    )+};
}

limit_tables! {
    /// A limit.
    PolicyTable {} {}

    /// The limit per client address: IPv4 by the address, IPv6 by its /64.
    ClientTable {} {
        /// Networks whose addresses it leaves alone, such as those of the servers that send events.
        pub except: Option<Vec<At<Network>>>,
    }

    /// The limit of events and robots, per member, or per portal where they name none.
    EventTable {} {
        /// How long one over the limit is held back until its turn comes, instead of refused; at most
        /// `[server] grace_period`. Left out = it is refused.
        pub wait: Option<At<Span>>,
    }

    /// The limit of some placements, per member.
    PlacementTable {
        /// A PLACEMENT, or the beginning of one and a `*`.
        #[serde(rename = "match")]
        #[schemars(required)]
        pub matches: Option<At<String>>,
    } {}
}

/// One member's own limit.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct OverrideTable {
    /// Whose, in the shape of `[widget] member_id`.
    #[schemars(required)]
    pub member_id: Option<At<String>>,
    /// Requests per second, minute or hour on average.
    #[schemars(required)]
    pub rate: Option<At<Rate>>,
    /// Requests at once after a pause; left out = the number of the rate.
    pub burst: Option<At<Count<{ Quota::MAX }>>>,
}

/// A store that keeps the limits of members for several gateways together. Left out, each keeps its own.
#[derive(Deserialize, JsonSchema, Debug)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct SharedTable {
    /// Where the store (Redis, Valkey) is, without a password: `redis://`, `rediss://` with TLS, `unix://`,
    /// `redis-cluster://`, `redis-sentinel://`.
    pub url: Option<At<String>>,
    /// A file with the URL in it, where it has a password.
    pub url_file: Option<At<String>>,
    /// How many requests of a member one gateway may be away from what the store knows; 1 = each request waits for
    /// the store.
    #[schemars(extend("default" = 10))]
    pub lease: Option<At<Count<10_000>>>,
    /// The longest that a request waits for the store.
    #[schemars(extend("default" = "5ms"))]
    pub timeout: Option<At<Span>>,
    /// What holds while the store does not answer: `local` grants each gateway its share of the quota, `open`
    /// everything, `closed` nothing.
    #[schemars(extend("default" = "local"))]
    pub on_error: Option<At<Word<OnError>>>,
    /// How many gateways share the quota then.
    #[schemars(extend("default" = 1))]
    pub replicas: Option<At<Count<10_000>>>,
    /// Before the name of each key in the store.
    #[schemars(extend("default" = "widget-gateway:"))]
    pub prefix: Option<At<String>>,
}
