//! The stream under TLS and HTTP: it ends a connection whose client does not take what is sent to it.
//!
//! Who never reads holds a server's worker, and memory, for as long as it likes. The deadline lies here, below
//! everything that buffers, so that it holds whatever is spoken above.

use std::fmt;
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora::protocols::l4::ext::get_tcp_info;
use pingora::protocols::{Shutdown, Stream};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Bytes per second that a client has to take while something waits for it.
const SLOWEST: u64 = 1024;

/// Whether so many bytes in this span are less than a client has to take.
pub fn is_too_slow(taken: u64, within: Duration) -> bool {
    u128::from(taken) * 1000 < u128::from(SLOWEST) * within.as_millis()
}

/// Of a listener whose kernel does not tell what clients have taken: what waits in it stays so little that what it takes
/// from us says nearly the same.
const LITTLE: u32 = 16 * 1024;

/// Has a listener's connections say what their clients have taken: before Linux 6.2 the kernel tells less than the engine
/// asks for. Where that can not be had either, pace is measured by what our kernel takes.
pub fn prepare(listener: SockRef<'_>) {
    if get_tcp_info(listener.as_raw_fd()).is_err() {
        let _ = listener.set_tcp_notsent_lowat(LITTLE);
    }
}

/// Told to whoever holds the connection, once its client was given up.
#[derive(Clone, Default, Debug)]
pub struct Stalled(Arc<AtomicBool>);

impl Stalled {
    /// Whether the client was given up.
    pub fn is_so(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// See the module.
pub struct Paced {
    inner: Stream,
    /// While something waits for the client.
    waiting: Option<Window>,
    within: Duration,
    stalled: Stalled,
}

/// How long something has been waiting, and what went out meanwhile.
struct Window {
    end: Pin<Box<Sleep>>,
    written: u64,
    acknowledged: u64,
}

impl Paced {
    /// A client that takes less than 1 KiB/s for `within`, while something waits for it, is given up.
    pub fn new(inner: Stream, within: Duration) -> Paced {
        Paced {
            inner,
            waiting: None,
            within,
            stalled: Stalled::default(),
        }
    }

    /// To be asked later why the connection ended.
    pub fn stalled(&self) -> Stalled {
        self.stalled.clone()
    }

    /// What the client's kernel has taken, where ours tells. What ours has taken says less: it buffers, and
    /// lets us write again only once a good part of that is gone.
    fn acknowledged(&self) -> u64 {
        get_tcp_info(self.inner.id()).map_or(0, |info| info.tcpi_bytes_acked)
    }

    fn wrote(&mut self, bytes: usize) {
        if let Some(window) = &mut self.waiting {
            window.written += bytes as u64;
        }
    }

    /// The client took nothing just now: an error once that goes on for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            let end = Instant::now() + self.within;
            let acknowledged = self.acknowledged();
            let Some(window) = &mut self.waiting else {
                self.waiting = Some(Window {
                    end: Box::pin(tokio::time::sleep_until(end)),
                    written: 0,
                    acknowledged,
                });
                continue;
            };
            ready!(window.end.as_mut().poll(cx));
            let taken = acknowledged
                .saturating_sub(window.acknowledged)
                .max(window.written);
            if is_too_slow(taken, self.within) {
                self.stalled.0.store(true, Ordering::Relaxed);
                return Poll::Ready(io::ErrorKind::TimedOut.into());
            }
            window.end.as_mut().reset(end);
            (window.written, window.acknowledged) = (0, acknowledged);
        }
    }

    fn paced<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        match done {
            Poll::Ready(done) => Poll::Ready(done),
            Poll::Pending => self.poll_patience(cx).map(Err),
        }
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, out)
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = done {
            self.wrote(written);
        }
        self.paced(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        if let Poll::Ready(Ok(written)) = done {
            self.wrote(written);
        }
        self.paced(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_flush(cx);
        if done.is_ready() {
            self.waiting = None;
        }
        self.paced(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.paced(cx, done)
    }
}

#[async_trait]
impl Shutdown for Paced {
    async fn shutdown(&mut self) {
        // Whoever does not read does not take a farewell either.
        let _ = tokio::time::timeout(self.within, self.inner.shutdown()).await;
    }
}

// The parts of the engine's `IO` that are handed through as they are.

impl pingora::protocols::UniqueID for Paced {
    fn id(&self) -> pingora::protocols::UniqueIDType {
        self.inner.id()
    }
}

impl pingora::protocols::Ssl for Paced {
    fn get_ssl(&self) -> Option<&pingora::protocols::tls::TlsRef> {
        self.inner.get_ssl()
    }

    fn get_ssl_digest(&self) -> Option<std::sync::Arc<pingora::protocols::tls::SslDigest>> {
        self.inner.get_ssl_digest()
    }

    fn selected_alpn_proto(&self) -> Option<pingora::protocols::ALPN> {
        self.inner.selected_alpn_proto()
    }
}

impl pingora::protocols::GetTimingDigest for Paced {
    fn get_timing_digest(&self) -> Vec<Option<pingora::protocols::TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl pingora::protocols::GetProxyDigest for Paced {
    fn get_proxy_digest(&self) -> Option<std::sync::Arc<pingora::protocols::raw_connect::ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl pingora::protocols::GetSocketDigest for Paced {
    fn get_socket_digest(&self) -> Option<std::sync::Arc<pingora::protocols::SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

impl pingora::protocols::Peek for Paced {}

impl fmt::Debug for Paced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paced")
            .field("id", &self.inner.id())
            .finish_non_exhaustive()
    }
}
