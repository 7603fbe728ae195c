//! A type per field whose shape is known.

use std::sync::Arc;

use crate::request::byte_set::{ByteSet, TOKEN, byte_set};

/// A value that does not fit its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid;

fn text(bytes: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(bytes).map_err(|_| Invalid)
}

pub(super) fn bounded<'a>(bytes: &'a [u8], max: usize, allowed: &ByteSet) -> Result<&'a str, Invalid> {
    if bytes.is_empty() || bytes.len() > max || !allowed.has_all(bytes) {
        return Err(Invalid);
    }
    text(bytes)
}

/// `DOMAIN`: the host of the portal, `host` or `host:port`, lower-cased.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain(Arc<str>);

impl Domain {
    /// Takes a host name (letters, digits, `-`, `_`, dots; punycode is that too), an IPv4 address
    /// or an IPv6 address in brackets, each with an optional port 1 to 65535; no scheme, no path.
    pub fn parse(bytes: &[u8]) -> Result<Domain, Invalid> {
        let value = text(bytes)?;
        if value.len() > 261 {
            return Err(Invalid);
        }
        let (host, port) = match value.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(Invalid)?;
                address.parse::<std::net::Ipv6Addr>().map_err(|_| Invalid)?;
                match after.strip_prefix(':') {
                    Some(port) => (None, Some(port)),
                    None if after.is_empty() => (None, None),
                    None => return Err(Invalid),
                }
            }
            None => match value.split_once(':') {
                Some((host, port)) => (Some(host), Some(port)),
                None => (Some(value), None),
            },
        };
        if host.is_some_and(|host| !is_host(host)) || port.is_some_and(|port| !is_port(port)) {
            return Err(Invalid);
        }
        Ok(Domain(match value.bytes().any(|b| b.is_ascii_uppercase()) {
            true => value.to_ascii_lowercase().into(),
            false => value.into(),
        }))
    }

    /// `host` or `host:port`, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// RFC 1123 labels with `_` allowed (internal names have it), 63 bytes a label, 253 in all; one
/// trailing dot is the same host spelled absolutely.
fn is_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    // An empty host is one empty label.
    host.len() <= 253
        && host.as_bytes().split(|&b| b == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && TOKEN.has_all(label)
                && !label.starts_with(b"-")
                && !label.ends_with(b"-")
        })
}

fn is_port(port: &str) -> bool {
    port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0)
}

/// `PROTOCOL`: how the portal's page was served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    /// `0`
    Http,
    /// `1`
    Https,
}

impl Protocol {
    /// Takes `0` or `1` and nothing else.
    pub fn parse(bytes: &[u8]) -> Result<Protocol, Invalid> {
        match bytes {
            b"0" => Ok(Protocol::Http),
            b"1" => Ok(Protocol::Https),
            _ => Err(Invalid),
        }
    }

    /// The URL scheme.
    pub const fn scheme(self) -> &'static str {
        match self {
            Protocol::Http => "http",
            Protocol::Https => "https",
        }
    }
}

/// `LANG`: Bitrix24's code of the user's language, as sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lang(Box<str>);

impl Lang {
    /// Takes 2 to 16 of `A-Za-z0-9_-`, a letter first. The list of languages grows and on-premise
    /// portals have their own, so none is checked.
    pub fn parse(bytes: &[u8]) -> Result<Lang, Invalid> {
        let value = bounded(bytes, 16, &TOKEN)?;
        if value.len() < 2 || !bytes.first().is_some_and(u8::is_ascii_alphabetic) {
            return Err(Invalid);
        }
        Ok(Lang(value.into()))
    }

    /// As sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The BCP 47 tag. Bitrix24's codes are not all ISO ones; where they differ, the mapping is that
    /// of its own JavaScript SDK (`language/list.ts`). Any other code is written as a tag the way it
    /// is spelled, `und` where it can not be one.
    pub fn locale(&self) -> String {
        let code = self.0.to_ascii_lowercase();
        let tag = match code.as_str() {
            "br" => "pt-BR",
            "by" => "be",
            "id" => "id-ID",
            "in" => "hi-IN",
            "ja" => "ja-JP",
            "kz" => "kk",
            "la" => "es-ES",
            "ms" => "ms-MY",
            "sc" => "zh-CN",
            "tc" => "zh-TW",
            "ua" => "uk-UA",
            "vn" => "vi-VN",
            other => return spelled_tag(other).unwrap_or_else(|| "und".to_owned()),
        };
        tag.to_owned()
    }
}

