//! Real PHP: its own web server, and its FastCGI workers for form parsing in bulk.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::PATIENCE;
use super::forms::KNOWN;

const INSTALL: &str = "real PHP is part of these tests: apt-get install -y php-cgi php-cli";

/// Tells everything that a script can see of its request; bytes as hex, since JSON takes only UTF-8.
const DUMP: &str = r#"<?php
function leaves($v, $path) { $out = []; foreach ($v as $k => $v) { $at = [...$path, bin2hex((string)$k)]; array_push($out, ...(is_array($v) ? leaves($v, $at) : [[$at, bin2hex((string)$v)]])); } return $out; }
function told($v) { return is_array($v) ? ['array' => leaves($v, [])] : ['hex' => bin2hex((string)$v)]; }
function all($from) { $out = []; foreach ($from as $k => $v) $out[bin2hex((string)$k)] = told($v); return (object)$out; }
parse_str(file_get_contents('php://input'), $string);
header('Content-Type: application/json');
echo json_encode([
  'get' => all($_GET), 'post' => all($_POST), 'cookie' => all($_COOKIE), 'request' => all($_REQUEST), 'string' => all($string),
  'server' => all(array_filter($_SERVER, fn($v, $k) => is_string($v) && preg_match('/^(HTTP_|CONTENT_|REQUEST_(METHOD|URI)|QUERY_STRING)/', $k), ARRAY_FILTER_USE_BOTH)),
  'raw' => bin2hex(file_get_contents('php://input')),
]);
"#;

/// What one superglobal holds under a name.
#[derive(Clone, PartialEq, Eq)]
pub enum Held {
    Text(Vec<u8>),
    Array,
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Held::Text(text) => write!(f, "\"{}\"", text.escape_ascii()),
            Held::Array => f.write_str("an array"),
        }
    }
}

/// What PHP made of one request.
pub struct Seen(Value);

impl Seen {
    fn from(output: &[u8]) -> Seen {
        // Without a php.ini, warnings are printed before the script's own output.
        let start = output
            .windows(8)
            .rposition(|at| at == b"{\"get\":{")
            .unwrap_or_else(|| {
                panic!("PHP said: {}", String::from_utf8_lossy(output));
            });
        Seen(serde_json::from_slice(&output[start..]).expect("the script's JSON"))
    }

    pub fn of_body(body: &[u8]) -> Seen {
        Seen::from(body)
    }

    /// `array` is get, post, cookie, request or server; string is what `parse_str` makes of the raw body.
    pub fn held(&self, array: &str, name: &str) -> Option<Held> {
        let value = self.0[array].get(hex(name.as_bytes()))?;
        Some(match value["hex"].as_str() {
            Some(text) => Held::Text(unhex(text)),
            None => Held::Array,
        })
    }

    /// What stands under a name at a path of keys.
    pub fn at(&self, array: &str, name: &str, keys: &[&str]) -> Option<Held> {
        if keys.is_empty() {
            return self.held(array, name);
        }
        let keys: Vec<_> = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
        let leaves = self.leaves(array, name);
        match leaves.get(&keys) {
            Some(text) => Some(Held::Text(text.clone())),
            None => leaves
                .keys()
                .any(|path| path.starts_with(&keys))
                .then_some(Held::Array),
        }
    }

    /// Every text under a name, with its keys; none where the name is a text itself.
    pub fn leaves(&self, array: &str, name: &str) -> BTreeMap<Vec<Vec<u8>>, Vec<u8>> {
        let held = &self.0[array][hex(name.as_bytes())]["array"];
        let leaves = held.as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |value: &Value| unhex(value.as_str().expect("hex"));
        leaves
            .iter()
            .map(|leaf| {
                let path = leaf[0].as_array().expect("a path").iter().map(text).collect();
                (path, text(&leaf[1]))
            })
            .collect()
    }

    pub fn text(&self, array: &str, name: &str) -> Option<String> {
        match self.held(array, name)? {
            Held::Text(text) => Some(String::from_utf8_lossy(&text).into_owned()),
            Held::Array => panic!("{name} in {array} is an array"),
        }
    }

