//! A recording upstream: strict about what it reads, told what to answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{PATIENCE, shown};

pub struct Upstream {
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    reply: Reply,
    requests: Vec<Received>,
    connections: usize,
    /// Of these, those that have ended.
    ended: usize,
    /// Of the connections that stand, to end them from outside.
    open: Vec<Weak<TcpStream>>,
    broken: Vec<String>,
}

/// What a connection is answered with. All but the first two and `Held` close it.
#[derive(Clone, Default)]
pub enum Reply {
    /// 200 with a short text.
    #[default]
    Ok,
    /// 200 whose body is the request as it came; nothing is recorded.
    Echo,
    /// These bytes, then a close.
    Raw(Bytes),
    /// The close alone.
    Close,
    /// A reset: the close of somebody who died.
    Reset,
    /// These bytes, and the close once the gate is open.
    RawUntil(Bytes, Gate),
    /// 200, once the gate is open.
    Held(Gate),
}

/// Opened once; whoever waits goes on.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Whether it was opened in time.
    pub fn wait(&self) -> bool {
        let opened = self.0.0.lock().unwrap();
        let waited = self.0.1.wait_timeout_while(opened, PATIENCE, |open| !*open);
        *waited.unwrap().0
    }
}

/// One request as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// Request line and header lines, without the empty line.
    pub head: Vec<u8>,
    /// Without its chunked coding, if it had one.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Received {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "[{}] with a body of {} bytes",
            shown(&self.head),
            self.body.len()
        )
    }
}

impl Received {
    /// Reads what `Reply::Echo` sent back.
    pub fn echoed(bytes: &[u8]) -> Received {
        let end = bytes
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("an echoed head");
        Received {
            head: bytes[..end].to_vec(),
            body: bytes[end + 4..].to_vec(),
        }
    }

    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.head
            .split(|&b| b == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line))
    }

    pub fn method(&self) -> String {
        String::from_utf8_lossy(self.head.split(|&b| b == b' ').next().unwrap_or_default()).into_owned()
    }

    /// As it stands in the request line.
    pub fn target(&self) -> Vec<u8> {
        let line = self.lines().next().unwrap_or_default();
        line.split(|&b| b == b' ').nth(1).unwrap_or_default().to_vec()
    }

    pub fn query(&self) -> Vec<u8> {
        let target = self.target();
        target
            .iter()
            .position(|&b| b == b'?')
            .map_or(Vec::new(), |at| target[at + 1..].to_vec())
    }

    /// Every header as (name, value), in order.
    pub fn headers(&self) -> Vec<(String, Vec<u8>)> {
        self.lines()
            .skip(1)
            .map(|line| {
                let colon = line
                    .iter()
                    .position(|&b| b == b':')
                    .unwrap_or_else(|| panic!("{}", shown(line)));
                let name = String::from_utf8(line[..colon].to_vec()).expect("an ASCII name");
                (name, line[colon + 1..].trim_ascii().to_vec())
            })
            .collect()
    }

    /// Every value of the name, which is compared as HTTP compares it.
    pub fn values(&self, name: &str) -> Vec<Vec<u8>> {
        let headers = self.headers().into_iter();
        headers
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }

    /// The value of a header that is there at most once.
    pub fn header(&self, name: &str) -> Option<String> {
        let mut values = self.values(name);
        assert!(
            values.len() <= 1,
            "{name} {} times: {}",
            values.len(),
            shown(&self.head)
        );
        values
            .pop()
            .map(|value| String::from_utf8(value).expect("an ASCII value"))
    }
}

