//! The admin listener from outside: who may do what, and what every endpoint answers.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::common::{Conn, Gateway, Response, Setup, Upstream, forms};
use serde_json::{Value, json};

const LIMITS: &str = "[limits.member]\nrate = \"1/h\"\nburst = 3\n[[limits.overrides]]\n\
    member_id = \"b81c0d9e7f6a45321908fedcba765432\"\nrate = \"2/m\"\nburst = 5\n";
const GETS: [&str; 8] = [
    "/",
    "/metrics",
    "/-/healthy",
    "/-/ready",
    "/-/status",
    "/-/config",
    "/-/top",
    "/-/limits/3f7a90c1d2e45b68a0719cbe8d243f56",
];

fn gateway(upstream: &Upstream) -> Gateway {
    Gateway::start(format!("{}{LIMITS}", forms::routes(&[upstream.address])))
}

/// One request to the admin listener with exactly these header lines.
pub fn ask(address: SocketAddr, method: &str, path: &str, headers: &[&str]) -> Response {
    let mut conn = Conn::open(address);
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    conn.send(format!(
        "{method} {path} HTTP/1.1\r\n{lines}Connection: close\r\n\r\n"
    ));
    let answer = conn.response_to(method);
    assert!(
        answer
            .headers
            .iter()
            .all(|(name, _)| !name.to_ascii_lowercase().starts_with("access-control-")),
        "no CORS: {:?}",
        answer.headers
    );
    answer
}

fn code(answer: &Response) -> Value {
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{}",
        answer.text()
    );
    let problem = answer.json();
    assert_eq!(problem["status"], answer.status);
    problem["code"].clone()
}

fn get(gateway: &Gateway, path: &str) -> Value {
    let answer = gateway.ask_admin("GET", path);
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json")),
        "{path}"
    );
    answer.json()
}

fn configuration_file(gateway: &Gateway) -> PathBuf {
    get(gateway, "/-/config")["file"]
        .as_str()
        .expect("the file")
        .into()
}

/// An address of this machine that is not loopback; no packet is sent to learn it.
pub fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket
        .connect("192.0.2.1:9")
        .expect("a network interface besides loopback");
    socket.local_addr().unwrap().ip()
}

#[test]
fn every_endpoint_answers_get_and_head_alike_and_refuses_other_methods() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let host = format!("Host: {}", gateway.admin());
    for path in GETS {
        let (whole, head) = (
            ask(gateway.admin(), "GET", path, &[&host]),
            ask(gateway.admin(), "HEAD", path, &[&host]),
        );
        assert_eq!((whole.status, head.status), (200, 200), "{path}");
        assert_eq!(
            whole.header("content-length").unwrap().parse(),
            Ok(whole.body.len()),
            "{path}"
        );
        assert_eq!(
            whole.header("content-type"),
            head.header("content-type"),
            "{path}"
        );
        assert_eq!(whole.header("cache-control"), Some("no-store"), "{path}");
        assert_eq!(whole.header("x-content-type-options"), Some("nosniff"), "{path}");
        for method in ["POST", "PUT", "OPTIONS", "DELETE"] {
            if path.starts_with("/-/limits/") && method == "DELETE" {
                continue;
            }
            let answer = ask(gateway.admin(), method, path, &[&host, "Content-Length: 0"]);
            assert_eq!(code(&answer), "method_not_allowed", "{method} {path}");
            assert!(
                answer.header("allow").unwrap().starts_with("GET, HEAD"),
                "{method} {path}"
            );
        }
    }
    for path in [
        "/-/",
        "/x",
        "/-/top/",
        "/metrics/x",
        "//",
        "/-/limits",
        "/favicon.ico",
    ] {
        assert_eq!(
            code(&ask(gateway.admin(), "GET", path, &[&host])),
            "not_found",
            "{path}"
        );
    }
    let reload = ask(gateway.admin(), "GET", "/-/reload", &[&host]);
    assert_eq!(
        (code(&reload), reload.header("allow")),
        (json!("method_not_allowed"), Some("POST"))
    );
    let status = get(&gateway, "/-/status");
    assert_eq!(
        status["configuration"]["reloads"],
        json!([]),
        "no GET has reloaded"
    );
    upstream.expect_untouched();
}