    /// All names of one array, sorted.
    pub fn names(&self, array: &str) -> Vec<String> {
        let object = self.0[array].as_object().expect("an object");
        let mut names: Vec<_> = object
            .keys()
            .map(|key| String::from_utf8_lossy(&unhex(key)).into_owned())
            .collect();
        names.sort();
        names
    }

    pub fn raw_body(&self) -> Vec<u8> {
        unhex(self.0["raw"].as_str().expect("the raw body"))
    }

    /// The known names only, for a failure.
    pub fn known(&self) -> String {
        let mut lines = String::new();
        for name in KNOWN
            .into_iter()
            .chain(["event", "event_token", "workflow_id", "auth"])
        {
            let all = ["get", "post", "cookie", "request"].map(|array| self.held(array, name));
            if all.iter().any(Option::is_some) {
                lines += &format!(
                    "  {name}: get {:?} post {:?} cookie {:?} request {:?}\n",
                    all[0], all[1], all[2], all[3]
                );
            }
        }
        for array in ["get", "post", "cookie", "request"] {
            for (path, text) in self.leaves(array, "auth") {
                let path = path.join(&b"]["[..]);
                lines += &format!(
                    "  {array} auth[{}]: {}\n",
                    path.escape_ascii(),
                    text.escape_ascii()
                );
            }
        }
        lines
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
        .collect()
}

fn script(folder: &tempfile::TempDir) -> PathBuf {
    let file = folder.path().join("dump.php");
    std::fs::write(&file, DUMP).unwrap();
    file
}

/// `php -S`: it binds port 0 by itself and prints what it got.
pub struct PhpServer {
    pub address: SocketAddr,
    child: Child,
    _folder: tempfile::TempDir,
}

impl PhpServer {
    /// `settings` are `-d` arguments, or `-n` for no php.ini.
    pub fn start(settings: &[&str]) -> PhpServer {
        let folder = tempfile::tempdir().unwrap();
        let dump = script(&folder);
        PhpServer::serving(settings, &dump, folder)
    }

    /// A script of the product's own.
    pub fn running(settings: &[&str], script: &str) -> PhpServer {
        PhpServer::serving(settings, script.as_ref(), tempfile::tempdir().unwrap())
    }

    fn serving(settings: &[&str], script: &std::path::Path, folder: tempfile::TempDir) -> PhpServer {
        let mut child = Command::new("php")
            .args(settings)
            .args(["-S", "127.0.0.1:0"])
            .arg(script)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("php: {e}; {INSTALL}"));
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "php -S ended; {INSTALL}");
            if let Some((_, rest)) = line.split_once("(http://") {
                break rest
                    .split(')')
                    .next()
                    .and_then(|a| a.parse().ok())
                    .expect("an address");
            }
        };
        // It writes a line per request; a full pipe would stop it.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        PhpServer {
            address,
            child,
            _folder: folder,
        }
    }
}

impl Drop for PhpServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `php-cgi` workers behind a socket file: the real SAPI parsing, without a web server's opinions.
pub struct PhpWorkers {
    child: Child,
    folder: tempfile::TempDir,
}

/// What PHP parses; the rest of a FastCGI request is always the same.
pub struct Parse<'a> {
    pub query: &'a [u8],
    pub content_type: &'a [u8],
    pub cookie: Option<&'a [u8]>,
    pub body: &'a [u8],
}

