//! The stream of an HTTP/1 connection. It keeps the bytes that were read ahead, gives Pingora's proxy the
//! body of the current request and not a byte more, follows the chunk framing strictly, gathers what is
//! written, and lingers after a refusal so that the answer arrives.

use std::fmt;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use pingora::protocols::{Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

use crate::request::chunks::Chunks;
use crate::request::head::Framing;
use crate::server::pace::hands_through;

/// Most heads, and small bodies with them, fit.
pub const READ_AHEAD: usize = 4096;
/// The proxy writes a head and a small body apart; up to here they go out together.
const GATHER: usize = 4096;
/// While a request is being answered, little of the next one is read.
const IDLE_READ: usize = 512;
/// After a refusal, what the client still sends is read for so long before the connection closes.
const LINGER: Duration = Duration::from_secs(2);

/// What the proxy may read.
enum Expect {
    /// So many bytes of the body; none where a head is awaited.
    Length(u64),
    /// Chunks up to the last one.
    Chunks(Chunks),
    /// Everything: HTTP/2, or WebSocket, is spoken from here on.
    All,
    /// The request was refused: nothing, and what is left is of no interest.
    Nothing,
}

/// See the module.
pub struct Wire {
    inner: Stream,
    ahead: BytesMut,
    /// Taken and not yet written; only the proxy's small writes wait here.
    behind: BytesMut,
    expect: Expect,
}

impl Wire {
    /// Takes over a fresh connection.
    pub fn new(inner: Stream) -> Wire {
        Wire {
            inner,
            ahead: BytesMut::new(),
            behind: BytesMut::new(),
            expect: Expect::Length(0),
        }
    }

    /// What was read and not yet given to the engine.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Drops bytes that mean nothing.
    pub fn skip(&mut self, bytes: usize) {
        self.ahead.advance(bytes.min(self.ahead.len()));
    }

    /// Waits for more bytes and puts them behind those that were read ahead. Zero says that the client is gone.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn read_ahead(&mut self, room: usize) -> io::Result<usize> {
        self.ahead.reserve(room);
        self.inner.read_buf(&mut self.ahead).await
    }

    /// Writes all of it, at once and not gathered.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_all(bytes).await?;
        self.inner.flush().await
    }

    /// Takes a head, or a piece of a body, that was read ahead; what follows stays.
    pub fn take(&mut self, bytes: usize) -> Bytes {
        self.ahead.split_to(bytes.min(self.ahead.len())).freeze()
    }

    /// For the proxy: the head, with what is there of a body whose length is announced. It may read the rest of
    /// the body behind it, and no more.
    pub fn hand_over(&mut self, head: &[u8], framing: Framing) -> BytesMut {
        let there = match framing {
            Framing::Length(length) => {
                let there = self
                    .ahead
                    .len()
                    .min(usize::try_from(length).unwrap_or(usize::MAX));
                self.expect = Expect::Length(length - there as u64);
                there
            }
            Framing::Chunked | Framing::Frames => {
                self.expect = Expect::Chunks(Chunks::default());
                0
            }
        };
        let mut prefix = BytesMut::with_capacity(head.len() + there);
        prefix.extend_from_slice(head);
        prefix.extend_from_slice(&self.ahead.split_to(there));
        prefix
    }

    /// Resolves when the client has closed its side and nothing is left to be read.
    pub async fn gone(&mut self) {
        // An error of the connection means the same.
        let _ = std::future::poll_fn(|cx| self.poll_idle(cx)).await;
    }

    /// The connection speaks something else than HTTP/1, from what was read ahead on.
    pub fn speaks_another(&mut self) {
        self.expect = Expect::All;
    }

    /// The request was refused, its body not read: what still comes is of no interest.
    pub fn refuse(&mut self) {
        self.expect = Expect::Nothing;
    }

    /// Leaves the connection; see [`Shutdown`].
    pub async fn close(&mut self) {
        Shutdown::shutdown(self).await;
    }

    /// Whether the current body was read to its end, so that the connection stands at the next head.
    pub fn is_at_head(&self) -> bool {
        match &self.expect {
            Expect::Length(left) => *left == 0,
            Expect::Chunks(chunks) => chunks.is_complete(),
            Expect::All | Expect::Nothing => false,
        }
    }

    /// After the body: an end of the stream is told, the bytes of the next request are kept.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            return Poll::Pending;
        }
        self.ahead.reserve(IDLE_READ);
        let read = ready!(pin!(self.inner.read_buf(&mut self.ahead)).poll(cx))?;
        if read == 0 {
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    /// Writes what was gathered.
    fn poll_behind(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.behind.is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &self.behind))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.behind.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what was read ahead, else from the connection, at most `limit` bytes.
    fn poll_some(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        limit: usize,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let give = self.ahead.len().min(out.remaining()).min(limit);
            out.put_slice(self.ahead.get(..give).unwrap_or_default());
            self.ahead.advance(give);
            return Poll::Ready(Ok(()));
        }
        if limit >= out.remaining() {
            return Pin::new(&mut self.inner).poll_read(cx, out);
        }
        let mut limited = ReadBuf::new(out.initialize_unfilled_to(limit));
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut limited))?;
        let read = limited.filled().len();
        out.advance(read);
        Poll::Ready(Ok(()))
    }

    fn poll_chunks(
        &mut self,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        chunks: Chunks,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        ready!(self.poll_some(cx, out, usize::MAX))?;
        let mut chunks = chunks;
        let new = out.filled().get(before..).unwrap_or_default();
        let own = chunks
            .advance(new)
            .map_err(|broken| io::Error::new(io::ErrorKind::InvalidData, broken))?;
        if own < new.len() {
            // The rest belongs to the next request and goes back in front of what is ahead.
            let mut ahead = BytesMut::from(new.get(own..).unwrap_or_default());
            ahead.extend_from_slice(&self.ahead);
            self.ahead = ahead;
            out.set_filled(before + own);
        }
        self.expect = Expect::Chunks(chunks);
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Whoever reads again waits for something: what was gathered goes out first.
        if !this.behind.is_empty() {
            if let Poll::Ready(Err(e)) = this.poll_behind(cx) {
                return Poll::Ready(Err(e));
            }
            let _ = Pin::new(&mut this.inner).poll_flush(cx);
        }
        match this.expect {
            Expect::All => this.poll_some(cx, out, usize::MAX),
            Expect::Length(left) if left > 0 => {
                let before = out.filled().len();
                ready!(this.poll_some(cx, out, usize::try_from(left).unwrap_or(usize::MAX)))?;
                this.expect = Expect::Length(left - (out.filled().len() - before) as u64);
                Poll::Ready(Ok(()))
            }
            Expect::Chunks(chunks) if !chunks.is_complete() => this.poll_chunks(cx, out, chunks),
            Expect::Length(_) | Expect::Chunks(_) | Expect::Nothing => this.poll_idle(cx),
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.behind.len() + bytes.len() > GATHER {
            ready!(self.poll_behind(cx))?;
        }
        if bytes.len() >= GATHER {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        self.behind.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_behind(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_behind(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Drop for Wire {
    /// The proxy drops the stream where an answer breaks off: what it said was sent still goes out, as far as the
    /// client takes it at once.
    fn drop(&mut self) {
        if !self.behind.is_empty() {
            let mut nobody = Context::from_waker(std::task::Waker::noop());
            let _ = Pin::new(self).poll_flush(&mut nobody);
        }
    }
}

#[async_trait]
impl Shutdown for Wire {
    /// Closes our side. Where the request was not read to its end, the client's side is read on, within
    /// bounds: a close with unread bytes would reset the connection and could take the answer with it.
    async fn shutdown(&mut self) {
        if self.flush().await.is_ok() {
            Shutdown::shutdown(&mut *self.inner).await;
        }
        if matches!(self.expect, Expect::Nothing) || !self.is_at_head() && !matches!(self.expect, Expect::All)
        {
            let mut sink = [0; 8192];
            let drain = async { while self.inner.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
            let _ = tokio::time::timeout(LINGER, drain).await;
        }
    }
}

hands_through!(Wire);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Never the bytes that were read ahead.
        f.debug_struct("Wire")
            .field("id", &self.inner.id())
            .finish_non_exhaustive()
    }
}
