//! A server's answer: its head, judged once, and its body piece by piece.

use std::mem::MaybeUninit;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

use crate::request::chunks::Chunks;
use crate::request::head::{content_length, hop};

/// The longest head of an answer, in bytes.
pub const MAX_HEAD: usize = 128 * 1024;
/// The most header lines of one.
const MAX_LINES: usize = 256;

/// An answer has at most so many interim ones before it.
pub const MAX_INTERIM: usize = 16;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// The answer breaks a rule of HTTP, or is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BrokenAnswer;

/// What was asked for, as far as it says how the answer is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// An answer with a body.
    Usual,
    /// HEAD: the answer has none.
    Head,
    /// To speak WebSocket from here on.
    WebSocket,
}

impl Asked {
    /// By a request of this method, to speak nothing else.
    pub fn by(method: &Method) -> Asked {
        match *method == Method::HEAD {
            true => Asked::Head,
            false => Asked::Usual,
        }
    }
}

/// How long the body of an answer is (RFC 9112 6.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// There is none, whatever the head says: 1xx, 204, 304, or the answer to a HEAD.
    None,
    /// So many bytes.
    Bytes(u64),
    /// It comes in chunks.
    Chunks,
    /// Up to the end of the connection.
    ToTheEnd,
}

/// What a head says about the message, and what of it is for one hop.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// Of the body.
    pub body: BodyLength,
    /// What Content-Length says; to a HEAD or in a 304 it is the length of what was not sent.
    pub told_length: Option<u64>,
    /// Whether the server takes another request on the connection.
    pub keeps_alive: bool,
    /// The names in Connection.
    named: Vec<HeaderName>,
}

/// The fields of an answer, as they matter here: `(name, value)` in order.
pub trait Fields {
    /// Every field.
    fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)>;

    /// The values of one name.
    fn values<'s>(&'s self, wanted: &'s HeaderName) -> impl Iterator<Item = &'s [u8]> {
        self.fields()
            .filter(move |(name, _)| *name == wanted)
            .map(|(_, value)| value.as_bytes())
    }
}

impl Fields for http::HeaderMap {
    fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.iter()
    }
}

impl Judged {
    /// The one judgement of a server's answer, whichever way it goes on from here.
    ///
    /// # Errors
    /// Where the length of the body can be read in two ways (RFC 9112 6.3), the coding is one that nobody
    /// asked for (7.4), chunks come with HTTP/1.0 (6.1), or another protocol is to be spoken that nobody asked for.
    pub fn of(
        is_http11: bool,
        status: StatusCode,
        fields: &impl Fields,
        asked: Asked,
    ) -> Result<Judged, BrokenAnswer> {
        let mut named = Vec::new();
        let mut keeps_alive = is_http11;
        let mut closes = false;
        for value in fields.values(&header::CONNECTION) {
            for option in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                if option.eq_ignore_ascii_case(b"close") {
                    closes = true;
                } else if option.eq_ignore_ascii_case(b"keep-alive") {
                    keeps_alive = true;
                } else if let Ok(name) = HeaderName::from_bytes(option) {
                    named.push(name);
                }
            }
        }
        let switches = || {
            let mut to = fields.values(&header::UPGRADE);
            asked == Asked::WebSocket
                && named.contains(&header::UPGRADE)
                && to.next().is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"))
                && to.next().is_none()
        };
        if status == StatusCode::SWITCHING_PROTOCOLS && !switches() {
            return Err(BrokenAnswer);
        }
        let mut told_length = None;
        for value in fields.values(&header::CONTENT_LENGTH) {
            for each in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
                let length = content_length(each).ok_or(BrokenAnswer)?;
                if told_length.replace(length).is_some_and(|before| before != length) {
                    return Err(BrokenAnswer);
                }
            }
        }
        let mut codings = fields.values(&header::TRANSFER_ENCODING);
        let coding = codings.next();
        let is_bare = status.is_informational()
            || asked == Asked::Head
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = match (coding, told_length) {
            (Some(_), _) if !is_http11 || codings.next().is_some() => return Err(BrokenAnswer),
            (Some(coding), _) if !coding.eq_ignore_ascii_case(b"chunked") => return Err(BrokenAnswer),
            _ if is_bare => BodyLength::None,
            (Some(_), _) => BodyLength::Chunks,
            (None, Some(length)) => BodyLength::Bytes(length),
            (None, None) => BodyLength::ToTheEnd,
        };
        // What a server announces beside its chunks is not to be trusted, and neither is what it sends next;
        // nor is a body behind a head that has none.
        let is_odd = coding.is_some() && (told_length.is_some() || is_bare && asked != Asked::Head)
            || status == StatusCode::NO_CONTENT && told_length.is_some_and(|length| length > 0);
        Ok(Judged {
            body,
            told_length: told_length.filter(|_| coding.is_none()),
            keeps_alive: keeps_alive && !closes && !is_odd && body != BodyLength::ToTheEnd,
            named,
        })
    }

    /// Whether a header of this name goes on to the client: not what is for one hop (RFC 9110 7.6.1), nor
    /// what delimits the body, which is said anew.
    pub fn goes_on(&self, name: &HeaderName) -> bool {
        !hop::is_for_one_hop(name) && *name != header::CONTENT_LENGTH && !self.named.contains(name)
    }
}

