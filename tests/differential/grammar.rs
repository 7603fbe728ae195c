//! A seeded grammar over every quirk of PHP's form reading: spellings of names, values, repeats, both
//! parts, cookies, content types, framing.

use super::spelling::{crumb, encoded, known, noise, one_spelling, spelling, value, values};
use crate::common::forms::{KNOWN, Rng, chunked};

const FORM: &str = "application/x-www-form-urlencoded";

/// One request, in the pieces that shrinking may drop.
#[derive(Clone)]
pub struct Case {
    pub query: Vec<Vec<u8>>,
    pub body: Vec<Vec<u8>>,
    /// Crumbs of the Cookie header.
    pub cookies: Vec<Vec<u8>>,
    pub cookie_lines: bool,
    pub types: Vec<&'static str>,
    /// Whole header lines.
    pub headers: Vec<&'static str>,
    pub chunked: bool,
}

impl Case {
    pub fn of(query: &[u8], body: &[u8]) -> Case {
        let pieces = |part: &[u8]| part.split(|&b| b == b'&').map(<[u8]>::to_vec).collect::<Vec<_>>();
        Case {
            query: if query.is_empty() {
                Vec::new()
            } else {
                pieces(query)
            },
            body: if body.is_empty() { Vec::new() } else { pieces(body) },
            cookies: Vec::new(),
            cookie_lines: false,
            types: vec![FORM],
            headers: Vec::new(),
            chunked: false,
        }
    }

    pub fn query(&self) -> Vec<u8> {
        self.query.join(&b'&')
    }

    pub fn body(&self) -> Vec<u8> {
        self.body.join(&b'&')
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = b"POST /w?".to_vec();
        bytes.extend(self.query());
        bytes.extend_from_slice(b" HTTP/1.1\r\nHost: widgets.example\r\n");
        let mut line = |text: &[u8]| {
            bytes.extend_from_slice(text);
            bytes.extend_from_slice(b"\r\n");
        };
        for content_type in &self.types {
            line(format!("Content-Type: {content_type}").as_bytes());
        }
        for header in &self.headers {
            line(header.as_bytes());
        }
        if self.cookie_lines {
            self.cookies
                .iter()
                .for_each(|crumb| line(&[b"Cookie: ", &crumb[..]].concat()));
        } else if !self.cookies.is_empty() {
            line(&[b"Cookie: ", &self.cookies.join(&b"; "[..])[..]].concat());
        }
        let body = self.body();
        if self.chunked {
            line(b"Transfer-Encoding: chunked\r\n");
            bytes.extend(chunked(&body, 50));
        } else {
            line(format!("Content-Length: {}\r\n", body.len()).as_bytes());
            bytes.extend(body);
        }
        bytes
    }

    /// Drops what can be dropped while the case stays wrong.
    pub fn shrunk(&self, mut still_wrong: impl FnMut(&Case) -> bool) -> Case {
        let mut smallest = self.clone();
        loop {
            let mut candidates = Vec::new();
            for at in 0..smallest.query.len() {
                let mut smaller = smallest.clone();
                smaller.query.remove(at);
                candidates.push(smaller);
            }
            for at in 0..smallest.body.len() {
                let mut smaller = smallest.clone();
                smaller.body.remove(at);
                candidates.push(smaller);
            }
            for at in 0..smallest.cookies.len() {
                let mut smaller = smallest.clone();
                smaller.cookies.remove(at);
                candidates.push(smaller);
            }
            if smallest.chunked {
                candidates.push(Case {
                    chunked: false,
                    ..smallest.clone()
                });
            }
            if !smallest.headers.is_empty() {
                candidates.push(Case {
                    headers: Vec::new(),
                    ..smallest.clone()
                });
            }
            if smallest.types != [FORM] {
                candidates.push(Case {
                    types: vec![FORM],
                    ..smallest.clone()
                });
            }
            match candidates.into_iter().find(|smaller| still_wrong(smaller)) {
                Some(smaller) => smallest = smaller,
                None => return smallest,
            }
        }
    }
}

/// Case `index` of a seed; the same on every machine and in every order.
pub fn case(seed: u64, index: u64) -> Case {
    let mut rng = Rng::new(seed ^ index.wrapping_mul(0xd134_2543_de82_ef95));
    let mut case = base(&mut rng);
    // Mostly one quirk at a time: two often refuse each other before they are compared.
    let quirks = rng.pick(&[0, 1, 1, 1, 1, 1, 2, 2, 3, 5]);
    for _ in 0..quirks {
        quirk(&mut rng, &mut case);
    }
    case
}

