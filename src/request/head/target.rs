//! The request target: one path that every server behind resolves alike, and the query.

use bytes::Bytes;

use super::fault::Malformed;
use crate::request::byte_set::{ByteSet, byte_set};
use crate::request::form::escape;

/// A request target that has one meaning (RFC 9112 3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    raw: Bytes,
    /// Where the path begins; in an absolute-form target behind the authority.
    path_at: usize,
    /// Where the path ends: at the `?` or at the end.
    path_end: usize,
    /// The path decoded once, where that makes a difference.
    decoded: Option<Vec<u8>>,
}

impl Target {
    /// Takes origin-form, absolute-form (http and https) and `*`.
    ///
    /// # Errors
    /// Where two servers could resolve it differently.
    pub fn parse(raw: Bytes) -> Result<Target, Malformed> {
        let path_at = match raw.first() {
            Some(b'/' | b'*') => 0,
            _ => {
                let begin = scheme(&raw).ok_or(Malformed::Target)?;
                let rest = raw.get(begin..).unwrap_or_default();
                begin + memchr::memchr2(b'/', b'?', rest).unwrap_or(rest.len())
            }
        };
        let rest = raw.get(path_at..).unwrap_or_default();
        let path_end = memchr::memchr(b'?', rest).map_or(raw.len(), |at| path_at + at);
        let mut target = Target {
            raw,
            path_at,
            path_end,
            decoded: None,
        };
        // What the engine can not parse (raw `<`, say) it would refuse without a trace.
        let is_sound = match target.raw.first() {
            Some(b'/') => is_origin_form(&target.raw, target.raw_path(), target.query()),
            Some(b'*') => target.raw.len() == 1,
            _ => {
                !target.raw.iter().any(|&b| b <= b' ' || b == 0x7f || b == b'#')
                    && http::Uri::try_from(&*target.raw).is_ok()
            }
        };
        if !is_sound || std::str::from_utf8(&target.raw).is_err() {
            return Err(Malformed::Target);
        }
        target.decoded = decoded(target.raw_path())?;
        Ok(target)
    }

    /// As it came.
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// `host[:port]` of an absolute-form target, as it stands.
    pub fn authority(&self) -> Option<&[u8]> {
        self.raw.get(scheme(&self.raw)?..self.path_at)
    }

    /// The port that the scheme of an absolute-form target stands for.
    pub fn default_port(&self) -> u16 {
        match self.raw.get(..5) {
            Some(scheme) if scheme.eq_ignore_ascii_case(b"https") => 443,
            _ => 80,
        }
    }

    /// The path as it came; `/` where an absolute-form target has none.
    pub fn raw_path(&self) -> &[u8] {
        match self.raw.get(self.path_at..self.path_end) {
            None | Some([]) => b"/",
            Some(path) => path,
        }
    }

    /// The path as it came, to be kept.
    pub fn path_of_line(&self) -> Bytes {
        self.raw.slice(self.path_at..self.path_end)
    }

    /// The path decoded once: what routes are matched with.
    pub fn path(&self) -> &[u8] {
        self.decoded.as_deref().unwrap_or_else(|| self.raw_path())
    }

    /// As it came, without `?`.
    pub fn query(&self) -> &[u8] {
        self.raw.get(self.path_end + 1..).unwrap_or_default()
    }

    /// Path and query as an origin server gets them (RFC 9112 3.2.1), byte for byte.
    pub fn origin_form(&self) -> [&[u8]; 2] {
        [self.raw_path(), self.raw.get(self.path_end..).unwrap_or_default()]
    }

    /// The path with runs of slashes merged, where there are any.
    pub fn merged_slashes(&self) -> Option<Vec<u8>> {
        self.path().windows(2).any(|pair| pair == b"//").then(|| {
            let mut merged = self.path().to_vec();
            merged.dedup_by(|a, b| *a == b'/' && *b == b'/');
            merged
        })
    }
}

/// Whether `http::Uri` takes a target that begins with a slash, said without copying it (the tests
/// compare the two), and no fragment is in it.
fn is_origin_form(raw: &[u8], path: &[u8], query: &[u8]) -> bool {
    // Printable ASCII without `#`; the URI standard's characters and what clients send beyond them.
    static PATH: ByteSet =
        byte_set!(b => matches!(b, b'!'..=b'~' | 0x80..) && !matches!(b, b'#' | b'<' | b'>' | b'?' | b'`'));
    static QUERY: ByteSet =
        byte_set!(b => matches!(b, b'!'..=b'~' | 0x80..) && !matches!(b, b'"' | b'#' | b'<' | b'>'));
    raw.len() < usize::from(u16::MAX) && PATH.has_all(path) && QUERY.has_all(query)
}

