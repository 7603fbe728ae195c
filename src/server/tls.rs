//! TLS on a listener: the certificate of each handshake comes from the configuration in force, so an
//! exchanged file is served to new connections without a restart.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use pingora::listeners::tls::TlsSettings;
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
        let certificates = live.snapshot.certificates.get(&self.listener)?;
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

/// TLS 1.2 and 1.3 (the engine's choice), HTTP/2 by ALPN. `listener` is the address as configured.
///
/// # Errors
/// What the engine says.
pub fn settings(live: &Arc<ArcSwap<Live>>, listener: &str) -> pingora::Result<TlsSettings> {
    // No files: the resolver takes their place.
    let mut settings = TlsSettings::intermediate("", "")?;
    settings.set_cert_resolver(Arc::new(Resolver {
        live: live.clone(),
        listener: listener.to_owned(),
    }));
    settings.enable_h2();
    Ok(settings)
}
