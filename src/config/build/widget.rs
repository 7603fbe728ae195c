//! `[widget]`.

use std::sync::Arc;

use super::others::Others;
use crate::config::fault::Faults;
use crate::config::file::WidgetTable;
use crate::config::frame::FrameTable;
use crate::config::values::{At, Placed, given_or, quoted};
use crate::pipeline::WidgetRules;
use crate::request::field::{Domain, ServerEndpoints};
use crate::response::page::Template;

/// A body is held whole, and above this no genuine widget call is known.
const LARGEST_BODY: usize = 8 << 20;

/// The default for a body.
const BODY_LIMIT: usize = 1 << 20;

/// A page that is shown in a small frame.
const LARGEST_PAGE: u64 = 256 << 10;

pub(super) fn widget(table: &WidgetTable, others: &mut Others, faults: &mut Faults<'_>) -> WidgetRules {
    let default = WidgetRules::default();
    let page = table.refusal_page.as_ref();
    let rules = WidgetRules {
        body_limit: given_or(&table.body_limit, BODY_LIMIT),
        body_timeout: given_or(&table.body_timeout, default.body_timeout),
        held_bodies: given_or(&table.held_bodies, default.held_bodies),
        max_params: table
            .max_params
            .as_ref()
            .map_or(default.max_params, |most| most.value as usize),
        member_id: given_or(&table.member_id, default.member_id),
        cookies: given_or(&table.cookies, default.cookies),
        server_endpoints: server_endpoints(table, default.server_endpoints, faults),
        frame: table.frame.as_ref().map(FrameTable::rules),
        refusal_page: page.and_then(|path| refusal_page(path, others, faults)),
    };
    if let Some(limit) = table
        .body_limit
        .as_ref()
        .filter(|limit| limit.value > LARGEST_BODY)
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

fn refusal_page(path: &At<String>, others: &mut Others, faults: &mut Faults<'_>) -> Option<Arc<Template>> {
    let full = others.path(path);
    let allowed = "an HTML file with the placeholders of the reference";
    others.load(path, LARGEST_PAGE, allowed, faults, |content| {
        let source = std::str::from_utf8(content).map_err(|_| "is not UTF-8")?;
        let template = Template::parse(&full, source);
        Ok(Arc::new(template.map_err(|wrong| {
            format!("is no template: {}:{wrong}", full.display())
        })?))
    })
}

fn server_endpoints(
    table: &WidgetTable,
    default: ServerEndpoints,
    faults: &mut Faults<'_>,
) -> ServerEndpoints {
    const ALLOWED: &str = "allowed is a host name without port and scheme, or \"*\" alone for any";
    let Some(Placed { value: hosts, span }) = &table.server_endpoints else {
        return default;
    };
    if let [only] = hosts.as_slice()
        && only.value == "*"
    {
        return ServerEndpoints::Any;
    }
    if hosts.is_empty() {
        faults.empty(span, format!("is empty, so no call could name one, {ALLOWED}"));
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
