//! The client's side of one request, as the exchange sees it. HTTP/1 and HTTP/2 implement it.

use std::future::Future;

use bytes::Bytes;

use super::front::Front;
use super::tunnel::Switched;
use crate::process::request::{Request, Sent};
use crate::request::body::BodyFault;
use crate::response::rejection::Rejection;
use crate::response::reply::Reply;

/// The client does not take what is sent to it, or has gone away: both are recorded as `client_closed`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Gone;

/// How an exchange ended, for the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// The client got a whole answer from the server.
    Answered,
    /// The client got a refusal.
    Refused,
    /// The answer is cut, or there is none: the client must see that.
    Cut,
}

/// One request's client. A reply is begun, written piece by piece and finished; `sent` says what of it has been
/// written, not what was handed over, so that a reply of which nothing was sent can still be replaced.
pub trait Client: Send + Sync + Unpin + Sized + 'static {
    /// What becomes of the connection.
    type Next: Send;

    /// The next piece of the request's body; none at its end.
    fn read(&mut self) -> impl Future<Output = Result<Option<Bytes>, BodyFault>> + Send;

    /// Sends an interim answer, where the client's version knows them.
    fn interim(&mut self, reply: Reply) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Takes a head; it is written with the first piece of the body. `ends_connection`: behind this reply.
    fn begin(&mut self, reply: Reply, ends_connection: bool);

    /// Takes a piece of the body, never an empty one, and writes when there is enough.
    fn piece(&mut self, piece: Bytes) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Writes what was taken.
    fn flush(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Writes what was taken, and the end of the body.
    fn finish(&mut self) -> impl Future<Output = Result<(), Gone>> + Send;

    /// Resolves when the client is gone.
    fn gone(&mut self) -> impl Future<Output = ()> + Send;

    /// What was written.
    fn sent(&self) -> Sent;

    /// Says that the body goes on as it comes, and waits for a place among such requests of the connection. Whether
    /// the client is told to go on with its body is then for the server to say (RFC 9110 10.1.1).
    ///
    /// # Errors
    /// Where none was free in time.
    fn begin_streaming(&mut self) -> impl Future<Output = Result<(), Rejection>> + Send;

    /// Tells the client that its server speaks WebSocket from here on, and carries that to its end.
    fn switch(
        self,
        front: &Front,
        request: Box<Request>,
        switched: Switched,
    ) -> impl Future<Output = Self::Next> + Send;

    /// Leaves the connection: open for the next request where both sides keep it, closed behind a reply otherwise;
    /// after a cut the stream is reset, or the connection closed, so that the client sees it.
    fn end(self, ended: Ended) -> impl Future<Output = Self::Next> + Send;

    /// What becomes of a connection whose client the engine did not give back, which is a fault of ours.
    fn lost() -> Self::Next;
}
