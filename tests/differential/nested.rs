//! The grammar over names that are paths: messages of every kind, with quirks of their brackets, of the places
//! in which they stand, and with pieces of another kind of message in them.

use super::grammar::{Case, insert, respell, revalue, some_pair};
use super::spelling::{self, encoded, value, values};
use crate::common::forms::{KNOWN, Rng};

/// Everything under `auth` that a genuine message has, and what nobody here knows.
const UNDER_AUTH: [&str; 12] = [
    "auth[member_id]",
    "auth[domain]",
    "auth[client_endpoint]",
    "auth[server_endpoint]",
    "auth[access_token]",
    "auth[refresh_token]",
    "auth[application_token]",
    "auth[expires_in]",
    "auth[scope]",
    "auth[status]",
    "auth[user_id]",
    "auth[x][y]",
];

/// Case `index` of a seed; the same on every machine and in every order.
pub fn case(seed: u64, index: u64) -> Case {
    let mut rng = Rng::new(seed ^ index.wrapping_mul(0x9e6c_63d0_876a_3f6b));
    let mut case = base(&mut rng);
    for _ in 0..rng.pick(&[0, 1, 1, 1, 1, 1, 2, 2, 3, 4]) {
        quirk(&mut rng, &mut case);
    }
    case
}

fn pair(name: &str) -> Vec<u8> {
    [name.as_bytes(), b"=", values(name)[0]].concat()
}

fn base(rng: &mut Rng) -> Case {
    let mut case = Case::of(b"", b"");
    let kind = rng.below(8);
    if kind < 3 {
        for name in KNOWN {
            let in_address = matches!(name, "DOMAIN" | "PROTOCOL" | "LANG" | "APP_SID");
            if in_address {
                case.query.push(pair(name));
            } else {
                case.body.push(pair(name));
            }
        }
    }
    match kind {
        3 | 4 => case.body.push(pair("event")),
        5 => case
            .body
            .extend([pair("event_token"), b"workflow_id=65d4".to_vec()]),
        6 => case.body.push(b"page=2".to_vec()),
        7 => case.query.push(pair("DOMAIN")),
        _ => {}
    }
    // A call has it where the page posts it again.
    if matches!(kind, 2..=5) {
        for name in UNDER_AUTH {
            let is_needed = matches!(name, "auth[member_id]" | "auth[domain]");
            if !is_needed && rng.one_in(3) || rng.one_in(40) {
                continue;
            }
            case.body.push(plain(rng, name));
        }
    }
    case
}

/// As `http_build_query` spells it, or with its brackets as they are.
fn plain(rng: &mut Rng, name: &str) -> Vec<u8> {
    let pair = pair(name);
    match rng.below(3) {
        0 => pair,
        _ => {
            let at = pair.iter().position(|&b| b == b'=').unwrap();
            let mut out = Vec::new();
            for &b in &pair[..at] {
                match b {
                    b'[' => out.extend_from_slice(b"%5B"),
                    b']' => out.extend_from_slice(b"%5D"),
                    b => out.push(b),
                }
            }
            [&out[..], &pair[at..]].concat()
        }
    }
}

fn name(rng: &mut Rng) -> &'static str {
    match rng.below(10) {
        0..=2 => "auth[member_id]",
        3 | 4 => "auth[domain]",
        5 => rng.pick(&["event", "event_token", "workflow_id"]),
        6 => rng.pick(&[
            "member_id",
            "DOMAIN",
            "PLACEMENT",
            "PLACEMENT_OPTIONS",
            "SERVER_ENDPOINT",
        ]),
        7 => "auth",
        _ => rng.pick(&UNDER_AUTH),
    }
}

