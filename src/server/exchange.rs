//! The way of a request, whatever carries it: identify, route, hold, verify, decide, forward or refuse, record.

use std::future::Future;
use std::ops::Deref;
use std::pin::{Pin, pin};
use std::time::Instant;

use bytes::Bytes;
use http::StatusCode;
use tokio::time::timeout;

use super::awaited::Awaited;
use super::client::{Client, Ended, Gone};
use super::front::Front;
use super::stream::{Streamed, stream};
use super::tunnel::Switched;
use super::waits::{now_or_not, timed, within};
use crate::pipeline::{BodyPlan, Forward};
use crate::policy::limit::Start;
use crate::policy::verify::{Ask, Said, Unknown};
use crate::process::live::Live;
use crate::process::request::{Request, Unsettled};
use crate::request::body::{BodyFault, Bounds};
use crate::request::head::RequestHead;
use crate::response::rejection::Rejection;
use crate::response::reply::Reply;
use crate::upstream::caller::Peer;
use crate::upstream::send::{self, Answer, SendFault};

/// Carries one request from its head, which was complete `at` that moment, to the record of it.
///
/// A block, since an `async fn` has a second place for all that it is given: hundreds of requests may be under way, and
/// what they need in memory is what they miss in the processor's cache.
pub fn exchange<C: Client>(
    front: impl Deref<Target = Front> + Send + Sync,
    mut client: C,
    head: Box<RequestHead>,
    peer: Peer,
    at: Instant,
) -> impl Future<Output = C::Next> + Send {
    let mut request = Request::begin(&front.process, &head.method, &head.headers, peer, at);
    let live = request.live.clone();
    async move {
        // The request is named first, and so dropped first where all is: it is recorded before its client is let go of.
        let prepared = prepare(&mut request, &mut client, &head, &live).await;
        // Of one that was refused; of one that goes on it has ended before its waits for a turn and a place.
        request.own_time_ends();
        // Boxed: a connection that is slow to send its request must not pay for what an answer needs.
        let carried = match prepared {
            Ok((forward, Onward::AsItComes)) => {
                let streamed = Box::pin(stream(&front, client, request, &head, forward)).await;
                let Some(streamed) = streamed else {
                    // The proxy kept it; with what it dropped the request was recorded.
                    return C::lost();
                };
                let Streamed { end, .. } = streamed;
                (client, request) = (streamed.client, streamed.request);
                end.map(|()| Carried::Answered)
            }
            Ok((forward, Onward::Whole)) => {
                Box::pin(carry(&front, &mut client, &mut request, &head, forward)).await
            }
            Err(rejection) => Err(rejection),
        };
        let ended = match carried {
            Ok(Carried::Switched(switched)) => {
                return Box::pin(client.switch(&front, request, *switched)).await;
            }
            Ok(Carried::Answered) => {
                request.answered(client.sent());
                Ended::Answered
            }
            Err(rejection) => Box::pin(refuse(&front, &mut client, request, &head, rejection)).await,
        };
        client.end(ended).await
    }
}

/// How a request goes on to its server.
enum Onward {
    /// Whole, by what follows here.
    Whole,
    /// As its body comes, by Pingora's proxy.
    AsItComes,
}

/// All that comes before a server is asked: finds the route, holds the body, where the route says so, decides, and waits
/// where a limit holds the request back or the upstream has its fill.
async fn prepare<C: Client>(
    request: &mut Request,
    client: &mut C,
    head: &RequestHead,
    live: &Live,
) -> Result<(Box<Forward>, Onward), Rejection> {
    let routed = request.route(head, live)?;
    let onward = match routed.body {
        BodyPlan::Stream => Onward::AsItComes,
        BodyPlan::Hold(_) | BodyPlan::None | BodyPlan::Switch => Onward::Whole,
    };
    match routed.body {
        BodyPlan::Hold(bounds) => hold(client, request, bounds).await?,
        BodyPlan::Stream => {
            let (begun, waited) = timed(pin!(client.begin_streaming())).await;
            request.waited(waited);
            begun?;
        }
        BodyPlan::None | BodyPlan::Switch => {}
    }
    let verdict = match request.judge(routed, head) {
        Ok(verdict) => verdict,
        // Boxed: nearly nobody waits, and everybody would have to make room for it.
        Err(unsettled) => Box::pin(settle(client, request, unsettled, head)).await,
    };
    let mut forward = verdict?;
    request.own_time_ends();
    // Nobody waits for a client that has left.
    if let Start::At(turn) = forward.start {
        tokio::select! {
            biased;
            () = request.turn(turn) => {}
            () = client.gone() => return Err(Rejection::ClientClosed),
        }
    }
    tokio::select! {
        biased;
        admitted = forward.attempts.admit() => admitted?,
        () = client.gone() => return Err(Rejection::ClientClosed),
    }
    Ok((forward, onward))
}

