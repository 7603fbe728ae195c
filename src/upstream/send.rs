//! Sends one request to a server, and reads its answer. It is executed at most once.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use super::answer::{AnswerHead, Asked, Body, BrokenAnswer, MAX_INTERIM};
use super::attempts::Attempts;
use super::failure::Cause;
use super::idle::IdleBound;
use super::pool::Resend;
use super::server::Server;
use super::socket::{Connection, Filled};

/// Up to here a body is copied behind its head, so that one packet holds both.
const JOINED: usize = 16 * 1024;
/// Room for a usual answer, and for a piece of a long one.
const READ: usize = 4096;
const READ_MORE: usize = 16 * 1024;

/// A request as it goes over the wire, complete.
pub struct Request {
    head: Vec<u8>,
    body: Bytes,
    asked: Asked,
    resend: Resend,
}

impl Request {
    /// Head, with its empty line, and body.
    pub fn new(mut head: Vec<u8>, body: &Bytes, asked: Asked, resend: Resend) -> Request {
        let body = if body.len() > JOINED {
            body.clone()
        } else {
            head.extend_from_slice(body);
            Bytes::new()
        };
        Request {
            head,
            body,
            asked,
            resend,
        }
    }

    fn len(&self) -> u64 {
        (self.head.len() + self.body.len()) as u64
    }

    /// What is left once so many bytes are sent.
    fn rest(&self, sent: u64) -> &[u8] {
        let sent = usize::try_from(sent).unwrap_or(usize::MAX);
        match self.head.get(sent..) {
            Some([]) | None => self
                .body
                .get(sent.saturating_sub(self.head.len())..)
                .unwrap_or_default(),
            Some(rest) => rest,
        }
    }
}

/// Why there is no answer, or no whole one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SendFault {
    /// There is no server: no name has an address.
    Nowhere,
    /// No server could be connected to: nothing was sent.
    Unreachable,
    /// The connection broke.
    Reset,
    /// What came is no answer.
    BadAnswer,
    /// Nothing came, or nothing could be sent, for as long as the upstream's `timeout`.
    TimedOut,
}

impl From<BrokenAnswer> for SendFault {
    fn from(BrokenAnswer: BrokenAnswer) -> SendFault {
        SendFault::BadAnswer
    }
}

impl SendFault {
    /// What it says of the server that has the request; none where no server has it.
    pub const fn cause(self) -> Option<Cause> {
        match self {
            SendFault::Nowhere | SendFault::Unreachable => None,
            SendFault::Reset => Some(Cause::Reset),
            SendFault::BadAnswer => Some(Cause::BadAnswer),
            SendFault::TimedOut => Some(Cause::Timeout),
        }
    }
}

/// Why one attempt came to nothing.
enum Attempt {
    /// It is certain that no byte of the request was taken: it may be sent again.
    NothingTaken,
    /// A server may have read it.
    Lost(SendFault),
}

impl From<SendFault> for Attempt {
    fn from(fault: SendFault) -> Attempt {
        Attempt::Lost(fault)
    }
}

/// An answer whose head is there.
pub struct Answer {
    /// The head; an interim one (1xx) may come first.
    pub head: AnswerHead,
    connection: Connection,
    server: Arc<Server>,
    body: Body,
    limits: Limits,
    asked: Asked,
    interim: usize,
    /// Whether the whole request was sent: else the connection is of no more use.
    is_sent: bool,
}

/// How long a server may take, and how long its connection is kept.
#[derive(Clone, Copy, Debug)]
struct Limits {
    silence: Duration,
    keepalive: Duration,
}