#[test]
fn only_our_host_names_are_answered() {
    let upstream = Upstream::start();
    let rest = forms::routes(&[upstream.address]);
    let gateway = Gateway::with(Setup::of(rest).server("admin_hosts = [\"gateway.internal\"]\n"));
    let port = gateway.admin().port();
    for (host, allowed) in [
        ("127.0.0.1", true),
        ("localhost", true),
        ("[::1]", true),
        ("GATEWAY.internal", true),
        ("rebound.example", false),
        ("127.0.0.1.rebound.example", false),
        ("localhost.rebound.example", false),
    ] {
        for host in [format!("Host: {host}"), format!("Host: {host}:{port}")] {
            for path in GETS {
                let answer = ask(gateway.admin(), "GET", path, &[&host]);
                match allowed {
                    true => assert_eq!(answer.status, 200, "{host} {path}"),
                    false => assert_eq!(code(&answer), "host_not_allowed", "{host} {path}"),
                }
            }
        }
    }
    let foreign = ask(
        gateway.admin(),
        "GET",
        "http://rebound.example/-/config",
        &["Host: 127.0.0.1"],
    );
    assert!(matches!(foreign.status, 400 | 403), "{}", foreign.status);
    let twice = ["Host: 127.0.0.1", "Host: rebound.example"];
    assert_ne!(ask(gateway.admin(), "GET", "/-/config", &twice).status, 200);
}

#[test]
fn cross_site_requests_change_nothing() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let host = format!("Host: {}", gateway.admin());
    let own = format!("Origin: http://{}", gateway.admin());
    let limits = format!("/-/limits/{}", forms::MEMBER);
    for (method, path) in [("POST", "/-/reload"), ("DELETE", limits.as_str())] {
        for line in [
            "Origin: http://evil.example",
            "Origin: null",
            "Origin: http://127.0.0.1",
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
        ] {
            let answer = ask(gateway.admin(), method, path, &[&host, line]);
            assert_eq!(
                (answer.status, code(&answer)),
                (403, json!("cross_site")),
                "{line}"
            );
        }
        for lines in [
            vec![],
            vec![own.as_str(), "Sec-Fetch-Site: same-origin"],
            vec!["Sec-Fetch-Site: none"],
        ] {
            let lines: Vec<&str> = [host.as_str()].into_iter().chain(lines).collect();
            assert_eq!(
                ask(gateway.admin(), method, path, &lines).status,
                200,
                "{lines:?}"
            );
        }
    }
    let reloads = get(&gateway, "/-/status")["configuration"]["reloads"]
        .as_array()
        .unwrap()
        .len();
    assert_eq!(reloads, 3, "only those that were allowed");
}

