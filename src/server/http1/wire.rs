//! The stream of an HTTP/1 connection. It keeps the bytes that were read ahead, for whoever reads next, and lingers
//! after a refusal so that the answer arrives.

use std::cell::{OnceCell, RefCell};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use mio::event::Event;
use mio::unix::SourceFd;
use pingora::protocols::{Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// Most heads, and small bodies with them, fit.
pub const READ_AHEAD: usize = 4096;
/// While a request is being answered, little of the next one is read.
const IDLE_READ: usize = 512;
/// After a refusal, what the client still sends is read for so long before the connection closes.
const LINGER: Duration = Duration::from_secs(2);

/// From one look at whether a client has left to the next, where nothing is read.
const LOOK: Duration = Duration::from_millis(250);

/// See the module.
pub struct Wire {
    inner: Stream,
    ahead: BytesMut,
    lingers: bool,
}

impl Wire {
    /// Takes over a fresh connection.
    pub fn new(inner: Stream) -> Wire {
        Wire {
            inner,
            ahead: BytesMut::new(),
            lingers: false,
        }
    }

    /// What was read and not yet taken.
    pub fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Drops bytes that mean nothing.
    pub fn skip(&mut self, bytes: usize) {
        self.ahead.advance(bytes.min(self.ahead.len()));
    }

    /// Waits for more bytes and puts them behind those that were read ahead. Zero says that the client is gone.
    /// Leaving the wait loses nothing.
    ///
    /// # Errors
    /// What the connection says.
    pub async fn read_ahead(&mut self, room: usize) -> io::Result<usize> {
        if room > READ_AHEAD {
            self.ahead.reserve(room);
            return self.inner.read_buf(&mut self.ahead).await;
        }
        std::future::poll_fn(|cx| self.poll_ahead(cx, room)).await
    }

    /// Reads by way of the stack: a connection that waits has no buffer, and the one that has something to read finds
    /// one that the processor has at hand.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        let mut stack = [const { MaybeUninit::uninit() }; READ_AHEAD];
        let mut read = ReadBuf::uninit(stack.get_mut(..room).unwrap_or_default());
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
        self.ahead.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
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

    /// Resolves when the client has closed its side. Where it has sent more than was asked for, as with the next request,
    /// that is [`Wire::ended`]'s to say.
    pub async fn gone(&mut self) {
        // An error of the connection means that it is.
        if let Ok(false) = std::future::poll_fn(|cx| self.poll_idle(cx)).await {
            self.ended().await;
        }
    }

    /// Resolves when the client has closed its side, a quarter of a second later at most: of a body that nobody wants
    /// yet nothing is taken from the kernel. What the client could not send, because the kernel's buffer is full, hides
    /// its end.
    pub async fn ended(&mut self) {
        loop {
            tokio::time::sleep(LOOK).await;
            if is_read_closed(self.inner.id()).unwrap_or(false) {
                return;
            }
        }
    }

    /// The request was refused, its body not read: what still comes is of no interest.
    pub fn refuse(&mut self) {
        self.lingers = true;
    }

    /// Ends a connection whose answer is cut. Over TLS without its farewell: where only the close says where an answer
    /// ends, that is how a client sees that this one is not whole (RFC 9112 9.8).
    pub async fn cut(&mut self) {
        let is_tls = self.inner.get_ssl_digest().is_some();
        self.end(!is_tls).await;
    }

    /// Closes our side. Where the request was not read to its end, the client's side is read on, within bounds: a
    /// close with unread bytes would reset the connection and could take the answer with it.
    pub async fn close(&mut self) {
        self.end(true).await;
    }

    async fn end(&mut self, says_farewell: bool) {
        if self.inner.flush().await.is_ok() && says_farewell {
            Shutdown::shutdown(&mut *self.inner).await;
        }
        if self.lingers {
            // Not an array: each connection would keep room for it.
            let mut sink = vec![0; 8192];
            let drain = async { while self.inner.read(&mut sink).await.is_ok_and(|read| read > 0) {} };
            let _ = tokio::time::timeout(LINGER, drain).await;
        }
    }

    /// After the body: whether the stream has ended, else something came, which is kept.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if !self.ahead.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.poll_ahead(cx, IDLE_READ).map_ok(|read| read == 0)
    }
}

/// Whether the other side of a connection has closed, however much of what it sent waits to be read. The runtime's own
/// look at the socket tells that to nobody: this is another, of which each thread has one.
fn is_read_closed(socket: RawFd) -> io::Result<bool> {
    thread_local! {
        static LOOK: OnceCell<RefCell<mio::Poll>> = const { OnceCell::new() };
    }
    LOOK.with(|look| {
        let look = match look.get() {
            Some(look) => look,
            None => {
                let new = RefCell::new(mio::Poll::new()?);
                look.get_or_init(|| new)
            }
        };
        let mut look = look.borrow_mut();
        let mut socket = SourceFd(&socket);
        look.registry()
            .register(&mut socket, mio::Token(0), mio::Interest::READABLE)?;
        let mut seen = mio::Events::with_capacity(1);
        let looked = look.poll(&mut seen, Some(Duration::ZERO));
        look.registry().deregister(&mut socket)?;
        looked.map(|()| seen.iter().any(Event::is_read_closed))
    })
}

/// For another protocol, HTTP/2 or WebSocket, from what was read ahead on.
impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        if wire.ahead.is_empty() {
            return Pin::new(&mut wire.inner).poll_read(cx, out);
        }
        let give = wire.ahead.len().min(out.remaining());
        out.put_slice(wire.ahead.get(..give).unwrap_or_default());
        wire.ahead.advance(give);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
