//! The client of a pass route as the engine's proxy sees it: one more session, whatever carries the client.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use http::HeaderMap;
use parking_lot::Mutex;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::protocols::Digest;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::custom::CustomMessageWrite;
use pingora::protocols::http::custom::server::Session;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::{Error, ErrorType, Result};
use tokio::time::{Instant, timeout_at};

use super::fault::lost;
use super::passed::Handed;
use crate::request::body::BodyFault;
use crate::response::rejection::Rejection;
use crate::server::awaited::Awaited;
use crate::server::client::{Client, Gone};

/// For what is left of a body once its answer went back whole.
const DRAIN: Duration = Duration::from_secs(2);

/// Where a client is found again once the proxy is through with it, or was not waited for.
pub(super) struct Returned<C>(Arc<Mutex<Option<C>>>);

impl<C> Returned<C> {
    /// The client.
    pub(super) fn take(self) -> Option<C> {
        self.0.lock().take()
    }
}

impl<C> Clone for Returned<C> {
    fn clone(&self) -> Returned<C> {
        Returned(self.0.clone())
    }
}

impl<C> Default for Returned<C> {
    fn default() -> Returned<C> {
        Returned(Arc::default())
    }
}

/// See the module.
pub(super) struct ClientSession<C> {
    /// Until it is dropped.
    client: Option<C>,
    returned: Returned<C>,
    head: RequestHeader,
    /// Once the answer went back whole: for what is left of the body.
    until: Option<Instant>,
    handed: Handed,
    awaited: Arc<Awaited>,
    /// The head of the final answer, once the client was begun with it.
    begun: Option<Box<ResponseHeader>>,
}

impl<C: Client> ClientSession<C> {
    pub(super) fn new(
        client: C,
        returned: Returned<C>,
        head: RequestHeader,
        handed: Handed,
        awaited: Arc<Awaited>,
    ) -> ClientSession<C> {
        ClientSession {
            client: Some(client),
            returned,
            head,
            until: None,
            handed,
            awaited,
            begun: None,
        }
    }

    fn client(&mut self) -> Result<&mut C> {
        self.client.as_mut().ok_or_else(lost)
    }

    fn stops(&self, rejection: Rejection) -> Box<Error> {
        self.handed.ends(Err(rejection));
        Error::explain(ErrorType::ConnectionClosed, "the client's side has ended").into_down()
    }

    fn gone(&self, Gone: Gone) -> Box<Error> {
        self.stops(Rejection::ClientClosed)
    }

    /// Takes the head of an answer, which the hooks have judged.
    async fn begin(&mut self, head: Box<ResponseHeader>) -> Result<()> {
        let (reply, ends_connection) = {
            let mut passed = self.handed.passed()?;
            (
                passed.replies.pop_front().ok_or_else(lost)?,
                passed.request.is_draining(),
            )
        };
        if head.status.is_informational() {
            let client = self.client.as_mut().ok_or_else(lost)?;
            let told = self.awaited.client(client.interim(reply)).await;
            return told.map_err(|gone| self.gone(gone));
        }
        self.client()?.begin(reply, ends_connection);
        self.begun = Some(head);
        Ok(())
    }

    /// Takes a part of an answer. Whether it is the last.
    async fn take(&mut self, task: HttpTask) -> Result<bool> {
        match task {
            HttpTask::Header(head, ends) => {
                self.begin(head).await?;
                Ok(ends)
            }
            HttpTask::Body(piece, ends) | HttpTask::UpgradedBody(piece, ends) => {
                if let Some(piece) = piece.filter(|piece| !piece.is_empty()) {
                    let client = self.client.as_mut().ok_or_else(lost)?;
                    let taken = self.awaited.client(client.piece(piece)).await;
                    taken.map_err(|gone| self.gone(gone))?;
                }
                Ok(ends)
            }
            HttpTask::Trailer(_) | HttpTask::Done => Ok(true),
            HttpTask::Failed(error) => Err(error),
        }
    }
}

impl<C> Drop for ClientSession<C> {
    fn drop(&mut self) {
        *self.returned.0.lock() = self.client.take();
    }
}

#[async_trait]
impl<C: Client> Session for ClientSession<C> {
    fn req_header(&self) -> &RequestHeader {
        &self.head
    }

    fn req_header_mut(&mut self) -> &mut RequestHeader {
        &mut self.head
    }

    async fn read_body_bytes(&mut self) -> Result<Option<Bytes>> {
        let client = self.client.as_mut().ok_or_else(lost)?;
        let part = self.awaited.clients_part(client.read());
        let read = match self.until {
            None => part.await,
            // The server has said all that it has to say, and nobody watches the time any more.
            Some(until) => timeout_at(until, part).await.unwrap_or(Err(BodyFault::TimedOut)),
        };
        match read {
            Ok(Some(piece)) => {
                self.handed.passed()?.read += piece.len();
                Ok(Some(piece))
            }
            Ok(None) => {
                self.handed.passed()?.is_read = true;
                Ok(None)
            }
            Err(fault) => Err(self.stops(fault.into())),
        }
    }

