//! `[limits]`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::others::Others;
use super::shared::shared;
use crate::config::fault::Faults;
use crate::config::limits::{
    ClientTable, EventTable, LimitsTable, OverrideTable, PlacementTable, PolicyTable,
};
use crate::config::units::{Rate, Span};
use crate::config::values::{At, Count, Word, quoted, word};
use crate::policy::Mode;
use crate::policy::limit::{ClientSpec, EventSpec, LimitsSpec, PlacementSpec, PolicySpec, Quota};
use crate::policy::pattern::Pattern;
use crate::request::field::{MemberId, MemberIdShape, Placement};

/// `grace_period` is that of a stop.
pub(super) fn limits(
    table: &LimitsTable,
    shape: MemberIdShape,
    grace_period: Duration,
    (base, others): (&Path, &mut Others),
    faults: &mut Faults<'_>,
) -> LimitsSpec {
    let LimitsTable {
        max_keys,
        new_keys_per_client,
        client,
        gateway,
        member,
        overrides,
        placement,
        event,
        shared,
    } = table;
    if let (Some(first), None) = (overrides.first(), member)
        && !faults.is_unread_below("limits.member")
    {
        faults.at(
            &first.span(),
            "there is no limit that it could override, [limits.member] is needed",
        );
    }
    let member = plain(member, faults);
    let overrides = self::overrides(overrides, shape, faults);
    LimitsSpec {
        max_keys: max_keys
            .as_ref()
            .map_or(LimitsSpec::MAX_KEYS, |keys| keys.value.0 as usize),
        new_keys_per_client: new_keys_per_client
            .as_ref()
            .map_or(LimitsSpec::NEW_KEYS, |given| Quota {
                rate: given.value.rate,
                period: given.value.period,
                burst: given.value.rate,
            }),
        client: client.as_ref().and_then(|table| self::client(table, faults)),
        gateway: plain(gateway, faults),
        overrides: if member.is_some() { overrides } else { Vec::new() },
        member,
        placement: self::placement(placement, faults),
        event: event
            .as_ref()
            .and_then(|table| self::event(table, grace_period, faults)),
        shared: self::shared(shared, base, others, faults),
    }
}

fn plain(table: &Option<Spanned<PolicyTable>>, faults: &mut Faults<'_>) -> Option<PolicySpec> {
    let table = table.as_ref()?;
    let PolicyTable { mode, rate, burst } = table.get_ref();
    policy(mode, rate, burst, &table.span(), faults)
}

fn policy(
    mode: &Option<At<Word<Mode>>>,
    rate: &Option<At<Rate>>,
    burst: &Option<At<Count<{ Quota::MAX }>>>,
    table: &Range<usize>,
    faults: &mut Faults<'_>,
) -> Option<PolicySpec> {
    let quota = quota(rate, burst, table, faults)?;
    Some(PolicySpec {
        mode: word(mode, Mode::Enforce),
        quota,
    })
}

fn client(table: &Spanned<ClientTable>, faults: &mut Faults<'_>) -> Option<ClientSpec> {
    let ClientTable {
        mode,
        rate,
        burst,
        except,
    } = table.get_ref();
    Some(ClientSpec {
        policy: policy(mode, rate, burst, &table.span(), faults)?,
        except: except.iter().flatten().map(|network| network.value.0).collect(),
    })
}

fn event(table: &Spanned<EventTable>, grace_period: Duration, faults: &mut Faults<'_>) -> Option<EventSpec> {
    let EventTable {
        mode,
        rate,
        burst,
        wait,
    } = table.get_ref();
    let policy = policy(mode, rate, burst, &table.span(), faults);
    if let Some(wait) = wait
        && wait.value.0 > grace_period
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
        wait: wait.as_ref().map(|wait| wait.value.0).unwrap_or_default(),
    })
}

/// In the order of the file.
fn placement(tables: &[Spanned<PlacementTable>], faults: &mut Faults<'_>) -> Vec<PlacementSpec> {
    let mut seen: HashMap<Pattern, usize> = HashMap::new();
    let mut all = Vec::new();
    for table in tables {
        let span = table.span();
        let PlacementTable {
            matches,
            mode,
            rate,
            burst,
        } = table.get_ref();
        let policy = policy(mode, rate, burst, &span, faults);
        let Some(given) = matches else {
            if !faults.is_unread(&span, "match") {
                faults.under(
                    &span,
                    "match",
                    "is missing, allowed is a PLACEMENT, or the beginning of one and a '*'",
                );
            }
            continue;
        };
        let Some(matches) = self::matches(given, faults) else {
            continue;
        };
        if let Some(line) = seen.get(&matches) {
            faults.at(
                &given.span,
                format!("has a limit in line {line} already, allowed is one for each"),
            );
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
    tables: &[Spanned<OverrideTable>],
    shape: MemberIdShape,
    faults: &mut Faults<'_>,
) -> Vec<(MemberId, Quota)> {
    let mut seen: HashMap<MemberId, usize> = HashMap::new();
    let mut overrides = Vec::new();
    for entry in tables {
        let (span, entry) = (entry.span(), entry.get_ref());
        let member_id = member_id(&entry.member_id, shape, &span, faults);
        let quota = quota(&entry.rate, &entry.burst, &span, faults);
        let (Some(member_id), Some(at)) = (member_id, &entry.member_id) else {
            continue;
        };
        if let Some(line) = seen.get(&member_id) {
            faults.at(
                &at.span,
                format!("has an override in line {line} already, allowed is one for each member"),
            );
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
    let Some(rate) = rate else {
        if !faults.is_unread(table, "rate") {
            faults.under(
                table,
                "rate",
                "is missing, allowed is requests per s, m or h, such as \"100/s\"",
            );
        }
        return None;
    };
    let Rate { rate, period } = rate.value;
    let burst = burst
        .as_ref()
        .and_then(|burst| NonZeroU32::new(burst.value.0))
        .unwrap_or(rate);
    Some(Quota { rate, period, burst })
}

fn member_id(
    given: &Option<At<String>>,
    shape: MemberIdShape,
    table: &Range<usize>,
    faults: &mut Faults<'_>,
) -> Option<MemberId> {
    let Some(given) = given else {
        if !faults.is_unread(table, "member_id") {
            faults.under(
                table,
                "member_id",
                "is missing, allowed is the member_id of a portal",
            );
        }
        return None;
    };
    let parsed = MemberId::parse(given.value.as_bytes(), shape).ok();
    // How members are spelled is not known if that key itself is at fault.
    if parsed.is_none() && !faults.is_unread_below("widget.member_id") {
        let allowed = match shape {
            MemberIdShape::Hex32 => "32 of 0-9 and a-f ([widget] member_id = \"hex32\")",
            MemberIdShape::Token => "1 to 64 of A-Za-z0-9_- ([widget] member_id = \"token\")",
        };
        faults.at(
            &given.span,
            format!("{} is no member_id, allowed is {allowed}", quoted(&given.value)),
        );
    }
    parsed
}
