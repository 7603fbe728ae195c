//! HTTP/2 with prior knowledge: through the h2 crate where the request is legal, by frames of our own
//! where it is not.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use bytes::Bytes;
use http::Request;

use super::{PATIENCE, Response};

/// One request on a connection of its own. `body` goes in DATA frames as flow control allows.
pub fn ask(address: SocketAddr, request: Request<()>, body: &[u8]) -> Result<Response, h2::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(PATIENCE, exchange(address, request, Bytes::copy_from_slice(body)))
            .await
            .expect("an answer in time")
    })
}

async fn exchange(address: SocketAddr, request: Request<()>, mut body: Bytes) -> Result<Response, h2::Error> {
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("a connection");
    let (client, connection) = h2::client::handshake(stream).await?;
    tokio::spawn(connection);
    let mut client = client.ready().await?;
    let (response, mut sending) = client.send_request(request, body.is_empty())?;
    let send = async move {
        while !body.is_empty() {
            sending.reserve_capacity(body.len());
            match std::future::poll_fn(|cx| sending.poll_capacity(cx)).await {
                Some(Ok(size)) => {
                    let piece = body.split_to(size.min(body.len()));
                    sending.send_data(piece, body.is_empty())?;
                }
                // Answered before the body was wanted.
                Some(Err(_)) | None => break,
            }
        }
        Ok::<_, h2::Error>(())
    };
    let receive = async move {
        let (head, mut incoming) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(piece) = incoming.data().await {
            let piece = piece?;
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
        Ok::<_, h2::Error>(Response {
            status: head.status.as_u16(),
            headers,
            body,
        })
    };
    // Both at once: an answer may come before the body is through.
    let (sent, received) = tokio::join!(send, receive);
    match (sent, received) {
        (_, Ok(response)) => Ok(response),
        (Err(e), Err(_)) | (Ok(()), Err(e)) => Err(e),
    }
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
    let mut block = Vec::new();
    for (name, value) in fields {
        // Literal, never indexed, new name (RFC 7541 6.2.3); lengths below 127 take one byte.
        block.push(0x10);
        for part in [name, value] {
            assert!(part.len() < 127);
            block.push(u8::try_from(part.len()).unwrap());
            block.extend_from_slice(part);
        }
    }
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut bytes, 4, 0, 0, &[]);
    frame(&mut bytes, 1, if body.is_some() { 0x4 } else { 0x5 }, 1, &block);
    if let Some(body) = body {
        frame(&mut bytes, 0, 0x1, 1, body);
    }
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&bytes).unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Raw::Gone;
        }
        let mut content = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut content).is_err() {
            return Raw::Gone;
        }
        match (head[3], head[8]) {
            (1, 1) if content.first() == Some(&0x88) => return Raw::Ok,
            (1, 1) if content.first() == Some(&0x8c) => return Raw::BadRequest,
            (1, 1) => return Raw::Other([content[0], content[1]]),
            (3, 1) => return Raw::Reset,
            (7, _) => return Raw::Gone,
            _ => {}
        }
    }
}

fn frame(bytes: &mut Vec<u8>, kind: u8, flags: u8, stream: u8, content: &[u8]) {
    bytes.extend_from_slice(&u32::try_from(content.len()).unwrap().to_be_bytes()[1..]);
    bytes.extend_from_slice(&[kind, flags, 0, 0, 0, stream]);
    bytes.extend_from_slice(content);
}
