//! The whole way from a file to settings, over real files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Method;

use super::*;
use crate::pipeline::WidgetRules;
use crate::policy::Mode;
use crate::policy::frame::FrameRules;
use crate::policy::limit::{KeyTables, LimitsSpec, Period, PolicyName};
use crate::policy::portion::Portion;
use crate::policy::route::{ForwardAs, Kind, PathRule, WidgetRoute};
use crate::policy::validate::PlaceRule;
use crate::request::field::{Domain, Field, FieldSet, MemberId, MemberIdShape, ServerEndpoints};
use crate::request::message::{self, Kinds};
use crate::upstream::address::Address;
use crate::upstream::entry::Place;
use crate::upstream::failure::Cause;
use crate::upstream::pool::Rules;
use crate::upstream::resolve::Found;

const SMALLEST: &str = r#"
[server]
listen = ["0.0.0.0:8080"]
[[routes]]
path = "/"
kind = "widget"
upstream = "handlers"
[upstreams.handlers]
servers = ["127.0.0.1:8081"]
"#;

fn of(text: &str) -> Result<Settings, String> {
    settings(text, "g.toml", &mut build::Others::below(Path::new("")))
        .map(|(settings, _)| settings)
        .map_err(|faults| faults.iter().map(|fault| format!("{fault}\n")).collect())
}

/// `UPDATE=1` writes what is expected anew, to be read before it is committed.
fn is_current(path: &Path, text: &str) {
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, text).unwrap();
    }
    assert_eq!(
        text,
        std::fs::read_to_string(path).unwrap(),
        "{}: UPDATE=1 writes it anew",
        path.display()
    );
}

#[test]
fn every_bad_file_is_told_exactly() {
    let folder = Path::new("tests/fixtures/config");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    assert!(files.len() >= 9);
    for path in files {
        let mut out = Vec::new();
        let sound = check(&path, &mut out).unwrap();
        assert_eq!(sound, path.ends_with("warnings.toml"), "{}", path.display());
        is_current(&path.with_extension("expected"), &String::from_utf8(out).unwrap());
    }
}

/// What `check` refuses because nothing is there, an editor marks.
#[test]
fn the_schema_requires_what_check_requires() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    assert_eq!(
        schema["required"],
        serde_json::json!(["server", "routes", "upstreams"])
    );
    let of = |table: &str| &schema["definitions"][table]["properties"];
    for list in [
        &schema["properties"]["routes"],
        &of("ServerTable")["listen"],
        &of("ServerTable")["listeners"],
        &of("ListenerTable")["tls"],
        &of("RouteTable")["methods"],
        &of("RouteTable")["accepts"],
        &of("WidgetTable")["server_endpoints"],
        &of("UpstreamTable")["servers"],
    ] {
        assert_eq!(list["minItems"], 1, "{list}");
    }
    let server = &schema["definitions"]["ServerTable"];
    assert_eq!(server["then"]["required"][0], "listen");
    assert!(of("ServerTable").is_object(), "the condition takes no key away");
}

#[test]
fn the_schema_is_current() {
    is_current(Path::new("conf/gateway.schema.json"), &schema());
}

#[test]
fn the_shipped_file_is_sound_and_says_the_defaults() {
    let mut out = Vec::new();
    assert!(check(Path::new("conf/gateway.toml"), &mut out).unwrap());
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "conf/gateway.toml: sound: 2 routes, 1 upstream, 1 listener\n"
    );
    let text = std::fs::read_to_string("conf/gateway.toml").unwrap();
    assert!(text.starts_with("#:schema ./gateway.schema.json\n"));

    // With every commented key in force, nothing changes but what is an example.
    let uncommented: String = text
        .lines()
        .map(|line| format!("{}\n", uncomment(line)))
        .collect();
    // Files that are not there.
    let uncommented = [
        "admin_token_file = \"admin.token\"",
        "ca = \"roots.pem\"",
        "tokens_file = \"application-tokens\"",
        "url_file = \"store.url\"",
        "refusal_page = \"refusal.html\"",
        "url_file = \"store.url\"",
    ]
    .iter()
    .fold(uncommented, |text, file| text.replace(file, ""));
    let (shipped, full) = (of(&text).unwrap(), of(&uncommented).unwrap());
    assert_eq!(full.log, shipped.log);
    assert_eq!(full.traces.sample, shipped.traces.sample);
    assert_eq!(shipped.traces.endpoint, None);
    assert!(full.traces.endpoint.is_some());
    assert_eq!(
        (full.spec.widget.frame, shipped.spec.widget.frame),
        (Some(FrameRules::default()), None)
    );
    assert_eq!(
        WidgetRules {
            frame: None,
            ..full.spec.widget
        },
        shipped.spec.widget
    );
    assert_eq!(full.spec.limits.max_keys, shipped.spec.limits.max_keys);
    assert_eq!(full.spec.limits.member, shipped.spec.limits.member);
    assert_eq!(full.spec.limits.overrides.len(), 1);
    assert_eq!(full.spec.limits.placement.len(), 1);
    assert!(full.spec.limits.client.is_some() && full.spec.limits.gateway.is_some());
    assert!(full.spec.limits.event.is_some());
    let shared = full.spec.limits.shared.as_ref().unwrap();
    assert_eq!((shared.lease, shared.replicas), (10, 3));
    assert_eq!(shipped.spec.limits.shared, None);
    assert_eq!(
        Rules {
            check: None,
            retries: usize::MAX,
            total_timeout: None,
            places: None,
            ..full.spec.upstreams.last().unwrap().rules.clone()
        },
        shipped.spec.upstreams[0].rules
    );
    let waiting = restart_only_changes(&shipped.server, &full.server);
    assert_eq!(
        waiting
            .iter()
            .map(|waiting| waiting.key.as_str())
            .collect::<Vec<_>>(),
        [
            "server.admin_allow",
            "server.admin_hosts",
            "server.admin_metrics_allow",
            "server.listen",
            "server.threads",
            "server.upgrade_socket"
        ]
    );
}

