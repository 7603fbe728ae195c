//! The commands beside `run`: what they print and how they exit.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};

use nix::sys::signal::Signal;

use crate::common::forms::{self, BODY, MEMBER, SECRETS, TARGET, chunked, post, request};
use crate::common::oauth::AuthServer;
use crate::common::{Gateway, Setup, Upstream};

fn command(arguments: &[&str]) -> Output {
    command_reading(arguments, b"")
}

fn command_reading(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_widget-gateway"))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("WIDGET_GATEWAY_CONFIG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn check_finds_the_shipped_file_sound_and_tells_every_fault_of_a_bad_one() {
    let sound = command(&["check"]);
    assert_eq!(sound.status.code(), Some(0));
    assert_eq!(
        text(&sound.stdout),
        "conf/gateway.toml: sound: 2 routes, 1 upstream, 1 listener\n"
    );
    let bad = "tests/fixtures/config/together.toml";
    let refused = command(&["check", "-c", bad]);
    assert_eq!(refused.status.code(), Some(1));
    let expected = std::fs::read_to_string(bad.replace(".toml", ".expected")).unwrap();
    assert_eq!(text(&refused.stdout), expected);
    assert_eq!(command(&["check", "--no-such-option"]).status.code(), Some(2));
}

#[test]
fn check_names_a_certificate_that_ended_one_that_is_not_good_yet_and_one_whose_key_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let issue = |name: &str, begin: i32, end: i32| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["widgets.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(begin, 1, 1);
        params.not_after = rcgen::date_time_ymd(end, 1, 1);
        std::fs::write(
            path(&format!("{name}.pem")),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    };
    issue("ended", 2020, 2021);
    issue("sound", 2020, 2090);
    issue("early", 2089, 2090);
    let check = |cert: &str, key: &str| {
        let file = path("gateway.toml");
        let listener = format!(
            "[[server.listeners]]\naddress = \"127.0.0.1:0\"\n\
             tls = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n{}",
            forms::routes(&["127.0.0.1:9".parse().unwrap()])
        );
        std::fs::write(&file, listener).unwrap();
        let output = command(&["check", "-c", &file]);
        (
            output.status.code().unwrap(),
            text(&output.stdout).replace(&file, "FILE"),
        )
    };
    let sound = "FILE: sound: 2 routes, 1 upstream, 1 listener\n";
    assert_eq!(check("sound.pem", "sound.key"), (0, sound.to_owned()));
    let (code, out) = check("ended.pem", "ended.key");
    let warning =
        "FILE:3:17: warning: server.listeners[0].tls[0].cert: the certificate has expired, on 2021-01-01\n";
    assert_eq!((code, out), (0, format!("{warning}{sound}")));
    let (code, out) = check("early.pem", "early.key");
    let warning = "FILE:3:17: warning: server.listeners[0].tls[0].cert: the certificate is good from 2089-01-01 on only\n";
    assert_eq!((code, out), (0, format!("{warning}{sound}")));
    let (code, out) = check("sound.pem", "ended.key");
    let fault = "FILE:3:17: server.listeners[0].tls[0].cert: the private key does not match the certificate, \
                 allowed is a PEM chain with its key\n";
    assert_eq!((code, out), (1, fault.to_owned()));
    assert_eq!(check("sound.key", "sound.key").0, 1);
}

#[test]
fn schema_prints_what_is_published() {
    let output = command(&["schema"]);
    assert_eq!(output.status.code(), Some(0));
    let published = std::fs::read_to_string("conf/gateway.schema.json").unwrap();
    assert_eq!(text(&output.stdout).trim_end(), published.trim_end());
}

#[test]
fn explain_tells_every_decision_and_no_token() {
    let accepted = command_reading(&["explain"], &post(TARGET, &["Cookie: member_id=x; a=b"], BODY));
    let words = text(&accepted.stdout);
    assert_eq!(accepted.status.code(), Some(0), "{words}");
    for line in [
        "route: widget (widget, enforce, takes placement), upstream sample",
        "message: placement",
        "fault: member_id is shadowed by a cookie",
        "limit: member, 100 per 1 s, burst 500: a fresh key, allows",
        &format!("header set: X-Bitrix24-Member-Id: {MEMBER}"),
        "header set: Cookie: a=b",
        "verdict: forwarded",
    ] {
        assert!(
            words.lines().any(|told| told == line),
            "{line}\nis not in\n{words}"
        );
    }
    for secret in SECRETS {
        assert!(!words.contains(secret), "{words}");
    }
    // A body that was cut when it was pasted.
    let call = post(TARGET, &[], BODY);
    let short = command_reading(&["explain"], &call[..call.len() - 7]);
    assert_eq!(short.status.code(), Some(1));
    let length = BODY.len();
    let told = format!(
        "body: short, {} bytes where Content-Length says {length}; on the wire the rest is waited for",
        length - 7
    );
    assert!(
        text(&short.stdout).lines().any(|line| line == told),
        "{}",
        text(&short.stdout)
    );
    let surplus = command_reading(&["explain"], &[&call[..], b"&more=1\n"].concat());
    let told = "body: 7 bytes stand behind what Content-Length says; on the wire they begin another request";
    assert!(
        text(&surplus.stdout).lines().any(|line| line == told),
        "{}",
        text(&surplus.stdout)
    );
    let event = "event=ONAPPINSTALL&auth[domain]=p.example&auth[access_token]=s6p6eclrvim6da22ft9ch94e";
    let event = command_reading(&["explain"], &post("/", &[], event));
    assert_eq!(event.status.code(), Some(1));
    let words = text(&event.stdout);
    for line in [
        "  event                   from body: \"ONAPPINSTALL\"",
        "  auth[domain]            from body: \"p.example\"",
        "  auth[access_token]      from body: 24 bytes, redacted",
        "message: event",
        "verdict: refused, 422 unexpected_message: this is a message of the kind event, which this route \
         does not take; to take it, its key accepts needs event",
    ] {
        assert!(
            words.lines().any(|told| told == line),
            "{line}\nis not in\n{words}"
        );
    }
    let refused = command_reading(
        &["explain", "-"],
        &post("/?DOMAIN=a%20b", &[], "member.id=x&PLACEMENT=P"),
    );
    assert_eq!(refused.status.code(), Some(1));
    let words = text(&refused.stdout);
    let verdict = "verdict: refused, 400 ambiguous_field: DOMAIN is invalid, PROTOCOL is missing, LANG is missing, \
                   member_id is given in a spelling that is read as this name";
    assert_eq!(words.lines().last(), Some(verdict), "{words}");
    let smuggled =
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let refused = command_reading(&["explain"], smuggled);
    assert!(
        text(&refused.stdout).contains("verdict: refused, 400 malformed_request"),
        "{refused:?}"
    );
    let headers = [
        "Content-Type: application/x-www-form-urlencoded",
        "Transfer-Encoding: chunked",
    ];
    let long = request(
        "POST",
        TARGET,
        &headers,
        chunked(&vec![b'x'; 1024 * 1024 + 1], 1000),
    );
    let refused = command_reading(&["explain"], &long);
    assert!(
        text(&refused.stdout).contains("verdict: refused, 413 body_too_large"),
        "as the gateway does: {refused:?}"
    );
    assert_eq!(command(&["explain", "no/such/file"]).status.code(), Some(2));
}

/// Whatever the answer would be: explaining a call is no reason to show its token to anybody.
#[test]
fn explain_tells_who_would_be_asked_about_a_token_and_asks_nobody() {
    let server = AuthServer::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let explained = |verify: &str, route: &str, body: &str| {
        let text = format!(
            "[server]\nlisten = [\"127.0.0.1:1\"]\n[upstreams.handlers]\nservers = [\"127.0.0.1:1\"]\n\
             [[routes]]\npath = \"/\"\nkind = \"widget\"\nupstream = \"handlers\"\naccepts = [\"placement\", \"event\"]\n{route}\n\
             [verify]\nmethod = \"app_info\"\nclient_id = \"app.1\"\nservers = [\"http://{}\"]\n{verify}\n",
            server.address
        );
        std::fs::write(&file, text).unwrap();
        let told = command_reading(
            &["explain", "-c", file.to_str().unwrap()],
            &post(TARGET, &[], body),
        );
        let words = text_without_secrets(&told.stdout);
        let lines = words
            .lines()
            .filter(|line| line.starts_with("verif") || line.contains("X-Bitrix24-Verified"));
        let lines: Vec<_> = lines.map(str::to_owned).collect();
        let last = words
            .lines()
            .find(|line| line.starts_with("verdict: "))
            .unwrap()
            .to_owned();
        (told.status.code(), lines, last)
    };
    let forwarded = "verdict: forwarded".to_owned();
    for (verify, route, other, nobody) in [
        (
            "mode = \"enforce\"\non_error = \"closed\"",
            "",
            "is refused (caller_not_verified)",
            "is refused (caller_not_verified)",
        ),
        (
            "mode = \"enforce\"",
            "",
            "is refused (caller_not_verified)",
            "goes on",
        ),
        (
            "on_error = \"closed\"",
            "",
            "would be refused, and goes on",
            "would be refused, and goes on",
        ),
        (
            "mode = \"enforce\"",
            "mode = \"observe\"",
            "would be refused, and goes on",
            "goes on",
        ),
    ] {
        let want = vec![
            format!(
                "verify: http://{} would be asked whose the token is; here nobody is",
                server.address
            ),
            format!(
                "verify: somebody else's call {other}, without an answer it {nobody}; what follows is for the caller's own"
            ),
            "verified: yes".to_owned(),
            "header set: X-Bitrix24-Verified: yes".to_owned(),
        ];
        assert_eq!(
            explained(verify, route, BODY),
            (Some(0), want, forwarded.clone()),
            "{verify} {route}"
        );
    }
    // Where there is nothing to ask about, the answer is known.
    let closed = "mode = \"enforce\"\non_error = \"closed\"";
    let event = format!("event=ONAPPTEST&auth[domain]=portal.bitrix24.com&auth[member_id]={MEMBER}");
    let (code, lines, last) = explained(closed, "", &event);
    assert_eq!(code, Some(1), "{lines:?}");
    assert!(
        last.starts_with("verdict: refused, 403 caller_not_verified: "),
        "{last}"
    );
    assert_eq!(server.asked(), [""; 0]);
}

fn text_without_secrets(bytes: &[u8]) -> String {
    let words = text(bytes);
    for secret in SECRETS {
        assert!(!words.contains(secret), "{words}");
    }
    words
}

#[test]
fn explain_tells_what_the_limits_said() {
    let folder = tempfile::tempdir().unwrap();
    let explained = |limits: &str, body: &str| {
        let file = folder.path().join("gateway.toml");
        let routes = "[[routes]]\npath = \"/\"\nkind = \"widget\"\nmode = \"observe\"\nupstream = \"handlers\"\n\
             accepts = [\"placement\", \"event\"]\n";
        let server =
            "[server]\nlisten = [\"127.0.0.1:1\"]\n[upstreams.handlers]\nservers = [\"127.0.0.1:1\"]\n";
        std::fs::write(&file, format!("{server}{routes}{limits}")).unwrap();
        let told = command_reading(
            &["explain", "-c", file.to_str().unwrap()],
            &post(TARGET, &[], body),
        );
        let words = text(&told.stdout);
        let limits = words.lines().filter(|line| line.starts_with("limit: "));
        limits.map(str::to_owned).collect::<Vec<_>>()
    };
    let hourly = "[limits.member]\nrate = \"3/h\"\n";
    assert_eq!(
        explained(hourly, BODY),
        [
            "limit: client, none is configured",
            "limit: gateway, none is configured",
            "limit: member, 3 per 3600 s, burst 3: a fresh key, allows",
        ]
    );
    let layers = "[limits.client]\nrate = \"1/s\"\n[limits.gateway]\nrate = \"2/m\"\n\
         [[limits.placement]]\nmatch = \"DEF*\"\nrate = \"3/h\"\n[limits.event]\nrate = \"4/h\"\n";
    let [client, gateway] = [
        "limit: client, 1 per 1 s, burst 1: a fresh key, allows",
        "limit: gateway, 2 per 60 s, burst 2: a fresh key, allows",
    ];
    let placement = "limit: placement, 3 per 3600 s, burst 3: a fresh key, allows";
    assert_eq!(explained(layers, BODY), [client, gateway, placement]);
    let event = format!("event=ONAPPTEST&auth[domain]=portal.bitrix24.com&auth[member_id]={MEMBER}");
    let event_limit = "limit: event, 4 per 3600 s, burst 4: a fresh key, allows";
    assert_eq!(explained(layers, &event), [client, gateway, event_limit]);
    assert_eq!(
        explained(layers, "member_id=x"),
        [client, gateway],
        "a fault, observed"
    );
}

#[test]
fn the_configuration_is_named_before_or_behind_the_command() {
    let bad = "tests/fixtures/config/together.toml";
    let behind = command(&["check", "-c", bad]);
    assert_eq!(behind.status.code(), Some(1));
    for arguments in [
        ["-c", bad, "check"],
        ["--config", bad, "check"],
        ["check", "--config", bad],
    ] {
        let output = command(&arguments);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(1), text(&behind.stdout)),
            "{arguments:?}"
        );
    }
    for senseless in [
        &["--take-over", "check"][..],
        &["check", "--take-over"],
        &["nonsense"],
    ] {
        let output = command(senseless);
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(2), String::new())
        );
    }
}

