//! The names that Bitrix24 gives meaning to, the faults they can have, and a type per value.
//!
//! A value type can only be made by its `parse`, so whoever holds one holds a sound value. Token
//! fields have no type at all: nothing in this program keeps, prints or forwards them by name.

mod endpoint;
mod member_id;
mod names;
mod values;

pub use endpoint::{ClientEndpoint, ServerEndpoints, check_server_endpoint};
pub use member_id::{MemberId, MemberIdShape};
pub use names::{Field, FieldSet};
pub use values::{
    AppSid, Domain, EventName, Invalid, Lang, Placement, Protocol, Status, check_auth_expires, check_scope,
    check_token,
};

use crate::request::label::labelled;

labelled! {
    /// What can be wrong with one field. The words are the ones of the answer and of the metric's label `code`; the
    /// sentence begins with the field's name.
    pub enum FaultCode {
        /// Not in the request.
        Missing = "missing", "is missing";
        /// There, but nothing except ASCII white space.
        Blank = "blank", "is blank";
        /// Breaks the grammar of its type.
        Invalid = "invalid", "is invalid";
        /// Twice in the query or twice in the body, with different values.
        Duplicate = "duplicate", "is given twice with different values";
        /// The query says otherwise than the body.
        Conflict = "conflict", "differs between query and body";
        /// A spelling that PHP (or another reader) turns into the name.
        Mangled = "mangled", "is given in a spelling that is read as this name";
        /// Brackets make it an array.
        Array = "array", "is given as an array";
        /// A NUL cuts the name, or nesting too deep deletes the variable.
        Truncated = "truncated", "is given under a name that is cut or nested too deep";
        /// A cookie that PHP could take for the field.
        Cookie = "cookie", "is shadowed by a cookie";
        /// Another identity, or another kind of message, than the rest of the request.
        Foreign = "foreign", "contradicts the rest of the message";
    }
}

impl FaultCode {
    /// Whether two readers could take two different values for the field.
    pub const fn is_ambiguous(self) -> bool {
        match self {
            FaultCode::Duplicate
            | FaultCode::Conflict
            | FaultCode::Mangled
            | FaultCode::Array
            | FaultCode::Truncated
            | FaultCode::Cookie
            | FaultCode::Foreign => true,
            FaultCode::Missing | FaultCode::Blank | FaultCode::Invalid => false,
        }
    }
}

/// One fault of one field; never the value.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FieldFault {
    /// Whose.
    pub field: Field,
    /// What.
    pub code: FaultCode,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_finds_its_field() {
        for field in Field::ALL {
            assert_eq!(Field::named(field.name().as_bytes()), Some(field));
            assert_eq!(Field::ALL[field.index()], field);
        }
        assert_eq!(Field::named(b"MEMBER_ID"), None);
        assert_eq!(Field::in_auth(b"member_id"), Field::AuthMemberId);
        assert_eq!(Field::in_auth(b"status"), Field::Auth);
        assert_eq!(Field::in_auth(b""), Field::Auth);
    }

    #[test]
    fn names_stand_in_groups() {
        let flat = |field: &Field| !field.name().starts_with("auth");
        assert!(Field::ALL.iter().all(|field| flat(field) != field.is_auth()));
        assert_eq!(Field::OF_PLACEMENT.iter().count(), 14);
        assert!(Field::OF_PLACEMENT.has(Field::PlacementOptions) && !Field::OF_PLACEMENT.has(Field::Event));
    }

    #[test]
    fn a_domain_is_the_same_once_normalized() {
        assert!(Field::Domain.is_same(b"Portal.example:", b"portal.example"));
        assert!(Field::AuthDomain.is_same(b"A.b:80", b"a.b:80"));
        assert!(!Field::Domain.is_same(b"a.b:80", b"a.b"));
        assert!(!Field::Domain.is_same(b"a/b", b"A/b"));
        assert!(!Field::Lang.is_same(b"EN", b"en"));
    }
}
