//! A connection to a server: the socket, what was read ahead, and what the kernel says of what was sent.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use bytes::BytesMut;
use nix::sys::socket::getsockopt;
use nix::{getsockopt_impl, libc};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;
use super::sample;

/// The kernel's `struct tcp_info` up to `tcpi_bytes_acked`, in words of eight bytes. A kernel that knows
/// more fields writes as many as there is room for; one that knows fewer (before Linux 4.1) is an error.
#[derive(Clone, Copy)]
struct TcpInfo;
getsockopt_impl!(
    TcpInfo,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u64; 16],
    nix::sys::socket::sockopt::GetStruct<[u64; 16]>
);

/// Either kind of socket.
#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// One connection to a server.
#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    /// What was read and not yet taken.
    pub ahead: BytesMut,
    /// Bytes that the kernel has taken from us, ever.
    sent: u64,
    /// What the server's kernel had acknowledged when nothing had been sent: 1 for the SYN.
    acknowledged_at_start: Option<u64>,
}

impl Connection {
    /// Connects. It has no time limit of its own.
    ///
    /// # Errors
    /// Where nobody listens, or cannot be reached.
    pub async fn open(address: &Address) -> io::Result<Connection> {
        let socket = match address {
            Address::Inet(address) => tcp(*address).await?,
            Address::Sample => tcp(sample::address()?).await?,
            Address::Unix(path) => Socket::Unix(UnixStream::connect(path).await?),
        };
        Ok(Connection {
            acknowledged_at_start: acknowledged(&socket),
            socket,
            ahead: BytesMut::new(),
            sent: 0,
        })
    }

    /// Whether it can be proven that the server's kernel has not taken a single byte of what was sent after
    /// the first `before` bytes of this connection.
    ///
    /// Asked after the end of the server's stream came, without a reset: a FIN acknowledges all that had
    /// arrived, so one that acknowledges nothing of a request was sent before the request was there.
    pub fn nothing_taken_since(&self, before: u64) -> bool {
        match (self.acknowledged_at_start, acknowledged(&self.socket)) {
            (Some(start), Some(now)) => now <= start.saturating_add(before),
            (None, _) | (_, None) => false,
        }
    }

    /// Bytes that the kernel has taken from us, ever.
    pub fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether an idle connection can carry a request: nothing came, and the server has not ended it.
    pub fn is_silent(&mut self) -> bool {
        let mut nobody = Context::from_waker(std::task::Waker::noop());
        self.ahead.is_empty() && self.poll_fill(&mut nobody, 64).is_pending()
    }

    /// Waits for more bytes and puts them behind what was read ahead; 0 is the end of the stream.
    ///
    /// # Errors
    /// Where the connection is broken.
    pub async fn fill(&mut self, room: usize) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx, room)).await
    }

    /// The same for those who write at the same time.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        self.ahead.reserve(room);
        pin!(self.socket.read_buf(&mut self.ahead)).poll(cx)
    }

    /// Hands bytes to the kernel; how many it took.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let sent = std::task::ready!(Pin::new(&mut self.socket).poll_write(cx, bytes))?;
        self.sent += sent as u64;
        match sent {
            0 => Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            sent => Poll::Ready(Ok(sent)),
        }
    }
}

/// What was read ahead comes first.
impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            return Pin::new(&mut this.socket).poll_read(cx, out);
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
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

async fn tcp(address: std::net::SocketAddr) -> io::Result<Socket> {
    let stream = TcpStream::connect(address).await?;
    // A request is written whole: nothing is gained by waiting for more of it.
    stream.set_nodelay(true)?;
    Ok(Socket::Tcp(stream))
}

/// `tcpi_bytes_acked`. None on a Unix socket, and where the kernel does not tell.
fn acknowledged(socket: &Socket) -> Option<u64> {
    match socket {
        Socket::Tcp(stream) => getsockopt(stream, TcpInfo).ok().map(|[.., acked]| acked),
        Socket::Unix(_) => None,
    }
}

/// Whether this kernel tells what was acknowledged, so that a request that a server has not taken can be told
/// from one that it has.
pub fn can_prove() -> bool {
    let socket = nix::sys::socket::socket(
        nix::sys::socket::AddressFamily::Inet,
        nix::sys::socket::SockType::Stream,
        nix::sys::socket::SockFlag::SOCK_CLOEXEC,
        None,
    );
    socket.is_ok_and(|socket| getsockopt(&socket, TcpInfo).is_ok())
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, out),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, out),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket of the kernel keeps nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
