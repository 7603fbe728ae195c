//! What is shipped for operators fits what the gateway tells: metrics, rules, dashboard, the PHP probe.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::forms::{self, BODY, TARGET, post, request};
use crate::common::php::PhpServer;
use crate::common::{Gateway, Setup, Upstream};

const INSTALL: &str = "apt-get install prometheus";

/// A gateway with everything switched on that has series of its own, after some traffic.
fn busy() -> (Gateway, Upstream) {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let issued = rcgen::generate_simple_self_signed(vec!["widgets.example".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(path("cert"), issued.cert.pem()).unwrap();
    std::fs::write(path("key"), issued.signing_key.serialize_pem()).unwrap();
    let listener = format!(
        "[[server.listeners]]\naddress = \"127.0.0.1:0\"\ntls = [{{ cert = \"{}\", key = \"{}\" }}]\n\
         {}[limits.member]\nrate = \"1/h\"\n",
        path("cert"),
        path("key"),
        forms::routes(&[upstream.address])
    );
    let gateway = Gateway::with(Setup::of(listener));
    for asked in [
        post(TARGET, &[], BODY),
        post(TARGET, &[], BODY),
        post("/?a.b=1", &[], ""),
        request("GET", "/", &[], ""),
        b"GET / HTTP/1.1\n\n".to_vec(),
    ] {
        gateway.ask(asked);
    }
    gateway.metric_reaches("widget_gateway_requests_total", &[], 5.0);
    (gateway, upstream)
}

#[test]
fn promtool_finds_the_metrics_sound() {
    let (gateway, _upstream) = busy();
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("promtool: {e}; {INSTALL}"));
    let scrape = gateway.metrics().text;
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(scrape.as_bytes())
        .unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert_eq!(
        (output.status.code(), crate::common::shown(&said)),
        (Some(0), String::new())
    );
}

/// Every name of ours in a text: the prefix and what follows.
fn names(text: &str) -> BTreeSet<String> {
    text.match_indices("widget_gateway_")
        // Names of recording rules hold colons and are made by the rules themselves.
        .filter(|(at, _)| !text[..*at].ends_with(':'))
        .map(|(at, _)| {
            text[at..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                .collect::<String>()
        })
        // The prefix alone is a pattern.
        .filter(|name| name != "widget_gateway_")
        .collect()
}

/// 2 MiB cleared in one go are 3 ms in which a thread answers nobody.
#[test]
fn the_kernel_gives_the_process_no_huge_pages() {
    let (gateway, _upstream) = busy();
    assert_eq!(gateway.kernel_says("THP_enabled"), "0");
}

#[test]
fn rules_and_dashboard_use_only_what_a_scrape_has() {
    let (gateway, _upstream) = busy();
    let scraped = names(&gateway.metrics().text);
    for file in ["conf/prometheus/alerts.yml", "conf/grafana/widget-gateway.json"] {
        let text = std::fs::read_to_string(file).unwrap();
        let used = names(&text);
        assert!(used.len() > 5, "{file}: {used:?}");
        let missing: Vec<_> = used.iter().filter(|name| !scraped.contains(*name)).collect();
        assert_eq!(missing, [""; 0], "{file}");
    }
}

#[test]
fn promtool_finds_the_rules_sound_and_their_tests_pass() {
    for arguments in [
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir("conf/prometheus")
            .output()
            .unwrap_or_else(|e| panic!("promtool: {e}; {INSTALL}"));
        assert_eq!(
            output.status.code(),
            Some(0),
            "{}",
            crate::common::shown(&[output.stdout, output.stderr].concat())
        );
    }
}

/// Asks the probe once, through the gateway.
fn probe(settings: &[&str]) -> (u16, serde_json::Value) {
    let php = PhpServer::running(settings, "conf/php/probe.php");
    let gateway = Gateway::start(forms::routes(&[php.address]));
    let answer = gateway.ask(request("GET", "/probe.php", &[], ""));
    (answer.status, answer.json())
}

#[test]
fn the_probe_tells_a_sound_php_from_an_unsound_one() {
    let sound = [
        "-n",
        "-d",
        "request_order=GP",
        "-d",
        "post_max_size=8M",
        "-d",
        "max_input_vars=1000",
    ];
    let (status, answer) = probe(&sound);
    assert_eq!((status, &answer["sound"]), (200, &true.into()), "{answer}");
    for (setting, name) in [
        ("request_order=", "request_order"),
        ("request_order=PG", "request_order"),
        ("arg_separator.input=;&", "arg_separator.input"),
        ("filter.default=special_chars", "filter.default"),
        ("enable_post_data_reading=0", "enable_post_data_reading"),
        ("max_input_vars=100", "max_input_vars"),
        ("post_max_size=100K", "post_max_size"),
    ] {
        let (status, answer) = probe(&[&sound[..], &["-d", setting]].concat());
        assert_eq!(
            (status, &answer["sound"]),
            (500, &false.into()),
            "{setting}: {answer}"
        );
        let settings = answer["settings"].to_string();
        assert!(settings.contains(name), "{setting}: {answer}");
        assert!(
            settings.matches("\"ok\":false").count() == 1,
            "{setting}: {answer}"
        );
    }
}

/// `[::]` alone takes IPv4 too; beside `0.0.0.0` it takes what is left.
#[test]
fn every_address_of_both_families_can_be_listened_on_at_one_port() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    // Free for both families a moment ago; whoever takes it meanwhile costs another try.
    let gateway = (0..20).find_map(|_| {
        let free = std::net::TcpListener::bind("[::]:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let upstream = "[[routes]]\npath = \"/\"\nkind = \"pass\"\nupstream = \"s\"\n[upstreams.s]\nservers = [\"sample\"]\n";
        let listen = format!("listen = [\"[::]:{port}\", \"0.0.0.0:{port}\"]\nadmin = \"127.0.0.1:0\"\n");
        std::fs::write(&file, format!("[server]\n{listen}{upstream}")).unwrap();
        let gateway = Gateway::on(&file, &[]);
        let line = gateway.wait_log("its end or its begin", |line| {
            line["msg"] == "ready" || line["msg"] == "can not listen"
        });
        (line["msg"] == "ready").then_some((gateway, port))
    });
    let (_gateway, port) = gateway.expect("a port of both families");
    for address in [format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        let mut conn = crate::common::Conn::open(address.parse().unwrap());
        assert_eq!(
            conn.roundtrip(request("GET", "/", &[], "")).status,
            200,
            "{address}"
        );
    }
}
