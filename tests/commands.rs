//! The commands beside `run`: what they print and how they exit.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails loudly"
)]

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::forms::{self, BODY, MEMBER, SECRETS, TARGET, chunked, post, request};
use common::{Gateway, Upstream};

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
fn check_names_a_certificate_that_ended_and_one_whose_key_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let issue = |name: &str, end: (i32, u8, u8)| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["widgets.example".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(end.0, end.1, end.2);
        std::fs::write(
            path(&format!("{name}.pem")),
            params.self_signed(&key).unwrap().pem(),
        )
        .unwrap();
        std::fs::write(path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    };
    issue("ended", (2021, 1, 1));
    issue("sound", (2090, 1, 1));
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
    let warning = "FILE:3:17: warning: server.listeners[0].tls[0].cert: the certificate has expired\n";
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
    let long = request("POST", TARGET, &headers, chunked(&[b'x'; 65_537], 1000));
    let refused = command_reading(&["explain"], &long);
    assert!(
        text(&refused.stdout).contains("verdict: refused, 411 length_required"),
        "as the gateway does: {refused:?}"
    );
    assert_eq!(command(&["explain", "no/such/file"]).status.code(), Some(2));
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
