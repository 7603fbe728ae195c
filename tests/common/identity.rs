//! The certificate that the harness serves on TLS listeners, and clients that trust it alone.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::request::HOST;

struct Identity {
    certificate: CertificateDer<'static>,
    chain: String,
    key: String,
}

/// One for the whole process: making a key takes longer than a test.
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let issued = rcgen::generate_simple_self_signed(vec![HOST.to_owned()]).unwrap();
    Identity {
        certificate: issued.cert.der().clone(),
        chain: issued.cert.pem(),
        key: issued.signing_key.serialize_pem(),
    }
});

/// Puts certificate and key into the folder and returns the listener that serves them, as a table of the
/// configuration.
pub fn listener(folder: &Path) -> String {
    let path = |name: &str| folder.join(name).display().to_string();
    let (cert, key) = (path("harness.pem"), path("harness.key"));
    // Once: a text that is made anew is no exchange of certificates.
    if !folder.join("harness.pem").exists() {
        std::fs::write(&key, &IDENTITY.key).unwrap();
        std::fs::write(&cert, &IDENTITY.chain).unwrap();
    }
    format!(
        "[[server.listeners]]\naddress = \"127.0.0.1:0\"\ntls = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n"
    )
}

/// A client that trusts the harness and offers these protocols.
pub fn client(alpn: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(IDENTITY.certificate.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

pub fn server_name() -> ServerName<'static> {
    ServerName::try_from(HOST).unwrap()
}
