//! Frames that go out together.
//!
//! The library hands its frames down by vectored writes where the stream takes these, and then flushes behind each
//! body of 256 bytes or more: with TLS a record and a system call for each answer, though those of ten streams were
//! there at once. Of a stream without vectored writes it gathers what is shorter than 1024 bytes; and what it hands
//! down in parts is gathered here, so that a head does not go out alone before its body.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What goes out at once: a frame of the usual size (RFC 9113 4.2) with its head, and smaller ones before it.
const CAPACITY: usize = 17 * 1024;

/// A stream whose writes wait for the next flush, or until there are enough of them.
pub(super) struct Together<S> {
    inner: S,
    /// Has memory only while something waits: most connections are idle.
    waiting: Vec<u8>,
    /// How much of that has gone.
    gone: usize,
}

impl<S> Together<S> {
    pub(super) const fn new(inner: S) -> Together<S> {
        Together {
            inner,
            waiting: Vec::new(),
            gone: 0,
        }
    }
}

impl<S: AsyncWrite + Unpin> Together<S> {
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.waiting.get(self.gone..)
            && !rest.is_empty()
        {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => self.gone += sent,
            }
        }
        (self.waiting, self.gone) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Together<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.len() + bytes.len() > CAPACITY {
            ready!(self.poll_send(cx))?;
        }
        if bytes.len() >= CAPACITY {
            return Pin::new(&mut self.inner).poll_write(cx, bytes);
        }
        if self.waiting.capacity() == 0 {
            self.waiting.reserve_exact(CAPACITY);
        }
        self.waiting.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Together<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, out)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    /// Counts what is written to it, and takes no more than so much at once.
    struct Counted {
        inner: DuplexStream,
        writes: Arc<AtomicUsize>,
        most: usize,
    }

    impl Counted {
        fn pair(most: usize) -> (Together<Counted>, Arc<AtomicUsize>, DuplexStream) {
            let (inner, other) = duplex(1 << 20);
            let writes = Arc::new(AtomicUsize::new(0));
            let counted = Counted {
                inner,
                writes: writes.clone(),
                most,
            };
            (Together::new(counted), writes, other)
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.writes.fetch_add(1, Ordering::Relaxed);
            let some = &bytes[..bytes.len().min(self.most)];
            Pin::new(&mut self.inner).poll_write(cx, some)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_shutdown(cx)
        }
    }

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            out: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Pin::new(&mut self.inner).poll_read(cx, out)
        }
    }

    #[tokio::test]
    async fn what_is_written_arrives_whole_and_in_order_however_much_is_taken_at_once() {
        for most in [1, 7, 1000, usize::MAX] {
            let (mut stream, writes, mut other) = Counted::pair(most);
            let parts: Vec<Vec<u8>> = [0, 1, 300, CAPACITY - 301, 1, CAPACITY, 5, 3 * CAPACITY, 9]
                .into_iter()
                .enumerate()
                .map(|(at, length)| vec![at as u8; length])
                .collect();
            for part in &parts {
                stream.write_all(part).await.unwrap();
            }
            stream.shutdown().await.unwrap();
            drop(stream);
            let mut arrived = Vec::new();
            other.read_to_end(&mut arrived).await.unwrap();
            assert!(arrived == parts.concat(), "{most} at once");
            if most == usize::MAX {
                // All before the full one together; that; what is between; the three; the rest.
                assert_eq!(writes.load(Ordering::Relaxed), 6);
            }
        }
    }

    #[tokio::test]
    async fn nothing_waits_longer_than_for_the_flush() {
        let (mut stream, writes, mut other) = Counted::pair(usize::MAX);
        stream.write_all(b"head").await.unwrap();
        stream.write_all(b"body").await.unwrap();
        assert_eq!(writes.load(Ordering::Relaxed), 0);
        stream.flush().await.unwrap();
        let mut arrived = [0; 8];
        other.read_exact(&mut arrived).await.unwrap();
        assert_eq!((&arrived, writes.load(Ordering::Relaxed)), (b"headbody", 1));
        stream.flush().await.unwrap();
        assert_eq!(writes.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn answers_that_are_there_at_once_go_out_in_one_write() {
        const STREAMS: usize = 10;
        for (length, most) in [(100, 1), (600, 1), (1023, 1), (3000, STREAMS)] {
            let (stream, writes, other) = Counted::pair(usize::MAX);
            let client = tokio::spawn(async move {
                let (client, connection) = h2::client::handshake(other).await.unwrap();
                tokio::spawn(connection);
                let mut client = client.ready().await.unwrap();
                let asked = [(); STREAMS].map(|()| client.send_request(http::Request::default(), true));
                for asked in asked {
                    let mut body = asked.unwrap().0.await.unwrap().into_body();
                    let mut got = 0;
                    while let Some(part) = body.data().await {
                        got += part.unwrap().len();
                    }
                    assert_eq!(got, length);
                }
            });
            let mut server = h2::server::handshake(stream).await.unwrap();
            let mut waiting = Vec::new();
            while waiting.len() < STREAMS {
                waiting.push(server.accept().await.unwrap().unwrap().1);
            }
            let before = writes.load(Ordering::Relaxed);
            for mut respond in waiting {
                let mut body = respond.send_response(http::Response::default(), false).unwrap();
                body.send_data(Bytes::from(vec![0; length]), true).unwrap();
            }
            // Once the client has all it leaves, and there is nothing more to accept.
            assert!(server.accept().await.is_none_or(|next| next.is_err()));
            client.await.unwrap();
            let writes = writes.load(Ordering::Relaxed) - before;
            // Beside the answers there are acknowledgements and the farewell.
            assert!((1..=most + 4).contains(&writes), "{length}: {writes} writes");
            if most == 1 {
                assert!(writes < STREAMS, "{length}: {writes} writes");
            }
        }
    }
}
