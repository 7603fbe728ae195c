//! An HTTP proxy that opens tunnels, all of them to one address, and remembers what it was asked for.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::PATIENCE;

pub struct ConnectProxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    heads: Mutex<Vec<String>>,
    answer: Mutex<String>,
}

/// How it says that a tunnel is open.
const OPEN: &str = "HTTP/1.1 200 Connection established\r\n\r\n";

impl ConnectProxy {
    /// All tunnels lead there.
    pub fn leading_to(server: SocketAddr) -> ConnectProxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        OPEN.clone_into(&mut shared.answer.lock().unwrap());
        let own = shared.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, shared) = (client.unwrap(), own.clone());
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                thread::spawn(move || open(client, server, &shared));
            }
        });
        ConnectProxy { address, shared }
    }

    /// What it says from now on, instead of opening a tunnel; nothing at all where that is empty.
    pub fn says(&self, answer: &str) {
        answer.clone_into(&mut self.shared.answer.lock().unwrap());
    }

    /// The heads of its requests, in their order.
    pub fn heads(&self) -> Vec<String> {
        self.shared.heads.lock().unwrap().clone()
    }
}

fn open(mut client: TcpStream, server: SocketAddr, shared: &Shared) {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        match client.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            Ok(_) | Err(_) => return,
        }
    }
    shared
        .heads
        .lock()
        .unwrap()
        .push(String::from_utf8(head).unwrap());
    let answer = shared.answer.lock().unwrap().clone();
    let _ = client.write_all(answer.as_bytes());
    if answer != OPEN {
        // Until the other side has heard enough.
        let _ = client.read(&mut byte);
        return;
    }
    let server = TcpStream::connect(server).unwrap();
    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || carry(from, to));
    carry(server, client);
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}
