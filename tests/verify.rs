//! Who is calling: what becomes of a call whose sender is, is not, or may not be who he says, whatever carries it
//! and whatever the authorization server does.

use crate::common::carrier::{each, table};
use crate::common::forms::{self, BODY, MEMBER, OTHER_MEMBER, QUERY, SECRETS, TARGET};
use crate::common::oauth::{AuthServer, CLIENT_ID, Says, USER, certificate, info};
use crate::common::store::Redis;
use crate::common::upstream::Gate;
use crate::common::{Carrier, DeadServer, Gateway, PATIENCE, Request, Setup, Upstream, shown};
use serde_json::{Value, json};

const RESULTS: &str = "widget_gateway_verifications_total";
const FAILURES: &str = "widget_gateway_verification_failures_total";
const QUESTIONS: &str = "widget_gateway_verification_duration_seconds_count";
const REJECTIONS: &str = "widget_gateway_rejections_total";

const DOMAIN: &str = "portal.bitrix24.com";
/// The token of [`BODY`].
const TOKEN: &str = SECRETS[0];

/// A gateway that verifies, its handler, and who is asked.
struct Setting {
    upstream: Upstream,
    server: AuthServer,
    /// Its port stays dead for as long.
    _dead: DeadServer,
    gateway: Gateway,
}

impl Setting {
    /// With these keys of `[verify]` besides the method.
    fn with(keys: &str) -> Setting {
        let (upstream, server, dead) = (Upstream::start(), AuthServer::start(), DeadServer::new());
        // A busy machine is not what is tested.
        let patient = match keys.contains("timeout") {
            true => "",
            false => "timeout = \"15s\"\n",
        };
        let verify = format!(
            "[verify]\nmethod = \"app_info\"\nclient_id = \"{CLIENT_ID}\"\n\
             servers = [\"http://{}\", \"http://localhost:{}\"]\n{patient}{keys}\n\
             [widget]\nserver_endpoints = [\"127.0.0.1\", \"localhost\", \"oauth.bitrix.info\"]\n",
            server.address,
            dead.address().port()
        );
        let gateway = Gateway::on_every_carrier(routes(&upstream) + &verify);
        Setting {
            upstream,
            server,
            _dead: dead,
            gateway,
        }
    }
}

fn routes(upstream: &Upstream) -> String {
    let kind = "kind = \"widget\"\naccepts = [\"placement\", \"event\", \"robot\", \"own\"]";
    forms::routes(&[upstream.address]).replacen("kind = \"widget\"", kind, 1)
}

/// The genuine call with another token.
fn call(token: &str) -> Request {
    Request::form(TARGET, BODY.replace(TOKEN, token))
}

fn right() -> Says {
    Says::info(CLIENT_ID, MEMBER, DOMAIN)
}

/// What is sent, and what it comes to.
struct Row {
    what: &'static str,
    says: Option<Says>,
    request: Request,
    result: &'static str,
    cause: &'static str,
}

fn row(what: &'static str, says: Says, result: &'static str, cause: &'static str) -> Row {
    Row {
        what,
        says: Some(says),
        // Each row has a token of its own, so that none lives on what another one was told.
        request: call(&token_of(what)),
        result,
        cause,
    }
}

fn unasked(what: &'static str, request: Request, result: &'static str, cause: &'static str) -> Row {
    Row {
        what,
        says: None,
        request,
        result,
        cause,
    }
}

fn token_of(what: &str) -> String {
    let letters = what.chars().filter(char::is_ascii_alphanumeric);
    format!("secret{}", letters.collect::<String>())
}

