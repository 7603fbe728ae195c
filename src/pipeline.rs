//! The decision, end to end. Pure: no socket, no clock, no global; time and settings are parameters.
//!
//! Cheap comes before dear, and nothing is spent before it is known to be needed: `route` judges the
//! head alone and who sent it, so that a refusal costs no body; `decide` reads the form once, then takes each
//! step with the value that only the step before can make: `Routed`, `Form`, `Call`, `Permit`, `Attempts`,
//! `Forward`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::Mode;
use crate::policy::judge::{Grammar, Refused, judge};
use crate::policy::limit::shared::{Settled, Waiting};
use crate::policy::limit::{
    ClientAddress, Decisions, Entered, Limits, Now, Outcome, Permit, Start, Unpermitted,
};
use crate::policy::route::{Kind, NoRoute, Route, Routes, WidgetRoute};
use crate::policy::selection::Seen;
use crate::policy::validate::{Call, Known, Unsound};
use crate::request::body::Bounds;
use crate::request::cookie::{self, PlainAuth};
use crate::request::field::{
    Domain, FaultCode, FieldFault, MemberId, MemberIdShape, Placement, ServerEndpoints,
};
use crate::request::form::{Form, FormFault};
use crate::request::head::RequestHead;
use crate::request::head::fault::Malformed;
use crate::request::media_type::MediaType;
use crate::request::message::{self, Kinds};
use crate::response::rejection::{Rejection, Unserved};
use crate::upstream::attempts::Attempts;
use crate::upstream::balance::Portal;
use crate::upstream::caller::{Caller, Peer, TrustedProxies};
use crate::upstream::headers::{self, CookieRule, Established, Rewrite};
use crate::upstream::pool::{Pace, Upstream};

/// Everything a decision depends on, besides the request and the time.
#[derive(Default)]
pub struct Env {
    /// Paths to routes.
    pub routes: Routes,
    /// How widget routes read.
    pub widget: WidgetRules,
    /// `[limits]`
    pub limits: Limits,
    /// By name; the configuration has made sure that every route's is there.
    pub upstreams: HashMap<Arc<str>, Arc<Upstream>>,
    /// Whose forwarding headers are believed.
    pub trusted: TrustedProxies,
}

/// `[widget]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WidgetRules {
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// For the whole body.
    pub body_timeout: Duration,
    /// All bodies held at once, in bytes.
    pub held_bodies: usize,
    /// Parameters in the query, and in the body.
    pub max_params: usize,
    /// How strictly `member_id` is read.
    pub member_id: MemberIdShape,
    /// What happens to cookies named like a field.
    pub cookies: CookieRule,
    /// Where tokens may be sent.
    pub server_endpoints: ServerEndpoints,
}

impl Default for WidgetRules {
    fn default() -> WidgetRules {
        WidgetRules {
            body_limit: 1024 * 1024,
            body_timeout: Duration::from_secs(10),
            held_bodies: 256 * 1024 * 1024,
            max_params: 1000,
            member_id: MemberIdShape::Hex32,
            cookies: CookieRule::Strip,
            server_endpoints: ServerEndpoints::default(),
        }
    }
}

impl WidgetRules {
    fn grammar(&self) -> Grammar<'_> {
        Grammar {
            member_id: self.member_id,
            server_endpoints: &self.server_endpoints,
        }
    }

    /// Those of the shadowing cookies that are a fault.
    fn refused<'c>(&self, cookies: &'c [FieldFault]) -> &'c [FieldFault] {
        match self.cookies {
            CookieRule::Refuse => cookies,
            CookieRule::Strip | CookieRule::Keep => &[],
        }
    }
}

/// What the head alone decides.
pub struct Routed<'e> {
    /// The index of the route, for its metrics.
    pub route_index: usize,
    /// Where the request belongs; where the path has several routes, the first of them until the message is read.
    pub route: &'e Route,
    /// What happens to the body.
    pub body: BodyPlan,
    way: Way,
}

/// What is to be done with a request, and what of it is done.
#[derive(Debug)]
enum Way {
    /// Nobody here judges it.
    Pass,
    /// The limits let it in that need no more than its head.
    Widget(WidgetRoute, Entered),
}

impl Routed<'_> {
    /// The store that limits are shared by has answered, or not in time; [`decide`] waits for it no more.
    pub fn settle(&mut self, settled: Settled) {
        match &mut self.way {
            Way::Pass => {}
            Way::Widget(_, entered) => entered.settle(settled),
        }
    }

    /// What the limits said so far.
    pub fn limits(&self) -> Decisions {
        match &self.way {
            Way::Pass => Decisions::default(),
            Way::Widget(_, entered) => *entered.decisions(),
        }
    }
}

