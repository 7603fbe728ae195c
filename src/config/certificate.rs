//! A certificate with its key, ready to be served.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SigningKey};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate, X509Version};

/// The certificates of each TLS listener, by its address as configured.
pub type Certificates = HashMap<String, Vec<Arc<Certificate>>>;

/// A chain whose key fits.
#[derive(Debug)]
pub struct Certificate {
    /// The DNS names that it is for, lower case; `*.` at the beginning stands for one label.
    names: Vec<String>,
    /// When it begins to be good, in seconds since the epoch.
    pub not_before: i64,
    /// When it ends.
    pub not_after: i64,
    /// For the handshake.
    pub key: Arc<CertifiedKey>,
}

/// Which of the two files is at fault, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unfit {
    /// The chain, or that the key is another's.
    Chain(&'static str),
    /// The private key.
    Key(&'static str),
}

impl Certificate {
    /// Reads PEM texts.
    ///
    /// # Errors
    /// What is wrong, without a byte of either.
    pub fn load(chain: &[u8], key: &[u8]) -> Result<Certificate, Unfit> {
        let chain = certificates(chain).map_err(Unfit::Chain)?;
        let leaf = chain
            .first()
            .and_then(|first| X509Certificate::from_der(first).ok());
        let (_, leaf) = leaf.ok_or(Unfit::Chain("the certificate can not be read"))?;
        if leaf.version() != X509Version::V3 {
            return Err(Unfit::Chain(
                "the certificate is X.509 before version 3, which no browser takes",
            ));
        }
        let names = names(&leaf);
        let [not_before, not_after] =
            [leaf.validity().not_before, leaf.validity().not_after].map(|time| time.timestamp());
        let key = private_key(key).map_err(Unfit::Key)?;
        let certified = CertifiedKey::new(chain, key);
        certified
            .keys_match()
            .map_err(|_| Unfit::Chain("the private key does not match the certificate"))?;
        Ok(Certificate {
            names,
            not_before,
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

/// What some editors put before a text. PEM's first line then is none.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The object identifier of the curve P-521 (RFC 5480 2.1.1.1), which ring does not sign with.
const P_521: &[u8] = b"\x06\x05\x2b\x81\x04\x00\x23";

fn holds(text: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(text, part).is_some()
}

fn certificates(chain: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    if chain.starts_with(BYTE_ORDER_MARK) {
        return Err("the certificate file begins with a byte order mark, which PEM does not have");
    }
    let found: Vec<_> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| "the certificate is no PEM file")?;
    match found.is_empty() {
        false => Ok(found),
        true if holds(chain, b"PRIVATE KEY-----") => {
            Err("the certificate file holds a private key and no certificate")
        }
        true => Err("the certificate file holds no certificate"),
    }
}

fn private_key(text: &[u8]) -> Result<Arc<dyn SigningKey>, &'static str> {
    if text.starts_with(BYTE_ORDER_MARK) {
        return Err("the key file begins with a byte order mark, which PEM does not have");
    }
    if holds(text, b"BEGIN ENCRYPTED PRIVATE KEY") || holds(text, b"Proc-Type: 4,ENCRYPTED") {
        return Err("the private key is encrypted, and nobody is there to be asked for its passphrase");
    }
    let key = PrivateKeyDer::from_pem_slice(text).map_err(|_| match holds(text, b"BEGIN CERTIFICATE") {
        true => "the key file holds a certificate and no private key",
        false => "the key file holds no private key in PEM form",
    })?;
    any_supported_type(&key).map_err(|_| match holds(key.secret_der(), P_521) {
        true => "the private key is on the curve P-521, which is not supported (P-256 and P-384 are)",
        false => "the private key is of no supported type (RSA, ECDSA, Ed25519)",
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_of_the_right_file() {
        let file = |name: &str| std::fs::read(format!("tests/fixtures/tls/{name}")).unwrap();
        let marked = |name: &str| [BYTE_ORDER_MARK, &file(name)].concat();
        let (sound, key) = (file("sound.pem"), file("sound.key"));
        assert_eq!(Certificate::load(&sound, &key).unwrap().name(), "widgets.example");
        for (chain, key, chain_is_at_fault, word) in [
            (&sound, &file("encrypted.key"), false, "encrypted"),
            (&sound, &file("encrypted-ec.key"), false, "encrypted"),
            (&file("p521.pem"), &file("p521.key"), false, "P-521"),
            (&sound, &sound, false, "certificate and no private key"),
            (&sound, &marked("sound.key"), false, "byte order mark"),
            (&marked("sound.pem"), &key, true, "byte order mark"),
            (&file("v1.pem"), &key, true, "before version 3"),
            (&key, &key, true, "private key and no certificate"),
            (&file("p521.pem"), &key, true, "does not match"),
        ] {
            let (at_chain, why) = match Certificate::load(chain, key).unwrap_err() {
                Unfit::Chain(why) => (true, why),
                Unfit::Key(why) => (false, why),
            };
            assert!(
                at_chain == chain_is_at_fault && why.contains(word),
                "{word}: {why}"
            );
        }
    }
}
