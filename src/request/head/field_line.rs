//! One line of a header section (RFC 9112 5).

use http::HeaderName;

use super::fault::Malformed;
use crate::request::byte_set::{ByteSet, byte_set};

/// A header line whose name is a token and whose value holds no control byte.
pub(super) struct FieldLine<'a> {
    /// As it came, without its end.
    pub(super) whole: &'a [u8],
    pub(super) name: HeaderName,
    /// Without white space around it.
    pub(super) value: &'a [u8],
}

impl<'a> FieldLine<'a> {
    fn parse(line: &'a [u8]) -> Result<FieldLine<'a>, Malformed> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Malformed::ObsFold);
        }
        let Some((name, value)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        else {
            return Err(no_control(line).err().unwrap_or(Malformed::HeaderName));
        };
        let Some(sound) = HeaderName::from_bytes(name).ok().filter(|_| is_token(name)) else {
            return Err(no_control(name).err().unwrap_or(Malformed::HeaderName));
        };
        no_control(value)?;
        Ok(FieldLine {
            whole: line,
            name: sound,
            value: value.get(1..).unwrap_or_default().trim_ascii(),
        })
    }
}

/// Each line of a section whose lines end with CRLF.
pub(super) fn each_line(section: &[u8]) -> impl Iterator<Item = Result<FieldLine<'_>, Malformed>> {
    let mut rest = section;
    std::iter::from_fn(move || {
        let (line, after) = rest.split_at_checked(memchr::memchr(b'\n', rest)? + 1)?;
        rest = after;
        Some(
            line.strip_suffix(b"\r\n")
                .ok_or(Malformed::BareLf)
                .and_then(FieldLine::parse),
        )
    })
}

/// RFC 9110 5.6.2.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    static TCHAR: ByteSet = byte_set!(b => b.is_ascii_alphanumeric()
    || matches!(
        b,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
    ));
    !bytes.is_empty() && TCHAR.has_all(bytes)
}

/// Field values may hold HTAB, printable ASCII and bytes beyond it (RFC 9110 5.5).
const fn is_control(b: u8) -> bool {
    (b < b' ' && b != b'\t') || b == 0x7f
}

/// # Errors
/// Where there is a control byte; a CR is told by its own name.
pub(super) fn no_control(bytes: &[u8]) -> Result<(), Malformed> {
    static FIELD_BYTES: ByteSet = byte_set!(b => !is_control(b));
    // Sixteen bytes are one comparison, if the compiler is told that they are sixteen; the last
    // sixteen overlap those before them.
    let has_control = |chunk: &[u8; 16]| chunk.iter().fold(false, |found, &b| found | is_control(b));
    let is_clean = match bytes.last_chunk() {
        Some(last) => !bytes.as_chunks().0.iter().any(has_control) && !has_control(last),
        None => FIELD_BYTES.has_all(bytes),
    };
    if is_clean {
        return Ok(());
    }
    match bytes.iter().find(|&&b| is_control(b)) {
        Some(b'\r') => Err(Malformed::BareCr),
        Some(_) | None => Err(Malformed::Control),
    }
}
