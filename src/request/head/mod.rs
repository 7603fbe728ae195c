//! Strict HTTP: the bytes of a head (HTTP/1) or its parts (HTTP/2) become one `RequestHead` that every
//! server behind reads the same way, or a refusal. Parsed once, here, and never again.
//!
//! The engine is lenient in places (it takes bare LF, a missing Host, Content-Length beside
//! Transfer-Encoding) and repairs others before any hook sees them (a raw space in the target), so
//! the bytes are judged here, before it reads them. What HTTP/2 changes in a request's form is undone
//! here, so that nobody behind sees a difference.

pub mod fault;
mod field_line;
mod framing;
pub mod hop;
mod scan;
mod target;
#[cfg(test)]
mod tests;
mod websocket;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

use crate::request::authority::{Authority, Host};
use crate::request::byte_set::{ByteSet, byte_set};
use fault::{HeadFault, MAX_HEADER_LINES, MAX_HEADER_SECTION, MAX_REQUEST_LINE, Malformed};
use field_line::{FieldLine, each_line, no_control};
pub use framing::{Framing, Version, content_length};
pub use hop::Hop;
pub use scan::HeadScan;
pub use target::Target;

/// The head of a request that has one meaning.
#[derive(Clone, Debug)]
pub struct RequestHead {
    /// As sent.
    pub method: Method,
    /// As sent.
    pub target: Target,
    /// All headers, in order. On HTTP/2 `:authority` stands under Host.
    pub headers: HeaderMap,
    /// How the body is delimited.
    pub framing: Framing,
    /// What the client speaks.
    pub version: Version,
    /// What was meant for this hop alone.
    pub hop: Hop,
    /// Name and whole line, without its end, of every header in order, as it came over HTTP/1.
    lines: Vec<(HeaderName, Bytes)>,
}

/// A head over HTTP/2 that is refused: why, and what of it says how the answer looks.
#[derive(Debug)]
pub struct RefusedHead {
    /// Why.
    pub fault: HeadFault,
    /// As sent.
    pub method: Method,
    /// As sent.
    pub headers: HeaderMap,
}

impl RequestHead {
    /// Reads a complete HTTP/1 head, request line to empty line.
    ///
    /// # Errors
    /// Where it breaks the grammar, or two servers could read it differently.
    pub fn parse(head: &Bytes) -> Result<RequestHead, HeadFault> {
        let end = memchr::memchr(b'\n', head).map_or(head.len(), |at| at + 1);
        let line = head.get(..end).unwrap_or_default();
        let (method, target, version) = request_line(line.strip_suffix(b"\r\n").unwrap_or(line))?;
        let lines = head.slice(end..head.len().saturating_sub(2).max(end));
        let mut headers = HeaderMap::with_capacity(16);
        let mut fields = Vec::with_capacity(16);
        let (mut host, mut coding, mut length) = (None, None, None);
        for line in each_line(&lines) {
            let FieldLine { whole, name, value } = line?;
            if name == header::HOST {
                if host.replace(value).is_some() || !is_host(value) {
                    return Err(Malformed::Host.into());
                }
            } else if name == header::CONTENT_LENGTH {
                let announced = content_length(value).ok_or(Malformed::ContentLength)?;
                if length.replace(announced).is_some() {
                    return Err(Malformed::ContentLength.into());
                }
            } else if name == header::TRANSFER_ENCODING && coding.replace(value).is_some() {
                return Err(Malformed::TransferEncoding.into());
            }
            let value =
                HeaderValue::from_maybe_shared(lines.slice_ref(value)).map_err(|_| Malformed::Control)?;
            fields.push((name.clone(), lines.slice_ref(whole)));
            headers.append(name, value);
        }
        if host.is_none() && version == Version::Http11 {
            return Err(Malformed::Host.into());
        }
        if method == Method::CONNECT {
            return Err(HeadFault::NotImplemented);
        }
        let target = Target::parse(head.slice_ref(target))?;
        check_authority(&target, host)?;
        let framing = match (coding, length) {
            (Some(_), Some(_)) => return Err(Malformed::ContentLength.into()),
            (Some(_), None) if version == Version::Http10 => return Err(Malformed::TransferEncoding.into()),
            (Some(coding), None) => chunked(coding)?,
            (None, length) => Framing::Length(length.unwrap_or(0)),
        };
        Ok(RequestHead {
            hop: Hop::of(version, &headers)?,
            method,
            target,
            headers,
            framing,
            version,
            lines: fields,
        })
    }

