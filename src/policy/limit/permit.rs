//! What a request has of the limits that it went through, or why it has nothing.

use super::decision::{Decisions, PolicyName, Start};
use super::keys::Source;
use super::limiter::Limited;
use super::shared::{Settled, Waiting};
use crate::policy::validate::Call;

/// A request that the policies let in which need no more than its head. [`Limits::enter`](super::Limits::enter) is its only maker:
///
/// ```compile_fail,E0451
/// use widget_gateway::policy::limit::{Decisions, Entered};
///
/// fn skips_the_client() -> Entered {
///     Entered { source: todo!(), decisions: Decisions::default(), settled: None }
/// }
/// ```
#[must_use]
#[derive(Debug)]
pub struct Entered {
    /// Where a key of the call comes from.
    pub(super) source: Source,
    pub(super) decisions: Decisions,
    /// What the store has said, where it was waited for.
    pub(super) settled: Option<Settled>,
}

impl Entered {
    /// What these policies said; none of them refused.
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// The store has answered, or not in time: what is asked next is asked with that, and waits no more.
    pub fn settle(&mut self, settled: Settled) {
        self.settled = Some(settled);
    }
}

/// A sound call that the limits let through, with what they said: granted, without a limit, or over it and
/// only observed.
///
/// The call goes into [`Limits::admit`](super::Limits::admit) and comes out in here, so nobody can have been asked about but its own
/// member. There is no other maker:
///
/// ```compile_fail,E0451
/// use widget_gateway::policy::limit::{Decisions, Permit, Start};
/// use widget_gateway::policy::validate::Call;
///
/// fn skips_the_limits(call: Call) -> Permit {
///     Permit { call, decisions: Decisions::default(), start: Start::AtOnce }
/// }
/// ```
#[must_use]
#[derive(Debug)]
pub struct Permit {
    pub(super) call: Call,
    pub(super) decisions: Decisions,
    pub(super) start: Start,
}

impl Permit {
    /// The call.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// What the policies said; none of them refused.
    pub fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// When it may go on.
    pub fn start(&self) -> Start {
        self.start
    }
}

/// There is no [`Permit`], at least not now.
#[derive(Debug)]
pub enum Unpermitted {
    /// A policy said no.
    Refused(Refused),
    /// Only the store can tell, and its answer is on its way. The call is to be asked about again with that.
    Waits(Box<Call>, Waiting),
}

impl From<Refused> for Unpermitted {
    fn from(refused: Refused) -> Unpermitted {
        Unpermitted::Refused(refused)
    }
}

/// A policy said no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refused {
    /// Which.
    pub policy: PolicyName,
    /// By how much.
    pub limited: Limited,
    /// What it and those before it said.
    pub decisions: Decisions,
}