/// Waits until the body is there whole.
async fn hold<C: Client>(client: &mut C, request: &mut Request, bounds: Bounds) -> Result<(), BodyFault> {
    let (gathered, waited) = {
        let mut body = request.gathering(bounds);
        let gathering = pin!(async {
            while let Some(piece) = client.read().await? {
                body.add(piece)?;
            }
            Ok(body.end())
        });
        within(bounds.within, gathering).await
    };
    // However it ends.
    request.waited(waited);
    request.holds(gathered.unwrap_or(Err(BodyFault::TimedOut))?);
    Ok(())
}

/// Has the caller verified and the store of limits asked, where a request can not be decided without, and decides it.
async fn settle<C: Client>(
    client: &mut C,
    request: &mut Request,
    mut unsettled: Unsettled<'_>,
    head: &RequestHead,
) -> Result<Box<Forward>, Rejection> {
    let mut said = None;
    // The caller once, then the store once: the decision never asks for the caller, and what was settled does not wait
    // for the store again.
    loop {
        let read = match unsettled {
            Unsettled::Caller(read) => {
                if let Some(ask) = read.asks() {
                    said = Some(verify(client, request, ask).await?);
                }
                *read
            }
            Unsettled::Store(undecided) => {
                let (settled, waited) = timed(pin!(undecided.waiting.settled())).await;
                request.waited(waited);
                let mut read = undecided.read;
                read.settle(settled);
                read
            }
        };
        match request.decide(read, said.as_ref(), head) {
            Ok(verdict) => return verdict,
            Err(next) => unsettled = next,
        }
    }
}

/// Asks whose a token is, unless the client goes away first.
async fn verify<C: Client>(client: &mut C, request: &mut Request, ask: &Ask) -> Result<Said, Rejection> {
    let Some(verifier) = request.live.verifier.clone() else {
        // It could not be built, which a line has told; what that comes to, `[verify] on_error` says.
        return Ok(Said::Nothing(Unknown::Unreachable));
    };
    let asking = pin!(async {
        tokio::select! {
            biased;
            said = verifier.ask(ask) => Ok(said),
            () = client.gone() => Err(Rejection::ClientClosed),
        }
    });
    let (said, waited) = timed(asking).await;
    request.waited(waited);
    said
}

/// How far a request was carried.
enum Carried {
    /// The answer went back whole.
    Answered,
    /// Client and server go on in another protocol.
    Switched(Box<Switched>),
}

/// Asks the server and relays its answer.
async fn carry<C: Client>(
    front: &Front,
    client: &mut C,
    request: &mut Request,
    head: &RequestHead,
    mut forward: Box<Forward>,
) -> Result<Carried, Rejection> {
    request.upstream_begins();
    let body = match forward.rewrite.has_body() {
        true => request.body(),
        false => Bytes::new(),
    };
    let wire = send::Request::new(
        forward.rewrite.to_wire(head),
        &body,
        forward.asked,
        forward.resend,
    );
    let total = forward.attempts.total_timeout();
    let has_queued = forward.attempts.has_queued();
    let awaited = Awaited::default();
    let relaying = relay(front, client, request, &wire, &mut forward, &awaited);
    let relayed = match total {
        Some(total) => {
            timeout(total, relaying)
                .await
                .unwrap_or_else(|_| match (awaited.is_client(), has_queued) {
                    (true, _) => Err(Stopped::Gone),
                    (false, true) => Err(Stopped::Late),
                    (false, false) => Err(Stopped::Failed(SendFault::TimedOut)),
                })
        }
        None => relaying.await,
    };
    if let Err(Stopped::Failed(fault)) = &relayed
        && let Some(cause) = fault.cause()
    {
        forward.attempts.failed(cause, Instant::now());
    }
    request.upstream_ended(forward.attempts.attempted());
    Ok(match relayed? {
        None => Carried::Answered,
        Some(answer) => Carried::Switched(Box::new(Switched::new(answer, forward.attempts))),
    })
}

