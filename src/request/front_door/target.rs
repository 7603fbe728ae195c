//! The request target: one path that every server behind resolves alike, and the query.

use std::borrow::Cow;

use super::Malformed;
use crate::request::byte_set::{ByteSet, byte_set};
use crate::request::form::escape;

/// A request target that has one meaning (RFC 9112 3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    /// Of an absolute-form target.
    pub authority: Option<&'a [u8]>,
    /// As it came.
    pub raw_path: &'a [u8],
    /// Decoded once: what routes are matched with.
    pub path: Cow<'a, [u8]>,
    /// As it came, without `?`.
    pub query: &'a [u8],
}

impl<'a> Target<'a> {
    /// Takes origin-form, absolute-form (http and https) and `*`.
    pub fn parse(raw: &'a [u8]) -> Result<Target<'a>, Malformed> {
        let (authority, rest) = match raw.first() {
            Some(b'/') => (None, raw),
            _ if raw == b"*" => (None, raw),
            _ => {
                let rest = absolute(raw).ok_or(Malformed::Target)?;
                let end = rest
                    .iter()
                    .position(|b| matches!(b, b'/' | b'?'))
                    .unwrap_or(rest.len());
                let (authority, rest) = rest.split_at_checked(end).ok_or(Malformed::Target)?;
                (Some(authority), rest)
            }
        };
        let (raw_path, query) = match memchr::memchr(b'?', rest).and_then(|at| rest.split_at_checked(at)) {
            Some((path, query)) => (path, query.get(1..).unwrap_or_default()),
            None => (rest, &[][..]),
        };
        // What the engine can not parse (raw `<`, say) it would refuse without a trace.
        let is_sound = match raw.first() {
            Some(b'/') => is_origin_form(raw, raw_path, query),
            _ => {
                !raw.iter().any(|&b| b <= b' ' || b == 0x7f || b == b'#') && http::Uri::try_from(raw).is_ok()
            }
        };
        if !is_sound || std::str::from_utf8(raw).is_err() {
            return Err(Malformed::Target);
        }
        let raw_path = if raw_path.is_empty() { b"/" } else { raw_path };
        Ok(Target {
            authority,
            raw_path,
            path: path(raw_path)?,
            query,
        })
    }

    /// The path with runs of slashes merged, where there are any.
    pub fn merged_slashes(&self) -> Option<Vec<u8>> {
        self.path.windows(2).any(|pair| pair == b"//").then(|| {
            let mut merged = self.path.to_vec();
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

fn absolute(raw: &[u8]) -> Option<&[u8]> {
    let strip = |scheme: &[u8]| {
        let (start, rest) = raw.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    strip(b"http://").or_else(|| strip(b"https://"))
}

/// Decodes a path once and refuses what a server behind could resolve to another script.
fn path(raw: &[u8]) -> Result<Cow<'_, [u8]>, Malformed> {
    if memchr::memchr(b'\\', raw).is_some() {
        return Err(Malformed::Path);
    }
    let path = if memchr::memchr(b'%', raw).is_none() {
        Cow::Borrowed(raw)
    } else {
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
        Cow::Owned(out)
    };
    if path
        .split(|&b| b == b'/')
        .any(|segment| matches!(segment, b"." | b".."))
    {
        return Err(Malformed::Path);
    }
    Ok(path)
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
                let is_refused = matches!(Target::parse(&raw), Err(Malformed::Target));
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
            assert_eq!(Target::parse(&raw).is_err(), is_refused);
            assert_eq!(is_parsed(&raw), !is_refused);
        }
    }

    proptest::proptest! {
        #[test]
        fn targets_are_judged_as_the_engine_judges_them(raw in "/[ -~\\PC]{0,24}(\\?[ -~\\PC]{0,24})?") {
            let raw = raw.as_bytes();
            let is_refused = matches!(Target::parse(raw), Err(Malformed::Target));
            proptest::prop_assert_eq!(is_refused, !is_parsed(raw));
        }
    }

    #[test]
    fn a_path_is_decoded_once() {
        let target = Target::parse(b"/a%20b/%252e?x=%2F").unwrap();
        assert_eq!(
            (&*target.path, target.query, target.raw_path),
            (&b"/a b/%2e"[..], &b"x=%2F"[..], &b"/a%20b/%252e"[..])
        );
        assert_eq!(
            Target::parse(b"/a//b///c").unwrap().merged_slashes(),
            Some(b"/a/b/c".to_vec())
        );
        assert_eq!(Target::parse(b"/a/b").unwrap().merged_slashes(), None);
        assert_eq!(&*Target::parse(b"http://h?x").unwrap().path, b"/");
    }
}
