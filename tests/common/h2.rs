//! HTTP/2 with prior knowledge: through the h2 crate where the request is legal, by frames of our own
//! where it is not.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::LazyLock;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;

use super::carrier::Got;
use super::frames::{self, Frame, Frames};
use super::request::{Body, HOST, Request};
use super::{PATIENCE, Response, identity};

/// Drives the connections of all clients: they go on while a test looks elsewhere.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
});

/// Waits for it, as long as anything is waited for.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    RUNTIME.block_on(async {
        tokio::time::timeout(PATIENCE, future)
            .await
            .expect("an end in time")
    })
}

/// Lets it go on while the test looks elsewhere.
pub fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    RUNTIME.spawn(future)
}

/// An open connection.
pub struct Session {
    client: SendRequest<Bytes>,
    scheme: &'static str,
}

impl Session {
    pub fn open(address: SocketAddr) -> Session {
        run(async {
            let stream = tokio::net::TcpStream::connect(address)
                .await
                .expect("a connection");
            stream.set_nodelay(true).unwrap();
            Session::over(stream, "http").await.expect("a session")
        })
    }

    pub fn open_tls(address: SocketAddr) -> Session {
        run(async {
            let stream = tokio::net::TcpStream::connect(address)
                .await
                .expect("a connection");
            stream.set_nodelay(true).unwrap();
            let connector = TlsConnector::from(identity::client(&[b"h2"]));
            let stream = connector
                .connect(identity::server_name(), stream)
                .await
                .expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            Session::over(stream, "https").await.expect("a session")
        })
    }

    async fn over<S>(stream: S, scheme: &'static str) -> Result<Session, h2::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = h2::client::Builder::new();
        // More than any answer of the tests: only who does not read is to be held up by a window.
        builder
            .initial_window_size(64 << 20)
            .initial_connection_window_size(64 << 20);
        let (client, connection) = builder.handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Session { client, scheme })
    }

    /// `on_head` is called between the head of the answer and its body.
    pub fn get_noticing(&self, request: &Request, on_head: impl FnOnce() + Send) -> Got {
        run(self.exchange(request, on_head)).unwrap_or_else(|e| {
            println!("{} {}: {e}", request.method, request.target);
            Got::Nothing
        })
    }

    /// Resets the stream between the head of the answer and its body.
    pub fn leave_behind_the_head(&self, request: &Request) {
        let (is_there, there) = tokio::sync::oneshot::channel();
        let exchange = self.exchange(request, || is_there.send(()).unwrap());
        run(async {
            tokio::select! {
                biased;
                there = there => there.expect("a head"),
                got = exchange => panic!("it ended: {got:?}"),
            }
        });
    }

    /// The same, for more than one at a time. An error is an end before any head.
    pub fn exchange<F: FnOnce() + Send>(
        &self,
        request: &Request,
        on_head: F,
    ) -> impl Future<Output = Result<Got, h2::Error>> + Send + use<F> {
        let head = head(request, self.scheme);
        let outgoing = match &request.body {
            Body::None => Outgoing::Nothing,
            Body::Length(body) | Body::Unannounced(body) => Outgoing::Whole(body.clone().into()),
            Body::Part { sent, .. } => Outgoing::Part(sent.clone().into()),
        };
        exchange(self.client.clone(), head, outgoing, on_head)
    }
}

/// One request that only this version of HTTP can say, on a connection of its own.
pub fn ask(address: SocketAddr, request: http::Request<()>, body: &[u8]) -> Result<Response, h2::Error> {
    let body = Bytes::copy_from_slice(body);
    run(async {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .expect("a connection");
        let session = Session::over(stream, "http").await?;
        let outgoing = if body.is_empty() {
            Outgoing::Nothing
        } else {
            Outgoing::Whole(body)
        };
        let got = exchange(session.client, request, outgoing, || {}).await?;
        Ok(got.whole("over HTTP/2"))
    })
}

