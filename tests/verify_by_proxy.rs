//! Callers are verified through an HTTP proxy, which learns nothing but who is asked.

use crate::common::carrier::each;
use crate::common::forms::{self, BODY, MEMBER, SECRETS, TARGET};
use crate::common::oauth::{AuthServer, CLIENT_ID, Says, certificate};
use crate::common::proxy::ConnectProxy;
use crate::common::{Carrier, DeadServer, Gateway, Request, Setup, Upstream};

const FAILURES: &str = "widget_gateway_verification_failures_total";
const DOMAIN: &str = "portal.bitrix24.com";
const TOKEN: &str = SECRETS[0];

struct Setting {
    upstream: Upstream,
    /// Behind the proxy, by TLS.
    server: AuthServer,
    /// Of this machine, by http.
    near: AuthServer,
    proxy: ConnectProxy,
    /// Under the name of the server nobody listens: whoever goes straight to it meets nobody.
    dead: DeadServer,
    gateway: Gateway,
    _folder: tempfile::TempDir,
}

impl Setting {
    fn start() -> Setting {
        let (upstream, server, near) = (Upstream::start(), AuthServer::start_tls(), AuthServer::start());
        let (proxy, dead) = (ConnectProxy::leading_to(server.address), DeadServer::new());
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("roots.pem");
        std::fs::write(&ca, certificate()).unwrap();
        let gateway = Gateway::on_every_carrier(format!(
            "{}[verify]\nmethod = \"app_info\"\nclient_id = \"{CLIENT_ID}\"\ntimeout = \"15s\"\nca = {ca:?}\n\
             servers = [\"https://localhost:{}\", \"http://{}\"]\nproxy = \"http://{}\"\n\
             [widget]\nserver_endpoints = [\"127.0.0.1\", \"localhost\"]\n",
            forms::routes(&[upstream.address]),
            dead.address().port(),
            near.address,
            proxy.address,
        ));
        Setting {
            upstream,
            server,
            near,
            proxy,
            dead,
            gateway,
            _folder: folder,
        }
    }

    /// What the handler is told of a call with this token, to a server of this name.
    fn verified(&self, carrier: Carrier, token: &str, server: &str) -> String {
        let body = BODY.replace(TOKEN, token) + &format!("&SERVER_ENDPOINT=https://{server}/rest/");
        let answer = carrier.ask(&self.gateway, &Request::form(TARGET, body));
        assert_eq!(answer.status, 200);
        let received = self.upstream.take_one();
        received.header("X-Bitrix24-Verified").unwrap_or_default()
    }
}

#[test]
fn a_server_is_asked_through_the_proxy_which_reads_nothing() {
    each("a server is asked through the proxy", |carrier| {
        let setting = Setting::start();
        let Setting {
            server, near, proxy, ..
        } = &setting;
        let right = || Says::info(CLIENT_ID, MEMBER, DOMAIN);
        server.says("secret1", right());
        server.says("secret2", Says::expired());
        near.says("secret3", right());
        assert_eq!(setting.verified(carrier, "secret1", "localhost"), "yes");
        assert_eq!(setting.verified(carrier, "secret2", "localhost"), "no");
        assert_eq!(server.asked(), ["secret1", "secret2"]);
        let port = setting.dead.address().port();
        let head = format!("CONNECT localhost:{port} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n");
        // One tunnel for both: its connection is kept.
        assert_eq!(proxy.heads(), [head.as_str()]);
        // By http a proxy would read the token.
        assert_eq!(setting.verified(carrier, "secret3", "127.0.0.1"), "yes");
        assert_eq!(
            (near.asked(), proxy.heads().len()),
            (vec!["secret3".to_owned()], 1)
        );
        let config = setting.gateway.ask_admin("GET", "/-/config").json();
        assert_eq!(
            config["settings"]["verify"]["proxy"],
            format!("http://{}", proxy.address)
        );
    });
}

#[test]
fn a_proxy_that_opens_no_tunnel_is_a_server_that_can_not_be_reached() {
    let setting = Setting::start();
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(100_000));
    for (n, answer) in [
        "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        "220 smtp ready\r\n\r\n",
        &huge,
    ]
    .into_iter()
    .enumerate()
    {
        setting.proxy.says(answer);
        let token = format!("secret{n}");
        assert_eq!(setting.verified(Carrier::Http11, &token, "localhost"), "unknown");
        let failures = [("cause", "unreachable")];
        setting.gateway.metric_reaches(FAILURES, &failures, (n + 1) as f64);
        assert_eq!(setting.proxy.heads().len(), n + 1);
    }
    assert_eq!(setting.server.asked(), [""; 0], "no token went anywhere");
}

#[test]
fn what_stands_in_the_environment_leads_nobody_elsewhere() {
    let (upstream, server) = (Upstream::start(), AuthServer::start_tls());
    server.says(TOKEN, Says::info(CLIENT_ID, MEMBER, DOMAIN));
    let proxy = ConnectProxy::leading_to(server.address);
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("roots.pem");
    std::fs::write(&ca, certificate()).unwrap();
    let setup = Setup::of(format!(
        "{}[verify]\nmethod = \"app_info\"\nclient_id = \"{CLIENT_ID}\"\ntimeout = \"15s\"\nca = {ca:?}\n\
         servers = [\"https://localhost:{}\"]\n",
        forms::routes(&[upstream.address]),
        server.address.port(),
    ));
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let exports = names.map(|name| format!("export {name}=http://{}", proxy.address));
    let gateway = Gateway::with(Setup {
        limits: Some(exports.join("; ")),
        ..setup
    });
    assert_eq!(Carrier::Http11.ask(&gateway, &Request::call()).status, 200);
    assert_eq!(
        upstream.take_one().header("X-Bitrix24-Verified").as_deref(),
        Some("yes")
    );
    assert_eq!((server.asked().len(), proxy.heads().len()), (1, 0));
}
