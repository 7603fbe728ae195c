//! The client of one request on an HTTP/1 connection.

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use super::incoming::Incoming;
use super::wire::Wire;
use crate::process::request::{Request, Sent};
use crate::request::body::BodyFault;
use crate::request::head::{RequestHead, Version};
use crate::response::rejection::Rejection;
use crate::response::reply::{Delimiter, Length, Reply};
use crate::server::client::{Client, Ended, Gone};
use crate::server::front::Front;
use crate::server::tunnel::{End, Switched};
use crate::telemetry::metrics::Closed;
use crate::upstream::failure::Cause;

/// Gathered up to so many bytes before a write.
const GATHER: usize = 32 * 1024;
/// Most heads of answers fit.
const HEAD: usize = 1024;
/// For what is left of a body that nobody wants.
const DRAIN: Duration = Duration::from_secs(2);

/// One request's client.
pub struct Http1Client {
    wire: Box<Wire>,
    version: Version,
    incoming: Incoming,
    /// Its end was read: whoever stopped before it can not know where the next request begins.
    is_read: bool,
    keeps_alive: bool,
    /// The client waits for `100 Continue`, and did not get it yet.
    awaits_continue: bool,
    /// Whether the body goes on as it comes, so that the server says whether the client is to go on.
    is_streamed: bool,
    /// Whether the gateway wants the connection to end with the reply that was begun.
    ends_connection: bool,
    /// Whether the connection goes on behind the reply that was begun.
    goes_on: bool,
    delimiter: Delimiter,
    out: Vec<u8>,
    /// What will have been sent once `out` is.
    taken: Sent,
    sent: Sent,
}

impl Http1Client {
    /// The client whose head was read; the wire stands at the body.
    pub fn new(wire: Box<Wire>, parsed: &RequestHead) -> Http1Client {
        Http1Client {
            wire,
            version: parsed.version,
            incoming: Incoming::of(parsed.framing),
            is_read: false,
            keeps_alive: parsed.hop.keeps_alive,
            awaits_continue: parsed.hop.expects_continue,
            is_streamed: false,
            ends_connection: false,
            goes_on: false,
            delimiter: Delimiter::Head,
            out: Vec::new(),
            taken: Sent::default(),
            sent: Sent::default(),
        }
    }

    async fn write_out(&mut self) -> Result<(), Gone> {
        // From here on no other reply can take its place, however far this comes.
        self.sent.status = self.taken.status;
        self.wire.send(&self.out).await.map_err(|_| Gone)?;
        self.out.clear();
        self.sent = self.taken;
        Ok(())
    }

    /// Reads what is left of a body that nobody wants. Whether it came in time.
    async fn drain(&mut self) -> bool {
        let drained = timeout(DRAIN, async { while let Ok(Some(_)) = self.read().await {} });
        drained.await.is_ok() && self.incoming.is_complete()
    }
}

impl Client for Http1Client {
    /// The wire at the next head, or why the connection has ended.
    type Next = Result<Box<Wire>, Closed>;