impl Upstream {
    pub fn start() -> Upstream {
        Upstream::on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// Two at different addresses with the same port, as a name has them.
    pub fn pair() -> [Upstream; 2] {
        loop {
            let first = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = first.local_addr().unwrap().port();
            // Somebody else may have the port there.
            if let Ok(second) = TcpListener::bind(("127.0.0.2", port)) {
                return [Upstream::on(first), Upstream::on(second)];
            }
        }
    }

    pub fn on(listener: TcpListener) -> Upstream {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                let stream = Arc::new(stream);
                state.change(|inner| {
                    inner.connections += 1;
                    inner.open.push(Arc::downgrade(&stream));
                });
                std::thread::spawn(move || {
                    serve(stream, &state);
                    state.change(|inner| inner.ended += 1);
                });
            }
        });
        Upstream { address, state }
    }

    pub fn replying(reply: Reply) -> Upstream {
        let upstream = Upstream::start();
        upstream.reply(reply);
        upstream
    }

    /// Answers from the next request on wait until the gate is opened.
    pub fn hold(&self) -> Gate {
        let gate = Gate::default();
        self.reply(Reply::Held(gate.clone()));
        gate
    }

    /// From the next request on.
    pub fn reply(&self, reply: Reply) {
        self.state.change(|inner| inner.reply = reply);
    }

    /// Every request since the last `take`, in the order in which they were complete.
    pub fn take(&self) -> Vec<Received> {
        let mut inner = self.state.inner.lock().unwrap();
        assert!(
            inner.broken.is_empty(),
            "the upstream got something broken: {:?}",
            inner.broken
        );
        std::mem::take(&mut inner.requests)
    }

    /// The only request since the last `take`.
    pub fn take_one(&self) -> Received {
        let mut requests = self.take();
        assert_eq!(
            requests.len(),
            1,
            "one request reaches the upstream, not {requests:?}"
        );
        requests.remove(0)
    }

    /// Every whole request since the last `take`, whatever was cut beside them.
    pub fn take_whole(&self) -> Vec<Received> {
        std::mem::take(&mut self.state.inner.lock().unwrap().requests)
    }

    pub fn connections(&self) -> usize {
        self.state.inner.lock().unwrap().connections
    }

    /// Ends every connection, as a server does with idle ones.
    pub fn close_connections(&self) {
        for stream in self.state.change(|inner| std::mem::take(&mut inner.open)) {
            if let Some(stream) = stream.upgrade() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        }
    }

    /// Not one request, whole or cut, since the last `take`.
    pub fn expect_untouched(&self) {
        assert_eq!(self.take(), [], "nothing may reach the upstream");
    }

    /// How many of these have ended.
    pub fn ended(&self) -> usize {
        self.state.inner.lock().unwrap().ended
    }

    /// Waits until so many connections have ended, by whichever side.
    pub fn wait_for_ends(&self, count: usize) {
        let ended = self.ends_within(count, PATIENCE);
        assert!(ended, "only {} of {count} connections ended", self.ended());
    }

    /// Whether so many end before the time is over.
    pub fn ends_within(&self, count: usize, time: Duration) -> bool {
        let inner = self.state.inner.lock().unwrap();
        let waited = self
            .state
            .changed
            .wait_timeout_while(inner, time, |inner| inner.ended < count);
        waited.unwrap().0.ended >= count
    }

    /// Whether so many requests stand recorded before the time is over.
    pub fn comes_within(&self, count: usize, time: Duration) -> bool {
        let inner = self.state.inner.lock().unwrap();
        let waited = self
            .state
            .changed
            .wait_timeout_while(inner, time, |inner| inner.requests.len() < count);
        waited.unwrap().0.requests.len() >= count
    }

    /// Waits until so many requests stand recorded.
    pub fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        let mut inner = self.state.inner.lock().unwrap();
        while inner.requests.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "only {} of {count} requests came",
                inner.requests.len()
            );
            inner = self.state.changed.wait_timeout(inner, left).unwrap().0;
        }
    }
}

impl State {
    fn change<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        let changed = change(&mut self.inner.lock().unwrap());
        self.changed.notify_all();
        changed
    }
}

