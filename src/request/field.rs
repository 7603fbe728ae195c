//! The fourteen names a widget call is made of, the faults they can have, and a type per value.
//!
//! A value type can only be made by its `parse`, so whoever holds one holds a sound value. Token
//! fields have no type at all: nothing in this program keeps, prints or forwards them by name.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

macro_rules! fields {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A name that Bitrix24 gives meaning to in a widget call (case-sensitive).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Field { $(#[doc = $name] $variant),+ }

        impl Field {
            /// Every known name, in the order of the contract.
            pub const ALL: [Field; [$($name),+].len()] = [$(Field::$variant),+];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$variant => $name),+ }
            }

            /// The field of exactly this name.
            pub fn named(name: &[u8]) -> Option<Field> {
                // Names on the wire are mostly known ones; the length rules out nearly all others.
                $(if name == $name.as_bytes() { return Some(Field::$variant); })+
                None
            }
        }
    };
}

fields! {
    Domain = "DOMAIN", Protocol = "PROTOCOL", Lang = "LANG", AppSid = "APP_SID",
    AuthId = "AUTH_ID", AuthExpires = "AUTH_EXPIRES", RefreshId = "REFRESH_ID",
    ServerEndpoint = "SERVER_ENDPOINT", ApplicationToken = "APPLICATION_TOKEN",
    ApplicationScope = "APPLICATION_SCOPE", MemberId = "member_id", Status = "status",
    Placement = "PLACEMENT", PlacementOptions = "PLACEMENT_OPTIONS",
}

impl Field {
    /// How many names are known.
    pub const COUNT: usize = Field::ALL.len();

    /// Without these five a widget call is refused.
    pub const REQUIRED: [Field; 5] = [
        Field::Domain,
        Field::Protocol,
        Field::Lang,
        Field::MemberId,
        Field::Placement,
    ];

    /// Position in [`Field::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What can be wrong with one field. The words are the ones of the answer and of the metric.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FaultCode {
    /// Not in the request.
    Missing,
    /// There, but nothing except ASCII white space.
    Blank,
    /// Breaks the grammar of its type.
    Invalid,
    /// Twice in the query or twice in the body, with different values.
    Duplicate,
    /// The query says otherwise than the body.
    Conflict,
    /// A spelling that PHP (or another reader) turns into the name.
    Mangled,
    /// Brackets make it an array.
    Array,
    /// A NUL cuts the name, or nesting too deep deletes the variable.
    Truncated,
    /// A cookie that PHP could take for the field.
    Cookie,
}

impl FaultCode {
    /// Every code.
    pub const ALL: [FaultCode; 9] = [
        FaultCode::Missing,
        FaultCode::Blank,
        FaultCode::Invalid,
        FaultCode::Duplicate,
        FaultCode::Conflict,
        FaultCode::Mangled,
        FaultCode::Array,
        FaultCode::Truncated,
        FaultCode::Cookie,
    ];

    /// The word in the problem document and the value of the label `code`.
    pub const fn label(self) -> &'static str {
        match self {
            FaultCode::Missing => "missing",
            FaultCode::Blank => "blank",
            FaultCode::Invalid => "invalid",
            FaultCode::Duplicate => "duplicate",
            FaultCode::Conflict => "conflict",
            FaultCode::Mangled => "mangled",
            FaultCode::Array => "array",
            FaultCode::Truncated => "truncated",
            FaultCode::Cookie => "cookie",
        }
    }

    /// The end of the sentence that begins with the field's name.
    pub const fn says(self) -> &'static str {
        match self {
            FaultCode::Missing => "is missing",
            FaultCode::Blank => "is blank",
            FaultCode::Invalid => "is invalid",
            FaultCode::Duplicate => "is given twice with different values",
            FaultCode::Conflict => "differs between query and body",
            FaultCode::Mangled => "is given in a spelling that is read as this name",
            FaultCode::Array => "is given as an array",
            FaultCode::Truncated => "is given under a name that is cut or nested too deep",
            FaultCode::Cookie => "is shadowed by a cookie",
        }
    }

    /// Whether two readers could take two different values for the field.
    pub const fn is_ambiguous(self) -> bool {
        match self {
            FaultCode::Duplicate
            | FaultCode::Conflict
            | FaultCode::Mangled
            | FaultCode::Array
            | FaultCode::Truncated
            | FaultCode::Cookie => true,
            FaultCode::Missing | FaultCode::Blank | FaultCode::Invalid => false,
        }
    }
}

/// One fault of one field; never the value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FieldFault {
    /// Whose.
    pub field: Field,
    /// What.
    pub code: FaultCode,
}

/// A value that does not fit its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Invalid;

fn text(bytes: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(bytes).map_err(|_| Invalid)
}

