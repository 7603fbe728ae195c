//! TLS on a listener: the certificate of each handshake comes from the configuration in force, so an
//! exchanged file is served to new connections without a restart.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::Acceptor;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::process::live::Live;

/// Finds a listener's certificate for a server name.
struct Resolver {
    live: Arc<ArcSwap<Live>>,
    listener: String,
}

impl ResolvesServerCert for Resolver {
    /// The first certificate that is for the name, else the first of the listener.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let live = self.live.load();
        let certificates = live.snapshot.loaded.certificates.get(&self.listener)?;
        let named = hello
            .server_name()
            .and_then(|name| certificates.iter().find(|one| one.is_for(name)));
        named
            .or_else(|| certificates.first())
            .map(|certificate| certificate.key.clone())
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

/// TLS 1.2 and 1.3, HTTP/2 and HTTP/1.1 by ALPN. `listener` is the address as configured.
///
/// # Errors
/// What rustls says of the versions.
pub fn acceptor(live: &Arc<ArcSwap<Live>>, listener: &str) -> Result<Acceptor, rustls::Error> {
    let resolver = Arc::new(Resolver {
        live: live.clone(),
        listener: listener.to_owned(),
    });
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Acceptor::from_server_config(Arc::new(config)))
}
