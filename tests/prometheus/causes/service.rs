//! What becomes of the handlers, and what the gateway itself fails at.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::Duration;

use super::{Case, call, calls, case, kept, once, sound, step, traffic};
use crate::common::forms::{BODY, QUERY, TYPE, post, routes};
use crate::common::upstream::Gate;
use crate::common::{DeadServer, Gateway, Reply, Upstream};

/// One page: neither one for each server, nor one for the errors.
pub fn upstream_down() -> Case {
    let dead = DeadServer::new();
    let gateway = kept(Gateway::start(routes(&[dead.address()])));
    case(
        "upstream-down",
        &[gateway],
        [
            step(
                move || calls(gateway, 5, 502, call),
                &["WidgetGatewayUpstreamDown"],
            ),
            once(
                move || {
                    kept(dead.revive());
                },
                move || traffic(gateway),
                &[],
            ),
        ],
    )
}

pub fn server_down() -> Case {
    let (upstream, dead) = (kept(Upstream::start()), DeadServer::new());
    let gateway = kept(Gateway::start(routes(&[upstream.address, dead.address()])));
    case(
        "server-down",
        &[gateway],
        [
            step(
                move || calls(gateway, 5, 200, call),
                &["WidgetGatewayUpstreamServerDown"],
            ),
            once(
                move || {
                    kept(dead.revive());
                },
                move || traffic(gateway),
                &[],
            ),
        ],
    )
}

/// It takes connections and resets them, again and again. Those whose calls it fails are so few of all that no budget
/// burns.
pub fn server_ejected() -> Case {
    let [sound, failing] = Upstream::pair().map(kept);
    let rest = |servers: &[_]| {
        let eject = "[upstreams.handlers.eject]\nfailures = 1\nfor = \"2s\"\n";
        format!("{}{eject}", routes(servers))
    };
    let gateway = kept(Gateway::start(rest(&[sound.address, failing.address])));
    case(
        "server-ejected",
        &[gateway],
        [
            once(
                move || {
                    calls(gateway, 4000, 200, call);
                    failing.reply(Reply::Reset);
                },
                move || (0..4).for_each(|member| drop(gateway.ask(call(member)))),
                &["WidgetGatewayUpstreamServerEjected"],
            ),
            once(
                move || gateway.rewrite(&rest(&[sound.address])),
                move || traffic(gateway),
                &[],
            ),
        ],
    )
}

fn failure() -> Reply {
    Reply::Raw("HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".into())
}

pub fn errors() -> Case {
    let handler = kept(Upstream::replying(failure()));
    let gateway = kept(Gateway::start(routes(&[handler.address])));
    case(
        "errors",
        &[gateway],
        [
            step(
                move || calls(gateway, 5, 500, call),
                &["WidgetGatewayErrorBudgetBurnFast"],
            ),
            once(
                move || handler.reply(Reply::Ok),
                move || calls(gateway, 5, 200, call),
                &[],
            ),
        ],
    )
}

/// One in four hundred: nobody needs to get up for it.
pub fn a_few_errors() -> Case {
    let handler = kept(Upstream::start());
    let gateway = kept(Gateway::start(routes(&[handler.address])));
    case(
        "a-few-errors",
        &[gateway],
        [
            step(
                move || {
                    calls(gateway, 200, 200, call);
                    handler.reply(failure());
                    calls(gateway, 1, 500, call);
                    handler.reply(Reply::Ok);
                    calls(gateway, 200, 200, call);
                },
                &["WidgetGatewayErrorBudgetBurnSlow"],
            ),
            step(move || calls(gateway, 50, 200, call), &[]),
        ],
    )
}

