//! `[widget]`.

use super::server::seconds;
use crate::config::fault::Faults;
use crate::config::file::WidgetTable;
use crate::config::frame::FrameTable;
use crate::config::values::{quoted, word};
use crate::pipeline::WidgetRules;
use crate::request::field::{Domain, ServerEndpoints};

/// A body is held whole, and above this no genuine widget call is known.
const LARGEST_BODY: usize = 8 << 20;

/// The default for a body.
const BODY_LIMIT: usize = 1 << 20;

pub(super) fn widget(table: &WidgetTable, faults: &mut Faults<'_>) -> WidgetRules {
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
