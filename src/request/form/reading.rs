//! What a form says of one name.

use std::borrow::Cow;

use crate::request::field::{FaultCode, Field};

/// The form itself can not be read safely.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FormFault {
    /// More parameters in the query or in the body than `max_params`; PHP drops the rest silently.
    TooManyParams,
}

/// The state of one name.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Reading<'a> {
    /// In neither part.
    #[default]
    Absent,
    /// One value, whoever reads it.
    Value(Cow<'a, [u8]>),
    /// Two opinions are possible, or readers differ in what the bytes mean.
    Faulty(FaultCode),
}

impl<'a> Reading<'a> {
    /// The first fault stays.
    pub(super) fn mark(&mut self, code: FaultCode) {
        if !matches!(self, Reading::Faulty(_)) {
            *self = Reading::Faulty(code);
        }
    }

    /// What the query says of a field meets what the body says.
    pub(super) fn meets(&mut self, field: Field, in_body: Reading<'a>) {
        let meeting = match (&*self, &in_body) {
            (_, Reading::Absent) | (Reading::Faulty(_), _) => return,
            (Reading::Absent, _) | (_, Reading::Faulty(_)) => in_body,
            (Reading::Value(a), Reading::Value(b)) if field.is_same(a, b) => return,
            (Reading::Value(_), Reading::Value(_)) => Reading::Faulty(FaultCode::Conflict),
        };
        *self = meeting;
    }
}