    /// Takes an HTTP/2 head, whose grammar the engine has checked (RFC 9113 8.2 and 8.3).
    ///
    /// `default_port` is that of `:scheme`; `ends` says that the stream ends with its head: there is no body.
    ///
    /// # Errors
    /// Where it is over the limits of every head, or two servers could read it differently.
    pub fn of_http2(
        method: Method,
        target: Bytes,
        authority: Option<&str>,
        default_port: u16,
        mut headers: HeaderMap,
        ends: bool,
    ) -> Result<RequestHead, Box<RefusedHead>> {
        let judged = named(&mut headers, authority, default_port)
            .and_then(|()| judge_http2(&method, target, &headers, ends));
        match judged {
            Ok((target, framing, hop)) => Ok(RequestHead {
                method,
                target,
                headers,
                framing,
                version: Version::Http2,
                hop,
                lines: Vec::new(),
            }),
            Err(fault) => Err(Box::new(RefusedHead {
                fault,
                method,
                headers,
            })),
        }
    }

    /// Whether a body comes, or may come.
    pub fn has_body(&self) -> bool {
        self.framing != Framing::Length(0)
    }

    /// Whether the client names a host. Only HTTP/1.0 may leave it out.
    pub fn has_host(&self) -> bool {
        self.headers.contains_key(header::HOST)
    }

    /// Every header line: its name, how that is spelled, and its value; over HTTP/2 names are lower case.
    pub fn spelled(&self) -> impl Iterator<Item = (&HeaderName, Bytes, HeaderValue)> {
        let as_they_came = self.lines.iter().filter_map(|(name, line)| {
            let (spelled, value) = line.split_at_checked(name.as_str().len())?;
            let value = line.slice_ref(value.get(1..)?.trim_ascii());
            Some((
                name,
                line.slice_ref(spelled),
                HeaderValue::from_maybe_shared(value).ok()?,
            ))
        });
        let is_http2 = self.version == Version::Http2;
        let in_lower_case = self.headers.iter().filter(move |_| is_http2);
        as_they_came.chain(in_lower_case.map(|(name, value)| {
            (
                name,
                Bytes::copy_from_slice(name.as_str().as_bytes()),
                value.clone(),
            )
        }))
    }

    /// Appends every header line that `stays` wants, as it came; over HTTP/2 names are lower case.
    pub fn append_lines(&self, out: &mut Vec<u8>, stays: impl Fn(&HeaderName) -> bool) {
        let mut append = |parts: &[&[u8]]| parts.iter().for_each(|part| out.extend_from_slice(part));
        for (_, line) in self.lines.iter().filter(|(name, _)| stays(name)) {
            append(&[line, b"\r\n"]);
        }
        if self.version == Version::Http2 {
            for (name, value) in self.headers.iter().filter(|(name, _)| stays(name)) {
                append(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
            }
        }
    }
}

/// Puts `:authority` under Host, which says the same where it is there.
fn named(headers: &mut HeaderMap, authority: Option<&str>, default_port: u16) -> Result<(), HeadFault> {
    let Some(authority) = authority else {
        return Ok(());
    };
    match headers.get(header::HOST) {
        // Two servers could take different ones for the host (RFC 9113 8.3.1).
        Some(host) if !is_same_authority(authority.as_bytes(), host.as_bytes(), default_port) => {
            return Err(Malformed::Authority.into());
        }
        Some(_) => {}
        None => {
            let authority = HeaderValue::from_str(authority).map_err(|_| Malformed::Host)?;
            headers.insert(header::HOST, authority);
        }
    }
    Ok(())
}

fn judge_http2(
    method: &Method,
    target: Bytes,
    headers: &HeaderMap,
    ends: bool,
) -> Result<(Target, Framing, Hop), HeadFault> {
    if target.len() > MAX_REQUEST_LINE {
        return Err(HeadFault::UriTooLong);
    }
    let size = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    if headers.len() > MAX_HEADER_LINES || size.sum::<usize>() > MAX_HEADER_SECTION {
        return Err(HeadFault::HeaderTooLarge);
    }
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Malformed::Host.into());
    };
    if !is_host(host.as_bytes()) {
        return Err(Malformed::Host.into());
    }
    if *method == Method::CONNECT {
        return Err(HeadFault::NotImplemented);
    }
    // An absolute form is no path (RFC 9113 8.3.1).
    if !target.starts_with(b"/") && target != "*" {
        return Err(Malformed::Target.into());
    }
    let target = Target::parse(target)?;
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let framing = match (lengths.next(), lengths.next()) {
        (Some(length), None) => {
            Framing::Length(content_length(length.as_bytes()).ok_or(Malformed::ContentLength)?)
        }
        (Some(_), Some(_)) => return Err(Malformed::ContentLength.into()),
        (None, _) if ends => Framing::Length(0),
        (None, _) => Framing::Frames,
    };
    Ok((target, framing, Hop::of(Version::Http2, headers)?))
}

