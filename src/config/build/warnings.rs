//! What is sound in itself and yet most likely not meant: each of these has opened or closed a handler for
//! somebody.

use std::net::{IpAddr, SocketAddr};

use crate::config::addresses::{Network, ServerAddress};
use crate::config::fault::Faults;
use crate::config::file::{File, RouteTable};
use crate::config::values::{At, Placed};
use crate::policy::route::{Kind, PathRule, Route};

/// Tells all of it. `routes` are those of the file that could be built, `own` the addresses that the gateway
/// listens on.
pub(super) fn collect(file: &File, routes: &[Route], own: &[SocketAddr], faults: &mut Faults<'_>) {
    for route in &file.routes {
        ends_in_star(route, faults);
    }
    // Where one of them could not be built, there are faults to be told before.
    let built = file
        .routes
        .iter()
        .zip(routes)
        .filter(|_| file.routes.len() == routes.len());
    for (table, route) in built {
        if let Some(widget) = routes.iter().find(|widget| is_opened_by(widget, route)) {
            passes_by(table, widget, faults);
        }
    }
    everybody(
        &file.trusted_proxies,
        "whoever connects says who the client is",
        faults,
    );
    everybody(
        &file.server.admin_allow,
        "whoever reaches the admin address may read it",
        faults,
    );
    let lists = file
        .upstreams
        .values()
        .filter_map(|upstream| upstream.value.servers.as_ref());
    for Placed { value: item, span } in lists.flat_map(|list| &list.value) {
        if let Some((server, span)) = item.server(span)
            && let Some(why) = no_server(&server.address, own)
        {
            faults.warn(span, why);
        }
    }
}

/// Why what is meant for a server is most likely none.
fn no_server(address: &ServerAddress, own: &[SocketAddr]) -> Option<&'static str> {
    match address {
        ServerAddress::Sample => None,
        ServerAddress::Unix(path) => {
            // Its folder says so at times: `/run/php-fpm/www.sock`.
            let path = path.to_string_lossy();
            (path.contains("fpm") && path.ends_with(".sock")).then_some(PHP_FPM)
        }
        ServerAddress::Host(host, port) if own.iter().any(|own| is_served_at(*own, host, *port)) => {
            Some("is an address that this gateway listens on: requests would go round in circles")
        }
        ServerAddress::Host(_, port) => (*port == 9000).then_some(PHP_FPM),
    }
}

const PHP_FPM: &str = "looks like php-fpm, which speaks FastCGI: HTTP is spoken to servers, so that a web \
                       server has to stand in front of it";

fn ends_in_star(route: &Placed<RouteTable>, faults: &mut Faults<'_>) {
    if let Some(path) = &route.value.path
        && path.value.ends_with('*')
    {
        let message = "'*' stands for itself here: a path without \"= \" is all below it too";
        faults.warn(&path.span, message);
    }
}

/// Whether a handler that the widget route checks calls for can be reached, unchecked, by the other route: by
/// another spelling of its path (`/crm/index.php` for `/crm/`), or by what a server makes of a path that goes
/// on behind it.
fn is_opened_by(widget: &Route, pass: &Route) -> bool {
    let takes_post = |route: &Route| route.methods.contains(&http::Method::POST);
    if !matches!(widget.kind, Kind::Widget(_)) || !matches!(pass.kind, Kind::Pass(_)) || !takes_post(pass) {
        return false;
    }
    let (own, other) = (path(&widget.path), path(&pass.path));
    match (&widget.path, &pass.path) {
        // What is below the widget's one path goes to whoever has the paths around it.
        (PathRule::Exact(_), PathRule::Prefix(_)) => is_within(own, other) || is_within(other, own),
        // All below the widget's path is the widget's, but for what the other has taken out.
        (PathRule::Prefix(_), _) | (PathRule::Exact(_), PathRule::Exact(_)) => is_within(other, own),
    }
}

fn path(rule: &PathRule) -> &str {
    match rule {
        PathRule::Prefix(path) | PathRule::Exact(path) => path.trim_end_matches('/'),
    }
}

/// Whether the path is the other one or below it.
fn is_within(path: &str, other: &str) -> bool {
    path.strip_prefix(other)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn passes_by(table: &Placed<RouteTable>, widget: &Route, faults: &mut Faults<'_>) {
    let path = table.value.path.as_ref();
    let span = path.map_or(&table.span, |path| &path.span);
    faults.warn(
        span,
        format!(
            "takes POST where the widget route {:?} checks calls: a handler of that route may be reached by this one, unchecked",
            widget.name
        ),
    );
}

fn everybody(networks: &Option<Vec<At<Network>>>, so: &str, faults: &mut Faults<'_>) {
    for network in networks.iter().flatten() {
        if network.value.prefix_len() == 0 {
            faults.warn(&network.span, format!("is everybody: {so}"));
        }
    }
}

/// Whether a server of this name is our own listener. Names are not looked up.
fn is_served_at(own: SocketAddr, host: &str, port: u16) -> bool {
    let address = match host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>()
    {
        Ok(address) => address,
        Err(_) if host.eq_ignore_ascii_case("localhost") => IpAddr::from([127, 0, 0, 1]),
        Err(_) => return false,
    };
    let reaches = own.ip() == address || own.ip().is_unspecified() && address.is_loopback();
    own.port() == port && reaches
}
