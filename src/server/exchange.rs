//! The short way of a plain widget call: the door holds its body whole, so that nothing has to flow both
//! ways at once, and writes once to the upstream and once to the client. Connections, their pool and the
//! reading of an answer are the engine's; its proxy carries everything that is not plain.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Method};

use super::connection::Door;
use super::incoming::Incoming;
use super::relay::{self, Progress};
use super::wire::Wire;
use crate::context::{Context, Stage};
use crate::gateway::{Answered, rejection_of};
use crate::pipeline::{BodyPlan, Head, Opened};
use crate::policy::route::Kind;
use crate::process::live::Live;
use crate::request::body::Bounds;
use crate::request::front_door::Framing;
use crate::request::head::PlainHead;
use crate::response::rejection::Rejection;
use crate::response::reply::Answer;
use crate::telemetry::access_log;
use crate::telemetry::metrics::Closed;
use crate::upstream::ask::{self, Answering, NoAnswer};
use crate::upstream::origin::Peer;

/// A widget call whose head is judged.
pub struct Call<'c> {
    /// Its head, taken out of the wire.
    pub head: &'c PlainHead,
    /// What the head decided.
    pub opened: Result<Opened<'c>, (Option<usize>, Rejection)>,
    /// Of its body, which the wire stands at.
    pub framing: Framing,
    /// The other end.
    pub peer: Peer,
}

/// What the door knows about the configuration and the time of a call.
pub struct Moment {
    /// In force when its head was complete.
    pub live: Arc<Live>,
    /// When its head was complete.
    pub at: Instant,
}

impl Door {
    /// Carries one call to its end. Says why the connection ends, if it does.
    pub(super) async fn exchange(&self, wire: &mut Wire, call: Call<'_>, moment: &Moment) -> Option<Closed> {
        let head = call.head;
        let mut ctx = self.gateway.arrive(moment.live.clone(), moment.at);
        self.gateway.meet(&mut ctx, call.peer, &head.headers);
        let mut incoming = Incoming::of(call.framing);
        let decided = match call.opened {
            Ok(opened) => {
                ctx.route = Some(opened.route_index);
                let held = match bounds(&opened, &incoming, &moment.live) {
                    Some(bounds) => incoming
                        .hold(wire, bounds, &mut ctx.held, &mut ctx.body_wait)
                        .await
                        .map(Some),
                    None => Ok(None),
                };
                held.map_err(Rejection::from).and_then(|body| {
                    ctx.body = body;
                    let view = view(head, call.peer);
                    self.gateway.decide(&mut ctx, &opened, &view, moment.live.env())
                })
            }
            Err((route, rejection)) => {
                ctx.route = route;
                Err(rejection)
            }
        };
        ctx.own_time_ends();
        let may_go_on = !head.is_last && !self.gateway.is_draining();
        let mut progress = Progress::default();
        let carried = match decided {
            // Boxed: a connection that is slow to send its request must not pay for what an answer needs.
            Ok(()) => Box::pin(self.carry(wire, head, may_go_on, &mut ctx, &mut progress)).await,
            Err(rejection) => Err(rejection),
        };
        let mut answered = Answered {
            method: access_log::known_method(&head.method),
            status: progress.status.unwrap_or_default(),
            bytes_in: ctx.body.as_ref().map_or(0, Bytes::len),
            bytes_out: progress.bytes,
        };
        let Err(rejection) = carried else {
            self.gateway.tell(&ctx, &answered);
            return match (may_go_on, self.gateway.is_draining()) {
                (true, _) => None,
                (false, true) => Some(Closed::Drain),
                (false, false) => Some(Closed::Client),
            };
        };
        // Part of the upstream's answer is out: it can only be cut.
        if progress.status.is_some() {
            ctx.stage = Stage::Refused(rejection);
            self.gateway.tell(&ctx, &answered);
            return Some(Closed::Client);
        }
        let keep_alive = may_go_on && !rejection.ends_connection() && incoming.is_little();
        self.refuse(
            wire,
            &mut ctx,
            rejection,
            &head.headers,
            keep_alive,
            &mut answered,
        )
        .await;
        let is_told = !matches!(ctx.stage, Stage::Refused(Rejection::ClientClosed));
        if keep_alive && is_told && incoming.drain(wire).await {
            return None;
        }
        wire.refuse();
        Some(if is_told { Closed::Refused } else { Closed::Client })
    }

