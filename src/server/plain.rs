//! Plain HTTP where TLS is spoken: a person typed `http://`, or a proxy in front was told the wrong scheme. Both are
//! helped by a sentence, and by nothing that a failed handshake says.

use std::time::Duration;

use pingora::protocols::Stream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// For the whole of it.
const PATIENCE: Duration = Duration::from_secs(2);

const TOLD: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 64\r\n\
    Connection: close\r\n\r\nThis port speaks HTTPS, and plain HTTP came: ask with https://.\n";

/// Whether what the connection begins with can only be plain HTTP: a handshake's first byte is no letter. What was
/// looked at is still there. Waits for that byte, without an end of its own.
pub(super) async fn is_plain(stream: &mut Stream) -> bool {
    let mut first = [0; 1];
    let there = matches!(stream.try_peek(&mut first).await, Ok(true));
    there && first.iter().all(u8::is_ascii_uppercase)
}

/// Says so and ends the connection, once the client has had the time to read it.
pub(super) async fn tell(mut stream: Stream) {
    let _ = timeout(PATIENCE, async {
        stream.write_all(TOLD.as_bytes()).await?;
        stream.flush().await?;
        AsyncWriteExt::shutdown(&mut stream).await?;
        // What is left unread would make a reset of the end, which can overtake the answer.
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        std::io::Result::Ok(())
    })
    .await;
}