/// A request that its head alone refuses.
#[derive(Debug)]
pub struct Unrouted {
    /// The index of its route, if there is one.
    pub route_index: Option<usize>,
    /// Why.
    pub rejection: Rejection,
    /// What the limits said, as far as they were asked.
    pub limits: Decisions,
}

/// What happens to the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyPlan {
    /// Nobody here reads it.
    Stream,
    /// Held whole before anything else happens.
    Hold(Bounds),
}

/// A request that goes on to its upstream.
#[derive(Debug)]
pub struct Forward {
    /// What the upstream's copy of the head loses and gains.
    pub rewrite: Rewrite,
    /// The servers to try.
    pub attempts: Attempts,
    /// When it may be sent.
    pub start: Start,
    /// Path and query, where the client sent them in another form (RFC 9112 3.2.1).
    pub origin_form: Option<Vec<u8>>,
    /// Without it there is no `Forward`.
    _cleared: Cleared,
}

/// What became of a request whose body is there.
pub struct Decision {
    /// The index of its route, now that the message is known.
    pub route_index: usize,
    /// Where it goes, or why it does not.
    pub verdict: Result<Forward, Rejection>,
    /// What was found on the way.
    pub findings: Findings,
}

/// What is told of a request, whatever its verdict.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// What observe mode let through, each as it would have been refused.
    pub would_reject: Vec<Rejection>,
    /// Every fault of a field; shadowing cookies too, even where they are only removed.
    pub faults: Vec<FieldFault>,
    /// What the limits said, as far as they were asked.
    pub limits: Decisions,
    /// What the request was recognized as, refused or not.
    pub message: Option<message::Kind>,
    /// Only once validated.
    pub member_id: Option<MemberId>,
    /// Only once validated; normalized.
    pub domain: Option<Domain>,
    /// Only once validated.
    pub placement: Option<Placement>,
}

/// Finds the route of a request, and judges what its head alone says and who sent it. Nothing of the body has been
/// read.
///
/// # Errors
/// Where it is refused.
pub fn route<'e>(
    head: &RequestHead,
    caller: &Caller,
    now: Now,
    env: &'e Env,
) -> Result<Routed<'e>, Unrouted> {
    let unrouted = |route_index, rejection| Unrouted {
        route_index,
        rejection,
        limits: Decisions::default(),
    };
    let path = head.target.path();
    if let Some(merged) = head.target.merged_slashes()
        && !env.routes.same(path, &merged)
    {
        return Err(unrouted(None, Malformed::Slashes.into()));
    }
    let (route_index, route) = env.routes.find(path, &head.method).map_err(|none| match none {
        NoRoute::NotFound => unrouted(None, Rejection::NotFound(Unserved::Path)),
        NoRoute::MethodNotAllowed(allowed) => unrouted(None, Rejection::MethodNotAllowed(allowed)),
    })?;
    let (body, way) = match route.kind {
        Kind::Pass => (BodyPlan::Stream, Way::Pass),
        Kind::Widget(first) => {
            let entered = env
                .limits
                .enter(counted(caller), first.mode, now)
                .map_err(|refused| Unrouted {
                    limits: refused.decisions,
                    ..unrouted(Some(route_index), refused.into())
                })?;
            let accepted = accepted(route_index, &env.routes);
            let body = hold(head, accepted, &env.widget).map_err(|rejection| Unrouted {
                limits: *entered.decisions(),
                ..unrouted(Some(route_index), rejection)
            })?;
            (body, Way::Widget(first, entered))
        }
    };
    Ok(Routed {
        route_index,
        route,
        body,
        way,
    })
}

/// The address that a request counts for. A trusted proxy that names no client sends everybody's.
fn counted(caller: &Caller) -> Option<ClientAddress> {
    (!caller.client_is_proxy).then(|| ClientAddress::of(caller.client))
}

/// The kinds of message that some widget route of the first one's path and method takes.
fn accepted(first: usize, routes: &Routes) -> Kinds {
    let kinds = routes.of_same(first).filter_map(|(_, route)| match route.kind {
        Kind::Widget(widget) => Some(widget.accepts),
        Kind::Pass => None,
    });
    kinds.reduce(Kinds::and).unwrap_or_default()
}

