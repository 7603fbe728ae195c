//! A connection to a server, plain or over TLS: what was read ahead, and what is known of what was sent.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_rustls::client::TlsStream;

use super::address::Address;
use super::sample;
use super::secure::Secured;
use super::wire::Wire;

/// How long the end of the TCP stream may come behind the end of that of TLS.
const END: Duration = Duration::from_secs(1);

#[derive(Debug)]
enum Stream {
    Plain(Wire),
    Tls(Box<TlsStream<Wire>>),
}

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// What was read and not yet taken.
    pub ahead: BytesMut,
    /// Bytes that were handed over, ever; over TLS not what the kernel gets.
    written: u64,
    /// Why nothing more can be sent. The kernel tells it once, to whoever writes or reads first.
    broken: Option<io::ErrorKind>,
}

/// Why there is no connection.
#[derive(Debug)]
pub enum Unopened {
    /// Nobody listens, or cannot be reached.
    Unconnected(io::Error),
    /// The other end speaks no TLS, or cannot prove its name.
    Unproven(io::Error),
}

impl From<io::Error> for Unopened {
    fn from(error: io::Error) -> Unopened {
        Unopened::Unconnected(error)
    }
}

/// What a wait for bytes came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Filled {
    /// There are more.
    More,
    /// The server has ended its stream.
    Ended,
    /// The stream broke off before TLS said its end: whoever is between could have cut it.
    Cut,
}

impl Connection {
    /// Connects, and shakes hands where the server is spoken to over TLS. It has no time limit of its own.
    ///
    /// # Errors
    /// See [`Unopened`].
    pub async fn open(address: &Address, secured: Option<&Secured>) -> Result<Connection, Unopened> {
        let wire = match address {
            Address::Inet(address) => Wire::tcp(*address).await?,
            Address::Sample => Wire::tcp(sample::address()?).await?,
            Address::Unix(path) => Wire::unix(path).await?,
        };
        let stream = match secured {
            None => Stream::Plain(wire),
            Some(secured) => {
                let (connector, name) = secured.connector();
                let shaken = connector.connect(name, wire).await;
                Stream::Tls(Box::new(shaken.map_err(Unopened::Unproven)?))
            }
        };
        Ok(Connection {
            stream,
            ahead: BytesMut::new(),
            written: 0,
            broken: None,
        })
    }

    fn wire(&self) -> &Wire {
        match &self.stream {
            Stream::Plain(wire) => wire,
            Stream::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Bytes that the kernel has taken from us, ever.
    pub fn taken(&self) -> u64 {
        self.wire().taken()
    }

    /// Bytes that were handed over, ever.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Whether the kernel has all that was handed over.
    pub fn is_flushed(&self) -> bool {
        match &self.stream {
            Stream::Plain(_) => true,
            Stream::Tls(stream) => !stream.get_ref().1.wants_write(),
        }
    }

    /// Whether it is proven that the server's kernel has taken nothing of what was sent after the first `before`
    /// bytes that our kernel took. Asked once the server has ended its stream.
    pub async fn nothing_taken_since(&mut self, before: u64) -> bool {
        // The end that TLS tells acknowledges nothing: that of the TCP stream is waited for.
        if !self.wire().has_ended() {
            let _ = tokio::time::timeout(END, self.read_to_the_end()).await;
        }
        !self.was_reset() && self.wire().has_ended() && self.wire().nothing_taken_since(before)
    }

    /// A writer was told: the end that a reader finds then is none.
    fn was_reset(&self) -> bool {
        self.broken == Some(io::ErrorKind::ConnectionReset)
    }

    async fn read_to_the_end(&mut self) -> io::Result<usize> {
        let mut rest = [0; 64];
        match &mut self.stream {
            Stream::Plain(wire) => wire.read(&mut rest).await,
            Stream::Tls(stream) => stream.get_mut().0.read(&mut rest).await,
        }
    }

    /// Whether an idle connection can carry a request: nothing came, and the server has not ended it.
    pub fn is_silent(&mut self) -> bool {
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        self.ahead.is_empty()
            && match &self.stream {
                Stream::Plain(wire) => wire.is_silent(),
                // TLS may hold what it has read, and what it says for itself (a ticket) is no answer.
                Stream::Tls(_) => self.poll_fill(&mut nobody, 64).is_pending() && self.wire().is_silent(),
            }
    }

    /// Waits for more bytes and puts them behind what was read ahead.
    ///
    /// # Errors
    /// Where the connection is broken.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<Filled>> {
        self.ahead.reserve(room);
        let read = ready!(pin!(self.stream.read_buf(&mut self.ahead)).poll(cx));
        Poll::Ready(match read {
            Ok(0) if self.was_reset() => Ok(Filled::Cut),
            Ok(0) => Ok(Filled::Ended),
            Ok(_) => Ok(Filled::More),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(Filled::Cut),
            Err(e) => Err(e),
        })
    }

    /// Hands bytes over; how many were taken. Over TLS the kernel may not have them before a flush.
    ///
    /// # Errors
    /// Where the connection takes no more; then it never does again.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writable()?;
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes));
        let written = written.and_then(|written| match written {
            0 => Err(io::ErrorKind::WriteZero.into()),
            written => Ok(written),
        });
        self.written += *written.as_ref().unwrap_or(&0) as u64;
        Poll::Ready(self.latched(written))
    }

    /// Waits until the kernel has all that was handed over.
    ///
    /// # Errors
    /// The same.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writable()?;
        let flushed = ready!(Pin::new(&mut self.stream).poll_flush(cx));
        Poll::Ready(self.latched(flushed))
    }

    fn writable(&self) -> io::Result<()> {
        self.broken.map_or(Ok(()), |kind| Err(kind.into()))
    }

    fn latched<T>(&mut self, done: io::Result<T>) -> io::Result<T> {
        self.broken = done.as_ref().err().map(io::Error::kind);
        done
    }
}

/// What was read ahead comes first.
impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.stream).poll_read(cx, out);
        }
        let ahead = this.ahead.split_to(this.ahead.len().min(out.remaining()));
        out.put_slice(&ahead);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(wire) => Pin::new(wire).poll_read(cx, out),
            Stream::Tls(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(wire) => Pin::new(wire).poll_write(cx, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(wire) => Pin::new(wire).poll_flush(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(wire) => Pin::new(wire).poll_shutdown(cx),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
