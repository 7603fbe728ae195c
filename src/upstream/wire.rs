//! The socket of the kernel, what it has taken from us, and what it says of the other end.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd as _, RawFd};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, getsockopt, recv};
use nix::{getsockopt_impl, libc};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

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

/// A socket that counts.
#[derive(Debug)]
pub struct Wire {
    socket: Socket,
    taken: u64,
    has_ended: bool,
    /// What the server's kernel had acknowledged when nothing had been sent: 1 for the SYN.
    acknowledged_at_start: Option<u64>,
}

impl Wire {
    /// Connects by TCP.
    ///
    /// # Errors
    /// Where nobody listens, or cannot be reached.
    pub async fn tcp(address: SocketAddr) -> io::Result<Wire> {
        let stream = TcpStream::connect(address).await?;
        // A request is written whole: nothing is gained by waiting for more of it.
        stream.set_nodelay(true)?;
        Ok(Wire::new(Socket::Tcp(stream)))
    }

    /// Connects to a Unix socket.
    ///
    /// # Errors
    /// Where nobody listens, or cannot be reached.
    pub async fn unix(path: &Path) -> io::Result<Wire> {
        Ok(Wire::new(Socket::Unix(UnixStream::connect(path).await?)))
    }

    fn new(socket: Socket) -> Wire {
        Wire {
            acknowledged_at_start: acknowledged(&socket),
            socket,
            taken: 0,
            has_ended: false,
        }
    }

    /// Whether nothing came that was not read, and the other end has not ended it.
    pub fn is_silent(&self) -> bool {
        is_silent(match &self.socket {
            Socket::Tcp(stream) => stream.as_raw_fd(),
            Socket::Unix(stream) => stream.as_raw_fd(),
        })
    }

    /// Bytes that the kernel has taken from us, ever.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the end of the server's stream was read.
    pub fn has_ended(&self) -> bool {
        self.has_ended
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
}

/// Whether nothing waits to be read from a socket, its end included.
///
/// The kernel is asked: a reader of the runtime takes a socket for empty until the event loop has heard otherwise,
/// and an answer that nobody asked for, which came meanwhile, would be the next one's.
pub fn is_silent(fd: RawFd) -> bool {
    recv(fd, &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) == Err(Errno::EAGAIN)
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

impl AsyncRead for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        let before = out.filled().len();
        ready!(match &mut wire.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_read(cx, out),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, out),
        })?;
        wire.has_ended |= out.filled().len() == before && out.remaining() > 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        let taken = ready!(match &mut wire.socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        })?;
        wire.taken += taken as u64;
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket of the kernel keeps nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
