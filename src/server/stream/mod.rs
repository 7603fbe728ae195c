//! Bodies of pass routes: ordinary reverse proxying, both ways at once, which Pingora's proxy does. What is decided
//! about a request was decided before it is handed over; there it gets its server, and its answer is judged.

mod fault;
mod head;
pub mod hooks;
mod passed;
mod session;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use pingora::apps::HttpServerApp as _;
use pingora::protocols::http::ServerSession;
use tokio::time::timeout;

use super::awaited::Awaited;
use super::client::Client;
use super::front::Front;
use crate::pipeline::Forward;
use crate::process::request::Request;
use crate::request::body::BodyFault;
use crate::request::head::RequestHead;
use crate::request::head::fault::Malformed;
use crate::response::rejection::Rejection;
use crate::upstream::failure::Cause;
use passed::{Handed, Passed};
use session::{ClientSession, Returned};

/// What the proxy leaves: the client, and the request with what came of it.
pub struct Streamed<C> {
    /// As far as it got.
    pub client: C,
    /// To be recorded.
    pub request: Box<Request>,
    /// Whether the answer went back whole.
    pub end: Result<(), Rejection>,
}

/// Has Pingora's proxy carry a request. None where it kept what it was given, which is a fault of ours.
pub async fn stream<C: Client>(
    front: &Front,
    client: C,
    mut request: Box<Request>,
    head: &RequestHead,
    forward: Box<Forward>,
) -> Option<Streamed<C>> {
    let Ok(mut engine_head) = head::for_engine(head, &forward.rewrite) else {
        let end = Err(Malformed::Target.into());
        return Some(Streamed { client, request, end });
    };
    request.upstream_begins();
    let total = forward.attempts.total_timeout();
    let awaited = Arc::new(Awaited::default());
    let handed = Handed::new(Passed {
        awaited: awaited.clone(),
        request,
        forward,
        deadline: total.map(|total| Instant::now() + total),
        descriptor: None,
        unfit: 0,
        interim: 0,
        replies: VecDeque::new(),
        read: 0,
        is_read: false,
        end: None,
    });
    let returned = Returned::default();
    engine_head.extensions_mut().insert(handed.clone());
    let session = ClientSession::new(
        client,
        returned.clone(),
        engine_head,
        handed.clone(),
        awaited.clone(),
    );
    let session = ServerSession::new_custom(Box::new(session));
    let proxied = front.proxy.process_new_http(session, &front.stopping);
    let in_time = match total {
        None => {
            proxied.await;
            true
        }
        // The proxy bounds silences alone.
        Some(total) => timeout(total, proxied).await.is_ok(),
    };
    if let (false, Ok(mut passed)) = (in_time, handed.passed())
        && passed.end.is_none()
    {
        passed.end = Some(Err(match (awaited.is_client(), awaited.is_clients_part()) {
            (true, _) => Rejection::ClientClosed,
            (false, true) => BodyFault::TimedOut.into(),
            (false, false) => {
                passed.forward.attempts.failed(Cause::Timeout, Instant::now());
                Rejection::UpstreamTimeout
            }
        }));
    }
    let Passed {
        mut request,
        forward,
        read,
        end,
        ..
    } = handed.take()?;
    request.streamed(read);
    request.upstream_ended(forward.attempts.attempted());
    Some(Streamed {
        client: returned.take()?,
        request,
        end: end.unwrap_or(Err(Rejection::InternalError)),
    })
}
