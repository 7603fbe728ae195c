//! A reload is a transaction: applied whole or not at all, and nothing that stays loses its state.

use crate::common::carrier::table;
use crate::common::forms::{self, BODY, MEMBER, OTHER_MEMBER, TARGET, post};
use crate::common::load::Load;
use crate::common::{Body, Conn, Gateway, Reply, Request, Upstream};
use nix::sys::signal::Signal;

const RELOADS: &str = "widget_gateway_config_reloads_total";
const SUCCESSFUL: &str = "widget_gateway_config_last_reload_successful";
const TIMESTAMP: &str = "widget_gateway_config_last_reload_success_timestamp_seconds";
const GENERATION: &str = "widget_gateway_config_generation";

fn limited(upstream: &Upstream, limits: &str) -> String {
    format!("{}{limits}", forms::routes(&[upstream.address]))
}

fn statuses(conn: &mut Conn, member: &str, count: usize) -> Vec<u16> {
    let call = post(TARGET, &[], BODY.replace(MEMBER, member));
    (0..count).map(|_| conn.roundtrip(&call).status).collect()
}

#[test]
fn the_state_of_an_unchanged_quota_survives_and_a_changed_one_is_in_force_at_once() {
    let upstream = Upstream::start();
    let hourly = "[limits.member]\nrate = \"1/h\"\nburst = 2\n";
    let gateway = Gateway::start(limited(&upstream, hourly));
    let mut conn = gateway.connect();
    assert_eq!(statuses(&mut conn, MEMBER, 3), [200, 200, 429]);

    // Another member's override is not this member's business.
    let other = format!("{hourly}[[limits.overrides]]\nmember_id = \"{OTHER_MEMBER}\"\nrate = \"1/m\"\n");
    gateway.rewrite(&limited(&upstream, &other));
    let reload = &gateway.reload_lines(1)[0];
    assert_eq!(
        (&reload["result"], &reload["trigger"]),
        (&"applied".into(), &"watch".into())
    );
    assert_eq!(
        statuses(&mut conn, MEMBER, 1),
        [429],
        "on the connection that was open all the time"
    );
    assert_eq!(statuses(&mut conn, OTHER_MEMBER, 2), [200, 429]);

    gateway.rewrite(&limited(
        &upstream,
        "[limits.member]\nrate = \"1/h\"\nburst = 3\n",
    ));
    gateway.reload_lines(2);
    assert_eq!(
        statuses(&mut conn, MEMBER, 4),
        [200, 200, 200, 429],
        "a new quota begins with its whole burst"
    );
    assert_eq!(gateway.metrics().value(GENERATION, &[]), 3.0);
}

#[test]
fn a_refused_file_changes_nothing_and_tells_where_it_is_wrong() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(limited(&upstream, ""));
    let before = gateway.metrics().value(TIMESTAMP, &[]);
    let sound = limited(&upstream, "");
    gateway.rewrite(&format!("{sound}[limits.member]\nrate = \"0/s\"\nbrust = 1\n"));
    let reload = &gateway.reload_lines(1)[0];
    assert_eq!(
        (&reload["result"], &reload["level"]),
        (&"refused".into(), &"error".into())
    );
    let faults: Vec<&str> = reload["faults"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f.as_str().unwrap())
        .collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    let place = |fault: &str| {
        fault
            .split("gateway.toml:")
            .nth(1)
            .unwrap()
            .split(": ")
            .nth(1)
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        [place(faults[0]), place(faults[1])],
        ["limits.member.rate", "limits.member.brust"]
    );
    assert!(faults[1].contains("burst"), "{}", faults[1]);
    let metrics = gateway.metrics();
    assert_eq!(metrics.value(SUCCESSFUL, &[]), 0.0);
    assert_eq!(metrics.value(TIMESTAMP, &[]), before);
    assert_eq!(
        metrics.value(RELOADS, &[("trigger", "watch"), ("result", "refused")]),
        1.0
    );
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);

    // The same content, asked for again, is refused again.
    gateway.signal(Signal::SIGHUP);
    assert_eq!(gateway.reload_lines(2)[1]["result"], "refused");

    gateway.rewrite(&sound);
    assert_eq!(gateway.reload_lines(3)[2]["result"], "unchanged");
    let metrics = gateway.metrics();
    assert_eq!(metrics.value(SUCCESSFUL, &[]), 1.0);
    assert!(metrics.value(TIMESTAMP, &[]) > before);
}

