//! Genuine calls, changed only in ways that mean nothing.

use super::grammar::Case;
use super::spelling::encoded;
use crate::common::forms::Rng;

pub fn case(seed: u64, index: u64) -> Case {
    let all: &[(String, String)] = accepted();
    let mut rng = Rng::new(seed.wrapping_mul(31) ^ index);
    let (query, body) = &all[(index as usize) % all.len()];
    let mut case = Case::of(query.as_bytes(), body.as_bytes());
    // The first round sends each as it is.
    if index as usize >= all.len() {
        for _ in 0..=rng.below(5) {
            disguise(&mut rng, &mut case);
        }
    }
    case
}

/// Query and body of every form that has to be accepted.
fn accepted() -> &'static [(String, String)] {
    static ALL: std::sync::OnceLock<Vec<(String, String)>> = std::sync::OnceLock::new();
    ALL.get_or_init(|| {
        let read = |fixtures: &str| -> Vec<serde_json::Value> { serde_json::from_str(fixtures).unwrap() };
        let is_form = |case: &serde_json::Value| {
            let media_type = case["headers"]["Content-Type"].as_str();
            media_type.is_some_and(|given| given.starts_with("application/x-www-form-urlencoded"))
        };
        let kinds = ["placement", "event", "robot", "own"];
        let mut cases = read(include_str!("../fixtures/widgets.json"));
        cases.retain(|case| case["expect"]["outcome"] == "accept");
        let mut messages = read(include_str!("../fixtures/messages.json"));
        messages
            .retain(|case| kinds.contains(&case["expect"]["accepts_all"].as_str().unwrap()) && is_form(case));
        let accepted = cases.iter().chain(&messages);
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let all: Vec<_> = accepted
            .map(|case| {
                let query = text(&case["path"])
                    .split_once('?')
                    .map_or(String::new(), |(_, query)| query.to_owned());
                (query, text(&case["body"]))
            })
            .collect();
        assert_eq!(all.len(), 23 + 39);
        all
    })
}

fn disguise(rng: &mut Rng, case: &mut Case) {
    match rng.below(12) {
        0 => each_pair(case, |pair| encoded_pair(rng, pair)),
        1 => each_pair(case, |pair| {
            pair.iter()
                .map(|&b| if b == b'+' { b' ' } else { b })
                .flat_map(space)
                .collect()
        }),
        2 => shuffle(rng, &mut case.query),
        3 => shuffle(rng, &mut case.body),
        4 => {
            // The query has to stay within the request line.
            if let Some(at) = case.body.iter().position(|pair| pair.len() < 200) {
                let pair = case.body.remove(at);
                case.query.push(pair);
            }
        }
        5 => {
            if let Some(pair) = case.query.pop() {
                case.body.push(pair);
            }
        }
        6 => {
            // An equal repeat, exactly spelled, is no second opinion.
            let pairs: Vec<_> = case
                .query
                .iter()
                .chain(&case.body)
                .filter(|pair| pair.len() < 200)
                .cloned()
                .collect();
            if !pairs.is_empty() {
                let at = rng.below(pairs.len());
                let again = encoded_pair(rng, &pairs[at]);
                if rng.one_in(2) {
                    case.query.push(again)
                } else {
                    case.body.push(again)
                }
            }
        }
        7 => {
            const UNKNOWN: [&[u8]; 14] = [
                b"x=1",
                b"utm_source=b24",
                b"x[]=1",
                b"x[a]=1",
                b"",
                b"a.b=c",
                b"MEMBER_ID=x",
                b"domain=x",
                b"x=%ff",
                b"x=%",
                b"new_field",
                b"data%5Bauth%5D%5Bmember_id%5D=x",
                b"x;y=z",
                b"member-id=x",
            ];
            let pair = rng.pick(&UNKNOWN).to_vec();
            if rng.one_in(2) {
                case.query.push(pair)
            } else {
                case.body.push(pair)
            }
        }
        8 => case.cookies.push(
            rng.pick(&[
                &b"PHPSESSID=abc"[..],
                b"theme=dark",
                b"BITRIX_SM_LOGIN=x%20y",
                b"a=b=c",
            ])
            .to_vec(),
        ),
        9 => {
            case.types = rng
                .pick(&[
                    ["application/x-www-form-urlencoded; charset=utf-8"],
                    ["application/x-www-form-urlencoded;charset=UTF-8"],
                    ["Application/X-WWW-Form-Urlencoded"],
                ])
                .to_vec();
        }
        10 => case.chunked = true,
        _ => case.headers.push(rng.pick(&[
            "Accept: text/html",
            "Origin: null",
            "Sec-Fetch-Dest: iframe",
            "DNT: 1",
        ])),
    }
}

fn space(b: u8) -> Vec<u8> {
    if b == b' ' { b"%20".to_vec() } else { vec![b] }
}

fn each_pair(case: &mut Case, mut change: impl FnMut(&[u8]) -> Vec<u8>) {
    for pair in case.query.iter_mut().chain(&mut case.body) {
        *pair = change(pair);
    }
}

/// Name and value each percent-encoded here and there.
fn encoded_pair(rng: &mut Rng, pair: &[u8]) -> Vec<u8> {
    match pair.iter().position(|&b| b == b'=') {
        Some(at) => [
            encoded(rng, &pair[..at], 5),
            b"=".to_vec(),
            encoded(rng, &pair[at + 1..], 5),
        ]
        .concat(),
        None => encoded(rng, pair, 5),
    }
}

fn shuffle(rng: &mut Rng, pairs: &mut [Vec<u8>]) {
    for at in (1..pairs.len()).rev() {
        pairs.swap(at, rng.below(at + 1));
    }
}
