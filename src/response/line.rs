//! A header line of ours.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::upstream::answer::Field;

/// With the name as it is usually written; clients do not care (RFC 9110 5.1), people do.
pub(super) const fn line(name: HeaderName, usual: &'static str, value: HeaderValue) -> Field {
    Field {
        spelled: Bytes::from_static(usual.as_bytes()),
        name,
        value,
    }
}
