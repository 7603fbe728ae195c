//! What goes back: the closed set of refusals, and the writing of them.

pub mod frame;
pub mod json;
mod line;
pub mod page;
pub mod rejection;
pub mod reply;
