//! The limit per member, observe mode, and what happens when the upstream fails.

use crate::common::carrier::{Client, each};
use crate::common::forms::{self, BODY, MEMBER, OTHER_MEMBER, QUERY, TARGET};
use crate::common::{Body, Carrier, DeadServer, Gateway, Reply, Request, Upstream, shown};
use serde_json::json;

const REQUESTS: &str = "widget_gateway_requests_total";
const REJECTIONS: &str = "widget_gateway_rejections_total";
const DECISIONS: &str = "widget_gateway_ratelimit_decisions_total";

fn of(member: &str) -> Request {
    Request::form(TARGET, BODY.replace(MEMBER, member))
}

#[test]
fn a_member_over_its_quota_is_told_when_to_come_back() {
    each("a member over its quota is told when to come back", |carrier| {
        let upstream = Upstream::start();
        let limit = "[limits.member]\nrate = \"2/m\"\nburst = 3\n";
        let gateway = Gateway::on_every_carrier(format!("{}{limit}", forms::routes(&[upstream.address])));
        let mut conn = carrier.open(&gateway);
        let start = std::time::Instant::now();
        for _ in 0..3 {
            assert_eq!(conn.ask(&of(MEMBER)).status, 200);
        }
        let response = conn.ask(&of(MEMBER));
        // One cell is 30 s, and the first was taken somewhere within what this test took.
        let earliest = 30 - start.elapsed().as_secs().min(29) - 1;
        assert_eq!(response.status, 429, "{}", shown(&response.body));
        let wait: u64 = response.header("Retry-After").unwrap().parse().unwrap();
        assert!((earliest..=30).contains(&wait), "Retry-After: {wait}");
        assert_eq!(response.header("RateLimit-Policy"), Some("\"member\";q=2;w=60"));
        assert_eq!(
            response.header("RateLimit"),
            Some(format!("\"member\";r=0;t={wait}").as_str())
        );
        let problem = response.json();
        assert_eq!(problem["code"], "rate_limited");
        assert_eq!(problem["violated-policies"], json!(["member"]));
        assert!(problem.get("errors").is_none(), "{problem}");
        // Neither another member nor a probe by GET is held back, on the same connection.
        assert_eq!(conn.ask(&of(OTHER_MEMBER)).status, 200);
        assert_eq!(conn.ask(&Request::get("/")).status, 200);
        assert_eq!(upstream.take().len(), 5);

        let metrics = gateway.metrics_after(6);
        assert_eq!(
            metrics.value(REQUESTS, &[("route", "widget"), ("outcome", "limited")]),
            1.0
        );
        assert_eq!(
            metrics.value(REJECTIONS, &[("reason", "rate_limited"), ("mode", "enforce")]),
            1.0
        );
        assert_eq!(
            metrics.value(DECISIONS, &[("policy", "member"), ("decision", "allowed")]),
            4.0
        );
        assert_eq!(
            metrics.value(DECISIONS, &[("policy", "member"), ("decision", "limited")]),
            1.0
        );
        let line = gateway.wait_log("the limited one", |line| {
            line["request_id"] == problem["request_id"]
        });
        assert_eq!(
            (&line["outcome"], &line["reason"]),
            (&json!("limited"), &json!("rate_limited"))
        );
        assert_eq!(line["member_id"], MEMBER);
    });
}

#[test]
fn a_refused_call_costs_the_member_nothing() {
    each("a refused call costs the member nothing", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(format!(
            "{}[limits.member]\nrate = \"1/h\"\n",
            forms::routes(&[upstream.address])
        ));
        let mut conn = carrier.open(&gateway);
        for _ in 0..5 {
            assert_eq!(conn.ask(&Request::form("/?PROTOCOL=1", BODY)).status, 422);
        }
        assert_eq!(conn.ask(&of(MEMBER)).status, 200);
        let response = conn.ask(&of(MEMBER));
        assert_eq!(response.status, 429);
        assert_eq!(response.header("RateLimit-Policy"), Some("\"member\";q=1;w=3600"));
    });
}

