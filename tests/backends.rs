//! Real web servers behind the gateway: nginx and Apache before php-fpm, and PHP's own. What a handler does comes
//! out as it does without the gateway, on a held and on a pass route, whatever carries it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::common::carrier::table;
use crate::common::forms::{self, BODY, QUERY};
use crate::common::php::PhpServer;
use crate::common::servers::{self, Fpm, apache, free, nginx};
use crate::common::{Carrier, Gateway, Got, Request, Response, identity, shown};

/// A handler that does what `do` says.
const HANDLER: &str = r#"<?php
$do = $_GET['do'] ?? 'seen';
header('X-Handler: ' . $do);
switch ($do) {
case 'session':
    session_start();
    $_SESSION['count'] = ($_SESSION['count'] ?? 0) + 1;
    echo 'count ', $_SESSION['count'];
    break;
case 'redirect':
    setcookie('seen', '1'); setcookie('then', '2');
    header('Location: /next?a=1&b=2', true, 303);
    break;
case 'chunked':
    for ($i = 0; $i < 20; $i++) { echo "piece $i\n"; @ob_flush(); flush(); }
    break;
case 'gzip':
    $packed = gzencode(str_repeat('the same again and again ', 4000));
    header('Content-Encoding: gzip'); header('Vary: Accept-Encoding'); header('Content-Length: ' . strlen($packed));
    echo $packed;
    break;
case 'large':
    header('Content-Type: application/octet-stream'); header('Content-Length: ' . (20 << 20));
    for ($i = 0; $i < 20 * 64; $i++) echo str_repeat(sprintf('%08d', $i), 2048);
    break;
case 'slow':
    for ($i = 0; $i < 4; $i++) { echo "slow $i\n"; @ob_flush(); flush(); usleep(250000); }
    break;
case 'fatal':
    nobody_has_defined_this();
    break;
case 'empty':
    http_response_code(204);
    break;
case 'missing':
    http_response_code(404);
    echo 'nothing here';
    break;
case 'count':
    file_put_contents(__DIR__ . '/counted', $_GET['id'] . "\n", FILE_APPEND | LOCK_EX);
    echo 'counted';
    break;
default:
    echo json_encode(['server' => array_filter($_SERVER, 'is_string'), 'post' => $_POST]);
}
"#;

struct Row {
    what: &'static str,
    status: u16,
    /// Headers that come through as the server wrote them.
    kept: &'static [&'static str],
}