/// RFC 5646 2.1, as far as the shape goes: subtags of 1 to 8 letters and digits, the first of letters.
fn spelled_tag(code: &str) -> Option<String> {
    let tag = code.replace('_', "-");
    let mut subtags = tag.split('-');
    let primary = subtags.next()?;
    let sound = (2..=8).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && subtags.all(|subtag| (1..=8).contains(&subtag.len()));
    sound.then_some(tag)
}

/// `PLACEMENT`: the code of the place in the portal that the widget was opened from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement(Arc<str>);

impl Placement {
    /// Takes 1 to 128 of `A-Za-z0-9_.*:-`; the list differs per portal and grows, so none is checked.
    pub fn parse(bytes: &[u8]) -> Result<Placement, Invalid> {
        static ALLOWED: ByteSet =
            byte_set!(b => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'*' | b':'));
        bounded(bytes, 128, &ALLOWED).map(|v| Placement(v.into()))
    }

    /// As sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `APP_SID`: ties the JavaScript library to its frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppSid(Box<str>);

impl AppSid {
    /// Takes 1 to 128 of `A-Za-z0-9_-`.
    pub fn parse(bytes: &[u8]) -> Result<AppSid, Invalid> {
        bounded(bytes, 128, &TOKEN).map(|v| AppSid(v.into()))
    }

    /// As sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `status`: the application's licence on the portal, a letter or few.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status(Box<str>);

impl Status {
    /// Takes 1 to 16 letters.
    pub fn parse(bytes: &[u8]) -> Result<Status, Invalid> {
        static LETTERS: ByteSet = byte_set!(b => b.is_ascii_alphabetic());
        bounded(bytes, 16, &LETTERS).map(|v| Status(v.into()))
    }

    /// As sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `AUTH_EXPIRES`: digits (seconds); checked, not kept.
pub fn check_auth_expires(bytes: &[u8]) -> Result<(), Invalid> {
    static DIGITS: ByteSet = byte_set!(b => b.is_ascii_digit());
    bounded(bytes, 20, &DIGITS).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_are_hosts_with_an_optional_port() {
        for (given, want) in [
            ("Portal.Bitrix24.COM", "portal.bitrix24.com"),
            ("crm.local:8443", "crm.local:8443"),
            ("b24_dev", "b24_dev"),
            ("10.0.0.7", "10.0.0.7"),
            ("[2001:DB8::1]:8080", "[2001:db8::1]:8080"),
            ("[::1]", "[::1]"),
            ("xn--80ak6aa92e.com", "xn--80ak6aa92e.com"),
        ] {
            assert_eq!(Domain::parse(given.as_bytes()).unwrap().as_str(), want);
        }
        for bad in [
            "",
            "https://a.b",
            "a.b/rest",
            "a..b",
            ".a",
            "a b",
            "a:0",
            "a:65536",
            "a:",
            "a:8x",
            "[::1",
            "[::1]x",
            "[1.2.3.4]",
            "-a.b",
            "a-.b",
            "a;b",
            "a.b:80:80",
            "é.com",
            "a\r\nb",
            "a@b",
        ] {
            assert_eq!(Domain::parse(bad.as_bytes()), Err(Invalid), "{bad:?}");
        }
        assert_eq!(Domain::parse(&[b'a'; 64]), Err(Invalid));
        assert_eq!(Domain::parse(b"a\xff.com"), Err(Invalid));
    }

    #[test]
    fn lang_placement_status_sid_and_expiry_keep_to_their_alphabets() {
        assert_eq!(Lang::parse(b"la").unwrap().locale(), "es-ES");
        assert_eq!(Lang::parse(b"zh_HANS").unwrap().locale(), "zh-hans");
        assert_eq!(Lang::parse(b"en").unwrap().locale(), "en");
        assert_eq!(Lang::parse(b"en--x").unwrap().locale(), "und");
        for bad in [
            &b"e"[..],
            b"1e",
            b"en ru",
            b"en\r\nX",
            b"aaaaaaaaaaaaaaaaa",
            b"e\xff",
        ] {
            assert_eq!(Lang::parse(bad), Err(Invalid));
        }
        assert!(Placement::parse(b"LANDING_BLOCK_shop.catalog*").is_ok());
        assert_eq!(Placement::parse(b"<script>"), Err(Invalid));
        assert_eq!(Placement::parse(&[b'A'; 129]), Err(Invalid));
        assert!(Status::parse(b"L").is_ok());
        assert_eq!(Status::parse(b"L1"), Err(Invalid));
        assert!(AppSid::parse(b"5d41402abc4b2a76b9719d911017c592").is_ok());
        assert_eq!(AppSid::parse(b"a b"), Err(Invalid));
        assert_eq!(check_auth_expires(b"3600"), Ok(()));
        assert_eq!(check_auth_expires(b"-1"), Err(Invalid));
    }
}