#[test]
fn an_override_has_its_own_quota() {
    each("an override has its own quota", |carrier| {
        let upstream = Upstream::start();
        let limits = format!(
            "[limits.member]\nrate = \"1/h\"\n\
         [[limits.overrides]]\nmember_id = \"{OTHER_MEMBER}\"\nrate = \"1/m\"\nburst = 4\n"
        );
        let gateway = Gateway::on_every_carrier(format!("{}{limits}", forms::routes(&[upstream.address])));
        let mut conn = carrier.open(&gateway);
        let statuses = |conn: &mut Client, member: &str| -> Vec<u16> {
            (0..6).map(|_| conn.ask(&of(member)).status).collect()
        };
        assert_eq!(statuses(&mut conn, MEMBER), [200, 429, 429, 429, 429, 429]);
        assert_eq!(statuses(&mut conn, OTHER_MEMBER), [200, 200, 200, 200, 429, 429]);
        assert_eq!(
            conn.ask(&of(OTHER_MEMBER)).header("RateLimit-Policy"),
            Some("\"member\";q=1;w=60")
        );
    });
}

#[test]
fn a_limit_that_only_observes_lets_through_and_tells() {
    each("a limit that only observes lets through and tells", |carrier| {
        let upstream = Upstream::start();
        let limit = "[limits.member]\nrate = \"1/h\"\nmode = \"observe\"\n";
        let gateway = Gateway::on_every_carrier(format!("{}{limit}", forms::routes(&[upstream.address])));
        for _ in 0..3 {
            assert_eq!(carrier.ask(&gateway, &of(MEMBER)).status, 200);
        }
        let metrics = gateway.metrics_after(3);
        assert_eq!(
            metrics.value(REQUESTS, &[("route", "widget"), ("outcome", "observed")]),
            2.0
        );
        assert_eq!(
            metrics.value(REJECTIONS, &[("reason", "rate_limited"), ("mode", "observe")]),
            2.0
        );
        assert_eq!(metrics.value(REJECTIONS, &[("mode", "enforce")]), 0.0);
        gateway.wait_log("would_reject", |line| {
            line["would_reject"] == json!(["rate_limited"])
        });
        // Faults of the form are still refused: only the limit observes.
        assert_eq!(
            carrier.ask(&gateway, &Request::form("/?PROTOCOL=1", BODY)).status,
            422
        );
    });
}

#[test]
fn observe_mode_forwards_what_could_be_established() {
    each("observe mode forwards what could be established", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(format!(
            "{}[widget]\nmode = \"observe\"\n",
            forms::routes(&[upstream.address])
        ));
        let spoofed = ["X-Bitrix24-Domain: evil.example", "X-Bitrix24-Lang: evil"];
        let query = "DOMAIN=Portal.bitrix24.com&DOMAIN=other.example&PROTOCOL=1";
        let response = carrier.ask(
            &gateway,
            &Request::form(&format!("/?{query}"), BODY).lines(spoofed),
        );
        assert_eq!(response.status, 200, "{}", shown(&response.body));
        let received = upstream.take_one();
        assert_eq!(shown(&received.query()), query);
        assert_eq!(shown(&received.body), BODY);
        for (name, value) in [
            ("X-Bitrix24-Domain", None),
            ("X-Bitrix24-Portal", None),
            ("X-Bitrix24-Lang", None),
            ("X-Bitrix24-Locale", None),
            ("X-Bitrix24-Protocol", Some("https")),
            ("X-Bitrix24-Member-Id", Some(MEMBER)),
            ("X-Bitrix24-Placement", Some("DEFAULT")),
            ("X-Bitrix24-Placement-Options-State", Some("object")),
        ] {
            assert_eq!(received.header(name).as_deref(), value, "{name}");
        }
        let metrics = gateway.metrics_after(1);
        assert_eq!(
            metrics.value(REQUESTS, &[("route", "widget"), ("outcome", "observed")]),
            1.0
        );
        assert_eq!(
            metrics.value(REJECTIONS, &[("reason", "ambiguous_field"), ("mode", "observe")]),
            1.0
        );
        assert_eq!(metrics.value(REJECTIONS, &[]), 1.0);
        let faults = "widget_gateway_field_faults_total";
        assert_eq!(
            metrics.value(faults, &[("field", "DOMAIN"), ("code", "duplicate")]),
            1.0
        );
        assert_eq!(
            metrics.value(faults, &[("field", "LANG"), ("code", "missing")]),
            1.0
        );
        let line = gateway.wait_log("would_reject", |line| {
            line["would_reject"] == json!(["ambiguous_field"])
        });
        assert_eq!(
            (&line["outcome"], &line["status"]),
            (&json!("observed"), &json!(200)),
            "{line}"
        );
        assert_eq!(
            (&line["member_id"], line.get("domain")),
            (&json!(MEMBER), None),
            "{line}"
        );
    });
}

