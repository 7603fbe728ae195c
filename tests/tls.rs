//! TLS on a listener: certificates by server name, exchanged while running, never half.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use crate::common::forms::{self, BODY, TARGET, post};
use crate::common::{Conn, Gateway, Setup, Upstream};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion, version};

/// A self-signed certificate for these names, written as `NAME.pem` and `NAME.key`.
fn issue(folder: &Path, name: &str, hosts: &[&str]) -> CertificateDer<'static> {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let issued = rcgen::generate_simple_self_signed(hosts).unwrap();
    std::fs::write(
        folder.join(format!("{name}.key")),
        issued.signing_key.serialize_pem(),
    )
    .unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), issued.cert.pem()).unwrap();
    issued.cert.der().clone()
}

struct Served {
    gateway: Gateway,
    upstream: Upstream,
    portal: CertificateDer<'static>,
    other: CertificateDer<'static>,
    certificates: tempfile::TempDir,
}

fn served() -> Served {
    let certificates = tempfile::tempdir().unwrap();
    let folder = certificates.path();
    let portal = issue(folder, "portal", &["widgets.example"]);
    let other = issue(folder, "other", &["*.other.example"]);
    let upstream = Upstream::start();
    let pair = |name: &str| {
        format!(
            "{{ cert = \"{0}/{name}.pem\", key = \"{0}/{name}.key\" }}",
            folder.display()
        )
    };
    let listener = format!(
        "[[server.listeners]]\naddress = \"127.0.0.1:0\"\ntls = [{}, {}]\n{}",
        pair("portal"),
        pair("other"),
        forms::routes(&[upstream.address])
    );
    let gateway = Gateway::with(Setup::of(listener));
    Served {
        gateway,
        upstream,
        portal,
        other,
        certificates,
    }
}

/// What a handshake ended with: the certificate that was served, the protocol, and one answer.
struct Shaken {
    certificate: CertificateDer<'static>,
    alpn: Option<Vec<u8>>,
    answer: String,
}

fn shake(
    served: &Served,
    name: &str,
    trusted: &CertificateDer<'static>,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> Result<Shaken, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut socket = TcpStream::connect(served.gateway.tls()).unwrap();
    socket.set_read_timeout(Some(crate::common::PATIENCE)).unwrap();
    client.complete_io(&mut socket)?;
    let certificate = client.peer_certificates().unwrap()[0].clone();
    let protocol = client.alpn_protocol().map(<[u8]>::to_vec);
    let mut answer = String::new();
    if protocol.as_deref() != Some(b"h2") {
        let mut stream = rustls::Stream::new(&mut client, &mut socket);
        stream.write_all(&post(TARGET, &["Connection: close"], BODY))?;
        let _ = stream.read_to_string(&mut answer);
    }
    Ok(Shaken {
        certificate,
        alpn: protocol,
        answer,
    })
}

const ALL: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

#[test]
fn the_certificate_is_chosen_by_server_name() {
    let served = served();
    for (name, certificate) in [
        ("widgets.example", &served.portal),
        ("a.other.example", &served.other),
    ] {
        for versions in [&ALL[..], &[&version::TLS12], &[&version::TLS13]] {
            let shaken = shake(&served, name, certificate, versions, &[]).unwrap();
            assert_eq!(&shaken.certificate, certificate);
            assert!(shaken.answer.starts_with("HTTP/1.1 200"), "{}", shaken.answer);
        }
    }
    let received = served.upstream.take();
    assert_eq!(received.len(), 6);
    assert_eq!(received[0].header("X-Forwarded-Proto").as_deref(), Some("https"));
    // Nobody's name gets the first certificate, and the client then refuses it.
    assert!(shake(&served, "nobody.example", &served.portal, &ALL, &[]).is_err());
}

