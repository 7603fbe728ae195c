use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::config;
use crate::response::rejection::Unserved;
use crate::telemetry::log;
use crate::telemetry::metrics::Metrics;

fn process() -> Arc<Process> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(
        &file,
        "[server]\nlisten = [\"127.0.0.1:1\"]\n[[routes]]\npath = \"/\"\nkind = \"pass\"\nupstream = \"u\"\n\
         [upstreams.u]\nservers = [\"127.0.0.1:2\"]\n[log]\nlevel = \"error\"\n",
    )
    .unwrap();
    let (log, _flush) = log::start().unwrap();
    let metrics = Arc::new(Metrics::new("v", "r", "c").unwrap());
    Process::new(&file, config::read(&file).unwrap(), metrics, log)
}

fn begun(process: &Arc<Process>) -> Box<Request> {
    let peer = Peer {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        tls: false,
    };
    Request::begin(process, &Method::GET, &HeaderMap::new(), peer, Instant::now())
}

/// Requests without a route that ended so, and those under way.
fn counted(process: &Process, outcome: &str) -> (String, i64) {
    let text = String::from_utf8(process.metrics.text().unwrap()).unwrap();
    let series = format!("widget_gateway_requests_total{{outcome=\"{outcome}\",route=\"none\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap();
    (value.to_owned(), process.metrics.in_flight.get())
}

#[test]
fn a_request_is_recorded_once_whatever_becomes_of_it() {
    let process = process();
    begun(&process).answered(Sent::default());
    assert_eq!(counted(&process, "forwarded"), ("1".to_owned(), 0));
    begun(&process).refused(Rejection::NotFound(Unserved::Path), Sent::default());
    assert_eq!(counted(&process, "rejected"), ("1".to_owned(), 0));
    // Whoever held it was dropped: its connection ended.
    let request = begun(&process);
    assert_eq!(counted(&process, "client_closed"), ("0".to_owned(), 1));
    drop(request);
    assert_eq!(counted(&process, "client_closed"), ("1".to_owned(), 0));
}

#[test]
fn a_panic_is_an_internal_error_that_is_counted() {
    let process = process();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _request = begun(&process);
        panic!("a bug");
    }));
    assert!(panicked.is_err());
    assert_eq!(counted(&process, "rejected"), ("1".to_owned(), 0));
    let text = String::from_utf8(process.metrics.text().unwrap()).unwrap();
    let series =
        "widget_gateway_rejections_total{mode=\"enforce\",reason=\"internal_error\",route=\"none\"} 1";
    assert!(text.lines().any(|line| line == series), "{text}");
}
