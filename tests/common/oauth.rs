//! An authorization server: it says of each token what it was told to, and remembers who was asked about.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;

use super::PATIENCE;
use super::upstream::Gate;

pub const CLIENT_ID: &str = "app.573ad8a0346747.09223434";
pub const USER: u64 = 17;

/// What it says of a token.
#[derive(Clone)]
pub enum Says {
    /// A whole answer.
    Answer(u16, String),
    /// These bytes, then the end of the connection.
    Raw(Vec<u8>),
    /// The same as the inner one, once the gate is open.
    Held(Gate, Box<Says>),
    /// Nothing, for as long as the other side waits.
    Nothing,
}

impl Says {
    /// The answer to a good token.
    pub fn info(client_id: &str, member_id: &str, domain: &str) -> Says {
        Says::Answer(
            200,
            info(client_id, member_id, domain, "2099-01-01T00:00:00+03:00"),
        )
    }

    /// The answer to one that is no longer good.
    pub fn expired() -> Says {
        let error = json!({ "error": "expired_token", "error_description": "The access token provided has expired." });
        Says::Answer(401, error.to_string())
    }
}

/// In the shape of the real one.
pub fn info(client_id: &str, member_id: &str, domain: &str, expires: &str) -> String {
    json!({
        "result": {
            "client_id": client_id, "scope": "crm,user", "expires": expires, "user_id": USER.to_string(),
            "install": {
                "installed": true, "version": "1", "status": "L", "scope": "crm,user", "domain": domain,
                "uri": format!("https://{domain}"), "client_endpoint": format!("https://{domain}/rest/"),
                "member_id": member_id, "member_type": "bitrix",
            },
        },
        "time": { "start": 1.5, "finish": 1.6, "duration": 0.1 },
    })
    .to_string()
}

pub struct AuthServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    says: Mutex<HashMap<String, Says>>,
    asked: Mutex<Vec<String>>,
}

struct Identity {
    pem: String,
    config: Arc<ServerConfig>,
}

/// For `localhost`.
static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let issued = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    Identity {
        pem: issued.cert.pem(),
        config: Arc::new(config),
    }
});

/// The certificate of every server with TLS.
pub fn certificate() -> &'static str {
    &IDENTITY.pem
}

impl AuthServer {
    pub fn start() -> AuthServer {
        AuthServer::serve(converse)
    }

    /// With TLS, under the name localhost.
    pub fn start_tls() -> AuthServer {
        AuthServer::serve(|stream, shared| {
            let tls = ServerConnection::new(IDENTITY.config.clone()).unwrap();
            converse(StreamOwned::new(tls, stream), shared);
        })
    }

    fn serve(converse: fn(TcpStream, &Shared)) -> AuthServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let own = shared.clone();
        // It lives as long as the process: what it holds ends with its listener's last connection.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), own.clone());
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || converse(stream, &shared));
            }
        });
        AuthServer { address, shared }
    }

    /// What is said of a token from now on; of any other one, that it is none.
    pub fn says(&self, token: &str, says: Says) {
        self.shared.says.lock().unwrap().insert(token.to_owned(), says);
    }

    /// The tokens that were asked about, in their order.
    pub fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// How often it was asked about one.
    pub fn asked_about(&self, token: &str) -> usize {
        self.asked().iter().filter(|asked| *asked == token).count()
    }
}

fn converse(mut stream: impl Read + Write, shared: &Shared) {
    let mut held = Vec::new();
    while let Some(head) = next_head(&mut stream, &mut held) {
        let line = head.lines().next().unwrap_or_default();
        let token = line
            .strip_prefix("GET /rest/app.info?auth=")
            .and_then(|rest| rest.strip_suffix(" HTTP/1.1"))
            .unwrap_or_else(|| panic!("no such method: {line}"))
            .to_owned();
        shared.asked.lock().unwrap().push(token.clone());
        let says = shared.says.lock().unwrap().get(&token).cloned();
        let unknown = || Says::Answer(401, json!({ "error": "invalid_token" }).to_string());
        if !say(&mut stream, says.unwrap_or_else(unknown)) {
            return;
        }
    }
}

/// Whether the connection goes on.
fn say(stream: &mut (impl Read + Write), says: Says) -> bool {
    match says {
        Says::Answer(status, body) => {
            let head = format!(
                "HTTP/1.1 {status} Any\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            stream.write_all((head + &body).as_bytes()).is_ok() && stream.flush().is_ok()
        }
        Says::Raw(bytes) => {
            // Whoever has heard enough leaves.
            let _ = stream.write_all(&bytes);
            let _ = stream.flush();
            false
        }
        Says::Held(gate, says) => gate.wait() && say(stream, *says),
        Says::Nothing => {
            let _ = stream.read(&mut [0; 1]);
            false
        }
    }
}

fn next_head(stream: &mut impl Read, held: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = held.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = held.drain(..end + 4).collect();
            return Some(String::from_utf8(head).unwrap());
        }
        let mut bytes = [0; 4096];
        match stream.read(&mut bytes) {
            Ok(0) | Err(_) => return None,
            Ok(count) => held.extend_from_slice(&bytes[..count]),
        }
    }
}