/// What is for one hop has no words here and is left out.
fn head(request: &Request, scheme: &str) -> http::Request<()> {
    const ONE_HOP: [&str; 5] = [
        "connection",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let uri = http::Uri::builder();
    let uri = match request.method.as_str() {
        "CONNECT" => uri.authority(request.target.as_str()).build(),
        _ => uri
            .scheme(scheme)
            .authority(HOST)
            .path_and_query(request.target.as_str())
            .build(),
    };
    let uri = uri.unwrap_or_else(|e| panic!("{}: {e}", request.target));
    let mut head = http::Request::builder()
        .version(http::Version::HTTP_2)
        .method(request.method.as_str())
        .uri(uri);
    for (name, value) in request.headers() {
        if !ONE_HOP.contains(&name.to_ascii_lowercase().as_str()) {
            head = head.header(name, value);
        }
    }
    match &request.body {
        Body::None | Body::Unannounced(_) => {}
        Body::Length(body) => head = head.header("content-length", body.len()),
        Body::Part { length, .. } => head = head.header("content-length", *length),
    }
    head.body(()).unwrap()
}

enum Outgoing {
    Nothing,
    Whole(Bytes),
    /// The stream stays open behind it.
    Part(Bytes),
}

async fn exchange(
    client: SendRequest<Bytes>,
    request: http::Request<()>,
    outgoing: Outgoing,
    on_head: impl FnOnce(),
) -> Result<Got, h2::Error> {
    let mut client = client.ready().await?;
    let (body, ends) = match outgoing {
        Outgoing::Nothing => (None, true),
        Outgoing::Whole(body) => (Some(body), true),
        Outgoing::Part(body) => (Some(body), false),
    };
    let (response, mut sending) = client.send_request(request, body.is_none())?;
    let mut sent = pin!(async {
        if let Some(body) = body {
            send(&mut sending, body, ends).await;
        }
        // Answered or not: the stream is open until the answer is there.
        std::future::pending::<()>().await;
    });
    let mut received = pin!(receive(response, on_head));
    // Both at once: an answer may come before the body is through.
    tokio::select! {
        biased;
        received = &mut received => received,
        () = &mut sent => unreachable!("it never ends"),
    }
}

/// In DATA frames, as flow control allows, until it is through or no longer wanted.
async fn send(sending: &mut h2::SendStream<Bytes>, mut body: Bytes, ends: bool) {
    if body.is_empty() && ends {
        let _ = sending.send_data(body, true);
        return;
    }
    while !body.is_empty() {
        sending.reserve_capacity(body.len());
        let Some(Ok(size)) = poll_fn(|cx| sending.poll_capacity(cx)).await else {
            return;
        };
        let piece = body.split_to(size.min(body.len()));
        if sending.send_data(piece, ends && body.is_empty()).is_err() {
            return;
        }
    }
}

async fn receive(mut response: h2::client::ResponseFuture, on_head: impl FnOnce()) -> Result<Got, h2::Error> {
    let mut interim = Vec::new();
    while let Some(head) = poll_fn(|cx| response.poll_informational(cx)).await {
        interim.push(head?.status().as_u16());
    }
    let (head, mut incoming) = response.await?.into_parts();
    on_head();
    let mut body = Vec::new();
    let mut is_whole = true;
    while let Some(piece) = incoming.data().await {
        let Ok(piece) = piece else {
            is_whole = false;
            break;
        };
        let _ = incoming.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    let headers = head.headers.iter();
    let headers = headers
        .map(|(name, value)| {
            (
                name.to_string(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    let response = Response {
        interim,
        status: head.status.as_u16(),
        headers,
        body,
    };
    Ok(match is_whole {
        true => Got::Whole(response),
        false => Got::Cut(response),
    })
}

/// What became of a stream that no library would send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Raw {
    /// 200 (indexed, too).
    Ok,
    /// 400 (indexed in the static table of HPACK).
    BadRequest,
    /// Another status; the first bytes of the header block.
    Other([u8; 2]),
    /// RST_STREAM.
    Reset,
    /// GOAWAY, or the end of the connection.
    Gone,
}

/// Sends one stream of literal header fields, without any check, and a body if there is one.
pub fn raw(address: SocketAddr, fields: &[(&[u8], &[u8])], body: Option<&[u8]>) -> Raw {
    let mut frames = Frames::open(address, 64 * 1024);
    frames.headers(1, fields, body.is_none());
    if let Some(body) = body {
        frames.send(frames::DATA, 0x1, 1, body);
    }
    let of_interest = |frame: &Frame| match frame.kind {
        frames::HEADERS | frames::RST_STREAM => frame.stream == 1,
        kind => kind == frames::GOAWAY,
    };
    let Some(frame) = frames.next_that(of_interest) else {
        return Raw::Gone;
    };
    match (frame.kind, frame.content.as_slice()) {
        (frames::HEADERS, [0x88, ..]) => Raw::Ok,
        (frames::HEADERS, [0x8c, ..]) => Raw::BadRequest,
        (frames::HEADERS, [first, second, ..]) => Raw::Other([*first, *second]),
        (frames::RST_STREAM, _) => Raw::Reset,
        _ => Raw::Gone,
    }
}