fn rows() -> Vec<Row> {
    let raw = |text: &str| Says::Raw(text.as_bytes().to_vec());
    let status = |code| Says::Answer(code, json!({ "error": "INTERNAL_SERVER_ERROR" }).to_string());
    let chunk = format!("4000\r\n{}\r\n", " ".repeat(0x4000));
    let chunks = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunk.repeat(6)
    );
    let past = info(CLIENT_ID, MEMBER, DOMAIN, "2020-01-01T00:00:00+00:00");
    let auth = |more: &str| format!("auth[domain]={DOMAIN}&auth[member_id]={MEMBER}{more}");
    let own = format!("x=1&DOMAIN={DOMAIN}&member_id={MEMBER}");
    let through = |what: &'static str, body: String| Row {
        request: Request::form("/app", body),
        ..row(what, right(), "yes", "")
    };
    vec![
        row("right", right(), "yes", ""),
        row(
            "right, at another port and in capitals",
            Says::info(CLIENT_ID, MEMBER, "Portal.Bitrix24.com:8443"),
            "yes",
            "",
        ),
        through(
            "an event's user",
            format!(
                "event=ONAPPTEST&{}",
                auth(&format!("&auth[access_token]={}", token_of("an event's user")))
            ),
        ),
        through(
            "a robot's",
            format!(
                "event_token=x&{}",
                auth(&format!("&auth[access_token]={}", token_of("a robot's")))
            ),
        ),
        through(
            "the page's own",
            format!("{own}&AUTH_ID={}", token_of("the page's own")),
        ),
        Row {
            request: Request::form(
                TARGET,
                BODY.replace(TOKEN, &token_of("a server that is not ours"))
                    + "&SERVER_ENDPOINT=https://oauth.bitrix.info/rest/",
            ),
            ..row("a server that is not ours", right(), "yes", "")
        },
        row(
            "wrong member",
            Says::info(CLIENT_ID, OTHER_MEMBER, DOMAIN),
            "no",
            "member_id",
        ),
        row(
            "wrong client",
            Says::info("app.other", MEMBER, DOMAIN),
            "no",
            "client_id",
        ),
        row(
            "wrong address",
            Says::info(CLIENT_ID, MEMBER, "evil.example"),
            "no",
            "domain",
        ),
        row("expired", Says::expired(), "no", "bad_token"),
        row("expired by its date", Says::Answer(200, past), "no", "bad_token"),
        row(
            "invalid with 400",
            Says::Answer(400, json!({ "error": "invalid_token" }).to_string()),
            "no",
            "bad_token",
        ),
        unasked(
            "no token",
            Request::form(TARGET, BODY.replace(TOKEN, "")),
            "no",
            "no_token",
        ),
        unasked(
            "a robot's without",
            Request::form("/app", format!("event_token=x&{}", auth(""))),
            "no",
            "no_token",
        ),
        unasked("far too long", call(&"a".repeat(2000)), "no", "bad_token"),
        unasked(
            "an event that no user caused",
            Request::form(
                "/app",
                format!("event=ONAPPUNINSTALL&{}", auth("&auth[application_token]=x")),
            ),
            "unknown",
            "nothing_shown",
        ),
        unasked(
            "the page's own without",
            Request::form("/app", own),
            "unknown",
            "no_claim",
        ),
        Row {
            request: Request::form("/app", format!("x=1&AUTH_ID={}", token_of("of any portal"))),
            ..row("of any portal", right(), "unknown", "no_claim")
        },
        unasked(
            "two tokens",
            Request::form(TARGET, format!("{BODY}&auth[access_token]=another")),
            "unknown",
            "unsound",
        ),
        row("500", status(500), "unknown", "status"),
        row("403 of something else", status(403), "unknown", "status"),
        row(
            "too many",
            Says::Answer(429, "{}".to_owned()),
            "unknown",
            "status",
        ),
        row(
            "a redirect",
            raw(
                "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/rest/app.info\r\nContent-Length: 0\r\n\r\n",
            ),
            "unknown",
            "redirect",
        ),
        row(
            "huge, announced",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n{"),
            "unknown",
            "too_large",
        ),
        row("huge, in chunks", raw(&chunks), "unknown", "too_large"),
        row(
            "garbage",
            Says::Answer(200, "<html>welcome</html>".to_owned()),
            "unknown",
            "bad_answer",
        ),
        row("no HTTP", raw("220 smtp ready\r\n\r\n"), "unknown", "unreachable"),
        row(
            "cut",
            raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"),
            "unknown",
            "unreachable",
        ),
        row("slow", Says::Nothing, "unknown", "timeout"),
        unasked(
            "down",
            Request::form(
                TARGET,
                BODY.replace(TOKEN, "secretdown") + "&SERVER_ENDPOINT=https://localhost/rest/",
            ),
            "unknown",
            "unreachable",
        ),
    ]
}