/// A widget's media type, and a length that is announced.
fn hold(head: &RequestHead, accepted: Kinds, rules: &WidgetRules) -> Result<BodyPlan, Rejection> {
    match MediaType::of(&head.headers) {
        Some(MediaType::Form) => {}
        Some(MediaType::Json) if accepted.has(message::Kind::Own) => {}
        Some(MediaType::Json) | None => return Err(Rejection::UnsupportedMediaType),
    }
    match head.framing.announced() {
        Some(length) if length > rules.body_limit as u64 => Err(Rejection::BodyTooLarge),
        Some(_) | None => Ok(BodyPlan::Hold(Bounds {
            limit: rules.body_limit,
            within: rules.body_timeout,
            held: rules.held_bodies,
        })),
    }
}

/// Decides a request whose body is there (or is nobody's business here).
///
/// # Errors
/// Where only the store that limits are shared by can tell. Once it has [`settled`](Routed::settle), the request is
/// decided again.
pub fn decide(
    routed: &Routed<'_>,
    head: &RequestHead,
    peer: Peer,
    caller: &Caller,
    body: &[u8],
    now: Now,
    env: &Env,
) -> Result<Decision, Waiting> {
    let mut findings = Findings::default();
    let (route_index, route, cleared) = match &routed.way {
        Way::Pass => (routed.route_index, routed.route, Ok(Cleared::Pass)),
        Way::Widget(first, entered) => {
            let by = Judging { entered, now, env };
            let (index, route, judged) = findings.judge(routed, *first, head, body, by);
            let judged = match judged {
                Ok(judged) => Ok(Cleared::Widget(judged)),
                Err(Stopped::Refused(rejection)) => Err(rejection),
                Err(Stopped::Waits(waiting)) => return Err(waiting),
            };
            findings.note_observed_limit();
            (index, route, judged)
        }
    };
    let verdict = cleared.and_then(|cleared| {
        let upstream = env.upstreams.get(&route.upstream);
        let upstream = upstream.ok_or(Rejection::InternalError)?;
        let rewrite = match &cleared {
            Cleared::Pass => headers::on_pass_route(peer, caller, &head.headers),
            Cleared::Widget(judged) => {
                let established = judged.established(body.len(), env.widget.cookies);
                headers::on_widget_route(peer, caller, &head.headers, established)
            }
        };
        Ok(Forward {
            rewrite,
            start: match &cleared {
                Cleared::Pass => Start::AtOnce,
                Cleared::Widget(judged) => judged.start(),
            },
            attempts: Attempts::new(upstream, pace(&findings), || {
                let member_id = findings.member_id.as_ref()?;
                Some(Portal::of(&member_id.to_string()))
            }),
            origin_form: head
                .target
                .authority()
                .map(|_| head.target.origin_form().concat()),
            _cleared: cleared,
        })
    });
    Ok(Decision {
        route_index,
        verdict,
        findings,
    })
}

/// Bitrix24 runs these on its pages, unseen, and stops to call an application that is slow.
fn pace(findings: &Findings) -> Pace {
    match findings.placement.as_ref().map(Placement::as_str) {
        Some("PAGE_BACKGROUND_WORKER") => Pace::Background,
        Some(_) | None => Pace::Usual,
    }
}

/// What a message is judged by, besides itself.
#[derive(Clone, Copy)]
struct Judging<'r, 'e> {
    entered: &'r Entered,
    now: Now,
    env: &'e Env,
}

