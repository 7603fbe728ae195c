//! The decision, end to end. It waits for nothing: no socket, no clock, no global; time and settings are parameters,
//! and all that it changes is what the limits count.
//!
//! Cheap comes before dear, and nothing is spent before it is known to be needed: [`route`] judges the head alone, so
//! that a refusal costs no body; [`read()`] reads the form, which says whose message it is and whether it is sound; and
//! [`decide`] asks who is calling and whether he may have it now. Each step takes the value that only the step before
//! can make: `Routed` (with the limits' `Entered`), `Read` (with a `Form`, and the `Call` in it), `Decision` (with a
//! `Permit`, and the `Forward` that it allows).

mod clear;
mod env;
mod findings;
mod reading;

use crate::policy::Mode;
use crate::policy::frame::Frame;
use crate::policy::limit::shared::{Settled, Waiting};
use crate::policy::limit::{ClientAddress, Decisions, Entered, Now, Start};
use crate::policy::route::{Kind, NoRoute, Route, Upgrade, WidgetRoute};
use crate::policy::verify::{Ask, Said};
use crate::request::body::Bounds;
use crate::request::field::Placement;
use crate::request::head::RequestHead;
use crate::request::head::fault::Malformed;
use crate::request::media_type::MediaType;
use crate::request::message::{self, Kinds};
use crate::response::rejection::{Rejection, Unserved};
use crate::upstream::answer::Asked;
use crate::upstream::attempts::Attempts;
use crate::upstream::balance::Portal;
use crate::upstream::caller::{Caller, Peer};
use crate::upstream::headers::{self, Rewrite};
use crate::upstream::pool::{Pace, Resend};
use clear::{Judged, Stopped};
pub use env::{Env, WidgetRules};
pub use findings::Findings;
pub use reading::outline;
use reading::{Heard, accepted};

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
    WebSocket,
    /// The limits let it in that need no more than its head.
    Widget(WidgetRoute, MediaType, Entered),
}

impl Routed<'_> {
    /// What the limits said so far.
    pub fn limits(&self) -> Decisions {
        match &self.way {
            Way::Pass | Way::WebSocket => Decisions::default(),
            Way::Widget(_, _, entered) => *entered.decisions(),
        }
    }
}

/// A request that is refused before its body was read.
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
    /// It goes to the server as it comes; no byte of it is looked at.
    Stream,
    /// There is none, and the request goes the way of one whose body is held.
    None,
    /// There is none: the server is asked to speak WebSocket from here on.
    Switch,
    /// Held whole before the form is judged.
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
    /// Whether it may be sent once more.
    pub resend: Resend,
    /// How the answer is read.
    pub asked: Asked,
    /// What is done to the answer; none where it goes on as it comes.
    pub frame: Option<Frame>,
    /// Without it there is no `Forward`; that of a widget call has its permit.
    _cleared: Cleared,
}

/// What became of a request whose body is there.
pub struct Decision {
    /// The index of its route, now that the message is known.
    pub route_index: usize,
    /// Where it goes, or why it does not.
    pub result: Result<Forward, Rejection>,
    /// What was found on the way.
    pub findings: Findings,
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
) -> Result<Routed<'e>, Box<Unrouted>> {
    let unrouted = |route_index, rejection, limits| {
        Box::new(Unrouted {
            route_index,
            rejection,
            limits,
        })
    };
    let unasked = |rejection| unrouted(None, rejection, Decisions::default());
    let path = head.target.path();
    if let Some(merged) = head.target.merged_slashes()
        && !env.routes.same(path, &merged)
    {
        return Err(unasked(Malformed::Slashes.into()));
    }
    let (route_index, route) = env.routes.find(path, &head.method).map_err(|none| match none {
        NoRoute::NotFound => unasked(Rejection::NotFound(Unserved::Path)),
        NoRoute::MethodNotAllowed(allowed) => unasked(Rejection::MethodNotAllowed(allowed)),
    })?;
    let (body, way) = match route.kind {
        Kind::Pass(Upgrade::WebSocket) if head.is_websocket_handshake() => (BodyPlan::Switch, Way::WebSocket),
        Kind::Pass(Upgrade::WebSocket | Upgrade::Never) => match head.has_body() {
            true => (BodyPlan::Stream, Way::Pass),
            false => (BodyPlan::None, Way::Pass),
        },
        Kind::Widget(first) => {
            // Which of the routes of this path it is, the message says: until then it is the first one's.
            let entered = env
                .limits
                .enter(client_key(caller), first.mode, now)
                .map_err(|refused| {
                    let limits = refused.decisions;
                    unrouted(Some(route_index), refused.into(), limits)
                })?;
            let kinds = accepted(route_index, &env.routes);
            let (media_type, body) = plan_body(head, kinds, &env.widget)
                .map_err(|rejection| unrouted(Some(route_index), rejection, *entered.decisions()))?;
            (body, Way::Widget(first, media_type, entered))
        }
    };
    Ok(Routed {
        route_index,
        route,
        body,
        way,
    })
}

/// The address that a request counts for; none where a trusted proxy names no client, since behind it all of them share
/// its address.
fn client_key(caller: &Caller) -> Option<ClientAddress> {
    (!caller.client_is_proxy).then(|| ClientAddress::of(caller.client))
}

/// What a widget route's body is and how it is held, where its media type and the length that is announced allow it.
fn plan_body(
    head: &RequestHead,
    kinds: Kinds,
    rules: &WidgetRules,
) -> Result<(MediaType, BodyPlan), Rejection> {
    let media_type = MediaType::of(&head.headers)
        .filter(|media_type| *media_type == MediaType::Form || kinds.has(message::Kind::Own))
        .ok_or(Rejection::UnsupportedMediaType)?;
    let plan = match head.framing.announced() {
        Some(length) if length > rules.body_limit as u64 => return Err(Rejection::BodyTooLarge),
        Some(_) | None => BodyPlan::Hold(Bounds {
            limit: rules.body_limit,
            within: rules.body_timeout,
            held: rules.held_bodies,
        }),
    };
    Ok((media_type, plan))
}