/// Runs every row, where who is no and who is unknown are refused or not.
fn run(what: &str, keys: &str, refused: &[&str]) {
    let rows = rows();
    let ran = table(
        what,
        &rows,
        |row| row.what,
        |_, _| true,
        |_| Setting::with(&format!("timeout = \"4s\"\n{keys}")),
        |carrier, setting, row| {
            let Setting {
                upstream,
                server,
                gateway,
                _dead: _,
            } = setting;
            let token = token_of(row.what);
            if let Some(says) = &row.says {
                server.says(&token, says.clone());
            }
            let before = gateway.metrics();
            let answer = carrier.ask(gateway, &row.request);
            // The page's own claims nothing.
            let is_refused = refused.contains(&row.result) && row.cause != "no_claim";
            let received = match is_refused {
                true => {
                    assert_eq!(answer.status, 403, "{}", shown(&answer.body));
                    let problem = answer.json();
                    assert_eq!(problem["code"], "caller_not_verified");
                    upstream.expect_untouched();
                    None
                }
                false => {
                    assert_eq!(answer.status, 200, "{}", shown(&answer.body));
                    Some(upstream.take_one())
                }
            };
            if let Some(received) = received {
                let user = (row.result == "yes").then(|| USER.to_string());
                assert_eq!(
                    received.header("X-Bitrix24-Verified").as_deref(),
                    Some(row.result)
                );
                assert_eq!(received.header("X-Bitrix24-User-Id"), user);
            }
            assert_eq!(server.asked_about(&token), usize::from(row.says.is_some()));
            let one_more = |name: &str, labels: &[(&str, &str)]| {
                gateway.metric_reaches(name, labels, before.value(name, labels) + 1.0);
            };
            one_more(RESULTS, &[("result", row.result)]);
            if !row.cause.is_empty() {
                one_more(FAILURES, &[("cause", row.cause)]);
            }
            if row.says.is_some() || row.what == "down" {
                one_more(QUESTIONS, &[]);
            }
            let mode = if is_refused { "enforce" } else { "observe" };
            if is_refused || (row.result == "no") {
                one_more(REJECTIONS, &[("reason", "caller_not_verified"), ("mode", mode)]);
            }
            no_secret(gateway, &token);
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
}

/// Neither the token nor those of the genuine call stand anywhere.
fn no_secret(gateway: &Gateway, token: &str) {
    let mut told = gateway.raw_logs();
    for path in ["/metrics", "/-/status", "/-/observe", "/-/config", "/-/top"] {
        told.push(gateway.ask_admin("GET", path).text().to_owned());
    }
    for secret in [token, "secretdown"].iter().chain(&SECRETS) {
        let found = told.iter().find(|text| text.contains(secret));
        assert!(found.is_none(), "{secret} stands in {found:?}");
    }
}

#[test]
fn whoever_is_not_who_he_says_is_refused() {
    run("enforced, open", "mode = \"enforce\"", &["no"]);
}

#[test]
fn whom_nobody_knows_is_refused_where_errors_close() {
    run(
        "enforced, closed",
        "mode = \"enforce\"\non_error = \"closed\"",
        &["no", "unknown"],
    );
}

#[test]
fn observe_tells_and_refuses_nobody() {
    run("observed", "", &[]);
    let setting = Setting::with("");
    setting
        .server
        .says(TOKEN, Says::info(CLIENT_ID, OTHER_MEMBER, DOMAIN));
    assert_eq!(
        Carrier::Http11.ask(&setting.gateway, &Request::call()).status,
        200
    );
    let line = setting.gateway.wait_log("the call", |line| {
        line["would_reject"] == json!(["caller_not_verified"])
    });
    assert_eq!(
        (&line["verified"], &line["unverified"]),
        (&json!("no"), &json!("member_id"))
    );
    let told = setting.gateway.ask_admin("GET", "/-/observe").json();
    let row = &told["would_refuse"][0];
    assert_eq!(
        (&row["reason"], &row["rule"], &row["requests"]),
        (
            &json!("caller_not_verified"),
            &json!("caller member_id"),
            &json!(1)
        )
    );
}

#[test]
fn the_route_decides_whether_it_is_enforced() {
    let upstream = Upstream::start();
    let server = AuthServer::start();
    server.says(TOKEN, Says::expired());
    let verify = format!(
        "[verify]\nmethod = \"app_info\"\nclient_id = \"a\"\nmode = \"enforce\"\ntimeout = \"15s\"\nservers = [\"http://{}\"]\n",
        server.address
    );
    let gateway = Gateway::start(routes(&upstream) + &verify);
    let status = || Carrier::Http11.ask(&gateway, &Request::call()).status;
    assert_eq!(status(), 403);
    let observed = routes(&upstream).replacen("kind", "mode = \"observe\"\nkind", 1);
    gateway.rewrite(&(observed + &verify));
    assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 200);
    assert_eq!(status(), 200);
    // A fault that was let through: nobody is asked.
    let faulty = Request::form(TARGET, BODY.replace(TOKEN, "other") + "&LANG=de");
    upstream.take();
    assert_eq!(Carrier::Http11.ask(&gateway, &faulty).status, 200);
    assert_eq!(
        upstream.take_one().header("X-Bitrix24-Verified").as_deref(),
        Some("unknown")
    );
    // What was said before the reload is kept: only who is asked has a memory.
    assert_eq!(server.asked(), [TOKEN]);
}

#[test]
fn a_hundred_calls_with_one_token_are_one_question() {
    // One after the other: each is as much as a small machine holds.
    for carrier in [Carrier::Http11, Carrier::H2c] {
        let setting = Setting::with("mode = \"enforce\"");
        let gate = Gate::default();
        setting
            .server
            .says(TOKEN, Says::Held(gate.clone(), Box::new(right())));
        let gateway = &setting.gateway;
        std::thread::scope(|scope| {
            let calls: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| carrier.ask(gateway, &Request::call()).status))
                .collect();
            gateway.metric_reaches("widget_gateway_requests_in_flight", &[], 100.0);
            gate.open();
            let statuses: Vec<_> = calls.into_iter().map(|call| call.join().unwrap()).collect();
            assert_eq!(statuses, [200; 100]);
        });
        assert_eq!(setting.server.asked(), [TOKEN]);
        gateway.metric_reaches(RESULTS, &[("result", "yes")], 100.0);
        gateway.metric_reaches(QUESTIONS, &[], 1.0);
    }
}

