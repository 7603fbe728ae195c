//! The first half of a decision: the form, which says to which route the message goes, and whether it is sound.

use super::env::Env;
use super::findings::{Findings, Observed};
use crate::policy::Mode;
use crate::policy::judge::{Refused, judge};
use crate::policy::limit::Entered;
use crate::policy::route::{ForwardAs, Kind, Routes, WidgetRoute};
use crate::policy::selection::Seen;
use crate::policy::validate::{Call, Unsound};
use crate::policy::verify::{Ask, Claim};
use crate::request::cookie::{self, PlainAuth};
use crate::request::field::{FaultCode, Field, FieldFault};
use crate::request::form::{self, Form, FormFault};
use crate::request::head::RequestHead;
use crate::request::media_type::MediaType;
use crate::request::message::{self, Kinds};
use crate::request::outline::Outline;
use crate::response::rejection::{Rejection, Unserved};
use crate::upstream::headers::CookieRule;

/// A message in what says that it is something else.
const HIDDEN: FieldFault = FieldFault {
    field: Field::Auth,
    code: FaultCode::Foreign,
};

/// A request to a widget route that was read.
pub(super) struct Heard {
    /// What the limits said that need no more than the head.
    pub(super) entered: Entered,
    pub(super) forward_as: ForwardAs,
    pub(super) media_type: MediaType,
    /// Bytes of the body.
    pub(super) length: usize,
    pub(super) plain_auth: PlainAuth,
    /// What faults of this member's requests lead to.
    pub(super) mode: Mode,
    pub(super) sound: Sound,
}

/// What there is of it.
pub(super) enum Sound {
    /// It is sound, or nothing is wrong with it but what was observed; with what it shows for who it says it is,
    /// where that is verified.
    Call(Option<Claim>, Call),
    /// It has faults that were let through, with what could be read of it.
    Observed(Option<Box<Unsound>>, Observed),
}

impl Heard {
    /// The question that somebody else has to answer first.
    pub(super) fn asks(&self) -> Option<&Ask> {
        match &self.sound {
            Sound::Call(Some(Claim::Ask(ask)), _) => Some(ask),
            Sound::Call(Some(Claim::Settled(_)) | None, _) | Sound::Observed(..) => None,
        }
    }
}

/// The kinds of message that some widget route of the first one's path and method takes.
pub(super) fn accepted(first: usize, routes: &Routes) -> Kinds {
    let kinds = routes.of_same(first).filter_map(|(_, route)| match route.kind {
        Kind::Widget(widget) => Some(widget.accepts),
        Kind::Pass(_) => None,
    });
    kinds.reduce(Kinds::and).unwrap_or_default()
}

/// What was in a request, for those who want to know what observe mode let through. It is read once more: whoever
/// is not observed pays nothing for it.
pub fn outline(head: &RequestHead, body: &[u8], env: &Env) -> Outline {
    let (query, length) = (head.target.query(), body.len());
    let form = match MediaType::of(&head.headers) {
        Some(MediaType::Form) => body,
        Some(MediaType::Json) | None => &[],
    };
    match Form::parse(query, form, env.widget.max_params) {
        Ok(form) => Outline::of(&form, query.len(), length),
        Err(_) => Outline::unread(query.len(), length),
    }
}

impl Findings {
    /// Reads the form, which says to which route the message goes, and judges it by that.
    pub(super) fn hear(
        &mut self,
        first: usize,
        widget: WidgetRoute,
        (media_type, entered): (MediaType, Entered),
        head: &RequestHead,
        body: &[u8],
        env: &Env,
    ) -> (usize, Result<Heard, Rejection>) {
        let length = body.len();
        // PHP puts nothing of JSON where it puts forms. Kits that read the raw body do: an event in it is nobody's
        // own request.
        let (body, hidden) = match media_type {
            MediaType::Form => (body, None),
            MediaType::Json => (&[][..], form::hides_event(body).then_some(HIDDEN)),
        };
        let form = Form::parse(head.target.query(), body, env.widget.max_params);
        let chosen = env.routes.choose(first, || match &form {
            Ok(form) => Seen::in_form(form, env.widget.member_id),
            Err(_) => Seen::default(),
        });
        match chosen {
            Some((index, _, route)) => {
                let heard = self.hear_for(route, media_type, (&form, hidden), head, env);
                let heard = heard.map(|(plain_auth, mode, sound)| Heard {
                    entered,
                    forward_as: route.forward_as,
                    media_type,
                    length,
                    plain_auth,
                    mode,
                    sound,
                });
                (index, heard)
            }
            None => {
                let all = accepted(first, &env.routes);
                let unserved = self.of_nobody(widget.mode, all, &form, head, env);
                (first, Err(unserved))
            }
        }
    }