fn serve(stream: Arc<TcpStream>, state: &State) {
    stream.set_nodelay(true).unwrap();
    let mut held = Vec::new();
    loop {
        let received = match receive(&stream, &mut held) {
            Ok(Some(received)) => received,
            Ok(None) => return,
            Err(broken) => {
                state.change(|inner| inner.broken.push(broken));
                return;
            }
        };
        let reply = state.inner.lock().unwrap().reply.clone();
        let head = received.method() == "HEAD";
        let answer = match &reply {
            Reply::Echo => ok(&[&received.head[..], b"\r\n\r\n", &received.body].concat(), head),
            Reply::Ok | Reply::Held(_) => ok(b"handled\n", head),
            Reply::Raw(bytes) | Reply::RawUntil(bytes, _) => bytes.clone(),
            Reply::Close | Reply::Reset => Bytes::new(),
        };
        if !matches!(reply, Reply::Echo) {
            state.change(|inner| inner.requests.push(received));
        }
        if let Reply::Held(gate) = &reply {
            let _ = gate.wait();
        }
        if (&*stream).write_all(&answer).is_err() {
            return;
        }
        match reply {
            Reply::Ok | Reply::Echo | Reply::Held(_) => {}
            Reply::Raw(_) | Reply::Close => return,
            Reply::Reset => return reset(stream),
            Reply::RawUntil(_, gate) => {
                if !gate.wait() {
                    let late = "the close was waited for in vain".to_owned();
                    state.change(|inner| inner.broken.push(late));
                }
                return;
            }
        }
    }
}

fn reset(stream: Arc<TcpStream>) {
    let stream = Arc::into_inner(stream).expect("nobody else has it");
    stream.set_nonblocking(true).unwrap();
    super::h2::run(async {
        let stream = tokio::net::TcpStream::from_std(stream).unwrap();
        stream.set_zero_linger().unwrap();
    });
}

fn ok(body: &[u8], head_only: bool) -> Bytes {
    let mut answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    if !head_only {
        answer.extend_from_slice(body);
    }
    answer.into()
}

/// One whole request; none where the connection ends between two.
fn receive(stream: &TcpStream, held: &mut Vec<u8>) -> Result<Option<Received>, String> {
    let end = loop {
        if let Some(at) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if !fill(stream, held) {
            return if held.is_empty() {
                Ok(None)
            } else {
                Err(format!("cut head: {}", shown(held)))
            };
        }
    };
    let received = Received {
        head: held[..end].to_vec(),
        body: Vec::new(),
    };
    held.drain(..end + 4);
    if received
        .head
        .iter()
        .enumerate()
        .any(|(at, &b)| b == b'\n' && (at == 0 || received.head[at - 1] != b'\r'))
    {
        return Err(format!("bare LF in {}", shown(&received.head)));
    }
    let lengths = received.values("content-length");
    let codings = received.values("transfer-encoding");
    let body = match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Vec::new(),
        ([length], []) => {
            let length = std::str::from_utf8(length)
                .ok()
                .filter(|l| l.bytes().all(|b| b.is_ascii_digit()));
            let length = length
                .and_then(|l| l.parse().ok())
                .ok_or_else(|| shown(&received.head))?;
            take(stream, held, length)?
        }
        ([], [coding]) if coding == b"chunked" => chunks(stream, held)?,
        _ => return Err(format!("framing of {}", shown(&received.head))),
    };
    Ok(Some(Received { body, ..received }))
}

fn fill(mut stream: &TcpStream, held: &mut Vec<u8>) -> bool {
    let mut piece = [0; 64 * 1024];
    match stream.read(&mut piece) {
        Ok(size @ 1..) => {
            held.extend_from_slice(&piece[..size]);
            true
        }
        Ok(0) | Err(_) => false,
    }
}

fn take(stream: &TcpStream, held: &mut Vec<u8>, size: usize) -> Result<Vec<u8>, String> {
    while held.len() < size {
        if !fill(stream, held) {
            return Err(format!("cut body: {} of {size} bytes", held.len()));
        }
    }
    Ok(held.drain(..size).collect())
}

fn chunks(stream: &TcpStream, held: &mut Vec<u8>) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    loop {
        let at = loop {
            if let Some(at) = held.windows(2).position(|two| two == b"\r\n") {
                break at;
            }
            if !fill(stream, held) {
                return Err("cut chunk".to_owned());
            }
        };
        let line: Vec<u8> = held.drain(..at + 2).take(at).collect();
        let size = std::str::from_utf8(&line)
            .ok()
            .and_then(|line| usize::from_str_radix(line, 16).ok());
        let size = size.ok_or_else(|| format!("chunk size {}", shown(&line)))?;
        body.extend(take(stream, held, size)?);
        if take(stream, held, 2)? != b"\r\n" {
            return Err("chunk without CRLF".to_owned());
        }
        if size == 0 {
            return Ok(body);
        }
    }
}
