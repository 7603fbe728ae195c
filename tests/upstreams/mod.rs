//! Servers that fail, move and come back.

mod balance;
mod descriptors;
mod failover;
mod health;
mod https;
mod names;
mod overload;
mod proof;
mod retries;
mod truth;
mod unix;

use std::net::SocketAddr;

use crate::common::forms::{BODY, MEMBER, TARGET, every_route, post};
use crate::common::{Gateway, Response, Upstream};

const UP: &str = "widget_gateway_upstream_up";
const FAILURES: &str = "widget_gateway_upstream_failures_total";
const EJECTIONS: &str = "widget_gateway_upstream_ejections_total";
const RESPONSES: &str = "widget_gateway_upstream_responses_total";

/// Routes of every kind over these servers, with more keys of the upstream.
fn over(servers: &[SocketAddr], keys: &str) -> String {
    format!("{}{keys}", every_route(servers))
}

/// The same over servers as the file spells them.
fn spelled(servers: &str, keys: &str) -> String {
    over(&[], keys).replace("servers = []", &format!("servers = [{servers}]"))
}

fn call(gateway: &Gateway) -> Response {
    call_of(gateway, MEMBER)
}

fn call_of(gateway: &Gateway, member: &str) -> Response {
    gateway.ask(post(TARGET, &[], BODY.replace(MEMBER, member)))
}

/// Requests that each of them got since it was last asked.
fn shares<const N: usize>(servers: [&Upstream; N]) -> [usize; N] {
    servers.map(|server| server.take().len())
}