/// Takes the `# ` off a line that is a key or a table.
fn uncomment(line: &str) -> &str {
    let Some(bare) = line.strip_prefix("# ") else {
        return line;
    };
    let key = bare.split_once(" = ").map_or("", |(key, _)| key);
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if is_key || bare.starts_with('[') && bare.ends_with(']') {
        bare
    } else {
        line
    }
}

#[test]
fn the_schema_tells_the_real_defaults() {
    let schema: serde_json::Value = serde_json::from_str(&schema()).unwrap();
    let mut text = String::from(SMALLEST);
    for (table, definition) in [
        ("server", "ServerTable"),
        ("widget", "WidgetTable"),
        ("limits", "LimitsTable"),
        ("log", "LogTable"),
        ("traces", "TracesTable"),
        ("upstreams.handlers", "UpstreamTable"),
    ] {
        let keys = schema["definitions"][definition]["properties"]
            .as_object()
            .unwrap();
        let defaults: String = keys
            .iter()
            .filter(|(_, key)| key.get("default").is_some_and(|default| !default.is_array()))
            .map(|(name, key)| format!("{name} = {}\n", key["default"]))
            .collect();
        let header = format!("[{table}]\n");
        match text.contains(&header) {
            true => text = text.replace(&header, &format!("{header}{defaults}")),
            false => text.push_str(&format!("{header}{defaults}")),
        }
    }
    assert!(text.contains("keepalive_timeout") && text.contains("sample_forwarded"));
    assert_eq!(of(&text).unwrap(), of(SMALLEST).unwrap());
}

#[test]
fn the_smallest_file_has_the_contracts_defaults() {
    let settings = of(SMALLEST).unwrap();
    let server = &settings.server;
    assert_eq!(
        (server.listeners.len(), server.listeners[0].address.as_str()),
        (1, "0.0.0.0:8080")
    );
    assert_eq!(
        (server.admin.as_str(), server.threads, server.max_connections),
        ("127.0.0.1:9901", None, 20_000)
    );
    let seconds = [
        server.keepalive_timeout,
        server.header_timeout,
        server.write_timeout,
        server.drain_delay,
        server.grace_period,
    ];
    assert_eq!(seconds.map(|duration| duration.as_secs()), [75, 10, 60, 5, 20]);
    assert_eq!(
        (server.upgrade_socket.as_ref(), server.ready_requires_upstream),
        (None, false)
    );
    assert_eq!(
        settings.spec.widget,
        WidgetRules {
            body_limit: 1 << 20,
            ..WidgetRules::default()
        }
    );
    assert_eq!(settings.spec.limits, LimitsSpec::default());
    let route = &settings.spec.routes[0];
    assert_eq!(
        (&*route.name, &route.path),
        ("widget", &PathRule::Prefix(String::new()))
    );
    assert_eq!(
        (route.methods.as_slice(), route.kind),
        (&[Method::POST][..], Kind::Widget(WidgetRoute::default()))
    );
    let upstream = &settings.spec.upstreams[0];
    assert_eq!(
        (upstream.rules == Rules::default(), upstream.servers.len()),
        (true, 1)
    );
    assert_eq!(
        upstream.servers[0].place,
        Place::Fixed(Address::Inet("127.0.0.1:8081".parse().unwrap()))
    );
    assert_eq!(
        (
            settings.log.level,
            settings.log.sample_forwarded,
            settings.log.sample_refused
        ),
        (log::LevelFilter::Info, 1.0, 1.0)
    );
    assert_eq!((settings.traces.endpoint, settings.traces.sample), (None, 0.01));
}

