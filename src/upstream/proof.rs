//! What a handler tells the gateway by from a neighbour on its network: a header with a secret that both know.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

/// `proof` of an upstream.
#[derive(Clone, PartialEq, Eq)]
pub struct Proof {
    header: HeaderName,
    secret: HeaderValue,
}

impl Proof {
    /// The secret as its file holds it, white space around it aside.
    ///
    /// # Errors
    /// Where it is not 16 to 4096 visible ASCII characters.
    pub fn new(header: HeaderName, secret: &[u8]) -> Result<Proof, &'static str> {
        let secret = secret.trim_ascii();
        let is_sound = (16..=4096).contains(&secret.len()) && secret.iter().all(u8::is_ascii_graphic);
        let value = HeaderValue::from_bytes(secret).ok().filter(|_| is_sound);
        let mut secret = value.ok_or("holds no such secret")?;
        secret.set_sensitive(true);
        Ok(Proof { header, secret })
    }

    /// The name of the header.
    pub fn header(&self) -> &HeaderName {
        &self.header
    }

    /// Its value.
    pub fn secret(&self) -> &HeaderValue {
        &self.secret
    }

    /// The line of a head.
    pub(super) fn append(&self, head: &mut Vec<u8>) {
        for part in [
            self.header.as_str().as_bytes(),
            b": ",
            self.secret.as_bytes(),
            b"\r\n",
        ] {
            head.extend_from_slice(part);
        }
    }

    /// What a client sends under the name, in every spelling that PHP or a lax server reads as it.
    pub(super) fn claimed<'h>(&self, headers: &'h HeaderMap) -> impl Iterator<Item = &'h HeaderName> {
        let spelled = |b: u8| match b.is_ascii_alphanumeric() {
            true => b.to_ascii_lowercase(),
            false => b'_',
        };
        let own: Vec<u8> = self.header.as_str().bytes().map(spelled).collect();
        let is_own = move |name: &&HeaderName| name.as_str().bytes().map(spelled).eq(own.iter().copied());
        headers.keys().filter(is_own)
    }
}

/// The secret is nobody's to read.
impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a proof in {}", self.header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_the_name_is_found_and_the_secret_is_not_shown() {
        let proof = |secret: &str| Proof::new("X-Gateway-Proof".parse().unwrap(), secret.as_bytes());
        let sound = proof(" 0123456789abcdef\n").unwrap();
        assert_eq!(sound.secret(), "0123456789abcdef");
        assert!(!format!("{sound:?}{:?}", sound.secret()).contains("0123"));
        let names = [
            "x-gateway-proof",
            "X_Gateway-Proof",
            "x.gateway.proof",
            "x-gateway-proofs",
            "gateway-proof",
        ];
        let headers: HeaderMap = names
            .iter()
            .map(|name| (name.parse().unwrap(), HeaderValue::from_static("1")))
            .collect();
        let mut claimed: Vec<_> = sound.claimed(&headers).map(HeaderName::as_str).collect();
        claimed.sort_unstable();
        assert_eq!(claimed, ["x-gateway-proof", "x.gateway.proof", "x_gateway-proof"]);
        for bad in ["", "short", "0123456789 abcdef", "0123456789äbcdef"] {
            assert!(proof(bad).is_err(), "{bad}");
        }
    }
}