impl PhpWorkers {
    /// `settings` are `-d` arguments, or `-n` for no php.ini. Two workers: two connections at a time.
    pub fn start(settings: &[&str]) -> PhpWorkers {
        let folder = tempfile::tempdir().unwrap();
        script(&folder);
        let child = Command::new("php-cgi")
            .args(settings)
            .arg("-b")
            .arg(folder.path().join("socket"))
            .env("PHP_FCGI_CHILDREN", "2")
            .env("PHP_FCGI_MAX_REQUESTS", "0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap_or_else(|e| panic!("php-cgi: {e}; {INSTALL}"));
        PhpWorkers { child, folder }
    }

    pub fn connect(&mut self) -> PhpConn {
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match UnixStream::connect(self.folder.path().join("socket")) {
                Ok(stream) => break stream,
                // The socket appears a moment after the process.
                Err(e) => {
                    let ended = self.child.try_wait().unwrap();
                    assert!(
                        ended.is_none() && Instant::now() < deadline,
                        "php-cgi: {e}, {ended:?}; {INSTALL}"
                    );
                    std::thread::yield_now();
                }
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        PhpConn {
            stream,
            script: self.folder.path().join("dump.php"),
        }
    }
}

impl Drop for PhpWorkers {
    fn drop(&mut self) {
        // SIGTERM: the parent takes its workers with it, which SIGKILL would leave behind.
        let _ = i32::try_from(self.child.id()).map(|id| kill(Pid::from_raw(id), Signal::SIGTERM));
        let _ = self.child.wait();
    }
}

/// One kept FastCGI connection (FastCGI 1.0, 3.3 and 5).
pub struct PhpConn {
    stream: UnixStream,
    script: PathBuf,
}

impl PhpConn {
    pub fn parse(&mut self, request: &Parse<'_>) -> Seen {
        const BEGIN: u8 = 1;
        const END: u8 = 3;
        const PARAMS: u8 = 4;
        const STDIN: u8 = 5;
        const STDOUT: u8 = 6;
        let script = self.script.to_str().unwrap().as_bytes().to_vec();
        let length = request.body.len().to_string();
        let uri = [b"/dump.php?", request.query].concat();
        let mut params = Vec::new();
        for (name, value) in [
            ("REQUEST_METHOD", &b"POST"[..]),
            ("SCRIPT_FILENAME", &script),
            ("SCRIPT_NAME", b"/dump.php"),
            ("REDIRECT_STATUS", b"200"),
            ("SERVER_PROTOCOL", b"HTTP/1.1"),
            ("GATEWAY_INTERFACE", b"CGI/1.1"),
            ("REQUEST_URI", &uri),
            ("QUERY_STRING", request.query),
            ("CONTENT_LENGTH", length.as_bytes()),
            ("CONTENT_TYPE", request.content_type),
        ] {
            pair(&mut params, name.as_bytes(), value);
        }
        if let Some(cookie) = request.cookie {
            pair(&mut params, b"HTTP_COOKIE", cookie);
        }
        // Role: responder; flag: keep the connection.
        let mut bytes = vec![1, BEGIN, 0, 1, 0, 8, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0];
        for (kind, content) in [(PARAMS, &params[..]), (STDIN, request.body)] {
            for piece in content.chunks(65_535) {
                record(&mut bytes, kind, piece);
            }
            record(&mut bytes, kind, &[]);
        }
        self.stream.write_all(&bytes).expect("php-cgi takes the request");
        let mut output = Vec::new();
        loop {
            let mut head = [0; 8];
            self.stream.read_exact(&mut head).expect("php-cgi answers");
            let mut content =
                vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) + usize::from(head[6])];
            self.stream.read_exact(&mut content).expect("php-cgi answers");
            content.truncate(content.len() - usize::from(head[6]));
            match head[1] {
                STDOUT => output.extend(content),
                END => return Seen::from(&output),
                _ => {}
            }
        }
    }
}

fn record(bytes: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let size = u16::try_from(content.len()).unwrap().to_be_bytes();
    bytes.extend_from_slice(&[1, kind, 0, 1, size[0], size[1], 0, 0]);
    bytes.extend_from_slice(content);
}

fn pair(params: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    for part in [name, value] {
        match u8::try_from(part.len()) {
            Ok(short @ 0..128) => params.push(short),
            _ => params.extend_from_slice(&(u32::try_from(part.len()).unwrap() | 1 << 31).to_be_bytes()),
        }
    }
    params.extend_from_slice(name);
    params.extend_from_slice(value);
}
