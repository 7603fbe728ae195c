//! `[widget]` and `[limits]`.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::others::Others;
use super::server::seconds;
use crate::config::fault::Faults;
use crate::config::file::{LimitsTable, WidgetTable};
use crate::config::frame::FrameTable;
use crate::config::settings::MemberLimitSpec;
use crate::config::units::Rate;
use crate::config::values::word;
use crate::config::values::{At, Count, quoted};
use crate::pipeline::WidgetRules;
use crate::policy::Mode;
use crate::policy::limit::Quota;
use crate::request::field::{Domain, MemberId, MemberIdShape, ServerEndpoints};
use crate::response::page::Template;

/// A body is held whole, and above this no genuine widget call is known.
const LARGEST_BODY: usize = 8 << 20;

/// The default for a body.
const BODY_LIMIT: usize = 1 << 20;

/// A page that is shown in a small frame.
const LARGEST_PAGE: u64 = 256 << 10;

pub(super) fn widget(
    table: &WidgetTable,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> WidgetRules {
    let default = WidgetRules::default();
    let rules = WidgetRules {
        body_limit: table.body_limit.as_ref().map_or(BODY_LIMIT, |size| size.value.0),
        body_timeout: seconds(&table.body_timeout, default.body_timeout.as_secs()),
        held_bodies: table
            .held_bodies
            .as_ref()
            .map_or(default.held_bodies, |size| size.value.0),
        max_params: table
            .max_params
            .as_ref()
            .map_or(default.max_params, |count| count.value.0 as usize),
        member_id: word(&table.member_id, default.member_id),
        cookies: word(&table.cookies, default.cookies),
        server_endpoints: server_endpoints(table, default.server_endpoints, faults),
        frame: table.frame.as_ref().map(FrameTable::rules),
        refusal_page: table
            .refusal_page
            .as_ref()
            .and_then(|path| refusal_page(path, base, others, faults)),
    };
    if let Some(limit) = table
        .body_limit
        .as_ref()
        .filter(|limit| limit.value.0 > LARGEST_BODY)
    {
        faults.at(&limit.span, "is too large, allowed is at most \"8MiB\"");
    } else if rules.body_limit > rules.held_bodies && !faults.is_unread_below("widget") {
        let message = format!(
            "a body of body_limit ({} bytes) does not fit into held_bodies ({} bytes), allowed is a body_limit up to held_bodies",
            rules.body_limit, rules.held_bodies
        );
        if let Some(size) = table.held_bodies.as_ref().or(table.body_limit.as_ref()) {
            faults.at(&size.span, message);
        }
    }
    rules
}

fn refusal_page(
    path: &At<String>,
    base: &Path,
    others: &mut Others,
    faults: &mut Faults<'_>,
) -> Option<Arc<Template>> {
    let full = base.join(&path.value);
    let shown = quoted(&path.value);
    let read = match others.read(full.clone(), LARGEST_PAGE) {
        Ok(content) => std::str::from_utf8(content)
            .map_err(|_| format!("{shown} is not UTF-8"))
            .and_then(|source| {
                Template::parse(&full, source)
                    .map_err(|wrong| format!("{shown} is no template: {}:{wrong}", full.display()))
            }),
        Err(wrong) => Err(format!("{shown} {wrong}")),
    };
    match read {
        Ok(template) => Some(Arc::new(template)),
        Err(wrong) => {
            faults.at(
                &path.span,
                format!("{wrong}, allowed is an HTML file with the placeholders of the reference"),
            );
            None
        }
    }
}

fn server_endpoints(
    table: &WidgetTable,
    default: ServerEndpoints,
    faults: &mut Faults<'_>,
) -> ServerEndpoints {
    const ALLOWED: &str = "allowed is a host name without port and scheme, or \"*\" alone for any";
    let Some(list) = &table.server_endpoints else {
        return default;
    };
    let hosts = list.get_ref();
    if let [only] = hosts.as_slice()
        && only.value == "*"
    {
        return ServerEndpoints::Any;
    }
    if hosts.is_empty() && !faults.is_unread_below(&faults.index().of_value(&list.span())) {
        faults.at(
            &list.span(),
            format!("is empty, so no call could name one, {ALLOWED}"),
        );
    }
    let mut listed = Vec::new();
    for host in hosts {
        match Domain::parse(host.value.as_bytes()) {
            Ok(domain) if !domain.has_port() => listed.push(domain),
            Ok(_) | Err(_) => faults.at(
                &host.span,
                format!("{} is no such host, {ALLOWED}", quoted(&host.value)),
            ),
        }
    }
    ServerEndpoints::Listed(listed.into())
}

pub(super) fn member(
    table: &LimitsTable,
    shape: MemberIdShape,
    faults: &mut Faults<'_>,
) -> Option<MemberLimitSpec> {
    let limit = table.member.as_ref().and_then(|member| {
        let (span, member) = (member.span(), member.get_ref());
        let quota = quota(&member.rate, &member.burst, &span, faults)?;
        Some((word(&member.mode, Mode::Enforce), quota))
    });
    let mut seen: HashMap<MemberId, usize> = HashMap::new();
    let mut overrides = Vec::new();
    for entry in &table.overrides {
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
    if let (Some(first), None) = (table.overrides.first(), &table.member)
        && !faults.is_unread_below("limits.member")
    {
        faults.at(
            &first.span(),
            "there is no limit that it could override, [limits.member] is needed",
        );
    }
    limit.map(|(mode, quota)| MemberLimitSpec {
        mode,
        quota,
        overrides,
    })
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