/// One header line of an answer.
#[derive(Clone, Debug)]
pub struct Field {
    /// In lower case.
    pub name: HeaderName,
    /// Without white space around it.
    pub value: HeaderValue,
    /// The name as it came.
    pub spelled: Bytes,
}

/// The head of an answer.
#[derive(Clone, Debug)]
pub struct AnswerHead {
    /// The status.
    pub status: StatusCode,
    /// The reason phrase, as it came.
    pub reason: Bytes,
    /// Every header line, in order.
    pub fields: Vec<Field>,
    /// What it says of the message.
    pub judged: Judged,
}

impl Fields for Vec<Field> {
    fn fields(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.iter().map(|field| (&field.name, &field.value))
    }
}

impl AnswerHead {
    /// Takes a head from the front of `ahead`, once it is there whole.
    ///
    /// # Errors
    /// Where it is none, or longer than 128 KiB or 256 lines.
    pub fn take(ahead: &mut BytesMut, asked: Asked) -> Result<Option<AnswerHead>, BrokenAnswer> {
        let mut lines = [const { MaybeUninit::uninit() }; MAX_LINES];
        let mut parsed = httparse::Response::new(&mut []);
        let mut config = httparse::ParserConfig::default();
        // Both are to be mended, not refused, by who stands between (RFC 9112 5.1, 5.2).
        config.allow_spaces_after_header_name_in_responses(true);
        config.allow_obsolete_multiline_headers_in_responses(true);
        let end = match config.parse_response_with_uninit_headers(&mut parsed, ahead, &mut lines) {
            Ok(httparse::Status::Complete(end)) if end <= MAX_HEAD => end,
            Ok(httparse::Status::Partial) if ahead.len() <= MAX_HEAD => return Ok(None),
            Ok(_) | Err(_) => return Err(BrokenAnswer),
        };
        let (code, is_http11) = (parsed.code, parsed.version == Some(1));
        // Offsets, since the bytes are about to move.
        let base = ahead.as_ptr() as usize;
        let place = |part: &[u8]| {
            let begin = (part.as_ptr() as usize).saturating_sub(base);
            begin..begin + part.len()
        };
        let reason = parsed.reason.map(|reason| place(reason.as_bytes()));
        let places: Vec<_> = parsed
            .headers
            .iter()
            .map(|line| (place(line.name.as_bytes()), place(line.value)))
            .collect();
        let head = ahead.split_to(end).freeze();
        let part = |place: std::ops::Range<usize>| match place.end <= head.len() {
            true => head.slice(place),
            false => Bytes::new(),
        };
        let fields = places
            .into_iter()
            .map(|(name, value)| {
                let spelled = part(name);
                Ok(Field {
                    name: HeaderName::from_bytes(&spelled).map_err(|_| BrokenAnswer)?,
                    value: HeaderValue::from_maybe_shared(unfolded(part(value))).map_err(|_| BrokenAnswer)?,
                    spelled,
                })
            })
            .collect::<Result<Vec<_>, BrokenAnswer>>()?;
        let status = code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.ok_or(BrokenAnswer)?;
        Ok(Some(AnswerHead {
            judged: Judged::of(is_http11, status, &fields, asked)?,
            status,
            reason: reason.map(part).unwrap_or_default(),
            fields,
        }))
    }
}

