//! The floor of `benches/compare`: Pingora that passes a request through and writes one line of log,
//! with the runtime, the allocator and the build profile of the gateway, and nothing else.
//!
//! `bare-pingora LISTEN TLS CERT KEY UPSTREAM THREADS`: LISTEN speaks HTTP/1.1, TLS speaks HTTP/2 and
//! HTTP/1.1 with the certificate and key of the two PEM files; addresses are `host:port`.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::{ProxyHttp, Session, http_proxy_service};
use pingora::server::Server;
use pingora::server::configuration::ServerConf;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long lines are gathered before one write, as in the gateway.
const GATHER: Duration = Duration::from_millis(20);

struct Bare {
    upstream: SocketAddr,
    lines: Arc<Mutex<Vec<u8>>>,
}

#[async_trait]
impl ProxyHttp for Bare {
    type CTX = Instant;

    fn new_ctx(&self) -> Instant {
        Instant::now()
    }

    async fn upstream_peer(&self, _: &mut Session, _: &mut Instant) -> Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.upstream, false, String::new())))
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, began: &mut Instant) {
        let status = session.response_written().map_or(0, |head| head.status.as_u16());
        // Writing to memory does not fail.
        let _ = writeln!(
            self.lines.lock(),
            r#"{{"method":"{}","path":"{}","status":{status},"bytes_out":{},"duration_us":{}}}"#,
            session.req_header().method,
            session.req_header().uri.path(),
            session.body_bytes_sent(),
            began.elapsed().as_micros(),
        );
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, tls, cert, key, upstream, threads] = args.as_slice() else {
        return usage();
    };
    let (Ok(upstream), Ok(threads)) = (upstream.parse(), threads.parse()) else {
        return usage();
    };
    let mut secured = match TlsSettings::intermediate(cert, key) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("bare-pingora: {error}");
            return ExitCode::FAILURE;
        }
    };
    secured.enable_h2();
    let lines = Arc::<Mutex<Vec<u8>>>::default();
    let gathered = lines.clone();
    std::thread::spawn(move || {
        let mut writing = Vec::new();
        loop {
            std::thread::sleep(GATHER);
            std::mem::swap(&mut writing, &mut *gathered.lock());
            // Nobody could be told that the log is gone.
            let _ = io::stderr().write_all(&writing);
            writing.clear();
        }
    });
    let conf = ServerConf {
        threads,
        work_stealing: false,
        upstream_keepalive_pool_size: 1024,
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(1),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, Bare { upstream, lines });
    service.add_tcp(listen);
    service.add_tls_with_settings(tls, None, secured);
    server.add_service(service);
    server.run_forever()
}

fn usage() -> ExitCode {
    eprintln!("usage: bare-pingora LISTEN TLS CERT KEY UPSTREAM THREADS");
    ExitCode::from(2)
}
