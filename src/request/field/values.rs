//! A type per field whose shape is known.

use std::sync::Arc;

use crate::request::authority::{Authority, Host};
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
    /// or an IPv6 address in brackets, each with an optional port 1 to 65535; no scheme, no path. A colon
    /// without a port is none: portals behind a Unix socket send it.
    ///
    /// # Errors
    /// Any other value.
    pub fn parse(bytes: &[u8]) -> Result<Domain, Invalid> {
        let (value, _) = host_and_port(text(bytes)?)?;
        Ok(Domain(match value.bytes().any(|b| b.is_ascii_uppercase()) {
            true => value.to_ascii_lowercase().into(),
            false => value.into(),
        }))
    }

    /// `host` or `host:port`, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is a host of that name, in any case and with or without a trailing dot, or of that
    /// address; whatever the ports are.
    pub fn has_host(&self, other: Host<'_>) -> bool {
        match (Authority::parse(&self.0).map(|own| own.host), other) {
            (Some(Host::Name(own)), Host::Name(other)) => {
                without_dot(own).eq_ignore_ascii_case(without_dot(other))
            }
            (Some(Host::V6(own)), Host::V6(other)) => own == other,
            (Some(Host::Name(_) | Host::V6(_)) | None, _) => false,
        }
    }

    /// Whether a port is part of it.
    pub fn has_port(&self) -> bool {
        Authority::parse(&self.0).is_some_and(|own| own.port.is_some())
    }
}

/// What a [`Domain`] may be, without a colon that no port follows; and its host and port.
pub(super) fn host_and_port(value: &str) -> Result<(&str, Authority<'_>), Invalid> {
    if value.len() > 262 {
        return Err(Invalid);
    }
    let (value, is_open) = match value.strip_suffix(':') {
        Some(host) => (host, true),
        None => (value, false),
    };
    let authority = Authority::parse(value).ok_or(Invalid)?;
    let is_sound = match authority.host {
        Host::Name(name) => is_host(name),
        Host::V6(_) => true,
    };
    match is_sound && !(is_open && authority.port.is_some()) {
        true => Ok((value, authority)),
        false => Err(Invalid),
    }
}

/// RFC 1123 labels with `_` allowed (internal names have it), 63 bytes a label, 253 in all; one
/// trailing dot is the same host spelled absolutely.
fn is_host(host: &str) -> bool {
    let host = without_dot(host);
    // An empty host is one empty label.
    host.len() <= 253
        && host.as_bytes().split(|&b| b == b'.').all(|label| {
            (1..=63).contains(&label.len())
                && TOKEN.has_all(label)
                && !label.starts_with(b"-")
                && !label.ends_with(b"-")
        })
}

