//! One part of a form, the query or the body, in one pass as PHP's `php_default_treat_data` makes it:
//! split at `&`, then at the first `=`; the name decides, and only a known name's value is decoded.

use std::borrow::Cow;

use super::decoding::{Text, decoded};
use super::paths::Entry;
use super::place::Place;
use super::reading::{FormFault, Reading};
use super::spelling::{Spelling, known};
use crate::request::byte_set::TOKEN;
use crate::request::field::{FaultCode, Field};

#[derive(Default)]
pub(super) struct Part<'a> {
    pub(super) readings: [Reading<'a>; Field::COUNT],
    /// What stands under `auth` besides the known names.
    pub(super) below_auth: Vec<Entry<'a>>,
    /// `auth` is given as a text, which alone means nothing.
    pub(super) has_plain_auth: bool,
}

impl<'a> Part<'a> {
    /// Reads the bytes of one part into this one, of which nothing was read yet: a part is too large to be handed on.
    pub(super) fn read(&mut self, bytes: &'a [u8], place: Place, max_params: usize) -> Result<(), FormFault> {
        if bytes.is_empty() {
            return Ok(());
        }
        let is_ascii = bytes.is_ascii();
        let has_semicolon = place == Place::Query && memchr::memchr(b';', bytes).is_some();
        let mut left = max_params;
        for piece in Pieces(Some(bytes)) {
            // PHP counts an empty piece of the body, but not one of the query.
            if piece.is_empty() && place == Place::Query {
                continue;
            }
            left = left.checked_sub(1).ok_or(FormFault::TooManyParams)?;
            if has_semicolon {
                self.between_semicolons(piece);
            }
            self.pair(piece, is_ascii, place);
        }
        debug_assert!(self.agrees_with_serde_urlencoded(bytes));
        Ok(())
    }

    fn pair(&mut self, piece: &'a [u8], is_ascii: bool, place: Place) {
        let (name, value) = split(piece);
        // Nearly every name is spelled without escapes.
        if let Some(field) = Field::named(name) {
            return self.exact(field, value, is_ascii);
        }
        // Decoding and mangling leave such a name as it is.
        if TOKEN.has_all(name) {
            return;
        }
        let name = decoded(name);
        match known(&name) {
            None => {}
            Some((field, Spelling::Exact)) => self.exact(field, value, is_ascii),
            Some((field, Spelling::Below)) => {
                let text = Text::of(value, is_ascii);
                if !text.reads_alike {
                    self.mark(field, FaultCode::Invalid);
                }
                self.below_auth.push(Entry {
                    path: name,
                    value: text.bytes,
                    place,
                });
            }
            Some((field, Spelling::Mangled)) => self.mark(field, FaultCode::Mangled),
            Some((field, Spelling::Array)) => self.mark(field, FaultCode::Array),
            Some((field, Spelling::Truncated)) => self.mark(field, FaultCode::Truncated),
        }
    }

    fn exact(&mut self, field: Field, value: &'a [u8], is_ascii: bool) {
        if field == Field::Auth {
            self.has_plain_auth = true;
            return;
        }
        let text = Text::of(value, is_ascii);
        // The options may be any bytes: their state is told, and they become no header.
        if text.reads_alike || field == Field::PlacementOptions {
            self.add(field, text.bytes);
        } else {
            self.mark(field, FaultCode::Invalid);
        }
    }

    /// With `arg_separator.input = "&;"`, PHP splits the query here too; Rack before 3 does.
    fn between_semicolons(&mut self, piece: &[u8]) {
        if memchr::memchr(b';', piece).is_some() {
            for pair in piece.split(|&b| b == b';') {
                match known(&decoded(split(pair).0)) {
                    None => {}
                    Some((Field::Auth, Spelling::Exact)) => self.has_plain_auth = true,
                    Some((field, _)) => self.mark(field, FaultCode::Mangled),
                }
            }
        }
    }

    fn add(&mut self, field: Field, value: Cow<'a, [u8]>) {
        if let Some(slot) = self.readings.get_mut(field.index()) {
            match slot {
                Reading::Absent => *slot = Reading::Value(value),
                Reading::Value(first) if field.is_same(first, &value) => {}
                Reading::Value(_) => *slot = Reading::Faulty(FaultCode::Duplicate),
                Reading::Faulty(_) => {}
            }
        }
    }

    /// The first fault stays.
    fn mark(&mut self, field: Field, code: FaultCode) {
        if let Some(slot) = self.readings.get_mut(field.index()) {
            slot.mark(code);
        }
    }
}

/// Whether somebody who takes bytes for a form, whatever their media type says, finds an event in them: `event`, and
/// whose it is in `auth[...]`.
pub fn hides_event(bytes: &[u8]) -> bool {
    let (mut event, mut auth) = (false, false);
    Pieces(Some(bytes)).any(|piece| {
        let (name, _) = split(piece);
        match TOKEN.has_all(name) {
            true => event |= name == b"event",
            false => match known(&decoded(name)) {
                // A plain `auth` claims nothing.
                Some((Field::Auth, Spelling::Exact)) | None => {}
                Some((Field::Event, _)) => event = true,
                Some((field, _)) => auth |= field.is_auth(),
            },
        }
        event && auth
    })
}

/// What stands between `&`, empty pieces too.
struct Pieces<'a>(Option<&'a [u8]>);

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.0?;
        let end = memchr::memchr(b'&', bytes).unwrap_or(bytes.len());
        self.0 = bytes.get(end + 1..);
        bytes.get(..end)
    }
}

/// Name and value, both raw; without `=` the value is empty.
fn split(piece: &[u8]) -> (&[u8], &[u8]) {
    match memchr::memchr(b'=', piece) {
        Some(at) => {
            let (name, value) = piece.split_at(at);
            (name, value.get(1..).unwrap_or_default())
        }
        None => (piece, &[]),
    }
}
