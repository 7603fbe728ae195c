//! Spans, as a collector gets them.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::common::forms::{self, BODY, MEMBER, SECRETS, TARGET, post, request};
use crate::common::{Conn, DeadServer, Gateway, PATIENCE, Reply, Setup, Upstream};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";
const DROPPED: &str = "widget_gateway_trace_spans_dropped_total";

/// Takes OTLP over HTTP, and nothing else.
struct Collector {
    server: Upstream,
    spans: RefCell<Vec<Span>>,
    /// Who sent them.
    resources: RefCell<Vec<BTreeMap<String, String>>>,
}

impl Collector {
    fn start() -> Collector {
        let taken = "HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n";
        Collector {
            server: Upstream::replying(Reply::Raw(taken.into())),
            spans: RefCell::default(),
            resources: RefCell::default(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Every span so far. Whatever comes is looked through for what must not be in it.
    fn spans(&self) -> Vec<Span> {
        for received in self.server.take() {
            assert_eq!(
                (received.method().as_str(), received.target()),
                ("POST", b"/v1/traces".to_vec())
            );
            assert_eq!(received.header("content-type").unwrap(), "application/x-protobuf");
            let text = String::from_utf8_lossy(&received.body);
            // The option with its quotes: three digits alone stand in many an id and port.
            for secret in SECRETS.into_iter().chain([
                MEMBER,
                "portal.bitrix24.com",
                "%22717%22",
                "\"717\"",
                "/app",
                "DOMAIN=",
            ]) {
                assert!(
                    !text.contains(secret),
                    "{secret} in {}",
                    crate::common::shown(&received.body)
                );
            }
            let message = ExportTraceServiceRequest::decode(&received.body[..]).unwrap();
            for of_resource in message.resource_spans {
                let resource = attributes(&of_resource.resource.unwrap().attributes);
                self.resources.borrow_mut().push(resource);
                let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                self.spans.borrow_mut().extend(spans);
            }
        }
        // SPAN_KIND_SERVER
        let spans = self.spans.borrow();
        spans.iter().filter(|span| span.kind == 2).cloned().collect()
    }

    /// Those of the attempts under a request's, in order.
    fn attempts(&self, of: &Span) -> Vec<Span> {
        let spans = self.spans.borrow();
        let under = spans.iter().filter(|span| span.parent_span_id == of.span_id);
        let under: Vec<_> = under.cloned().collect();
        for span in &under {
            // SPAN_KIND_CLIENT
            assert_eq!((span.kind, &span.trace_id), (3, &of.trace_id));
            assert!(span.start_time_unix_nano >= of.start_time_unix_nano);
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        }
        under
    }

    /// Exactly so many requests, once they are there.
    fn expect(&self, count: usize) -> Vec<Span> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let spans = self.spans();
            if spans.len() >= count {
                assert_eq!(spans.len(), count, "{spans:?}");
                return spans;
            }
            assert!(Instant::now() < deadline, "{} of {count} spans", spans.len());
            std::thread::yield_now();
        }
    }
}

fn attributes(all: &[KeyValue]) -> BTreeMap<String, String> {
    fn text(value: &AnyValue) -> String {
        match value.value.as_ref().unwrap() {
            any_value::Value::StringValue(text) => text.clone(),
            any_value::Value::IntValue(number) => number.to_string(),
            any_value::Value::ArrayValue(list) => {
                let items: Vec<_> = list.values.iter().map(text).collect();
                format!("[{}]", items.join(", "))
            }
            other => panic!("{other:?}"),
        }
    }
    let one = |pair: &KeyValue| (pair.key.clone(), text(pair.value.as_ref().unwrap()));
    let map: BTreeMap<_, _> = all.iter().map(one).collect();
    assert_eq!(map.len(), all.len(), "a key twice: {all:?}");
    map
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn rest(upstream: SocketAddr, collector: SocketAddr, sample: f64) -> String {
    let routes = forms::routes(&[upstream]);
    format!("{routes}[traces]\nendpoint = \"http://{collector}/v1/traces\"\nsample = {sample:?}\n")
}

/// A gateway that believes its clients, so that they can begin traces.
fn trusting(rest: String) -> Gateway {
    Gateway::with(
        Setup::of(rest)
            .top("trusted_proxies = [\"127.0.0.1\"]")
            .server("drain_delay = \"1ms\""),
    )
}

fn traced(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}")
}

#[test]
fn the_upstreams_work_hangs_under_our_span_and_ours_under_the_proxys() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    // Nothing but what the proxy sampled.
    let gateway = trusting(rest(upstream.address, collector.address(), 0.0));
    let before = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    assert_eq!(gateway.ask(post(TARGET, &[&traced("01")], BODY)).status, 200);
    let spans = collector.expect(1);
    let resource = &collector.resources.borrow()[0];
    assert_eq!(
        (&*resource["service.name"], &*resource["service.version"]),
        ("widget-gateway", env!("CARGO_PKG_VERSION"))
    );
    let span = &spans[0];
    assert_eq!(hex(&span.trace_id), TRACE);
    assert_eq!(hex(&span.parent_span_id), PARENT);
    let sent = upstream.take_one().header("traceparent").unwrap();
    let attempts = collector.attempts(span);
    assert_eq!(attempts.len(), 1);
    assert_eq!(sent, format!("00-{TRACE}-{}-01", hex(&attempts[0].span_id)));
    assert_ne!(hex(&span.span_id), PARENT);
    let port = upstream.address.port().to_string();
    assert_eq!(
        (attempts[0].name.as_str(), attributes(&attempts[0].attributes)),
        (
            "POST",
            map([
                ("http.request.method", "POST"),
                ("http.response.status_code", "200"),
                ("server.address", "127.0.0.1"),
                ("server.port", &*port),
            ])
        )
    );
    // SPAN_KIND_SERVER
    assert_eq!((span.name.as_str(), span.kind), ("POST widget", 2));
    assert_eq!(span.status.clone().unwrap_or_default().code, 0);
    assert!(span.start_time_unix_nano + 1_000_000_000 > u64::try_from(before.as_nanos()).unwrap());
    assert!(span.end_time_unix_nano > span.start_time_unix_nano);
    assert_eq!(
        attributes(&span.attributes),
        map([
            ("client.address", "127.0.0.1"),
            ("http.request.method", "POST"),
            ("http.response.status_code", "200"),
            ("http.route", "widget"),
            ("widget_gateway.outcome", "forwarded"),
            ("widget_gateway.tries", "1"),
            ("widget_gateway.upstream", "handlers"),
        ])
    );
    // The log names the same trace.
    assert_eq!(gateway.request_lines(1)[0]["trace_id"], TRACE);

