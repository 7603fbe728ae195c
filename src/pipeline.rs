//! The decision, end to end. Pure: no socket, no clock, no global; time and settings are parameters.
//!
//! Cheap comes before dear, and nothing is spent before it is known to be needed: `open` judges the
//! head alone, so that a refusal costs no body; `decide` reads the form once, then takes each step
//! with the value that only the step before can make: `Form`, `Call`, `Permit`, `Target`, `Forward`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};

use crate::policy::Mode;
use crate::policy::judge::{Grammar, Refused, judge};
use crate::policy::limit::{MemberPolicy, Now, Permit};
use crate::policy::route::{Kind, NoRoute, Route, Routes, WidgetRoute};
use crate::policy::validate::{Call, Known};
use crate::request::cookie::{self, PlainAuth};
use crate::request::field::{
    Domain, FaultCode, FieldFault, MemberId, MemberIdShape, Placement, ServerEndpoints,
};
use crate::request::form::Form;
use crate::request::front_door::{Malformed, Target as RequestTarget, announced_length};
use crate::request::media_type::MediaType;
use crate::request::message;
use crate::response::rejection::Rejection;
use crate::upstream::headers::{self, CookieRule, Rewrite, Told};
use crate::upstream::origin::{Origin, Peer, TrustedProxies};
use crate::upstream::pool::{Target, Upstream};

/// Everything a decision depends on, besides the request and the time.
#[derive(Default)]
pub struct Env {
    /// Paths to routes.
    pub routes: Routes,
    /// How widget routes read.
    pub widget: WidgetRules,
    /// `[limits.member]`; none where the configuration has none.
    pub member_limit: Option<MemberPolicy>,
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

/// The head of a request as the engine parsed it, after the front door.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// As sent.
    pub method: &'a Method,
    /// The target as it came, never the engine's repaired URI.
    pub raw_target: &'a [u8],
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The other end of the connection.
    pub peer: Peer,
}

/// What the head alone decides.
pub struct Opened<'e> {
    /// The index of the route, for its metrics.
    pub route_index: usize,
    /// Where the request belongs.
    pub route: &'e Route,
    /// What happens to the body.
    pub body: BodyPlan,
    /// Where the query begins in the raw target; its length where there is none. The target is read
    /// once, and the head is not borrowed while the body is waited for.
    query_at: usize,
}

/// What happens to the body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyPlan {
    /// Nobody here reads it.
    Stream,
    /// Held whole before anything else happens.
    Hold {
        /// In bytes.
        limit: usize,
        /// For all of it.
        within: Duration,
    },
}

/// A request that goes on to its upstream.
#[derive(Debug)]
pub struct Forward {
    /// What the upstream's copy of the head loses and gains.
    pub rewrite: Rewrite,
    /// The servers to try.
    pub target: Target,
}

/// What became of a request whose body is there.
pub struct Decision {
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
    /// What the limiter said, if it was asked.
    pub limiter: Option<LimiterSaid>,
    /// What the request was recognized as, refused or not.
    pub message: Option<message::Kind>,
    /// Only once validated.
    pub member_id: Option<MemberId>,
    /// Only once validated; normalized.
    pub domain: Option<Domain>,
    /// Only once validated.
    pub placement: Option<Placement>,
}

/// The limiter's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LimiterSaid {
    /// Within the quota.
    Allowed,
    /// Over it; refused or observed.
    Limited(Mode),
}

impl Opened<'_> {
    /// The raw query of the head that was opened.
    fn query<'a>(&self, head: &Head<'a>) -> &'a [u8] {
        head.raw_target.get(self.query_at..).unwrap_or_default()
    }
}

/// Judges a request by its head. Nothing of the body has been read.
pub fn open<'e>(head: &Head<'_>, env: &'e Env) -> Result<Opened<'e>, (Option<usize>, Rejection)> {
    let target = RequestTarget::parse(head.raw_target).map_err(|fault| (None, fault.into()))?;
    if let Some(merged) = target.merged_slashes()
        && !env.routes.same(&target.path, &merged)
    {
        return Err((None, Malformed::Slashes.into()));
    }
    let (route_index, route) = env
        .routes
        .find(&target.path, head.method)
        .map_err(|none| match none {
            NoRoute::NotFound => (None, Rejection::NotFound),
            NoRoute::MethodNotAllowed(allowed) => (None, Rejection::MethodNotAllowed(allowed)),
        })?;
    let body = match route.kind {
        Kind::Pass => BodyPlan::Stream,
        Kind::Widget(route) => {
            hold(head.headers, route, &env.widget).map_err(|rejection| (Some(route_index), rejection))?
        }
    };
    Ok(Opened {
        route_index,
        route,
        body,
        query_at: head.raw_target.len() - target.query.len(),
    })
}

/// A widget's media type, and a length that is announced.
fn hold(headers: &HeaderMap, route: WidgetRoute, rules: &WidgetRules) -> Result<BodyPlan, Rejection> {
    match MediaType::of(headers) {
        Some(MediaType::Form) => {}
        Some(MediaType::Json) if route.accepts.has(message::Kind::Own) => {}
        Some(MediaType::Json) | None => return Err(Rejection::UnsupportedMediaType),
    }
    match announced_length(headers) {
        Some(length) if length > rules.body_limit as u64 => Err(Rejection::BodyTooLarge),
        Some(_) | None => Ok(BodyPlan::Hold {
            limit: rules.body_limit,
            within: rules.body_timeout,
        }),
    }
}