/// Sends the request to the servers of the attempts, in turn, until one can be connected to, and awaits the
/// head of its answer.
///
/// It goes to another server only after a failed connect, and over another connection of the same server at
/// most once, where it is proven that nothing of it was taken (RFC 9110 9.2.2), or it may be repeated. `again` is
/// called for each of these.
///
/// # Errors
/// See [`SendFault`].
pub async fn send(
    attempts: &mut Attempts,
    request: &Request,
    mut again: impl FnMut(),
) -> Result<Answer, SendFault> {
    let mut may_resend = true;
    let mut kept = true;
    loop {
        let server = attempts.server().ok_or(SendFault::Nowhere)?.clone();
        let rules = &attempts.upstream().rules;
        let limits = Limits {
            silence: rules.timeout,
            keepalive: rules.keepalive,
        };
        let idle = if kept { server.idle.take() } else { None };
        let may_repeat = match request.resend {
            Resend::Never => false,
            Resend::AfterIdle => idle.is_some(),
            Resend::Once => true,
        };
        let connection = match idle {
            Some(connection) => connection,
            None => match connect(&server, rules.connect_timeout).await {
                Ok(connection) => {
                    attempts.connected();
                    connection
                }
                Err(cause) if attempts.connect_failed(cause, Instant::now()) => {
                    again();
                    continue;
                }
                Err(_) => return Err(SendFault::Unreachable),
            },
        };
        match exchange(connection, &server, limits, request).await {
            Ok(answer) => return Ok(answer),
            Err(Attempt::NothingTaken) if may_resend => {
                (may_resend, kept) = (false, false);
                again();
            }
            Err(Attempt::NothingTaken) => return Err(SendFault::Reset),
            Err(Attempt::Lost(SendFault::Reset)) if may_resend && may_repeat => {
                attempts.failed(Cause::Reset, Instant::now());
                (may_resend, kept) = (false, false);
                again();
            }
            Err(Attempt::Lost(fault)) => return Err(fault),
        }
    }
}

/// Why it failed, as far as that is the server's fault.
async fn connect(server: &Server, within: Duration) -> Result<Connection, Option<Cause>> {
    let opened = timeout(within, server.connect()).await;
    opened.unwrap_or(Err(Some(Cause::Timeout)))
}

/// Sends the request over a connection of its own: the status of the answer.
///
/// # Errors
/// Why there is none.
pub async fn status_of(
    connection: Connection,
    server: &Arc<Server>,
    silence: Duration,
    request: &Request,
) -> Result<u16, Cause> {
    let limits = Limits {
        silence,
        keepalive: Duration::ZERO,
    };
    let lost = |fault: SendFault| fault.cause().unwrap_or(Cause::Reset);
    let mut answer = match exchange(connection, server, limits, request).await {
        Ok(answer) => answer,
        Err(Attempt::NothingTaken) => return Err(Cause::Reset),
        Err(Attempt::Lost(fault)) => return Err(lost(fault)),
    };
    while answer.head.status.is_informational() {
        answer.next_head().await.map_err(lost)?;
    }
    Ok(answer.head.status.as_u16())
}

async fn exchange(
    mut connection: Connection,
    server: &Arc<Server>,
    limits: Limits,
    request: &Request,
) -> Result<Answer, Attempt> {
    let (before, written) = (connection.taken(), connection.written());
    loop {
        let writing = std::future::poll_fn(|cx| poll_write(&mut connection, cx, request, written));
        match timeout(limits.silence, writing).await {
            Ok(Ok(Wrote::Some)) => {}
            Ok(Ok(Wrote::Enough)) => break,
            // The server may have said why before it stopped to listen.
            Ok(Err(_)) if connection.taken() > before => break,
            Ok(Err(_)) => return Err(Attempt::NothingTaken),
            Err(_) => return Err(SendFault::TimedOut.into()),
        }
    }
    let is_sent = connection.written() - written == request.len() && connection.is_flushed();
    let Some(head) = head_of(&mut connection, request.asked, limits.silence).await? else {
        let is_untaken = connection.ahead.is_empty() && connection.nothing_taken_since(before).await;
        return Err(match is_untaken {
            true => Attempt::NothingTaken,
            false => SendFault::Reset.into(),
        });
    };
    Ok(Answer {
        body: Body::of(head.judged.body),
        head,
        connection,
        server: server.clone(),
        limits,
        asked: request.asked,
        interim: 0,
        is_sent,
    })
}

