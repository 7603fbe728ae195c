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
    /// A path under the field, of which every key is spelled plainly: `auth[user_id]`.
    Below,
    /// Leading blanks, `.`, space or an unclosed `[` that PHP turns into `_`, what it drops behind the last
    /// bracket; brackets around the name, which Rack 2 and Express' reader (qs) take away.
    Mangled,
    /// `name[...]` of a name that is a text, or `auth[]`, whose key PHP counts.
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

/// Rack 2 takes the text between leading brackets and the next one for the name, and what follows for the
/// keys, whether a bracket opens there or not; qs that of `[name]`.
fn unbracketed(name: &[u8]) -> Option<(Field, Spelling)> {
    let is_bracket = |b: &u8| matches!(b, b'[' | b']');
    let mut texts = name.split(is_bracket).filter(|text| !text.is_empty());
    let field = match Field::named(texts.next()?)? {
        Field::Auth => Field::in_auth(texts.next().unwrap_or_default()),
        field => field,
    };
    Some((field, Spelling::Mangled))
}

/// The known field that PHP registers under a name that is not spelled so.
///
/// Follows `php_register_variable_ex`: the name is a C string; leading spaces go; space and `.`
/// before the first `[` become `_`; `[` opens an index if a `]` follows, else it becomes `_` and, in
/// PHP 8, so does every space, `.` and `[` behind it.
fn registered(name: &[u8]) -> Option<(Field, Spelling)> {
    let (head, is_cut) = match memchr::memchr(0, name) {
        Some(at) => (name.get(..at).unwrap_or_default(), true),
        None => (name, false),
    };
    let blanks = head.iter().take_while(|&&b| b == b' ').count();
    let head = head.get(blanks..).unwrap_or_default();
    let (base, brackets) = match memchr::memchr(b'[', head) {
        Some(at) => head.split_at(at),
        None => (head, &[][..]),
    };
    let keys = Keys::of(brackets);
    let (base, spelling) = match keys.depth {
        0 => (head, Spelling::Mangled),
        1..=MAX_NESTING => (base, Spelling::Array),
        _ => (base, Spelling::Truncated),
    };
    let (field, spelling) = match (mangled(base)?, spelling) {
        // A text of that name claims nothing, however PHP comes to it.
        (Field::Auth, Spelling::Mangled) => return Some((Field::Auth, Spelling::Exact)),
        (Field::Auth, Spelling::Array) => (Field::in_auth(keys.first), keys.below(blanks == 0)),
        found => found,
    };
    Some((field, if is_cut { Spelling::Truncated } else { spelling }))
}

/// The indexes behind a name.
struct Keys<'n> {
    /// As many as PHP counts: the bracket that is never closed too, unless it is the first.
    depth: usize,
    first: &'n [u8],
    /// One of them is left to PHP to count.
    has_append: bool,
    /// Nothing stands between or behind the brackets, and no key has a bracket or begins with a blank.
    is_plain: bool,
}

impl<'n> Keys<'n> {
    fn of(mut brackets: &'n [u8]) -> Keys<'n> {
        let mut keys = Keys {
            depth: 0,
            first: &[],
            has_append: false,
            is_plain: true,
        };
        while let Some((b'[', inside)) = brackets.split_first() {
            let Some(close) = memchr::memchr(b']', inside) else {
                // PHP checks the depth when it meets the bracket, before it looks for the closing one.
                keys.depth += usize::from(keys.depth > 0);
                break;
            };
            let (key, after) = inside.split_at(close);
            if keys.depth == 0 {
                keys.first = key;
            }
            keys.depth += 1;
            // PHP steps over one white space in front of the closing bracket.
            keys.has_append |= matches!(key, [] | [b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c]);
            keys.is_plain &= key
                .first()
                .is_some_and(|b| !b.is_ascii_whitespace() && *b != 0x0b)
                && memchr::memchr(b'[', key).is_none();
            brackets = after.get(1..).unwrap_or_default();
        }
        keys.is_plain &= brackets.is_empty();
        keys
    }

    /// How a path under `auth` is spelled.
    fn below(&self, is_base_exact: bool) -> Spelling {
        if self.has_append {
            Spelling::Array
        } else if !self.is_plain || !is_base_exact {
            Spelling::Mangled
        } else if Field::in_auth(self.first) == Field::Auth {
            Spelling::Below
        } else {
            // Alone it would have been the field itself.
            Spelling::Array
        }
    }
}

/// The known field, which is no path, of a name in which space, `.` and `[` become `_`.
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
