//! The client of one HTTP/2 stream.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use super::piece::{Piece, Unsent};
use super::streams::OpenStream;
use crate::process::request::{Request, Sent};
use crate::request::body::BodyFault;
use crate::request::head::RefusedHead;
use crate::response::rejection::Rejection;
use crate::response::reply::Reply;
use crate::server::client::{Client, Ended, Gone};
use crate::server::front::Front;
use crate::server::pace::is_too_slow;
use crate::server::tunnel::Switched;
use crate::server::waits::within;
use crate::upstream::caller::Peer;

/// For what is left of a body that nobody wants: some clients lose the answer if the stream is reset.
const DRAIN: Duration = Duration::from_secs(2);

/// One stream's client.
pub struct Http2Client {
    body: RecvStream,
    respond: SendResponse<Piece>,
    /// Once the head of an answer was sent.
    sending: Option<SendStream<Piece>>,
    unsent: Unsent,
    stream: OpenStream,
    /// What the client may send of the body before it is read, in bytes.
    unread: u32,
    place: Option<OwnedSemaphorePermit>,
    /// The client waits for `100 Continue`, and did not get it yet.
    awaits_continue: bool,
    /// Whether the body goes on as it comes, so that the server says whether the client is to go on.
    is_streamed: bool,
    head: Option<Box<http::Response<()>>>,
    /// Kept back, so that the last piece can end the stream.
    last: Bytes,
    sent: Sent,
    /// For a stream whose window stays shut; whole connections are given up below.
    write_timeout: Duration,
    is_given_up: bool,
}

impl Http2Client {
    /// The client whose head was read.
    pub fn new(
        body: RecvStream,
        respond: SendResponse<Piece>,
        stream: OpenStream,
        unread: u32,
        write_timeout: Duration,
        expects_continue: bool,
    ) -> Http2Client {
        Http2Client {
            body,
            respond,
            sending: None,
            unsent: Unsent::default(),
            stream,
            unread,
            place: None,
            awaits_continue: expects_continue,
            is_streamed: false,
            head: None,
            last: Bytes::new(),
            sent: Sent::default(),
            write_timeout,
            is_given_up: false,
        }
    }

    /// Writes what was taken; `ends` with it. Who takes neither all of it in time nor as much as a client has to is
    /// given up: what it has not taken is thrown away.
    async fn write(&mut self, ends: bool) -> Result<(), Gone> {
        let span = self.write_timeout;
        // Until it is written: the wait may be left.
        self.is_given_up = true;
        loop {
            let before = self.sent.bytes;
            let (done, _) = within(span, pin!(self.send(ends))).await;
            let taken = (self.sent.bytes - before) as u64;
            match done {
                Some(Ok(())) => break,
                None if !is_too_slow(taken, span) => {}
                Some(Err(Gone)) | None => return Err(Gone),
            }
        }
        self.is_given_up = false;
        Ok(())
    }

    /// Takes what is left of the body, which nobody wants.
    async fn drain(&mut self) {
        let drained = async { while let Ok(Some(_)) = self.read().await {} };
        let _ = timeout(DRAIN, drained).await;
    }

    /// Ends an answer that is not whole, so that the client sees it.
    async fn cut(&mut self) {
        // A reset throws away what was handed over, a head that nothing follows too.
        if let (false, Some(sending)) = (self.is_given_up, &mut self.sending)
            && sending.send_data(self.unsent.piece(Bytes::new()), false).is_ok()
        {
            within(self.write_timeout, pin!(self.unsent.gone())).await;
        }
        self.respond.send_reset(Reason::INTERNAL_ERROR);
    }

    async fn send(&mut self, ends: bool) -> Result<(), Gone> {
        if let Some(head) = self.head.take() {
            let status = head.status().as_u16();
            let is_all = ends && self.last.is_empty();
            self.sending = Some(self.respond.send_response(*head, is_all).map_err(|_| Gone)?);
            self.sent.status = Some(status);
            if is_all {
                return Ok(());
            }
        }
        let Some(sending) = &mut self.sending else {
            return Err(Gone);
        };
        if self.last.is_empty() {
            return match ends {
                true => sending
                    .send_data(Piece::last(Bytes::new()), true)
                    .map_err(|_| Gone),
                false => Ok(()),
            };
        }
        while !self.last.is_empty() {
            let room = room(sending, self.last.len()).await?;
            let part = self.last.split_to(room.min(self.last.len()));
            let bytes = part.len();
            let is_last = ends && self.last.is_empty();
            let piece = match is_last {
                true => Piece::last(part),
                false => self.unsent.piece(part),
            };
            sending.send_data(piece, is_last).map_err(|_| Gone)?;
            self.sent.bytes += bytes;
        }
        Ok(())
    }
}