fn base(rng: &mut Rng) -> Case {
    let mut case = Case::of(b"", b"");
    let place = rng.below(10);
    for name in KNOWN {
        let required = matches!(name, "DOMAIN" | "PROTOCOL" | "LANG" | "member_id" | "PLACEMENT");
        if (!required && rng.one_in(3)) || rng.one_in(60) {
            continue;
        }
        let value = values(name)[0];
        let pair = [name.as_bytes(), b"=", value].concat();
        let usual_query = matches!(name, "DOMAIN" | "PROTOCOL" | "LANG" | "APP_SID");
        let in_query = match place {
            0 => false,
            1 => true,
            2 => rng.one_in(2),
            _ => usual_query,
        };
        if in_query {
            case.query.push(pair)
        } else {
            case.body.push(pair)
        }
    }
    case
}

fn quirk(rng: &mut Rng, case: &mut Case) {
    match rng.below(20) {
        0..=5 => {
            let name = known(rng);
            let value = value(rng, name);
            let pair = [spelling(rng, name), b"=".to_vec(), value].concat();
            insert(rng, case, pair);
        }
        6..=8 => {
            let pair = noise(rng);
            insert(rng, case, pair);
        }
        9 | 10 => respell(rng, case, one_spelling),
        11 | 12 => revalue(rng, case),
        13 | 14 => repeat(rng, case),
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
        18 => case.chunked = true,
        _ => {
            if rng.one_in(3) {
                case.headers.push(rng.pick(&[
                    "Content-Encoding: gzip",
                    "Content_Type: text/plain",
                    "X-Bitrix24-Member-Id: evil",
                    "Connection: close, Content-Type",
                    "Expect: 100-continue",
                ]));
            } else {
                case.types = rng.pick(&TYPES).to_vec();
            }
        }
    }
}

const TYPES: [&[&str]; 14] = [
    &[FORM, FORM],
    &[],
    &["text/plain"],
    &["application/x-www-form-urlencoded; charset=utf-8"],
    &["application/x-www-form-urlencoded;charset=UTF-8"],
    &["APPLICATION/X-WWW-FORM-URLENCODED"],
    &["application/x-www-form-urlencoded, text/plain"],
    &["text/plain, application/x-www-form-urlencoded"],
    &["application/x-www-form-urlencoded\t;charset=utf-8"],
    &["\tapplication/x-www-form-urlencoded"],
    &["application/x-www-form-urlencoded; charset=latin1"],
    &["multipart/form-data; boundary=x"],
    &["application/x-www-form-urlencoded; boundary=x"],
    &["application/x-www-form-urlencoded;"],
];

pub fn insert(rng: &mut Rng, case: &mut Case, pair: Vec<u8>) {
    if rng.one_in(2) {
        let wire = if rng.one_in(20) { pair } else { for_target(&pair) };
        case.query.insert(rng.below(case.query.len() + 1), wire);
    } else {
        case.body.insert(rng.below(case.body.len() + 1), pair);
    }
}

/// Bytes that the front door refuses in a target would hide what the form's reader does.
fn for_target(pair: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for &b in pair {
        if b <= b' ' || b >= 0x7f || b == b'#' {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        } else {
            out.push(b);
        }
    }
    out
}

pub fn some_pair<'c>(rng: &mut Rng, case: &'c mut Case) -> Option<&'c mut Vec<u8>> {
    let all = case.query.len() + case.body.len();
    let at = rng.below(all.max(1));
    case.query.iter_mut().chain(&mut case.body).nth(at)
}

fn name_and_value(pair: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let at = pair.iter().position(|&b| b == b'=').unwrap_or(pair.len());
    (
        pair[..at].to_vec(),
        pair.get(at + 1..).unwrap_or_default().to_vec(),
    )
}

pub fn respell(rng: &mut Rng, case: &mut Case, spell: impl FnOnce(&mut Rng, Vec<u8>) -> Vec<u8>) {
    let mut own = rng.clone();
    if let Some(pair) = some_pair(rng, case) {
        let (name, value) = name_and_value(pair);
        *pair = for_target(&[spell(&mut own, name), b"=".to_vec(), value].concat());
    }
}

pub fn revalue(rng: &mut Rng, case: &mut Case) {
    let mut own = rng.clone();
    if let Some(pair) = some_pair(rng, case) {
        let (name, _) = name_and_value(pair);
        let known = std::str::from_utf8(&name).unwrap_or("AUTH_ID");
        let value = value(&mut own, known);
        *pair = for_target(&[name, b"=".to_vec(), value].concat());
    }
}

/// The same pair again, sometimes written in another way that means the same.
fn repeat(rng: &mut Rng, case: &mut Case) {
    let mut own = rng.clone();
    let Some(pair) = some_pair(rng, case) else { return };
    let (name, value) = name_and_value(pair);
    let again = match own.below(3) {
        0 => pair.clone(),
        1 => [encoded(&mut own, &name, 3), b"=".to_vec(), value].concat(),
        _ => [name, b"=".to_vec(), encoded(&mut own, &value, 3)].concat(),
    };
    insert(&mut own, case, again);
}
