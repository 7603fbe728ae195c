//! Stores of shared limits: a real one on a port of its own, and one that plays what a real one can not.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

const INSTALL: &str = "a real Redis is part of these tests: apt-get install -y redis-server";

/// A real Redis. Dropped, it is killed.
pub struct Redis {
    child: Child,
    port: u16,
    arguments: Vec<String>,
    folder: tempfile::TempDir,
}

impl Redis {
    /// `{port}` in an option is its port.
    pub fn start(options: &[&str]) -> Redis {
        let plain = [
            "--bind",
            "127.0.0.1",
            "--port",
            "{port}",
            "--save",
            "",
            "--appendonly",
            "no",
        ];
        Redis::run(&[&plain, options].concat(), |_, _| {})
    }

    /// A sentinel that knows this one as the master `main`.
    pub fn sentinel(of: &Redis) -> Redis {
        Redis::run(&["sentinel.conf", "--sentinel"], |port, folder| {
            let text = format!(
                "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {} 1\n",
                of.port
            );
            std::fs::write(folder.join("sentinel.conf"), text).unwrap();
        })
    }

    fn run(arguments: &[&str], prepare: impl Fn(u16, &Path)) -> Redis {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..10 {
            // Somebody may take the port before Redis does; then it ends, and another one is found.
            let port = free_port();
            prepare(port, folder.path());
            let arguments: Vec<_> = arguments
                .iter()
                .map(|argument| argument.replace("{port}", &port.to_string()))
                .collect();
            if let Some(child) = run(&arguments, folder.path()) {
                return Redis {
                    child,
                    port,
                    arguments,
                    folder,
                };
            }
        }
        panic!("redis-server does not start: {arguments:?}");
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    /// Ends at once, with everything that it knew.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Is there again, on the same port.
    pub fn start_again(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        self.child = loop {
            match run(&self.arguments, self.folder.path()) {
                Some(child) => break child,
                None => assert!(Instant::now() < deadline, "the port is not free again"),
            }
        };
    }

    /// What it answers to a command, as it stands on the wire. Who becomes a master or a replica sends its clients away
    /// first: then it is asked again.
    pub fn say(&self, command: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_say(command) {
                Ok(answer) => return answer,
                Err(e) => assert!(Instant::now() < deadline, "{command:?}: {e}"),
            }
        }
    }

    fn try_say(&self, command: &[&str]) -> io::Result<String> {
        let mut stream = TcpStream::connect(self.address())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = format!("*{}\r\n", command.len());
        for word in command {
            bytes += &format!("${}\r\n{word}\r\n", word.len());
        }
        stream.write_all(bytes.as_bytes())?;
        let mut reader = BufReader::new(stream);
        let mut answer = String::new();
        let mut lines = 1;
        while lines > 0 {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            lines -= 1;
            let count = || line[1..].trim().parse::<i64>().unwrap();
            let mut text = Vec::new();
            match line.as_bytes().first() {
                // It may have lines of its own.
                Some(b'$') if count() >= 0 => {
                    text = vec![0; count() as usize + 2];
                    reader.read_exact(&mut text)?;
                }
                Some(b'*') => lines += count(),
                _ => {}
            }
            answer += &line;
            answer += std::str::from_utf8(&text).unwrap();
        }
        Ok(answer)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody has at this moment.
pub fn free_port() -> u16 {
    super::servers::free().port()
}

/// None where it has ended before it was ready.
fn run(arguments: &[String], folder: &Path) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect(INSTALL);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let is_ready = lines
        .by_ref()
        .map_while(Result::ok)
        .any(|line| line.contains("Ready to accept connections") || line.contains("Sentinel ID is"));
    // What it says later has to be read, or it would wait.
    std::thread::spawn(move || lines.for_each(drop));
    if is_ready {
        return Some(child);
    }
    child.wait().unwrap();
    None
}

/// What the other store does with a question.
#[derive(Clone)]
pub enum Says {
    /// Grants all that is wanted.
    Yes,
    /// These bytes.
    Bytes(&'static str),
    /// Nothing, ever.
    Nothing,
    /// Closes the connection.
    Close,
}

/// A server that speaks as much of the protocol as the gateway asks for.
pub struct FakeStore {
    pub address: SocketAddr,
    says: Arc<Mutex<Says>>,
}

impl FakeStore {
    pub fn start() -> FakeStore {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let store = FakeStore {
            address: listener.local_addr().unwrap(),
            says: Arc::new(Mutex::new(Says::Yes)),
        };
        let says = store.says.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let says = says.clone();
                std::thread::spawn(move || serve(stream, &says));
            }
        });
        store
    }

    /// From the next question on.
    pub fn says(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }
}

fn serve(mut stream: TcpStream, says: &Mutex<Says>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let command = command(&mut reader)?;
        let is_question = command[0].to_ascii_uppercase().starts_with("EVAL");
        let says = match is_question {
            true => says.lock().unwrap().clone(),
            false => Says::Bytes("+OK\r\n"),
        };
        match says {
            Says::Yes => {
                let wanted = command.last()?;
                stream
                    .write_all(format!("*3\r\n:{wanted}\r\n:0\r\n:0\r\n").as_bytes())
                    .ok()?;
            }
            Says::Bytes(bytes) => stream.write_all(bytes.as_bytes()).ok()?,
            Says::Nothing => {}
            Says::Close => return None,
        }
    }
}

fn command(reader: &mut impl BufRead) -> Option<Vec<String>> {
    let count = number(reader, '*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let size = number(reader, '$')?;
        let mut word = vec![0; size + 2];
        reader.read_exact(&mut word).ok()?;
        word.truncate(size);
        words.push(String::from_utf8(word).ok()?);
    }
    Some(words)
}

fn number(reader: &mut impl BufRead, sign: char) -> Option<usize> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    line.strip_prefix(sign)?.trim().parse().ok()
}

/// How long the work takes.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begun = Instant::now();
    (work(), begun.elapsed())
}