/// How far a request came.
enum Wrote {
    /// Further than before.
    Some,
    /// To its end, or so far that the server answers.
    Enough,
}

/// Sends while it looks for an answer: a server that refuses a large body may stop reading it.
fn poll_write(
    connection: &mut Connection,
    cx: &mut Context<'_>,
    request: &Request,
    written: u64,
) -> Poll<io::Result<Wrote>> {
    let so_far = connection.taken();
    loop {
        let rest = request.rest(connection.written() - written);
        let is_last = rest.is_empty();
        let step = match is_last {
            true => connection.poll_flush(cx),
            false => connection.poll_send(cx, rest).map_ok(|_| ()),
        };
        match step {
            Poll::Ready(Ok(())) if is_last => return Poll::Ready(Ok(Wrote::Enough)),
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
            Poll::Pending if connection.taken() > so_far => return Poll::Ready(Ok(Wrote::Some)),
            // The end of the stream is for the reader to find again.
            Poll::Pending => return connection.poll_fill(cx, READ).map_ok(|_| Wrote::Enough),
        }
    }
}

/// Waits for the head of an answer; none where the stream ends before it.
async fn head_of(
    connection: &mut Connection,
    asked: Asked,
    silence: Duration,
) -> Result<Option<AnswerHead>, SendFault> {
    loop {
        if let Some(head) = AnswerHead::take(&mut connection.ahead, asked)? {
            return Ok(Some(head));
        }
        match fill(connection, READ, silence).await? {
            Filled::More => {}
            Filled::Ended | Filled::Cut => return Ok(None),
        }
    }
}

/// Waits for more bytes, at most as long as the server may be silent.
async fn fill(connection: &mut Connection, room: usize, silence: Duration) -> Result<Filled, SendFault> {
    match timeout(silence, connection.fill(room)).await {
        Ok(filled) => filled.map_err(|_| SendFault::Reset),
        Err(_) => Err(SendFault::TimedOut),
    }
}

impl Answer {
    /// After an interim answer: the head of the next.
    ///
    /// # Errors
    /// Where none comes.
    pub async fn next_head(&mut self) -> Result<(), SendFault> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(SendFault::BadAnswer);
        }
        let head = head_of(&mut self.connection, self.asked, self.limits.silence).await?;
        self.head = head.ok_or(SendFault::Reset)?;
        self.body = Body::of(self.head.judged.body);
        Ok(())
    }

    /// The next piece of the body; none at its end.
    ///
    /// # Errors
    /// Where it breaks off.
    pub async fn read(&mut self) -> Result<Option<Bytes>, SendFault> {
        loop {
            let piece = self.body.take(&mut self.connection.ahead)?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if self.body.is_complete() {
                return Ok(None);
            }
            let filled = fill(&mut self.connection, READ_MORE, self.limits.silence).await?;
            match (filled, &self.body) {
                (Filled::More, _) => {}
                (Filled::Ended, Body::ToTheEnd) => return Ok(None),
                (Filled::Ended, Body::Bytes(_) | Body::Chunks(_)) | (Filled::Cut, _) => {
                    return Err(SendFault::Reset);
                }
            }
        }
    }

    /// The connection, of which nothing behind the head was taken: another protocol is spoken there.
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    /// Keeps the connection for the next request, where that is possible. The body has been read.
    pub fn release(self, bound: &Arc<IdleBound>) {
        let is_whole = self.is_sent && self.body.is_complete() && self.connection.ahead.is_empty();
        if let (true, Some(keepalive)) = (is_whole, self.head.keepalive(self.limits.keepalive)) {
            self.server.idle.keep(self.connection, keepalive, bound);
        }
    }
}
