//! What limits are built from: `[limits]`, read and checked.

use std::num::NonZeroU32;
use std::time::Duration;

use ipnet::IpNet;

use super::quota::{Period, Quota};
use super::shared::SharedSpec;
use crate::policy::Mode;
use crate::policy::pattern::Pattern;
use crate::request::field::MemberId;

/// `[limits]`. What is none there is no limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LimitsSpec {
    /// Keys of one policy whose state is held at once.
    pub max_keys: usize,
    /// Members never seen before that a client may bring; further ones share one state.
    pub new_keys_per_client: Quota,
    /// `[limits.client]`
    pub client: Option<ClientSpec>,
    /// `[limits.gateway]`
    pub gateway: Option<PolicySpec>,
    /// `[limits.member]`
    pub member: Option<PolicySpec>,
    /// `[[limits.overrides]]`, each member once; empty without a limit that they could override.
    pub overrides: Vec<(MemberId, Quota)>,
    /// `[[limits.placement]]`, in the order of the file: the first that fits judges.
    pub placement: Vec<PlacementSpec>,
    /// `[limits.event]`
    pub event: Option<EventSpec>,
    /// `[limits.shared]`: what keeps the limits of members for several replicas.
    pub shared: Option<SharedSpec>,
}

impl LimitsSpec {
    /// The default of `max_keys`.
    pub const MAX_KEYS: usize = 1_000_000;

    /// The default of `new_keys_per_client`: 600 a minute.
    pub const NEW_KEYS: Quota = Quota {
        rate: NonZeroU32::MIN.saturating_add(599),
        period: Period::Minute,
        burst: NonZeroU32::MIN.saturating_add(599),
    };
}

impl Default for LimitsSpec {
    /// No limit at all.
    fn default() -> LimitsSpec {
        LimitsSpec {
            max_keys: LimitsSpec::MAX_KEYS,
            new_keys_per_client: LimitsSpec::NEW_KEYS,
            client: None,
            gateway: None,
            member: None,
            overrides: Vec::new(),
            placement: Vec::new(),
            event: None,
            shared: None,
        }
    }
}

/// What every policy has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PolicySpec {
    /// What a used-up quota leads to.
    pub mode: Mode,
    /// Of a key without a quota of its own.
    pub quota: Quota,
}

/// `[limits.client]`
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientSpec {
    /// Of each address.
    pub policy: PolicySpec,
    /// Whose addresses it leaves alone.
    pub except: Vec<IpNet>,
}

/// `[limits.event]`
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EventSpec {
    /// Of each sender.
    pub policy: PolicySpec,
    /// How long one is held back until its turn, at most; zero where it is refused at once.
    pub wait: Duration,
}

/// One `[[limits.placement]]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlacementSpec {
    /// Which placements.
    pub matches: Pattern,
    /// Of each member, for these placements together.
    pub policy: PolicySpec,
}