    // What the proxy did not sample is passed on as it is, what begins here is marked as not sampled.
    assert_eq!(gateway.ask(post(TARGET, &[&traced("00")], BODY)).status, 200);
    let kept = upstream.take_one().header("traceparent").unwrap();
    assert_eq!(kept, format!("00-{TRACE}-{PARENT}-00"));
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    let made = upstream.take_one().header("traceparent").unwrap();
    assert!(made.ends_with("-00") && !made.contains(TRACE), "{made}");
    assert_eq!(gateway.stop().code(), Some(0));
    collector.expect(1);
}

#[test]
fn spans_say_how_a_request_ended() {
    let (upstream, collector, gone) = (Upstream::start(), Collector::start(), DeadServer::new());
    let routes = format!(
        "[[routes]]\nname = \"new\"\npath = \"/new\"\nkind = \"widget\"\nmode = \"observe\"\nupstream = \"handlers\"\n\
         [[routes]]\nname = \"gone\"\npath = \"/gone\"\nkind = \"pass\"\nupstream = \"gone\"\n\
         [upstreams.gone]\nservers = [\"{}\"]\n",
        gone.address()
    );
    // Nobody is believed here: the traceparent of a stranger is no trace of ours.
    let gateway = Gateway::start(routes + &rest(upstream.address, collector.address(), 1.0));
    let common = |method, more: &[(&str, &str)]| {
        let mut all = map([("client.address", "127.0.0.1"), ("http.request.method", method)]);
        all.extend(
            more.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        all
    };
    let expected = [
        (
            post(TARGET, &[&traced("00")], BODY),
            ("POST widget", 0),
            common(
                "POST",
                &[
                    ("http.route", "widget"),
                    ("http.response.status_code", "200"),
                    ("widget_gateway.outcome", "forwarded"),
                    ("widget_gateway.tries", "1"),
                    ("widget_gateway.upstream", "handlers"),
                ],
            ),
        ),
        (
            post("/app", &[], BODY),
            ("POST widget", 0),
            common(
                "POST",
                &[
                    ("http.route", "widget"),
                    ("http.response.status_code", "422"),
                    ("widget_gateway.outcome", "rejected"),
                    ("widget_gateway.reason", "missing_field"),
                ],
            ),
        ),
        (
            post("/new", &[], BODY),
            ("POST new", 0),
            common(
                "POST",
                &[
                    ("http.route", "new"),
                    ("http.response.status_code", "200"),
                    ("widget_gateway.outcome", "observed"),
                    ("widget_gateway.would_reject", "[missing_field]"),
                    ("widget_gateway.tries", "1"),
                    ("widget_gateway.upstream", "handlers"),
                ],
            ),
        ),
        (
            request("GET", "/gone", &[], ""),
            ("GET gone", 2),
            common(
                "GET",
                &[
                    ("http.route", "gone"),
                    ("http.response.status_code", "502"),
                    ("error.type", "upstream_unavailable"),
                    ("widget_gateway.outcome", "upstream_error"),
                    ("widget_gateway.reason", "upstream_unavailable"),
                    ("widget_gateway.cause", "refused"),
                    ("widget_gateway.tries", "1"),
                    ("widget_gateway.upstream", "gone"),
                ],
            ),
        ),
        (
            request("BREW", "/app", &["Content-Length: 0"], ""),
            ("HTTP", 0),
            common(
                "_OTHER",
                &[
                    ("http.response.status_code", "405"),
                    ("widget_gateway.outcome", "rejected"),
                    ("widget_gateway.reason", "method_not_allowed"),
                ],
            ),
        ),
        (
            b"GET /app HTTP/1.1\n\n".to_vec(),
            ("GET", 0),
            common(
                "GET",
                &[
                    ("http.response.status_code", "400"),
                    ("widget_gateway.outcome", "rejected"),
                    ("widget_gateway.reason", "malformed_request"),
                ],
            ),
        ),
    ];
    for (count, (bytes, (name, code), wanted)) in expected.into_iter().enumerate() {
        gateway.ask(bytes);
        let spans = collector.expect(count + 1);
        let span = &spans[count];
        assert_eq!(attributes(&span.attributes), wanted);
        assert_eq!(
            (span.name.as_str(), span.status.clone().unwrap_or_default().code),
            (name, code)
        );
        assert_eq!(
            (hex(&span.parent_span_id).as_str(), span.trace_id.len()),
            ("", 16)
        );
        for received in upstream.take() {
            let sent = received.header("traceparent").unwrap();
            assert_eq!(
                sent,
                format!(
                    "00-{}-{}-01",
                    hex(&span.trace_id),
                    hex(&collector.attempts(span)[0].span_id)
                )
            );
            assert_ne!(hex(&span.trace_id), TRACE);
        }
    }
    assert_eq!(gateway.metrics().value(DROPPED, &[]), 0.0);
}

#[test]
fn without_an_endpoint_nothing_is_sent_and_nothing_changes() {
    let (upstream, collector) = (Upstream::start(), Collector::start());
    let routes = forms::routes(&[upstream.address]);
    let gateway = trusting(format!("{routes}[traces]\nsample = 1.0\n"));
    assert_eq!(gateway.ask(post(TARGET, &[&traced("01")], BODY)).status, 200);
    let kept = upstream.take_one().header("traceparent").unwrap();
    assert_eq!(kept, format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(gateway.ask(post(TARGET, &[], BODY)).status, 200);
    // None is made, and the log names none.
    assert_eq!(upstream.take_one().header("traceparent"), None);
    let lines = gateway.request_lines(2);
    assert_eq!(
        (&lines[0]["trace_id"], &lines[1]["trace_id"]),
        (&TRACE.into(), &serde_json::Value::Null)
    );

    // The endpoint is hot: on, elsewhere, and off again.
    let second = Collector::start();
    gateway.rewrite(&rest(upstream.address, collector.address(), 1.0));
    gateway.reload_lines(1);
    gateway.ask(post(TARGET, &[], BODY));
    gateway.rewrite(&rest(upstream.address, second.address(), 1.0));
    gateway.reload_lines(2);
    gateway.ask(post(TARGET, &[], BODY));
    gateway.rewrite(&routes);
    gateway.reload_lines(3);
    gateway.ask(post(TARGET, &[], BODY));
    collector.expect(1);
    second.expect(1);
    assert_eq!(gateway.stop().code(), Some(0));
    collector.expect(1);
    second.expect(1);
}

#[test]
fn a_collector_that_is_dead_or_silent_is_nobodys_business() {
    let upstream = Upstream::start();
    let dead = DeadServer::new();
    // The kernel takes the connection, and nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for address in [dead.address(), silent.local_addr().unwrap()] {
        let gateway = trusting(rest(upstream.address, address, 1.0));
        let mut conn = gateway.connect();
        for _ in 0..50 {
            assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200);
        }
        let told = gateway.wait_log("the failure", |line| line["msg"] == "spans can not be sent");
        assert_eq!(told["level"], "warn");
        gateway.metrics_when("what was dropped", |metrics| metrics.value(DROPPED, &[]) > 0.0);
        assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200);
        drop(conn);
        let started = Instant::now();
        assert_eq!(gateway.stop().code(), Some(0));
        assert!(
            started.elapsed() < Duration::from_secs(5),
            "{:?}",
            started.elapsed()
        );
    }
}

