//! HTTP/2 by hand (RFC 9113 4.1): frames that no library would send, and none that a library would send by
//! itself: no window is opened, no PING answered.

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::client::{Duplex, connected, connected_tls};
use super::request::{Body, HOST, Request};

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;

pub const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// The largest window there is (RFC 9113 6.9.1).
pub const MAX_WINDOW: u32 = (1 << 31) - 1;
/// That of a session of which nothing else was said.
pub const DEFAULT_WINDOW: u32 = 65_535;
/// RST_STREAM of somebody who no longer wants the answer.
pub const CANCEL: u32 = 8;

pub struct Frames {
    stream: Box<dyn Duplex>,
}

#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub content: Vec<u8>,
}

impl Frame {
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }
}

impl Frames {
    /// Whose answers may each be so many bytes before a window must be opened.
    pub fn open(address: SocketAddr, window: u32) -> Frames {
        Frames::over(connected(address), window)
    }

    pub fn open_tls(address: SocketAddr, window: u32) -> Frames {
        Frames::over(connected_tls(address, b"h2"), window)
    }

    fn over(stream: impl Duplex + 'static, window: u32) -> Frames {
        let mut frames = Frames {
            stream: Box::new(stream),
        };
        frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let mut setting = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        setting.extend(window.to_be_bytes());
        frames.send(SETTINGS, 0, 0, &setting);
        frames
    }

    /// A head of literal fields, without any check.
    pub fn headers(&mut self, stream: u32, fields: &[(&[u8], &[u8])], ends: bool) {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        self.send(HEADERS, flags, stream, &block(fields));
    }

    /// One request as a stream of its own.
    pub fn ask(&mut self, stream: u32, request: &Request) {
        let mut fields: Vec<(String, String)> = [
            (":method", request.method.as_str()),
            (":scheme", "http"),
            (":authority", HOST),
            (":path", &request.target),
        ]
        .into_iter()
        .chain(request.headers())
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
        let (body, ends, length) = match &request.body {
            Body::None => (None, true, None),
            Body::Length(body) => (Some(body), true, Some(body.len())),
            Body::Unannounced(body) => (Some(body), true, None),
            Body::Part { length, sent } => (Some(sent), false, Some(*length)),
        };
        fields.extend(length.map(|length| ("content-length".to_owned(), length.to_string())));
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        self.headers(stream, &fields, body.is_none());
        if let Some(body) = body {
            // No larger than a frame may be without being asked.
            assert!(body.len() <= 16_384);
            self.send(DATA, if ends { END_STREAM } else { 0 }, stream, body);
        }
    }

    pub fn open_window(&mut self, stream: u32, by: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    }

    pub fn reset(&mut self, stream: u32) {
        self.send(RST_STREAM, 0, stream, &CANCEL.to_be_bytes());
    }

    /// One frame; a failure to write is none of the sender's business, who may have been sent away.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, content: &[u8]) {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend_from_slice(content);
        self.write(&bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
        let _ = self.stream.flush();
    }

    /// Takes so many bytes at most and forgets them; false at the end of the connection.
    pub fn sip(&mut self, bytes: usize) -> bool {
        matches!(self.stream.read(&mut vec![0; bytes]), Ok(1..))
    }

    /// Reads DATA until this has come in one piece, and returns what came with it.
    pub fn read_until(&mut self, text: &[u8]) -> Vec<u8> {
        let mut held = Vec::new();
        while !held.windows(text.len()).any(|window| window == text) {
            let frame = self.next_that(|frame| frame.kind == DATA);
            held.extend(frame.expect("the end came first").content);
        }
        held
    }

    /// Reads so many bytes of DATA.
    pub fn skip(&mut self, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let frame = self.next_that(|frame| frame.kind == DATA);
            let frame = frame.unwrap_or_else(|| panic!("the end with {left} bytes to come"));
            left = left.saturating_sub(frame.content.len());
        }
    }

    /// The next frame; none at the end of the connection.
    pub fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let mut content = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.stream.read_exact(&mut content).ok()?;
        Some(Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            content,
        })
    }

    /// The next frame that fits, or none at the end.
    pub fn next_that(&mut self, fits: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next()?;
            if fits(&frame) {
                return Some(frame);
            }
        }
    }
}

/// Literals that are never indexed, with new names (RFC 7541 6.2.3).
fn block(fields: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0x10);
        for part in [name, value] {
            length(&mut block, part.len());
            block.extend_from_slice(part);
        }
    }
    block
}

/// An integer with a prefix of seven bits (RFC 7541 5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return block.push(u8::try_from(length).unwrap());
    };
    block.push(127);
    while rest >= 128 {
        block.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    block.push(u8::try_from(rest).unwrap());
}