fn without_dot(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
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
    ///
    /// # Errors
    /// Any other value.
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
    ///
    /// # Errors
    /// Any other value.
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

/// RFC 5646 2.1, as far as the shape goes: subtags of 1 to 8 letters and digits, the first of letters. The
/// case is that of 2.1.1: a subtag of two letters is a region, one of four a script; behind a subtag of one
/// letter or digit, which begins an extension, neither is meant.
fn spelled_tag(code: &str) -> Option<String> {
    let mut subtags = code.split(['-', '_']);
    let primary = subtags.next()?;
    if !(2..=8).contains(&primary.len()) || !primary.bytes().all(|b| b.is_ascii_alphabetic()) {
        return None;
    }
    let mut tag = primary.to_owned();
    let mut follows_singleton = false;
    for subtag in subtags {
        tag.push('-');
        match subtag.len() {
            2 if !follows_singleton => tag.push_str(&subtag.to_ascii_uppercase()),
            4 if !follows_singleton => {
                let (initial, rest) = subtag.split_at_checked(1)?;
                tag.push_str(&initial.to_ascii_uppercase());
                tag.push_str(rest);
            }
            1..=8 => tag.push_str(subtag),
            _ => return None,
        }
        follows_singleton |= subtag.len() == 1;
    }
    Some(tag)
}

macro_rules! texts {
    ($($(#[doc = $about:literal])+ $name:ident($kept:ty), $takes:literal, $most:literal of $allowed:expr;)+) => {$(
        $(#[doc = $about])+
        #[derive(Clone, PartialEq, Eq, Debug)]
        pub struct $name($kept);

        impl $name {
            #[doc = $takes]
            ///
            /// # Errors
            /// Any other value.
            pub fn parse(bytes: &[u8]) -> Result<$name, Invalid> {
                static ALLOWED: ByteSet = $allowed;
                bounded(bytes, $most, &ALLOWED).map(|text| $name(text.into()))
            }

            /// As sent.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
    )+};
}

texts! {
    /// `PLACEMENT`: the code of the place in the portal that the widget was opened from. The list differs per portal
    /// and grows, so none is checked.
    Placement(Arc<str>), "Takes 1 to 128 of `A-Za-z0-9_.*:-`.",
        128 of byte_set!(b => b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'*' | b':'));
    /// `APP_SID`: ties the JavaScript library to its frame.
    AppSid(Box<str>), "Takes 1 to 128 of `A-Za-z0-9_-`.",
        128 of byte_set!(b => b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    /// `status`: the application's licence on the portal, a letter or few.
    Status(Box<str>), "Takes 1 to 16 letters.",
        16 of byte_set!(b => b.is_ascii_alphabetic());
    /// `event`: what happened in the portal.
    EventName(Box<str>), "Takes 1 to 64 of `A-Za-z0-9_`.",
        64 of byte_set!(b => b.is_ascii_alphanumeric() || b == b'_');
}

/// `AUTH_EXPIRES`: digits (seconds); checked, not kept.
///
/// # Errors
/// Any other value.
pub fn check_auth_expires(bytes: &[u8]) -> Result<(), Invalid> {
    static DIGITS: ByteSet = byte_set!(b => b.is_ascii_digit());
    bounded(bytes, 20, &DIGITS).map(|_| ())
}

/// A token: visible ASCII without quotes and angle brackets, so that it is nothing but text in a header, a
/// page or a line of a handler's; checked, not kept.
///
/// # Errors
/// Any other value.
pub fn check_token(bytes: &[u8]) -> Result<(), Invalid> {
    static ALLOWED: ByteSet =
        byte_set!(b => b.is_ascii_graphic() && !matches!(b, b'"' | b'\'' | b'<' | b'>'));
    ALLOWED.has_all(bytes).then_some(()).ok_or(Invalid)
}

/// `APPLICATION_SCOPE`: as a token, in which spaces may stand; checked, not kept.
///
/// # Errors
/// Any other value.
pub fn check_scope(bytes: &[u8]) -> Result<(), Invalid> {
    let is_sound = |word: &[u8]| check_token(word).is_ok();
    bytes
        .split(|&b| b == b' ')
        .all(is_sound)
        .then_some(())
        .ok_or(Invalid)
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
            ("Portal.ru:", "portal.ru"),
            ("[::1]:", "[::1]"),
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
            "a::",
            "a:80:",
            ":",
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
        for (code, locale) in [
            ("zh_HANS", "zh-Hans"),
            ("zh-hant-tw", "zh-Hant-TW"),
            ("pt_BR", "pt-BR"),
            ("EN-us", "en-US"),
            ("de-1996", "de-1996"),
            ("en-x-ab", "en-x-ab"),
        ] {
            assert_eq!(Lang::parse(code.as_bytes()).unwrap().locale(), locale);
        }
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
        assert!(EventName::parse(b"ONCRMDEALADD").is_ok());
        for bad in [&b""[..], b"ON-ADD", b"ON ADD", b"ON\r\nX", &[b'A'; 65]] {
            assert_eq!(EventName::parse(bad), Err(Invalid));
        }
    }

    #[test]
    fn tokens_are_text_and_nothing_else() {
        for sound in ["", "6061e72600631fcd", "a|b.c/d+e=f:g~", "`%&\\"] {
            assert_eq!(check_token(sound.as_bytes()), Ok(()), "{sound}");
        }
        for bad in [
            "a b",
            "a\"b",
            "a'b",
            "<b>",
            "a>",
            "a\r\nX: y",
            "a\0",
            "\u{e9}",
            "a\u{7f}",
        ] {
            assert_eq!(check_token(bad.as_bytes()), Err(Invalid), "{bad:?}");
        }
        assert_eq!(check_scope(b"crm,placement user"), Ok(()));
        assert_eq!(check_scope(b"crm,<b>"), Err(Invalid));
        assert_eq!(check_scope(b"crm\tuser"), Err(Invalid));
    }
}