#[test]
fn a_sound_call_in_observe_mode_is_simply_forwarded() {
    each("a sound call in observe mode is simply forwarded", |carrier| {
        let upstream = Upstream::start();
        let gateway = Gateway::on_every_carrier(format!(
            "{}[widget]\nmode = \"observe\"\n",
            forms::routes(&[upstream.address])
        ));
        assert_eq!(carrier.ask(&gateway, &of(MEMBER)).status, 200);
        let metrics = gateway.metrics_after(1);
        assert_eq!(
            metrics.value(REQUESTS, &[("route", "widget"), ("outcome", "forwarded")]),
            1.0
        );
        assert_eq!(metrics.value(REJECTIONS, &[]), 0.0);
    });
}

#[test]
fn observe_mode_still_enforces_method_type_size_and_framing() {
    each(
        "observe mode still enforces method type size and framing",
        |carrier| {
            let upstream = Upstream::start();
            let gateway = Gateway::on_every_carrier(format!(
                "{}[widget]\nmode = \"observe\"\n",
                forms::routes(&[upstream.address])
            ));
            let typed = |body| {
                Request::new("POST", TARGET)
                    .line("Content-Type: text/plain")
                    .body(body)
            };
            let big = Body::Part {
                length: 9_999_999,
                sent: Vec::new(),
            };
            for (asked, status) in [
                (Request::new("PUT", TARGET), 405),
                (typed(Body::Length(b"x".to_vec())), 415),
                (Request::call().body(big), 413),
                (Request::get("/a/../b"), 400),
            ] {
                assert_eq!(carrier.ask(&gateway, &asked).status, status, "{asked:?}");
            }
            upstream.expect_untouched();
        },
    );
}

#[test]
fn a_route_may_observe_while_the_others_enforce() {
    each("a route may observe while the others enforce", |carrier| {
        let upstream = Upstream::start();
        let trial = "[[routes]]\npath = \"/trial\"\nname = \"trial\"\nkind = \"widget\"\nmode = \"observe\"\nupstream = \"handlers\"\n";
        let gateway = Gateway::on_every_carrier(format!("{trial}{}", forms::routes(&[upstream.address])));
        assert_eq!(
            carrier
                .ask(&gateway, &Request::form(&format!("/trial?{QUERY}"), ""))
                .status,
            200
        );
        assert_eq!(
            carrier
                .ask(&gateway, &Request::form(&format!("/?{QUERY}"), ""))
                .status,
            422
        );
        let metrics = gateway.metrics_after(2);
        assert_eq!(
            metrics.value(REQUESTS, &[("route", "trial"), ("outcome", "observed")]),
            1.0
        );
        assert_eq!(
            metrics.value(REQUESTS, &[("route", "widget"), ("outcome", "rejected")]),
            1.0
        );
    });
}

/// One failing upstream: what the client gets and what is told.
fn fails(carrier: Carrier, gateway: &Gateway, status: u16, code: &str) {
    let mut conn = carrier.open(gateway);
    let response = conn.ask(&of(MEMBER));
    assert_eq!(response.status, status, "{code}: {}", shown(&response.body));
    assert_eq!(
        response.header("Content-Type"),
        Some("application/problem+json"),
        "{code}"
    );
    let problem = response.json();
    assert_eq!(problem["code"], code);
    let labels = [("route", "widget"), ("outcome", "upstream_error")];
    let metrics = gateway.metrics_after(1);
    for name in [REQUESTS, REJECTIONS] {
        assert_eq!(metrics.value(name, &[]), 1.0, "{code}: {name}");
    }
    assert_eq!(metrics.value(REQUESTS, &labels), 1.0, "{code}");
    let labels = [("route", "widget"), ("reason", code)];
    assert_eq!(metrics.value(REJECTIONS, &labels), 1.0, "{code}");
    let line = gateway.wait_log(code, |line| line["request_id"] == problem["request_id"]);
    assert_eq!(
        (&line["reason"], &line["status"]),
        (&json!(code), &json!(status)),
        "{line}"
    );
    assert_eq!(
        (&line["level"], &line["member_id"]),
        (&json!("error"), &json!(MEMBER)),
        "{line}"
    );
}