const fn row(what: &'static str, status: u16, kept: &'static [&'static str]) -> Row {
    Row { what, status, kept }
}

const ROWS: [Row; 8] = [
    row("redirect", 303, &["Location", "X-Handler"]),
    row("chunked", 200, &["Content-Type", "X-Handler"]),
    row("gzip", 200, &["Content-Encoding", "Vary", "Content-Length"]),
    row("large", 200, &["Content-Type", "Content-Length"]),
    row("slow", 200, &["X-Handler"]),
    row("fatal", 500, &[]),
    row("empty", 204, &["X-Handler"]),
    row("missing", 404, &["X-Handler"]),
];

fn request(kind: &str, what: &str) -> Request {
    match kind {
        "held" => Request::form(&format!("/index.php?{QUERY}&do={what}"), BODY),
        _ => Request::get(&format!("/index.php?do={what}")),
    }
}

/// The server's own answer, without anybody between.
fn direct(server: SocketAddr, request: &Request) -> Response {
    let mut conn = crate::common::Conn::open(server);
    conn.is_old = true;
    conn.send(request.clone().line("Connection: close").to_http1("HTTP/1.1"));
    conn.response_to(&request.method)
}

fn cookies(response: &Response) -> Vec<&str> {
    let set =
        |(name, value): &'_ &(String, String)| name.eq_ignore_ascii_case("set-cookie") && !value.is_empty();
    response
        .headers
        .iter()
        .filter(set)
        .map(|(_, value)| value.as_str())
        .collect()
}

fn is_as_without_the_gateway(server: SocketAddr) {
    let rows: Vec<_> = ROWS
        .iter()
        .flat_map(|row| ["held", "passed"].map(|kind| (format!("{kind}, {}", row.what), kind, row)))
        .collect();
    let own: Vec<Response> = rows
        .iter()
        .map(|(_, kind, row)| direct(server, &request(kind, row.what)))
        .collect();
    let setting = |_| Gateway::on_every_carrier(forms::routes(&[server]));
    let ran = table(
        "what a handler does",
        &rows,
        |row| &row.0,
        |_, _| true,
        setting,
        |carrier, gateway, of| {
            let (_, kind, row) = of;
            let own = &own[rows.iter().position(|other| other.0 == of.0).unwrap()];
            let got = carrier.ask(gateway, &request(kind, row.what));
            assert_eq!(
                (got.status, own.status),
                (row.status, row.status),
                "{}",
                shown(&got.body)
            );
            assert!(
                got.body == own.body,
                "{} bytes, not {}",
                got.body.len(),
                own.body.len()
            );
            // A length that the server does not say may be said by who has it whole.
            for name in row.kept.iter().filter(|name| own.header(name).is_some()) {
                assert_eq!(got.header(name), own.header(name), "{name}");
            }
            assert_eq!(cookies(&got), cookies(own));
        },
    );
    assert_eq!(ran, [rows.len(); 5]);
    // A session is kept by its cookie: the gateway neither loses nor mixes them.
    let what = ["held", "passed"];
    let ran = table(
        "sessions",
        &what,
        |kind| kind,
        |_, _| true,
        setting,
        |carrier, gateway, kind| {
            let first = carrier.ask(gateway, &request(kind, "session"));
            assert_eq!(first.text(), "count 1");
            let cookie = cookies(&first)[0].split(';').next().unwrap();
            for count in 2..4 {
                let next = request(kind, "session").line(format!("Cookie: {cookie}"));
                assert_eq!(carrier.ask(gateway, &next).text(), format!("count {count}"));
            }
        },
    );
    assert_eq!(ran, [2; 5]);
}

fn handler(folder: &Path) {
    std::fs::write(folder.join("index.php"), HANDLER).unwrap();
}

fn behind(folder: &Path, fpm: &Fpm, listens: SocketAddr) -> String {
    format!(
        "server {{\nlisten {listens};\nroot {};\nindex index.php;\nlocation ~ \\.php$ {{\ninclude fastcgi.conf;\n\
         fastcgi_buffering off;\nfastcgi_pass unix:{};\n}}\n}}",
        folder.display(),
        fpm.socket.display()
    )
}

#[test]
fn nginx_and_php_fpm_behind_the_gateway() {
    let folder = servers::folder();
    handler(folder.path());
    let fpm = Fpm::start(folder.path());
    let address = free();
    let _nginx = nginx(folder.path(), &behind(folder.path(), &fpm, address), address);
    is_as_without_the_gateway(address);
}

#[test]
fn apache_behind_the_gateway() {
    let folder = servers::folder();
    handler(folder.path());
    let fpm = Fpm::start(folder.path());
    let address = free();
    let _apache = apache(folder.path(), folder.path(), &fpm, address);
    is_as_without_the_gateway(address);
}

/// It has one connection at a time and closes each.
#[test]
fn phps_own_server_behind_the_gateway() {
    let folder = servers::folder();
    handler(folder.path());
    let sessions = format!("session.save_path={}", folder.path().display());
    let script = folder.path().join("index.php");
    let php = PhpServer::running(
        &["-d", &sessions, "-d", "display_errors=0"],
        &script.display().to_string(),
    );
    is_as_without_the_gateway(php.address);
}

/// A reload of nginx closes its idle connections while requests come: each is executed once at most, and nearly all
/// are answered. What the close of an idle connection costs is a reset that nobody could have read (design notes).
#[test]
fn a_server_that_closes_its_connections_at_the_worst_moment() {
    const REQUESTS: usize = 300;
    let folder = servers::folder();
    handler(folder.path());
    let fpm = Fpm::start(folder.path());
    let address = free();
    let nginx = nginx(folder.path(), &behind(folder.path(), &fpm, address), address);
    for carrier in [Carrier::Http11, Carrier::H2Tls] {
        let _ = std::fs::remove_file(folder.path().join("counted"));
        let gateway = Gateway::on_every_carrier(forms::routes(&[address]));
        let mut client = carrier.open(&gateway);
        let (mut answered, mut lost) = (HashSet::new(), 0);
        for id in 0..REQUESTS {
            if id % 5 == 0 {
                nginx.signal(Signal::SIGHUP);
            }
            let call = Request::form(&format!("/index.php?{QUERY}&do=count&id={id}"), BODY);
            match client.get(&call) {
                Got::Whole(got) if got.status == 200 => _ = answered.insert(id.to_string()),
                Got::Whole(got) => {
                    assert_eq!((got.status, &got.json()["code"]), (502, &"upstream_error".into()));
                    lost += 1;
                    client = carrier.open(&gateway);
                }
                got => panic!("{got:?}"),
            }
        }
        let counted = std::fs::read_to_string(folder.path().join("counted")).unwrap();
        let executed: Vec<&str> = counted.lines().collect();
        let once: HashSet<String> = executed.iter().map(|id| (*id).to_owned()).collect();
        assert_eq!(
            executed.len(),
            once.len(),
            "{carrier:?}: a call was executed twice"
        );
        assert!(
            once.is_superset(&answered),
            "{carrier:?}: what was answered was executed"
        );
        println!("{carrier:?}: {} answered, {lost} lost", answered.len());
        assert!(lost <= REQUESTS / 20, "{carrier:?}: {lost} of {REQUESTS} lost");
    }
}

/// A block of the README behind this text.
fn block(before: &str, language: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let (_, rest) = text
        .split_once(before)
        .unwrap_or_else(|| panic!("README.md has no {before:?}"));
    let (_, rest) = rest.split_once(&format!("```{language}\n")).expect("a block");
    rest.split_once("\n```").expect("its end").0.to_owned()
}

/// Each of these stands in the text, and becomes the other.
fn replaced(mut text: String, with: &[(&str, String)]) -> String {
    for (from, to) in with {
        assert!(text.contains(from), "README.md has no {from:?}");
        text = text.replace(from, to);
    }
    text
}

/// The README's steps as they stand: ports, names, certificate, folder and socket are the reader's own.
#[test]
fn the_five_minutes_of_the_readme() {
    let folder = servers::folder();
    let root = folder.path().join("www");
    std::fs::create_dir_all(root.join("part")).unwrap();
    handler(&root);
    std::fs::write(root.join("style.css"), "body { color: red }\n").unwrap();
    std::fs::write(root.join("part/index.php"), "<?php echo 'the part';").unwrap();
    identity::listener(folder.path());
    let fpm = Fpm::start(folder.path());
    let [front, back, gateway_at, admin] = [(); 4].map(|()| free());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let conf = replaced(
        block("**1. nginx.**", "nginx"),
        &[
            ("listen 443 ssl", format!("listen {front} ssl")),
            ("/etc/ssl/widgets.pem", path("harness.pem")),
            ("/etc/ssl/widgets.key", path("harness.key")),
            ("http://127.0.0.1:8080", format!("http://{gateway_at}")),
            ("listen 127.0.0.1:8081", format!("listen {back}")),
            ("/var/www/widget", root.display().to_string()),
            ("/run/php/php-fpm.sock", fpm.socket.display().to_string()),
        ],
    );
    let _nginx = nginx(folder.path(), &conf, front);
    let toml = replaced(
        block("**2. The gateway.**", "toml"),
        &[
            (
                "listen = [\"127.0.0.1:8080\"]",
                format!("listen = [\"{gateway_at}\"]\nadmin = \"{admin}\""),
            ),
            ("127.0.0.1:8081", back.to_string()),
        ],
    );
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, toml).unwrap();
    let gateway = Gateway::on(&file, &[]);
    gateway.wait_log("the admin listener", |line| line["listener"] == "admin");

    let ask = |request: &Request| {
        let mut conn = crate::common::Conn::open_tls(front);
        conn.send(request.to_http1("HTTP/1.1"));
        conn.response_to(&request.method)
    };
    // A widget, with what a client can not make the handler believe.
    let target = format!("/?{QUERY}");
    let call = Request::form(&target, BODY).lines([
        "X-Forwarded-For: 203.0.113.9",
        "X-Forwarded-Proto: ftp",
        "X-Bitrix24-Domain: evil",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ]);
    let got = ask(&call);
    assert_eq!(got.status, 200, "{}", shown(&got.body));
    let seen: Value = got.json();
    for (name, value) in [
        ("HTTPS", "on"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("HTTP_HOST", "widgets.example"),
        ("HTTP_X_REAL_IP", "127.0.0.1"),
        ("HTTP_X_FORWARDED_PROTO", "https"),
        ("HTTP_X_BITRIX24_DOMAIN", "portal.bitrix24.com"),
        ("HTTP_X_BITRIX24_MEMBER_ID", forms::MEMBER),
        ("HTTP_X_BITRIX24_PLACEMENT", "DEFAULT"),
    ] {
        assert_eq!(seen["server"][name], value, "{name} of {seen}");
    }
    assert!(seen["server"].get("HTTP_TRACEPARENT").is_none(), "{seen}");
    assert!(!seen.to_string().contains("203.0.113.9"), "{seen}");
    assert_eq!(seen["post"]["member_id"], forms::MEMBER);
    // What the page loads then, and a folder without its slash.
    assert_eq!(ask(&Request::get("/style.css")).text(), "body { color: red }\n");
    let moved = ask(&Request::get("/part"));
    assert_eq!((moved.status, moved.header("Location")), (301, Some("/part/")));
    assert_eq!(ask(&Request::get("/part/")).text(), "the part");
    // It observes at first: a faulty call goes through, and is told.
    let faulty = ask(&Request::form("/?DOMAIN=portal.bitrix24.com", "member_id=x"));
    assert_eq!(faulty.status, 200, "{}", shown(&faulty.body));
    let told = gateway.wait_log("what would be refused", |line| line["would_reject"].is_array());
    assert_eq!(
        told["would_reject"],
        serde_json::json!(["missing_field"]),
        "{told}"
    );
    // Then it enforces: the file is saved, and that is all.
    let text = std::fs::read_to_string(&file).unwrap();
    gateway_saves(&file, &text.replace("mode = \"observe\"", "mode = \"enforce\""));
    let reload = &gateway.reload_lines(1)[0];
    assert_eq!(
        (&reload["trigger"], &reload["result"]),
        (&"watch".into(), &"applied".into())
    );
    let refused = ask(&Request::form("/?DOMAIN=portal.bitrix24.com", "member_id=x"));
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (422, &"missing_field".into())
    );
}

/// As an editor does.
fn gateway_saves(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, file).unwrap();
}