/// Asks, and hands the answer to the client piece by piece, interim answers before it. Where the server switches to
/// another protocol, its answer is returned instead.
async fn relay<C: Client>(
    front: &Front,
    client: &mut C,
    request: &mut Request,
    wire: &send::Request,
    forward: &mut Forward,
    awaited: &Awaited,
) -> Result<Option<Answer>, Stopped> {
    let attempts = &mut forward.attempts;
    let mut retries = 0;
    let asked = unless_gone(client, pin!(send::send(attempts, wire, || retries += 1))).await;
    request.upstream_retried(retries);
    let mut answer = asked?;
    while answer.head.status.is_informational() && answer.head.status != StatusCode::SWITCHING_PROTOCOLS {
        let interim = Reply::of_answer(&answer.head, None);
        awaited.client(client.interim(interim)).await?;
        unless_gone(client, pin!(answer.next_head(wire))).await?;
    }
    let status = answer.head.status.as_u16();
    attempts.answered(status, Instant::now);
    request.upstream_answered(status);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(Some(answer));
    }
    let reply = Reply::of_answer(&answer.head, forward.frame.as_ref());
    client.begin(reply, front.process.is_draining());
    loop {
        let piece = match now_or_not(answer.read(wire)).await {
            Some(piece) => piece.map_err(Stopped::Failed)?,
            None => {
                awaited.client(client.flush()).await?;
                unless_gone(client, pin!(answer.read(wire))).await?
            }
        };
        match piece {
            Some(piece) => awaited.client(client.piece(piece)).await?,
            None => break,
        }
    }
    awaited.client(client.finish()).await?;
    answer.release(wire, &front.process.idle);
    Ok(None)
}

/// Tells the client, if nothing of another answer was sent and it has not left, and records the request.
async fn refuse<C: Client>(
    front: &Front,
    client: &mut C,
    request: Box<Request>,
    head: &RequestHead,
    rejection: Rejection,
) -> Ended {
    if client.sent().status.is_some() || rejection == Rejection::ClientClosed {
        if rejection != Rejection::ClientClosed {
            // What the server said before it failed is the client's, who may have left meanwhile.
            let _ = client.flush().await;
        }
        request.refused(rejection, client.sent());
        return Ended::Cut;
    }
    let (reply, body) = request.refusal(&rejection, &head.method, &head.headers, head.target.query());
    client.begin(reply, rejection.ends_connection() || front.process.is_draining());
    let told = async {
        if !body.is_empty() {
            client.piece(body).await?;
        }
        client.finish().await
    };
    match told.await {
        Ok(()) => {
            request.refused(rejection, client.sent());
            Ended::Refused
        }
        Err(Gone) => {
            request.refused(Rejection::ClientClosed, client.sent());
            Ended::Cut
        }
    }
}

/// Why an answer did not go back whole.
enum Stopped {
    /// The client went away.
    Gone,
    /// The time ran out, and a part of it was spent in the queue before the server was asked.
    Late,
    /// The server failed.
    Failed(SendFault),
}

impl From<Gone> for Stopped {
    fn from(Gone: Gone) -> Stopped {
        Stopped::Gone
    }
}

impl From<Stopped> for Rejection {
    fn from(stopped: Stopped) -> Rejection {
        match stopped {
            Stopped::Gone => Rejection::ClientClosed,
            Stopped::Late => Rejection::UpstreamTimeout,
            Stopped::Failed(fault) => fault.into(),
        }
    }
}

/// The server's next part, unless the client goes away first. It stays where it is: moved in, it would have a second
/// place in each request's memory.
async fn unless_gone<C: Client, T>(
    client: &mut C,
    part: Pin<&mut impl Future<Output = Result<T, SendFault>>>,
) -> Result<T, Stopped> {
    tokio::select! {
        biased;
        part = part => part.map_err(Stopped::Failed),
        () = client.gone() => Err(Stopped::Gone),
    }
}
