//! Which decoded names PHP, and other readers behind, take for a known one.

use crate::request::byte_set::TOKEN;
use crate::request::field::Field;

/// PHP's default `max_input_nesting_level`: one bracket more, and the variable is deleted.
const MAX_NESTING: usize = 64;

/// How a decoded name comes to mean a known field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Spelling {
    /// Equal after one decoding.
    Exact,
    /// Leading blanks, `.`, space or an unclosed `[` that PHP turns into `_`; brackets around the name,
    /// which Rack 2 and Express' reader (qs) take away.
    Mangled,
    /// `name[...]`.
    Array,
    /// Cut at a NUL, or nested so deep that PHP deletes the variable.
    Truncated,
}

/// The known field that a reader behind finds under this decoded name, and how it comes to that.
pub fn known(name: &[u8]) -> Option<(Field, Spelling)> {
    match Field::named(name) {
        Some(field) => Some((field, Spelling::Exact)),
        // Decoding and mangling leave these bytes as they are.
        None if TOKEN.has_all(name) => None,
        None => registered(name).or_else(|| unbracketed(name)),
    }
}

/// Rack 2 takes the text between leading brackets and the next one for the name, qs that of `[name]`.
fn unbracketed(name: &[u8]) -> Option<(Field, Spelling)> {
    let is_bracket = |b: &u8| matches!(b, b'[' | b']');
    let text = name.split(is_bracket).find(|text| !text.is_empty())?;
    Field::named(text).map(|field| (field, Spelling::Mangled))
}

/// The known field that PHP registers under a name that is not spelled so.
///
/// Follows `php_register_variable_ex`: the name is a C string; leading spaces go; space and `.`
/// before the first `[` become `_`; `[` opens an index if a `]` follows, else it becomes `_` and, in
/// PHP 8, so does every space, `.` and `[` behind it.
fn registered(name: &[u8]) -> Option<(Field, Spelling)> {
    let (head, cut) = match memchr::memchr(0, name) {
        Some(at) => (name.get(..at).unwrap_or_default(), true),
        None => (name, false),
    };
    let blanks = head.iter().take_while(|&&b| b == b' ').count();
    let head = head.get(blanks..).unwrap_or_default();
    let (base, brackets) = match memchr::memchr(b'[', head) {
        Some(at) => head.split_at(at),
        None => (head, &[][..]),
    };
    let (base, spelling) = match nesting(brackets) {
        0 => (head, Spelling::Mangled),
        deep if deep > MAX_NESTING => (base, Spelling::Truncated),
        _ => (base, Spelling::Array),
    };
    let field = mangled(base)?;
    Some((field, if cut { Spelling::Truncated } else { spelling }))
}

/// How many closed indexes stand at the start.
fn nesting(mut brackets: &[u8]) -> usize {
    let mut depth = 0;
    while let Some((b'[', inside)) = brackets.split_first() {
        match memchr::memchr(b']', inside) {
            Some(close) => {
                depth += 1;
                brackets = inside.get(close + 1..).unwrap_or_default();
            }
            // PHP checks the depth when it meets the bracket, before it looks for the closing one.
            None => return if depth == 0 { 0 } else { depth + 1 },
        }
    }
    depth
}

/// The known field of a name in which space, `.` and `[` become `_`.
fn mangled(name: &[u8]) -> Option<Field> {
    let is_read_as = |(&given, known): (&u8, u8)| match given {
        b' ' | b'.' | b'[' => known == b'_',
        _ => known == given,
    };
    Field::ALL.into_iter().find(|field| {
        let known = field.name();
        known.len() == name.len() && name.iter().zip(known.bytes()).all(is_read_as)
    })
}
