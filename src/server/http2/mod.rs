//! A connection that speaks HTTP/2: each stream is a request, on the thread of its connection.

pub mod client;
mod piece;
mod streams;
mod together;
mod turns;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, SendResponse};
use http::request::Parts;
use pingora::server::ShutdownWatch;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;

use super::drain::drains;
use super::exchange::exchange;
use super::front::Front;
use crate::request::head::fault::{MAX_HEADER_LINES, MAX_HEADER_SECTION};
use crate::request::head::{Framing, RefusedHead, RequestHead};
use crate::telemetry::metrics::Closed;
use crate::upstream::caller::Peer;
use client::Http2Client;
use piece::Piece;
use streams::{OpenStream, Streams};
use together::Together;
use turns::Turns;

/// Streams that may be open at once on one connection.
const MAX_STREAMS: u32 = 100;
/// Streams that may come to nothing on one connection, more than came to an answer: what they asked for was
/// done all the same, so that a client that resets them is no cheaper to it than one that does not.
const MAX_WASTED: usize = 100;
/// Streams that break the protocol so that the library resets them (CVE-2025-8671).
const MAX_LOCAL_RESETS: usize = 32;
/// Tasks of one connection.
const MAX_TASKS: usize = 2 * MAX_STREAMS as usize;
/// Streams whose bodies Pingora's proxy carries at once on one connection; the others take turns. The proxy
/// gathers half a megabyte for each whose client does not read.
const MAX_STREAMED: usize = 24;
/// What those that wait for their turn may send meanwhile: nobody reads it.
const MAX_UNREAD: usize = 512 * 1024;
/// What a client may send of a stream before we have read it, which is what a usual body has.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same of calls that are held, which are read as they come.
const HELD_WINDOW: u32 = 512 * 1024;
/// The same of all streams: bodies that no server takes must leave room for those of calls.
const CONNECTION_WINDOW: u32 = MAX_STREAMED as u32 * STREAM_WINDOW + MAX_UNREAD as u32 + HELD_WINDOW;
/// What we keep of one stream's answer until the client takes it.
const SEND_BUFFER: usize = 64 * 1024;
/// Once nothing is under way, a client that is told to leave has so long to say that it knows.
const FAREWELL: Duration = Duration::from_secs(1);

fn options() -> Builder {
    let mut options = Builder::new();
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
pub async fn serve(
    front: &Arc<Front>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: Peer,
    stopping: &ShutdownWatch,
) -> Closed {
    let handshake = options().handshake(Together::new(stream));
    let mut connection = match timeout(front.rules.header_timeout, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return ended(&error),
        Err(_) => return Closed::HeaderTimeout,
    };
    let streams = Streams::new(Turns::new(MAX_STREAMED, MAX_UNREAD));
    let mut stopping = stopping.clone();
    let has_begun = AtomicBool::new(false);
    let mut drain = pin!(drains(&mut stopping, || !has_begun.load(Ordering::Relaxed)));
    // Once the client was told to leave.
    let mut leaves: Option<Closed> = None;
    // Since when nothing is under way but what the client has not taken.
    let mut unflushed: Option<Instant> = None;
    loop {
        let (idle, why) = match leaves {
            None => (front.rules.keepalive_timeout, Closed::Idle),
            Some(why) => (FAREWELL, why),
        };
        let accepted = tokio::select! {
            biased;
            () = &mut drain, if leaves.is_none() => {
                connection.graceful_shutdown();
                leaves = Some(Closed::Drain);
                continue;
            }
            accepted = connection.accept() => accepted,
            // Nobody waits for a client that does not answer the farewell.
            () = streams.idle_for(idle) => {
                // What was handed to the library may not have been taken by the client yet.
                let since = *unflushed.get_or_insert_with(Instant::now);
                if connection.has_streams() && since.elapsed() < front.rules.write_timeout {
                    continue;
                }
                return why;
            }
        };
        has_begun.store(true, Ordering::Relaxed);
        unflushed = None;
        match accepted {
            // Those that were reset count for the library no more, but have their tasks until these have heard of it.
            Some(Ok(_)) if streams.open() > MAX_TASKS => {
                connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
                leaves = Some(Closed::Refused);
            }
            Some(Ok((request, respond))) => begin(front, &streams, request, respond, peer),
            Some(Err(error)) => return leaves.unwrap_or(ended(&error)),
            None => return leaves.unwrap_or(Closed::Client),
        }
        if leaves.is_none() && streams.wasted() > MAX_WASTED {
            connection.abrupt_shutdown(h2::Reason::ENHANCE_YOUR_CALM);
            leaves = Some(Closed::Refused);
        }
    }
}

/// Who ended a connection: the client, or we for what it did.
fn ended(error: &h2::Error) -> Closed {
    match error.is_library() {
        true => Closed::Refused,
        false => Closed::Client,
    }
}

/// Serves one stream, beside the others. Its head is judged, and the request begun, before it has a task, which is the
/// smaller for it: hundreds of them may be open.
fn begin(
    front: &Arc<Front>,
    streams: &Arc<Streams>,
    request: http::Request<RecvStream>,
    respond: SendResponse<Piece>,
    peer: Peer,
) {
    let at = Instant::now();
    let stream = OpenStream::begin(streams);
    let front = front.clone();
    let (head, body) = request.into_parts();
    let head = head_of(head, body.is_end_stream());
    let expects_continue = head.as_ref().is_ok_and(|head| head.hop.expects_continue);
    let unread = match head.as_ref().map(|head| head.framing) {
        Ok(Framing::Length(length)) => u32::try_from(length).unwrap_or(u32::MAX),
        Ok(Framing::Chunked | Framing::Frames) | Err(_) => u32::MAX,
    };
    let unread = unread.min(STREAM_WINDOW);
    let write_timeout = front.rules.write_timeout;
    let client = Http2Client::new(body, respond, stream, unread, write_timeout, expects_continue);
    match head {
        // Boxed: the runtime moves a task's future, and what it leaves, several times.
        Ok(head) => tokio::spawn(Box::pin(exchange(front, client, head, peer, at))),
        Err(refused) => tokio::spawn(client::refuse_head(front, client, *refused, peer, at)),
    };
}

/// The head of a stream, which `ends` with it or has a body, or why it is refused.
fn head_of(parts: Parts, ends: bool) -> Result<Box<RequestHead>, Box<RefusedHead>> {
    let Parts {
        method, uri, headers, ..
    } = parts;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let target = Bytes::copy_from_slice(target.as_bytes());
    let authority = uri.authority().map(|authority| authority.as_str());
    let default_port = match uri.scheme_str() {
        Some("https") => 443,
        Some(_) | None => 80,
    };
    RequestHead::of_http2(method, target, authority, default_port, headers, ends).map(Box::new)
}