#[test]
fn what_is_no_configuration_never_stops_the_gateway() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(limited(&upstream, ""));
    let sound = gateway.text(&limited(&upstream, ""));
    let broken: [&[u8]; 4] = [
        b"",
        b"\xff\xfe[server]",
        &sound.as_bytes()[..sound.len() / 2],
        &[b'#'; 5 << 20],
    ];
    for (index, content) in broken.iter().enumerate() {
        gateway.replace_file(content);
        assert_eq!(
            gateway.reload_lines(index + 1)[index]["result"],
            "refused",
            "{index}"
        );
        assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    }
    std::fs::remove_file(gateway.file()).unwrap();
    assert_eq!(gateway.reload_lines(5)[4]["result"], "refused");
    std::fs::create_dir(gateway.file()).unwrap();
    assert_eq!(gateway.reload_lines(6)[5]["result"], "refused");
    assert_eq!(gateway.metrics().value(SUCCESSFUL, &[]), 0.0);
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    std::fs::remove_dir(gateway.file()).unwrap();
    gateway.replace_file(sound);
    let last = gateway.wait_log("a sound file", |line| {
        line["msg"] == "reload" && line["result"] == "unchanged"
    });
    assert_eq!(last["trigger"], "watch");
    assert_eq!(gateway.metrics().value(SUCCESSFUL, &[]), 1.0);
}

#[test]
fn the_watch_sees_a_config_maps_link_swapped() {
    use std::os::unix::fs::symlink;
    let upstream = Upstream::start();
    let gateway = Gateway::start(limited(&upstream, ""));
    let folder = gateway.folder();
    for (version, limits) in [("v1", ""), ("v2", "[limits.member]\nrate = \"1/h\"\n")] {
        std::fs::create_dir(folder.join(version)).unwrap();
        std::fs::write(
            folder.join(version).join("gateway.toml"),
            gateway.text(&limited(&upstream, limits)),
        )
        .unwrap();
    }
    symlink("v1", folder.join("..data")).unwrap();
    symlink("..data/gateway.toml", folder.join("link")).unwrap();
    std::fs::rename(folder.join("link"), gateway.file()).unwrap();
    assert_eq!(gateway.reload_lines(1)[0]["result"], "unchanged");
    symlink("v2", folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    assert_eq!(gateway.reload_lines(2)[1]["result"], "applied");
    assert_eq!(statuses(&mut gateway.connect(), MEMBER, 2), [200, 429]);
}

#[test]
fn series_of_what_is_gone_go_and_the_others_count_on() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let routes = |name: &str, upstream: &str, address| {
        format!(
            "[[routes]]\npath = \"/\"\nkind = \"widget\"\nupstream = \"{upstream}\"\n\
             [[routes]]\nname = \"{name}\"\npath = \"/x\"\nkind = \"pass\"\nupstream = \"{upstream}\"\n\
             [upstreams.{upstream}]\nservers = [\"{address}\"]\n"
        )
    };
    let gateway = Gateway::start(routes("old", "blue", first.address));
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    gateway.metric_reaches("widget_gateway_requests_total", &[("route", "widget")], 1.0);
    gateway.rewrite(&routes("new", "green", second.address));
    gateway.reload_lines(1);
    let metrics = gateway.metrics();
    for label in [
        "route=\"old\"",
        "upstream=\"blue\"",
        &format!("server=\"{}\"", first.address),
    ] {
        assert!(!metrics.text.contains(label), "{label}");
    }
    assert_eq!(
        metrics.value("widget_gateway_requests_total", &[("route", "widget")]),
        1.0
    );
    assert_eq!(
        metrics.value("widget_gateway_requests_total", &[("route", "new")]),
        0.0
    );
    assert_eq!(
        metrics.value("widget_gateway_upstream_up", &[("upstream", "green")]),
        1.0
    );
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    assert_eq!((first.take().len(), second.take().len()), (1, 1));
}

#[test]
fn restart_only_keys_wait_and_the_rest_applies() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(limited(&upstream, ""));
    let text = gateway.text(&limited(&upstream, "[limits.member]\nrate = \"1/h\"\n"));
    gateway.replace_file(text.replace("threads = 2", "threads = 1\nmax_connections = 7"));
    let reload = &gateway.reload_lines(1)[0];
    assert_eq!(
        reload["restart_pending"],
        serde_json::json!(["server.max_connections", "server.threads"])
    );
    assert_eq!(
        gateway
            .metrics()
            .value("widget_gateway_config_restart_pending", &[]),
        2.0
    );
    assert_eq!(statuses(&mut gateway.connect(), MEMBER, 2), [200, 429]);
}