    /// What is left of it is for whoever ends the exchange.
    async fn drain_request_body(&mut self) -> Result<()> {
        Ok(())
    }

    async fn write_response_header(&mut self, head: Box<ResponseHeader>, ends: bool) -> Result<()> {
        self.response_duplex_vec(vec![HttpTask::Header(head, ends)])
            .await
            .map(|_| ())
    }

    async fn write_response_header_ref(&mut self, head: &ResponseHeader, ends: bool) -> Result<()> {
        self.write_response_header(Box::new(head.clone()), ends).await
    }

    async fn write_body(&mut self, piece: Bytes, ends: bool) -> Result<()> {
        self.response_duplex_vec(vec![HttpTask::Body(Some(piece), ends)])
            .await
            .map(|_| ())
    }

    /// No carrier's client is sent any.
    async fn write_trailers(&mut self, _: HeaderMap) -> Result<()> {
        Ok(())
    }

    /// What came at once goes out at once: an answer that breaks off right behind its head is none yet.
    async fn response_duplex_vec(&mut self, tasks: Vec<HttpTask>) -> Result<bool> {
        let mut is_last = false;
        for task in tasks {
            is_last |= self.take(task).await?;
        }
        match is_last {
            true => self.finish().await?,
            false if self.begun.is_some() => {
                let client = self.client.as_mut().ok_or_else(lost)?;
                let flushed = self.awaited.client(client.flush()).await;
                flushed.map_err(|gone| self.gone(gone))?;
            }
            false => {}
        }
        Ok(is_last)
    }

    async fn finish(&mut self) -> Result<()> {
        if self.begun.is_none() || self.until.is_some() {
            return Ok(());
        }
        self.until = Some(Instant::now() + DRAIN);
        let client = self.client.as_mut().ok_or_else(lost)?;
        let finished = self.awaited.client(client.finish()).await;
        finished.map_err(|gone| self.gone(gone))?;
        // Whatever becomes of the rest of the body: the answer went back whole.
        self.handed.ends(Ok(()));
        Ok(())
    }

    async fn shutdown(&mut self, _: u32, _: &str) {}

    fn is_body_done(&mut self) -> bool {
        self.handed.passed().is_ok_and(|passed| passed.is_read)
    }

    fn is_body_empty(&mut self) -> bool {
        false
    }

    async fn read_body_or_idle(&mut self, no_body_expected: bool) -> Result<Option<Bytes>> {
        if !no_body_expected && !self.is_body_done() {
            return self.read_body_bytes().await;
        }
        self.client()?.gone().await;
        Err(self.gone(Gone))
    }

    fn response_written(&self) -> Option<&ResponseHeader> {
        self.begun.as_deref()
    }

    fn body_bytes_sent(&self) -> usize {
        self.client.as_ref().map_or(0, |client| client.sent().bytes)
    }

    fn body_bytes_read(&self) -> usize {
        self.handed.passed().map_or(0, |passed| passed.read)
    }

    /// Those who ask are the engine's own lines, which are not written.
    fn request_summary(&self) -> String {
        String::new()
    }

    fn pseudo_raw_h1_request_header(&self) -> Bytes {
        Bytes::new()
    }

    // Time is bounded by the client itself, and by the stream under it.

    fn set_read_timeout(&mut self, _: Option<Duration>) {}

    fn get_read_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_write_timeout(&mut self, _: Option<Duration>) {}

    fn get_write_timeout(&self) -> Option<Duration> {
        None
    }

    fn set_total_drain_timeout(&mut self, _: Option<Duration>) {}

    fn get_total_drain_timeout(&self) -> Option<Duration> {
        None
    }

    fn digest(&self) -> Option<&Digest> {
        None
    }

    fn digest_mut(&mut self) -> Option<&mut Digest> {
        None
    }

    fn client_addr(&self) -> Option<&SocketAddr> {
        None
    }

    fn server_addr(&self) -> Option<&SocketAddr> {
        None
    }

    // A body is sent again only where there is none.

    fn enable_retry_buffering(&mut self) {}

    fn retry_buffer_truncated(&self) -> bool {
        false
    }

    fn get_retry_buffer(&self) -> Option<Bytes> {
        None
    }

    // No messages beside the body.

    async fn finish_custom(&mut self) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_reader(
        &mut self,
    ) -> Option<Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>> {
        None
    }

    fn restore_custom_message_reader(
        &mut self,
        _: Box<dyn Stream<Item = Result<Bytes>> + Unpin + Send + Sync + 'static>,
    ) -> Result<()> {
        Ok(())
    }

    fn take_custom_message_writer(&mut self) -> Option<Box<dyn CustomMessageWrite>> {
        None
    }

    fn restore_custom_message_writer(&mut self, _: Box<dyn CustomMessageWrite>) -> Result<()> {
        Ok(())
    }
}
