//! The one reader of query and body. It finds the value that PHP will have for each known name, or
//! says why there could be two opinions about it. A known name is a name alone, such as `member_id`, or
//! a path of them, such as `auth[member_id]`.
//!
//! A part is read the way PHP's `php_register_variable_ex` and `php_url_decode` read it (PHP 7.4 to 8.5
//! measured, identical); whatever PHP, or a reader like it, would turn into a known name without it
//! being spelled so becomes a fault.

mod address;
mod decoding;
mod place;
mod part;
mod paths;
mod reading;
mod spelling;
mod witness;

use crate::request::field::{FaultCode, Field, FieldFault, FieldSet};

pub use address::without_body_fields;
pub use decoding::{decoded, escape};
use part::Part;
pub use part::hides_event;
use place::Place;
pub use reading::{FormFault, Reading};
pub use spelling::{Spelling, known};

/// What query and body say about the known names: one value per name, or a fault instead of it.
#[derive(Default)]
pub struct Form<'a> {
    readings: [Reading<'a>; Field::COUNT],
    /// Whether anyone finds `auth[...]` in it.
    has_auth: bool,
    parts: Parts,
}

/// Where the names stand.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Parts {
    /// In the query, however spelled.
    pub in_query: FieldSet,
    /// In the body, however spelled.
    pub in_body: FieldSet,
    /// In the query in such a way that its reading is a fault by itself.
    pub faulty_in_query: FieldSet,
}

impl<'a> Form<'a> {
    /// Reads the raw query (without `?`) and the raw body.
    ///
    /// # Errors
    /// Where one part has more than `max_params` parameters: empty ones count in the body only, as
    /// PHP counts them.
    pub fn parse(query: &'a [u8], body: &'a [u8], max_params: usize) -> Result<Form<'a>, FormFault> {
        let (mut in_query, mut in_body) = (Part::default(), Part::default());
        in_query.read(query, Place::Query, max_params)?;
        in_body.read(body, Place::Body, max_params)?;
        let mut form = Form {
            readings: in_query.readings,
            ..Form::default()
        };
        for ((field, reading), also) in Field::ALL
            .into_iter()
            .zip(&mut form.readings)
            .zip(&mut in_body.readings)
        {
            match reading {
                Reading::Absent => {}
                Reading::Value(_) => form.parts.in_query.insert(field),
                Reading::Faulty(_) => {
                    form.parts.in_query.insert(field);
                    form.parts.faulty_in_query.insert(field);
                }
            }
            if *also != Reading::Absent {
                form.parts.in_body.insert(field);
                reading.meets(field, std::mem::take(also));
            }
        }
        let mut below_auth = in_query.below_auth;
        below_auth.extend(in_body.below_auth);
        form.read_auth(below_auth, in_query.has_plain_auth || in_body.has_plain_auth);
        Ok(form)
    }

    /// Comes to `auth` as a whole, once the known names under it are read.
    fn read_auth(&mut self, below: Vec<paths::Entry<'_>>, has_plain: bool) {
        for entry in &below {
            match entry.place {
                Place::Query => self.parts.in_query.insert(Field::Auth),
                Place::Body => self.parts.in_body.insert(Field::Auth),
            }
        }
        let is_named =
            |(field, reading): (Field, &Reading<'_>)| field.is_auth() && *reading != Reading::Absent;
        self.has_auth = !below.is_empty() || Field::ALL.into_iter().zip(&self.readings).any(is_named);
        let both = (has_plain && self.has_auth).then_some(FaultCode::Array);
        let fault = both.or_else(|| paths::second_opinion(below));
        if let (Some(code), Some(auth)) = (fault, self.readings.get_mut(Field::Auth.index())) {
            auth.mark(code);
        }
    }

    /// What was found for the name. Of [`Field::Auth`] it is never a value: that stands for whatever is
    /// under `auth` and has no name of its own here.
    pub fn reading(&self, field: Field) -> &Reading<'a> {
        // The array has one slot per field; a default can not be reached.
        self.readings.get(field.index()).unwrap_or(&Reading::Absent)
    }

    /// The decoded value, if there is exactly one opinion about it.
    pub fn value(&self, field: Field) -> Option<&[u8]> {
        match self.reading(field) {
            Reading::Value(value) => Some(value),
            Reading::Absent | Reading::Faulty(_) => None,
        }
    }

    /// Whether some reader finds the name.
    pub fn has(&self, field: Field) -> bool {
        *self.reading(field) != Reading::Absent
    }

    /// Whether some reader finds `auth[...]`. A plain `auth` claims nothing.
    pub fn has_auth(&self) -> bool {
        self.has_auth
    }

    /// Where the names stand.
    pub fn parts(&self) -> Parts {
        self.parts
    }

    /// Every name that is not readable in exactly one way, in the order of the contract.
    pub fn faults(&self) -> impl Iterator<Item = FieldFault> + '_ {
        Field::ALL
            .into_iter()
            .filter_map(|field| match self.reading(field) {
                Reading::Faulty(code) => Some(FieldFault { field, code: *code }),
                Reading::Absent | Reading::Value(_) => None,
            })
    }
}

/// Values may be tokens: only names and states are ever printed.
impl std::fmt::Debug for Form<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(Field::ALL.into_iter().map(|field| {
                let state = match self.reading(field) {
                    Reading::Absent => "absent",
                    Reading::Value(_) => "value",
                    Reading::Faulty(code) => code.label(),
                };
                (field.name(), state)
            }))
            .finish()
    }
}

#[cfg(test)]
mod tests;
