//! Who is calling. Nothing in a call is signed, so it is what its sender says it is, until somebody who can know
//! vouches for it (`[verify]`): the authorization server for the token of the user, or the operator for the
//! token that the application has on a portal.
//!
//! Everything here is pure. A [`Claim`] is what a message shows, a [`Said`] what an authorization server says of
//! it, a [`Verdict`] what the two come to; the server is asked by [`oauth`](crate::oauth).

mod app_info;
mod claim;
mod judge;
mod method;
mod pins;
mod verdict;

pub use app_info::AppInfo;
pub use claim::{Ask, Claim, Token};
pub use judge::Said;
pub use method::{AuthServer, Method, OnError, VerifyRules};
pub use pins::{BadLine, Pins};
pub use verdict::{Unknown, Unproven, UserId, Verdict, Wrong};

#[cfg(test)]
mod tests;
