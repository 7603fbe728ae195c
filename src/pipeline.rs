//! The decision, end to end. Pure: no socket, no clock, no global; time and settings are parameters.
//!
//! Cheap comes before dear, and nothing is spent before it is known to be needed: `route` judges the
//! head alone, so that a refusal costs no body; `decide` reads the form once, then takes each step
//! with the value that only the step before can make: `Form`, `Call`, `Permit`, `Attempts`, `Forward`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::Mode;
use crate::policy::frame::{Agreement, Frame, FrameRules};
use crate::policy::judge::{Grammar, Refused, judge};
use crate::policy::limit::shared::{Settled, Waiting};
use crate::policy::limit::{
    ClientAddress, Decisions, Entered, Limits, Now, Outcome, Permit, Start, Unpermitted,
};
use crate::policy::route::{ForwardAs, Kind, NoRoute, Route, Routes, Upgrade, WidgetRoute};
use crate::policy::selection::Seen;
use crate::policy::validate::{Call, Known, Unsound};
use crate::policy::verify::{Ask, Claim, Said, Unknown, Verdict, VerifyRules};
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
use crate::request::outline::Outline;
use crate::response::page::Template;
use crate::response::rejection::{Rejection, Unserved};
use crate::upstream::answer::Asked;
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
    /// `[verify]`; none where nobody is verified.
    pub verify: Option<VerifyRules>,
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
    /// What answers say that are shown in a frame; none: what the handler says.
    pub frame: Option<FrameRules>,
    /// The operator's page for refusals.
    pub refusal_page: Option<Arc<Template>>,
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
            frame: None,
            refusal_page: None,
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
    /// The same, and its connection is to speak WebSocket.
    Switch,
    /// The limits let it in that need no more than its head.
    Widget(WidgetRoute, Entered),
}

impl Routed<'_> {
    /// The store that limits are shared by has answered, or not in time; what is [`read`] from here on waits for it no
    /// more.
    pub fn settle(&mut self, settled: Settled) {
        match &mut self.way {
            Way::Pass | Way::Switch => {}
            Way::Widget(_, entered) => entered.settle(settled),
        }
    }

    /// What the limits said so far.
    pub fn limits(&self) -> Decisions {
        match &self.way {
            Way::Pass | Way::Switch => Decisions::default(),
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
    /// There is none: the server is asked to speak WebSocket from here on.
    Switch,
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
    /// How the answer is read.
    pub asked: Asked,
    /// Path and query, where the client sent them in another form (RFC 9112 3.2.1).
    pub origin_form: Option<Vec<u8>>,
    /// What is done to the answer; none where it goes on as it comes.
    pub frame: Option<Frame>,
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
        Kind::Pass(Upgrade::WebSocket) if head.is_websocket_handshake() => (BodyPlan::Switch, Way::Switch),
        Kind::Pass(Upgrade::WebSocket | Upgrade::Never) => (BodyPlan::Stream, Way::Pass),
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
        Kind::Pass(_) => None,
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

/// A request whose body was read: what it says, before anybody was asked about it.
pub struct Read<'r> {
    head: &'r RequestHead,
    /// The index of its route, now that the message is known.
    route_index: usize,
    findings: Findings,
    message: Result<Message<'r>, Rejection>,
}

/// What was read.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what nearly every call is"
)]
enum Message<'r> {
    /// Nobody here reads it.
    Pass,
    /// There is none but the wish to speak WebSocket.
    Handshake,
    Widget(Heard<'r>),
}

impl Read<'_> {
    /// The question that an authorization server has to be asked before this can be decided.
    pub fn asks(&self) -> Option<&Ask> {
        match &self.message {
            Ok(Message::Widget(heard)) => heard.asks(),
            Ok(Message::Pass | Message::Handshake) | Err(_) => None,
        }
    }
}

/// Reads a request whose body is there (or is nobody's business here).
pub fn read<'r>(routed: &'r Routed<'_>, head: &'r RequestHead, body: &[u8], env: &Env) -> Read<'r> {
    let mut findings = Findings::default();
    let (route_index, message) = match &routed.way {
        Way::Pass => (routed.route_index, Ok(Message::Pass)),
        Way::Switch => (routed.route_index, Ok(Message::Handshake)),
        Way::Widget(first, entered) => {
            findings.limits = *entered.decisions();
            let (index, heard) = findings.hear(routed.route_index, *first, entered, head, body, env);
            (index, heard.map(Message::Widget))
        }
    };
    Read {
        head,
        route_index,
        findings,
        message,
    }
}

