//! The decision table: mode, fault, limit and cookie rule, each with each.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::config::{self, Snapshot};
use crate::policy::limit::KeyTables;
use crate::policy::limit::PolicyName;

const QUERY: &str = "DOMAIN=portal.bitrix24.com&PROTOCOL=1&LANG=en";
const MEMBER: &str = "member_id=3f7a90c1d2e45b68a0719cbe8d243f56";

fn snapshot(mode: &str, cookies: &str) -> Snapshot {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:1\"]\n[[routes]]\npath = \"/\"\nkind = \"widget\"\nmode = \"{mode}\"\n\
         upstream = \"u\"\n[upstreams.u]\nservers = [\"127.0.0.1:2\"]\n[widget]\ncookies = \"{cookies}\"\n\
         [limits.member]\nrate = \"1/h\"\n"
    );
    std::fs::write(&file, text).unwrap();
    let loaded = config::read(&file).unwrap();
    let tables = KeyTables::new(10);
    Snapshot::build(loaded, None, &HashMap::default(), &tables, Duration::ZERO)
}

/// The second of two calls of a member that may have one an hour, or the first.
fn decided(env: &Env, body: &str, is_second: bool) -> Decision {
    let head = format!(
        "POST /?{QUERY} HTTP/1.1\r\nHost: h\r\nContent-Type: application/x-www-form-urlencoded\r\n\
         Content-Length: {}\r\nCookie: a=1; member.id=other\r\n\r\n",
        body.len()
    );
    let head = RequestHead::parse(&Bytes::from(head)).unwrap();
    let peer = Peer {
        address: std::net::Ipv4Addr::LOCALHOST.into(),
        tls: false,
    };
    let caller = Caller::of(peer, &head.headers, &env.trusted, || [7; 16]);
    let once = |body: &str| {
        let routed = route(&head, &caller, Duration::ZERO, env).unwrap();
        let read = read(routed, &head, body.as_bytes(), env);
        let decided = decide(read, None, peer, &caller, Duration::ZERO, env);
        decided.unwrap_or_else(|_| panic!("there is no store to wait for"))
    };
    if is_second {
        once(&format!("{MEMBER}&PLACEMENT=DEFAULT"));
    }
    once(body)
}

fn told(decision: &Decision) -> String {
    let Findings {
        would_reject, limits, ..
    } = &decision.findings;
    let mut told = match &decision.result {
        Err(rejection) => rejection.reason().code().to_owned(),
        Ok(forward) => {
            let sends = |name: &str| forward.rewrite.to_set().any(|(set, _)| set == name);
            let mut told = "forwarded".to_owned();
            for (name, word) in [("X-Bitrix24-Member-Id", "member"), ("Cookie", "cookie cut")] {
                if sends(name) {
                    _ = write!(told, ", {word}");
                }
            }
            told
        }
    };
    for rejection in would_reject {
        _ = write!(told, ", would be {}", rejection.reason().code());
    }
    if limits
        .iter()
        .any(|decision| decision.policy == PolicyName::Member)
    {
        told.push_str(", limits asked");
    }
    told
}

#[test]
fn mode_fault_limit_and_cookies_each_with_each() {
    let sound = format!("{MEMBER}&PLACEMENT=DEFAULT");
    let mut table = String::new();
    for mode in ["enforce", "observe"] {
        for cookies in ["strip", "refuse", "keep"] {
            for (call, body) in [
                ("sound", sound.clone()),
                ("missing", MEMBER.to_owned()),
                ("ambiguous", format!("{sound}&member.id=other")),
            ] {
                for (quota, is_second) in [("within", false), ("over", true)] {
                    let snapshot = snapshot(mode, cookies);
                    let decision = decided(&snapshot.env, &body, is_second);
                    _ = writeln!(table, "{mode} {cookies} {call} {quota}: {}", told(&decision));
                }
            }
        }
    }
    assert_eq!(table, include_str!("table.txt"));
}
