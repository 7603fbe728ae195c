//! A plain head: judged by the front door, with nothing in it that is meant for this hop alone except how
//! the body is framed and whether the connection goes on. Almost every call's head is plain; the engine
//! reads the others.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The head of an HTTP/1.1 request in origin-form.
pub struct PlainHead {
    /// As sent; never HEAD.
    pub method: Method,
    /// As sent.
    pub target: Bytes,
    /// All headers, in order.
    pub headers: HeaderMap,
    /// Whether the client said that it is the connection's last request.
    pub is_last: bool,
    lines: Bytes,
}

/// Headers that a hop has to act upon. Of Transfer-Encoding the front door lets through `chunked` alone, once.
const FOR_THIS_HOP: [HeaderName; 7] = [
    header::EXPECT,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    header::PROXY_AUTHORIZATION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

impl PlainHead {
    /// Reads a complete head that [`super::front_door::check`] has let through. None where it is not plain.
    pub fn parse(head: &Bytes) -> Option<PlainHead> {
        let end = memchr::memchr(b'\n', head)? + 1;
        let mut words = head.get(..end)?.strip_suffix(b"\r\n")?.split(|&b| b == b' ');
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let method = Method::from_bytes(method).ok()?;
        if version != b"HTTP/1.1" || target.first() != Some(&b'/') || method == Method::HEAD {
            return None;
        }
        let lines = head.slice(end..head.len().checked_sub(2)?.max(end));
        let mut headers = HeaderMap::with_capacity(16);
        let mut is_last = false;
        for (name, line) in each_line(&lines) {
            let value = line.get(name.len() + 1..)?.trim_ascii();
            let value = HeaderValue::from_maybe_shared(lines.slice_ref(value)).ok()?;
            let name = HeaderName::from_bytes(name).ok()?;
            if name == header::CONNECTION {
                is_last = connection(value.as_bytes())?;
            } else if FOR_THIS_HOP.contains(&name) {
                return None;
            }
            headers.append(name, value);
        }
        let one_connection = headers.get_all(header::CONNECTION).iter().nth(1).is_none();
        one_connection.then(|| PlainHead {
            method,
            target: head.slice_ref(target),
            headers,
            is_last,
            lines,
        })
    }

    /// Each header's name and its whole line as sent, without its end.
    pub fn lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        each_line(&self.lines)
    }
}

fn each_line(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = lines;
    std::iter::from_fn(move || {
        let (line, after) = rest.split_at_checked(memchr::memchr(b'\n', rest)? + 1)?;
        rest = after;
        let line = line.strip_suffix(b"\r\n")?;
        Some((line.get(..memchr::memchr(b':', line)?)?, line))
    })
}

/// Whether the connection ends; none where other headers are named.
fn connection(value: &[u8]) -> Option<bool> {
    if value.eq_ignore_ascii_case(b"keep-alive") {
        Some(false)
    } else if value.eq_ignore_ascii_case(b"close") {
        Some(true)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &'static str) -> Option<PlainHead> {
        PlainHead::parse(&Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_plain_head_keeps_what_was_sent() {
        let head =
            parse("POST /w?a=1 HTTP/1.1\r\nHost: h\r\nX-a:  1 \r\nx-A: 2\r\nConnection: Close\r\n\r\n")
                .unwrap();
        assert_eq!((head.method, &head.target[..]), (Method::POST, &b"/w?a=1"[..]));
        assert!(head.is_last);
        let values: Vec<_> = head.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        let lines: Vec<_> = each_line(&head.lines).collect();
        assert_eq!(lines[1], (&b"X-a"[..], &b"X-a:  1 "[..]));
        assert_eq!(lines.len(), 4);
    }

    #[test]
    fn what_concerns_this_hop_is_not_plain() {
        for text in [
            "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.0\r\nHost: h\r\n\r\n",
            "POST http://h/ HTTP/1.1\r\nHost: h\r\n\r\n",
            "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, X-A\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nConnection: close\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: h\r\nKeep-Alive: 5\r\n\r\n",
        ] {
            assert!(parse(text).is_none(), "{text:?}");
        }
        assert!(parse("GET / HTTP/1.1\r\nHost: h\r\n\r\n").is_some());
        assert!(parse("GET / HTTP/1.1\r\n\r\n").is_some());
        assert!(parse("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").is_some());
    }
}
