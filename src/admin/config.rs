//! The effective configuration, in the shape of the file: every default filled in, and secrets only as
//! the paths of their files.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::limits;
use crate::config::{
    EnvSpec, LogSettings, ServerSettings, ServerSpec, Settings, Size, Span, TracesSettings, UpstreamSpec,
    restart_only_changes,
};
use crate::pipeline::WidgetRules;
use crate::policy::limit::shared::SharedSpec;
use crate::policy::limit::{ClientSpec, EventSpec, LimitsSpec, PlacementSpec, PolicySpec};
use crate::policy::route::{Kind, PathRule, Route, WidgetRoute};
use crate::policy::selection::Selection;
use crate::policy::validate::PlaceRule;
use crate::process::Process;
use crate::request::field::{Domain, Field, MemberIdShape, ServerEndpoints};
use crate::request::message;
use crate::upstream::headers::CookieRule;
use crate::upstream::health::{CheckRule, EjectRule};
use crate::upstream::pool::{Resend, Rules};

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
        "file": process.path.display().to_string(),
        "restart_pending": restart_only_changes(&process.server, server),
        // What is running, which is not what the file says where a restart is pending.
        "settings": settings(&process.server, spec, *log, traces),
    }))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// What other rooms made of their tables is taken apart, so that nothing of it can be forgotten here.

fn settings(server: &ServerSettings, spec: &EnvSpec, log: LogSettings, traces: &TracesSettings) -> Value {
    let EnvSpec {
        routes,
        widget,
        limits,
        upstreams,
        trusted,
    } = spec;
    let upstreams: Map<_, _> = upstreams
        .iter()
        .map(|u| (u.name.to_string(), upstream(u)))
        .collect();
    json!({
        "server": server,
        "trusted_proxies": networks(trusted),
        "routes": routes.iter().map(route).collect::<Vec<_>>(),
        "widget": self::widget(widget),
        "limits": self::limits(limits),
        "upstreams": upstreams,
        "log": log,
        "traces": traces,
    })
}

fn networks(networks: &[IpNet]) -> Vec<String> {
    networks.iter().map(IpNet::to_string).collect()
}

fn route(route: &Route) -> Value {
    let Route {
        name,
        path,
        methods,
        kind,
        selection,
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
        let Selection {
            placements,
            domains,
            members,
        } = selection;
        told.extend([
            ("placements".to_owned(), json!(placements.spelled())),
            ("domains".to_owned(), json!(domains.spelled())),
            ("members".to_owned(), json!(members.spelled())),
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
        "body_limit": Size(*body_limit).to_string(),
        "body_timeout": Span(*body_timeout).to_string(),
        "held_bodies": Size(*held_bodies).to_string(),
        "max_params": max_params,
        "member_id": member_id,
        "cookies": cookies,
        "server_endpoints": server_endpoints,
    })
}

fn limits(limits: &LimitsSpec) -> Value {
    let LimitsSpec {
        max_keys,
        new_keys_per_client,
        client,
        gateway,
        member,
        overrides,
        placement,
        event,
        shared,
    } = limits;
    let client = client
        .as_ref()
        .map(|ClientSpec { policy: of, except }| with(policy(of), json!({ "except": networks(except) })));
    let overrides: Vec<_> = overrides
        .iter()
        .map(|(member, quota)| json!({ "member_id": member.to_string(), "quota": limits::quota(*quota) }))
        .collect();
    let placement: Vec<_> = placement
        .iter()
        .map(|PlacementSpec { matches, policy: of }| with(json!({ "match": matches.spelled() }), policy(of)))
        .collect();
    json!({
        "max_keys": max_keys,
        "new_keys_per_client": limits::quota(*new_keys_per_client),
        "client": client,
        "gateway": gateway.as_ref().map(policy),
        "member": member.as_ref().map(|of| with(policy(of), json!({ "overrides": overrides }))),
        "placement": placement,
        "event": event.as_ref().map(|EventSpec { policy: of, wait }| {
            let wait = (!wait.is_zero()).then(|| Span(*wait).to_string());
            with(policy(of), json!({ "wait": wait }))
        }),
        "shared": shared.as_ref().map(self::shared),
    })
}

/// Where the store is stays with the gateway.
fn shared(shared: &SharedSpec) -> Value {
    let SharedSpec {
        address: _,
        lease,
        timeout,
        on_error,
        replicas,
        prefix,
    } = shared;
    json!({
        "url": "redacted",
        "lease": lease,
        "timeout": Span(*timeout).to_string(),
        "on_error": on_error.label(),
        "replicas": replicas,
        "prefix": prefix,
    })
}

fn policy(PolicySpec { mode, quota }: &PolicySpec) -> Value {
    json!({ "mode": mode.label(), "quota": limits::quota(*quota) })
}

/// Both in one.
fn with(mut told: Value, more: Value) -> Value {
    if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
        told.extend(more);
    }
    told
}

fn upstream(upstream: &UpstreamSpec) -> Value {
    let UpstreamSpec {
        name: _,
        servers,
        rules,
    } = upstream;
    let Rules {
        balance,
        resolve_interval,
        connect_timeout,
        timeout,
        keepalive,
        retries,
        total_timeout,
        background_timeout,
        resend,
        places,
        check,
        eject,
    } = rules;
    let EjectRule {
        failures,
        duration,
        statuses,
    } = eject;
    json!({
        "servers": servers.iter().map(self::upstream_server).collect::<Vec<_>>(),
        "balance": balance.label(),
        "resolve_interval": Span(*resolve_interval).to_string(),
        "connect_timeout": Span(*connect_timeout).to_string(),
        "timeout": Span(*timeout).to_string(),
        "keepalive": Span(*keepalive).to_string(),
        // All the others.
        "retries": (*retries != usize::MAX).then_some(retries),
        "total_timeout": total_timeout.map(|whole| Span(whole).to_string()),
        "background_timeout": Span(*background_timeout).to_string(),
        "idempotent": *resend == Resend::Once,
        "max_in_flight": places.map(|places| places.most),
        "queue": places.map(|places| places.queue),
        "queue_timeout": places.map(|places| Span(places.queue_timeout).to_string()),
        "check": check.as_ref().map(self::check),
        "eject": { "failures": failures, "for": Span(*duration).to_string(), "statuses": statuses },
    })
}

fn upstream_server(server: &ServerSpec) -> Value {
    let ServerSpec {
        name,
        place: _,
        weight,
        backup,
    } = server;
    match (weight, backup) {
        (1, false) => json!(name),
        (weight, backup) => json!({ "address": name, "weight": weight, "backup": backup }),
    }
}

fn check(check: &CheckRule) -> Value {
    let CheckRule {
        path,
        status: (least, most),
        interval,
        timeout,
        rise,
        fall,
    } = check;
    json!({
        "path": path,
        "status": format!("{least}-{most}"),
        "interval": Span(*interval).to_string(),
        "timeout": Span(*timeout).to_string(),
        "rise": rise,
        "fall": fall,
    })
}