#[test]
fn peers_outside_loopback_need_the_network_and_for_writes_the_token() {
    let upstream = Upstream::start();
    let own = own_address();
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "a-secret-of-sufficient-length\n").unwrap();
    let setup = Setup::of(format!("{}{LIMITS}", forms::routes(&[upstream.address]))).admin("0.0.0.0:0");

    let closed = Gateway::with(setup.clone());
    let from_outside = SocketAddr::new(own, closed.admin().port());
    let host = format!("Host: {from_outside}");
    for path in GETS.into_iter().chain(["/nothing"]) {
        let answer = ask(from_outside, "GET", path, &[&host]);
        assert_eq!(
            (answer.status, code(&answer)),
            (403, json!("peer_not_allowed")),
            "{path}"
        );
    }
    assert_eq!(
        code(&ask(from_outside, "POST", "/-/reload", &[&host])),
        "peer_not_allowed"
    );

    let server = format!(
        "admin_allow = [\"{own}\"]\nadmin_token_file = \"{}\"\n",
        token.display()
    );
    let open = Gateway::with(setup.clone().server(&server));
    let from_outside = SocketAddr::new(own, open.admin().port());
    let from_inside = SocketAddr::new([127, 0, 0, 1].into(), open.admin().port());
    let host = format!("Host: {from_outside}");
    let limits = format!("/-/limits/{}", forms::MEMBER);
    for path in GETS {
        assert_eq!(ask(from_outside, "GET", path, &[&host]).status, 200, "{path}");
    }
    for (method, path) in [("POST", "/-/reload"), ("DELETE", limits.as_str())] {
        for wrong in [
            "X-Nothing: x",
            "Authorization: Bearer a-secret-of-sufficient-lengtH",
            "Authorization: Bearer a-secret-of-sufficient-length-",
            "Authorization: Bearer a-secret",
            "Authorization: Bearer",
            "Authorization: Basic a-secret-of-sufficient-length",
        ] {
            let answer = ask(from_outside, method, path, &[&host, wrong]);
            assert_eq!(
                (answer.status, code(&answer)),
                (401, json!("token_required")),
                "{wrong}"
            );
            assert!(answer.header("www-authenticate").unwrap().starts_with("Bearer"));
        }
        let right = "Authorization: Bearer a-secret-of-sufficient-length";
        assert_eq!(ask(from_outside, method, path, &[&host, right]).status, 200);
        let cross_site = [host.as_str(), right, "Origin: http://evil.example"];
        assert_eq!(code(&ask(from_outside, method, path, &cross_site)), "cross_site");
        assert_eq!(
            ask(from_inside, method, path, &["Host: localhost"]).status,
            200,
            "loopback needs no token"
        );
    }
    let config = ask(from_outside, "GET", "/-/config", &[&host]);
    assert_eq!(
        config.json()["settings"]["server"]["admin_token_file"],
        token.to_str().unwrap()
    );
    for path in GETS {
        let answer = ask(from_outside, "GET", path, &[&host]);
        assert!(!answer.text().contains("a-secret"), "{path} tells the token");
    }
    for line in open.raw_logs() {
        assert!(!line.contains("a-secret"), "{line}");
    }

    let without = Gateway::with(setup.server(&format!("admin_allow = [\"{own}\"]\n")));
    let from_outside = SocketAddr::new(own, without.admin().port());
    for line in [
        "X-Nothing: x",
        "Authorization: Bearer ",
        "Authorization: Bearer x",
    ] {
        let answer = ask(
            from_outside,
            "POST",
            "/-/reload",
            &[&format!("Host: {from_outside}"), line],
        );
        assert_eq!(
            code(&answer),
            "token_required",
            "no token is configured, so none is right"
        );
    }
}