#[test]
fn a_route_says_which_messages_it_takes() {
    let route = "kind = \"widget\"\nenforce = 25\naccepts = [\"event\", \"own\"]\nrequire = [\"event\", \"auth[application_token]\"]\n\
                 places = \"strict\"";
    let text = SMALLEST.replace("kind = \"widget\"", route)
        + "[widget]\nserver_endpoints = [\"OAuth.corp.example\"]\n";
    let spec = of(&text).unwrap().spec;
    assert_eq!(
        spec.routes[0].kind,
        Kind::Widget(WidgetRoute {
            mode: Mode::Enforce,
            enforce: Portion::of(25).unwrap(),
            accepts: Kinds::of(&[message::Kind::Event, message::Kind::Own]),
            require: FieldSet::of(&[Field::Event, Field::AuthApplicationToken]),
            places: PlaceRule::Strict,
            forward_as: ForwardAs::Call,
        })
    );
    let listed = Domain::parse(b"oauth.corp.example").unwrap();
    assert_eq!(
        spec.widget.server_endpoints,
        ServerEndpoints::Listed([listed].into())
    );
    let any = SMALLEST.to_owned() + "[widget]\nserver_endpoints = [\"*\"]\n";
    assert_eq!(
        of(&any).unwrap().spec.widget.server_endpoints,
        ServerEndpoints::Any
    );
}

#[test]
fn what_the_file_says_is_what_is_built() {
    let text = SMALLEST.replace("kind = \"widget\"", "kind = \"widget\"\nmode = \"enforce\"")
        + "[widget]\nmode = \"observe\"\nmember_id = \"token\"\n[limits.member]\nrate = \"30/m\"\nmode = \"observe\"\n\
           [[limits.overrides]]\nmember_id = \"a-b\"\nrate = \"5/h\"\nburst = 7\n\
           [[routes]]\nname = \"x\"\npath = \"= /x\"\nkind = \"widget\"\nupstream = \"handlers\"\n";
    let spec = of(&text).unwrap().spec;
    assert_eq!(
        spec.routes.iter().map(|route| route.kind).collect::<Vec<_>>(),
        [Mode::Enforce, Mode::Observe].map(|mode| {
            Kind::Widget(WidgetRoute {
                mode,
                ..WidgetRoute::default()
            })
        })
    );
    let limit = spec.limits.member.unwrap();
    assert_eq!(
        (
            limit.mode,
            limit.quota.rate.get(),
            limit.quota.burst.get(),
            limit.quota.period
        ),
        (Mode::Observe, 30, 30, Period::Minute)
    );
    let (member, quota) = &spec.limits.overrides[0];
    assert_eq!(
        (
            member.to_string().as_str(),
            quota.rate.get(),
            quota.burst.get(),
            quota.period
        ),
        ("a-b", 5, 7, Period::Hour)
    );
}

#[test]
fn what_is_no_file_is_one_fault() {
    let folder = tempfile::tempdir().unwrap();
    let told = |path: &Path| {
        let faults = read(path).unwrap_err().faults;
        assert_eq!((faults.len(), faults[0].line, faults[0].column), (1, 1, 1));
        faults[0].message.clone()
    };
    let allowed = "allowed is a readable TOML file of at most 4MiB";
    assert_eq!(told(folder.path()), format!("is a directory, {allowed}"));
    assert_eq!(
        told(&folder.path().join("x")),
        format!("can not be read: No such file or directory (os error 2), {allowed}")
    );
    let large = folder.path().join("large");
    std::fs::write(&large, vec![b'#'; (4 << 20) + 1]).unwrap();
    assert_eq!(told(&large), format!("is over 4194304 bytes, {allowed}"));
    assert_eq!(
        told(Path::new("/dev/null")),
        format!("is no regular file, {allowed}")
    );
}

#[test]
fn the_hash_covers_the_files_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("g.toml"), folder.path().join("token"));
    std::fs::write(&file, SMALLEST).unwrap();
    let alone = read(&file).unwrap();
    assert_eq!(alone.sha256, <[u8; 32]>::from(Sha256::digest(SMALLEST)));
    assert_eq!(paths(&alone), std::slice::from_ref(&file));
    std::fs::write(
        &file,
        SMALLEST.replace("[server]", "[server]\nadmin_token_file = \"token\""),
    )
    .unwrap();
    std::fs::write(&token, "0123456789abcdef\n").unwrap();
    let one = read(&file).unwrap();
    assert_eq!(paths(&one), [file.clone(), token.clone()]);
    assert_eq!(
        one.settings.server.admin_token.as_ref().map(|token| &token.file),
        Some(&token)
    );
    std::fs::write(&token, "0123456789abcdeg\n").unwrap();
    assert_ne!(read(&file).unwrap().sha256, one.sha256);
    std::fs::write(&token, "short\n").unwrap();
    assert_eq!(read(&file).unwrap_err().faults.len(), 1);
}