#[test]
fn an_answer_is_kept_for_as_long_as_it_is_good() {
    let setting = Setting::with("mode = \"enforce\"\ncache = \"1h\"");
    let Setting { server, gateway, .. } = &setting;
    let ask = |request: &Request, times: usize| -> Vec<u16> {
        (0..times)
            .map(|_| Carrier::Http11.ask(gateway, request).status)
            .collect()
    };
    // For the portal that it is of; another one is not asked about again.
    server.says("good", right());
    assert_eq!(ask(&call("good"), 3), [200; 3]);
    let other = BODY.replace(TOKEN, "good").replace(MEMBER, OTHER_MEMBER);
    assert_eq!(ask(&Request::form(TARGET, other), 3), [403; 3]);
    assert_eq!(server.asked_about("good"), 1);
    // No longer than it is good, as the call says.
    server.says("ending", right());
    let ending = BODY
        .replace(TOKEN, "ending")
        .replace("AUTH_EXPIRES=3600", "AUTH_EXPIRES=0");
    assert_eq!(ask(&Request::form(TARGET, ending), 3), [200; 3]);
    assert_eq!(server.asked_about("ending"), 3);
    // What is none stays none for a while, a failure does not.
    server.says("bad", Says::expired());
    assert_eq!(ask(&call("bad"), 3), [403; 3]);
    assert_eq!(server.asked_about("bad"), 1);
    server.says("failing", Says::Answer(503, String::new()));
    assert_eq!(ask(&call("failing"), 3), [200; 3]);
    assert_eq!(server.asked_about("failing"), 3);
    server.says("failing", right());
    assert_eq!(ask(&call("failing"), 2), [200; 2]);
    assert_eq!(server.asked_about("failing"), 4);
}