/// A request whose body was read: what it says, before anybody was asked about it.
pub struct Read<'r> {
    head: &'r RequestHead,
    /// The index of its route, now that the message is known.
    route_index: usize,
    findings: Findings,
    message: Result<Message, Rejection>,
}

/// What was read.
#[expect(
    clippy::large_enum_variant,
    reason = "the large one is what nearly every call is"
)]
enum Message {
    /// None that is looked at.
    Pass,
    /// There is none but the wish to speak WebSocket.
    WebSocket,
    Widget(Heard),
}

impl Read<'_> {
    /// Takes what the store that limits are shared by has answered, or that it did not in time. After this, nothing
    /// waits for it.
    pub fn settle(&mut self, settled: Settled) {
        match &mut self.message {
            Ok(Message::Widget(heard)) => heard.entered.settle(settled),
            Ok(Message::Pass | Message::WebSocket) | Err(_) => {}
        }
    }

    /// The question that an authorization server has to be asked before this can be decided.
    pub fn asks(&self) -> Option<&Ask> {
        match &self.message {
            Ok(Message::Widget(heard)) => heard.asks(),
            Ok(Message::Pass | Message::WebSocket) | Err(_) => None,
        }
    }

    /// What faults lead to on this route, for this member's share; none where nothing is judged.
    pub fn mode(&self) -> Option<Mode> {
        match &self.message {
            Ok(Message::Widget(heard)) => Some(heard.mode),
            Ok(Message::Pass | Message::WebSocket) | Err(_) => None,
        }
    }
}

/// Reads a request whose body is there (or is nobody's business here).
pub fn read<'r>(routed: Routed<'_>, head: &'r RequestHead, body: &[u8], env: &Env) -> Read<'r> {
    let mut findings = Findings::default();
    let (route_index, message) = match routed.way {
        Way::Pass => (routed.route_index, Ok(Message::Pass)),
        Way::WebSocket => (routed.route_index, Ok(Message::WebSocket)),
        Way::Widget(first, media_type, entered) => {
            findings.limits = *entered.decisions();
            let (index, heard) =
                findings.hear(routed.route_index, first, (media_type, entered), head, body, env);
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

/// What was read and can not be decided yet.
pub struct Undecided<'r> {
    /// The request, to be decided again once it has been [settled](Read::settle).
    pub read: Read<'r>,
    /// The store's answer, which alone can tell.
    pub waiting: Waiting,
}

/// Decides what was read. `said` is the answer to its question, where it [asks](Read::asks) one.
///
/// # Errors
/// Where only the store that limits are shared by can tell.
pub fn decide<'r>(
    read: Read<'r>,
    said: Option<&Said>,
    peer: Peer,
    caller: &Caller,
    now: Now,
    env: &Env,
) -> Result<Decision, Box<Undecided<'r>>> {
    let Read {
        head,
        route_index,
        mut findings,
        message,
    } = read;
    let cleared = match message {
        Ok(Message::Pass) => Ok(Cleared::Pass),
        Ok(Message::WebSocket) => Ok(Cleared::WebSocket),
        Ok(Message::Widget(heard)) => match findings.clear(heard, said, now, env) {
            Ok(judged) => Ok(Cleared::Widget(judged)),
            Err(Stopped::Refused(rejection)) => Err(rejection),
            Err(Stopped::Waits(heard, waiting)) => {
                let message = Ok(Message::Widget(*heard));
                let read = Read {
                    head,
                    route_index,
                    findings,
                    message,
                };
                return Err(Box::new(Undecided { read, waiting }));
            }
        },
        Err(rejection) => Err(rejection),
    };
    findings.note_observed_limit();
    let result = cleared.and_then(|cleared| {
        let route = env.routes.all().get(route_index);
        let upstream = route.and_then(|route| env.upstreams.get(&route.upstream));
        let upstream = upstream.ok_or(Rejection::InternalError)?;
        let (mut rewrite, frame) = match &cleared {
            Cleared::Pass => (headers::on_pass_route(peer, caller, &head.headers), None),
            Cleared::WebSocket => (headers::to_websocket(peer, caller, &head.headers), None),
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
                Cleared::Pass | Cleared::WebSocket => Start::AtOnce,
                Cleared::Widget(judged) => judged.start(),
            },
            resend: match &cleared {
                Cleared::Pass => upstream.rules.resend.of_passed(&head.method),
                Cleared::WebSocket | Cleared::Widget(_) => upstream.rules.resend,
            },
            asked: match &cleared {
                Cleared::WebSocket => Asked::WebSocket,
                Cleared::Pass | Cleared::Widget(_) => Asked::by(&head.method),
            },
            attempts: Attempts::new(upstream, pace(&findings), || {
                let member_id = findings.member_id.as_ref()?;
                Some(Portal::of(&member_id.to_string()))
            }),
            frame,
            _cleared: cleared,
        })
    });
    Ok(Decision {
        route_index,
        result,
        findings,
    })
}

/// Bitrix24 runs background workers on its pages, unseen, and stops calling an application whose worker is slow.
fn pace(findings: &Findings) -> Pace {
    match findings.placement.as_ref().map(Placement::as_str) {
        Some("PAGE_BACKGROUND_WORKER") => Pace::Background,
        Some(_) | None => Pace::Usual,
    }
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
    WebSocket,
    /// It was judged.
    Widget(Judged),
}

#[cfg(test)]
mod tests;