#[test]
fn a_large_file_with_faults_everywhere_ends_soon() {
    let begun = std::time::Instant::now();
    let line = "[[limits.overrides]]\nmember_id = 5\nrate = \"1/s\"\n";
    let faults = of(&line.repeat((256 << 10) / line.len())).unwrap_err();
    assert_eq!(faults.lines().count(), 201);
    assert!(faults.ends_with("file: has more than 200 faults, the rest is not shown\n"));
    assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
    let line = "[[limits.overrides]]\nmember_id = \"5\"\n";
    assert!(
        of(&line.repeat((1 << 20) / line.len()))
            .unwrap_err()
            .lines()
            .count()
            > 50_000
    );
}

#[test]
fn nothing_that_is_no_configuration_panics() {
    for text in [
        "[",
        "]",
        "a",
        "=",
        "\u{feff}",
        "[[",
        "a.b.c",
        "\"",
        "a = \"\"\"",
        "[server]\nlisten = [",
        "\0",
        "a=[[[[",
        "{}",
        "a={b={c=",
        "\r",
    ] {
        assert!(of(text).is_err(), "{text:?}");
    }
    for open in ["a=[", "a={b=", "[[", "a=[[", "a.", "[a.", "\"a\".", "x = {b."] {
        let deep = format!("a={}", open.repeat(20_000));
        assert!(of(&deep).is_err());
        assert!(read_text(&open.repeat(20_000)).is_err());
    }
    for cut in 0..SMALLEST.len() {
        let _ = of(&SMALLEST[..cut]);
    }
}

fn read_text(text: &str) -> Result<Loaded, Vec<Fault>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    read(file.path()).map_err(|refused| refused.faults)
}

#[test]
fn a_reload_keeps_what_stays() {
    let tables = KeyTables::new(1);
    let limit = "[limits.member]\nrate = \"1/h\"\n";
    let first = of(&format!("{SMALLEST}{limit}")).unwrap();
    let before = Snapshot::build(
        loaded(first),
        None,
        &Found::new(),
        &tables,
        Duration::from_secs(1),
    );
    assert_eq!(
        (before.generation, tables.of(PolicyName::Member).max_keys()),
        (1, 1_000_000)
    );
    let first_server = before.env.upstreams["handlers"].servers().next().unwrap();
    first_server.health.connect_failed(Cause::Refused);

    let text = SMALLEST.replace("\"127.0.0.1:8081\"", "\"127.0.0.1:9001\", \"127.0.0.1:8081\"");
    let next = of(&format!("{text}{limit}[[limits.overrides]]\nmember_id = \"3f7a90c1d2e45b68a0719cbe8d243f56\"\nrate = \"9/s\"\n")).unwrap();
    assert_eq!(
        restart_only_changes(&before.loaded.settings.server, &next.server),
        []
    );
    let after = Snapshot::build(
        loaded(next),
        Some(&before),
        &Found::new(),
        &tables,
        Duration::from_secs(2),
    );
    let servers = after.env.upstreams["handlers"].servers();
    assert_eq!(
        servers.map(|server| server.health.is_up()).collect::<Vec<_>>(),
        [true, false]
    );
    let member = MemberId::parse(&[b'a'; 32], MemberIdShape::Hex32).unwrap();
    let limiter = |snapshot: &Snapshot| {
        let quotas = snapshot.env.limits.member.quotas().unwrap();
        quotas.limiter_of(&member).clone()
    };
    assert!(Arc::ptr_eq(&limiter(&before), &limiter(&after)));

    let same = Snapshot::build(
        loaded(after.loaded.settings.clone()),
        Some(&after),
        &Found::new(),
        &tables,
        Duration::from_secs(3),
    );
    assert!(Arc::ptr_eq(
        &same.env.upstreams["handlers"],
        &after.env.upstreams["handlers"]
    ));
}

fn loaded(settings: Settings) -> Loaded {
    Loaded {
        settings,
        certificates: Certificates::default(),
        warnings: Vec::new(),
        sha256: [1; 32],
        shared: [2; 32],
        source: Arc::default(),
        files: Vec::new(),
    }
}

fn paths(loaded: &Loaded) -> Vec<PathBuf> {
    loaded.files.iter().map(|file| file.path.clone()).collect()
}
