//! What goes back to the client, ours or the server's: the one place that decides framing, version, what is
//! for one hop and the state of the connection (RFC 9110 7.6.1, RFC 9112 6 and 9).

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::protocols::http::date;

use super::frame;
use super::line::line;
use super::page::{self, Audience};
use super::problem;
use super::rejection::Rejection;
use crate::policy::frame::Frame;
use crate::request::head::Version;
use crate::upstream::answer::{AnswerHead, BodyLength, Field};

/// How long the body of a reply is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Length {
    /// There is none. A HEAD, and a 304, may be told the length of what is not sent.
    None(Option<u64>),
    /// So many bytes.
    Bytes(u64),
    /// Not known beforehand.
    Open,
}

/// How the end of a reply's body is shown to the client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Delimiter {
    /// By what the head says: no body, or its length.
    Head,
    /// By the last chunk (RFC 9112 7.1).
    Chunks,
    /// By the end of the connection (RFC 9112 6.3): an HTTP/1.0 client knows no chunks.
    Close,
    /// By END_STREAM (RFC 9113 8.1).
    Frames,
}

/// The head of a reply, with nothing in it that is for one hop.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase.
    pub reason: Bytes,
    /// Every field but those that delimit the body.
    pub fields: Vec<Field>,
    /// Of the body.
    pub length: Length,
}

impl Reply {
    /// What a server's answer becomes, and where it is shown in a frame what it says of that.
    pub fn of_answer(head: &AnswerHead, frame: Option<&Frame>) -> Reply {
        let judged = &head.judged;
        let fields = head.fields.iter().filter(|field| judged.goes_on(&field.name));
        let mut fields: Vec<_> = fields.cloned().collect();
        if let Some(frame) = frame {
            frame::apply(frame, &mut fields);
        }
        Reply {
            status: head.status,
            reason: head.reason.clone(),
            fields,
            length: Length::of(judged.body, head.status, judged.told_length),
        }
    }