#[test]
fn a_stop_sends_what_waits() {
    const REQUESTS: usize = 700;
    let (upstream, collector) = (Upstream::replying(Reply::Echo), Collector::start());
    let gateway = trusting(rest(upstream.address, collector.address(), 1.0));
    let mut conn = gateway.connect();
    for _ in 0..REQUESTS {
        assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200);
    }
    drop(conn);
    assert_eq!(gateway.stop().code(), Some(0));
    // Nothing more can come.
    assert_eq!(collector.spans().len(), REQUESTS);
}

#[test]
fn each_attempt_at_a_server_has_a_span() {
    let gone = DeadServer::new();
    for ask in [post(TARGET, &[], BODY), request("GET", "/", &[], "")] {
        let (upstream, collector) = (Upstream::start(), Collector::start());
        // Its turn is the first.
        let servers = format!("servers = [\"{}\", ", gone.address());
        let rest = rest(upstream.address, collector.address(), 1.0).replace("servers = [", &servers);
        let gateway = Gateway::start(rest);
        assert_eq!(gateway.ask(ask).status, 200);
        let span = &collector.expect(1)[0];
        let own = attributes(&span.attributes);
        assert_eq!(
            (&*own["widget_gateway.tries"], &*own["widget_gateway.cause"]),
            ("2", "refused")
        );
        let attempts = collector.attempts(span);
        let told: Vec<_> = attempts.iter().map(|span| attributes(&span.attributes)).collect();
        let (gone, there) = (
            gone.address().port().to_string(),
            upstream.address.port().to_string(),
        );
        let method = own["http.request.method"].as_str();
        assert_eq!(
            told,
            [
                map([
                    ("error.type", "refused"),
                    ("http.request.method", method),
                    ("server.address", "127.0.0.1"),
                    ("server.port", &*gone),
                ]),
                map([
                    ("http.request.method", method),
                    ("http.request.resend_count", "1"),
                    ("http.response.status_code", "200"),
                    ("server.address", "127.0.0.1"),
                    ("server.port", &*there),
                ]),
            ]
        );
        let codes: Vec<_> = attempts
            .iter()
            .map(|span| span.status.clone().unwrap_or_default().code)
            .collect();
        assert_eq!(codes, [2, 0]);
        assert!(attempts[0].end_time_unix_nano <= attempts[1].end_time_unix_nano);
        let sent = upstream.take_one().header("traceparent").unwrap();
        assert_eq!(
            sent,
            format!("00-{}-{}-01", hex(&span.trace_id), hex(&attempts[1].span_id))
        );
    }
}

