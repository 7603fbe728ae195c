//! Genuine calls without a pause, on connections kept alive and on new ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use super::forms::{BODY, TARGET, post};
use super::{Conn, Got};

pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    answered: AtomicUsize,
    failed: AtomicUsize,
}

impl Load {
    /// Every other client opens a connection for each call.
    pub fn start(address: SocketAddr, clients: usize) -> Load {
        let shared = Arc::new(Shared::default());
        let clients = (0..clients)
            .map(|client| {
                let shared = shared.clone();
                std::thread::spawn(move || shared.call(address, client % 2 == 0))
            })
            .collect();
        Load { shared, clients }
    }

    /// Calls that were answered with 200 so far.
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// How many calls were answered with 200, and how many were not.
    pub fn stop(self) -> (usize, usize) {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().unwrap());
        (
            self.shared.answered.load(Ordering::Relaxed),
            self.shared.failed.load(Ordering::Relaxed),
        )
    }
}

impl Shared {
    fn call(&self, address: SocketAddr, keep: bool) {
        let mut kept: Option<Conn> = None;
        while !self.stop.load(Ordering::Relaxed) {
            let mut conn = kept.take().unwrap_or_else(|| Conn::open(address));
            conn.send_as_far_as_taken(post(TARGET, &[], BODY));
            match conn.get("POST") {
                Got::Whole(response) if response.status == 200 => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                    if keep && response.header("Connection") != Some("close") {
                        kept = Some(conn);
                    }
                }
                // A server that dies while it answers leaves a piece of an answer.
                Got::Whole(_) | Got::Cut(_) | Got::Nothing => {
                    self.failed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}
