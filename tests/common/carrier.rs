//! The ways that a request may take to the gateway. Whatever it is about must come out the same on each.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::frames::{DATA, DEFAULT_WINDOW, END_STREAM, Frames, MAX_WINDOW};
use super::h2::Session;
use super::request::{Body, Request};
use super::{Conn, Gateway, Response};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    Http11,
    Http10,
    /// HTTP/1.1 over TLS.
    Tls11,
    /// HTTP/2 with prior knowledge.
    H2c,
    /// HTTP/2 over TLS, as browsers come.
    H2Tls,
}

impl Carrier {
    pub const ALL: [Carrier; 5] = [
        Carrier::Http11,
        Carrier::Http10,
        Carrier::Tls11,
        Carrier::H2c,
        Carrier::H2Tls,
    ];

    pub fn is_http2(self) -> bool {
        matches!(self, Carrier::H2c | Carrier::H2Tls)
    }

    pub fn is_tls(self) -> bool {
        matches!(self, Carrier::Tls11 | Carrier::H2Tls)
    }

    /// Whether its language has words for the request: HTTP/1.0 knows no body without a length.
    pub fn can_say(self, request: &Request) -> bool {
        !(self == Carrier::Http10 && matches!(request.body, Body::Unannounced(_)))
    }

    pub fn address(self, gateway: &Gateway) -> SocketAddr {
        match self {
            Carrier::Http11 | Carrier::Http10 => gateway.http(),
            Carrier::H2c => gateway.h2c(),
            Carrier::Tls11 | Carrier::H2Tls => gateway.tls(),
        }
    }

    pub fn open(self, gateway: &Gateway) -> Client {
        self.open_at(self.address(gateway))
    }

    /// By way of somebody who listens there.
    pub fn open_at(self, address: SocketAddr) -> Client {
        let wire = match self {
            Carrier::Http11 | Carrier::Http10 => Wire::Http1(Conn::open(address)),
            Carrier::Tls11 => Wire::Http1(Conn::open_tls(address)),
            Carrier::H2c => Wire::Http2(Session::open(address)),
            Carrier::H2Tls => Wire::Http2(Session::open_tls(address)),
        };
        Client {
            carrier: self,
            address,
            is_used: false,
            wire,
        }
    }

    /// A session of HTTP/2 by hand, whose answers may be so long each before a window is opened.
    pub fn frames(self, gateway: &Gateway, window: u32) -> Frames {
        let address = self.address(gateway);
        let mut frames = match self.is_tls() {
            true => Frames::open_tls(address, window),
            false => Frames::open(address, window),
        };
        frames.open_window(0, MAX_WINDOW - DEFAULT_WINDOW);
        frames
    }

    /// Asks with every window open, and does not read.
    pub fn send(self, gateway: &Gateway, request: &Request) -> Sent {
        if self.is_http2() {
            let mut frames = self.frames(gateway, MAX_WINDOW);
            frames.ask(1, request);
            return Sent::Http2(frames);
        }
        let address = self.address(gateway);
        let mut conn = match self.is_tls() {
            true => Conn::open_tls(address),
            false => Conn::open(address),
        };
        conn.send(self.spell(request));
        Sent::Http1(conn)
    }

    /// The request as bytes of HTTP/1.
    fn spell(self, request: &Request) -> Vec<u8> {
        request.to_http1(match self {
            Carrier::Http10 => "HTTP/1.0",
            _ => "HTTP/1.1",
        })
    }

    /// One request on a connection of its own.
    pub fn ask(self, gateway: &Gateway, request: &Request) -> Response {
        self.open(gateway).ask(request)
    }
}

/// A request on its way, on a connection of its own, whose answer nobody has read.
pub enum Sent {
    Http1(Conn),
    /// As stream 1.
    Http2(Frames),
}

impl Sent {
    /// Takes a few bytes of the answer. Whatever becomes of the connection, it goes on.
    pub fn sip(&mut self, bytes: usize) {
        match self {
            Sent::Http1(conn) => _ = conn.sip(bytes),
            Sent::Http2(frames) => _ = frames.sip(bytes),
        }
    }

    /// Sends the rest of a body of which a part was sent.
    pub fn send_last(&mut self, rest: &[u8]) {
        match self {
            Sent::Http1(conn) => conn.send(rest),
            Sent::Http2(frames) => frames.send(DATA, END_STREAM, 1, rest),
        }
    }

    /// Reads until this has come of the answer, in one piece.
    pub fn read_until(&mut self, text: &[u8]) -> Vec<u8> {
        match self {
            Sent::Http1(conn) => conn.read_until(text),
            Sent::Http2(frames) => frames.read_until(text),
        }
    }

