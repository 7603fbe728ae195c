//! Sends one request to a server, and reads its answer. It is executed at most once.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
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
#[derive(Clone)]
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
    /// Bytes that the connection had carried before the request.
    begins: u64,
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
            // Boxed: seldom needed, and every request would have to make room for it.
            None => match Box::pin(connect(&server, rules.connect_timeout)).await {
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
        answer.next_head(request).await.map_err(lost)?;
    }
    Ok(answer.head.status.as_u16())
}

async fn exchange(
    mut connection: Connection,
    server: &Arc<Server>,
    limits: Limits,
    request: &Request,
) -> Result<Answer, Attempt> {
    let (before, begins) = (connection.taken(), connection.written());
    let rest = Rest { request, begins };
    let wrote = write(&mut connection, rest, limits.silence).await?;
    // Else the server may have said why before it stopped to listen.
    if wrote.is_err() && connection.taken() == before {
        return Err(Attempt::NothingTaken);
    }
    let Some(head) = head_of(&mut connection, rest, request.asked, limits.silence).await? else {
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
        begins,
    })
}

/// What is left to be sent of a request that begins behind so many bytes of the connection.
#[derive(Clone, Copy)]
struct Rest<'r> {
    request: &'r Request,
    begins: u64,
}

impl Rest<'_> {
    fn is_sent(self, connection: &Connection) -> bool {
        connection.written() - self.begins == self.request.len() && connection.is_flushed()
    }

    /// Sends, until the kernel has all of it.
    fn poll(self, connection: &mut Connection, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            match self.request.rest(connection.written() - self.begins) {
                [] => return connection.poll_flush(cx),
                rest => ready!(connection.poll_send(cx, rest))?,
            };
        }
    }
}

/// Sends the request until all of it is sent or the server has something to say: one that refuses a large body may
/// stop reading it. What the connection says is the inner error.
async fn write(
    connection: &mut Connection,
    rest: Rest<'_>,
    silence: Duration,
) -> Result<io::Result<()>, SendFault> {
    loop {
        let so_far = connection.taken();
        let writing = std::future::poll_fn(|cx| match rest.poll(connection, cx) {
            Poll::Ready(done) => Poll::Ready(done.map(|()| true)),
            Poll::Pending if connection.taken() > so_far => Poll::Ready(Ok(false)),
            // The end of the stream is for the reader to find again.
            Poll::Pending => connection.poll_fill(cx, READ).map_ok(|_| true),
        });
        match timeout(silence, writing).await {
            // Further than before.
            Ok(Ok(false)) => {}
            Ok(Ok(true)) => return Ok(Ok(())),
            Ok(Err(e)) => return Ok(Err(e)),
            Err(_) => return Err(SendFault::TimedOut),
        }
    }
}

/// Waits for the head of an answer; none where the stream ends before it.
async fn head_of(
    connection: &mut Connection,
    rest: Rest<'_>,
    asked: Asked,
    silence: Duration,
) -> Result<Option<AnswerHead>, SendFault> {
    loop {
        if let Some(head) = AnswerHead::take(&mut connection.ahead, asked)? {
            return Ok(Some(head));
        }
        match fill(connection, Some(rest), READ, silence).await? {
            Filled::More => {}
            Filled::Ended | Filled::Cut => return Ok(None),
        }
    }
}

/// Waits for more bytes, at most as long as the server may be silent. What is left of the request is sent meanwhile.
async fn fill(
    connection: &mut Connection,
    rest: Option<Rest<'_>>,
    room: usize,
    silence: Duration,
) -> Result<Filled, SendFault> {
    let rest = rest.filter(|rest| !rest.is_sent(connection));
    loop {
        let so_far = connection.taken();
        let filling = std::future::poll_fn(|cx| {
            if let Some(rest) = rest {
                // A server that has stopped to listen may have said why.
                let _ = rest.poll(connection, cx);
            }
            match connection.poll_fill(cx, room) {
                Poll::Ready(filled) => Poll::Ready(filled.map(Some)),
                Poll::Pending if connection.taken() > so_far => Poll::Ready(Ok(None)),
                Poll::Pending => Poll::Pending,
            }
        });
        match timeout(silence, filling).await {
            Ok(Ok(Some(filled))) => return Ok(filled),
            // It takes what is sent, and is not silent.
            Ok(Ok(None)) => {}
            Ok(Err(_)) => return Err(SendFault::Reset),
            Err(_) => return Err(SendFault::TimedOut),
        }
    }
}

impl Answer {
    /// After an interim answer to `request`: the head of the next. Who was interrupted by it sends on.
    ///
    /// # Errors
    /// Where none comes.
    pub async fn next_head(&mut self, request: &Request) -> Result<(), SendFault> {
        self.interim += 1;
        if self.interim > MAX_INTERIM {
            return Err(SendFault::BadAnswer);
        }
        let rest = self.rest(request);
        let head = head_of(&mut self.connection, rest, self.asked, self.limits.silence).await?;
        self.head = head.ok_or(SendFault::Reset)?;
        self.body = Body::of(self.head.judged.body);
        Ok(())
    }

    /// The next piece of the body of the answer to `request`; none at its end. What is left of the request is sent
    /// meanwhile, unless the answer is an error (RFC 9112 9.5).
    ///
    /// # Errors
    /// Where it breaks off.
    pub async fn read(&mut self, request: &Request) -> Result<Option<Bytes>, SendFault> {
        let rest = (!self.is_error()).then_some(self.rest(request));
        loop {
            let piece = self.body.take(&mut self.connection.ahead)?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if self.body.is_complete() {
                return Ok(None);
            }
            let filled = fill(&mut self.connection, rest, READ_MORE, self.limits.silence).await?;
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

    /// Keeps the connection for the next request, where that is possible. The body of the answer has been read. A server
    /// that has answered before it had read the request, and goes on, is sent the rest first: it would else have half
    /// of it, and the client has its answer.
    pub fn release(mut self, request: &Request, bound: &Arc<IdleBound>) {
        if self.rest(request).is_sent(&self.connection) {
            self.keep(bound);
        } else if !self.is_error() && self.keepalive().is_some() {
            let (request, bound) = (request.clone(), bound.clone());
            tokio::spawn(async move {
                let rest = self.rest(&request);
                let silence = self.limits.silence;
                // As long altogether as it may be silent: nobody waits for it any more, and nothing else bounds it.
                let _ = timeout(silence, write(&mut self.connection, rest, silence)).await;
                if rest.is_sent(&self.connection) {
                    self.keep(&bound);
                }
            });
        }
    }

    fn keep(self, bound: &Arc<IdleBound>) {
        let is_whole = self.body.is_complete() && self.connection.ahead.is_empty();
        if let (true, Some(keepalive)) = (is_whole, self.keepalive()) {
            self.server.idle.keep(self.connection, keepalive, bound);
        }
    }

    fn keepalive(&self) -> Option<Duration> {
        self.head.keepalive(self.limits.keepalive)
    }

    fn is_error(&self) -> bool {
        self.head.status.is_client_error() || self.head.status.is_server_error()
    }

    const fn rest<'r>(&self, request: &'r Request) -> Rest<'r> {
        Rest {
            request,
            begins: self.begins,
        }
    }
}