#[test]
fn the_limit_of_a_member_is_told_and_reset() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let path = format!("/-/limits/{}", forms::MEMBER);
    let fresh = json!({ "key": forms::MEMBER, "policies": [{
        "policy": "member", "match": null, "mode": "enforce", "override": false,
        "quota": { "rate": 1, "per_seconds": 3600, "burst": 3 }, "remaining": 3, "full_in": 0.0,
    }] });
    assert_eq!(get(&gateway, &path), fresh);
    for _ in 0..3 {
        assert_eq!(
            gateway.ask(forms::post(forms::TARGET, &[], forms::BODY)).status,
            200
        );
    }
    let used = get(&gateway, &path)["policies"][0].clone();
    assert_eq!(used["remaining"], 0);
    let full_in = used["full_in"].as_f64().unwrap();
    assert!(full_in > 2.9 * 3600.0 && full_in <= 3.0 * 3600.0, "{full_in}");
    assert_eq!(
        gateway.ask(forms::post(forms::TARGET, &[], forms::BODY)).status,
        429
    );

    let other = get(&gateway, &format!("/-/limits/{}", forms::OTHER_MEMBER))["policies"][0].clone();
    assert_eq!(
        (
            &other["override"],
            &other["remaining"],
            &other["quota"]["per_seconds"]
        ),
        (&json!(true), &json!(5), &json!(60))
    );

    let reset = gateway.ask_admin("DELETE", &path).json();
    assert_eq!(
        (&reset["reset"], &reset["policies"]),
        (&json!(true), &fresh["policies"])
    );
    assert_eq!(gateway.ask_admin("DELETE", &path).json()["reset"], false);
    assert_eq!(
        gateway.ask(forms::post(forms::TARGET, &[], forms::BODY)).status,
        200
    );

    for bad in [
        "",
        "x",
        "3F7A90C1D2E45B68A0719CBE8D243F56",
        "3f7a90c1d2e45b68a0719cbe8d243f56/",
        "%33f7a90c1d2e45b68a0719cbe8d243f5",
    ] {
        for method in ["GET", "DELETE"] {
            let answer = gateway.ask_admin(method, &format!("/-/limits/{bad}"));
            assert_eq!((answer.status, code(&answer)), (404, json!("no_key")), "{bad:?}");
        }
    }
    let unlimited = Gateway::start(forms::routes(&[upstream.address]));
    assert_eq!(
        get(&unlimited, &path),
        json!({ "key": forms::MEMBER, "policies": [] })
    );
}

#[test]
fn top_ranks_the_busiest_and_the_most_limited() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let other = forms::BODY.replace(forms::MEMBER, forms::OTHER_MEMBER);
    for _ in 0..4 {
        gateway.ask(forms::post(forms::TARGET, &[], forms::BODY));
    }
    gateway.ask(forms::post(
        &forms::TARGET.replace("portal", "OTHER"),
        &[],
        &other,
    ));
    gateway.ask(forms::post("/app", &[], "member_id=nobody"));
    gateway.metric_reaches("widget_gateway_requests_total", &[], 6.0);
    let top = get(&gateway, "/-/top");
    let row = |member: &str, domain: &str, requests: u32, limited: u32| json!({ "member_id": member, "domain": domain, "requests": requests, "limited": limited, "over": 0 });
    let first = row(forms::MEMBER, "portal.bitrix24.com", 4, 1);
    let second = row(forms::OTHER_MEMBER, "other.bitrix24.com", 1, 0);
    assert_eq!(top["busiest"], json!([first, second]));
    assert_eq!(top["most_limited"], json!([first]));
    assert_eq!(
        (&top["requests"], &top["limited"], &top["distinct_members"]),
        (&json!(5), &json!(1), &json!(2))
    );
    assert_eq!(get(&gateway, "/-/top?n=1")["busiest"], json!([first]));
    for bad in ["n=0", "n=1001", "n=-1", "n=x", "n="] {
        assert_eq!(
            code(&gateway.ask_admin("GET", &format!("/-/top?{bad}"))),
            "bad_parameter",
            "{bad}"
        );
    }
}

#[test]
fn the_effective_configuration_is_told_in_the_shape_of_the_file() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let config = get(&gateway, "/-/config");
    assert_eq!(
        (&config["generation"], &config["restart_pending"]),
        (&json!(1), &json!([]))
    );
    let sha256 = config["sha256"].as_str().unwrap();
    assert!(
        sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()),
        "{sha256}"
    );
    let settings = &config["settings"];
    assert_eq!(settings["server"]["keepalive_timeout"], "75s");
    assert_eq!(settings["server"]["write_timeout"], "60s");
    assert_eq!(
        settings["log"],
        json!({ "level": "info", "sample_forwarded": 1.0, "sample_refused": 1.0 })
    );
    assert_eq!(settings["server"]["listeners"][1]["h2c"], true);
    assert_eq!(settings["widget"]["body_limit"], "1MiB");
    assert_eq!(settings["widget"]["member_id"], "hex32");
    assert_eq!(
        settings["limits"]["member"]["quota"],
        json!({ "rate": 1, "per_seconds": 3600, "burst": 3 })
    );
    assert_eq!(
        settings["limits"]["member"]["overrides"][0]["member_id"],
        forms::OTHER_MEMBER
    );
    assert_eq!(
        settings["upstreams"]["handlers"]["servers"],
        json!([upstream.address.to_string()])
    );
    assert_eq!(settings["routes"][0]["kind"], "widget");
    assert_eq!(settings["routes"][0]["path"], "/");
}

