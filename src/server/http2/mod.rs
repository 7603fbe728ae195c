//! A connection that speaks HTTP/2: each stream is a request, on the thread of its connection.

pub mod client;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, Method};
use pingora::http::RequestHeader;
use pingora::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, handshake};
use pingora::protocols::{Digest, Stream};
use pingora::server::ShutdownWatch;
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::drain::drains;
use super::exchange::exchange;
use super::shared::Server;
use crate::process::request::{Request, Sent};
use crate::request::head::RequestHead;
use crate::request::head::fault::{HeadFault, MAX_HEADER_LINES, MAX_HEADER_SECTION, Malformed};
use crate::telemetry::metrics::Closed;
use crate::upstream::caller::Peer;
use client::{Http2Client, RefusedHead};

/// Streams that may be open at once on one connection.
const MAX_STREAMS: u32 = 100;
/// Streams that may come to nothing on one connection, more than came to an answer: what they asked for was
/// done all the same, so that a client that resets them is no cheaper to it than one that does not.
const MAX_WASTED: usize = 100;
/// Streams that break the protocol so that the library resets them (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 32;
/// Streams of pass routes that are under way at once on one connection; the others take turns. Pingora's proxy
/// gathers half a megabyte for each whose client does not read.
const MAX_STREAMED: usize = 24;
/// What a client may send before we have read it: of a stream, which is what a usual body has, and of all.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// What we keep of one stream's answer until the client takes it.
const SEND_BUFFER: usize = 64 * 1024;
/// Once nothing is under way, a client that is told to leave has so long to say that it knows.
const FAREWELL: Duration = Duration::from_secs(1);

/// What happens on a connection.
struct Streams {
    open: AtomicUsize,
    /// Places for streams of pass routes.
    streamed: Arc<Semaphore>,
    /// Ended without an answer, less those that had one.
    wasted: AtomicUsize,
    /// The last one has ended.
    idle: Notify,
}

/// Counts a stream while it is open.
struct OpenStream(Arc<Streams>);

impl OpenStream {
    fn new(streams: &Arc<Streams>) -> OpenStream {
        streams.open.fetch_add(1, Ordering::Relaxed);
        OpenStream(streams.clone())
    }

    /// Tells how it ended, which the connection is judged by.
    fn ends(self, was_answered: bool) {
        let wasted = &self.0.wasted;
        if was_answered {
            let _ = wasted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |wasted| {
                wasted.checked_sub(1)
            });
        } else {
            wasted.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl Streams {
    /// Resolves when the connection has been without a stream for so long.
    async fn idle_for(&self, idle: Duration) {
        loop {
            while self.open.load(Ordering::Relaxed) > 0 {
                self.idle.notified().await;
            }
            // A stream that begins interrupts the wait from outside: the connection is then polled anew.
            tokio::time::sleep(idle).await;
            if self.open.load(Ordering::Relaxed) == 0 {
                return;
            }
        }
    }
}

fn options() -> H2Options {
    let mut options = H2Options::default();
    // HPACK counts 32 bytes more for each line (RFC 9113 6.5.2).
    options.max_header_list_size(MAX_HEADER_SECTION as u32 + 32 * MAX_HEADER_LINES as u32);
    options.max_concurrent_streams(MAX_STREAMS);
    options.max_local_error_reset_streams(Some(MAX_LOCAL_RESETS));
    options.initial_window_size(STREAM_WINDOW);
    options.initial_connection_window_size(CONNECTION_WINDOW);
    options.max_send_buffer_size(SEND_BUFFER);
    options
}

/// Serves a connection to its end.
pub async fn serve(server: &Arc<Server>, stream: Stream, peer: Peer, stopping: &ShutdownWatch) -> Closed {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: stream.get_proxy_digest(),
        socket_digest: stream.get_socket_digest(),
    });
    let mut connection = match timeout(server.rules.header_timeout, handshake(stream, Some(options()))).await
    {
        Ok(Ok(connection)) => connection,
        Ok(Err(_)) => return Closed::Client,
        Err(_) => return Closed::HeaderTimeout,
    };
    let streams = Arc::new(Streams {
        open: AtomicUsize::new(0),
        streamed: Arc::new(Semaphore::new(MAX_STREAMED)),
        wasted: AtomicUsize::new(0),
        idle: Notify::new(),
    });
    let mut stopping = stopping.clone();
    let has_begun = AtomicBool::new(false);
    let mut drain = pin!(drains(&mut stopping, || !has_begun.load(Ordering::Relaxed)));
    // Once the client was told to leave.
    let mut leaves: Option<Closed> = None;
    let mut rejected = 0;
    loop {
        let (idle, why) = match leaves {
            None => (server.rules.keepalive_timeout, Closed::Idle),
            Some(why) => (FAREWELL, why),
        };
        let accepted = tokio::select! {
            biased;
            () = &mut drain, if leaves.is_none() => {
                connection.graceful_shutdown();
                leaves = Some(Closed::Drain);
                continue;
            }
            accepted = accept(&mut connection, &digest) => accepted,
            // Nobody waits for a client that does not answer the farewell.
            () = streams.idle_for(idle) => return why,
        };
        has_begun.store(true, Ordering::Relaxed);
        match accepted {
            Accepted::Stream(session) => begin(server, &streams, session, peer),
            Accepted::Rejected => {
                rejected += 1;
                count_rejected(server, peer);
            }
            Accepted::End => return leaves.unwrap_or(Closed::Client),
        }
        if leaves.is_none() && streams.wasted.load(Ordering::Relaxed) + rejected > MAX_WASTED {
            connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            leaves = Some(Closed::Refused);
        }
    }
}

