//! Asks a server over a pooled connection: the whole request in one write, then the head of the answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use pingora::connectors::TransportConnector;
use pingora::protocols::Stream;
use pingora::protocols::http::v1::client::HttpSession;
use pingora::upstreams::peer::Peer as _;
use pingora::{Error, ErrorType, Result};
use tokio::io::AsyncWrite as _;
use tokio::time::timeout;

use super::peer::PooledPeer;

/// Up to here a body is copied behind its head, so that one packet holds both.
const JOINED: usize = 16 * 1024;

/// A request as it goes over the wire, complete.
pub struct Request {
    head: Vec<u8>,
    body: Bytes,
}

impl Request {
    /// Head, with its empty line, and body.
    pub fn new(mut head: Vec<u8>, body: &Bytes) -> Request {
        if body.len() > JOINED {
            let body = body.clone();
            return Request { head, body };
        }
        head.extend_from_slice(body);
        Request {
            head,
            body: Bytes::new(),
        }
    }
}

/// An answer whose head is there.
pub struct Answering {
    /// Reads the rest.
    pub session: HttpSession,
    key: u64,
    idle: Option<Duration>,
    is_whole: bool,
}

/// Why there is no answer.
pub enum NoAnswer {
    /// No connection could be made, so nothing was sent.
    Connect(Box<Error>),
    /// The request was sent, or part of it.
    Lost(Box<Error>),
}

impl NoAnswer {
    /// What went wrong.
    pub fn error(&self) -> &Error {
        match self {
            NoAnswer::Connect(error) | NoAnswer::Lost(error) => error,
        }
    }
}

/// Sends the request to the peer and awaits the head of an answer, which may be an interim one. A pooled
/// connection that the server has closed in the meantime is replaced.
///
/// # Errors
/// See [`NoAnswer`].
pub async fn ask(
    connector: &TransportConnector,
    peer: &PooledPeer,
    request: &Request,
) -> Result<Answering, NoAnswer> {
    loop {
        let got = connector.get_stream(peer).await;
        let (stream, reused) = got.map_err(|error| NoAnswer::Connect(error.into_up()))?;
        match exchange(stream, peer, request).await {
            Ok(answering) => return Ok(answering),
            Err(mut error) => {
                error.retry.decide_reuse(reused);
                if !error.retry() {
                    return Err(NoAnswer::Lost(error.into_up()));
                }
            }
        }
    }
}

async fn exchange(mut stream: Stream, peer: &PooledPeer, request: &Request) -> Result<Answering> {
    let options = peer.get_peer_options();
    let within = options.and_then(|options| options.write_timeout);
    let within = within.unwrap_or(Duration::MAX);
    let sent = match timeout(within, send(&mut stream, request)).await {
        Ok(sent) => sent,
        Err(_) => return Error::e_explain(ErrorType::WriteTimedout, "sending the request"),
    };
    let (stream, is_whole) = match &sent {
        Ok(Sent::Whole) => (stream, true),
        // After an error too, the answer to a part of the request may be there.
        Ok(Sent::Answered) | Err(_) => (stream, false),
    };
    let mut session = HttpSession::new_with_options(stream, peer);
    session.read_timeout = options.and_then(|options| options.read_timeout);
    match (session.read_response().await, sent) {
        (Ok(_), _) => Ok(Answering {
            session,
            key: peer.reuse_hash(),
            idle: peer.idle_timeout(),
            is_whole,
        }),
        (Err(error), Ok(_)) => Err(error),
        (Err(_), Err(broken)) => {
            let mut error = Error::because(ErrorType::WriteError, "sending the request", broken);
            error.retry = pingora::RetryType::ReusedOnly;
            Err(error)
        }
    }
}

impl Answering {
    /// Gives the connection back for the next request, where that is possible. The answer has been read.
    pub async fn release(mut self, connector: &TransportConnector) {
        if !self.is_whole {
            return;
        }
        self.session.respect_keepalive();
        if let Some(stream) = self.session.reuse().await {
            connector.release_stream(stream, self.key, self.idle);
        }
    }
}

enum Sent {
    Whole,
    /// The server answers before it has read everything.
    Answered,
}

/// Writes while it looks for an answer: a server that refuses a large body may stop reading it.
async fn send(stream: &mut Stream, request: &Request) -> io::Result<Sent> {
    let mut left = [&request.head[..], &request.body[..]].into_iter();
    let mut piece = left.next().unwrap_or_default();
    std::future::poll_fn(|cx| {
        loop {
            while piece.is_empty()
                && let Some(next) = left.next()
            {
                piece = next;
            }
            let mut to = Pin::new(&mut *stream);
            let written = if piece.is_empty() {
                to.as_mut().poll_flush(cx).map_ok(|()| None)
            } else {
                to.as_mut().poll_write(cx, piece).map_ok(Some)
            };
            match written {
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(Sent::Whole)),
                Poll::Ready(Ok(Some(0))) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(Some(bytes))) => piece = piece.get(bytes..).unwrap_or_default(),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Pending => return poll_answer(to.get_mut(), cx),
            }
        }
    })
    .await
}

fn poll_answer(from: &mut Stream, cx: &mut Context<'_>) -> Poll<io::Result<Sent>> {
    let mut first = [0];
    ready!(from.try_peek(&mut first).as_mut().poll(cx))?;
    Poll::Ready(Ok(Sent::Answered))
}
