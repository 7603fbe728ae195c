//! What stands under `auth` besides the names that are known there. Nobody here needs the values; that there
//! is one opinion about each of them is promised all the same.

use std::borrow::Cow;

use super::place::Place;
use crate::request::field::FaultCode;

/// One pair whose name is a plain path.
pub(super) struct Entry<'a> {
    /// The whole name, decoded.
    pub(super) path: Cow<'a, [u8]>,
    /// Decoded.
    pub(super) value: Cow<'a, [u8]>,
    pub(super) place: Place,
}

/// A second opinion about one of the paths, of query and body together.
pub(super) fn second_opinion(mut entries: Vec<Entry<'_>>) -> Option<FaultCode> {
    // What a path is continued by stands right behind it then: each ends with a bracket, and another opens.
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    entries
        .iter()
        .zip(entries.iter().skip(1))
        .find_map(|(entry, next)| {
            if entry.path != next.path {
                next.path.starts_with(&entry.path).then_some(FaultCode::Array)
            } else if entry.value == next.value {
                None
            } else if entry.place == next.place {
                Some(FaultCode::Duplicate)
            } else {
                Some(FaultCode::Conflict)
            }
        })
}
