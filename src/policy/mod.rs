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

/// What a fault leads to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Mode {
    /// The request is refused.
    #[default]
    Enforce,
    /// The request goes on; the fault is counted and logged as `would_reject`.
    Observe,
}

impl Mode {
    /// Both.
    pub const ALL: [Mode; 2] = [Mode::Enforce, Mode::Observe];

    /// The word of the configuration and of the label `mode`.
    pub const fn label(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        }
    }
}
