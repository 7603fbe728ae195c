//! Where a part of a form stands.

/// PHP treats the two parts a little differently.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Query,
    Body,
}