/// The five seconds of Bitrix24 are not shortened.
pub fn slow_upstream() -> Case {
    let handler = kept(Upstream::start());
    let gateway = kept(Gateway::start(routes(&[handler.address])));
    case(
        "slow-upstream",
        &[gateway],
        [
            step(
                move || {
                    let gate = Gate::default();
                    handler.reply(Reply::Held(gate.clone()));
                    let mut slow: Vec<_> = (0..4).map(|_| gateway.connect()).collect();
                    slow.iter_mut().for_each(|conn| conn.send(call(1)));
                    // This is the cause.
                    std::thread::sleep(Duration::from_millis(5200));
                    gate.open();
                    for conn in &mut slow {
                        assert_eq!(conn.response().status, 200);
                    }
                },
                &["WidgetGatewayUpstreamSlow"],
            ),
            once(
                move || handler.reply(Reply::Ok),
                move || calls(gateway, 5, 200, call),
                &[],
            ),
        ],
    )
}

/// Forms as large as they come, read by an unoptimized build.
pub fn slow_gateway() -> Case {
    let gateway = sound("[widget]\nbody_limit = \"8MiB\"\nmax_params = 100000\n");
    let large = format!("{BODY}{}", "&some%5Fname=%20%20%20%20%20%20%20%20".repeat(10_000));
    let target = format!("/app?{QUERY}");
    case(
        "slow-gateway",
        &[gateway],
        [
            step(
                move || calls(gateway, 2, 200, |_| post(&target, &[], &large)),
                &["WidgetGatewayOverheadHigh"],
            ),
            step(move || calls(gateway, 10, 200, call), &[]),
        ],
    )
}

pub fn overloaded() -> Case {
    let gateway = sound("[widget]\nbody_limit = \"8KiB\"\nheld_bodies = \"8KiB\"\n");
    let part = move || {
        let head = format!(
            "POST /app?{QUERY} HTTP/1.1\r\nHost: widgets.example\r\n{TYPE}\r\nContent-Length: 7000\r\n\r\n"
        );
        let mut conn = gateway.connect();
        conn.send([head.as_bytes(), &[b'x'; 6000]].concat());
        conn
    };
    case(
        "overloaded",
        &[gateway],
        [
            once(
                move || {
                    // So few of all that no budget burns.
                    calls(gateway, 1500, 200, call);
                    let _first = part();
                    let held = "widget_gateway_held_body_bytes";
                    gateway.metrics_when("the first body", |now| now.value(held, &[]) == 6000.0);
                    assert_eq!(part().response().status, 503);
                },
                move || traffic(gateway),
                &["WidgetGatewayOverloaded"],
            ),
            step(move || traffic(gateway), &[]),
        ],
    )
}

/// Nobody outside can bring a fault of its own about: its metrics say so in its stead.
pub fn own_faults() -> Case {
    let gateway = sound("");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let faults: &std::sync::atomic::AtomicUsize = kept(0.into());
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let mut head = BufReader::new(&stream).lines().map_while(Result::ok);
            while head.next().is_some_and(|line| !line.is_empty()) {}
            let count = faults.load(std::sync::atomic::Ordering::Relaxed);
            let text = gateway.metrics().text;
            let labels = [
                "reason=\"internal_error\"",
                "route=\"widget\"",
                "mode=\"enforce\"",
            ];
            let is_fault = |series: &str| labels.iter().all(|label| series.contains(label));
            let said = text.lines().map(|line| match line.strip_suffix(" 0") {
                Some(series) if is_fault(series) => format!("{series} {count}\n"),
                _ => format!("{line}\n"),
            });
            let said = said.collect::<String>();
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\
                 Content-Length: {}\r\n\r\n",
                said.len()
            );
            // A scraper that has given up is none of our business.
            let _ = (&stream).write_all((head + &said).as_bytes());
        }
    });
    case(
        "own-faults",
        &[gateway],
        [
            once(
                move || {
                    // One of so many that no budget burns.
                    calls(gateway, 1500, 200, call);
                    faults.store(1, std::sync::atomic::Ordering::Relaxed);
                },
                move || traffic(gateway),
                &["WidgetGatewayInternalErrors"],
            ),
            step(move || traffic(gateway), &[]),
        ],
    )
    .scraped_at(target)
}