/// Where the authority begins in an absolute-form target.
fn scheme(raw: &[u8]) -> Option<usize> {
    let begins = |scheme: &[u8]| {
        raw.get(..scheme.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(scheme))
            .then_some(scheme.len())
    };
    begins(b"http://").or_else(|| begins(b"https://"))
}

/// Decodes a path once and refuses what a server behind could resolve to another script. None where the
/// decoded path is the raw one.
fn decoded(raw: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    if memchr::memchr(b'\\', raw).is_some() {
        return Err(Malformed::Path);
    }
    let decoded = match memchr::memchr(b'%', raw) {
        None => None,
        Some(_) => {
            let mut out = Vec::with_capacity(raw.len());
            let mut rest = raw;
            while let Some((&b, after)) = rest.split_first() {
                rest = after;
                match (b, escape(after)) {
                    (b'%', Some(b'/' | b'\\' | 0)) => return Err(Malformed::Path),
                    (b'%', Some(byte)) => {
                        rest = after.get(2..).unwrap_or_default();
                        out.push(byte);
                    }
                    _ => out.push(b),
                }
            }
            Some(out)
        }
    };
    let has_dots = decoded
        .as_deref()
        .unwrap_or(raw)
        .split(|&b| b == b'/')
        .any(|segment| matches!(segment, b"." | b".."));
    match has_dots {
        true => Err(Malformed::Path),
        false => Ok(decoded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the engine's parser takes, less what is refused before it.
    fn is_parsed(raw: &[u8]) -> bool {
        let has_forbidden = raw.iter().any(|&b| b <= b' ' || b == 0x7f || b == b'#');
        !has_forbidden && std::str::from_utf8(raw).is_ok() && http::Uri::try_from(raw).is_ok()
    }

    #[test]
    fn each_byte_of_a_target_is_judged_as_the_engine_judges_it() {
        for byte in 0..=0xff {
            for raw in [
                vec![b'/', byte],
                vec![b'/', b'?', byte],
                vec![b'/', 0xd0, byte],
                vec![b'/', byte, b'?', byte],
                vec![byte],
                vec![byte, b'/'],
                [b"http://h/".as_slice(), &[byte]].concat(),
            ] {
                let is_refused = matches!(Target::parse(Bytes::from(raw.clone())), Err(Malformed::Target));
                let is_absolute =
                    matches!(raw.first(), Some(b'/')) || raw.starts_with(b"http") || raw == b"*";
                assert_eq!(
                    is_refused,
                    !(is_parsed(&raw) && is_absolute),
                    "{}",
                    raw.escape_ascii()
                );
            }
        }
        for (length, is_refused) in [(65_534, false), (65_535, true)] {
            let raw = [b"/".as_slice(), &vec![b'a'; length - 1]].concat();
            assert_eq!(Target::parse(Bytes::from(raw.clone())).is_err(), is_refused);
            assert_eq!(is_parsed(&raw), !is_refused);
        }
    }

    proptest::proptest! {
        #[test]
        fn targets_are_judged_as_the_engine_judges_them(raw in "/[ -~\\PC]{0,24}(\\?[ -~\\PC]{0,24})?") {
            let raw = raw.as_bytes();
            let is_refused = matches!(Target::parse(Bytes::copy_from_slice(raw)), Err(Malformed::Target));
            proptest::prop_assert_eq!(is_refused, !is_parsed(raw));
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        let parse = |raw: &'static str| Target::parse(Bytes::from_static(raw.as_bytes())).unwrap();
        let target = parse("/a%20b/%252e?x=%2F");
        assert_eq!(
            (target.path(), target.query(), target.raw_path()),
            (&b"/a b/%2e"[..], &b"x=%2F"[..], &b"/a%20b/%252e"[..])
        );
        assert_eq!(parse("/a//b///c").merged_slashes(), Some(b"/a/b/c".to_vec()));
        assert_eq!(parse("/a/b").merged_slashes(), None);
        for (raw, authority, origin_form) in [
            ("http://h?x", Some("h"), "/?x"),
            ("HTTPS://h:1/a?", Some("h:1"), "/a?"),
            ("http://h", Some("h"), "/"),
            ("/a?b?c", None, "/a?b?c"),
            ("*", None, "*"),
        ] {
            let target = parse(raw);
            assert_eq!(target.authority(), authority.map(str::as_bytes), "{raw}");
            assert_eq!(target.origin_form().concat(), origin_form.as_bytes(), "{raw}");
        }
    }
}