#[test]
fn a_server_that_is_silent_is_left_alone() {
    let setting = Setting::with("timeout = \"250ms\"");
    let Setting { server, gateway, .. } = &setting;
    let told = |n: usize| {
        let token = format!("silent{n}");
        server.says(&token, Says::Nothing);
        assert_eq!(Carrier::Http11.ask(gateway, &call(&token)).status, 200);
    };
    let paused = |metrics: crate::common::Metrics| metrics.value(FAILURES, &[("cause", "paused")]);
    let mut n = 0;
    while paused(gateway.metrics()) == 0.0 {
        assert!(n < 1000, "it is asked for ever");
        told(n);
        n += 1;
    }
    assert!(n > 10, "it was asked {n} times");
    assert!(server.asked().len() < n);
    // Once it answers, it is asked again.
    server.says("good", right());
    let deadline = std::time::Instant::now() + PATIENCE;
    while gateway.metrics().value(RESULTS, &[("result", "yes")]) == 0.0 {
        assert!(std::time::Instant::now() < deadline, "it is never asked again");
        assert_eq!(Carrier::Http11.ask(gateway, &call("good")).status, 200);
    }
}

#[test]
fn a_client_that_leaves_takes_nobodys_answer_away() {
    each("a client that leaves takes nobody's answer away", |carrier| {
        let setting = Setting::with("mode = \"enforce\"");
        let Setting { server, gateway, .. } = &setting;
        let gate = Gate::default();
        server.says(TOKEN, Says::Held(gate.clone(), Box::new(right())));
        let gone = carrier.send(gateway, &Request::call());
        gateway.metric_reaches("widget_gateway_requests_in_flight", &[], 1.0);
        drop(gone);
        gateway.wait_log("the one that left", |line| line["outcome"] == "client_closed");
        gate.open();
        gateway.metric_reaches(QUESTIONS, &[], 1.0);
        assert_eq!(carrier.ask(gateway, &Request::call()).status, 200);
        assert_eq!(server.asked(), [TOKEN]);
    });
}

#[test]
fn a_server_is_asked_by_tls_and_its_certificate_counts() {
    let upstream = Upstream::start();
    let server = AuthServer::start_tls();
    server.says(TOKEN, right());
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("roots.pem");
    let stranger = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let verify = |keys: &str| {
        format!(
            "{}[verify]\nmethod = \"app_info\"\nclient_id = \"{CLIENT_ID}\"\ntimeout = \"15s\"\n\
             servers = [\"https://localhost:{}\"]\n{keys}\n",
            routes(&upstream),
            server.address.port()
        )
    };
    let verified = |gateway: &Gateway| {
        assert_eq!(Carrier::Http11.ask(gateway, &Request::call()).status, 200);
        upstream.take_one().header("X-Bitrix24-Verified")
    };
    std::fs::write(&ca, stranger.cert.pem()).unwrap();
    let with_ca = format!("ca = \"{}\"", ca.display());
    let gateway = Gateway::with(Setup::of(verify(&with_ca)));
    assert_eq!(verified(&gateway).as_deref(), Some("unknown"));
    assert_eq!(server.asked(), [""; 0], "the token went to nobody");
    gateway.metric_reaches(FAILURES, &[("cause", "unreachable")], 1.0);
    // The file's content is hot.
    std::fs::write(&ca, certificate()).unwrap();
    assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 200);
    assert_eq!(verified(&gateway).as_deref(), Some("yes"));
    // The system's do not know it.
    gateway.rewrite(&verify(""));
    assert_eq!(gateway.ask_admin("POST", "/-/reload").status, 200);
    assert_eq!(verified(&gateway).as_deref(), Some("unknown"));
    assert_eq!(server.asked(), [TOKEN]);
}

