//! A reload tells what it did: in its answer, in the log and on the status page.

use std::path::Path;

use crate::common::forms;
use crate::common::{Gateway, Setup, Upstream};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

fn limited(upstream: &Upstream, rate: &str) -> String {
    format!(
        "{}[limits.member]\nrate = \"{rate}\"\n",
        forms::routes(&[upstream.address])
    )
}

/// The answer to a reload that was asked for.
fn reload(gateway: &Gateway, status: u16) -> Value {
    let answer = gateway.ask_admin("POST", "/-/reload");
    assert_eq!(answer.status, status, "{}", answer.text());
    answer.json()
}

fn status(gateway: &Gateway) -> Value {
    gateway.ask_admin("GET", "/-/status").json()["configuration"].clone()
}

/// A self-signed certificate that ends in this year.
fn issue(folder: &Path, until: i32) {
    let mut parameters = rcgen::CertificateParams::new(vec!["widgets.example".to_owned()]).unwrap();
    parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = parameters.self_signed(&key).unwrap();
    for (name, text) in [("cert.pem", certificate.pem()), ("key.pem", key.serialize_pem())] {
        let new = folder.join("new.pem");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, folder.join(name)).unwrap();
    }
}

/// A gateway that reads its files only where it is told to.
fn unwatched(rest: String) -> Gateway {
    Gateway::with(Setup::of(rest).server("watch = false"))
}

#[test]
fn each_changed_key_is_told_with_its_old_and_its_new_value() {
    let upstream = Upstream::start();
    let gateway = unwatched(limited(&upstream, "1/h"));
    gateway.rewrite(&format!(
        "{}burst = 7\n[log]\nlevel = \"debug\"\n",
        limited(&upstream, "2/h")
    ));
    let answer = reload(&gateway, 200);
    let changed = json!([
        { "key": "limits.member.rate", "old": "1/h", "new": "2/h" },
        { "key": "limits.member.burst", "old": null, "new": 7 },
        { "key": "log.level", "old": null, "new": "debug" },
    ]);
    assert_eq!(sorted(&answer["changed"]), sorted(&changed));
    assert_eq!(
        (&answer["result"], &answer["generation"], &answer["since_trigger"]),
        (&json!("applied"), &json!(2), &json!("api"))
    );
    let line = &gateway.reload_lines(1)[0];
    assert_eq!(
        (&line["changed"], &line["changed_count"]),
        (&answer["changed"], &json!(3))
    );
    let status = status(&gateway);
    assert_eq!(status["reloads"][0]["changes"], answer["changed"]);
    assert_eq!(
        (&status["trigger"], &status["reloads"][0]["change_count"]),
        (&json!("api"), &json!(3))
    );
}

fn sorted(list: &Value) -> Vec<String> {
    let mut items: Vec<_> = list.as_array().unwrap().iter().map(Value::to_string).collect();
    items.sort();
    items
}

#[test]
fn unchanged_says_since_when_and_by_which_trigger() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(limited(&upstream, "1/h"));
    let first = reload(&gateway, 200);
    assert_eq!(
        (&first["result"], &first["since_trigger"], &first["changed_then"]),
        (&json!("unchanged"), &json!("start"), &json!([]))
    );
    gateway.rewrite(&limited(&upstream, "2/h"));
    // The watch is first, as it is before most hands.
    gateway.wait_log("the watch", |line| {
        line["trigger"] == "watch" && line["result"] == "applied"
    });
    let then = reload(&gateway, 200);
    assert_eq!(
        (&then["result"], &then["generation"], &then["since_trigger"]),
        (&json!("unchanged"), &json!(2), &json!("watch"))
    );
    assert_eq!(
        then["changed_then"],
        json!([{ "key": "limits.member.rate", "old": "1/h", "new": "2/h" }])
    );
    let since = then["since"].as_str().unwrap();
    assert!(
        since.len() == 20 && since.ends_with('Z') && since >= first["since"].as_str().unwrap(),
        "{since}"
    );
    let line = gateway.wait_log("it as well", |line| {
        line["trigger"] == "api" && line["generation"] == 2
    });
    assert_eq!(
        (&line["since"], &line["since_trigger"]),
        (&then["since"], &then["since_trigger"])
    );
}

#[test]
fn what_waits_for_a_restart_is_told_with_what_runs() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "the-first-token-of-some-length\n").unwrap();
    let server = format!("watch = false\nadmin_token_file = {token:?}");
    let gateway = Gateway::with(Setup::of(limited(&upstream, "1/h")).server(&server));
    let text = gateway.text(&limited(&upstream, "1/h"));
    gateway.replace_file(text.replace("threads = 2", "threads = 3\nheader_timeout = \"5s\""));
    std::fs::write(&token, "the-second-token-of-some-length\n").unwrap();
    let answer = reload(&gateway, 200);
    let waiting = answer["waiting"].as_array().unwrap();
    assert_eq!(
        waiting[..2],
        [
            json!({ "key": "server.header_timeout", "running": "10s", "waiting": "5s" }),
            json!({ "key": "server.threads", "running": 2, "waiting": 3 }),
        ]
    );
    // A secret is told by its hash.
    assert_eq!(
        (waiting.len(), &waiting[2]["key"]),
        (3, &json!("server.admin_token_file"))
    );
    for side in ["running", "waiting"] {
        assert!(
            waiting[2][side].as_str().unwrap().starts_with("sha256:"),
            "{}",
            waiting[2]
        );
    }
    assert_ne!(waiting[2]["running"], waiting[2]["waiting"]);
    assert!(!answer.to_string().contains("of-some-length"));
    assert_eq!(
        answer["restart_pending"],
        json!([
            "server.header_timeout",
            "server.threads",
            "server.admin_token_file"
        ])
    );
    assert_eq!(gateway.reload_lines(1)[0]["waiting"], answer["waiting"]);
    assert_eq!(status(&gateway)["waiting"], answer["waiting"]);
    assert_eq!(
        gateway.ask_admin("GET", "/-/config").json()["waiting"],
        answer["waiting"]
    );
}

