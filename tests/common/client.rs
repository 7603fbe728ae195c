//! A client that sends bytes as they are and reads answers strictly.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use rustls::{ClientConnection, StreamOwned};

use super::carrier::Got;
use super::{PATIENCE, identity, shown};

pub struct Conn {
    stream: Box<dyn Duplex>,
    /// Read from the socket, not yet part of an answer.
    held: Vec<u8>,
    /// Whether an answer may be of HTTP/1.0.
    pub is_old: bool,
}

/// What carries bytes both ways.
pub trait Duplex: Read + Write + Send {
    /// Says that nothing more will come.
    fn finish(&mut self);
}

impl Duplex for TcpStream {
    fn finish(&mut self) {
        let _ = self.shutdown(Shutdown::Write);
    }
}

impl Duplex for StreamOwned<ClientConnection, TcpStream> {
    fn finish(&mut self) {
        self.conn.send_close_notify();
        let _ = self.flush();
        let _ = self.sock.shutdown(Shutdown::Write);
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Response {
    /// What came before it: the codes of interim answers.
    pub interim: Vec<u16>,
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
        Conn::over(connected(address))
    }

    /// The same over TLS, where the harness's certificate is served.
    pub fn open_tls(address: SocketAddr) -> Conn {
        Conn::over(connected_tls(address, b"http/1.1"))
    }

    fn over(stream: impl Duplex + 'static) -> Conn {
        Conn {
            is_old: false,
            stream: Box::new(stream),
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
        self.stream.finish();
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
        match self.get(method) {
            Got::Whole(response) => Some(response),
            Got::Nothing => None,
            Got::Cut(response) => panic!(
                "cut body: {} bytes of {} {:?}",
                response.body.len(),
                response.status,
                response.headers
            ),
        }
    }

    /// The next final answer, and how it ended. Where nothing but the close ends it, it is whole.
    pub fn get(&mut self, method: &str) -> Got {
        self.get_noticing(method, || {})
    }

    /// The same; `on_head` is called between its head and its body.
    pub fn get_noticing(&mut self, method: &str, on_head: impl FnOnce()) -> Got {
        let mut interim = Vec::new();
        loop {
            let Some((status, headers)) = self.head() else {
                return Got::Nothing;
            };
            if (100..200).contains(&status) {
                interim.push(status);
                continue;
            }
            on_head();
            let mut body = Vec::new();
            let is_whole = self.body(method, status, &headers, &mut body).is_some();
            let response = Response {
                interim,
                status,
                headers,
                body,
            };
            return match is_whole {
                true => Got::Whole(response),
                false => Got::Cut(response),
            };
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
            // PHP's own server, asked without the gateway.
            .or_else(|| line.strip_prefix("HTTP/1.0 ").filter(|_| self.is_old))
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

    /// None where the connection ends too early; what came until then stands in `body`.
    fn body(
        &mut self,
        method: &str,
        status: u16,
        headers: &[(String, String)],
        body: &mut Vec<u8>,
    ) -> Option<()> {
        let named = |wanted: &str| {
            let mut values = headers
                .iter()
                .filter(|(name, _)| name.eq_ignore_ascii_case(wanted))
                .map(|(_, value)| value.as_str());
            let first = values.next();
            assert!(values.next().is_none(), "{wanted} twice in {headers:?}");
            first
        };
        let (coding, length) = (named("transfer-encoding"), named("content-length"));
        assert!(coding.is_none() || length.is_none(), "two framings: {headers:?}");
        if method == "HEAD" || status == 204 || status == 304 {
            return Some(());
        }
        if let Some(coding) = coding {
            assert!(coding.eq_ignore_ascii_case("chunked"), "{coding}");
            return self.chunks(body);
        }
        match length {
            Some(length) => self.take(length.parse().expect("a Content-Length"), body),
            None => {
                while self.fill() {}
                body.append(&mut self.held);
                Some(())
            }
        }
    }

    fn chunks(&mut self, body: &mut Vec<u8>) -> Option<()> {
        loop {
            let line = self.line()?;
            let size =
                usize::from_str_radix(line.split(';').next().unwrap_or_default(), 16).expect("a chunk size");
            self.take(size, body)?;
            let mut end = Vec::new();
            self.take(2, &mut end)?;
            assert_eq!(end, b"\r\n");
            if size == 0 {
                return Some(());
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.held.windows(2).position(|two| two == b"\r\n") {
                let mut line: Vec<u8> = self.held.drain(..at + 2).collect();
                line.truncate(at);
                return Some(String::from_utf8(line).expect("an ASCII line"));
            }
            if !self.fill() {
                return None;
            }
        }
    }

    fn take(&mut self, size: usize, into: &mut Vec<u8>) -> Option<()> {
        while self.held.len() < size {
            if !self.fill() {
                into.append(&mut self.held);
                return None;
            }
        }
        into.extend(self.held.drain(..size));
        Some(())
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
            // The second is how TLS calls an end that nobody announced.
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof) => false,
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing came for {PATIENCE:?}; held: {}", shown(&self.held))
            }
            Err(e) => panic!("read: {e}"),
        }
    }

    /// Reads so many bytes at most and forgets them; false at the end of the connection.
    pub fn sip(&mut self, bytes: usize) -> bool {
        matches!(self.stream.read(&mut vec![0; bytes]), Ok(1..))
    }

    /// Reads until this has come in one piece, and returns what came with it.
    pub fn read_until(&mut self, text: &[u8]) -> Vec<u8> {
        while !self.held.windows(text.len()).any(|window| window == text) {
            assert!(self.fill(), "the end came first: {}", shown(&self.held));
        }
        std::mem::take(&mut self.held)
    }

    /// Reads so many bytes, whatever they are.
    pub fn skip(&mut self, bytes: usize) {
        let mut left = bytes.saturating_sub(std::mem::take(&mut self.held).len());
        let mut piece = vec![0; 256 * 1024];
        while left > 0 {
            match self.stream.read(&mut piece) {
                Ok(size @ 1..) => left = left.saturating_sub(size),
                ended => panic!("{ended:?} with {left} bytes to come"),
            }
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

/// The same under TLS, for this protocol; it shakes hands with the first byte.
pub fn connected_tls(address: SocketAddr, protocol: &[u8]) -> StreamOwned<ClientConnection, TcpStream> {
    let tls = ClientConnection::new(identity::client(&[protocol]), identity::server_name()).unwrap();
    StreamOwned::new(tls, connected(address))
}

pub fn connected(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap_or_else(|e| panic!("connect to {address}: {e}"));
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}