#[test]
fn no_server_to_connect_to_is_502() {
    each("no server to connect to is 502", |carrier| {
        let dead = DeadServer::new();
        let gateway = Gateway::on_every_carrier(forms::routes(&[dead.address()]));
        fails(carrier, &gateway, 502, "upstream_unavailable");
        let server = dead.address().to_string();
        gateway.metric_reaches(
            "widget_gateway_upstream_up",
            &[("upstream", "handlers"), ("server", &server)],
            0.0,
        );
    });
}

#[test]
fn garbage_from_the_upstream_is_502() {
    each("garbage from the upstream is 502", |carrier| {
        for answer in [
            &b"garbage\r\n\r\n"[..],
            b"HTTP/1.1 200 O",
            b"HTTP/1.1 2xx OK\r\n\r\n",
            b"\0\0\0\0\0\0\0\0\r\n\r\n",
        ] {
            let upstream = Upstream::replying(Reply::Raw(answer.to_vec().into()));
            let gateway = Gateway::on_every_carrier(forms::routes(&[upstream.address]));
            fails(carrier, &gateway, 502, "upstream_error");
            assert_eq!(
                upstream.take().len(),
                1,
                "a request that was sent is not sent again: {}",
                shown(answer)
            );
        }
    });
}

#[test]
fn an_upstream_that_closes_instead_of_answering_is_502() {
    each("an upstream that closes instead of answering is 502", |carrier| {
        let upstream = Upstream::replying(Reply::Close);
        let gateway = Gateway::on_every_carrier(forms::routes(&[upstream.address]));
        fails(carrier, &gateway, 502, "upstream_error");
        assert_eq!(upstream.take().len(), 1);
    });
}

#[test]
fn a_silent_upstream_is_504() {
    each("a silent upstream is 504", |carrier| {
        let gate = crate::common::upstream::Gate::default();
        let upstream = Upstream::replying(Reply::Held(gate.clone()));
        let gateway = Gateway::on_every_carrier(format!(
            "{}timeout = \"300ms\"\n",
            forms::routes(&[upstream.address])
        ));
        fails(carrier, &gateway, 504, "upstream_timeout");
        gate.open();
    });
}

#[test]
fn a_failed_connect_goes_to_the_next_server() {
    each("a failed connect goes to the next server", |carrier| {
        let (dead, upstream) = (DeadServer::new(), Upstream::start());
        let gateway = Gateway::on_every_carrier(forms::routes(&[dead.address(), upstream.address]));
        let mut conn = carrier.open(&gateway);
        for _ in 0..4 {
            let response = conn.ask(&of(MEMBER));
            assert_eq!(response.status, 200, "{}", shown(&response.body));
        }
        for received in upstream.take() {
            assert_eq!(shown(&received.body), BODY);
        }
        let metrics = gateway.metrics_after(4);
        assert_eq!(
            metrics.value(REQUESTS, &[("route", "widget"), ("outcome", "forwarded")]),
            4.0
        );
        assert!(
            metrics.value(
                "widget_gateway_upstream_retries_total",
                &[("upstream", "handlers")]
            ) >= 1.0
        );
        for (server, up) in [(dead.address(), 0.0), (upstream.address, 1.0)] {
            let labels = [("upstream", "handlers"), ("server", &server.to_string()[..])];
            assert_eq!(
                metrics.value("widget_gateway_upstream_up", &labels),
                up,
                "{server}"
            );
        }
    });
}

#[test]
fn servers_take_turns() {
    each("servers take turns", |carrier| {
        let servers = [Upstream::start(), Upstream::start(), Upstream::start()];
        let gateway = Gateway::on_every_carrier(forms::routes(&[
            servers[0].address,
            servers[1].address,
            servers[2].address,
        ]));
        let mut conn = carrier.open(&gateway);
        for _ in 0..9 {
            assert_eq!(conn.ask(&of(MEMBER)).status, 200);
        }
        let counts: Vec<_> = servers.iter().map(|server| server.take().len()).collect();
        assert_eq!(counts, [3, 3, 3]);
    });
}
