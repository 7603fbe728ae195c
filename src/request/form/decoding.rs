//! `php_url_decode`, and whether other readers take the same text from the same bytes.

use std::borrow::Cow;

use crate::request::byte_set::hex_digit;

/// A raw value as PHP decodes it.
pub(super) struct Text<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// PHP, Python, Node, Go and Rack all take this text from the raw value (measured): every escape is
    /// complete, the bytes are UTF-8, and no `]=` is in it, at which Express' reader (qs) would end the
    /// name.
    pub(super) reads_alike: bool,
}

impl<'a> Text<'a> {
    /// `is_ascii`: whether that is already known of the raw bytes.
    pub(super) fn of(raw: &'a [u8], is_ascii: bool) -> Text<'a> {
        // Nearly every genuine value is neither escaped nor holds a second `=`.
        if memchr::memchr3(b'%', b'+', b'=', raw).is_none() {
            return Text {
                bytes: Cow::Borrowed(raw),
                reads_alike: is_ascii || std::str::from_utf8(raw).is_ok(),
            };
        }
        let (bytes, whole) = unescape(raw);
        Text {
            reads_alike: whole && std::str::from_utf8(&bytes).is_ok() && !splits_elsewhere(raw),
            bytes: Cow::Owned(bytes),
        }
    }
}

/// Whether an `=` follows what is decoded to `]`.
fn splits_elsewhere(raw: &[u8]) -> bool {
    memchr::memchr_iter(b'=', raw).any(|at| match raw.get(..at) {
        Some([.., b']']) => true,
        Some([.., b'%', high, low]) => escape(&[*high, *low]) == Some(b']'),
        _ => false,
    })
}

/// `php_url_decode`: `+` is a space, `%` with two hex digits a byte, anything else itself; once.
pub fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memchr2(b'%', b'+', raw) {
        None => Cow::Borrowed(raw),
        Some(_) => Cow::Owned(unescape(raw).0),
    }
}

/// The decoded bytes, and whether every `%` began a complete escape.
fn unescape(raw: &[u8]) -> (Vec<u8>, bool) {
    let mut whole = true;
    let mut rest = raw.iter();
    // Written in place rather than pushed: the text is never longer, so that no growth is checked.
    let mut out = vec![0; raw.len()];
    let mut length = 0;
    for slot in &mut out {
        let Some(&byte) = rest.next() else { break };
        *slot = match byte {
            b'+' => b' ',
            b'%' => match escape(rest.as_slice()) {
                Some(escaped) => {
                    rest.nth(1);
                    escaped
                }
                None => {
                    whole = false;
                    b'%'
                }
            },
            byte => byte,
        };
        length += 1;
    }
    out.truncate(length);
    (out, whole)
}

/// The byte that the two hex digits after a `%` stand for.
pub fn escape(after_percent: &[u8]) -> Option<u8> {
    match after_percent {
        [high, low, ..] => Some(hex_digit(*high)? << 4 | hex_digit(*low)?),
        _ => None,
    }
}