#[test]
fn the_resource_names_this_process_and_what_the_environment_says() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let sent_by = |env: &[(&str, &OsStr)]| {
        let (upstream, collector) = (Upstream::start(), Collector::start());
        let rest = rest(upstream.address, collector.address(), 1.0);
        let listeners = "[server]\nlisten = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\nthreads = 1\n";
        std::fs::write(&file, format!("{listeners}{rest}")).unwrap();
        let gateway = Gateway::with_env(&file, &[], env);
        let line = gateway.wait_log("a listener", |line| line["msg"] == "listening");
        let http: SocketAddr = line["address"].as_str().unwrap().parse().unwrap();
        let mut conn = Conn::open(http);
        for count in 1..=2 {
            assert_eq!(conn.roundtrip(post(TARGET, &[], BODY)).status, 200);
            collector.expect(count);
        }
        collector.resources.take()
    };
    let named = OsStr::new("deployment.environment.name=staging,service.version=mine");
    let (one, other) = (sent_by(&[]), sent_by(&[("OTEL_RESOURCE_ATTRIBUTES", named)]));
    let instance = |resource: &BTreeMap<String, String>| resource["service.instance.id"].clone();
    assert_eq!(instance(&one[0]), instance(&one[1]), "one process");
    assert_ne!(instance(&one[0]), instance(&other[0]), "two processes");
    let shape: Vec<_> = instance(&one[0]).split('-').map(str::len).collect();
    assert_eq!(
        (shape.as_slice(), &instance(&one[0])[14..15]),
        (&[8, 4, 4, 4, 12][..], "4")
    );
    assert_eq!(one[0]["service.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (
            &*other[0]["deployment.environment.name"],
            &*other[0]["service.version"]
        ),
        ("staging", "mine")
    );
    let pinned = OsStr::new("service.instance.id=pod-7");
    let name = OsStr::new("widgets");
    let third = sent_by(&[("OTEL_RESOURCE_ATTRIBUTES", pinned), ("OTEL_SERVICE_NAME", name)]);
    assert_eq!(
        (&*instance(&third[0]), &*third[0]["service.name"]),
        ("pod-7", "widgets")
    );
}
