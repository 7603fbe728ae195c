//! Servers that are spoken to over TLS: whom they have to prove their name to, and what of it outlives a reload.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use tokio_rustls::TlsAcceptor;

use super::{FAILURES, UP};
use crate::common::carrier::Got;
use crate::common::forms::{BODY, QUERY, post, request};
use crate::common::upstream::Gate;
use crate::common::{Gateway, PATIENCE, Received, Reply, Setup, Upstream};

const NAME: &str = "handlers.example";

/// Somebody who signs certificates.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Authority {
            pem: params.self_signed(&key).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// What a server presents.
    fn sign(&self, host: &str, last_year: i32) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                key.serialize_der().try_into().unwrap(),
            );
        Arc::new(config.unwrap())
    }

    fn write(&self, path: &Path) {
        let new = path.with_extension("new");
        std::fs::write(&new, &self.pem).unwrap();
        std::fs::rename(&new, path).unwrap();
    }
}

/// TLS in front of a recording upstream.
struct Front {
    address: SocketAddr,
    upstream: Upstream,
    /// The names that clients asked for, one for each handshake that they ended.
    names: Arc<Mutex<Vec<Option<String>>>>,
}

impl Front {
    fn start(presents: Arc<ServerConfig>) -> Front {
        let upstream = Upstream::start();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, behind) = (listener.local_addr().unwrap(), upstream.address);
        listener.set_nonblocking(true).unwrap();
        let names = Arc::<Mutex<Vec<Option<String>>>>::default();
        let told = names.clone();
        let acceptor = TlsAcceptor::from(presents);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let (acceptor, told) = (acceptor.clone(), told.clone());
                    tokio::spawn(async move {
                        let Ok(mut shaken) = acceptor.accept(stream).await else {
                            return;
                        };
                        let name = shaken.get_ref().1.server_name().map(str::to_owned);
                        told.lock().unwrap().push(name);
                        let mut plain = tokio::net::TcpStream::connect(behind).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut shaken, &mut plain).await;
                    });
                }
            });
        });
        Front {
            address,
            upstream,
            names,
        }
    }

    fn names(&self) -> Vec<Option<String>> {
        self.names.lock().unwrap().clone()
    }
}

/// A widget route and a pass route of this name, over one server with these keys of `tls`.
fn routes(name: &str, address: SocketAddr, tls: &str) -> String {
    format!(
        "[[routes]]\nname = \"{name}\"\npath = \"/{name}\"\nkind = \"widget\"\nupstream = \"{name}\"\n\
         [[routes]]\nname = \"{name}-passed\"\npath = \"/{name}\"\nkind = \"pass\"\nmethods = [\"GET\", \"PUT\"]\n\
         upstream = \"{name}\"\n\
         [upstreams.{name}]\nservers = [\"{address}\"]\ntls = {{ {tls} }}\n"
    )
}

/// A server that speaks HTTP, whatever it hears.
fn plain() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    address
}

/// The statuses of a held call and of a streamed request.
fn ask(gateway: &Gateway, name: &str) -> [u16; 2] {
    let held = gateway.ask(post(&format!("/{name}?{QUERY}"), &[], BODY));
    let passed = gateway.ask(request("PUT", &format!("/{name}"), &["Content-Length: 2"], "up"));
    for refused in [&held, &passed].into_iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.json()["code"], "upstream_unavailable", "{name}");
    }
    [held.status, passed.status]
}