    /// What a message is told that no route of its path is for: what is wrong with it says more than that.
    fn of_nobody(
        &mut self,
        mode: Mode,
        accepts: Kinds,
        form: &Result<Form<'_>, FormFault>,
        head: &RequestHead,
        env: &Env,
    ) -> Rejection {
        let form = match form {
            Ok(form) => form,
            Err(fault) => return (*fault).into(),
        };
        let route = WidgetRoute {
            mode,
            accepts,
            ..WidgetRoute::default()
        };
        let cookies = shadowing_cookies(head, env.widget.cookies, PlainAuth::beside(form));
        let judged = judge(form, route, env.widget.grammar(), env.widget.refused(&cookies));
        self.note(&judged, &cookies);
        match (judged, mode) {
            (Err(refused), Mode::Enforce) => refused.refusal.into(),
            (Ok(_), _) | (_, Mode::Observe) => Rejection::NotFound(Unserved::Message),
        }
    }

    /// Form, `Call`. The steps know nothing of modes: what they find is refused or observed here.
    fn hear_for(
        &mut self,
        route: WidgetRoute,
        media_type: MediaType,
        (form, hidden): (&Result<Form<'_>, FormFault>, Option<FieldFault>),
        head: &RequestHead,
        env: &Env,
    ) -> Result<(PlainAuth, Mode, Sound), Rejection> {
        let form = match form {
            Ok(form) => form,
            Err(fault) => {
                let observed = self.observe_or(route.mode_of(None), (*fault).into())?;
                let sound = Sound::Observed(None, observed);
                return Ok((PlainAuth::Shadows, Mode::Observe, sound));
            }
        };
        let plain_auth = PlainAuth::beside(form);
        let cookies = shadowing_cookies(head, env.widget.cookies, plain_auth);
        let refused = env.widget.refused(&cookies).iter().chain(&hidden);
        let refused: Vec<_> = refused.copied().collect();
        let judged = judge(form, route, env.widget.grammar(), &refused);
        self.note(&judged, cookies.iter().chain(&hidden));
        if media_type == MediaType::Json && self.message != Some(message::Kind::Own) {
            return Err(Rejection::UnsupportedMediaType);
        }
        let mode = route.mode_of(self.member_id.as_ref());
        let claim = |call: &Call| {
            let rules = env.verify.as_ref()?;
            Some(Claim::of(rules, call.kind(), call.known(), form))
        };
        let sound = match judged {
            Ok(call) => Sound::Call(claim(&call), call),
            Err(Refused { refusal, read }) => {
                let observed = self.observe_or(mode, refusal.into())?;
                match read {
                    // Nothing is wrong with it but what was observed.
                    Ok(call) => Sound::Call(claim(&call), call),
                    Err(unsound) => Sound::Observed(Some(unsound), observed),
                }
            }
        };
        Ok((plain_auth, mode, sound))
    }
}

/// The cookies that could be taken for a field, where that matters.
fn shadowing_cookies(head: &RequestHead, rule: CookieRule, plain_auth: PlainAuth) -> Vec<FieldFault> {
    let shadowed = match rule {
        CookieRule::Keep => Vec::new(),
        CookieRule::Strip | CookieRule::Refuse => cookie::shadowed(&head.headers, plain_auth),
    };
    let as_fault = |field| FieldFault {
        field,
        code: FaultCode::Cookie,
    };
    shadowed.into_iter().map(as_fault).collect()
}