#[test]
fn the_version_has_the_revision() {
    let output = command(&["--version"]);
    let expected = format!(
        "widget-gateway {} ({})\n",
        env!("CARGO_PKG_VERSION"),
        env!("GATEWAY_REVISION")
    );
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), expected));
}

#[test]
fn completions_and_manual_know_every_command() {
    const COMMANDS: [&str; 8] = [
        "run",
        "check",
        "explain",
        "schema",
        "reload",
        "health",
        "completions",
        "man",
    ];
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = command(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        let script = text(&output.stdout);
        for name in COMMANDS {
            assert!(script.contains(name), "{shell} does not know {name}");
        }
    }
    assert_eq!(command(&["completions", "cmd"]).status.code(), Some(2));
    let output = command(&["man"]);
    assert_eq!(output.status.code(), Some(0));
    let page = text(&output.stdout).replace("\\-", "-");
    for name in COMMANDS {
        assert!(
            page.contains(&format!(".TP\n\\fB{name}\\fR\n")),
            "{name}:\n{page}"
        );
    }
    for part in [
        "\\fB--token-file <FILE>\\fR",
        "\\fB--admin <HOST:PORT>\\fR",
        ".SH \"EXIT STATUS\"",
    ] {
        assert!(page.contains(part), "{part}:\n{page}");
    }
}

