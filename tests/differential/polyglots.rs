//! One message inside another: for each pair of kinds, a piece of the one is put into a sound message of the
//! other, in every spelling, at every place. Whatever is still forwarded, real PHP and the handlers' reading
//! orders find no second portal in it.

use std::collections::BTreeMap;
use std::sync::Mutex;

use super::bench::{Became, Bench, Worker};
use super::grammar::Case;
use super::nested::{WAYS, way};
use crate::common::forms::{BODY, MEMBER, OTHER_MEMBER, QUERY};
use crate::common::shown;

/// A sound message of each kind, of one portal.
fn messages() -> [(&'static str, Case); 5] {
    let auth = format!(
        "auth%5Bmember_id%5D={MEMBER}&auth[domain]=portal.bitrix24.com\
         &auth[client_endpoint]=https://portal.bitrix24.com/rest/&auth[status]=F"
    );
    let of = |query: &str, body: String| Case::of(query.as_bytes(), body.as_bytes());
    [
        ("placement", of(QUERY, BODY.to_owned())),
        ("placement, posted again", of(QUERY, format!("{BODY}&{auth}"))),
        (
            "event",
            of("", format!("event=ONAPPINSTALL&data[VERSION]=1&{auth}")),
        ),
        ("robot", of("", format!("event_token=1&workflow_id=2&{auth}"))),
        ("own", of("action=save", "page=2".to_owned())),
    ]
}

/// What another message, of another portal, would have.
const PIECES: [&[(&str, &str)]; 9] = [
    &[("auth[member_id]", OTHER_MEMBER)],
    &[("auth[domain]", "evil.example")],
    &[("auth[client_endpoint]", "https://evil.example/rest/")],
    &[
        ("event", "ONAPPINSTALL"),
        ("auth[domain]", "evil.example"),
        ("auth[member_id]", OTHER_MEMBER),
    ],
    &[
        ("event_token", "1"),
        ("auth[domain]", "evil.example"),
        ("auth[member_id]", OTHER_MEMBER),
    ],
    &[("PLACEMENT", "DEFAULT"), ("DOMAIN", "evil.example")],
    &[("member_id", OTHER_MEMBER)],
    &[("DOMAIN", "evil.example")],
    &[("event_token", "1"), ("event", "ONAPPUNINSTALL")],
];

const PLACES: [&str; 5] = [
    "query, first",
    "query, last",
    "body, first",
    "body, last",
    "cookie",
];

/// The message with the piece in it, each name spelled in the same way.
fn smuggled(message: &Case, piece: &[(&str, &str)], spell: impl Fn(&[u8]) -> Vec<u8>, place: &str) -> Case {
    let mut case = message.clone();
    for (name, value) in piece {
        let pair = [&spell(name.as_bytes())[..], b"=", value.as_bytes()].concat();
        match place {
            "query, first" => case.query.insert(0, pair),
            "query, last" => case.query.push(pair),
            "body, first" => case.body.insert(0, pair),
            "body, last" => case.body.push(pair),
            _ => {
                let mut crumb = pair;
                crumb.retain(|&b| b > b' ' && b != 0x7f && b != b';');
                case.cookies.push(crumb);
            }
        }
    }
    case
}

/// Every piece in every message, at every place, plainly spelled and in each of the ways; with the kind of the
/// message.
pub fn all() -> Vec<(&'static str, Case)> {
    let mut all = Vec::new();
    for spelling in std::iter::once(None).chain((0..WAYS).map(Some)) {
        let spell = |name: &[u8]| match spelling {
            Some(number) => way(number, name),
            None => name.to_vec(),
        };
        for (kind, message) in messages() {
            for piece in PIECES {
                let at = |place| (kind, smuggled(&message, piece, spell, place));
                all.extend(PLACES.map(at));
            }
        }
    }
    assert_eq!(all.len(), (WAYS + 1) * 5 * PIECES.len() * PLACES.len());
    all
}

#[test]
fn no_message_hides_in_another() {
    let bench = Bench::of_all_messages();
    let counts = Mutex::new(BTreeMap::new());
    let all = all();
    std::thread::scope(|scope| {
        for half in 0..2 {
            let mut worker = bench.worker();
            let (all, counts) = (&all, &counts);
            scope.spawn(move || {
                for (kind, case) in all.iter().skip(half).step_by(2) {
                    let became = one(&mut worker, case, kind);
                    *counts.lock().unwrap().entry(became).or_insert(0) += 1;
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    println!("{counts:?}");
    assert_eq!(counts.values().sum::<usize>(), all.len());
}

fn one(worker: &mut Worker<'_>, case: &Case, kind: &str) -> String {
    match worker.run(case) {
        Became::Forwarded { disagreements } => {
            assert_eq!(disagreements, [""; 0], "{kind}: {}", shown(&case.bytes()));
            "forwarded".to_owned()
        }
        Became::Refused { code, .. } => code,
    }
}

/// Plainly spelled, in the form, none of the pieces is ever harmless: it is refused as ambiguous, unless it
/// is the whole of another kind's message and the page's own request said nothing before.
#[test]
fn a_plain_piece_of_another_portal_is_ambiguous() {
    let bench = Bench::of_all_messages();
    let mut worker = bench.worker();
    for (kind, message) in messages() {
        for piece in PIECES {
            for place in &PLACES[..4] {
                let case = smuggled(&message, piece, <[u8]>::to_vec, place);
                let became = worker.run(&case);
                let says = |name: &str| piece.iter().any(|(known, _)| *known == name);
                let expected = match kind {
                    // Nothing else says whose it is.
                    "own" if says("PLACEMENT") => Some("missing_field"),
                    "own" if says("auth[domain]") => None,
                    "own" if says("auth[member_id]") || says("auth[client_endpoint]") => {
                        Some("missing_field")
                    }
                    "own" => None,
                    // A call has no endpoint to say otherwise; where it would lead is looked at.
                    "placement" if says("auth[client_endpoint]") => Some("invalid_field"),
                    // Without `auth` they claim nothing.
                    "placement" if piece.len() == 2 && says("event_token") && says("event") => None,
                    _ => Some("ambiguous_field"),
                };
                assert_eq!(
                    became.refused_as(),
                    expected,
                    "{kind}, {place}: {}",
                    shown(&case.bytes())
                );
                assert!(!became.disagrees(), "{became}");
            }
        }
    }
}

/// An event in what says that it is JSON, plainly spelled and in each of the ways: b24phpsdk reads the raw body as
/// a form, whatever its type.
pub fn in_json() -> Vec<Case> {
    let names = ["auth[member_id]", "auth[domain]", "auth[client_endpoint]"];
    let values = [OTHER_MEMBER, "evil.example", "https://evil.example/rest/"];
    let mut all = Vec::new();
    for spelling in std::iter::once(None).chain((0..WAYS).map(Some)) {
        let mut event = b"event=ONCRMDEALADD&ts=1756890123".to_vec();
        for (name, value) in names.iter().zip(values) {
            let name = match spelling {
                Some(number) => way(number, name.as_bytes()),
                None => name.as_bytes().to_vec(),
            };
            event = [&event, &b"&"[..], &name, b"=", value.as_bytes()].concat();
        }
        let within = [&b"{\"text\":\"&"[..], &event, b"&\"}"].concat();
        for body in [event, within] {
            let mut case = Case::of(b"", &body);
            case.types = vec!["application/json"];
            all.push(case);
        }
    }
    all
}

#[test]
fn no_event_hides_in_json() {
    let bench = Bench::of_all_messages();
    let mut worker = bench.worker();
    for (at, case) in in_json().iter().enumerate() {
        let became = worker.run(case);
        let what = shown(&case.bytes());
        assert!(!became.disagrees(), "{what}: {became}");
        if at < 2 {
            assert_eq!(became.refused_as(), Some("ambiguous_field"), "{what}");
        }
    }
    // JSON that has a form's text in it, with no identity of anybody.
    for body in [
        "{\"page\":\"/?a=1&event=open&auth=no&author[id]=7\"}",
        "{\"auth[member_id]\":1}",
        "[]",
    ] {
        let mut case = Case::of(b"", body.as_bytes());
        case.types = vec!["application/json"];
        assert_eq!(worker.run(&case).refused_as(), None, "{body}");
    }
}
