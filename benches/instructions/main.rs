//! The hot functions of a request, each called under one name that valgrind can find: `run` beside
//! this file counts their instructions. `instructions NAME` makes the calls, without a name it lists all.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    missing_docs,
    reason = "benches"
)]

#[path = "../functions/calls.rs"]
mod calls;

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use calls::{BODY, PEER, QUERY, env, head, headers, limiter, member, quota, read, told};
use widget_gateway::pipeline::{self, decide, route};
use widget_gateway::request::cookie::{self, PlainAuth};
use widget_gateway::request::field::ServerEndpoints;
use widget_gateway::request::form::Form;
use widget_gateway::request::head::{HeadScan, RequestHead, Target};
use widget_gateway::response::problem::problem;
use widget_gateway::upstream::caller::{Caller, TrustedProxies};
use widget_gateway::upstream::headers::{on_pass_route, on_widget_route};

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Enough that what happens once (a page of memory, a first growth) does not show.
const WARM_UP: usize = 50;
/// The script divides by it.
const CALLS: usize = 100;

/// The one place where valgrind counts: the call, and the end of what it returned.
#[inline(never)]
fn measured<T>(call: impl FnOnce() -> T) {
    drop(black_box(call()));
}

fn repeat<T>(mut call: impl FnMut() -> T) {
    for _ in 0..WARM_UP {
        drop(black_box(call()));
    }
    for _ in 0..CALLS {
        measured(&mut call);
    }
}

/// A genuine head as it comes on a connection.
fn raw_head() -> String {
    let lines: String = headers(BODY.len())
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()))
        .collect();
    format!("POST /?{QUERY} HTTP/1.1\r\n{lines}\r\n")
}

fn caller() -> Caller {
    Caller::of(PEER, &headers(BODY.len()), &TrustedProxies::default(), || [7; 16])
}

fn head_scan() {
    let head = raw_head();
    repeat(|| HeadScan::default().advance(black_box(head.as_bytes())).unwrap());
}

fn head_parse() {
    let head = Bytes::from(raw_head());
    repeat(|| RequestHead::parse(black_box(&head)).unwrap());
}

fn target() {
    let raw = Bytes::from(format!("/?{QUERY}"));
    repeat(|| drop(Target::parse(black_box(raw.clone())).unwrap()));
}

fn form() {
    repeat(|| drop(Form::parse(black_box(QUERY.as_bytes()), black_box(BODY.as_bytes()), 1000).unwrap()));
}

fn form_with_large_options() {
    let body = calls::body_with_options(64 * 1024);
    repeat(|| drop(Form::parse(black_box(QUERY.as_bytes()), black_box(body.as_bytes()), 1000).unwrap()));
}

fn form_of_1000_foreign_names() {
    let body = format!("{BODY}{}", "&field=value".repeat(989));
    repeat(|| drop(Form::parse(black_box(QUERY.as_bytes()), black_box(body.as_bytes()), 1000).unwrap()));
}

fn validation() {
    let form = Form::parse(QUERY.as_bytes(), BODY.as_bytes(), 1000).unwrap();
    let endpoints = ServerEndpoints::default();
    repeat(|| read(black_box(&form), &endpoints).unwrap());
}

fn member_id_display() {
    let member = member(7);
    repeat(|| black_box(&member).to_string());
}

fn cookie_crumb() {
    repeat(|| cookie::shadows(black_box(b" PHPSESSID=k3v9m2n8b7c6x5z4"), PlainAuth::Harmless));
}

fn limiter_admit() {
    let (limiter, _) = limiter(quota(1_000_000));
    let members: Vec<_> = (0..10_000).map(member).collect();
    for member in &members {
        let _ = limiter.check(member, Duration::ZERO);
    }
    // Each at another place: where one lies depends on the table's random seed.
    let mut asked = members.iter().cycle();
    repeat(|| limiter.check(black_box(asked.next().unwrap()), Duration::from_millis(1)));
}

