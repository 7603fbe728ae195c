//! Two connections become one: once a server has agreed to speak WebSocket, bytes go both ways as they are, until
//! one side ends, nothing moves for too long, or the gateway drains.

mod frames;

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio::time::{Instant, Sleep};

use super::drain::drains;
use super::http1::wire::Wire;
use crate::upstream::answer::AnswerHead;
use crate::upstream::attempts::Attempts;
use crate::upstream::send::Answer;
use crate::upstream::socket::Connection;
use frames::Frames;

/// Read at once, and kept of each direction until the other side takes it, in bytes.
const ROOM: usize = 16 * 1024;
/// For what a server still has to say to a client that has said its last.
const LINGER: Duration = Duration::from_secs(2);

/// A request whose server has agreed to speak WebSocket from here on.
pub struct Switched {
    answer: Answer,
    /// It counts as one of the server's as long as this is there.
    pub attempts: Attempts,
}

impl Switched {
    /// The answer is a 101.
    pub fn new(answer: Answer, attempts: Attempts) -> Switched {
        Switched { answer, attempts }
    }

    /// The head of the 101.
    pub fn head(&self) -> &AnswerHead {
        &self.answer.head
    }

    /// Carries bytes both ways between a client that was told of the switch and the server.
    pub async fn run(self, client: &mut Wire, stopping: &ShutdownWatch) -> (Moved, Attempts) {
        let silence = self.attempts.upstream().rules.timeout;
        let mut server = self.answer.into_connection();
        let mut tunnel = Tunnel {
            client,
            server: &mut server,
            inward: Way::default(),
            outward: Way::default(),
            frames: Frames::default(),
            stage: Stage::Open,
            silence,
            idle: Box::pin(tokio::time::sleep(silence)),
            stopping: stopping.clone(),
        };
        let mut stopping = stopping.clone();
        let mut drain = pin!(drains(&mut stopping, || false));
        let end = std::future::poll_fn(|cx| {
            // It wakes; whether to leave is asked at each piece.
            if tunnel.stage == Stage::Open && drain.as_mut().poll(cx).is_ready() {
                tunnel.stage = Stage::Leaving;
            }
            tunnel.poll(cx)
        });
        let end = end.await;
        let moved = Moved {
            from_client: tunnel.inward.moved,
            to_client: tunnel.outward.moved,
            end,
        };
        (moved, self.attempts)
    }
}

/// What went through, and why it ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Moved {
    /// Bytes that the server was sent.
    pub from_client: usize,
    /// Bytes that the client was sent.
    pub to_client: usize,
    /// Why it ended.
    pub end: End,
}

/// Why a tunnel ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// One side had said its last, or both.
    Closed,
    /// Nothing moved for the upstream's `timeout`.
    Idle,
    /// The gateway drains, and both sides knew.
    Drained,
    /// The client's connection broke.
    ClientBroke,
    /// The server's connection broke.
    ServerBroke,
}

/// How far the farewell of a drain has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// Nobody asks for one.
    Open,
    /// The client is to be told, where one of the server's frames ends.
    Leaving,
    /// It was told; what the server still sends is not for it.
    Told,
}

/// One direction.
#[derive(Default)]
struct Way {
    held: BytesMut,
    /// Something was written that may lie in a buffer below.
    is_unflushed: bool,
    has_ended: bool,
    /// The other side was told so.
    is_finished: bool,
    moved: usize,
}

impl Way {
    /// Hands on what is held, as far as the other side takes it.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.advance(written);
            self.moved += written;
            self.is_unflushed = true;
        }
        if self.is_unflushed {
            ready!(Pin::new(to).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Reads more; nothing is held.
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<()>> {
        self.held.reserve(ROOM);
        self.has_ended = ready!(pin!(from.read_buf(&mut self.held)).poll(cx))? == 0;
        Poll::Ready(Ok(()))
    }
}

struct Tunnel<'t> {
    client: &'t mut Wire,
    server: &'t mut Connection,
    inward: Way,
    outward: Way,
    /// Of what the server sends.
    frames: Frames,
    stage: Stage,
    silence: Duration,
    idle: Pin<Box<Sleep>>,
    stopping: ShutdownWatch,
}

impl Tunnel<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let before = (self.inward.moved, self.outward.moved);
        let client_ended = self.inward.has_ended;
        if let Poll::Ready(end) = self.poll_inward(cx) {
            return Poll::Ready(end);
        }
        if let Poll::Ready(end) = self.poll_outward(cx) {
            return Poll::Ready(end);
        }
        if self.inward.has_ended && !client_ended {
            self.idle
                .as_mut()
                .reset(Instant::now() + LINGER.min(self.silence));
        } else if !self.inward.has_ended && (self.inward.moved, self.outward.moved) != before {
            self.idle.as_mut().reset(Instant::now() + self.silence);
        }
        ready!(self.idle.as_mut().poll(cx));
        Poll::Ready(match self.inward.has_ended {
            true => End::Closed,
            false => End::Idle,
        })
    }

    /// From the client to the server, until that can not take more or one side breaks.
    fn poll_inward(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        while !self.inward.has_ended {
            if ready!(self.inward.poll_write(cx, self.server)).is_err() {
                // What it said before it stopped to listen is for the client.
                return self.poll_last_words(cx);
            }
            if ready!(self.inward.poll_read(cx, self.client)).is_err() {
                return Poll::Ready(End::ClientBroke);
            }
        }
        if !self.inward.is_finished && ready!(Pin::new(&mut *self.server).poll_shutdown(cx)).is_err() {
            return self.poll_last_words(cx);
        }
        self.inward.is_finished = true;
        Poll::Pending
    }

    fn poll_last_words(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        Poll::Ready(match self.poll_outward(cx) {
            Poll::Ready(end) => end,
            Poll::Pending => End::ServerBroke,
        })
    }

    /// From the server to the client, until that can not take more or one side ends.
    fn poll_outward(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            self.say_farewell();
            if ready!(self.outward.poll_write(cx, self.client)).is_err() {
                return Poll::Ready(End::ClientBroke);
            }
            if self.outward.has_ended {
                return Poll::Ready(match self.stage {
                    Stage::Open | Stage::Leaving => End::Closed,
                    Stage::Told => End::Drained,
                });
            }
            if ready!(self.outward.poll_read(cx, self.server)).is_err() {
                return Poll::Ready(End::ServerBroke);
            }
            // What was sent after one client was told to leave is not read as if nobody had to.
            if self.stage == Stage::Open && *self.stopping.borrow() {
                self.stage = Stage::Leaving;
            }
            match self.stage {
                Stage::Open => self.frames.pass(&self.outward.held),
                Stage::Leaving => {
                    let whole = self.frames.pass_one(&self.outward.held);
                    if self.frames.is_between() {
                        self.outward.held.truncate(whole);
                    }
                }
                Stage::Told => self.outward.held.clear(),
            }
        }
    }

    /// Tells the client to leave, once the server is between two frames: a WebSocket's 1001, "going away". A server
    /// that has said its own goodbye is not interrupted.
    fn say_farewell(&mut self) {
        if self.stage == Stage::Leaving && self.frames.is_between() {
            if !self.frames.has_closed() {
                self.outward.held.extend_from_slice(&frames::GOING_AWAY);
            }
            self.stage = Stage::Told;
        }
    }
}