#[test]
fn a_server_has_to_prove_its_name_on_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    ours.write(&ca);
    let by_ca = format!("ca = \"{}\"", ca.display());
    let by_name = format!("{by_ca}, server_name = \"{NAME}\"");
    let named = Some(NAME.to_owned());
    let proven = [
        ("named", ours.sign(NAME, 2090), &*by_name, named.clone()),
        // No host name, no SNI; it stands in the certificate all the same.
        ("address", ours.sign("127.0.0.1", 2090), &*by_ca, None),
    ];
    let of_system = format!("server_name = \"{NAME}\"");
    let unproven = [
        ("other-name", ours.sign("other.example", 2090), &*by_name),
        ("other-address", ours.sign("10.0.0.1", 2090), &*by_ca),
        ("no-address", ours.sign(NAME, 2090), &*by_ca),
        ("other-authority", other.sign(NAME, 2090), &*by_name),
        ("expired", ours.sign(NAME, 2021), &*by_name),
        ("unknown-to-the-system", ours.sign(NAME, 2090), &*of_system),
    ];
    let proven = proven.map(|(name, presents, tls, sni)| (name, Front::start(presents), tls, sni));
    let unproven = unproven.map(|(name, presents, tls)| (name, Front::start(presents), tls));
    let plain = plain();
    let mut text = routes("plain", plain, &by_name);
    for (name, front, tls, _) in &proven {
        text += &routes(name, front.address, tls);
    }
    for (name, front, tls) in &unproven {
        text += &routes(name, front.address, tls);
    }
    // The system's authorities are somebody else's.
    other.write(&folder.path().join("system.pem"));
    let system = format!("export SSL_CERT_FILE={}/system.pem", folder.path().display());
    let gateway = Gateway::with(Setup::of(text).limits(&system));
    for (name, front, _, sni) in &proven {
        assert_eq!(ask(&gateway, name), [200; 2], "{name}");
        assert_eq!(front.upstream.take().len(), 2, "{name}");
        assert_eq!(front.names(), [sni.clone(), sni.clone()], "{name}");
    }
    let failing = unproven.iter().map(|(name, front, _)| (*name, front.address));
    for (name, address) in failing.chain([("plain", plain)]) {
        assert_eq!(ask(&gateway, name), [502; 2], "{name}");
        let address = address.to_string();
        let labels = [("upstream", name), ("server", &*address), ("cause", "tls")];
        gateway.metric_reaches(FAILURES, &labels, 2.0);
        let down = gateway.wait_log(name, |line| {
            line["msg"] == "a server is down" && line["upstream"] == name
        });
        assert_eq!(down["cause"], "tls", "{down}");
        let line = gateway.wait_log(name, |line| line["msg"] == "request" && line["route"] == name);
        assert_eq!(
            (&line["cause"], &line["server"]),
            (&json!("tls"), &json!(address))
        );
    }
    for (name, front, _) in &unproven {
        assert_eq!(front.upstream.take(), [], "{name}");
    }

    // The system's, where it knows who signed.
    let known = Front::start(ours.sign(NAME, 2090));
    let system = format!("export SSL_CERT_FILE={}", ca.display());
    let setup = Setup::of(routes("system", known.address, &of_system)).limits(&system);
    let gateway = Gateway::with(setup);
    assert_eq!(ask(&gateway, "system"), [200; 2]);
    assert_eq!(known.names(), [named.clone(), named]);
}

#[test]
fn what_a_handshake_fails_of_is_told_on_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    ours.write(&ca);
    let tls = format!("ca = \"{}\", server_name = \"{NAME}\"", ca.display());
    let expired = Front::start(ours.sign(NAME, 2021));
    let named = Front::start(ours.sign("other.example", 2090));
    let signed = Front::start(other.sign(NAME, 2090));
    let faults = [
        (
            "expired",
            expired.address,
            "invalid peer certificate: certificate expired",
        ),
        (
            "named",
            named.address,
            "invalid peer certificate: certificate not valid for name",
        ),
        (
            "signed",
            signed.address,
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            "plain",
            plain(),
            "received corrupt message of type InvalidContentType",
        ),
    ];
    let text: String = faults
        .iter()
        .map(|(name, address, _)| routes(name, *address, &tls))
        .collect();
    for method in ["POST", "PUT"] {
        let gateway = Gateway::start(text.clone());
        for (name, _, why) in &faults {
            let asks = match method {
                "POST" => post(&format!("/{name}?{QUERY}"), &[], BODY),
                _ => request("PUT", &format!("/{name}"), &["Content-Length: 2"], "up"),
            };
            assert_eq!(gateway.ask(asks).status, 502, "{method} {name}");
            let down = gateway.wait_log(name, |line| {
                line["msg"] == "a server is down" && line["upstream"] == *name
            });
            let detail = down["detail"].as_str().unwrap_or_default();
            assert!(detail.contains(why), "{method} {down}");
        }
    }
}

#[test]
fn another_authority_ends_what_the_one_before_has_vouched_for() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let (ours, other) = (Authority::new("ours"), Authority::new("other"));
    ours.write(&ca);
    let front = Front::start(ours.sign(NAME, 2090));
    let tls = format!("ca = \"{}\", server_name = \"{NAME}\"", ca.display());
    let check = "[upstreams.app.check]\npath = \"/health\"\ninterval = \"50ms\"\nrise = 1\nfall = 1\n";
    let gateway = Gateway::start(routes("app", front.address, &tls));
    for _ in 0..10 {
        assert_eq!(ask(&gateway, "app"), [200; 2]);
    }
    // Its pool's own watcher takes one from the engine now and then, and that is counted.
    let lost = gateway
        .metrics()
        .value("widget_gateway_engine_lines_total", &[("kind", "pool_race")]);
    let shaken = front.names().len();
    assert!(
        shaken <= 4 + lost as usize,
        "connections are kept, by two threads on two ways: {shaken}, {lost} lost"
    );
    front.upstream.take();

    other.write(&ca);
    let line = &gateway.reload_lines(1)[0];
    assert_eq!(
        (&line["trigger"], &line["result"]),
        (&json!("watch"), &json!("applied"))
    );
    assert_eq!(ask(&gateway, "app"), [502; 2]);
    assert_eq!(front.upstream.take(), []);

    ours.write(&ca);
    assert_eq!(gateway.reload_lines(2)[1]["result"], "applied");
    assert_eq!(ask(&gateway, "app"), [200; 2]);
    let answered = [("upstream", "app"), ("code_class", "2xx")];
    let metrics = gateway.metric_reaches("widget_gateway_upstream_responses_total", &answered, 22.0);
    assert_eq!(
        metrics.value(FAILURES, &[("upstream", "app"), ("cause", "tls")]),
        2.0
    );

    // Checks are made the same way.
    front.upstream.take();
    gateway.rewrite(&format!("{}{check}", routes("app", front.address, &tls)));
    gateway.reload_lines(3);
    front.upstream.wait_for(1);
    let labels = [("upstream", "app")];
    gateway.metrics_when("a server that is up", |now| now.value(UP, &labels) == 1.0);
    other.write(&ca);
    gateway.reload_lines(4);
    gateway.metrics_when("a server that is down", |now| now.value(UP, &labels) == 0.0);
    ours.write(&ca);
    gateway.reload_lines(5);
    gateway.metrics_when("a server that is up again", |now| now.value(UP, &labels) == 1.0);
}