/// A file on which no gateway runs, but which says where one does.
fn file_for(admin: SocketAddr, server: &str, rest: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(
        file.path(),
        format!("[server]\nadmin = \"{admin}\"\n{server}\n{rest}"),
    )
    .unwrap();
    file
}

#[test]
fn reload_and_health_take_the_address_from_the_configuration() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(
        Setup::of(forms::routes(&[upstream.address])).server("drain_delay = \"20s\"\ngrace_period = \"1ms\""),
    );
    // Whatever else is wrong in it is for the gateway to say.
    let file = file_for(gateway.admin(), "threads = 0", "[[routes]\n");
    let path = file.path().to_str().unwrap();
    let port = gateway.admin().port();
    let named = format!("localhost:{port}");
    for arguments in [
        &["reload", "-c", path][..],
        &["-c", path, "reload"],
        &["reload", "--admin", &named],
    ] {
        let output = command(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
        assert!(text(&output.stdout).contains("\"unchanged\""), "{output:?}");
    }
    let ready = command(&["health", "-c", path]);
    assert_eq!(ready.status.code(), Some(0), "{ready:?}");
    gateway.signal(Signal::SIGTERM);
    gateway.wait_log("the drain", |line| line["msg"] == "draining");
    let draining = command(&["health", "--admin", &named]);
    assert_eq!(draining.status.code(), Some(1), "{draining:?}");
    gateway.signal(Signal::SIGINT);
    assert_eq!(gateway.wait().code(), Some(0));
    assert_eq!(command(&["health", "-c", path]).status.code(), Some(3));

    // Not known whom to ask.
    for server in ["admin = \"nowhere\"", "admin = "] {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("[server]\n{server}\n")).unwrap();
        let output = command(&["reload", "-c", file.path().to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(2), "{server}: {output:?}");
        assert!(text(&output.stderr).contains(":2:"), "{server}: {output:?}");
    }
    assert_eq!(command(&["health", "-c", "no/such/file"]).status.code(), Some(2));
    assert_eq!(command(&["health", "--admin", "nowhere"]).status.code(), Some(2));
    assert_eq!(
        command(&["reload", "--admin", "nowhere.invalid:1"]).status.code(),
        Some(3)
    );
}