#[test]
fn an_application_token_is_pinned_by_a_file() {
    each("an application token is pinned by a file", |carrier| {
        let upstream = Upstream::start();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tokens");
        std::fs::write(&file, format!("# portals\n{MEMBER} {}\n", SECRETS[2])).unwrap();
        let verify = format!(
            "[verify]\nmethod = \"application_token\"\nmode = \"enforce\"\ntokens_file = \"{}\"\n",
            file.display()
        );
        let gateway = Gateway::on_every_carrier(routes(&upstream) + &verify);
        let auth = |token: &str| {
            format!(
                "event=ONAPPTEST&auth[domain]={DOMAIN}&auth[member_id]={MEMBER}&auth[application_token]={token}"
            )
        };
        let ask = |request: Request| {
            let answer = carrier.ask(&gateway, &request);
            let verified = match answer.status {
                200 => upstream.take_one().header("X-Bitrix24-Verified"),
                status => Some(status.to_string()),
            };
            verified.unwrap_or_default()
        };
        let with = |from: &str, to: &str| Request::form(TARGET, BODY.replace(from, to));
        for (request, want) in [
            (Request::call(), "yes"),
            (with(SECRETS[2], "another"), "403"),
            (with(SECRETS[2], ""), "403"),
            (with(MEMBER, OTHER_MEMBER), "unknown"),
            (Request::form("/app", auth(SECRETS[2])), "yes"),
            (Request::form("/app", auth("another")), "403"),
            (Request::form("/app", "x=1"), "unknown"),
        ] {
            assert_eq!(ask(request.clone()), want, "{request:?}");
        }
        let metrics = gateway.metrics_after(7);
        let results = ["yes", "no", "unknown"].map(|result| metrics.value(RESULTS, &[("result", result)]));
        assert_eq!(results, [2.0, 3.0, 2.0]);
        assert_eq!(metrics.value(QUESTIONS, &[]), 0.0);
        // The file is hot: while the token is exchanged both are good.
        std::fs::write(
            &file,
            format!("{MEMBER} another\n{MEMBER} {}\n{OTHER_MEMBER} x\n", SECRETS[2]),
        )
        .unwrap();
        assert_eq!(gateway.ask_admin("POST", "/-/reload").json()["result"], "applied");
        assert_eq!(ask(Request::call()), "yes");
        assert_eq!(ask(with(SECRETS[2], "another")), "yes");
        assert_eq!(ask(with(MEMBER, OTHER_MEMBER)), "403");
        // One that can not be read changes nothing, and shows nothing.
        std::fs::write(&file, format!("{MEMBER} three words\n")).unwrap();
        let refused = gateway.ask_admin("POST", "/-/reload");
        assert_eq!(refused.status, 422);
        assert!(!refused.text().contains("three"), "{}", refused.text());
        assert_eq!(ask(Request::call()), "yes");
        let config = gateway.ask_admin("GET", "/-/config").json();
        assert_eq!(config["settings"]["verify"]["portals"], 2);
        no_secret(&gateway, "three");
    });
}

#[test]
fn without_the_table_nobody_is_verified() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(routes(&upstream));
    let forged = Request::call()
        .line("X-Bitrix24-Verified: yes")
        .line("X-Bitrix24-User-Id: 1");
    assert_eq!(Carrier::Http11.ask(&gateway, &forged).status, 200);
    let received = upstream.take_one();
    assert_eq!(received.header("X-Bitrix24-Verified"), None);
    assert_eq!(received.header("X-Bitrix24-User-Id"), None);
    let metrics = gateway.metrics_after(1);
    for result in ["yes", "no", "unknown"] {
        assert_eq!(metrics.value(RESULTS, &[("result", result)]), 0.0);
    }
    assert_eq!(
        gateway.ask_admin("GET", "/-/config").json()["settings"]["verify"],
        Value::Null
    );
}

