//! What goes back: the closed set of refusals, and the writing of them.

pub mod json;
pub mod page;
pub mod rejection;
pub mod reply;
