//! The fourteen names a widget call is made of, the faults they can have, and a type per value.
//!
//! A value type can only be made by its `parse`, so whoever holds one holds a sound value. Token
//! fields have no type at all: nothing in this program keeps, prints or forwards them by name.

mod member_id;
mod values;

pub use member_id::{MemberId, MemberIdShape};
pub use values::{AppSid, Domain, Invalid, Lang, Placement, Protocol, Status, check_auth_expires};

macro_rules! fields {
    ($($variant:ident = $name:literal),+ $(,)?) => {
        /// A name that Bitrix24 gives meaning to in a widget call (case-sensitive).
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Field { $(#[doc = $name] $variant),+ }

        impl Field {
            /// Every known name, in the order of the contract.
            pub const ALL: [Field; [$($name),+].len()] = [$(Field::$variant),+];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$variant => $name),+ }
            }

            /// The field of exactly this name.
            pub fn named(name: &[u8]) -> Option<Field> {
                // Names on the wire are mostly known ones; the length rules out nearly all others.
                $(if name == $name.as_bytes() { return Some(Field::$variant); })+
                None
            }
        }
    };
}

fields! {
    Domain = "DOMAIN", Protocol = "PROTOCOL", Lang = "LANG", AppSid = "APP_SID",
    AuthId = "AUTH_ID", AuthExpires = "AUTH_EXPIRES", RefreshId = "REFRESH_ID",
    ServerEndpoint = "SERVER_ENDPOINT", ApplicationToken = "APPLICATION_TOKEN",
    ApplicationScope = "APPLICATION_SCOPE", MemberId = "member_id", Status = "status",
    Placement = "PLACEMENT", PlacementOptions = "PLACEMENT_OPTIONS",
}

impl Field {
    /// How many names are known.
    pub const COUNT: usize = Field::ALL.len();

    /// Without these five a widget call is refused.
    pub const REQUIRED: [Field; 5] = [
        Field::Domain,
        Field::Protocol,
        Field::Lang,
        Field::MemberId,
        Field::Placement,
    ];

    /// Position in [`Field::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// What can be wrong with one field. The words are the ones of the answer and of the metric.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum FaultCode {
    /// Not in the request.
    Missing,
    /// There, but nothing except ASCII white space.
    Blank,
    /// Breaks the grammar of its type.
    Invalid,
    /// Twice in the query or twice in the body, with different values.
    Duplicate,
    /// The query says otherwise than the body.
    Conflict,
    /// A spelling that PHP (or another reader) turns into the name.
    Mangled,
    /// Brackets make it an array.
    Array,
    /// A NUL cuts the name, or nesting too deep deletes the variable.
    Truncated,
    /// A cookie that PHP could take for the field.
    Cookie,
}

impl FaultCode {
    /// Every code.
    pub const ALL: [FaultCode; 9] = [
        FaultCode::Missing,
        FaultCode::Blank,
        FaultCode::Invalid,
        FaultCode::Duplicate,
        FaultCode::Conflict,
        FaultCode::Mangled,
        FaultCode::Array,
        FaultCode::Truncated,
        FaultCode::Cookie,
    ];

    /// The word in the problem document and the value of the label `code`.
    pub const fn label(self) -> &'static str {
        match self {
            FaultCode::Missing => "missing",
            FaultCode::Blank => "blank",
            FaultCode::Invalid => "invalid",
            FaultCode::Duplicate => "duplicate",
            FaultCode::Conflict => "conflict",
            FaultCode::Mangled => "mangled",
            FaultCode::Array => "array",
            FaultCode::Truncated => "truncated",
            FaultCode::Cookie => "cookie",
        }
    }

    /// The end of the sentence that begins with the field's name.
    pub const fn says(self) -> &'static str {
        match self {
            FaultCode::Missing => "is missing",
            FaultCode::Blank => "is blank",
            FaultCode::Invalid => "is invalid",
            FaultCode::Duplicate => "is given twice with different values",
            FaultCode::Conflict => "differs between query and body",
            FaultCode::Mangled => "is given in a spelling that is read as this name",
            FaultCode::Array => "is given as an array",
            FaultCode::Truncated => "is given under a name that is cut or nested too deep",
            FaultCode::Cookie => "is shadowed by a cookie",
        }
    }

    /// Whether two readers could take two different values for the field.
    pub const fn is_ambiguous(self) -> bool {
        match self {
            FaultCode::Duplicate
            | FaultCode::Conflict
            | FaultCode::Mangled
            | FaultCode::Array
            | FaultCode::Truncated
            | FaultCode::Cookie => true,
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
    }
}
