//! The reader as it would be written without a thought for its cost: split, decode everything, byte by
//! byte, compare everything with everything. The tests compare the real one with it.

use std::borrow::Cow;

use super::{FormFault, Reading};
use crate::request::field::{FaultCode, Field};

const MAX_NESTING: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Query,
    Body,
}

/// What one pair is found to be.
enum Found {
    /// Of a field, whose value is the text.
    Value(Field, Vec<u8>),
    Fault(Field, FaultCode),
    /// Under `auth`, with these keys.
    Below(Vec<Vec<u8>>, Vec<u8>),
    PlainAuth,
}

/// Every reading, and whether anything is under `auth`.
pub(super) fn parse(
    query: &[u8],
    body: &[u8],
    max_params: usize,
) -> Result<([Reading<'static>; Field::COUNT], bool), FormFault> {
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
    let mut found = read_part(query, Place::Query);
    found.extend(read_part(body, Place::Body));
    let mut readings = Field::ALL.map(|field| reading(field, &found));
    let has_auth = found.iter().any(|(_, found)| match found {
        Found::Value(field, _) | Found::Fault(field, _) => field.name().starts_with("auth"),
        Found::Below(..) => true,
        Found::PlainAuth => false,
    });
    let auth = readings.last_mut().unwrap();
    if !matches!(auth, Reading::Faulty(_)) {
        let is_plain = found.iter().any(|(_, found)| matches!(found, Found::PlainAuth));
        if let Some(code) = (is_plain && has_auth)
            .then_some(FaultCode::Array)
            .or_else(|| below(&found))
        {
            *auth = Reading::Faulty(code);
        }
    }
    Ok((readings, has_auth))
}

/// The first fault of the query, else of the body; else whether the values are one.
fn reading(field: Field, found: &[(Place, Found)]) -> Reading<'static> {
    let mut parts = [Reading::Absent, Reading::Absent];
    for (place, found) in found {
        let slot = &mut parts[usize::from(*place == Place::Body)];
        match (found, &*slot) {
            (_, Reading::Faulty(_)) => {}
            (Found::Fault(of, code), _) if *of == field => *slot = Reading::Faulty(*code),
            (Found::Value(of, value), Reading::Absent) if *of == field => {
                *slot = Reading::Value(Cow::Owned(value.clone()));
            }
            (Found::Value(of, value), Reading::Value(first))
                if *of == field && !field.is_same(first, value) =>
            {
                *slot = Reading::Faulty(FaultCode::Duplicate);
            }
            _ => {}
        }
    }
    match parts {
        [Reading::Faulty(code), _] | [_, Reading::Faulty(code)] => Reading::Faulty(code),
        [Reading::Absent, other] | [other, Reading::Absent] => other,
        [Reading::Value(a), Reading::Value(b)] if field.is_same(&a, &b) => Reading::Value(a),
        [Reading::Value(_), Reading::Value(_)] => Reading::Faulty(FaultCode::Conflict),
    }
}

/// Of all the paths, the smallest that there are two opinions about.
fn below(found: &[(Place, Found)]) -> Option<FaultCode> {
    let mut paths: Vec<_> = found
        .iter()
        .filter_map(|(place, found)| match found {
            Found::Below(keys, value) => Some((keys, *place, value)),
            _ => None,
        })
        .collect();
    // As the names stand on the wire.
    paths.sort_by_key(|(keys, ..)| {
        keys.iter()
            .map(|key| [key, &b"]["[..]].concat())
            .collect::<Vec<_>>()
            .concat()
    });
    for (at, (keys, one, value)) in paths.iter().enumerate() {
        // The next one is the first with which it can disagree.
        let (other, next, text) = paths.get(at + 1)?;
        if keys == other && value != text {
            return Some(if one == next {
                FaultCode::Duplicate
            } else {
                FaultCode::Conflict
            });
        }
        if keys != other && other.starts_with(keys) {
            return Some(FaultCode::Array);
        }
    }
    None
}

fn read_part(bytes: &[u8], place: Place) -> Vec<(Place, Found)> {
    let mut all = Vec::new();
    for piece in bytes.split(|&b| b == b'&').filter(|piece| !piece.is_empty()) {
        // With `arg_separator.input = "&;"`, PHP splits the query here too; Rack before 3 does.
        if place == Place::Query && piece.contains(&b';') {
            for pair in piece.split(|&b| b == b';') {
                match named(&decoded(split_pair(pair).0)) {
                    None => {}
                    Some(Named::Exact(Field::Auth)) => all.push((place, Found::PlainAuth)),
                    Some(Named::Exact(field) | Named::Fault(field, _)) => {
                        all.push((place, Found::Fault(field, FaultCode::Mangled)));
                    }
                    Some(Named::Below(_)) => {
                        all.push((place, Found::Fault(Field::Auth, FaultCode::Mangled)));
                    }
                }
            }
        }
        let (name, value) = split_pair(piece);
        let text = decoded(value);
        match named(&decoded(name)) {
            None => {}
            Some(Named::Exact(Field::Auth)) => all.push((place, Found::PlainAuth)),
            Some(Named::Exact(field)) => all.push((
                place,
                // The options may be any bytes: their state is told, and they become no header.
                if field == Field::PlacementOptions || reads_alike(value, &text) {
                    Found::Value(field, text)
                } else {
                    Found::Fault(field, FaultCode::Invalid)
                },
            )),
            Some(Named::Below(keys)) => {
                if !reads_alike(value, &text) {
                    all.push((place, Found::Fault(Field::Auth, FaultCode::Invalid)));
                }
                all.push((place, Found::Below(keys, text)));
            }
            Some(Named::Fault(field, code)) => all.push((place, Found::Fault(field, code))),
        }
    }
    all
}

