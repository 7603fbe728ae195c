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
        Field::ALL
            .into_iter()
            .zip(&self.readings)
            .all(|(field, reading)| {
                let mut values = pairs
                    .iter()
                    .filter(|(name, _)| name == field.name())
                    .map(|(_, value)| value.as_bytes());
                let first = values.next();
                match reading {
                    Reading::Absent => first.is_none(),
                    Reading::Value(read) => first == Some(&**read) && values.all(|value| value == &**read),
                    Reading::Faulty(code) => {
                        *code == FaultCode::Duplicate && values.any(|value| Some(value) != first)
                    }
                }
            })
    }
}

/// Names of letters, digits, `-` and `_`; values of printable ASCII without `;` and a second `=`, whose
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
        TOKEN.has_all(name)
            && value.iter().all(is_plain)
            && memchr::memchr_iter(b'%', value).all(escapes_ascii)
    })
}
