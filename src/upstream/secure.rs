//! How servers are spoken to over TLS: whose certificates are taken, and for which name. They are verified, always:
//! there is no way to leave that out. Held calls use the connections made here; Pingora's proxy makes its own from
//! the same authorities and name.

use std::fmt;
use std::sync::{Arc, OnceLock};

use pingora::protocols::tls::CaType;
use pingora::utils::tls::{WrappedX509, parse_x509};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::server::seed;

/// The authorities whose certificates are taken. Two are equal where they are the same authorities.
pub struct Trust {
    /// None = those of the system.
    given: Option<Vec<CertificateDer<'static>>>,
    config: Arc<ClientConfig>,
    /// For the proxy; without it, it takes those of the system too.
    of_proxy: Option<Arc<CaType>>,
}

impl Trust {
    /// Those of the system, which are read once; `SSL_CERT_FILE` and `SSL_CERT_DIR` name others.
    ///
    /// # Errors
    /// Where there are none.
    pub fn of_system() -> Result<Trust, &'static str> {
        static SYSTEM: OnceLock<Result<Arc<ClientConfig>, &'static str>> = OnceLock::new();
        let config = SYSTEM.get_or_init(|| {
            let mut roots = RootCertStore::empty();
            // One that can not be read takes the others nothing.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            match roots.is_empty() {
                true => Err("the system has no certificate authorities"),
                false => config(roots),
            }
        });
        Ok(Trust {
            given: None,
            config: config.clone()?,
            of_proxy: None,
        })
    }

    /// Those of a PEM text.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn given(pem: &[u8]) -> Result<Trust, &'static str> {
        let given: Vec<_> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|_| "is no PEM file")?;
        let mut roots = RootCertStore::empty();
        for certificate in &given {
            let unreadable = "holds a certificate that can not be read";
            // What the proxy reads with, which would not forgive.
            X509Certificate::from_der(certificate).map_err(|_| unreadable)?;
            roots.add(certificate.clone()).map_err(|_| unreadable)?;
        }
        if given.is_empty() {
            return Err("holds no certificate");
        }
        let of_proxy = given.iter().map(|der| WrappedX509::new(der.to_vec(), parse_x509));
        Ok(Trust {
            config: config(roots)?,
            of_proxy: Some(of_proxy.collect()),
            given: Some(given),
        })
    }

    /// When the first of the given ones ends, in seconds since the epoch.
    pub fn not_after(&self) -> Option<i64> {
        let ends = self.given.iter().flatten().filter_map(|der| {
            let (_, certificate) = X509Certificate::from_der(der).ok()?;
            Some(certificate.validity().not_after.timestamp())
        });
        ends.min()
    }
}

fn config(roots: RootCertStore) -> Result<Arc<ClientConfig>, &'static str> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|_| "TLS 1.2 and 1.3 are not to be had")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

impl PartialEq for Trust {
    fn eq(&self, other: &Trust) -> bool {
        self.given == other.given
    }
}

impl Eq for Trust {}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.given {
            Some(given) => write!(f, "{} authorities", given.len()),
            None => f.write_str("the system's authorities"),
        }
    }
}

/// The name that a server has to prove, and to whom it is proven. Equal where both are.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secured {
    trust: Arc<Trust>,
    name: ServerName<'static>,
}

impl Secured {
    /// A name, or an address, which is then no SNI but has to stand in the certificate all the same.
    ///
    /// # Errors
    /// Where it is neither.
    pub fn new(trust: Arc<Trust>, name: &str) -> Result<Secured, &'static str> {
        let name = ServerName::try_from(name.to_owned()).map_err(|_| "is no host name")?;
        Ok(Secured { trust, name })
    }

    /// Makes connections of held calls.
    pub(super) fn connector(&self) -> (TlsConnector, ServerName<'static>) {
        (self.trust.config.clone().into(), self.name.clone())
    }

    /// For the proxy: never empty, since without a name it would verify nothing.
    pub(super) fn name(&self) -> String {
        self.name.to_str().into_owned()
    }

    /// For the proxy: none = the system's.
    pub(super) fn authorities(&self) -> Option<Arc<CaType>> {
        self.trust.of_proxy.clone()
    }

    /// Stands for the authorities, so that the proxy never takes a connection that others have verified.
    pub(super) fn group(&self) -> u64 {
        let given = self.trust.given.iter().flatten();
        given.fold(0, |group, der| group.rotate_left(1) ^ seed(der))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trust_is_what_it_holds() {
        let issue = || {
            rcgen::generate_simple_self_signed(vec!["a.example".to_owned()])
                .unwrap()
                .cert
                .pem()
        };
        let (one, other) = (issue(), issue());
        let given = |pem: &str| Arc::new(Trust::given(pem.as_bytes()).unwrap());
        let secured = |trust, name| Secured::new(trust, name).unwrap();
        let both = format!("{one}{other}");
        assert_eq!(secured(given(&one), "a"), secured(given(&one), "a"));
        assert_ne!(secured(given(&one), "a"), secured(given(&one), "b"));
        assert_ne!(given(&one), given(&other));
        assert_ne!(given(&one), given(&both));
        let group = |pem: &str| secured(given(pem), "a").group();
        assert_eq!(group(&one), group(&one));
        assert!(group(&one) != group(&both) && group(&one) != group(&other));
        for bad in [
            "",
            "x",
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ] {
            assert!(Trust::given(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(Secured::new(given(&one), "").is_err());
        assert_eq!(secured(given(&one), "::1").name(), "::1");
    }
}
