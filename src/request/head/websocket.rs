//! The opening handshake of WebSocket (RFC 6455 4.2.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, Method, header};

use super::{Framing, RequestHead, Version};

/// A nonce has so many bytes.
const NONCE: usize = 16;

impl RequestHead {
    /// Whether it asks, as a client of WebSocket has to, to speak that from here on. Only HTTP/1.1 can.
    pub fn is_websocket_handshake(&self) -> bool {
        let once = |name: HeaderName| {
            let mut values = self.headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none())
        };
        self.method == Method::GET
            && self.version == Version::Http11
            && self.framing == Framing::Length(0)
            && self.hop.named.contains(&header::UPGRADE)
            && once(header::UPGRADE).is_some_and(|to| to.as_bytes().eq_ignore_ascii_case(b"websocket"))
            && once(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13")
            && once(header::SEC_WEBSOCKET_KEY)
                .and_then(|key| STANDARD.decode(key).ok())
                .is_some_and(|nonce| nonce.len() == NONCE)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn is_handshake(line: &str, fields: &[&str]) -> bool {
        let head = format!("{line}\r\nHost: h\r\n{}\r\n\r\n", fields.join("\r\n"));
        RequestHead::parse(&Bytes::from(head))
            .unwrap()
            .is_websocket_handshake()
    }

    #[test]
    fn only_a_sound_handshake_is_one() {
        const LINE: &str = "GET /ws HTTP/1.1";
        const SOUND: [&str; 4] = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        assert!(is_handshake(LINE, &SOUND));
        assert!(is_handshake(LINE, &[&SOUND[..], &["Content-Length: 0"]].concat()));
        for line in ["POST /ws HTTP/1.1", "HEAD /ws HTTP/1.1", "GET /ws HTTP/1.0"] {
            assert!(!is_handshake(line, &SOUND), "{line}");
        }
        for at in 0..SOUND.len() {
            let mut fields = SOUND.to_vec();
            fields.remove(at);
            assert!(!is_handshake(LINE, &fields), "{fields:?}");
        }
        for (at, other, sound) in [
            (0, "Connection: keep-alive, upgrade", true),
            (0, "Connection: keep-alive", false),
            (1, "Upgrade: WebSocket", true),
            (1, "Upgrade: h2c", false),
            (1, "Upgrade: h2c, websocket", false),
            (1, "Upgrade: websocket\r\nUpgrade: websocket", false),
            (2, "Sec-WebSocket-Version: 8", false),
            (2, "Sec-WebSocket-Version: 13, 8", false),
            (3, "Sec-WebSocket-Key: c2hvcnQ=", false),
            (3, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ", false),
            (3, "Sec-WebSocket-Key: ", false),
        ] {
            let mut fields = SOUND.to_vec();
            fields[at] = other;
            assert_eq!(is_handshake(LINE, &fields), sound, "{other}");
        }
        for body in ["Content-Length: 1", "Transfer-Encoding: chunked"] {
            assert!(!is_handshake(LINE, &[&SOUND[..], &[body]].concat()), "{body}");
        }
    }
}