/// How much of so many bytes the stream takes now: at least one.
async fn room(sending: &mut SendStream<Piece>, wanted: usize) -> Result<usize, Gone> {
    sending.reserve_capacity(wanted);
    loop {
        match sending.capacity() {
            0 => match std::future::poll_fn(|cx| sending.poll_capacity(cx)).await {
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(Gone),
            },
            room => return Ok(room),
        }
    }
}

/// Answers a head that is refused. It is a wasted stream all the same: nothing that a connection is kept for.
pub async fn refuse_head(
    front: Arc<Front>,
    mut client: Http2Client,
    refused: RefusedHead,
    peer: Peer,
    at: Instant,
) {
    let RefusedHead {
        fault,
        method,
        headers,
    } = refused;
    let mut request = Request::begin(&front.process, &method, &HeaderMap::new(), peer, at);
    request.own_time_ends();
    let rejection = Rejection::from(fault);
    let (reply, body) = request.refusal(&rejection, &method, &headers, b"");
    client.begin(reply, true);
    client.last = body;
    let told = client.finish().await;
    match told {
        Ok(()) => {
            request.refused(rejection, client.sent);
            client.drain().await;
        }
        Err(Gone) => {
            request.refused(Rejection::ClientClosed, client.sent);
            client.cut().await;
        }
    }
}

impl Client for Http2Client {
    /// How the stream ended is told to its `OpenStream`.
    type Next = ();

    async fn read(&mut self) -> Result<Option<Bytes>, BodyFault> {
        if !self.is_streamed && std::mem::take(&mut self.awaits_continue) {
            let mut told = http::Response::new(());
            *told.status_mut() = StatusCode::CONTINUE;
            self.respond
                .send_informational(told)
                .map_err(|_| BodyFault::ClientGone)?;
        }
        loop {
            match self.body.data().await {
                None => return Ok(None),
                Some(Err(_)) => return Err(BodyFault::ClientGone),
                Some(Ok(piece)) if piece.is_empty() => {}
                Some(Ok(piece)) => {
                    let released = self.body.flow_control().release_capacity(piece.len());
                    released.map_err(|_| BodyFault::ClientGone)?;
                    return Ok(Some(piece));
                }
            }
        }
    }

    async fn interim(&mut self, reply: Reply) -> Result<(), Gone> {
        let tells = match reply.status == StatusCode::CONTINUE {
            // Else the body is there, and nobody waits.
            true => self.is_streamed && std::mem::take(&mut self.awaits_continue),
            false => true,
        };
        match tells {
            true => self
                .respond
                .send_informational(reply.into_interim())
                .map_err(|_| Gone),
            false => Ok(()),
        }
    }

    fn begin(&mut self, reply: Reply, _: bool) {
        self.last = Bytes::new();
        // Nothing is said to go on behind a final answer.
        self.awaits_continue = false;
        self.head = Some(Box::new(reply.into_http2()));
    }

    async fn piece(&mut self, piece: Bytes) -> Result<(), Gone> {
        if self.last.is_empty() {
            self.last = piece;
            return Ok(());
        }
        self.write(false).await?;
        self.last = piece;
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        self.write(false).await
    }

    async fn finish(&mut self) -> Result<(), Gone> {
        self.write(true).await
    }

    async fn gone(&mut self) {
        // A stream that can not be asked any more means the same.
        let _ = std::future::poll_fn(|cx| match &mut self.sending {
            Some(sending) => sending.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        })
        .await;
    }

    fn sent(&self) -> Sent {
        self.sent
    }

    async fn begin_streaming(&mut self) -> Result<(), Rejection> {
        self.is_streamed = true;
        let within = self.write_timeout;
        let Http2Client {
            stream,
            unread,
            respond,
            ..
        } = self;
        self.place = tokio::select! {
            biased;
            // By then a client that takes nothing was given up.
            place = stream.turns().turn(*unread, within) => place,
            _ = std::future::poll_fn(|cx| respond.poll_reset(cx)) => return Err(Rejection::ClientClosed),
        };
        self.place.as_ref().map(|_| ()).ok_or(Rejection::Overloaded)
    }

    /// No head of HTTP/2 asks for it (RFC 9113 8.2.2).
    async fn switch(mut self, _: &Front, request: Box<Request>, _: Switched) {
        request.refused(Rejection::InternalError, self.sent);
        self.respond.send_reset(Reason::INTERNAL_ERROR);
    }

    async fn end(mut self, ended: Ended) {
        // Boxed: what follows is nearly never waited for.
        match ended {
            Ended::Answered => self.stream.answered(),
            Ended::Refused => {
                if !self.body.is_end_stream() {
                    Box::pin(self.drain()).await;
                }
                self.stream.answered();
            }
            Ended::Cut => Box::pin(self.cut()).await,
        }
    }

    fn lost() {}
}
