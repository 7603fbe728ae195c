//! An upstream's answer goes to the client as it comes: head and what is there of the body in one write.

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::protocols::http::date;
use pingora::protocols::http::v1::client::HttpSession;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::wire::Wire;
use crate::gateway::rejection_of;
use crate::response::rejection::Rejection;

/// Gathered up to so many bytes before a write.
const GATHER: usize = 32 * 1024;
/// For one write to a client that does not read.
const WRITE: Duration = Duration::from_secs(60);

/// How far an answer came.
#[derive(Default)]
pub struct Progress {
    /// Of the final answer, once its head is on its way to the client.
    pub status: Option<u16>,
    /// Of its body.
    pub bytes: usize,
}

/// How the body is delimited for the client (RFC 9112 6.3).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Delimited {
    /// There is none.
    Empty,
    /// By the upstream's Content-Length.
    Length,
    /// By chunks: the upstream's length is not known beforehand.
    Chunks,
}

/// Writes the answer whose head the session has read; interim ones first, except 100, which nobody asked
/// for.
///
/// # Errors
/// Where the upstream's answer breaks off or the client goes away.
pub async fn relay(
    wire: &mut Wire,
    session: &mut HttpSession,
    keep_alive: bool,
    progress: &mut Progress,
) -> Result<(), Rejection> {
    let mut out = Vec::with_capacity(2048);
    let delimited = loop {
        let head = session.resp_header().ok_or(Rejection::InternalError)?;
        match head.status.as_u16() {
            101 => return Err(Rejection::UpstreamError),
            status @ ..200 => {
                if status != 100 {
                    start(&mut out, head, Delimited::Empty);
                    out.extend_from_slice(b"\r\n");
                    write(wire, &mut out).await?;
                }
                next(wire, session.read_response()).await?;
            }
            status => {
                let delimited = delimited(head).ok_or(Rejection::UpstreamError)?;
                start(&mut out, head, delimited);
                end_of_head(&mut out, &head.headers, keep_alive);
                progress.status = Some(status);
                break delimited;
            }
        }
    };
    loop {
        let piece = match now_or_not(session.read_body_ref()).await {
            Some(piece) => piece.map_err(|e| rejection_of(&e.into_up()))?,
            None => {
                write(wire, &mut out).await?;
                next(wire, session.read_body_ref()).await?
            }
        };
        let Some(piece) = piece else {
            break;
        };
        progress.bytes += piece.len();
        append(&mut out, piece, delimited);
        if out.len() >= GATHER {
            write(wire, &mut out).await?;
        }
    }
    if delimited == Delimited::Chunks {
        out.extend_from_slice(b"0\r\n\r\n");
    }
    write(wire, &mut out).await
}

/// None where the upstream codes its answer in a way that it was not asked for (RFC 9112 7.4).
fn delimited(head: &ResponseHeader) -> Option<Delimited> {
    if matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        return Some(Delimited::Empty);
    }
    match head.headers.get(header::TRANSFER_ENCODING) {
        Some(coding) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Some(Delimited::Chunks),
        Some(_) => None,
        None if head.headers.contains_key(header::CONTENT_LENGTH) => Some(Delimited::Length),
        None => Some(Delimited::Chunks),
    }
}

/// Status line and headers, without those that are for one hop (RFC 9110 7.6.1).
fn start(out: &mut Vec<u8>, head: &ResponseHeader, delimited: Delimited) {
    const ONE_HOP: [&[u8]; 6] = [
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"transfer-encoding",
        b"trailer",
        b"upgrade",
    ];
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(head.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(head.get_reason_phrase().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    for (name, value) in head.case_header_iter() {
        if ONE_HOP
            .iter()
            .any(|hop| name.as_slice().eq_ignore_ascii_case(hop))
        {
            continue;
        }
        for part in [name.as_slice(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    if delimited == Delimited::Chunks {
        out.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
    }
}

fn end_of_head(out: &mut Vec<u8>, headers: &HeaderMap, keep_alive: bool) {
    if !headers.contains_key(header::DATE) {
        for part in [b"Date: ", date::get_cached_date().as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(match keep_alive {
        true => b"Connection: keep-alive\r\n\r\n",
        false => b"Connection: close\r\n\r\n",
    });
}

fn append(out: &mut Vec<u8>, piece: &[u8], delimited: Delimited) {
    match delimited {
        Delimited::Empty => {}
        Delimited::Length => out.extend_from_slice(piece),
        // An empty chunk would be the last.
        Delimited::Chunks if piece.is_empty() => {}
        Delimited::Chunks => {
            out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Writes all of it, so that it is on its way, and empties it.
///
/// # Errors
/// Where the client is gone or does not read.
pub async fn write(wire: &mut Wire, out: &mut Vec<u8>) -> Result<(), Rejection> {
    let written = timeout(WRITE, async {
        wire.write_all(out).await?;
        wire.flush().await
    });
    match written.await {
        Ok(Ok(())) => {
            out.clear();
            Ok(())
        }
        Ok(Err(_)) | Err(_) => Err(Rejection::ClientClosed),
    }
}

/// The upstream's next part, unless the client goes away first.
async fn next<T>(wire: &mut Wire, part: impl Future<Output = pingora::Result<T>>) -> Result<T, Rejection> {
    tokio::select! {
        biased;
        part = part => part.map_err(|e| rejection_of(&e.into_up())),
        () = wire.gone() => Err(Rejection::ClientClosed),
    }
}

/// What is there at once; the future is dropped, as in a `select`.
async fn now_or_not<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(ready) => Some(ready),
            Poll::Pending => None,
        })
    })
    .await
}