#[test]
fn the_query_of_a_call_does_not_matter_to_who_calls() {
    // All of it in the query, and the token escaped as a form escapes it.
    let setting = Setting::with("mode = \"enforce\"");
    setting.server.says("a%2Bb%26c%3D", right());
    let body = BODY.replace(TOKEN, "a%2Bb%26c%3D");
    let request = Request::form(&format!("/app?{QUERY}&{body}"), "");
    assert_eq!(Carrier::Http11.ask(&setting.gateway, &request).status, 200);
    assert_eq!(setting.server.asked(), ["a%2Bb%26c%3D"]);
}

#[test]
fn invented_ids_spend_nothing_of_a_verified_portals_quota() {
    each(
        "invented ids spend nothing of a verified portal's quota",
        |carrier| {
            classes_are_apart(carrier, "");
        },
    );
}

/// Replicas that share the limits keep them apart too.
#[test]
fn invented_ids_spend_nothing_of_it_where_limits_are_shared_either() {
    each("invented ids and a shared quota", |carrier| {
        let redis = Redis::start(&[]);
        let shared = format!(
            "[limits.shared]\nurl = \"{}\"\nlease = 1\ntimeout = \"1s\"\n",
            redis.url()
        );
        classes_are_apart(carrier, &shared);
    });
}

fn classes_are_apart(carrier: Carrier, shared: &str) {
    // Observed, so that those that are not verified go on, and on to the limit.
    let setting = Setting::with(&format!(
        "[limits.member]\nrate = \"1/h\"\nburst = 3\n{shared}\
         [[limits.overrides]]\nrate = \"1/h\"\nburst = 2\nmember_id = \"{OTHER_MEMBER}\""
    ));
    let Setting { server, gateway, .. } = &setting;
    server.says(TOKEN, right());
    server.says("others", Says::info(CLIENT_ID, OTHER_MEMBER, DOMAIN));
    let ask = |token: &str, member: &str| -> Vec<u16> {
        let body = BODY.replace(TOKEN, token).replace(MEMBER, member);
        let request = Request::form(TARGET, body);
        (0..4).map(|_| carrier.ask(gateway, &request).status).collect()
    };
    assert_eq!(ask("forged", MEMBER), [200, 200, 200, 429]);
    assert_eq!(ask("", MEMBER), [429; 4]);
    assert_eq!(ask(TOKEN, MEMBER), [200, 200, 200, 429]);
    // Its own quota is the same, verified or not.
    assert_eq!(ask("forged", OTHER_MEMBER), [200, 200, 429, 429]);
    assert_eq!(ask("others", OTHER_MEMBER), [200, 200, 429, 429]);
    // An operator sees both, and gives both back.
    let path = format!("/-/limits/{MEMBER}");
    let told = |method: &str, path: &str| {
        let answer = gateway.ask_admin(method, path).json();
        let row = |row: &Value| (row["caller"].clone(), row["remaining"].clone());
        answer["policies"]
            .as_array()
            .unwrap()
            .iter()
            .map(row)
            .collect::<Vec<_>>()
    };
    let rows = |remaining: u64| {
        let unproven = (json!("unproven"), json!(remaining));
        vec![(Value::Null, json!(remaining)), unproven]
    };
    assert_eq!(told("GET", &path), rows(0));
    assert_eq!(told("DELETE", &path), rows(3));
    assert_eq!(told("GET", &path), rows(3));
    assert_eq!(ask("forged", MEMBER), [200, 200, 200, 429]);
    assert_eq!(ask(TOKEN, MEMBER), [200, 200, 200, 429]);
}
