//! What becomes of the process, and whether anybody calls.

use std::net::SocketAddr;
use std::sync::Mutex;

use nix::sys::signal::Signal;

use super::{Case, call, calls, case, kept, once, sound, step, traffic};
use crate::common::forms::routes;
use crate::common::servers::free;
use crate::common::upstream::Gate;
use crate::common::{Conn, Gateway, Reply, Setup, Upstream};

/// Calls a day ago, and none for half an hour.
pub fn no_traffic() -> Case {
    let gateway = sound("");
    case(
        "no-traffic",
        &[gateway],
        [
            once(
                move || calls(gateway, 60, 200, call),
                || (),
                &["WidgetGatewayNoTraffic"],
            ),
            step(move || traffic(gateway), &[]),
        ],
    )
}

/// A gateway that is started anew at the same address.
struct Again {
    setup: Setup,
    now: Mutex<Option<Gateway>>,
}

impl Again {
    fn new() -> (&'static Again, SocketAddr) {
        let (upstream, admin) = (kept(Upstream::start()), free());
        let setup = Setup::of(routes(&[upstream.address])).admin(&admin.to_string());
        let again = Again {
            now: Mutex::new(Some(Gateway::with(setup.clone()))),
            setup,
        };
        (kept(again), admin)
    }

    fn kill(&self) {
        let killed = self.now.lock().unwrap().take();
        if let Some(killed) = killed {
            killed.signal(Signal::SIGKILL);
            killed.wait();
        }
    }

    fn start(&self) {
        self.kill();
        *self.now.lock().unwrap() = Some(Gateway::with(self.setup.clone()));
    }

    fn traffic(&self) {
        if let Some(gateway) = &*self.now.lock().unwrap() {
            traffic(gateway);
        }
    }
}

pub fn target_down() -> Case {
    let (gateway, admin) = Again::new();
    case(
        "target-down",
        &[],
        [
            once(move || gateway.kill(), || (), &["WidgetGatewayTargetDown"]),
            once(move || gateway.start(), move || gateway.traffic(), &[]),
        ],
    )
    .scraped_at(admin)
    .ending(move || gateway.kill())
}

pub fn absent() -> Case {
    let (gateway, admin) = Again::new();
    case(
        "absent",
        &[],
        [
            once(move || gateway.kill(), || (), &["WidgetGatewayAbsent"]),
            once(move || gateway.start(), move || gateway.traffic(), &[]),
        ],
    )
    .scraped_at(admin)
    .ending(move || gateway.kill())
}

pub fn restarting() -> Case {
    let (gateway, admin) = Again::new();
    case(
        "restarting",
        &[],
        [
            // Each goes on long enough to be seen.
            step(
                move || {
                    gateway.start();
                    std::thread::sleep(super::PACE * 2);
                },
                &["WidgetGatewayRestarting"],
            ),
            step(move || gateway.traffic(), &[]),
        ],
    )
    .scraped_at(admin)
    .ending(move || gateway.kill())
}

/// Of the 128 that it may open, calls that go on and on take two each.
pub fn descriptors() -> Case {
    let (handler, other) = (kept(Upstream::start()), kept(Upstream::start()));
    let rest = format!(
        "{}timeout = \"10m\"\n[[routes]]\npath = \"/other\"\nkind = \"widget\"\nname = \"other\"\nupstream = \"other\"\n\
         [[routes]]\npath = \"/page\"\nkind = \"pass\"\nname = \"page\"\nmethods = [\"POST\"]\nupstream = \"other\"\n\
         [upstreams.other]\nservers = [\"{}\"]\nkeepalive = \"10m\"\n",
        routes(&[handler.address]),
        other.address
    );
    let gateway = kept(Gateway::with(Setup::of(rest).limits("ulimit -n 128")));
    let held: &Mutex<Vec<Conn>> = kept(Mutex::new(Vec::new()));
    let gate = Gate::default();
    let until = Reply::RawUntil("HTTP/1.1 200 OK\r\n\r\nhere".into(), gate.clone());
    case(
        "descriptors",
        &[gateway],
        [
            once(
                move || {
                    let mut held = held.lock().unwrap();
                    // As many as there may be: (128 - 32 - 2 * 5) / 5 * 2.
                    held.extend((0..34).map(|_| gateway.connect()));
                    // What is idle afterwards is not what the others need.
                    let idle = String::from_utf8(call(1)).unwrap().replacen("/app", "/other", 1);
                    for asked in [
                        idle,
                        "POST /page HTTP/1.1\r\nHost: widgets.example\r\nContent-Length: 1\r\n\r\nx"
                            .to_owned(),
                    ] {
                        let gate = other.hold();
                        held.iter_mut().for_each(|conn| conn.send(&asked));
                        other.wait_for(held.len());
                        gate.open();
                        held.iter_mut()
                            .for_each(|conn| assert_eq!(conn.response().status, 200));
                        other.take();
                    }
                    handler.reply(until);
                    held.iter_mut().for_each(|conn| conn.send(call(1)));
                },
                || (),
                &["WidgetGatewayFileDescriptorsHigh"],
            ),
            once(
                move || {
                    handler.reply(Reply::Ok);
                    gate.open();
                    held.lock().unwrap().clear();
                },
                move || traffic(gateway),
                &[],
            ),
        ],
    )
}

/// Who reads standard error takes a rest, and then reads on.
pub fn log_lines() -> Case {
    let upstream = kept(Upstream::start());
    let folder = kept(tempfile::tempdir().unwrap());
    let resume = folder.path().join("resume");
    // The first lines go through, then nothing until the file is there.
    let reader = format!(
        "(sed -u 40q >&3; until [ -e {} ]; do sleep 0.2; done; cat >&3)",
        resume.display()
    );
    let pipe = folder.path().join("pipe");
    let limits = format!(
        "mkfifo {pipe}; exec 3>&2; {reader} <{pipe} & exec 2>{pipe} 3>&-",
        pipe = pipe.display()
    );
    let gateway = kept(Gateway::with(
        Setup::of(routes(&[upstream.address])).limits(&limits),
    ));
    case(
        "log-lines",
        &[gateway],
        [
            step(
                move || calls(gateway, 200, 200, call),
                &["WidgetGatewayLogLinesDropped"],
            ),
            once(
                move || std::fs::write(&resume, "").unwrap(),
                move || traffic(gateway),
                &[],
            ),
        ],
    )
}
