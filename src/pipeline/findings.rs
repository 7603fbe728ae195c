//! What is found of a request on its way, and the one place that knows of modes: what is found is refused or
//! observed here.

use crate::policy::Mode;
use crate::policy::judge::Refused;
use crate::policy::limit::{Decisions, Outcome};
use crate::policy::validate::Call;
use crate::policy::verify::Verdict;
use crate::request::field::{Domain, FieldFault, MemberId, Placement};
use crate::request::message;
use crate::response::rejection::Rejection;

/// What is told of a request, whatever its verdict.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// What observe mode let through, each as it would have been refused.
    pub would_reject: Vec<Rejection>,
    /// Every fault of a field; shadowing cookies too, even where they are only removed.
    pub faults: Vec<FieldFault>,
    /// What the limits said, as far as they were asked.
    pub limits: Decisions,
    /// Who is calling; none where nobody is verified, or the request was refused before.
    pub verdict: Option<Verdict>,
    /// What the request was recognized as, refused or not.
    pub message: Option<message::Kind>,
    /// Only once validated.
    pub member_id: Option<MemberId>,
    /// Only once validated; normalized.
    pub domain: Option<Domain>,
    /// Only once validated.
    pub placement: Option<Placement>,
    /// Whether the browser says that another host than the portal's sent it.
    pub origin_differs: bool,
}

impl Findings {
    /// What would have refused the request: the first policy, as the others would not have been asked.
    pub(super) fn note_observed_limit(&mut self) {
        let observed = self.limits.iter().find_map(|decision| match decision.outcome {
            Outcome::Observed(limited) => Some(Rejection::RateLimited(decision.policy, limited)),
            Outcome::Unlimited | Outcome::Granted(_) | Outcome::HeldBack(..) | Outcome::Refused(_) => None,
        });
        self.would_reject.extend(observed);
    }

    /// Lets a fault through and notes it, where that is the mode.
    pub(super) fn observe_or(&mut self, mode: Mode, rejection: Rejection) -> Result<Observed, Rejection> {
        match mode {
            Mode::Enforce => Err(rejection),
            Mode::Observe => {
                self.would_reject.push(rejection);
                Ok(Observed(()))
            }
        }
    }

    /// What was established of a message, sound or not, and what was found beside its form.
    pub(super) fn note<'f>(
        &mut self,
        judged: &Result<Call, Refused>,
        beside: impl IntoIterator<Item = &'f FieldFault>,
    ) {
        let known = match judged {
            Ok(call) => call.known(),
            Err(refused) => {
                self.faults = refused.faults().to_vec();
                refused.known()
            }
        };
        self.message = known.message;
        self.member_id = known.member_id.cloned();
        self.domain = known.domain.cloned();
        self.placement = known.placement.cloned();
        self.faults.extend(beside);
    }
}

/// Proof that faults were let through and noted: [`Findings::observe_or`] is its only maker.
#[derive(Debug)]
pub(super) struct Observed(());