/// Answers one request with 200, and returns it.
fn listening_admin() -> (SocketAddr, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            .unwrap();
        text(&request)
    });
    (address, answering)
}

#[test]
fn reload_shows_the_token_of_the_configuration_or_the_given_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("configured"), "the-configured-token\n").unwrap();
    std::fs::write(path("given"), "the-given-token\n").unwrap();
    for (configured, given, token) in [
        (Some("configured"), None, Some("the-configured-token")),
        (Some("configured"), Some("given"), Some("the-given-token")),
        (None, Some("given"), Some("the-given-token")),
        (None, None, None),
        // From loopback none is needed.
        (Some("gone"), None, None),
    ] {
        let (admin, answering) = listening_admin();
        let server = configured.map_or_else(String::new, |name| {
            format!("admin_token_file = \"{}\"", path(name))
        });
        let file = file_for(admin, &server, "");
        let mut arguments = vec![
            "reload".to_owned(),
            "-c".to_owned(),
            file.path().display().to_string(),
        ];
        if let Some(name) = given {
            arguments.extend(["--token-file".to_owned(), path(name)]);
        }
        let output = command(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let request = answering.join().unwrap();
        let shown = request
            .lines()
            .find_map(|line| line.strip_prefix("Authorization: Bearer "));
        assert_eq!(shown, token, "{request}");
    }
    let unreadable = command(&["reload", "--token-file", &path("gone")]);
    assert_eq!(unreadable.status.code(), Some(2));
}

#[test]
fn reload_asks_the_running_gateway() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(forms::routes(&[upstream.address]));
    let admin = gateway.admin().to_string();
    let ask = || command(&["reload", "--admin", &admin]);
    let unchanged = ask();
    assert_eq!(unchanged.status.code(), Some(0), "{unchanged:?}");
    let answer: serde_json::Value = serde_json::from_slice(&unchanged.stdout).unwrap();
    assert_eq!(
        (&answer["result"], &answer["generation"]),
        (&"unchanged".into(), &1.into())
    );
    gateway.rewrite("[[routes]]\npath = \"x\"\n");
    let refused = ask();
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(text(&refused.stdout).contains("routes[0].path"), "{refused:?}");
    assert_eq!(command(&["reload", "--admin", "nowhere"]).status.code(), Some(2));
    assert_eq!(gateway.stop().code(), Some(0));
    assert_eq!(ask().status.code(), Some(3));
}