#[test]
fn a_large_body_goes_whole_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let ours = Authority::new("ours");
    ours.write(&ca);
    let front = Front::start(ours.sign("127.0.0.1", 2090));
    let gateway = Gateway::start(routes(
        "app",
        front.address,
        &format!("ca = \"{}\"", ca.display()),
    ));
    front.upstream.reply(Reply::Echo);
    let body = format!("{BODY}&x=");
    let body = format!("{body}{}", "y".repeat(1024 * 1024 - body.len()));
    let mut kept = gateway.connect();
    for _ in 0..3 {
        let answer = kept.roundtrip(post(&format!("/app?{QUERY}"), &[], &body));
        assert_eq!(answer.status, 200);
        assert!(Received::echoed(&answer.body).body == body.as_bytes());
    }
    let length = format!("Content-Length: {}", body.len());
    let answer = gateway.ask(request("PUT", "/app", &[&length], &body));
    assert_eq!(answer.status, 200);
    assert!(Received::echoed(&answer.body).body == body.as_bytes());
}

/// A server that does this with each connection once it has read a whole call.
fn scripted(
    presents: Arc<ServerConfig>,
    script: impl Fn(&mut StreamOwned<ServerConnection, TcpStream>) + Send + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    std::thread::spawn(move || {
        // They stay open until the listener goes.
        let mut open = Vec::new();
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let mut stream = StreamOwned::new(ServerConnection::new(presents.clone()).unwrap(), stream);
            let (mut read, mut piece) = (Vec::new(), [0; 4096]);
            while !read.ends_with(BODY.as_bytes()) {
                match stream.read(&mut piece) {
                    Ok(size @ 1..) => read.extend_from_slice(&piece[..size]),
                    Ok(0) | Err(_) => break,
                }
            }
            counted.fetch_add(1, Ordering::Relaxed);
            script(&mut stream);
            open.push(stream);
        }
    });
    (address, calls)
}

#[test]
fn only_tls_says_that_an_answer_without_length_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let ours = Authority::new("ours");
    ours.write(&ca);
    let presents = ours.sign("127.0.0.1", 2090);
    let tls = format!("ca = \"{}\"", ca.display());
    const HALF: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nhalf";
    let gate = Gate::default();
    let read = gate.clone();
    let (cut, _) = scripted(presents.clone(), move |stream| {
        stream.write_all(HALF).unwrap();
        stream.flush().unwrap();
        assert!(read.wait());
        stream.sock.shutdown(Shutdown::Both).unwrap();
    });
    let (whole, _) = scripted(presents.clone(), |stream| {
        stream.write_all(HALF).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Both).unwrap();
    });
    // The end of TLS alone, with everything read, proves nothing: the call is not sent again.
    let (says_goodbye, calls) = scripted(presents, |stream| {
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    });
    let text = [("cut", cut), ("whole", whole), ("goodbye", says_goodbye)];
    let text = text.map(|(name, address)| routes(name, address, &tls)).concat();
    let gateway = Gateway::start(text);
    let get = |name: &str| {
        let mut conn = gateway.connect();
        conn.send(post(&format!("/{name}?{QUERY}"), &[], BODY));
        conn.get("POST")
    };
    let mut conn = gateway.connect();
    conn.send(post(&format!("/cut?{QUERY}"), &[], BODY));
    match conn.get_noticing("POST", || gate.open()) {
        Got::Cut(answer) => assert_eq!((answer.status, answer.text()), (200, "half")),
        got => panic!("not cut: {got:?}"),
    }
    assert_eq!(get("whole").whole("an answer").text(), "half");
    let refused = get("goodbye").whole("a refusal");
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (502, &json!("upstream_error"))
    );
    assert_eq!(calls.load(Ordering::Relaxed), 1);
    let line = gateway.wait_log("its line", |line| line["route"] == "goodbye");
    assert_eq!(line["cause"], "reset");
}
