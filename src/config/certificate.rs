//! A certificate with its key, ready to be served.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The certificates of each TLS listener, by its address as configured.
pub type Certificates = HashMap<String, Vec<Arc<Certificate>>>;

/// A chain whose key fits.
#[derive(Debug)]
pub struct Certificate {
    /// The DNS names that it is for, lower case; `*.` at the beginning stands for one label.
    names: Vec<String>,
    /// When it ends, in seconds since the epoch.
    pub not_after: i64,
    /// For the handshake.
    pub key: Arc<CertifiedKey>,
}

impl Certificate {
    /// Reads PEM texts.
    ///
    /// # Errors
    /// What is wrong, without a byte of either.
    pub fn load(chain: &[u8], key: &[u8]) -> Result<Certificate, &'static str> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|_| "the certificate is no PEM file")?;
        let first = chain.first().ok_or("the certificate file holds no certificate")?;
        let (_, leaf) = X509Certificate::from_der(first).map_err(|_| "the certificate can not be read")?;
        let names = names(&leaf);
        let not_after = leaf.validity().not_after.timestamp();
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| "the key file holds no private key in PEM form")?;
        let key = any_supported_type(&key)
            .map_err(|_| "the private key is of no supported type (RSA, ECDSA, Ed25519)")?;
        let certified = CertifiedKey::new(chain, key);
        certified
            .keys_match()
            .map_err(|_| "the private key does not match the certificate")?;
        Ok(Certificate {
            names,
            not_after,
            key: Arc::new(certified),
        })
    }

    /// The first of its names: the label `name`.
    pub fn name(&self) -> &str {
        self.names.first().map_or("unnamed", String::as_str)
    }

    /// Whether it is for this server name (RFC 6125 6.4.3: `*` stands for exactly one label).
    pub fn is_for(&self, server_name: &str) -> bool {
        let parent = server_name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(under) => parent.is_some_and(|parent| parent.eq_ignore_ascii_case(under)),
            None => name.eq_ignore_ascii_case(server_name),
        })
    }
}

/// The alternative names, else the common name.
fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let mut names: Vec<_> = alternative
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        names.extend(
            leaf.subject()
                .iter_common_name()
                .filter_map(|name| name.as_str().ok())
                .map(str::to_ascii_lowercase),
        );
    }
    names
}
