//! A server behind a Unix socket: its kernel tells nothing of what was acknowledged, so nothing is asked twice.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use crate::common::carrier::each;
use crate::common::forms::{self, BODY};
use crate::common::{Gateway, PATIENCE, Request};

/// Reads a whole call; whether one came.
fn read_call(stream: &mut UnixStream) -> bool {
    let mut read = Vec::new();
    let mut piece = [0; 4096];
    while !read.ends_with(BODY.as_bytes()) {
        match stream.read(&mut piece) {
            Ok(size @ 1..) => read.extend_from_slice(&piece[..size]),
            Ok(0) | Err(_) => return false,
        }
    }
    true
}

/// What becomes of the calls, one after the other: the second is read and its server dies, and behind the third the
/// connection is closed, which is told.
fn serve(listener: UnixListener) -> (Arc<AtomicUsize>, mpsc::Receiver<()>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let (close, closed) = mpsc::channel();
    let counted = calls.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (counted, close) = (counted.clone(), close.clone());
            std::thread::spawn(move || {
                while read_call(&mut stream) {
                    let number = counted.fetch_add(1, Ordering::Relaxed) + 1;
                    if number == 2 {
                        return;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).unwrap();
                    if number == 3 {
                        drop(stream);
                        return close.send(()).unwrap();
                    }
                }
            });
        }
    });
    (calls, closed)
}

#[test]
fn calls_reach_a_unix_socket_at_most_once() {
    each("calls to a Unix socket", |carrier| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.sock");
        let (calls, closed) = serve(UnixListener::bind(&path).unwrap());
        let servers = format!("servers = [\"unix:{}\"]", path.display());
        let gateway = Gateway::on_every_carrier(forms::routes(&[]).replace("servers = []", &servers));
        let ask = || carrier.ask(&gateway, &Request::call()).status;
        assert_eq!([ask(), ask(), ask()], [200, 502, 200]);
        closed.recv_timeout(PATIENCE).unwrap();
        assert_eq!(ask(), 200, "over another connection");
        assert_eq!(calls.load(Ordering::Relaxed), 4);
        let line = gateway.wait_log("its line", |line| line["status"] == 502);
        assert_eq!((&line["cause"], &line["tries"]), (&"reset".into(), &1.into()));
        let retries = gateway
            .metrics()
            .value("widget_gateway_upstream_retries_total", &[]);
        assert_eq!(retries, 0.0);
    });
}