fn headers_on_pass_route() {
    let (given, caller) = (headers(BODY.len()), caller());
    repeat(|| on_pass_route(PEER, &caller, black_box(&given)));
}

fn headers_on_widget_route() {
    let (given, caller) = (headers(BODY.len()), caller());
    let form = Form::parse(QUERY.as_bytes(), BODY.as_bytes(), 1000).unwrap();
    let call = read(&form, &ServerEndpoints::default()).unwrap();
    repeat(|| on_widget_route(PEER, &caller, &given, told(black_box(&call), BODY.len())));
}

fn pipeline_open() {
    let (env, given, target) = (env(quota(1_000_000)), headers(BODY.len()), format!("/?{QUERY}"));
    let head = head(&target, &given);
    let caller = caller();
    repeat(|| route(black_box(&head), &caller, Duration::ZERO, &env).unwrap());
}

fn decided(body: &str, is_forwarded: bool) {
    let (env, given, target) = (env(quota(1_000_000)), headers(body.len()), format!("/?{QUERY}"));
    let head = head(&target, &given);
    let caller = caller();
    let mut now = Duration::from_secs(1);
    repeat(|| {
        now += Duration::from_millis(1);
        let routed = route(&head, &caller, now, &env).unwrap();
        let read = pipeline::read(routed, &head, black_box(body.as_bytes()), &env);
        let decision = decide(read, None, PEER, &caller, now, &env).ok().unwrap();
        assert_eq!(decision.result.is_ok(), is_forwarded);
        decision
    });
}

fn missing() -> String {
    BODY.replace("&PLACEMENT=CRM_DEAL_DETAIL_TAB", "")
}

fn ambiguous() -> String {
    format!("{BODY}&member.id=b81c0d9e7f6a45321908fedcba765432")
}

fn refusal() -> widget_gateway::response::rejection::Rejection {
    let (env, body, target) = (env(quota(1)), missing(), format!("/?{QUERY}"));
    let given = headers(body.len());
    let head = head(&target, &given);
    let caller = caller();
    let routed = route(&head, &caller, Duration::ZERO, &env).unwrap();
    let read = pipeline::read(routed, &head, body.as_bytes(), &env);
    let decided = decide(read, None, PEER, &caller, Duration::ZERO, &env).ok();
    decided.unwrap().result.err().unwrap()
}

const REQUEST_ID: &str = "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a";

fn problem_document() {
    let refusal = refusal();
    repeat(|| problem(black_box(&refusal), REQUEST_ID));
}

const FUNCTIONS: [(&str, fn()); 17] = [
    ("head::HeadScan", head_scan),
    ("head::RequestHead::parse", head_parse),
    ("head::Target::parse", target),
    ("pipeline::route", pipeline_open),
    ("form::Form::parse", form),
    ("form::Form::parse, options of 64 KiB", form_with_large_options),
    ("form::Form::parse, 1000 parameters", form_of_1000_foreign_names),
    ("validate::validate", validation),
    ("field::MemberId to text", member_id_display),
    ("cookie::shadows", cookie_crumb),
    ("limit::Limiter::check, 10 000 members", limiter_admit),
    ("headers::on_pass_route", headers_on_pass_route),
    ("headers::on_widget_route", headers_on_widget_route),
    ("route, read and decide, accepted", || decided(BODY, true)),
    ("route, read and decide, missing field", || {
        decided(&missing(), false)
    }),
    ("route, read and decide, ambiguous field", || {
        decided(&ambiguous(), false)
    }),
    ("problem::problem", problem_document),
];

fn main() {
    let wanted = std::env::args()
        .nth(1)
        .filter(|argument| !argument.starts_with("--"));
    match wanted {
        None => FUNCTIONS.iter().for_each(|(name, _)| println!("{name}\t{CALLS}")),
        Some(wanted) => {
            let (_, function) = FUNCTIONS.iter().find(|(name, _)| *name == wanted).unwrap();
            function();
        }
    }
}
