//! The client of one HTTP/2 stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Uri, header};
use pingora::apps::HttpServerApp as _;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::HttpSession;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::process::request::{Request, Sent};
use crate::request::body::BodyFault;
use crate::request::head::fault::HeadFault;
use crate::request::head::{RequestHead, Version};
use crate::response::rejection::Rejection;
use crate::response::reply::Reply;
use crate::server::client::{Client, Ended, Gone};
use crate::server::shared::Server;
use crate::server::stream::HandedOver;
use crate::server::tunnel::Switched;
use crate::upstream::answer::AnswerHead;
use crate::upstream::caller::Peer;

/// For what is left of a body that nobody wants: some clients lose the answer if the stream is reset.
const DRAIN: Duration = Duration::from_secs(2);

/// One stream's client.
pub struct Http2Client {
    session: Box<HttpSession>,
    /// As it came, for the proxy of pass routes.
    uri: Uri,
    streamed: Arc<Semaphore>,
    place: Option<OwnedSemaphorePermit>,
    head: Option<Box<ResponseHeader>>,
    /// Kept back, so that the last piece can end the stream.
    last: Bytes,
    sent: Sent,
}

impl Http2Client {
    /// The client whose head was read.
    pub fn new(
        mut session: Box<HttpSession>,
        uri: Uri,
        streamed: Arc<Semaphore>,
        server: &Server,
    ) -> Http2Client {
        session.set_write_timeout(Some(server.rules.write_timeout));
        Http2Client {
            session,
            uri,
            streamed,
            place: None,
            head: None,
            last: Bytes::new(),
            sent: Sent::default(),
        }
    }

    /// Writes what was taken; `ends` with it.
    async fn write(&mut self, ends: bool) -> Result<(), Gone> {
        let piece = std::mem::take(&mut self.last);
        if let Some(head) = self.head.take() {
            let status = head.status.as_u16();
            let is_all = ends && piece.is_empty();
            self.session
                .write_response_header(head, is_all)
                .map_err(|_| Gone)?;
            self.sent.status = Some(status);
            if is_all {
                return Ok(());
            }
        }
        if piece.is_empty() {
            return match ends {
                true => self.session.finish().map_err(|_| Gone),
                false => Ok(()),
            };
        }
        let bytes = piece.len();
        self.session.write_body(piece, ends).await.map_err(|_| Gone)?;
        self.sent.bytes += bytes;
        Ok(())
    }
}

/// What is kept of a head that is refused: it only decides how the answer looks.
pub struct RefusedHead {
    method: Method,
    looks: HeaderMap,
}

impl RefusedHead {
    /// Before the head is judged, which takes it.
    pub fn of(method: &Method, headers: &HeaderMap) -> RefusedHead {
        let looks = [header::ACCEPT, header::ACCEPT_LANGUAGE].into_iter();
        let looks = looks.filter_map(|name| Some((name.clone(), headers.get(&name)?.clone())));
        RefusedHead {
            method: method.clone(),
            looks: looks.collect(),
        }
    }
}

/// Answers a head that is refused. Whether the client took it.
pub async fn refuse_head(
    server: &Server,
    mut client: Http2Client,
    head: RefusedHead,
    fault: HeadFault,
    peer: Peer,
    at: Instant,
) -> bool {
    let RefusedHead { method, looks } = head;
    let mut request = Request::begin(&server.process, &method, &HeaderMap::new(), peer, at);
    request.own_time_ends();
    let rejection = Rejection::from(fault);
    let (reply, body) = request.refusal(&rejection, &method, &looks, b"");
    client.begin(&reply, true);
    client.last = body;
    let told = client.finish().await;
    let (rejection, ended) = match told {
        Ok(()) => (rejection, Ended::Refused),
        Err(Gone) => (Rejection::ClientClosed, Ended::Cut),
    };
    request.refused(rejection, client.sent);
    client.end(ended).await
}

impl Client for Http2Client {
    /// Whether the client took an answer.
    type Next = bool;

    async fn read(&mut self) -> Result<Option<Bytes>, BodyFault> {
        loop {
            match self.session.read_body_bytes().await {
                Ok(Some(piece)) if piece.is_empty() => {}
                Ok(piece) => return Ok(piece),
                Err(_) => return Err(BodyFault::ClientGone),
            }
        }
    }

    /// The library sends none.
    async fn interim(&mut self, _: &AnswerHead) -> Result<(), Gone> {
        Ok(())
    }

    fn begin(&mut self, reply: &Reply, _: bool) {
        self.last = Bytes::new();
        // A status of the registry, and header lines that were parsed, make a head.
        self.head = reply.to_engine(Version::Http2).ok().map(Box::new);
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
        let _ = self.session.idle().await;
    }

    fn sent(&self) -> Sent {
        self.sent
    }

    async fn place(&mut self) -> Result<(), Rejection> {
        // By then a client that takes nothing was given up.
        let within = self.session.get_write_timeout().unwrap_or_default();
        let place = timeout(within, self.streamed.clone().acquire_owned()).await;
        self.place = place.ok().and_then(Result::ok);
        self.place.as_ref().map(|_| ()).ok_or(Rejection::Overloaded)
    }

    async fn stream(mut self, server: &Server, passed: HandedOver, head: Box<RequestHead>) -> bool {
        let _place = self.place.take();
        let outcome = passed.outcome();
        let (mut parts, ()) = http::Request::new(()).into_parts();
        let RequestHead { method, headers, .. } = *head;
        (parts.method, parts.uri, parts.version) = (method, self.uri, http::Version::HTTP_2);
        parts.headers = headers;
        parts.extensions.insert(passed);
        *self.session.req_header_mut() = RequestHeader::from(parts);
        let session = ServerSession::new_http2(*self.session);
        let proxying = server.proxy.process_new_http(session, &server.stopping);
        outcome.within(proxying).await;
        outcome.was_answered()
    }

    /// No head of HTTP/2 asks for it (RFC 9113 8.2.2).
    async fn switch(mut self, _: &Server, request: Box<Request>, _: Switched) -> bool {
        request.refused(Rejection::InternalError, self.sent);
        self.session.shutdown();
        false
    }

    async fn end(mut self, ended: Ended) -> bool {
        match ended {
            Ended::Answered => true,
            Ended::Refused => {
                if !self.session.is_body_done() {
                    let drained = async { while let Ok(Some(_)) = self.read().await {} };
                    let _ = timeout(DRAIN, drained).await;
                }
                true
            }
            Ended::Cut => {
                self.session.shutdown();
                false
            }
        }
    }
}