    /// A refusal and its body: a page for browsers, else a problem document.
    pub fn of_rejection(rejection: &Rejection, asked: &Audience<'_>) -> (Reply, Bytes) {
        let page = match prefers_html(asked.headers) {
            true => page::page(rejection, asked),
            false => None,
        };
        let fixed = |name, usual, value| line(name, usual, HeaderValue::from_static(value));
        let mut fields = Vec::with_capacity(if page.is_some() { 10 } else { 7 });
        let body = match page {
            Some(page) => {
                fields.extend([
                    fixed(header::CONTENT_TYPE, "Content-Type", "text/html; charset=utf-8"),
                    fixed(header::REFERRER_POLICY, "Referrer-Policy", "same-origin"),
                ]);
                let told = [
                    (header::CONTENT_LANGUAGE, "Content-Language", page.language),
                    (
                        header::CONTENT_SECURITY_POLICY,
                        "Content-Security-Policy",
                        page.policy,
                    ),
                ];
                let told = told.into_iter();
                let told =
                    told.filter_map(|(name, usual, value)| Some(line(name, usual, value.try_into().ok()?)));
                fields.extend(told);
                page.html.into_bytes()
            }
            None => {
                fields.push(fixed(
                    header::CONTENT_TYPE,
                    "Content-Type",
                    "application/problem+json",
                ));
                problem::problem(rejection, asked.request_id)
            }
        };
        fields.extend([
            fixed(header::CACHE_CONTROL, "Cache-Control", "no-store"),
            fixed(
                header::X_CONTENT_TYPE_OPTIONS,
                "X-Content-Type-Options",
                "nosniff",
            ),
        ]);
        // Both are letters, digits and punctuation; what is no header value would be left out.
        if let Ok(mut request_id) = HeaderValue::from_str(asked.request_id) {
            // It never comes again: over HTTP/2 it is kept out of the table of lines (RFC 7541 6.2.3).
            request_id.set_sensitive(true);
            fields.push(line(REQUEST_ID, "X-Request-Id", request_id));
        }
        fields.extend(rejection.headers());
        // Every reason has a status of the registry.
        let status = StatusCode::from_u16(rejection.status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let length = body.len() as u64;
        let reply = Reply {
            status,
            reason: Bytes::from_static(status.canonical_reason().unwrap_or_default().as_bytes()),
            fields,
            length: match asked.to_head {
                true => Length::None(Some(length)),
                false => Length::Bytes(length),
            },
        };
        (reply, if asked.to_head { Bytes::new() } else { body.into() })
    }

    /// How the body is delimited for a client of this version.
    pub const fn delimiter(&self, version: Version) -> Delimiter {
        match (version, self.length) {
            (Version::Http2, _) => Delimiter::Frames,
            (_, Length::None(_) | Length::Bytes(_)) => Delimiter::Head,
            (Version::Http11, Length::Open) => Delimiter::Chunks,
            (Version::Http10, Length::Open) => Delimiter::Close,
        }
    }

    /// The head for an HTTP/2 client.
    pub fn into_http2(self) -> http::Response<()> {
        let length = self.length.told();
        let mut head = self.into_interim();
        let headers = head.headers_mut();
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        if !headers.contains_key(header::DATE) {
            headers.insert(header::DATE, date::get_cached_date());
        }
        head
    }

    /// An interim answer for an HTTP/2 client (RFC 9110 15.2).
    pub fn into_interim(self) -> http::Response<()> {
        let mut head = http::Response::new(());
        *head.status_mut() = self.status;
        let headers = head.headers_mut();
        headers.reserve(self.fields.len() + 2);
        for Field { name, value, .. } in self.fields {
            headers.append(name, value);
        }
        head
    }

    /// The head for an HTTP/1 client, with its empty line. `keeps_alive`: the connection goes on.
    pub fn append_http1(&self, out: &mut Vec<u8>, version: Version, keeps_alive: bool) {
        self.append_fields(out);
        let mut append = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        if let Some(length) = self.length.told() {
            append(&[b"Content-Length: ", length.to_string().as_bytes(), b"\r\n"]);
        }
        if self.delimiter(version) == Delimiter::Chunks {
            append(&[b"Transfer-Encoding: chunked\r\n"]);
        }
        if self.fields.iter().all(|field| field.name != header::DATE) {
            append(&[b"Date: ", date::get_cached_date().as_bytes(), b"\r\n"]);
        }
        append(&[match keeps_alive {
            true => b"Connection: keep-alive\r\n\r\n",
            false => b"Connection: close\r\n\r\n",
        }]);
    }

    /// An interim answer for an HTTP/1 client (RFC 9110 15.2), which has no body and says nothing of the connection.
    pub fn append_interim(&self, out: &mut Vec<u8>) {
        self.append_fields(out);
        out.extend_from_slice(b"\r\n");
    }

    /// The answer of a server that speaks WebSocket from here on, as this hop does too.
    pub fn append_switch(&self, out: &mut Vec<u8>) {
        self.append_fields(out);
        out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    }

    /// Status line and fields for an HTTP/1 client.
    fn append_fields(&self, out: &mut Vec<u8>) {
        let mut append = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        append(&[
            b"HTTP/1.1 ",
            self.status.as_str().as_bytes(),
            b" ",
            &self.reason,
            b"\r\n",
        ]);
        for field in &self.fields {
            append(&[&field.spelled, b": ", field.value.as_bytes(), b"\r\n"]);
        }
    }
}

impl Length {
    /// Of a server's answer.
    pub fn of(body: BodyLength, status: StatusCode, told: Option<u64>) -> Length {
        match body {
            // It has no length, told or not (RFC 9110 8.6).
            BodyLength::None if status == StatusCode::NO_CONTENT => Length::None(None),
            BodyLength::None => Length::None(told),
            BodyLength::Bytes(length) => Length::Bytes(length),
            BodyLength::Chunks | BodyLength::ToTheEnd => Length::Open,
        }
    }

    /// What Content-Length says, if it is there.
    pub const fn told(self) -> Option<u64> {
        match self {
            Length::None(told) => told,
            Length::Bytes(length) => Some(length),
            Length::Open => None,
        }
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Whether `text/html` is named with a higher quality than any JSON type (RFC 9110 12.5.1); what is not
/// named explicitly does not count, so that curl and fetch get the problem document.
fn prefers_html(headers: &HeaderMap) -> bool {
    let (mut html, mut json) = (0, 0);
    for (named, quality) in page::ranges(headers, header::ACCEPT) {
        let is = |kind: &str| named.eq_ignore_ascii_case(kind.as_bytes());
        if is("text/html") {
            html = html.max(quality);
        } else if is("application/problem+json") || is("application/json") {
            json = json.max(quality);
        }
    }
    html > json
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
