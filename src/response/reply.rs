//! A rejection becomes an answer on the session, and the connection's fate is decided: it stays open
//! where the body was read or little of it is left, else the answer is made to arrive before it closes.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora::protocols::http::date;
use pingora::proxy::Session;

use super::page;
use super::rejection::Rejection;
use crate::request::front_door::announced_length;

/// For draining what is left of a body.
pub const DRAIN: Duration = Duration::from_secs(2);
/// What may be left of a body for the connection to stay open.
pub const DRAIN_BYTES: u64 = 64 * 1024;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// A refusal, ready to be sent.
pub struct Answer {
    status: u16,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Answer {
    /// Renders it for who sent these headers: a page for browsers, else a problem document.
    pub fn of(rejection: &Rejection, headers: &HeaderMap, request_id: &str) -> Answer {
        let (media_type, body) = if prefers_html(headers) {
            ("text/html; charset=utf-8", page::html(rejection, request_id))
        } else {
            ("application/problem+json", page::problem(rejection, request_id))
        };
        let mut headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (header::CONTENT_LENGTH, body.len().into()),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (
                header::X_CONTENT_TYPE_OPTIONS,
                HeaderValue::from_static("nosniff"),
            ),
        ];
        // Both are letters, digits and punctuation; what is no header value would be left out.
        if let Ok(request_id) = HeaderValue::from_str(request_id) {
            headers.push((REQUEST_ID, request_id));
        }
        headers.extend(rejection.headers());
        Answer {
            status: rejection.reason().status(),
            headers,
            body,
        }
    }

    /// Bytes of its body.
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The whole answer as HTTP/1.1 sends it.
    pub fn to_wire(&self, keep_alive: bool, to_head: bool) -> Vec<u8> {
        let mut out = Vec::with_capacity(512 + self.body.len());
        let reason = StatusCode::from_u16(self.status).ok();
        let reason = reason.and_then(|status| status.canonical_reason());
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(self.status.to_string().as_bytes());
        out.push(b' ');
        out.extend_from_slice(reason.unwrap_or_default().as_bytes());
        for (name, value) in &self.headers {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(spelling(name).as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(b"\r\nDate: ");
        out.extend_from_slice(date::get_cached_date().as_bytes());
        out.extend_from_slice(match keep_alive {
            true => b"\r\nConnection: keep-alive\r\n\r\n",
            false => b"\r\nConnection: close\r\n\r\n",
        });
        if !to_head {
            out.extend_from_slice(&self.body);
        }
        out
    }
}

/// As these headers are usually written; clients do not care (RFC 9110 5.1), people do.
fn spelling(name: &HeaderName) -> &str {
    const USUAL: [&str; 10] = [
        "Content-Type",
        "Content-Length",
        "Cache-Control",
        "X-Content-Type-Options",
        "X-Request-Id",
        "Retry-After",
        "RateLimit-Policy",
        "RateLimit",
        "Allow",
        "Date",
    ];
    let name = name.as_str();
    USUAL
        .into_iter()
        .find(|usual| usual.eq_ignore_ascii_case(name))
        .unwrap_or(name)
}

/// Writes the answer through the engine.
///
/// # Errors
/// Where the client is gone.
pub async fn refuse(session: &mut Session, rejection: &Rejection, request_id: &str) -> Result<()> {
    let answer = Answer::of(rejection, &session.req_header().headers, request_id);
    let mut head = ResponseHeader::build(answer.status, Some(answer.headers.len() + 2))?;
    for (name, value) in answer.headers {
        head.insert_header(name, value)?;
    }
    if rejection.ends_connection() {
        session.set_keepalive(None);
    }
    match rest_of_body(session) {
        Rest::None => {}
        // The engine drains it before it takes the next request.
        Rest::Little => {
            session.set_close_on_response_before_downstream_finish(false);
            session.set_total_drain_timeout(Some(DRAIN));
        }
        Rest::Much => session.set_keepalive(None),
    }
    let is_head = session.req_header().method == http::Method::HEAD;
    session.write_response_header(Box::new(head), is_head).await?;
    if !is_head {
        session
            .write_response_body(Some(Bytes::from(answer.body)), true)
            .await?;
    }
    Ok(())
}

/// On HTTP/2 the stream is reset when it is dropped with a body under way, and some clients then lose
/// the answer: what still comes is read, within bounds. HTTP/1 connections see to it when they close.
pub async fn drain_stream(session: &mut Session) {
    if session.is_http2() && !session.is_body_done() {
        let _ = tokio::time::timeout(DRAIN, session.drain_request_body()).await;
    }
}

enum Rest {
    None,
    Little,
    Much,
}

fn rest_of_body(session: &mut Session) -> Rest {
    if session.is_body_done() {
        return Rest::None;
    }
    // Who waits for 100-continue may never send the body: nothing tells where the next request begins.
    let waits = session.get_header(header::EXPECT).is_some() && session.body_bytes_read() == 0;
    match announced_length(&session.req_header().headers) {
        Some(length) if !waits && length.saturating_sub(session.body_bytes_read() as u64) <= DRAIN_BYTES => {
            Rest::Little
        }
        Some(_) | None => Rest::Much,
    }
}

/// Whether `text/html` is named with a higher quality than any JSON type (RFC 9110 12.5.1); what is not
/// named explicitly does not count, so that curl and fetch get the problem document.
fn prefers_html(headers: &HeaderMap) -> bool {
    let mut html = 0_u16;
    let mut json = 0_u16;
    for range in headers
        .get_all(header::ACCEPT)
        .iter()
        .flat_map(|line| line.as_bytes().split(|&b| b == b','))
    {
        let mut parts = range.split(|&b| b == b';').map(<[u8]>::trim_ascii);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(quality).unwrap_or(1000);
        match media.as_slice() {
            b"text/html" => html = html.max(quality),
            b"application/problem+json" | b"application/json" => json = json.max(quality),
            _ => {}
        }
    }
    html > json
}

/// `q=0.8` in thousandths.
fn quality(parameter: &[u8]) -> Option<u16> {
    let value = parameter
        .strip_prefix(b"q=")
        .or_else(|| parameter.strip_prefix(b"Q="))?;
    let value: f32 = std::str::from_utf8(value).ok()?.parse().ok()?;
    // Clamped to 0..=1000, so the cast can not lose anything.
    Some((value.clamp(0.0, 1.0) * 1000.0) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_is_for_browsers() {
        let prefers = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            prefers_html(&headers)
        };
        assert!(prefers(
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
        ));
        assert!(prefers("application/json;q=0.5, Text/HTML;q=0.6"));
        for json in [
            "*/*",
            "",
            "application/json, text/html",
            "text/html;q=0",
            "application/problem+json, text/html;q=0.9",
        ] {
            assert!(!prefers(json), "{json}");
        }
        assert!(!prefers_html(&HeaderMap::new()));
    }
}