/// Decides what was read. `said` is the answer to its question, where it [asks](Read::asks) one.
///
/// # Errors
/// Where only the store that limits are shared by can tell. Once it has [settled](Routed::settle) the request is read
/// and decided again.
pub fn decide(
    read: Read<'_>,
    said: Option<&Said>,
    peer: Peer,
    caller: &Caller,
    now: Now,
    env: &Env,
) -> Result<Decision, Waiting> {
    let Read {
        head,
        route_index,
        mut findings,
        message,
    } = read;
    let cleared = match message {
        Ok(Message::Pass) => Ok(Cleared::Pass),
        Ok(Message::Handshake) => Ok(Cleared::Handshake),
        Ok(Message::Widget(heard)) => match findings.clear(heard, said, now, env) {
            Ok(judged) => Ok(Cleared::Widget(judged)),
            Err(Stopped::Refused(rejection)) => Err(rejection),
            Err(Stopped::Waits(waiting)) => return Err(waiting),
        },
        Err(rejection) => Err(rejection),
    };
    findings.note_observed_limit();
    let verdict = cleared.and_then(|cleared| {
        let route = env.routes.all().get(route_index);
        let upstream = route.and_then(|route| env.upstreams.get(&route.upstream));
        let upstream = upstream.ok_or(Rejection::InternalError)?;
        let (mut rewrite, frame) = match &cleared {
            Cleared::Pass => (headers::on_pass_route(peer, caller, &head.headers), None),
            Cleared::Handshake => (headers::to_websocket(peer, caller, &head.headers), None),
            Cleared::Widget(judged) => {
                let established = judged.established(&findings, head.target.query(), env.widget.cookies);
                let rules = env.widget.frame;
                let frame = rules.and_then(|rules| findings.frame(rules, judged, head));
                (
                    headers::on_widget_route(peer, caller, &head.headers, established),
                    frame,
                )
            }
        };
        if let Some(proof) = &upstream.rules.proof {
            rewrite.prove(proof, &head.headers);
        }
        Ok(Forward {
            rewrite,
            start: match &cleared {
                Cleared::Pass | Cleared::Handshake => Start::AtOnce,
                Cleared::Widget(judged) => judged.start(),
            },
            asked: match &cleared {
                Cleared::Handshake => Asked::WebSocket,
                Cleared::Pass | Cleared::Widget(_) => Asked::by(&head.method),
            },
            attempts: Attempts::new(upstream, pace(&findings), || {
                let member_id = findings.member_id.as_ref()?;
                Some(Portal::of(&member_id.to_string()))
            }),
            origin_form: head
                .target
                .authority()
                .map(|_| head.target.origin_form().concat()),
            frame,
            _cleared: cleared,
        })
    });
    Ok(Decision {
        route_index,
        verdict,
        findings,
    })
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

/// Bitrix24 runs these on its pages, unseen, and stops to call an application that is slow.
fn pace(findings: &Findings) -> Pace {
    match findings.placement.as_ref().map(Placement::as_str) {
        Some("PAGE_BACKGROUND_WORKER") => Pace::Background,
        Some(_) | None => Pace::Usual,
    }
}

impl Findings {
    /// Reads the form, which says to which route the message goes, and judges it by that.
    fn hear<'r>(
        &mut self,
        first: usize,
        widget: WidgetRoute,
        entered: &'r Entered,
        head: &RequestHead,
        body: &[u8],
        env: &Env,
    ) -> (usize, Result<Heard<'r>, Rejection>) {
        let Some(media_type) = MediaType::of(&head.headers) else {
            return (first, Err(Rejection::UnsupportedMediaType));
        };
        let length = body.len();
        // PHP puts nothing of JSON where it puts forms.
        let body = match media_type {
            MediaType::Form => body,
            MediaType::Json => &[],
        };
        let form = Form::parse(head.target.query(), body, env.widget.max_params);
        let chosen = env.routes.choose(first, || match &form {
            Ok(form) => Seen::in_form(form, env.widget.member_id),
            Err(_) => Seen::default(),
        });
        match chosen {
            Some((index, _, route)) => {
                let heard = self.hear_for(route, media_type, &form, head, env);
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
        form: &Result<Form<'_>, FormFault>,
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
        let judged = judge(form, route, env.widget.grammar(), env.widget.refused(&cookies));
        self.note(&judged, &cookies);
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

    /// `Vouched`, `Permit`: who is calling, and whether he may have it now.
    fn clear(
        &mut self,
        heard: Heard<'_>,
        said: Option<&Said>,
        now: Now,
        env: &Env,
    ) -> Result<Judged, Stopped> {
        let Heard {
            entered,
            forward_as,
            media_type,
            length,
            plain_auth,
            mode,
            sound,
        } = heard;
        let passed = match sound {
            Sound::Call(claim, call) => {
                self.verify(claim, &call, mode, said, env)?;
                // Whoever invents ids spends nothing of those portals' quotas.
                let call = match self.verdict {
                    Some(Verdict::Yes(_)) | None => call,
                    Some(Verdict::No(_) | Verdict::Unknown(_)) => call.unproven(),
                };
                Passed::Permitted(self.permit(entered, call, mode, now, env)?)
            }
            Sound::Observed(unsound, observed) => {
                self.verdict = env.verify.as_ref().map(|_| Verdict::Unknown(Unknown::Unsound));
                self.limits = env.limits.observe(entered, now);
                Passed::Observed(unsound, observed)
            }
        };
        Ok(Judged {
            mode,
            forward_as,
            media_type,
            length,
            plain_auth,
            passed,
        })
    }

    /// Comes to a verdict on who is calling. Route and `[verify]` both have to enforce for it to refuse.
    fn verify(
        &mut self,
        claim: Option<Claim>,
        call: &Call,
        mode: Mode,
        said: Option<&Said>,
        env: &Env,
    ) -> Result<(), Rejection> {
        let (Some(rules), Some(claim)) = (&env.verify, claim) else {
            return Ok(());
        };
        let verdict = rules.judge(&claim, call.known(), said);
        self.verdict = Some(verdict);
        if let Some(unproven) = rules.refuses(verdict) {
            let mode = match (mode, rules.mode) {
                (Mode::Enforce, Mode::Enforce) => Mode::Enforce,
                (Mode::Observe, _) | (_, Mode::Observe) => Mode::Observe,
            };
            self.observe_or(mode, Rejection::CallerNotVerified(unproven))?;
        }
        Ok(())
    }

    /// Asks the limits and notes what they said.
    fn permit(
        &mut self,
        entered: &Entered,
        call: Call,
        mode: Mode,
        now: Now,
        env: &Env,
    ) -> Result<Permit, Stopped> {
        match env.limits.admit(entered, call, mode, now) {
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

    /// What the answer has to say of frames, and what the browser said of the portal.
    fn frame(&mut self, rules: FrameRules, judged: &Judged, head: &RequestHead) -> Option<Frame> {
        let (frame, agreement) = rules.decide(&judged.known(), &head.headers, judged.mode);
        self.origin_differs = agreement == Agreement::Differs;
        frame
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
    /// The same, and its server is asked to speak WebSocket.
    Handshake,
    /// It was judged.
    Widget(Judged),
}

/// A request to a widget route that was read.
struct Heard<'r> {
    /// What the limits said that need no more than the head.
    entered: &'r Entered,
    forward_as: ForwardAs,
    media_type: MediaType,
    /// Bytes of the body.
    length: usize,
    plain_auth: PlainAuth,
    /// What faults of this member's requests lead to.
    mode: Mode,
    sound: Sound,
}

/// What there is of it.
enum Sound {
    /// It is sound, or nothing is wrong with it but what was observed; with what it shows for who it says it is,
    /// where that is verified.
    Call(Option<Claim>, Call),
    /// It has faults that were let through, with what could be read of it.
    Observed(Option<Box<Unsound>>, Observed),
}

impl Heard<'_> {
    fn asks(&self) -> Option<&Ask> {
        match &self.sound {
            Sound::Call(Some(Claim::Ask(ask)), _) => Some(ask),
            Sound::Call(Some(Claim::Nothing(_) | Claim::Pinned(_)) | None, _) | Sound::Observed(..) => None,
        }
    }
}

/// A request to a widget route that may go on.
#[derive(Debug)]
struct Judged {
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

    fn known(&self) -> Known<'_> {
        match &self.passed {
            Passed::Permitted(permit) => permit.call().known(),
            Passed::Observed(Some(unsound), Observed(())) => unsound.known(),
            Passed::Observed(None, Observed(())) => Known::default(),
        }
    }

    fn established<'a>(
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

#[cfg(test)]
mod tests;