/// What comes next on a connection.
enum Accepted {
    /// A request.
    Stream(Box<HttpSession>),
    /// A request that was answered or reset already.
    Rejected,
    /// Nothing.
    End,
}

/// Waits for the next stream, while those that are open go on. Its session is boxed here: it is large, and would
/// be moved often.
async fn accept(connection: &mut h2::server::Connection<Stream, Bytes>, digest: &Arc<Digest>) -> Accepted {
    match HttpSession::from_h2_conn(connection, digest.clone()).await {
        Ok(Some(H2Accept::Session(session))) => Accepted::Stream(Box::new(session)),
        Ok(Some(H2Accept::Rejected)) => Accepted::Rejected,
        Ok(None) | Err(_) => Accepted::End,
    }
}

/// Serves one stream, beside the others. Its head is judged before it has a task, which is the smaller for it:
/// hundreds of them may be open.
fn begin(server: &Arc<Server>, streams: &Arc<Streams>, session: Box<HttpSession>, peer: Peer) {
    let at = Instant::now();
    let stream = OpenStream::new(streams);
    let server = server.clone();
    let (client, head) = received(&server, streams, session);
    match head {
        Ok(head) => tokio::spawn(async move {
            let was_answered = exchange(&server, client, head, peer, at).await;
            stream.ends(was_answered);
        }),
        Err((head, fault)) => tokio::spawn(async move {
            let was_answered = client::refuse_head(&server, client, head, fault, peer, at).await;
            stream.ends(was_answered);
        }),
    };
}

/// The client of a stream, and its head or why that is refused.
fn received(
    server: &Server,
    streams: &Streams,
    mut session: Box<HttpSession>,
) -> (Http2Client, Result<Box<RequestHead>, (RefusedHead, HeadFault)>) {
    let ends = session.is_body_empty();
    // Taken, not copied: what is needed of the head is in ours.
    let (nothing, ()) = http::Request::new(()).into_parts();
    let head = std::mem::replace(session.req_header_mut(), RequestHeader::from(nothing));
    let Parts {
        method, uri, headers, ..
    } = head.into();
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = Bytes::copy_from_slice(target.as_bytes());
    let authority = uri.authority().map(|authority| authority.as_str());
    let refused = RefusedHead::of(&method, &headers);
    let head = RequestHead::of_http2(method, target, authority, headers, ends)
        .map(Box::new)
        .map_err(|fault| (refused, fault));
    (
        Http2Client::new(session, uri, streams.streamed.clone(), server),
        head,
    )
}

/// Counts a stream that the engine rejected by itself: its head was malformed.
fn count_rejected(server: &Server, peer: Peer) {
    let method = Method::from_bytes(b"_OTHER").unwrap_or_default();
    let request = Request::begin(&server.process, &method, &HeaderMap::new(), peer, Instant::now());
    request.refused(Malformed::Target.into(), Sent::default());
}
