//! A header line of ours.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::upstream::answer::Field;

/// As these headers are usually written; clients do not care (RFC 9110 5.1), people do.
pub(super) fn line(name: HeaderName, value: HeaderValue) -> Field {
    const USUAL: [&str; 10] = [
        "Content-Language",
        "Content-Security-Policy",
        "Content-Security-Policy-Report-Only",
        "Cache-Control",
        "Referrer-Policy",
        "Set-Cookie",
        "Retry-After",
        "RateLimit-Policy",
        "RateLimit",
        "Allow",
    ];
    let usual = USUAL
        .into_iter()
        .find(|usual| usual.eq_ignore_ascii_case(name.as_str()));
    match usual {
        Some(usual) => spelled(name, usual, value),
        None => Field {
            spelled: Bytes::copy_from_slice(name.as_str().as_bytes()),
            name,
            value,
        },
    }
}

/// One of each answer: it is known how it is written.
pub(super) const fn spelled(name: HeaderName, usual: &'static str, value: HeaderValue) -> Field {
    Field {
        spelled: Bytes::from_static(usual.as_bytes()),
        name,
        value,
    }
}