#[test]
fn http2_is_agreed_on_by_alpn() {
    let served = served();
    let shaken = shake(
        &served,
        "widgets.example",
        &served.portal,
        &ALL,
        &[b"h2", b"http/1.1"],
    )
    .unwrap();
    assert_eq!(shaken.alpn.as_deref(), Some(&b"h2"[..]));
    let shaken = shake(&served, "widgets.example", &served.portal, &ALL, &[b"http/1.1"]).unwrap();
    assert_eq!(shaken.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert!(shaken.answer.starts_with("HTTP/1.1 200"));
}

#[test]
fn exchanged_files_are_served_and_a_broken_pair_keeps_the_old() {
    let served = served();
    let folder = served.certificates.path();
    let ends = |metrics: &crate::common::Metrics| {
        metrics.find(
            "widget_gateway_certificate_not_after_timestamp_seconds",
            &[("name", "widgets.example")],
        )
    };
    assert!(ends(&served.gateway.metrics()).unwrap() > 1e9);

    // A certificate without its key: half of a pair.
    let key = std::fs::read(folder.join("portal.key")).unwrap();
    let renewed = issue(folder, "portal", &["widgets.example"]);
    let new_key = std::fs::read(folder.join("portal.key")).unwrap();
    std::fs::write(folder.join("portal.key"), key).unwrap();
    let refused = served
        .gateway
        .wait_log("a refusal", |l| l["msg"] == "reload" && l["result"] == "refused");
    assert!(
        refused["faults"][0].as_str().unwrap().contains("does not match"),
        "{refused}"
    );
    let shaken = shake(&served, "widgets.example", &served.portal, &ALL, &[]).unwrap();
    assert_eq!(shaken.certificate, served.portal);

    std::fs::write(folder.join("portal.key"), new_key).unwrap();
    served.gateway.wait_log("the exchange", |l| {
        l["msg"] == "reload" && l["result"] == "applied"
    });
    let shaken = shake(&served, "widgets.example", &renewed, &ALL, &[]).unwrap();
    assert_eq!(shaken.certificate, renewed);
    assert!(shake(&served, "widgets.example", &served.portal, &ALL, &[]).is_err());
}

/// Ten exchanges while two clients shake hands without a pause: each handshake succeeds, with the old
/// certificate or the new.
#[test]
fn exchanges_under_load_fail_no_handshake() {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    let served = served();
    let folder = served.certificates.path();
    // One certificate that all clients trust, with ten keys: whoever is served, the chain is sound.
    let authority = Authority::new();
    authority.issue(folder, "portal", "widgets.example");
    served.gateway.wait_log("the first exchange", |l| {
        l["msg"] == "reload" && l["result"] == "applied"
    });
    let (stop, shaken, failed) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    match shake(&served, "widgets.example", &authority.certificate, &ALL, &[]) {
                        Ok(done) if done.answer.starts_with("HTTP/1.1 200") => {
                            shaken.fetch_add(1, Ordering::Relaxed)
                        }
                        _ => failed.fetch_add(1, Ordering::Relaxed),
                    };
                }
            });
        }
        let mut last = Vec::new();
        for _ in 0..10 {
            let told = served.gateway.log_count();
            last = authority.issue(folder, "portal", "widgets.example").to_vec();
            served.gateway.wait_log_after(told, "an exchange", |l| {
                l["msg"] == "reload" && l["result"] == "applied"
            });
        }
        let now = shake(&served, "widgets.example", &authority.certificate, &ALL, &[]).unwrap();
        assert_eq!(now.certificate.as_ref(), last);
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(failed.load(Ordering::Relaxed), 0);
    assert!(shaken.load(Ordering::Relaxed) > 20);
}

/// Signs certificates that clients who trust it accept.
struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    certificate: CertificateDer<'static>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Authority {
            issuer: rcgen::Issuer::new(params, key),
            certificate,
        }
    }

    /// A new key and its certificate; each file is put in place at once, the key first, and the gateway
    /// waits until both stand still.
    fn issue(&self, folder: &Path, name: &str, host: &str) -> CertificateDer<'static> {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap();
        let issued = params.signed_by(&key, &self.issuer).unwrap();
        for (suffix, text) in [("key", key.serialize_pem()), ("pem", issued.pem())] {
            let new = folder.join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, folder.join(format!("{name}.{suffix}"))).unwrap();
        }
        issued.der().clone()
    }
}

#[test]
fn plain_and_tls_listeners_stand_side_by_side() {
    let served = served();
    assert_eq!(served.gateway.ask(post(TARGET, &[], BODY)).status, 200);
    assert_eq!(
        served.upstream.take_one().header("X-Forwarded-Proto").as_deref(),
        Some("http")
    );
    // Plain HTTP on the TLS port, and TLS on the plain one, get no answer of the gateway.
    let mut socket = TcpStream::connect(served.gateway.tls()).unwrap();
    socket.write_all(&post(TARGET, &[], BODY)).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"));
    served.upstream.expect_untouched();
}

#[test]
fn plain_http_where_tls_is_spoken_is_told_so() {
    let upstream = Upstream::start();
    let gateway = Gateway::on_every_carrier(forms::routes(&[upstream.address]));
    for request in [post(TARGET, &[], BODY), b"GET / HTTP/1.0\r\n\r\n".to_vec()] {
        let mut conn = Conn::open(gateway.tls());
        conn.send(request);
        let answer = conn.response();
        assert_eq!((answer.status, answer.header("connection")), (400, Some("close")));
        assert_eq!(
            answer.text(),
            "This port speaks HTTPS, and plain HTTP came: ask with https://.\n"
        );
        conn.expect_closed();
    }
    let failures = "widget_gateway_tls_handshake_failures_total";
    gateway.metric_reaches(failures, &[], 2.0);
    let closed = "widget_gateway_connections_closed_total";
    gateway.metric_reaches(closed, &[("reason", "handshake")], 2.0);
    upstream.expect_untouched();
}