fn bounded(bytes: &[u8], max: usize, allowed: impl Fn(u8) -> bool) -> Result<&str, Invalid> {
    if bytes.is_empty() || bytes.len() > max || !bytes.iter().all(|&b| allowed(b)) {
        return Err(Invalid);
    }
    text(bytes)
}

const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b'-'
}

/// `DOMAIN`: the host of the portal, `host` or `host:port`, lower-cased.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Domain(Box<str>);

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
        Ok(Domain(value.to_ascii_lowercase().into_boxed_str()))
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
    !host.is_empty()
        && host.len() <= 253
        && host.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(is_token)
                && !label.starts_with('-')
                && !label.ends_with('-')
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
        let value = bounded(bytes, 16, is_token)?;
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

/// How strictly `member_id` is read (`[widget] member_id`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemberIdShape {
    /// 32 lower-case hex digits: every genuine portal.
    #[default]
    Hex32,
    /// 1 to 64 of `A-Za-z0-9_-`.
    Token,
}

/// `member_id`: the portal's lasting identity and the key of the limit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(MemberIdRepr);

/// The genuine shape takes 16 bytes in the limiter's table instead of a heap string.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum MemberIdRepr {
    Hex([u8; 16]),
    Token(Arc<str>),
}

impl MemberId {
    /// Takes a value of the given shape.
    pub fn parse(bytes: &[u8], shape: MemberIdShape) -> Result<MemberId, Invalid> {
        match (packed_hex(bytes), shape) {
            (Some(packed), _) => Ok(MemberId(MemberIdRepr::Hex(packed))),
            (None, MemberIdShape::Hex32) => Err(Invalid),
            (None, MemberIdShape::Token) => Ok(MemberId(MemberIdRepr::Token(
                bounded(bytes, 64, is_token)?.into(),
            ))),
        }
    }
}

fn packed_hex(bytes: &[u8]) -> Option<[u8; 16]> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = bytes.as_chunks::<2>();
    if pairs.len() != 16 || !rest.is_empty() {
        return None;
    }
    let mut packed = [0; 16];
    for (byte, &[high, low]) in packed.iter_mut().zip(pairs) {
        *byte = digit(high)? << 4 | digit(low)?;
    }
    Some(packed)
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            MemberIdRepr::Hex(packed) => packed.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            MemberIdRepr::Token(token) => f.write_str(token),
        }
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `PLACEMENT`: the code of the place in the portal that the widget was opened from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placement(Box<str>);

impl Placement {
    /// Takes 1 to 128 of `A-Za-z0-9_.*:-`; the list differs per portal and grows, so none is checked.
    pub fn parse(bytes: &[u8]) -> Result<Placement, Invalid> {
        bounded(bytes, 128, |b| is_token(b) || matches!(b, b'.' | b'*' | b':')).map(|v| Placement(v.into()))
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
        bounded(bytes, 128, is_token).map(|v| AppSid(v.into()))
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
        bounded(bytes, 16, |b| b.is_ascii_alphabetic()).map(|v| Status(v.into()))
    }

    /// As sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// `AUTH_EXPIRES`: digits (seconds); checked, not kept.
pub fn check_auth_expires(bytes: &[u8]) -> Result<(), Invalid> {
    bounded(bytes, 20, |b| b.is_ascii_digit()).map(|_| ())
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
    fn a_member_id_prints_as_it_came() {
        let hex = "3f7a90c1d2e45b68a0719cbe8d243f56";
        assert_eq!(
            MemberId::parse(hex.as_bytes(), MemberIdShape::Hex32)
                .unwrap()
                .to_string(),
            hex
        );
        for bad in [
            "3F7A90C1D2E45B68A0719CBE8D243F56",
            "member-1",
            "3f7a90c1d2e45b68a0719cbe8d243f5",
            "",
        ] {
            assert_eq!(
                MemberId::parse(bad.as_bytes(), MemberIdShape::Hex32),
                Err(Invalid),
                "{bad:?}"
            );
        }
        assert_eq!(
            MemberId::parse(b"member-1", MemberIdShape::Token)
                .unwrap()
                .to_string(),
            "member-1"
        );
        assert_eq!(MemberId::parse(b"member 1", MemberIdShape::Token), Err(Invalid));
        assert_eq!(MemberId::parse(&[b'a'; 65], MemberIdShape::Token), Err(Invalid));
        assert_eq!(size_of::<MemberId>(), 24);
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

    #[test]
    fn every_name_finds_its_field() {
        for field in Field::ALL {
            assert_eq!(Field::named(field.name().as_bytes()), Some(field));
            assert_eq!(Field::ALL[field.index()], field);
        }
        assert_eq!(Field::named(b"MEMBER_ID"), None);
    }
}