/// Decides a request whose body is there (or is nobody's business here).
pub fn decide(
    opened: &Opened<'_>,
    head: &Head<'_>,
    origin: &Origin,
    body: &[u8],
    now: Now,
    env: &Env,
) -> Decision {
    let mut findings = Findings::default();
    let judged = match opened.route.kind {
        Kind::Pass => Ok(headers::on_pass_route(head.peer, origin, head.headers)),
        Kind::Widget(route) => findings
            .judge(route, head, opened.query(head), body, now, env)
            .map(|read| read.rewrite(head, origin, body.len(), env)),
    };
    let verdict = judged.and_then(|rewrite| {
        let upstream = env
            .upstreams
            .get(&opened.route.upstream)
            .ok_or(Rejection::InternalError)?;
        Ok(Forward {
            rewrite,
            target: Target::take(upstream),
        })
    });
    Decision { verdict, findings }
}

impl Findings {
    /// Form, `Call`, `Permit`. The steps know nothing of modes: what they find is refused or observed
    /// here.
    fn judge(
        &mut self,
        route: WidgetRoute,
        head: &Head<'_>,
        query: &[u8],
        body: &[u8],
        now: Now,
        env: &Env,
    ) -> Result<Read, Rejection> {
        let media_type = MediaType::of(head.headers).ok_or(Rejection::UnsupportedMediaType)?;
        // PHP puts nothing of JSON where it puts forms.
        let form = match media_type {
            MediaType::Form => body,
            MediaType::Json => &[],
        };
        let form = match Form::parse(query, form, env.widget.max_params) {
            Ok(form) => form,
            Err(fault) => {
                self.observe_or(route.mode, fault.into())?;
                return Ok(Read {
                    media_type,
                    plain_auth: PlainAuth::Shadows,
                    of: ReadOf::Nothing,
                });
            }
        };
        let plain_auth = PlainAuth::beside(&form);
        let cookies = self.cookies(head.headers, env.widget.cookies, plain_auth);
        let refused_cookies: &[FieldFault] = match env.widget.cookies {
            CookieRule::Refuse => &cookies,
            CookieRule::Strip | CookieRule::Keep => &[],
        };
        let grammar = Grammar {
            member_id: env.widget.member_id,
            server_endpoints: &env.widget.server_endpoints,
        };
        let judged = judge(&form, route, grammar, refused_cookies);
        self.tell(&judged, cookies);
        if media_type == MediaType::Json && self.message != Some(message::Kind::Own) {
            return Err(Rejection::UnsupportedMediaType);
        }
        let of = match judged {
            Ok(call) => {
                let _permit = self.permit(route.mode, &call, now, env)?;
                ReadOf::Sound(call)
            }
            Err(refused) => {
                self.observe_or(route.mode, refused.refusal.clone().into())?;
                ReadOf::Refused(refused)
            }
        };
        Ok(Read {
            media_type,
            plain_auth,
            of,
        })
    }

    /// Asks the limiter, where there is one. What a portal sends by itself is not the members' users' doing,
    /// and has to be lost to no storm of theirs.
    fn permit(&mut self, mode: Mode, call: &Call, now: Now, env: &Env) -> Result<Option<Permit>, Rejection> {
        let (Some(policy), Some(member)) = (&env.member_limit, call.limited_member()) else {
            return Ok(None);
        };
        let mode = if mode == Mode::Enforce { policy.mode } else { mode };
        match policy.admit(member, now) {
            Ok(permit) => {
                self.limiter = Some(LimiterSaid::Allowed);
                Ok(Some(permit))
            }
            Err(limited) => {
                self.limiter = Some(LimiterSaid::Limited(mode));
                self.observe_or(mode, Rejection::RateLimited(limited))
                    .map(|()| None)
            }
        }
    }

    fn observe_or(&mut self, mode: Mode, rejection: Rejection) -> Result<(), Rejection> {
        match mode {
            Mode::Enforce => Err(rejection),
            Mode::Observe => {
                self.would_reject.push(rejection);
                Ok(())
            }
        }
    }

    /// The cookies that could be taken for a field, where that matters.
    fn cookies(&self, headers: &HeaderMap, rule: CookieRule, plain_auth: PlainAuth) -> Vec<FieldFault> {
        let shadowed = match rule {
            CookieRule::Keep => Vec::new(),
            CookieRule::Strip | CookieRule::Refuse => cookie::shadowed(headers, plain_auth),
        };
        let as_fault = |field| FieldFault {
            field,
            code: FaultCode::Cookie,
        };
        shadowed.into_iter().map(as_fault).collect()
    }

    fn tell(&mut self, judged: &Result<Call, Box<Refused>>, cookies: Vec<FieldFault>) {
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

/// A widget route's request, as far as it could be read; in enforce mode always sound.
struct Read {
    media_type: MediaType,
    plain_auth: PlainAuth,
    of: ReadOf,
}

enum ReadOf {
    Sound(Call),
    Refused(Box<Refused>),
    Nothing,
}

impl Read {
    fn rewrite(&self, head: &Head<'_>, origin: &Origin, length: usize, env: &Env) -> Rewrite {
        let known = match &self.of {
            ReadOf::Sound(call) => call.known(),
            ReadOf::Refused(refused) => refused.known(),
            ReadOf::Nothing => Known::default(),
        };
        let told = Told {
            known,
            media_type: self.media_type,
            length,
            cookies: env.widget.cookies,
            plain_auth: self.plain_auth,
        };
        headers::on_widget_route(head.peer, origin, head.headers, told)
    }
}
