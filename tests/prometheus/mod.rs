//! A real Prometheus scrapes a real gateway: every series that rules and dashboard ask for is there,
//! every panel has something to show, and the alerts fire when they should, for nothing else, and end when they
//! should.

mod causes;
mod expressions;
mod scale;
mod server;

use std::collections::BTreeSet;
use std::path::Path;

use crate::common::forms::{BODY, MEMBER, QUERY, post, request};
use crate::common::{DeadServer, Gateway, Reply, Setup, Upstream};
use expressions::Expression;
use serde_json::Value;
use server::Prometheus;

const INSTALL: &str = "apt-get install prometheus";
const JOB: &str = "widget-gateway";
const PACE: std::time::Duration = std::time::Duration::from_millis(200);
/// The one thing of the dashboard that nothing here makes happen: the mark of a process that was started
/// again at the same address.
const OTHER_CIRCUMSTANCES: &str = "changes(process_start_time_seconds{";
const RELOAD_FAILED: &str = "WidgetGatewayConfigReloadFailed";

/// The shipped rules, impatient: no alert waits, and one refused reload need not last for the five
/// minutes over which the rule looks for a success.
fn impatient_rules() -> String {
    let shipped = std::fs::read_to_string("conf/prometheus/alerts.yml").unwrap();
    let successes = "max_over_time(widget_gateway_config_last_reload_successful[5m])";
    assert!(shipped.contains(successes), "the rule that the test knows");
    let lines = shipped.lines().map(|line| match line.trim_start() {
        wait if wait.starts_with("for: ") => line.replace(wait, "for: 200ms"),
        _ => line.replace(successes, &successes.replace("5m", "1s")),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Handlers that do what handlers do: answer, fail, break off, be gone.
struct Handlers {
    sound: Upstream,
    failing: Upstream,
    broken: Upstream,
    gone: DeadServer,
}

impl Handlers {
    fn start() -> Handlers {
        let failure = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        Handlers {
            sound: Upstream::start(),
            failing: Upstream::replying(Reply::Raw(failure.into())),
            broken: Upstream::replying(Reply::Close),
            gone: DeadServer::new(),
        }
    }

    /// With a certificate that ends in a day, and room for two members only.
    fn rest(&self, certificate: &Path) -> String {
        let route = |name: &str, more: &str| {
            format!("[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nupstream = \"{name}\"\n{more}\n")
        };
        let upstream = |name: &str, servers: &[std::net::SocketAddr]| {
            let servers: Vec<_> = servers.iter().map(|server| format!("\"{server}\"")).collect();
            format!("[upstreams.{name}]\nservers = [{}]\n", servers.join(", "))
        };
        let widget = "kind = \"widget\"";
        [
            format!(
                "[[server.listeners]]\naddress = \"127.0.0.1:0\"\ntls = [{{ cert = \"{}\", key = \"{}\" }}]\n",
                certificate.join("cert").display(),
                certificate.join("key").display()
            ),
            route("sound", widget),
            route("new", &format!("{widget}\nmode = \"observe\"")),
            route("files", "kind = \"pass\""),
            route("failing", widget),
            route("broken", widget),
            route("gone", widget),
            upstream("sound", &[self.sound.address, self.gone.address()]),
            upstream("new", &[self.sound.address]),
            upstream("files", &[self.sound.address]),
            upstream("failing", &[self.failing.address]),
            upstream("broken", &[self.broken.address]),
            upstream("gone", &[self.gone.address()]),
            // Nobody answers: all callers are unknown, and go on.
            format!(
                "[verify]\nmethod = \"app_info\"\nclient_id = \"app.1\"\nservers = [\"http://{}\"]\n",
                self.gone.address()
            ),
            "[limits]\nmax_keys = 2\n[limits.member]\nrate = \"1/h\"\nburst = 3\n".to_owned(),
            // A store that is not there, so that each gateway is alone.
            format!("[limits.shared]\nurl = \"redis://{}\"\n", self.gone.address()),
        ]
        .concat()
    }
}

fn certificate(folder: &Path) {
    let mut params = rcgen::CertificateParams::new(vec!["widgets.example".to_owned()]).unwrap();
    let now = std::time::SystemTime::now();
    params.not_after = (now + std::time::Duration::from_secs(86_400)).into();
    let key = rcgen::KeyPair::generate().unwrap();
    std::fs::write(folder.join("cert"), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join("key"), key.serialize_pem()).unwrap();
}

/// Some of everything. What is not answered as it should be fails here, not as a missing series.
fn traffic(gateway: &Gateway) {
    let body = |member: usize| BODY.replace(MEMBER, &format!("{member:032x}"));
    let call = |route: &str, member| post(&format!("/{route}?{QUERY}"), &[], body(member));
    let asked = [
        (call("sound", 1), 200),
        (call("sound", 1), 200),
        (call("sound", 1), 200),
        (call("sound", 1), 429),
        // The table of keys is full with the second member; the third shares its state with all others.
        (call("sound", 2), 200),
        (call("failing", 3), 500),
        (call("broken", 4), 502),
        (call("gone", 5), 502),
        (call("new", 1), 200),
        (call("new", 2), 200),
        (post("/new", &[], "PLACEMENT=X"), 200),
        (post("/sound", &[], "PLACEMENT=X"), 422),
        (
            post(&format!("/sound?{QUERY}&member.id=x&LANG=de"), &[], body(6)),
            400,
        ),
        (
            post(&format!("/sound?{QUERY}"), &[], format!("{}&DOMAIN[]=x", body(6))),
            400,
        ),
        (
            post("/sound", &[], "event=ONAPPINSTALL&auth[domain]=p.example"),
            422,
        ),
        (post("/nowhere", &[], ""), 404),
        (request("GET", "/files/x", &[], ""), 200),
        (request("GET", "/sound", &[], ""), 405),
        (request("GET", "/a/../b", &[], ""), 400),
    ];
    let count = asked.len();
    for (at, (bytes, status)) in asked.into_iter().enumerate() {
        let answer = gateway.ask(bytes);
        assert_eq!(answer.status, status, "number {at}: {}", answer.text());
    }
    gateway.metric_reaches("widget_gateway_requests_total", &[], count as f64);
}

/// What `ask` says is missing, of everything that is asked for.
fn all<'e>(
    expressions: impl IntoIterator<Item = &'e Expression>,
    ask: impl Fn(&Expression) -> Vec<String>,
) -> Result<(), String> {
    let missing: Vec<_> = expressions
        .into_iter()
        .flat_map(|expression| {
            let missing = ask(expression).into_iter();
            missing.map(|missing| format!("{}: {missing}", expression.of))
        })
        .collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(missing.join("\n")),
    }
}

fn holds(it: bool, instead: &[String]) -> Result<(), String> {
    if it { Ok(()) } else { Err(instead.join(", ")) }
}

fn labels(series: &[Value]) -> BTreeSet<String> {
    let objects = series.iter().filter_map(Value::as_object);
    objects.flat_map(|labels| labels.keys().cloned()).collect()
}

/// Every selector of the expression has series, and they have every label that it groups by or shows.
fn missing_series(prometheus: &Prometheus, expression: &Expression) -> Vec<String> {
    let mut missing = Vec::new();
    let mut there = BTreeSet::new();
    for selector in expression.selectors() {
        let series = prometheus.query(&selector);
        if series.is_empty() {
            missing.push(format!("no series {selector}"));
        }
        there.extend(labels(&series));
    }
    for label in expression
        .grouped_by()
        .union(&expression.shown)
        .filter(|label| !there.contains(*label))
    {
        missing.push(format!("no label {label}"));
    }
    missing
}

#[test]
fn a_real_prometheus_has_what_rules_and_dashboard_ask_for() {
    let folder = tempfile::tempdir().unwrap();
    certificate(folder.path());
    let handlers = Handlers::start();
    let gateway = Gateway::with(Setup::of(handlers.rest(folder.path())));
    let prometheus = Prometheus::start(&[(JOB, vec![gateway.admin()])], &impatient_rules(), PACE);
    // Growth is only seen from a first scrape on.
    prometheus.wait("scraped", |prometheus| {
        let up = prometheus.query("up == 1 and on (job) widget_gateway_build_info");
        holds(!up.is_empty(), &[])
    });
    traffic(&gateway);
    // A key that waits for a restart, and a reload for the panel that counts them.
    let restart = gateway
        .text(&handlers.rest(folder.path()))
        .replace("threads = 2", "threads = 1");
    gateway.replace_file(&restart);
    assert_eq!(gateway.reload_lines(1)[0]["result"], "applied");

    let dashboard = std::fs::read_to_string("conf/grafana/widget-gateway.json").unwrap();
    let panels = expressions::of_dashboard(&dashboard);
    assert!(panels.len() > 40, "{}", panels.len());
    let rules = prometheus.wait("rules", |prometheus| {
        let groups = prometheus.api("rules", "");
        let faults: Vec<_> = groups["groups"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|group| group["rules"].as_array().unwrap())
            .filter(|rule| rule["health"] != "ok")
            .map(|rule| rule["name"].to_string() + &rule["lastError"].to_string())
            .collect();
        let rules = if groups.is_null() {
            Vec::new()
        } else {
            expressions::of_rules(&groups)
        };
        if faults.is_empty() && rules.len() > 30 {
            Ok(rules)
        } else {
            Err(faults.join("\n"))
        }
    });

    prometheus.wait("every series", |prometheus| {
        all(panels.iter().chain(&rules), |expression| {
            missing_series(prometheus, expression)
        })
    });
    let expected = [
        "WidgetGatewayCertificateExpiringSoon",
        "WidgetGatewayConfigRestartPending",
        "WidgetGatewayLimiterStoreDown",
        "WidgetGatewayLimiterTableNearlyFull",
        "WidgetGatewayUnexpectedMessages",
        "WidgetGatewayUpstreamDown",
        "WidgetGatewayUpstreamServerDown",
        "WidgetGatewayVerificationFailing",
    ];
    prometheus.wait("the alerts of this traffic", |prometheus| {
        let firing = prometheus.firing();
        let fires = |name: &&str| firing.iter().any(|firing| firing == name);
        holds(expected.iter().all(fires), &firing)
    });

    let reload_failed = || prometheus.firing().iter().any(|name| name == RELOAD_FAILED);
    assert!(!reload_failed());
    gateway.replace_file(format!("{restart}["));
    prometheus.wait("the refused reload", |_| holds(reload_failed(), &[]));
    gateway.replace_file(&restart);
    prometheus.wait("the end of that", |_| holds(!reload_failed(), &[]));

    prometheus.wait("something in every panel", |prometheus| {
        let told = |panel: &&Expression| !panel.text.starts_with(OTHER_CIRCUMSTANCES);
        all(panels.iter().filter(told), |panel| {
            let shown = prometheus.query(&panel.text);
            if shown.is_empty() {
                return vec![format!("nothing for {}", panel.text)];
            }
            let there = labels(&shown);
            let missing = panel.shown.difference(&there);
            missing.map(|label| format!("no label {label}")).collect()
        })
    });
}