/// A value that goes on in further lines, in one (RFC 9112 5.2).
fn unfolded(value: Bytes) -> Bytes {
    if !value.contains(&b'\n') {
        return value;
    }
    let lines = value.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    Bytes::from(lines.collect::<Vec<_>>().join(&b' '))
}

impl AnswerHead {
    /// For how long the connection may be idle behind this answer: `most`, or what the server's own hint leaves of
    /// it. None where it takes no further request.
    pub fn keepalive(&self, most: Duration) -> Option<Duration> {
        let most = self.judged.keeps_alive.then_some(most)?;
        let kept = keep_alive_hint(&self.fields).map_or(most, |hint| hint.min(most));
        (!kept.is_zero()).then_some(kept)
    }
}

/// For how long a connection may be idle by what its server says of it, `Keep-Alive: timeout=N, max=N`: less than N
/// seconds, since ours has to end first, by more than a packet's way; nothing where it takes no further request.
pub fn keep_alive_hint(fields: &impl Fields) -> Option<Duration> {
    const DAY: u64 = 86_400;
    let mut hint = None;
    for value in fields.values(&KEEP_ALIVE) {
        for parameter in value.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            let number = |name: &[u8]| {
                let digits = parameter
                    .get(name.len()..)
                    .filter(|_| parameter.starts_with(name))?;
                std::str::from_utf8(digits).ok()?.trim().parse::<u64>().ok()
            };
            let said = match (number(b"timeout="), number(b"max=")) {
                (Some(seconds), _) => Duration::from_secs(seconds.min(DAY)) * 4 / 5,
                (None, Some(0)) => Duration::ZERO,
                (None, Some(_) | None) => continue,
            };
            hint = Some(hint.map_or(said, |before: Duration| before.min(said)));
        }
    }
    hint
}

/// What is left of a body.
#[derive(Debug)]
pub enum Body {
    /// So many bytes.
    Bytes(u64),
    /// Chunks up to the last one.
    Chunks(Chunks),
    /// Everything up to the end of the connection.
    ToTheEnd,
}

impl Body {
    /// A body of which nothing was read.
    pub fn of(length: BodyLength) -> Body {
        match length {
            BodyLength::None => Body::Bytes(0),
            BodyLength::Bytes(length) => Body::Bytes(length),
            BodyLength::Chunks => Body::Chunks(Chunks::default()),
            BodyLength::ToTheEnd => Body::ToTheEnd,
        }
    }

    /// Whether it was read to its end; one that ends with the connection never knows.
    pub fn is_complete(&self) -> bool {
        match self {
            Body::Bytes(left) => *left == 0,
            Body::Chunks(chunks) => chunks.is_complete(),
            Body::ToTheEnd => false,
        }
    }

    /// What of the bytes ahead belongs to it; empty where more has to come first.
    ///
    /// # Errors
    /// Where its chunks are broken.
    pub fn take(&mut self, ahead: &mut BytesMut) -> Result<Bytes, BrokenAnswer> {
        match self {
            Body::Bytes(left) => {
                let there = ahead.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= there as u64;
                Ok(ahead.split_to(there).freeze())
            }
            Body::Chunks(chunks) => {
                let mut data = BytesMut::with_capacity(ahead.len());
                let own = chunks.read(ahead, &mut data).map_err(|_| BrokenAnswer)?;
                let _ = ahead.split_to(own.min(ahead.len()));
                Ok(data.freeze())
            }
            Body::ToTheEnd => Ok(ahead.split().freeze()),
        }
    }
}