    async fn read(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            let piece = self.incoming.take(&mut self.wire)?;
            if !piece.is_empty() {
                return Ok(Some(piece));
            }
            if self.incoming.is_complete() {
                self.is_read = true;
                return Ok(None);
            }
            if !self.is_streamed && std::mem::take(&mut self.awaits_continue) {
                let told = self.wire.send(b"HTTP/1.1 100 Continue\r\n\r\n").await;
                told.map_err(|_| BodyFault::ClientGone)?;
            }
            let room = self.incoming.room();
            if self.wire.read_ahead(room).await.unwrap_or_default() == 0 {
                return Err(BodyFault::ClientGone);
            }
        }
    }

    async fn interim(&mut self, reply: Reply) -> Result<(), Gone> {
        let tells = match reply.status == http::StatusCode::CONTINUE {
            // Else the body is there, and nobody waits.
            true => self.is_streamed && std::mem::take(&mut self.awaits_continue),
            // HTTP/1.0 knows no interim answers (RFC 9110 15.2).
            false => self.version != Version::Http10,
        };
        if !tells {
            return Ok(());
        }
        let mut out = Vec::new();
        reply.append_interim(&mut out);
        self.wire.send(&out).await.map_err(|_| Gone)
    }

    fn begin(&mut self, reply: Reply, ends_connection: bool) {
        self.delimiter = reply.delimiter(self.version);
        self.ends_connection = ends_connection;
        // Who still waits for 100 may never send the body: nothing tells where the next request begins.
        self.goes_on = self.keeps_alive
            && !ends_connection
            && self.delimiter != Delimiter::Close
            && (self.is_read || self.incoming.is_little() && !self.awaits_continue);
        self.out.clear();
        // A head, and a body that is there at once.
        self.out.reserve(match reply.length {
            Length::Bytes(length) => HEAD + (length as usize).min(GATHER),
            Length::None(_) | Length::Open => HEAD,
        });
        reply.append_http1(&mut self.out, self.version, self.goes_on);
        self.taken = Sent {
            status: Some(reply.status.as_u16()),
            bytes: 0,
        };
    }

    async fn piece(&mut self, piece: Bytes) -> Result<(), Gone> {
        self.taken.bytes += piece.len();
        if self.delimiter == Delimiter::Chunks {
            self.out
                .extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            self.out.extend_from_slice(&piece);
            self.out.extend_from_slice(b"\r\n");
        } else {
            self.out.extend_from_slice(&piece);
        }
        match self.out.len() >= GATHER {
            true => self.write_out().await,
            false => Ok(()),
        }
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        match self.out.is_empty() {
            true => Ok(()),
            false => self.write_out().await,
        }
    }

    async fn finish(&mut self) -> Result<(), Gone> {
        if self.delimiter == Delimiter::Chunks {
            self.out.extend_from_slice(b"0\r\n\r\n");
        }
        self.flush().await
    }

    async fn gone(&mut self) {
        match self.incoming.is_complete() {
            true => self.wire.gone().await,
            false => self.wire.ended().await,
        }
    }

    fn sent(&self) -> Sent {
        self.sent
    }

    /// A connection has one request at a time.
    async fn begin_streaming(&mut self) -> Result<(), Rejection> {
        self.is_streamed = true;
        Ok(())
    }

    async fn switch(mut self, front: &Front, mut request: Box<Request>, switched: Switched) -> Self::Next {
        self.out.clear();
        Reply::of_answer(switched.head(), None).append_switch(&mut self.out);
        let sent = Sent {
            status: Some(switched.head().status.as_u16()),
            bytes: 0,
        };
        self.taken = sent;
        if self.write_out().await == Err(Gone) {
            request.refused(Rejection::ClientClosed, self.sent);
            return Err(Closed::Client);
        }
        let (moved, mut attempts) = switched.run(&mut self.wire, &front.stopping).await;
        let sent = Sent {
            bytes: moved.to_client,
            ..sent
        };
        request.streamed(moved.from_client);
        let (rejection, closed) = match moved.end {
            End::Closed => (None, Closed::Client),
            End::Idle => (None, Closed::Idle),
            End::Drained => (None, Closed::Drain),
            End::ClientBroke => (Some(Rejection::ClientClosed), Closed::Client),
            End::ServerBroke => {
                attempts.failed(Cause::Reset, Instant::now());
                request.upstream_ended(attempts.attempted());
                (Some(Rejection::UpstreamError), Closed::Client)
            }
        };
        match rejection {
            None => request.answered(sent),
            Some(rejection) => request.refused(rejection, sent),
        }
        // The server has one request less from here on, whatever the client's end takes.
        drop(attempts);
        self.wire.close().await;
        Err(closed)
    }

    async fn end(mut self, ended: Ended) -> Self::Next {
        if ended != Ended::Cut && self.goes_on && (self.incoming.is_complete() || self.drain().await) {
            return Ok(self.wire);
        }
        if !self.incoming.is_complete() {
            self.wire.refuse();
        }
        let closed = match ended {
            Ended::Refused => Closed::Refused,
            Ended::Answered if self.ends_connection && self.keeps_alive => Closed::Drain,
            Ended::Answered => Closed::Client,
            Ended::Cut => {
                self.wire.cut().await;
                return Err(Closed::Client);
            }
        };
        self.wire.close().await;
        Err(closed)
    }

    fn lost() -> Self::Next {
        Err(Closed::Client)
    }
}
