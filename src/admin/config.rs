//! The effective configuration, in the shape of the file: every default filled in, and secrets only as
//! the paths of their files.

use ipnet::IpNet;
use serde_json::{Map, Value, json};

use super::answer::{Answer, Problem};
use super::limits;
use crate::config::{
    EnvSpec, LogSettings, ServerSettings, ServerSpec, Settings, Size, Snapshot, Span, TracesSettings,
    UpstreamSpec, UpstreamTlsSpec, VerifySpec, VouchedBy, Words, hex, restart_only_changes,
};
use crate::oauth::AskRules;
use crate::pipeline::WidgetRules;
use crate::policy::frame::{FrameRules, StoreRule};
use crate::policy::limit::shared::SharedSpec;
use crate::policy::limit::{ClientSpec, EventSpec, LimitsSpec, PlacementSpec, PolicySpec};
use crate::policy::route::{ForwardAs, Kind, PathRule, Route, Upgrade, WidgetRoute};
use crate::policy::selection::Selection;
use crate::process::Process;
use crate::process::reload::standing;
use crate::request::field::{Domain, Field, ServerEndpoints};
use crate::request::message;
use crate::telemetry::log::with;
use crate::upstream::health::{CheckRule, EjectRule};
use crate::upstream::pool::{Resend, Rules};

/// Of a query with `generation=N` the text of that one, as a file that can be put back.
pub(super) fn config(process: &Process, query: Option<&str>) -> Answer {
    let live = process.live.load();
    let snapshot = &live.snapshot;
    let mut parameters = query.unwrap_or_default().split('&');
    if let Some(given) = parameters.find_map(|pair| pair.strip_prefix("generation=")) {
        return text(snapshot, given);
    }
    let Settings {
        server,
        spec,
        log,
        traces,
    } = &snapshot.loaded.settings;
    let waiting = restart_only_changes(&process.server, server);
    let more = json!({
        "sha256": hex(&snapshot.loaded.sha256),
        "file": process.path.display().to_string(),
        // What is running, which is not what the file says where a restart is pending.
        "settings": settings(&process.server, spec, *log, traces),
    });
    Answer::json(&with(standing(&live, &waiting), more))
}

fn text(snapshot: &Snapshot, given: &str) -> Answer {
    let Ok(generation) = given.parse() else {
        return Problem::new(400, "bad_parameter", "generation is a number").into();
    };
    match snapshot.text_of(generation) {
        Some(text) => Answer::new("application/toml", text.to_owned())
            .header("content-disposition", "attachment; filename=\"gateway.toml\""),
        None => Problem::new(
            404,
            "generation_not_kept",
            "The text of that generation is not kept",
        )
        .with("detail", "kept are the one in force and the one before it")
        .with("generation", snapshot.generation)
        .into(),
    }
}

// What other rooms made of their tables is taken apart, so that nothing of it can be forgotten here.

fn settings(server: &ServerSettings, spec: &EnvSpec, log: LogSettings, traces: &TracesSettings) -> Value {
    let EnvSpec {
        routes,
        widget,
        verify,
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
        "verify": verify.as_ref().map(self::verify),
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
    let told = json!({
        "name": &**name, "path": path_rule(path), "methods": methods, "upstream": &**upstream,
    });
    let more = match kind {
        Kind::Widget(widget) => {
            let WidgetRoute {
                mode,
                enforce,
                accepts,
                require,
                places,
                forward_as,
            } = *widget;
            let Selection {
                placements,
                domains,
                members,
            } = selection;
            json!({
                "kind": "widget",
                "mode": mode.word(),
                "enforce": enforce.percent(),
                "accepts": accepts.iter().map(message::Kind::label).collect::<Vec<_>>(),
                "require": require.iter().map(Field::name).collect::<Vec<_>>(),
                "places": places.word(),
                "forward_as": match forward_as {
                    ForwardAs::Call => None,
                    ForwardAs::Get => Some(forward_as.word()),
                },
                "placements": placements.spelled(),
                "domains": domains.spelled(),
                "members": members.spelled(),
            })
        }
        Kind::Pass(upgrade) => {
            let upgrade = match upgrade {
                Upgrade::WebSocket => vec![upgrade.word()],
                Upgrade::Never => Vec::new(),
            };
            json!({ "kind": "pass", "mode": null, "upgrade": upgrade })
        }
    };
    with(told, more)
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
        frame,
        refusal_page,
    } = rules;
    let server_endpoints: Vec<_> = match server_endpoints {
        ServerEndpoints::Any => vec!["*"],
        ServerEndpoints::Listed(hosts) => hosts.iter().map(Domain::as_str).collect(),
    };
    json!({
        "body_limit": Size(*body_limit).to_string(),
        "body_timeout": Span(*body_timeout).to_string(),
        "held_bodies": Size(*held_bodies).to_string(),
        "max_params": max_params,
        "member_id": member_id.word(),
        "cookies": cookies.word(),
        "server_endpoints": server_endpoints,
        "frame": frame.map(self::frame),
        "refusal_page": refusal_page.as_ref().and_then(|page| Some(page.path()?.display().to_string())),
    })
}

fn frame(rules: FrameRules) -> Value {
    let FrameRules {
        ancestors,
        cookies,
        store,
    } = rules;
    json!({
        "ancestors": ancestors.word(),
        "cookies": cookies.word(),
        "no_store": store == StoreRule::NoStore,
    })
}

/// The list of tokens only as the path of its file.
fn verify(verify: &VerifySpec) -> Value {
    let VerifySpec { mode, on_error, by } = verify;
    let told = json!({ "mode": mode.word(), "on_error": on_error.word() });
    let more = match by {
        VouchedBy::Servers { client_id, asks, ca } => {
            let AskRules {
                servers,
                timeout,
                cache,
                roots: _,
                proxy,
            } = asks;
            let servers: Vec<_> = servers.iter().map(|server| &server.origin).collect();
            json!({
                "method": "app_info",
                "client_id": &**client_id,
                "servers": servers,
                "ca": ca.as_ref().map(|ca| ca.display().to_string()),
                "proxy": proxy.as_ref().map(|proxy| format!("http://{}", proxy.as_str())),
                "timeout": Span(*timeout).to_string(),
                "cache": Span(*cache).to_string(),
            })
        }
        VouchedBy::List { pins, file } => json!({
            "method": "application_token",
            "tokens_file": file.display().to_string(),
            "portals": pins.len(),
        }),
    };
    with(told, more)
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
        "on_error": on_error.word(),
        "replicas": replicas,
        "prefix": prefix,
    })
}

fn policy(PolicySpec { mode, quota }: &PolicySpec) -> Value {
    json!({ "mode": mode.word(), "quota": limits::quota(*quota) })
}

fn upstream(upstream: &UpstreamSpec) -> Value {
    let UpstreamSpec {
        name: _,
        servers,
        rules,
        tls,
        secret_file,
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
        proof,
    } = rules;
    let tls = tls.as_ref().map(|UpstreamTlsSpec { ca, server_name }| {
        let ca = ca.as_ref().map(|path| path.display().to_string());
        json!({ "ca": ca, "server_name": server_name })
    });
    let proof = proof.as_ref().zip(secret_file.as_ref()).map(|(proof, file)| {
        json!({ "header": proof.header().as_str(), "secret_file": file.display().to_string() })
    });
    let EjectRule {
        failures,
        duration,
        statuses,
    } = eject;
    json!({
        "servers": servers.iter().map(self::upstream_server).collect::<Vec<_>>(),
        "balance": balance.word(),
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
        "tls": tls,
        "proof": proof,
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
        secured: _,
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
