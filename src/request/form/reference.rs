//! The reader as it would be written without a thought for its cost: split, decode everything, byte by
//! byte. The tests compare the real one with it.

use std::borrow::Cow;

use super::spelling::Spelling;
use super::{FormFault, Reading};
use crate::request::field::{FaultCode, Field};

const MAX_NESTING: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Query,
    Body,
}

#[derive(Default)]
struct Part<'a> {
    readings: [Reading<'a>; Field::COUNT],
}

pub(super) fn parse<'a>(
    query: &'a [u8],
    body: &'a [u8],
    max_params: usize,
) -> Result<[Reading<'a>; Field::COUNT], FormFault> {
    let in_query = query
        .split(|&b| b == b'&')
        .filter(|piece| !piece.is_empty())
        .count();
    let in_body = if body.is_empty() {
        0
    } else {
        body.split(|&b| b == b'&').count()
    };
    if in_query > max_params || in_body > max_params {
        return Err(FormFault::TooManyParams);
    }
    let query = Part::read_bytes(query, Origin::Query);
    let body = Part::read_bytes(body, Origin::Body);
    let mut readings = <[Reading<'_>; Field::COUNT]>::default();
    for ((reading, in_query), in_body) in readings.iter_mut().zip(query.readings).zip(body.readings) {
        *reading = match (in_query, in_body) {
            (Reading::Faulty(code), _) | (_, Reading::Faulty(code)) => Reading::Faulty(code),
            (Reading::Absent, other) | (other, Reading::Absent) => other,
            (Reading::Value(a), Reading::Value(b)) if a == b => Reading::Value(b),
            (Reading::Value(_), Reading::Value(_)) => Reading::Faulty(FaultCode::Conflict),
        };
    }
    Ok(readings)
}

impl<'a> Part<'a> {
    fn read_bytes(bytes: &'a [u8], origin: Origin) -> Part<'a> {
        let mut part = Part::default();
        for piece in bytes.split(|&b| b == b'&').filter(|piece| !piece.is_empty()) {
            // With `arg_separator.input = "&;"`, PHP splits the query here too; Rack before 3 does.
            if origin == Origin::Query && memchr::memchr(b';', piece).is_some() {
                for pair in piece.split(|&b| b == b';') {
                    if let Some((field, _)) = known(&decoded(split_pair(pair).0)) {
                        part.mark(field, FaultCode::Mangled);
                    }
                }
            }
            let (name, value) = split_pair(piece);
            match known(&decoded(name)) {
                None => {}
                Some((field, Spelling::Exact)) => {
                    let text = decoded(value);
                    // The options may be any bytes: their state is told, and they become no header.
                    if field == Field::PlacementOptions || reads_alike(value, &text) {
                        part.add(field, text);
                    } else {
                        part.mark(field, FaultCode::Invalid);
                    }
                }
                Some((field, Spelling::Mangled)) => part.mark(field, FaultCode::Mangled),
                Some((field, Spelling::Array)) => part.mark(field, FaultCode::Array),
                Some((field, Spelling::Truncated)) => part.mark(field, FaultCode::Truncated),
            }
        }
        part
    }

    fn slot(&mut self, field: Field) -> Option<&mut Reading<'a>> {
        self.readings.get_mut(field.index())
    }

    fn add(&mut self, field: Field, value: Cow<'a, [u8]>) {
        if let Some(slot) = self.slot(field) {
            match slot {
                Reading::Absent => *slot = Reading::Value(value),
                Reading::Value(first) if *first == value => {}
                Reading::Value(_) => *slot = Reading::Faulty(FaultCode::Duplicate),
                Reading::Faulty(_) => {}
            }
        }
    }

    fn mark(&mut self, field: Field, code: FaultCode) {
        if let Some(slot) = self.slot(field)
            && !matches!(slot, Reading::Faulty(_))
        {
            *slot = Reading::Faulty(code);
        }
    }
}

fn split_pair(piece: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', piece) {
        Some(at) => {
            let (name, value) = piece.split_at(at);
            (name, value.get(1..).unwrap_or_default())
        }
        None => (piece, &[]),
    }
}

/// `php_url_decode`: `+` is a space, `%` with two hex digits a byte, anything else itself; once.
fn decoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr2(b'%', b'+', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        out.push(match b {
            b'+' => b' ',
            b'%' => match escape(after) {
                Some(byte) => {
                    rest = after.get(2..).unwrap_or_default();
                    byte
                }
                None => b,
            },
            _ => b,
        });
    }
    Cow::Owned(out)
}

/// The byte that the two hex digits after a `%` stand for.
fn escape(after_percent: &[u8]) -> Option<u8> {
    let digit = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
    match after_percent {
        [high, low, ..] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    }
}

/// Whether PHP, Python, Node, Go and Rack all take the same text from the raw value (measured): every
/// escape is complete, the bytes are UTF-8, and no `]=` is in it, at which Express' reader (qs) would
/// end the name.
fn reads_alike(raw: &[u8], value: &[u8]) -> bool {
    let whole =
        memchr::memchr_iter(b'%', raw).all(|at| escape(raw.get(at + 1..).unwrap_or_default()).is_some());
    let splits_elsewhere = memchr::memchr_iter(b'=', raw).any(|at| {
        raw.get(..at)
            .is_some_and(|before| decoded(before).ends_with(b"]"))
    });
    whole && !splits_elsewhere && std::str::from_utf8(value).is_ok()
}

/// The known field that a reader behind finds under this decoded name, and how it comes to that.
fn known(name: &[u8]) -> Option<(Field, Spelling)> {
    match Field::named(name) {
        Some(field) => Some((field, Spelling::Exact)),
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
    let head = head.trim_start_bytes(b' ');
    let (base, brackets) = match memchr::memchr(b'[', head) {
        Some(at) => head.split_at(at),
        None => (head, &[][..]),
    };
    let spelling = if brackets.is_empty() {
        Spelling::Mangled
    } else {
        match nesting(brackets) {
            0 => {
                let whole = mangled(head)?;
                return Some((
                    Field::named(&whole)?,
                    if cut {
                        Spelling::Truncated
                    } else {
                        Spelling::Mangled
                    },
                ));
            }
            deep if deep > MAX_NESTING => Spelling::Truncated,
            _ => Spelling::Array,
        }
    };
    let field = Field::named(&mangled(base)?)?;
    Some((field, if cut { Spelling::Truncated } else { spelling }))
}

/// How many closed indexes stand at the start; the text begins with `[`.
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

/// Space, `.` and `[` become `_`. `None` where the length alone rules out a known name, so that a
/// long foreign name is not copied.
fn mangled(name: &[u8]) -> Option<Vec<u8>> {
    const LONGEST: usize = 17;
    if name.len() > LONGEST {
        return None;
    }
    Some(
        name.iter()
            .map(|&b| if matches!(b, b' ' | b'.' | b'[') { b'_' } else { b })
            .collect(),
    )
}

/// `trim_start_matches` for bytes.
trait TrimStart {
    fn trim_start_bytes(&self, byte: u8) -> &[u8];
}

impl TrimStart for [u8] {
    fn trim_start_bytes(&self, byte: u8) -> &[u8] {
        let blanks = self.iter().take_while(|&&b| b == byte).count();
        self.get(blanks..).unwrap_or_default()
    }
}
