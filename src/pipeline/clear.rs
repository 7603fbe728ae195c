//! The second half of a decision: who is calling, and whether he may have it now.

use super::env::Env;
use super::findings::{Findings, Observed};
use super::reading::{Heard, Sound};
use crate::policy::Mode;
use crate::policy::frame::{Agreement, Frame, FrameRules};
use crate::policy::limit::shared::Waiting;
use crate::policy::limit::{Now, Permit, Start, Unpermitted};
use crate::policy::route::ForwardAs;
use crate::policy::validate::{Call, Known, Unsound};
use crate::policy::verify::{Claim, Said, Unknown, Verdict};
use crate::request::cookie::PlainAuth;
use crate::request::head::RequestHead;
use crate::request::media_type::MediaType;
use crate::response::rejection::Rejection;
use crate::upstream::headers::{CookieRule, Established};

/// A request to a widget route that may go on.
#[derive(Debug)]
pub(super) struct Judged {
    mode: Mode,
    forward_as: ForwardAs,
    media_type: MediaType,
    length: usize,
    plain_auth: PlainAuth,
    passed: Passed,
}

/// Why it may.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what nearly every call is"
)]
enum Passed {
    /// It is sound, and the limits let it through.
    Permitted(Permit),
    /// It has faults that were let through, with what could be read of it; no limit that is keyed by the call was
    /// asked.
    Observed(Option<Box<Unsound>>, Observed),
}

impl Judged {
    /// When it may go on.
    pub(super) fn start(&self) -> Start {
        match &self.passed {
            Passed::Permitted(permit) => permit.start(),
            Passed::Observed(..) => Start::AtOnce,
        }
    }

    pub(super) fn known(&self) -> Known<'_> {
        match &self.passed {
            Passed::Permitted(permit) => permit.call().known(),
            Passed::Observed(Some(unsound), _) => unsound.known(),
            Passed::Observed(None, _) => Known::default(),
        }
    }

    /// What its handler is told.
    pub(super) fn established<'a>(
        &'a self,
        findings: &Findings,
        query: &'a [u8],
        cookies: CookieRule,
    ) -> Established<'a> {
        Established {
            known: self.known(),
            verdict: findings.verdict,
            media_type: self.media_type,
            length: self.length,
            cookies,
            plain_auth: self.plain_auth,
            forward_as: self.forward_as,
            query,
        }
    }
}

/// Why a request gets no further, at least not now.
pub(super) enum Stopped {
    Refused(Rejection),
    /// Until the store that limits are shared by has answered.
    Waits(Box<Heard>, Waiting),
}

impl From<Rejection> for Stopped {
    fn from(rejection: Rejection) -> Stopped {
        Stopped::Refused(rejection)
    }
}

impl Findings {
    /// `Vouched`, `Permit`: who is calling, and whether he may have it now.
    pub(super) fn clear(
        &mut self,
        heard: Heard,
        said: Option<&Said>,
        now: Now,
        env: &Env,
    ) -> Result<Judged, Stopped> {
        let passed = match heard.sound {
            Sound::Call(claim, call) => {
                let call = match &claim {
                    Some(claim) => self.verify(claim, call, heard.mode, said, env)?,
                    None => call,
                };
                match env.limits.admit(&heard.entered, call, heard.mode, now) {
                    Ok(permit) => {
                        self.limits = *permit.decisions();
                        Passed::Permitted(permit)
                    }
                    Err(Unpermitted::Refused(refused)) => {
                        self.limits = refused.decisions;
                        return Err(Rejection::from(refused).into());
                    }
                    Err(Unpermitted::Waits(call, waiting)) => {
                        // Who is calling is known by now.
                        let sound = Sound::Call(None, *call);
                        return Err(Stopped::Waits(Box::new(Heard { sound, ..heard }), waiting));
                    }
                }
            }
            Sound::Observed(unsound, observed) => {
                self.verdict = env.verify.as_ref().map(|_| Verdict::Unknown(Unknown::Unsound));
                self.limits = env.limits.observe(&heard.entered, now);
                Passed::Observed(unsound, observed)
            }
        };
        Ok(Judged {
            mode: heard.mode,
            forward_as: heard.forward_as,
            media_type: heard.media_type,
            length: heard.length,
            plain_auth: heard.plain_auth,
            passed,
        })
    }

    /// Comes to a verdict on who is calling, which the call goes on with. Route and `[verify]` both have to enforce for
    /// it to refuse.
    fn verify(
        &mut self,
        claim: &Claim,
        call: Call,
        mode: Mode,
        said: Option<&Said>,
        env: &Env,
    ) -> Result<Call, Rejection> {
        let Some(rules) = &env.verify else {
            return Ok(call);
        };
        let verdict = rules.judge(claim, call.known(), said);
        self.verdict = Some(verdict);
        if let Some(unproven) = rules.refuses(verdict) {
            self.observe_or(rules.mode.with(mode), Rejection::CallerNotVerified(unproven))?;
        }
        // Whoever invents ids spends nothing of those portals' quotas.
        Ok(match verdict {
            Verdict::Yes(_) => call,
            Verdict::No(_) | Verdict::Unknown(_) => call.unproven(),
        })
    }

    /// What the answer has to say of frames, and what the browser said of the portal.
    pub(super) fn frame(&mut self, rules: FrameRules, judged: &Judged, head: &RequestHead) -> Option<Frame> {
        let (frame, agreement) = rules.decide(&judged.known(), &head.headers, judged.mode);
        self.origin_differs = agreement == Agreement::Differs;
        frame
    }
}