    /// Reads so many bytes of the answer.
    pub fn skip(&mut self, bytes: usize) {
        match self {
            Sent::Http1(conn) => conn.skip(bytes),
            Sent::Http2(frames) => frames.skip(bytes),
        }
    }

    /// Resets the stream and keeps the connection.
    pub fn reset(self) -> Frames {
        match self {
            Sent::Http1(_) => panic!("it has no streams"),
            Sent::Http2(mut frames) => {
                frames.reset(1);
                frames
            }
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
pub enum Got {
    Whole(Response),
    /// What there was of an answer that broke off behind its head.
    Cut(Response),
    /// Not even a head.
    Nothing,
}

impl Got {
    pub fn whole(self, what: &str) -> Response {
        match self {
            Got::Whole(response) => response,
            got => panic!("{what}: no whole answer but {got:?}"),
        }
    }
}

/// An open connection; with HTTP/1.0, where each has one request, one after another.
pub struct Client {
    carrier: Carrier,
    address: SocketAddr,
    is_used: bool,
    wire: Wire,
}

enum Wire {
    Http1(Conn),
    Http2(Session),
}

impl Client {
    pub fn ask(&mut self, request: &Request) -> Response {
        let what = format!("{:?}, {} {}", self.carrier, request.method, request.target);
        self.get(request).whole(&what)
    }

    pub fn get(&mut self, request: &Request) -> Got {
        self.get_noticing(request, || {})
    }

    /// The same; `on_head` is called between the head of the answer and its body.
    pub fn get_noticing(&mut self, request: &Request, on_head: impl FnOnce() + Send) -> Got {
        if self.carrier == Carrier::Http10 && self.is_used {
            self.wire = Wire::Http1(Conn::open(self.address));
        }
        self.is_used = true;
        match &mut self.wire {
            Wire::Http1(conn) => {
                conn.send_as_far_as_taken(self.carrier.spell(request));
                conn.get_noticing(&request.method, on_head)
            }
            Wire::Http2(session) => session.get_noticing(request, on_head),
        }
    }

    /// Leaves between the head of the answer and its body.
    pub fn leave_behind_the_head(mut self, request: &Request) {
        match &mut self.wire {
            Wire::Http1(conn) => {
                conn.send(self.carrier.spell(request));
                assert!(conn.head().is_some(), "a head");
            }
            Wire::Http2(session) => session.leave_behind_the_head(request),
        }
    }

    /// The connection under HTTP/1, which does not have to be empty; none where one connection carries many
    /// requests at once.
    pub fn http1(&mut self) -> Option<&mut Conn> {
        match &mut self.wire {
            Wire::Http1(conn) => Some(conn),
            Wire::Http2(_) => None,
        }
    }
}

/// Runs every row on every carrier that it is for, the carriers side by side, each in a setting of its own.
/// A row that does not hold stops no other one; all of them are told at the end. Returns how many rows ran
/// on each carrier.
pub fn table<R: Sync, S>(
    what: &str,
    rows: &[R],
    name: impl Fn(&R) -> &str + Sync,
    is_for: impl Fn(Carrier, &R) -> bool + Sync,
    setting: impl Fn(Carrier) -> S + Sync,
    check: impl Fn(Carrier, &S, &R) + Sync,
) -> [usize; 5] {
    let run = |carrier| {
        let (mut ran, mut failed) = (0, Vec::new());
        let mut current = None;
        for row in rows.iter().filter(|row| is_for(carrier, row)) {
            ran += 1;
            println!("{carrier:?}: {}", name(row));
            let of_row = || check(carrier, current.get_or_insert_with(|| setting(carrier)), row);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(of_row)) {
                let said = panic.downcast_ref::<String>().map_or("", String::as_str);
                failed.push(format!("{carrier:?}: {}: {said}", name(row)));
                // Whatever it left behind is no other row's.
                current = None;
            }
        }
        (ran, failed)
    };
    let run = &run;
    let (ran, failed): (Vec<usize>, Vec<Vec<String>>) = std::thread::scope(|scope| {
        let running = Carrier::ALL.map(|carrier| scope.spawn(move || run(carrier)));
        running.map(|running| running.join().unwrap()).into_iter().unzip()
    });
    let total: usize = ran.iter().sum();
    println!(
        "{what}: {total} of {} rows on {} carriers",
        rows.len() * ran.len(),
        ran.len()
    );
    let failed = failed.concat();
    assert!(
        failed.is_empty(),
        "{what}: {} of {total} rows do not hold:\n{}",
        failed.len(),
        failed.join("\n")
    );
    ran.try_into().unwrap()
}

/// The same for a test that is one row.
pub fn each(what: &str, test: impl Fn(Carrier) + Sync) {
    let ran = table(
        what,
        &[what],
        |what| what,
        |_, _| true,
        |_| (),
        |carrier, (), _| test(carrier),
    );
    assert_eq!(ran, [1; 5]);
}