fn split_pair(piece: &[u8]) -> (&[u8], &[u8]) {
    match piece.iter().position(|&b| b == b'=') {
        Some(at) => (&piece[..at], &piece[at + 1..]),
        None => (piece, &[]),
    }
}

/// `php_url_decode`: `+` is a space, `%` with two hex digits a byte, anything else itself; once.
fn decoded(raw: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((&b, after)) = rest.split_first() {
        rest = after;
        out.push(match b {
            b'+' => b' ',
            b'%' => match escape(after) {
                Some(byte) => {
                    rest = &after[2..];
                    byte
                }
                None => b,
            },
            _ => b,
        });
    }
    out
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
    let whole = (0..raw.len()).all(|at| raw[at] != b'%' || escape(&raw[at + 1..]).is_some());
    let splits_elsewhere = (0..raw.len()).any(|at| raw[at] == b'=' && decoded(&raw[..at]).ends_with(b"]"));
    whole && !splits_elsewhere && std::str::from_utf8(value).is_ok()
}

enum Named {
    Exact(Field),
    Below(Vec<Vec<u8>>),
    Fault(Field, FaultCode),
}

/// What a reader behind finds under this decoded name.
fn named(name: &[u8]) -> Option<Named> {
    match Field::named(name) {
        Some(field) => Some(Named::Exact(field)),
        None => registered(name).or_else(|| unbracketed(name)),
    }
}

/// Rack 2 takes the texts between brackets for name and keys, qs that of `[name]`.
fn unbracketed(name: &[u8]) -> Option<Named> {
    let texts: Vec<&[u8]> = name
        .split(|b| b"[]".contains(b))
        .filter(|text| !text.is_empty())
        .collect();
    let field = match (Field::named(texts.first()?)?, texts.get(1)) {
        (Field::Auth, Some(key)) => under_auth(key),
        (field, _) => field,
    };
    Some(Named::Fault(field, FaultCode::Mangled))
}

fn under_auth(key: &[u8]) -> Field {
    Field::named(&[b"auth[", key, b"]"].concat()).unwrap_or(Field::Auth)
}

/// The known field that PHP registers under a name that is not spelled so, as the C code goes.
fn registered(name: &[u8]) -> Option<Named> {
    let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
    let is_cut = end < name.len();
    let mut text = &name[..end];
    while let [b' ', rest @ ..] = text {
        text = rest;
    }
    let open = text.iter().position(|&b| b == b'[').unwrap_or(text.len());
    let (base, mut rest) = text.split_at(open);
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let mut depth = 0;
    while rest.first() == Some(&b'[') {
        let Some(close) = rest.iter().position(|&b| b == b']') else {
            depth += usize::from(depth > 0);
            break;
        };
        depth += 1;
        keys.push(rest[1..close].to_vec());
        rest = &rest[close + 1..];
    }
    let cut = |code| if is_cut { FaultCode::Truncated } else { code };
    let spelled = |bytes: &[u8]| -> Vec<u8> {
        let mangle = |&b: &u8| if b" .[".contains(&b) { b'_' } else { b };
        bytes.iter().map(mangle).collect()
    };
    if depth == 0 {
        return Some(match Field::named(&spelled(text))? {
            Field::Auth => Named::Exact(Field::Auth),
            field => Named::Fault(field, cut(FaultCode::Mangled)),
        });
    }
    let field = Field::named(&spelled(base))?;
    if depth > MAX_NESTING {
        return Some(Named::Fault(field, FaultCode::Truncated));
    }
    if field != Field::Auth {
        return Some(Named::Fault(field, cut(FaultCode::Array)));
    }
    let field = under_auth(&keys[0]);
    let is_blank = |b: &u8| b" \t\n\r\x0b\x0c".contains(b);
    let is_append = |key: &Vec<u8>| key.is_empty() || (key.len() == 1 && is_blank(&key[0]));
    let plain: Vec<u8> = keys
        .iter()
        .flat_map(|key| [&b"["[..], key, b"]"].concat())
        .collect();
    let is_plain = [&b"auth"[..], &plain].concat() == name
        && keys
            .iter()
            .all(|key| !key.contains(&b'[') && !key.first().is_some_and(is_blank));
    Some(if is_cut {
        Named::Fault(field, FaultCode::Truncated)
    } else if keys.iter().any(is_append) {
        Named::Fault(field, FaultCode::Array)
    } else if !is_plain {
        Named::Fault(field, FaultCode::Mangled)
    } else if field == Field::Auth {
        Named::Below(keys)
    } else {
        Named::Fault(field, FaultCode::Array)
    })
}
