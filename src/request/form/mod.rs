//! The one reader of query and body. It finds the value that PHP will have for each known name, or
//! says why there could be two opinions about it.
//!
//! A part is read the way PHP's `php_register_variable_ex` and `php_url_decode` read it (PHP 7.4 to 8.5
//! measured, identical); whatever PHP, or a reader like it, would turn into a known name without it
//! being spelled so becomes a fault.

mod decoding;
mod part;
mod reading;
mod spelling;
mod witness;

use crate::request::field::{Field, FieldFault};

pub use decoding::{decoded, escape};
use part::{Origin, Part};
pub use reading::{FormFault, Reading};
pub use spelling::known;

/// What query and body say about the known names: one value per name, or a fault instead of it.
#[derive(Default)]
pub struct Form<'a> {
    readings: [Reading<'a>; Field::COUNT],
}

impl<'a> Form<'a> {
    /// Reads the raw query (without `?`) and the raw body.
    ///
    /// # Errors
    /// Where one part has more than `max_params` parameters: empty ones count in the body only, as
    /// PHP counts them.
    pub fn parse(query: &'a [u8], body: &'a [u8], max_params: usize) -> Result<Form<'a>, FormFault> {
        let mut readings = Part::read(query, Origin::Query, max_params)?.readings;
        let body = Part::read(body, Origin::Body, max_params)?;
        for (reading, in_body) in readings.iter_mut().zip(body.readings) {
            reading.meets(in_body);
        }
        Ok(Form { readings })
    }

    /// What was found for the name.
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
mod reference;
#[cfg(test)]
mod tests;
