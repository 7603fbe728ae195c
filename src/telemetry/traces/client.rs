//! The way to a collector: HTTP/1.1 without TLS, a connection for each batch.

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{Request, Response};
use opentelemetry_http::{HttpClient, HttpError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use std::time::Duration;

/// For one attempt.
const ATTEMPT: Duration = Duration::from_secs(2);
/// Of an answer; a collector says little.
const LARGEST: usize = 64 * 1024;

/// Sends one request at a time.
#[derive(Debug)]
pub(super) struct Client;

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        timeout(ATTEMPT, exchange(&request)).await?
    }
}

async fn exchange(request: &Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
    let uri = request.uri();
    let authority = uri.authority().ok_or("no host")?;
    let port = authority.port_u16().unwrap_or(80);
    let mut stream = TcpStream::connect(format!("{}:{port}", authority.host())).await?;
    stream.write_all(&head(request, authority.as_str())).await?;
    stream.write_all(request.body()).await?;
    let mut answer = Vec::new();
    loop {
        if let Some(response) = response(&answer, false)? {
            return Ok(response);
        }
        if answer.len() > LARGEST {
            return Err("the answer is too long".into());
        }
        if stream.read_buf(&mut answer).await? == 0 {
            return response(&answer, true)?.ok_or_else(|| "the answer is cut".into());
        }
    }
}

fn head(request: &Request<Bytes>, authority: &str) -> Vec<u8> {
    let path = request.uri().path();
    let length = request.body().len();
    let mut head = format!(
        "{} {path} HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\ncontent-length: {length}\r\n",
        request.method()
    )
    .into_bytes();
    for (name, value) in request.headers() {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The answer, if it is whole. A body without announced length is not read: only a complaint about
/// single spans could be in it.
fn response(answer: &[u8], ended: bool) -> Result<Option<Response<Bytes>>, HttpError> {
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut parsed = httparse::Response::new(&mut lines);
    let httparse::Status::Complete(end) = parsed.parse(answer)? else {
        return Ok(None);
    };
    let named = |name: &str| {
        let mut lines = parsed.headers.iter();
        lines
            .find(|line| line.name.eq_ignore_ascii_case(name))
            .map(|line| line.value)
    };
    let length = named(CONTENT_LENGTH.as_str())
        .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse::<usize>().ok())
        .unwrap_or(0);
    let body = match answer.get(end..end.saturating_add(length)) {
        Some(body) => Bytes::copy_from_slice(body),
        None if ended => return Err("the answer is cut".into()),
        None => return Ok(None),
    };
    let mut built = Response::builder().status(parsed.code.unwrap_or_default());
    if let Some(wait) = named(RETRY_AFTER.as_str()) {
        built = built.header(RETRY_AFTER, wait);
    }
    Ok(Some(built.body(body)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_taken_when_it_is_whole() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nRetry-After: 7\r\n\r\nabc";
        for cut in 0..whole.len() {
            assert!(response(&whole[..cut], false).unwrap().is_none(), "{cut}");
        }
        let read = response(whole, false).unwrap().unwrap();
        assert_eq!((read.status().as_u16(), &read.body()[..]), (200, &b"abc"[..]));
        assert_eq!(read.headers()[RETRY_AFTER], "7");
        assert!(response(&whole[..whole.len() - 1], true).is_err());
        let bare = response(b"HTTP/1.1 503 Busy\r\nTransfer-Encoding: chunked\r\n\r\n", false);
        assert_eq!(bare.unwrap().unwrap().status().as_u16(), 503);
        assert!(response(b"220 smtp ready\r\n\r\n", false).is_err());
    }
}
