//! A second opinion, taken in debug builds only: wherever a part is so plain that serde_urlencoded's
//! reading must be PHP's, what was read is compared with what serde_urlencoded reads. Every test, the
//! differential runs and the fuzz targets go through it.

use super::decoding::escape;
use super::part::Part;
use super::reading::Reading;
use crate::request::byte_set::TOKEN;
use crate::request::field::{FaultCode, Field};

impl Part<'_> {
    /// Whether serde_urlencoded agrees, or the part is not plain enough to ask it.
    pub(super) fn agrees_with_serde_urlencoded(&self, bytes: &[u8]) -> bool {
        if !is_tame(bytes) {
            return true;
        }
        let Ok(pairs) = serde_urlencoded::from_bytes::<Vec<(String, String)>>(bytes) else {
            return false;
        };
        // Of `auth` itself nothing is kept.
        Field::ALL
            .into_iter()
            .zip(&self.readings)
            .filter(|(field, _)| *field != Field::Auth)
            .all(|(field, reading)| {
                let mut values = pairs
                    .iter()
                    .filter(|(name, _)| name == field.name())
                    .map(|(_, value)| value.as_bytes());
                let first = values.next();
                match reading {
                    Reading::Absent => first.is_none(),
                    Reading::Value(read) => {
                        first == Some(&**read) && values.all(|value| field.is_same(value, read))
                    }
                    Reading::Faulty(code) => {
                        let is_other = |value| first.is_none_or(|first| !field.is_same(first, value));
                        *code == FaultCode::Duplicate && values.any(is_other)
                    }
                }
            })
    }
}

/// Names of letters, digits, `-` and `_`, or those under a name of that kind in brackets; values of printable ASCII without `;` and a second `=`, whose
/// escapes are complete and ASCII: nothing of it is repaired, cut, mangled or split by anyone.
fn is_tame(bytes: &[u8]) -> bool {
    bytes.split(|&b| b == b'&').all(|piece| {
        let mut halves = piece.splitn(2, |&b| b == b'=');
        let (name, value) = (
            halves.next().unwrap_or_default(),
            halves.next().unwrap_or_default(),
        );
        let is_plain = |&b: &u8| (b' '..=b'~').contains(&b) && !matches!(b, b';' | b'=');
        let escapes_ascii = |at| matches!(escape(value.get(at + 1..).unwrap_or_default()), Some(0..=0x7f));
        is_tame_name(name)
            && value.iter().all(is_plain)
            && memchr::memchr_iter(b'%', value).all(escapes_ascii)
    })
}

fn is_tame_name(name: &[u8]) -> bool {
    let Some(inner) = name.strip_suffix(b"]") else {
        return TOKEN.has_all(name);
    };
    let mut words = inner.splitn(2, |&b| b == b'[');
    let (Some(first), Some(key)) = (words.next(), words.next()) else {
        return false;
    };
    let is_array_of_known = Field::named(first).is_some_and(|field| field != Field::Auth);
    let is_word = |word: &[u8]| !word.is_empty() && TOKEN.has_all(word);
    is_word(first) && is_word(key) && !is_array_of_known
}
