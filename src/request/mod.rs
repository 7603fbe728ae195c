//! Bytes become values: the strict head, the body, the one reader of the form, a type per field.

pub mod address;
pub mod authority;
pub mod body;
pub mod byte_set;
pub mod chunks;
pub mod cookie;
pub mod fingerprint;
pub mod field;
pub mod form;
pub mod head;
pub(crate) mod label;
pub mod media_type;
pub mod message;
pub mod options;
pub mod origin;
pub mod outline;
