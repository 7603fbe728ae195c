//! The effective configuration, in the shape of the file: every default filled in, and secrets only as
//! the paths of their files.

use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::limits;
use crate::config::{
    CertPaths, EnvSpec, ListenerSettings, LogSettings, MemberLimitSpec, ServerSettings, Settings,
    TracesSettings, UpstreamSpec, restart_only_changes,
};
use crate::pipeline::WidgetRules;
use crate::policy::route::{Kind, PathRule, Route, WidgetRoute};
use crate::policy::validate::PlaceRule;
use crate::process::Process;
use crate::request::field::{Domain, Field, MemberIdShape, ServerEndpoints};
use crate::request::message;
use crate::upstream::headers::CookieRule;

pub(super) fn config(process: &Process) -> Answer {
    let live = process.live.load();
    let snapshot = &live.snapshot;
    let Settings {
        server,
        spec,
        log,
        traces,
    } = &snapshot.settings;
    Answer::json(&json!({
        "generation": snapshot.generation,
        "sha256": hex(&snapshot.sha256),
        "file": process.path,
        "restart_pending": restart_only_changes(&process.server, server),
        // What is running, which is not what the file says where a restart is pending.
        "settings": settings(&process.server, spec, *log, traces),
    }))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// Everything is taken apart below, so that a new setting can not be forgotten here.

fn settings(server: &ServerSettings, spec: &EnvSpec, log: LogSettings, traces: &TracesSettings) -> Value {
    let EnvSpec {
        routes,
        widget,
        max_keys,
        member_limit,
        upstreams,
        trusted,
    } = spec;
    let LogSettings {
        level,
        sample_forwarded,
        sample_refused,
    } = log;
    let TracesSettings { endpoint, sample } = traces;
    let upstreams: Map<_, _> = upstreams
        .iter()
        .map(|u| (u.name.to_string(), upstream(u)))
        .collect();
    json!({
        "server": self::server(server),
        "trusted_proxies": networks(trusted),
        "routes": routes.iter().map(route).collect::<Vec<_>>(),
        "widget": self::widget(widget),
        "limits": limits(*max_keys, member_limit.as_ref()),
        "upstreams": upstreams,
        "log": {
            "level": level.as_str().to_ascii_lowercase(),
            "sample_forwarded": sample_forwarded,
            "sample_refused": sample_refused,
        },
        "traces": { "endpoint": endpoint, "sample": sample },
    })
}

fn server(server: &ServerSettings) -> Value {
    let ServerSettings {
        listeners,
        admin,
        threads,
        max_connections,
        keepalive_timeout,
        header_timeout,
        write_timeout,
        drain_delay,
        grace_period,
        upgrade_socket,
        admin_allow,
        admin_token_file,
        ready_requires_upstream,
        admin_hosts,
    } = server;
    json!({
        "listeners": listeners.iter().map(listener).collect::<Vec<_>>(),
        "admin": admin,
        "threads": threads,
        "max_connections": max_connections,
        "keepalive_timeout": span(*keepalive_timeout),
        "header_timeout": span(*header_timeout),
        "write_timeout": span(*write_timeout),
        "drain_delay": span(*drain_delay),
        "grace_period": span(*grace_period),
        "upgrade_socket": upgrade_socket,
        "admin_allow": networks(admin_allow),
        "admin_token_file": admin_token_file,
        "ready_requires_upstream": ready_requires_upstream,
        "admin_hosts": admin_hosts,
    })
}

fn networks(networks: &[IpNet]) -> Vec<String> {
    networks.iter().map(IpNet::to_string).collect()
}

fn listener(listener: &ListenerSettings) -> Value {
    let ListenerSettings { address, h2c, tls } = listener;
    let tls: Vec<_> = tls
        .iter()
        .map(|CertPaths { cert, key }| json!({ "cert": cert, "key": key }))
        .collect();
    json!({ "address": address, "h2c": h2c, "tls": tls })
}

fn route(route: &Route) -> Value {
    let Route {
        name,
        path,
        methods,
        kind,
        upstream,
    } = route;
    let methods: Vec<_> = methods.iter().map(http::Method::as_str).collect();
    let mut told = json!({
        "name": &**name, "path": path_rule(path), "methods": methods, "kind": "pass", "mode": null, "upstream": &**upstream,
    });
    if let (Kind::Widget(widget), Some(told)) = (kind, told.as_object_mut()) {
        let WidgetRoute {
            mode,
            accepts,
            require,
            places,
        } = *widget;
        let accepts: Vec<_> = accepts.iter().map(message::Kind::label).collect();
        let require: Vec<_> = require.iter().map(Field::name).collect();
        let places = match places {
            PlaceRule::Any => "any",
            PlaceRule::Strict => "strict",
        };
        told.extend([
            ("kind".to_owned(), "widget".into()),
            ("mode".to_owned(), mode.label().into()),
            ("accepts".to_owned(), accepts.into()),
            ("require".to_owned(), require.into()),
            ("places".to_owned(), places.into()),
        ]);
    }
    told
}

/// As the file spells it.
pub(super) fn path_rule(path: &PathRule) -> String {
    match path {
        PathRule::Prefix(path) if path.is_empty() => "/".to_owned(),
        PathRule::Prefix(path) => path.clone(),
        PathRule::Exact(path) => format!("= {path}"),
    }
}

fn widget(rules: &WidgetRules) -> Value {
    let WidgetRules {
        body_limit,
        body_timeout,
        held_bodies,
        max_params,
        member_id,
        cookies,
        server_endpoints,
    } = rules;
    let member_id = match member_id {
        MemberIdShape::Hex32 => "hex32",
        MemberIdShape::Token => "token",
    };
    let cookies = match cookies {
        CookieRule::Strip => "strip",
        CookieRule::Refuse => "refuse",
        CookieRule::Keep => "keep",
    };
    let server_endpoints: Vec<_> = match server_endpoints {
        ServerEndpoints::Any => vec!["*"],
        ServerEndpoints::Listed(hosts) => hosts.iter().map(Domain::as_str).collect(),
    };
    json!({
        "body_limit": size(*body_limit),
        "body_timeout": span(*body_timeout),
        "held_bodies": size(*held_bodies),
        "max_params": max_params,
        "member_id": member_id,
        "cookies": cookies,
        "server_endpoints": server_endpoints,
    })
}

fn limits(max_keys: usize, member: Option<&MemberLimitSpec>) -> Value {
    let member = member.map(
        |MemberLimitSpec {
             mode,
             quota,
             overrides,
         }| {
            let overrides: Vec<_> = overrides
            .iter()
            .map(|(member, quota)| json!({ "member_id": member.to_string(), "quota": limits::quota(*quota) }))
            .collect();
            json!({ "mode": mode.label(), "quota": limits::quota(*quota), "overrides": overrides })
        },
    );
    json!({ "max_keys": max_keys, "member": member })
}

fn upstream(upstream: &UpstreamSpec) -> Value {
    let UpstreamSpec {
        name: _,
        servers,
        connect_timeout,
        timeout,
    } = upstream;
    let servers: Vec<_> = servers.iter().map(|server| &server.name).collect();
    json!({ "servers": servers, "connect_timeout": span(*connect_timeout), "timeout": span(*timeout) })
}

/// A duration in the file's spelling.
fn span(span: Duration) -> String {
    match span.subsec_millis() {
        0 => format!("{}s", span.as_secs()),
        _ => format!("{}ms", span.as_millis()),
    }
}

/// A size in the file's spelling, in the largest unit that fits.
fn size(bytes: usize) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(each, _)| bytes.is_multiple_of(*each)) {
        Some((each, unit)) => format!("{}{unit}", bytes / each),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_spans_are_spelled_as_in_the_file() {
        assert_eq!(
            [262_144, 1 << 30, 3 << 20, 1000].map(size),
            ["256KiB", "1GiB", "3MiB", "1000B"]
        );
        assert_eq!(
            [75_000, 250, 1500].map(|ms| span(Duration::from_millis(ms))),
            ["75s", "250ms", "1500ms"]
        );
    }
}