impl Findings {
    /// Reads the form, which says to which route the message goes, and judges it by that.
    fn judge<'e>(
        &mut self,
        routed: &Routed<'e>,
        first: WidgetRoute,
        head: &RequestHead,
        body: &[u8],
        by: Judging<'_, 'e>,
    ) -> (usize, &'e Route, Result<Judged, Stopped>) {
        let env = by.env;
        self.limits = *by.entered.decisions();
        let Some(media_type) = MediaType::of(&head.headers) else {
            return (
                routed.route_index,
                routed.route,
                Err(Rejection::UnsupportedMediaType.into()),
            );
        };
        // PHP puts nothing of JSON where it puts forms.
        let body = match media_type {
            MediaType::Form => body,
            MediaType::Json => &[],
        };
        let form = Form::parse(head.target.query(), body, env.widget.max_params);
        let chosen = env.routes.choose(routed.route_index, || match &form {
            Ok(form) => Seen::in_form(form, env.widget.member_id),
            Err(_) => Seen::default(),
        });
        match chosen {
            Some((index, route, widget)) => {
                let judged = self.judge_for(widget, media_type, &form, head, by);
                (index, route, judged)
            }
            None => {
                let all = accepted(routed.route_index, &env.routes);
                let unserved = self.of_nobody(first.mode, all, &form, head, env);
                (routed.route_index, routed.route, Err(unserved.into()))
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

    /// Form, `Call`, `Permit`. The steps know nothing of modes: what they find is refused or observed
    /// here.
    fn judge_for(
        &mut self,
        route: WidgetRoute,
        media_type: MediaType,
        form: &Result<Form<'_>, FormFault>,
        head: &RequestHead,
        by: Judging<'_, '_>,
    ) -> Result<Judged, Stopped> {
        let env = by.env;
        let form = match form {
            Ok(form) => form,
            Err(fault) => {
                let fault = *fault;
                let observed = self.observe_or(route.mode, fault.into())?;
                self.limits = env.limits.observe(by.entered, by.now);
                return Ok(Judged {
                    media_type,
                    plain_auth: PlainAuth::Shadows,
                    passed: Passed::Observed(None, observed),
                });
            }
        };
        let plain_auth = PlainAuth::beside(form);
        let cookies = shadowing_cookies(head, env.widget.cookies, plain_auth);
        let judged = judge(form, route, env.widget.grammar(), env.widget.refused(&cookies));
        self.note(&judged, &cookies);
        if media_type == MediaType::Json && self.message != Some(message::Kind::Own) {
            return Err(Rejection::UnsupportedMediaType.into());
        }
        let passed = match judged {
            Ok(call) => Passed::Permitted(self.permit(call, route.mode, by)?),
            Err(Refused { refusal, read }) => {
                let observed = self.observe_or(route.mode, refusal.into())?;
                match read {
                    // Nothing is wrong with it but what was observed.
                    Ok(call) => Passed::Permitted(self.permit(call, route.mode, by)?),
                    Err(unsound) => {
                        self.limits = env.limits.observe(by.entered, by.now);
                        Passed::Observed(Some(unsound), observed)
                    }
                }
            }
        };
        Ok(Judged {
            media_type,
            plain_auth,
            passed,
        })
    }

    /// Asks the limits and notes what they said.
    fn permit(&mut self, call: Call, mode: Mode, by: Judging<'_, '_>) -> Result<Permit, Stopped> {
        match by.env.limits.admit(by.entered, call, mode, by.now) {
            Ok(permit) => {
                self.limits = *permit.decisions();
                Ok(permit)
            }
            Err(Unpermitted::Refused(refused)) => {
                self.limits = refused.decisions;
                Err(Rejection::from(refused).into())
            }
            Err(Unpermitted::Waits(waiting)) => Err(Stopped::Waits(waiting)),
        }
    }

    /// What would have refused the request: the first policy, as the others would not have been asked.
    fn note_observed_limit(&mut self) {
        let observed = self.limits.iter().find_map(|decision| match decision.outcome {
            Outcome::Observed(limited) => Some(Rejection::RateLimited(decision.policy, limited)),
            Outcome::Unlimited | Outcome::Granted(_) | Outcome::HeldBack(..) | Outcome::Refused(_) => None,
        });
        self.would_reject.extend(observed);
    }

    fn observe_or(&mut self, mode: Mode, rejection: Rejection) -> Result<Observed, Rejection> {
        match mode {
            Mode::Enforce => Err(rejection),
            Mode::Observe => {
                self.would_reject.push(rejection);
                Ok(Observed(()))
            }
        }
    }

    fn note(&mut self, judged: &Result<Call, Refused>, cookies: &[FieldFault]) {
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
        self.faults.extend(cookies);
    }
}

/// Why a request gets no further, at least not now.
enum Stopped {
    Refused(Rejection),
    Waits(Waiting),
}

impl From<Rejection> for Stopped {
    fn from(rejection: Rejection) -> Stopped {
        Stopped::Refused(rejection)
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

/// A request that nothing keeps from its server: the one way to a [`Forward`].
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what nearly every call is"
)]
enum Cleared {
    /// Nobody here judges it.
    Pass,
    /// It was judged.
    Widget(Judged),
}

/// A request to a widget route that may go on.
#[derive(Debug)]
struct Judged {
    media_type: MediaType,
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

/// Proof that faults were let through and noted: [`Findings::observe_or`] is its only maker.
#[derive(Debug)]
struct Observed(());

impl Judged {
    fn start(&self) -> Start {
        match &self.passed {
            Passed::Permitted(permit) => permit.start(),
            Passed::Observed(..) => Start::AtOnce,
        }
    }

    fn established(&self, length: usize, cookies: CookieRule) -> Established<'_> {
        let known = match &self.passed {
            Passed::Permitted(permit) => permit.call().known(),
            Passed::Observed(Some(unsound), Observed(())) => unsound.known(),
            Passed::Observed(None, Observed(())) => Known::default(),
        };
        Established {
            known,
            media_type: self.media_type,
            length,
            cookies,
            plain_auth: self.plain_auth,
        }
    }
}

#[cfg(test)]
mod tests;