fn quirk(rng: &mut Rng, case: &mut Case) {
    match rng.below(20) {
        0..=6 => {
            let name = name(rng);
            let value = value(rng, name);
            let pair = [spelled(rng, name), b"=".to_vec(), value].concat();
            insert(rng, case, pair);
        }
        7..=9 => respell(rng, case, |rng, name| bracketed(rng, &name)),
        10 | 11 => revalue(rng, case),
        12 | 13 => {
            let mut own = rng.clone();
            if let Some(pair) = some_pair(rng, case) {
                let again = if own.one_in(2) {
                    pair.clone()
                } else {
                    encoded(&mut own, pair, 6)
                };
                insert(&mut own, case, again);
            }
        }
        14 => {
            let (from, to) = match rng.below(2) {
                0 => (&mut case.query, &mut case.body),
                _ => (&mut case.body, &mut case.query),
            };
            if !from.is_empty() {
                to.push(from.remove(rng.below(from.len())));
            }
        }
        15 => {
            let parts = [&mut case.query, &mut case.body];
            let part = parts.into_iter().nth(rng.below(2)).unwrap();
            if !part.is_empty() {
                part.remove(rng.below(part.len()));
            }
        }
        16 | 17 => {
            for _ in 0..=rng.below(2) {
                let crumb = crumb(rng);
                case.cookies.push(crumb);
            }
            case.cookie_lines = rng.one_in(2);
        }
        18 => {
            const NOISE: [&[u8]; 14] = [
                b"data[FIELDS][ID]=1",
                b"data%5BPARAMS%5D%5BMESSAGE%5D=a%26b%3Dc",
                b"data[auth][member_id]=evil",
                b"data[BOT][1][member_id]=evil",
                b"properties[event]=x",
                b"document_id[0]=crm",
                b"ts=1756890123",
                b"event_handler_id=7",
                b"auth_member_id=evil",
                b"Auth[member_id]=evil",
                b"auth.member_id=evil",
                b"xauth[member_id]=evil",
                b"authorization[member_id]=evil",
                b"use_subscription=Y",
            ];
            let pair = rng.pick(&NOISE).to_vec();
            insert(rng, case, pair);
        }
        _ => match rng.below(3) {
            0 => case.types = vec!["application/json"],
            1 => case.types = vec!["application/x-www-form-urlencoded;"],
            _ => case.chunked = true,
        },
    }
}

pub fn spelled(rng: &mut Rng, name: &str) -> Vec<u8> {
    let mut spelled = name.as_bytes().to_vec();
    for _ in 0..rng.pick(&[0, 0, 1, 1, 1, 2]) {
        spelled = bracketed(rng, &spelled);
    }
    spelled
}

/// How many ways [`way`] knows.
pub const WAYS: usize = 34;

/// Another way to write a name with brackets.
fn bracketed(rng: &mut Rng, name: &[u8]) -> Vec<u8> {
    if rng.one_in(4) {
        return spelling::one_spelling(rng, name.to_vec());
    }
    way(rng.below(WAYS), name)
}

/// Each way by its number.
pub fn way(number: usize, name: &[u8]) -> Vec<u8> {
    let swap = |from: u8, to: &[u8]| {
        let each = name
            .iter()
            .map(|&b| if b == from { to.to_vec() } else { vec![b] });
        each.collect::<Vec<_>>().concat()
    };
    let before = |prefix: &[u8]| [prefix, name].concat();
    let after = |suffix: &[u8]| [name, suffix].concat();
    match number {
        0 => swap(b'[', b"%5B"),
        1 => swap(b']', b"%5d"),
        2 => swap(b'[', b"[["),
        3 => swap(b']', b"]]"),
        4 => swap(b'[', b"[+"),
        5 => swap(b'[', b"[%20"),
        6 => swap(b']', b"+]"),
        7 => swap(b'[', b"[%00"),
        8 => swap(b']', b"%00]"),
        9 => swap(b']', b""),
        10 => swap(b'[', b""),
        11 => swap(b'[', b"]["),
        12 => swap(b'[', b"."),
        13 => swap(b'[', b"_"),
        14 => swap(b'[', b"x["),
        15 => swap(b'[', b"+["),
        16 => swap(b'[', b".["),
        17 => swap(b'[', b"%00["),
        18 => before(b"+"),
        19 => before(b"%20+"),
        20 => before(b"["),
        21 => before(b"x;"),
        22 => before(b"%00"),
        23 => after(b"[]"),
        24 => after(b"[x]"),
        25 => after(b"[x"),
        26 => after(b"x"),
        27 => after(b"%00"),
        28 => after(b"%00[x]"),
        29 => after(b"]"),
        30 => after(b"[+]"),
        31 => after("[a]".repeat(65).as_bytes()),
        32 => [b"[", name, b"]"].concat(),
        _ => swap(b'_', b"."),
    }
}

pub fn crumb(rng: &mut Rng) -> Vec<u8> {
    let name = name(rng);
    let mut crumb = spelled(rng, name);
    crumb.retain(|&b| b >= b' ' && b != 0x7f && b != b';');
    crumb.extend_from_slice(rng.pick(&[&b"=evil"[..], b"=", b"", b"=a=b"]));
    crumb
}