/// Method, target and version.
fn request_line(line: &[u8]) -> Result<(Method, &[u8], Version), Malformed> {
    let mut spaces = memchr::memchr_iter(b' ', line);
    let (Some(first), Some(second), None) = (spaces.next(), spaces.next(), spaces.next()) else {
        return Err(no_control(line).err().unwrap_or(Malformed::RequestLine));
    };
    no_control(line)?;
    let method = Method::from_bytes(line.get(..first).unwrap_or_default());
    let target = line.get(first + 1..second).unwrap_or_default();
    let version = match line.get(second + 1..) {
        Some(b"HTTP/1.1") => Version::Http11,
        Some(b"HTTP/1.0") => Version::Http10,
        _ => return Err(Malformed::RequestLine),
    };
    Ok((method.map_err(|_| Malformed::RequestLine)?, target, version))
}

fn chunked(coding: &[u8]) -> Result<Framing, HeadFault> {
    if coding.eq_ignore_ascii_case(b"chunked") {
        return Ok(Framing::Chunked);
    }
    let mut codings = coding.split(|&b| b == b',').map(<[u8]>::trim_ascii);
    let is_list = codings.clone().all(field_line::is_token);
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let repeats = codings.clone().filter(is_chunked).count() > 1;
    let chunked_last = codings.next_back().as_ref().is_some_and(is_chunked);
    match is_list && !repeats {
        // A coding we do not undo, properly delimited or not (RFC 9112 6.1).
        true if chunked_last || !coding.to_ascii_lowercase().windows(7).any(|w| w == b"chunked") => {
            Err(HeadFault::NotImplemented)
        }
        _ => Err(Malformed::TransferEncoding.into()),
    }
}

/// `host[:port]` of a Host header: a registered name, an IPv4 address or an IPv6 one in brackets.
fn is_host(value: &[u8]) -> bool {
    static NAME: ByteSet =
        byte_set!(b => b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~'));
    let parsed = std::str::from_utf8(value).ok().and_then(Authority::parse);
    parsed.is_some_and(|authority| match authority.host {
        Host::Name(name) => NAME.has_all(name.as_bytes()),
        Host::V6(_) => true,
    })
}

/// In whatever case, with the scheme's port or without.
fn is_same_authority(one: &[u8], other: &[u8], default_port: u16) -> bool {
    let [parsed, parsed_other] =
        [one, other].map(|text| std::str::from_utf8(text).ok().and_then(Authority::parse));
    one == other
        || match (parsed, parsed_other) {
            (Some(one), Some(other)) => one.is_same(other, default_port),
            (None, _) | (_, None) => false,
        }
}

/// An absolute target names the same authority as Host: in whatever case, with the scheme's port or without.
fn check_authority(target: &Target, host: Option<&[u8]>) -> Result<(), Malformed> {
    match (target.authority(), host) {
        (Some(authority), Some(host)) => is_same_authority(authority, host, target.default_port())
            .then_some(())
            .ok_or(Malformed::Authority),
        (Some(authority), None) if !is_host(authority) => Err(Malformed::Authority),
        _ => Ok(()),
    }
}
