//! `[limits]`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::time::Duration;

use super::others::Others;
use super::server::networks;
use super::shared::shared;
use crate::config::fault::Faults;
use crate::config::limits::{
    ClientTable, EventTable, LimitsTable, OverrideTable, PlacementTable, PolicyTable,
};
use crate::config::units::{Rate, Span};
use crate::config::values::{At, Count, Placed, Word, given_or, quoted};
use crate::policy::Mode;
use crate::policy::limit::{ClientSpec, EventSpec, LimitsSpec, PlacementSpec, PolicySpec, Quota};
use crate::policy::pattern::Pattern;
use crate::request::field::{MemberId, MemberIdShape, Placement};

/// `grace_period` is that of a stop.
pub(super) fn limits(
    table: &LimitsTable,
    shape: MemberIdShape,
    grace_period: Duration,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> LimitsSpec {
    if let (Some(first), None) = (table.overrides.first(), &table.member)
        && !faults.is_unread_below("limits.member")
    {
        let message = "there is no limit that it could override, [limits.member] is needed";
        faults.at(&first.span, message);
    }
    let member = plain(&table.member, faults);
    let overrides = overrides(&table.overrides, shape, faults);
    let max_keys = table.max_keys.as_ref();
    let new_keys = table.new_keys_per_client.as_ref();
    LimitsSpec {
        max_keys: max_keys.map_or(LimitsSpec::MAX_KEYS, |most| most.value as usize),
        new_keys_per_client: new_keys.map_or(LimitsSpec::NEW_KEYS, |given| given.value.with_burst(&None)),
        client: table.client.as_ref().and_then(|table| client(table, faults)),
        gateway: plain(&table.gateway, faults),
        overrides: if member.is_some() { overrides } else { Vec::new() },
        member,
        placement: placement(&table.placement, faults),
        event: table
            .event
            .as_ref()
            .and_then(|table| event(table, grace_period, faults)),
        shared: shared(&table.shared, others, faults),
    }
}

fn plain(table: &Option<Placed<PolicyTable>>, faults: &mut Faults<'_>) -> Option<PolicySpec> {
    let Placed { value: table, span } = table.as_ref()?;
    policy(&table.mode, &table.rate, &table.burst, span, faults)
}

fn policy(
    mode: &Option<At<Word<Mode>>>,
    rate: &Option<At<Rate>>,
    burst: &Option<At<Count<{ Quota::MAX }>>>,
    table: &Range<usize>,
    faults: &mut Faults<'_>,
) -> Option<PolicySpec> {
    let quota = quota(rate, burst, table, faults)?;
    let mode = given_or(mode, Mode::Enforce);
    Some(PolicySpec { mode, quota })
}

fn client(
    Placed { value: table, span }: &Placed<ClientTable>,
    faults: &mut Faults<'_>,
) -> Option<ClientSpec> {
    Some(ClientSpec {
        policy: policy(&table.mode, &table.rate, &table.burst, span, faults)?,
        except: networks(&table.except),
    })
}

fn event(
    Placed { value: table, span }: &Placed<EventTable>,
    grace_period: Duration,
    faults: &mut Faults<'_>,
) -> Option<EventSpec> {
    let policy = policy(&table.mode, &table.rate, &table.burst, span, faults);
    if let Some(wait) = &table.wait
        && wait.value > grace_period
        && !faults.is_unread_below("server.grace_period")
    {
        let allowed = Span(grace_period);
        faults.at(
            &wait.span,
            format!(
                "is longer than a stop waits for it, allowed is at most [server] grace_period ({allowed})"
            ),
        );
    }
    Some(EventSpec {
        policy: policy?,
        wait: given_or(&table.wait, Duration::ZERO),
    })
}

/// In the order of the file.
fn placement(tables: &[Placed<PlacementTable>], faults: &mut Faults<'_>) -> Vec<PlacementSpec> {
    let mut seen: HashMap<Pattern, usize> = HashMap::new();
    let mut all = Vec::new();
    for Placed { value: table, span } in tables {
        let policy = policy(&table.mode, &table.rate, &table.burst, span, faults);
        let allowed = "allowed is a PLACEMENT, or the beginning of one and a '*'";
        let Some(given) = faults.required(&table.matches, span, "match", allowed) else {
            continue;
        };
        let Some(matches) = self::matches(given, faults) else {
            continue;
        };
        if let Some(line) = seen.get(&matches) {
            let message = format!("has a limit in line {line} already, allowed is one for each");
            faults.at(&given.span, message);
            continue;
        }
        seen.insert(matches.clone(), faults.line(&given.span));
        all.extend(policy.map(|policy| PlacementSpec { matches, policy }));
    }
    all
}

fn matches(given: &At<String>, faults: &mut Faults<'_>) -> Option<Pattern> {
    let wrong = match Pattern::parse(&given.value) {
        Ok(pattern) => {
            let text = given.value.trim_end_matches('*');
            if text.is_empty() || Placement::parse(text.as_bytes()).is_ok() {
                return Some(pattern);
            }
            "no PLACEMENT can be so"
        }
        Err(wrong) => wrong,
    };
    faults.at(
        &given.span,
        format!(
            "{} fits nothing: {wrong}, allowed is a PLACEMENT, or the beginning of one and a '*'",
            quoted(&given.value)
        ),
    );
    None
}

/// Each member once.
fn overrides(
    tables: &[Placed<OverrideTable>],
    shape: MemberIdShape,
    faults: &mut Faults<'_>,
) -> Vec<(MemberId, Quota)> {
    let mut seen: HashMap<MemberId, usize> = HashMap::new();
    let mut overrides = Vec::new();
    for Placed { value: entry, span } in tables {
        let allowed = "allowed is the member_id of a portal";
        let given = faults.required(&entry.member_id, span, "member_id", allowed);
        let member_id = given.and_then(|given| member_id(given, shape, faults));
        let quota = quota(&entry.rate, &entry.burst, span, faults);
        let (Some(member_id), Some(at)) = (member_id, given) else {
            continue;
        };
        if let Some(line) = seen.get(&member_id) {
            let message = format!("has an override in line {line} already, allowed is one for each member");
            faults.at(&at.span, message);
            continue;
        }
        seen.insert(member_id.clone(), faults.line(&at.span));
        overrides.extend(quota.map(|quota| (member_id, quota)));
    }
    overrides
}

fn quota(
    rate: &Option<At<Rate>>,
    burst: &Option<At<Count<{ Quota::MAX }>>>,
    table: &Range<usize>,
    faults: &mut Faults<'_>,
) -> Option<Quota> {
    let allowed = "allowed is requests per s, m or h, such as \"100/s\"";
    let rate = faults.required(rate, table, "rate", allowed)?;
    Some(rate.value.with_burst(burst))
}

impl Rate {
    /// Left out, as many come at once as in a period.
    fn with_burst(self, burst: &Option<At<Count<{ Quota::MAX }>>>) -> Quota {
        let Rate { rate, period } = self;
        let burst = burst.as_ref().and_then(|burst| NonZeroU32::new(burst.value));
        Quota {
            rate,
            period,
            burst: burst.unwrap_or(rate),
        }
    }
}

fn member_id(given: &At<String>, shape: MemberIdShape, faults: &mut Faults<'_>) -> Option<MemberId> {
    let parsed = MemberId::parse(given.value.as_bytes(), shape).ok();
    // How members are spelled is not known if that key itself is at fault.
    if parsed.is_none() && !faults.is_unread_below("widget.member_id") {
        let allowed = match shape {
            MemberIdShape::Hex32 => "32 of 0-9 and a-f ([widget] member_id = \"hex32\")",
            MemberIdShape::Token => "1 to 64 of A-Za-z0-9_- ([widget] member_id = \"token\")",
        };
        let given_as = quoted(&given.value);
        let message = format!("{given_as} is no member_id, allowed is {allowed}");
        faults.at(&given.span, message);
    }
    parsed
}