#[test]
fn an_expired_certificate_in_place_of_a_valid_one_is_a_warning_everywhere() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    issue(folder.path(), 2096);
    let listener = format!(
        "[[server.listeners]]\naddress = \"127.0.0.1:0\"\ntls = [{{ cert = {:?}, key = {:?} }}]\n",
        folder.path().join("cert.pem"),
        folder.path().join("key.pem")
    );
    let gateway = unwatched(format!("{listener}{}", limited(&upstream, "1/h")));
    assert_eq!(reload(&gateway, 200)["warnings"], json!([]));
    issue(folder.path(), 2021);
    let answer = reload(&gateway, 200);
    let warnings = answer["warnings"].as_array().unwrap();
    assert_eq!(
        (answer["result"].as_str(), warnings.len()),
        (Some("applied"), 1),
        "{answer}"
    );
    let text = warnings[0].as_str().unwrap();
    assert!(
        text.contains(": warning: server.listeners[1].tls[0].cert: ")
            && text.contains("expired, on 2021-01-01"),
        "{text}"
    );
    let keys: Vec<_> = answer["changed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| &change["key"])
        .collect();
    assert_eq!(
        keys,
        [
            "server.listeners[1].tls[0].cert",
            "server.listeners[1].tls[0].key"
        ]
    );
    let line = &gateway.reload_lines(2)[1];
    assert_eq!(
        (&line["level"], &line["warnings"]),
        (&json!("warn"), &answer["warnings"])
    );
    assert_eq!(status(&gateway)["warnings"], answer["warnings"]);
    // Asked again, it is still there; and a start tells it too.
    assert_eq!(reload(&gateway, 200)["warnings"], answer["warnings"]);
    let again = Gateway::on(&gateway.file(), &[]);
    let line = again.wait_log("a warning", |line| line["msg"] == "configuration warning");
    assert_eq!(
        (&line["level"], line["warning"].as_str()),
        (&json!("warn"), Some(text))
    );
}

#[test]
fn the_generation_before_can_be_put_back() {
    let upstream = Upstream::start();
    let gateway = unwatched(limited(&upstream, "1/h"));
    let first = std::fs::read_to_string(gateway.file()).unwrap();
    let of = |generation: &str| gateway.ask_admin("GET", &format!("/-/config?generation={generation}"));
    assert_eq!((of("1").status, of("1").text()), (200, first.as_str()));
    assert_eq!((of("0").status, of("2").status, of("x").status), (404, 404, 400));
    gateway.rewrite(&limited(&upstream, "2/h"));
    reload(&gateway, 200);
    assert!(of("2").text().contains("\"2/h\""));
    let back = of("1");
    assert_eq!(back.header("content-type"), Some("application/toml"));
    gateway.replace_file(back.text());
    let answer = reload(&gateway, 200);
    assert_eq!(
        (&answer["generation"], &answer["changed"][0]["new"]),
        (&json!(3), &json!("1/h"))
    );
    assert_eq!((of("3").text(), of("1").status), (first.as_str(), 404));
}

#[test]
fn a_gateway_that_does_not_watch_reloads_when_it_is_told() {
    let upstream = Upstream::start();
    let gateway = unwatched(limited(&upstream, "1/h"));
    gateway.rewrite(&limited(&upstream, "2/h"));
    gateway.signal(Signal::SIGHUP);
    let line = &gateway.reload_lines(1)[0];
    assert_eq!(
        (&line["trigger"], &line["result"]),
        (&json!("sighup"), &json!("applied"))
    );
    gateway.rewrite(&limited(&upstream, "3/h"));
    assert_eq!(reload(&gateway, 200)["changed"][0]["old"], "2/h");
    let watched = gateway
        .metrics()
        .value("widget_gateway_config_reloads_total", &[("trigger", "watch")]);
    assert_eq!(watched, 0.0);
}

#[test]
fn a_configuration_whose_files_come_later_is_tried_again() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(limited(&upstream, "1/h"));
    let token = gateway.folder().join("token");
    let text = gateway.text(&limited(&upstream, "2/h"));
    gateway.replace_file(text.replace(
        "threads = 2",
        &format!("threads = 2\nadmin_token_file = {token:?}"),
    ));
    assert_eq!(gateway.reload_lines(1)[0]["result"], "refused");
    std::fs::write(&token, "a token of some length").unwrap();
    let lines = gateway.reload_lines(2);
    let line = &lines[1];
    assert_eq!(
        (&line["trigger"], &line["result"]),
        (&json!("watch"), &json!("refused")),
        "a token has no spaces"
    );
    std::fs::write(&token, "a-token-of-some-length").unwrap();
    let line = gateway.wait_log("the token", |line| line["result"] == "applied");
    assert_eq!(
        (&line["trigger"], &line["generation"]),
        (&json!("watch"), &json!(2))
    );
}