#[test]
fn a_request_keeps_the_configuration_it_came_with() {
    let (first, second) = (Upstream::start(), Upstream::start());
    let gate = first.hold();
    let gateway = Gateway::start(limited(&first, ""));
    let mut conn = gateway.connect();
    conn.send(post(TARGET, &[], BODY));
    first.wait_for(1);
    gateway.rewrite(&limited(&second, ""));
    gateway.reload_lines(1);
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    assert_eq!(second.take().len(), 1);
    gate.open();
    assert_eq!(conn.response().status, 200);
}

/// Before it is there whole, too.
#[test]
fn a_request_that_is_half_there_keeps_the_configuration_it_came_with() {
    let half = |request: Request| match request.body.clone() {
        Body::Length(body) => {
            let (sent, rest) = body.split_at(4);
            let (length, sent) = (body.len(), sent.to_vec());
            (request.body(Body::Part { length, sent }), rest.to_vec())
        }
        body => panic!("{body:?}"),
    };
    let rows = [
        ("held", half(Request::call())),
        ("streamed", half(Request::upload())),
    ];
    let ran = table(
        "requests that are half there",
        &rows,
        |row| row.0,
        |_, _| true,
        |_| (),
        |carrier, (), (_, (begun, rest))| {
            let (first, second) = (Upstream::start(), Upstream::start());
            let over = |upstream: &Upstream, more: &str| {
                format!("{}{more}", forms::every_route(&[upstream.address]))
            };
            let gateway = Gateway::on_every_carrier(over(&first, ""));
            let mut sent = carrier.send(&gateway, begun);
            gateway.metrics_when("its head", |now| {
                now.value("widget_gateway_requests_in_flight", &[]) == 1.0
            });
            // Another server, another quota, and nobody may send so much.
            let more =
                "[limits.member]\nrate = \"1/h\"\n[widget]\nbody_limit = \"1KiB\"\ncookies = \"strip\"\n";
            gateway.rewrite(&over(&second, more));
            assert_eq!(gateway.reload_lines(1)[0]["result"], "applied");
            sent.send_last(rest);
            first.wait_for(1);
            gateway.metric_reaches("widget_gateway_requests_total", &[("outcome", "forwarded")], 1.0);
            second.expect_untouched();
            // Nor has it used up what is new.
            assert_eq!(carrier.ask(&gateway, &Request::call()).status, 200);
            assert_eq!(second.take().len(), 1);
        },
    );
    assert_eq!(ran, [2; 5]);
}

/// `RELOADS=200` is the long run; beyond forty the memory is compared with what it was after the
/// twentieth.
#[test]
fn reloads_under_load_lose_no_request() {
    let reloads: usize = std::env::var("RELOADS").map_or(24, |count| count.parse().unwrap());
    let upstream = Upstream::replying(Reply::Echo);
    let sound = |n: usize| {
        limited(
            &upstream,
            &format!(
                "[limits.member]\nrate = \"{}/s\"\n[log]\nsample_forwarded = 0.0\n",
                900_000 + n
            ),
        )
    };
    let gateway = Gateway::start(sound(0));
    let load = Load::start(gateway.http(), 4);
    let mut after_twenty = 0;
    for n in 1..=reloads {
        let told = gateway.log_count();
        let (text, wanted) = if n % 2 == 0 {
            (sound(n), "applied")
        } else {
            (format!("{}[", sound(n)), "refused")
        };
        gateway.rewrite(&text);
        match n / 2 % 3 {
            0 => {}
            1 => gateway.signal(Signal::SIGHUP),
            _ => assert!([200, 422].contains(&gateway.ask_admin("POST", "/-/reload").status)),
        }
        gateway.wait_log_after(told, wanted, |line| {
            line["msg"] == "reload" && line["result"] == wanted
        });
        if n == 20 {
            after_twenty = gateway.resident_kib();
        }
    }
    let resident = gateway.resident_kib();
    let (answered, failed) = load.stop();
    eprintln!(
        "{reloads} reloads, {answered} answered, {failed} failed, {after_twenty} KiB then, {resident} KiB now"
    );
    assert_eq!(failed, 0);
    assert!(answered > reloads);
    let metrics = gateway.metrics();
    for outcome in ["rejected", "limited", "upstream_error", "client_closed"] {
        assert_eq!(
            metrics.value("widget_gateway_requests_total", &[("outcome", outcome)]),
            0.0,
            "{outcome}"
        );
    }
    for result in ["applied", "refused"] {
        let count: f64 = ["watch", "sighup", "api"]
            .map(|trigger| metrics.value(RELOADS, &[("trigger", trigger), ("result", result)]))
            .iter()
            .sum();
        assert!(count >= (reloads / 2) as f64, "{result}: {count}");
    }
    if reloads > 40 {
        assert!(
            resident * 10 <= after_twenty * 11,
            "{resident} KiB, {after_twenty} KiB after twenty reloads"
        );
    }
}