    /// Answers for a head that the front door refuses. The connection ends with it.
    pub(super) async fn refuse_head(
        &self,
        wire: &mut Wire,
        refused: RefusedHead,
        moment: Moment,
        peer: Peer,
    ) {
        let mut ctx = self.gateway.arrive(moment.live, moment.at);
        self.gateway.meet(&mut ctx, peer, &HeaderMap::new());
        ctx.own_time_ends();
        let mut answered = Answered {
            method: refused.method,
            status: 0,
            bytes_in: 0,
            bytes_out: 0,
        };
        self.refuse(
            wire,
            &mut ctx,
            refused.rejection,
            &refused.headers,
            false,
            &mut answered,
        )
        .await;
        wire.refuse();
    }

    async fn refuse(
        &self,
        wire: &mut Wire,
        ctx: &mut Context,
        rejection: Rejection,
        headers: &HeaderMap,
        keep_alive: bool,
        answered: &mut Answered,
    ) {
        let mut is_gone = matches!(rejection, Rejection::ClientClosed);
        if !is_gone {
            let to_head = answered.method == Method::HEAD.as_str();
            let answer = Answer::of(&rejection, headers, ctx.request_id());
            is_gone = relay::write(wire, &mut answer.to_wire(keep_alive, to_head))
                .await
                .is_err();
            answered.bytes_out = if to_head { 0 } else { answer.body_len() };
        }
        ctx.stage = Stage::Refused(if is_gone {
            Rejection::ClientClosed
        } else {
            rejection
        });
        self.gateway.tell(ctx, answered);
    }

    /// Asks the upstream and relays its answer.
    async fn carry(
        &self,
        wire: &mut Wire,
        head: &PlainHead,
        keep_alive: bool,
        ctx: &mut Context,
        progress: &mut Progress,
    ) -> Result<(), Rejection> {
        ctx.upstream_begins();
        let mut answering = tokio::select! {
            biased;
            answering = self.ask(head, ctx) => answering?,
            () = wire.gone() => return Err(Rejection::ClientClosed),
        };
        let relayed = relay::relay(wire, &mut answering.session, keep_alive, progress).await;
        if let Some(status) = answering.session.get_status() {
            ctx.upstream_answered(status.as_u16());
        }
        relayed?;
        answering.release(&self.connector).await;
        Ok(())
    }

    /// The servers of the upstream take turns until one can be connected to.
    async fn ask(&self, head: &PlainHead, ctx: &mut Context) -> Result<Answering, Rejection> {
        let Stage::Forwarded(forward) = &ctx.stage else {
            return Err(Rejection::InternalError);
        };
        let body = ctx.body.as_ref().map_or_else(Bytes::new, Bytes::clone);
        let request = ask::Request::new(forward.rewrite.to_wire(head), &body);
        loop {
            let Stage::Forwarded(forward) = &ctx.stage else {
                return Err(Rejection::InternalError);
            };
            let server = forward.target.server().ok_or(Rejection::InternalError)?;
            let peer = forward.target.peer().map_err(|e| rejection_of(&e.into_up()))?;
            let error = match ask::ask(&self.connector, &peer, &request).await {
                Err(NoAnswer::Connect(error)) => error,
                asked => {
                    server.set_up(true);
                    return asked.map_err(|no_answer| rejection_of(no_answer.error()));
                }
            };
            if !ctx.next_server() {
                return Err(rejection_of(&error));
            }
        }
    }
}

/// Of the body, where the route holds it.
fn bounds(opened: &Opened<'_>, incoming: &Incoming, live: &Live) -> Option<Bounds> {
    let BodyPlan::Hold { limit, within } = opened.body else {
        return None;
    };
    Some(Bounds {
        limit,
        within,
        held: live.env().widget.held_bodies,
        announced: incoming.announced(),
    })
}

/// What is kept of a head that the front door refuses.
pub struct RefusedHead {
    /// Why.
    pub rejection: Rejection,
    /// A registered method, or `_OTHER`.
    pub method: &'static str,
    /// What the client would like to get, at most.
    pub headers: HeaderMap,
}

/// The head as the pipeline sees it.
pub fn view(head: &PlainHead, peer: Peer) -> Head<'_> {
    Head {
        method: &head.method,
        raw_target: &head.target,
        headers: &head.headers,
        peer,
    }
}

/// Whether a call is one for the short way: on a widget route, or refused by its head alone.
pub fn is_short(opened: &Result<Opened<'_>, (Option<usize>, Rejection)>) -> bool {
    !matches!(opened, Ok(opened) if opened.route.kind == Kind::Pass)
}
