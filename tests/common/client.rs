//! A client that sends bytes as they are and reads answers strictly.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use super::{PATIENCE, shown};

pub struct Conn {
    stream: TcpStream,
    /// Read from the socket, not yet part of an answer.
    held: Vec<u8>,
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Response {
    /// The value of a header that is there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} twice in {:?}", self.headers);
        first
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| {
            panic!(
                "no JSON ({e}) in {} {:?} {}",
                self.status,
                self.headers,
                shown(&self.body)
            )
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }
}

impl Conn {
    pub fn open(address: SocketAddr) -> Conn {
        let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("connect to {address}: {e}"));
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Conn {
            stream,
            held: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream
            .write_all(bytes.as_ref())
            .expect("the gateway takes the bytes");
    }

    /// Sends what the other side may refuse to take because it has already answered.
    pub fn send_as_far_as_taken(&mut self, bytes: impl AsRef<[u8]>) {
        match self.stream.write_all(bytes.as_ref()) {
            Ok(()) => {}
            Err(e) if matches!(e.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(e) => panic!("write: {e}"),
        }
    }

    /// Says that nothing more will come, and goes on reading.
    pub fn finish_sending(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    pub fn roundtrip(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(bytes);
        self.response()
    }

    /// The next final answer; `100 Continue` and its like are passed over.
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    pub fn response_to(&mut self, method: &str) -> Response {
        self.try_response(method)
            .unwrap_or_else(|| panic!("the connection closed without an answer"))
    }

    /// None where the connection ended before the first byte of an answer.
    pub fn try_response(&mut self, method: &str) -> Option<Response> {
        loop {
            let (status, headers) = self.head()?;
            if (100..200).contains(&status) {
                continue;
            }
            let body = self.body(method, status, &headers);
            return Some(Response {
                status,
                headers,
                body,
            });
        }
    }

    /// The head of an interim or final answer.
    pub fn head(&mut self) -> Option<(u16, Vec<(String, String)>)> {
        let end = loop {
            if let Some(at) = self.held.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.fill() {
                assert!(self.held.is_empty(), "cut head: {}", shown(&self.held));
                return None;
            }
        };
        let head = String::from_utf8(self.held.drain(..end + 4).collect()).expect("an ASCII head");
        let mut lines = head.split("\r\n");
        let line = lines.next().unwrap_or_default();
        let status = line
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("no status line: {line:?}"));
        let headers = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                line.split_once(':')
                    .unwrap_or_else(|| panic!("no header line: {line:?}"))
            })
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .collect();
        Some((status, headers))
    }

    fn body(&mut self, method: &str, status: u16, headers: &[(String, String)]) -> Vec<u8> {
        let named = |wanted: &str| {
            headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.as_str())
        };
        if method == "HEAD" || status == 204 || status == 304 {
            return Vec::new();
        }
        if named("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return self.chunks();
        }
        match named("content-length") {
            Some(length) => self.take(length.parse().expect("a Content-Length")),
            None => {
                while self.fill() {}
                std::mem::take(&mut self.held)
            }
        }
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let size =
                usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).expect("a chunk size");
            let piece = self.take(size);
            assert_eq!(self.take(2), b"\r\n");
            if size == 0 {
                return body;
            }
            body.extend(piece);
        }
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.held.windows(2).position(|two| two == b"\r\n") {
                let mut line: Vec<u8> = self.held.drain(..at + 2).collect();
                line.truncate(at);
                return String::from_utf8(line).expect("an ASCII line");
            }
            assert!(self.fill(), "cut line: {}", shown(&self.held));
        }
    }

    fn take(&mut self, size: usize) -> Vec<u8> {
        while self.held.len() < size {
            assert!(self.fill(), "cut body: {} of {size} bytes", self.held.len());
        }
        self.held.drain(..size).collect()
    }

    /// Reads more; false at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        match self.stream.read(&mut piece) {
            Ok(0) => false,
            Ok(size) => {
                self.held.extend_from_slice(&piece[..size]);
                true
            }
            Err(e) if e.kind() == ErrorKind::ConnectionReset => false,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}; held: {}", shown(&self.held))
            }
            Err(e) => panic!("read: {e}"),
        }
    }

    /// Waits for the other side to close; anything that comes instead is a failure.
    pub fn expect_closed(&mut self) {
        assert!(self.held.is_empty(), "more came: {}", shown(&self.held));
        assert!(!self.fill(), "more came: {}", shown(&self.held));
    }

    /// The same, and how long it took.
    pub fn time_until_closed(&mut self) -> std::time::Duration {
        let start = Instant::now();
        self.expect_closed();
        start.elapsed()
    }
}
