//! Values become a decision: is the call sound, may this member have it now, and where does it go.

pub mod frame;
pub mod judge;
pub mod pattern;
pub mod limit;
pub mod portion;
pub mod route;
pub mod selection;
pub mod validate;
pub mod verify;

use crate::request::label::labelled;

labelled! {
    /// What a fault leads to.
    #[derive(Default)]
    pub enum Mode {
        /// The request is refused.
        #[default]
        Enforce = "enforce";
        /// The request goes on; the fault is counted and logged as `would_reject`.
        Observe = "observe";
    }
}

impl Mode {
    /// What it leads to where both have to enforce.
    pub const fn with(self, other: Mode) -> Mode {
        match (self, other) {
            (Mode::Enforce, Mode::Enforce) => Mode::Enforce,
            (Mode::Observe, _) | (_, Mode::Observe) => Mode::Observe,
        }
    }
}