#[test]
fn http_1_0_ends_with_its_answer_and_json_with_a_line() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for keeps in ["", "Connection: keep-alive\r\n"] {
        let mut conn = Conn::open(gateway.admin());
        conn.send(format!(
            "GET /-/config HTTP/1.0\r\nHost: localhost\r\n{keeps}\r\n"
        ));
        let answer = conn.response();
        assert_eq!((answer.status, answer.body.last()), (200, Some(&b'\n')));
        conn.expect_closed();
    }
    let refused = gateway.ask_admin("GET", "/nothing");
    assert!(refused.text().ends_with("}\n"), "{}", refused.text());
    let refused = gateway.ask(forms::post("/app", &[], "PLACEMENT=X"));
    assert!(refused.text().ends_with("}\n"), "{}", refused.text());
}

#[test]
fn a_reload_on_demand_tells_how_it_ended() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let file = configuration_file(&gateway);
    let sound = std::fs::read_to_string(&file).unwrap();
    let answer = gateway.ask_admin("POST", "/-/reload");
    let told = answer.json();
    assert_eq!(
        (
            answer.status,
            &told["result"],
            &told["generation"],
            &told["restart_pending"]
        ),
        (200, &json!("unchanged"), &json!(1), &json!([]))
    );

    std::fs::write(
        &file,
        sound
            .replace("threads = 2", "threads = 3")
            .replace("burst = 3", "burst = 4"),
    )
    .unwrap();
    let applied = gateway.ask_admin("POST", "/-/reload");
    // The watch may have been faster, and then nothing has changed since.
    let applied = applied.json();
    assert!(
        applied["result"] == "applied" || applied["result"] == "unchanged",
        "{applied}"
    );
    assert_eq!(
        (&applied["generation"], &applied["restart_pending"]),
        (&json!(2), &json!(["server.threads"]))
    );
    let config = get(&gateway, "/-/config");
    assert_eq!(
        (&config["generation"], &config["restart_pending"]),
        (&json!(2), &json!(["server.threads"]))
    );
    assert_eq!(config["settings"]["server"]["threads"], 2, "what is running");
    assert_eq!(config["settings"]["limits"]["member"]["quota"]["burst"], 4);

    std::fs::write(
        &file,
        sound
            .replace("threads = 2", "threads = 0")
            .replace("burst = 3", "burst = \"many\""),
    )
    .unwrap();
    let refused = gateway.ask_admin("POST", "/-/reload");
    assert_eq!(
        (refused.status, code(&refused)),
        (422, json!("configuration_refused"))
    );
    let errors = refused.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), 2, "{errors:#?}");
    for (error, key) in errors.iter().zip(["server.threads", "limits.member.burst"]) {
        assert_eq!((&error["key"], &error["file"]), (&json!(key), &json!(file)));
        assert!(error["line"].as_u64().unwrap() > 1 && error["column"].as_u64().unwrap() > 1);
        assert!(
            error["text"]
                .as_str()
                .unwrap()
                .ends_with(error["message"].as_str().unwrap())
        );
    }
    let status = get(&gateway, "/-/status");
    let last = &status["configuration"]["reloads"][0];
    assert_eq!(
        (&last["result"], &last["fault_count"]),
        (&json!("refused"), &json!(2))
    );
    assert_eq!(status["configuration"]["generation"], 2, "nothing has changed");
}

#[test]
fn the_page_runs_under_a_strict_policy() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let page = gateway.ask_admin("GET", "/");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "script-src 'sha256-",
        "style-src 'sha256-",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe") && !policy.contains('*'), "{policy}");
}

#[test]
fn a_connection_serves_many_requests_and_a_body_is_never_the_next_one() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let mut conn = Conn::open(gateway.admin());
    let inside = "GET /-/nothing HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..3 {
        assert_eq!(
            conn.roundtrip("GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .status,
            200
        );
        let with_body = format!(
            "POST /-/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{inside}",
            inside.len()
        );
        assert_eq!(conn.roundtrip(with_body).status, 200);
    }
}

#[test]
fn clients_that_never_read_hold_nobody_up() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let lazy: Vec<Conn> = (0..200)
        .map(|_| {
            let mut conn = Conn::open(gateway.admin());
            conn.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
            conn
        })
        .collect();
    let cut: Vec<Conn> = (0..50)
        .map(|_| {
            let mut conn = Conn::open(gateway.admin());
            conn.send("GET /metrics HTTP/1.1\r\nHo");
            conn
        })
        .collect();
    assert_eq!(gateway.ask_admin("GET", "/-/status").status, 200);
    assert_eq!(
        gateway.ask(forms::post(forms::TARGET, &[], forms::BODY)).status,
        200
    );
    drop((lazy, cut));
    assert_eq!(gateway.ask_admin("GET", "/-/healthy").status, 200);
}

/// A connection whose other end may send a few kilobytes ahead, and no more.
fn narrow(address: SocketAddr) -> std::net::TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(2048).unwrap();
        socket.connect(address).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    stream
}

#[test]
fn a_client_that_never_reads_is_closed_and_leaves_nothing_behind() {
    const CLIENTS: usize = 24;
    let upstream = Upstream::start();
    // An answer of megabytes: what is shorter the kernel takes off our hands.
    let many: String = (0..1500)
        .map(|n| {
            format!(
                "[upstreams.{}-{n}]\nservers = [\"127.0.0.1:9\"]\n",
                "long".repeat(14)
            )
        })
        .collect();
    let gateway = Gateway::start(forms::routes(&[upstream.address]) + &many);
    let length = gateway.metrics().text.len();
    assert!(length > 4 << 20, "{length} bytes");
    // Asked of the kernel: a scrape is as large as the answers that are waited for.
    let (before, resident) = (gateway.descriptors(), gateway.resident_kib());
    let comes = |what: &str, wanted: &dyn Fn(usize) -> bool| {
        let deadline = Instant::now() + crate::common::PATIENCE;
        while !wanted(gateway.descriptors()) {
            assert!(
                Instant::now() < deadline,
                "{what}: {} descriptors",
                gateway.descriptors()
            );
            std::thread::yield_now();
        }
    };
    let started = Instant::now();
    let lazy: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut stream = narrow(gateway.admin());
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    comes("open", &|now| now >= before + CLIENTS);
    // What others ask is answered meanwhile.
    assert_eq!(gateway.ask_admin("GET", "/-/healthy").status, 200);
    comes("closed", &|now| now <= before);
    let held = started.elapsed();
    assert!(
        held > Duration::from_secs(5) && held < Duration::from_secs(45),
        "a slow reader has its time, and no more: {held:?}"
    );
    // The allocator gives pages back when it is used again.
    let deadline = Instant::now() + crate::common::PATIENCE;
    let mut grown;
    loop {
        assert_eq!(gateway.ask_admin("GET", "/metrics").status, 200);
        grown = gateway.resident_kib().saturating_sub(resident);
        // Half of what they had been given.
        if grown < (CLIENTS * length / 2 / 1024) as u64 {
            break;
        }
        assert!(Instant::now() < deadline, "{grown} KiB more");
    }
    eprintln!("{length} bytes; closed after {held:?}, {grown} KiB more resident");
    drop(lazy);
}
