//! How names, values, cookies and noise may be written: the words of the grammar.

use crate::common::forms::{KNOWN, Rng};

/// `member_id` most of all: it is the limit's key.
pub fn known(rng: &mut Rng) -> &'static str {
    if rng.one_in(3) {
        "member_id"
    } else {
        rng.pick(&KNOWN)
    }
}

/// Values of a name: the first is sound, the rest is not, or is another one.
pub fn values(name: &str) -> &'static [&'static [u8]] {
    match name {
        "DOMAIN" => &[
            b"Portal.bitrix24.com",
            b"evil.example",
            b"a.b:8443",
            b"https://a.b/",
            b"[::1]",
        ],
        "PROTOCOL" => &[b"1", b"0", b"2", b"01"],
        "LANG" => &[b"en", b"de", b"zh_TW", b"1"],
        "member_id" => &[
            b"3f7a90c1d2e45b68a0719cbe8d243f56",
            b"b81c0d9e7f6a45321908fedcba765432",
            b"3F7A90C1D2E45B68A0719CBE8D243F56",
            b"decoy",
        ],
        "PLACEMENT" => &[b"DEFAULT", b"CRM_DEAL_DETAIL_TAB", b"<b>"],
        "PLACEMENT_OPTIONS" => &[
            b"%7B%22ID%22%3A%22717%22%7D",
            b"%7B%22a%22%3A1%7D",
            b"[1]",
            b"%22x%22",
            b"{",
            b"%ff",
        ],
        "APP_SID" => &[b"5d41402abc4b2a76b9719d911017c592", b"other-sid"],
        "status" => &[b"L", b"F", b"L1"],
        "AUTH_EXPIRES" => &[b"3600", b"60", b"soon"],
        "SERVER_ENDPOINT" | "auth[server_endpoint]" => &[
            b"https%3A%2F%2Foauth.bitrix.info%2Frest%2F",
            b"https://evil.example/",
        ],
        "auth[member_id]" => &[
            b"3f7a90c1d2e45b68a0719cbe8d243f56",
            b"b81c0d9e7f6a45321908fedcba765432",
            b"decoy",
        ],
        "auth[domain]" => &[
            b"portal.bitrix24.com",
            b"PORTAL.bitrix24.com:",
            b"evil.example",
            b"https://portal.bitrix24.com/",
        ],
        "auth[client_endpoint]" => &[
            b"https%3A%2F%2Fportal.bitrix24.com%2Frest%2F",
            b"http://Portal.bitrix24.com:8080/rest/",
            b"https://portal.bitrix24.com@evil.example/",
            b"https://evil.example/rest/",
        ],
        "event" => &[b"ONAPPINSTALL", b"ONCRMDEALADD", b"x%20y"],
        "event_token" => &[b"65a1%7CA12%7Chash", b"other"],
        _ => &[
            b"8f21aa66007b3c110058f18a00000001",
            b"other+token",
            b"c4ca4238a0b923820dcc509a6f75849b",
        ],
    }
}

pub fn value(rng: &mut Rng, name: &str) -> Vec<u8> {
    let sound = if rng.one_in(2) {
        values(name)[0]
    } else {
        rng.pick(values(name))
    };
    let mut value = sound.to_vec();
    match rng.below(24) {
        0 => value.clear(),
        1 => value = b"+%20%09".to_vec(),
        2 => value = encoded(rng, &value, 2),
        3 => value = encoded(rng, &value, 1),
        4 => value.extend_from_slice(b"%"),
        5 => value.extend_from_slice(b"%4"),
        6 => value.extend_from_slice(b"%zz"),
        7 => value.extend_from_slice(b"%u0041"),
        8 => value.extend_from_slice(b"%ff"),
        9 => value.push(0xff),
        10 => value.extend_from_slice(b"%00"),
        11 => value.push(0),
        12 => value.extend_from_slice(b"%0d%0aX: y"),
        13 => value.extend_from_slice(b";member_id=evil"),
        14 => value.extend_from_slice(b"=x"),
        15 => value.extend_from_slice(b"+"),
        16 => value.extend_from_slice(b"%20"),
        17 => value.extend_from_slice(b"%C0%AF"),
        18 => value.extend_from_slice("\u{e9}".as_bytes()),
        19 => value.extend_from_slice(b"%C3%A9"),
        // PHP reads its input in blocks of 8192 bytes.
        20 if rng.one_in(8) => value.extend(vec![b'x'; 8100 + rng.below(200)]),
        _ => {}
    }
    value
}

/// Ways to write a name, or something close to it.
pub fn spelling(rng: &mut Rng, name: &str) -> Vec<u8> {
    let mut spelled = name.as_bytes().to_vec();
    for _ in 0..rng.pick(&[0, 1, 1, 1, 2]) {
        spelled = one_spelling(rng, spelled);
    }
    spelled
}

pub fn one_spelling(rng: &mut Rng, name: Vec<u8>) -> Vec<u8> {
    let swap = |to: &[u8]| {
        let mut out = Vec::new();
        name.iter().for_each(|&b| {
            if b == b'_' {
                out.extend_from_slice(to)
            } else {
                out.push(b)
            }
        });
        out
    };
    let before = |prefix: &[u8]| [prefix, &name].concat();
    let after = |suffix: &[u8]| [&name[..], suffix].concat();
    match rng.below(44) {
        0 | 1 => encoded(rng, &name, 4),
        2 => encoded(rng, &name, 1),
        3 => swap(b"."),
        4 => swap(b"+"),
        5 => swap(b"%20"),
        6 => swap(b" "),
        7 => swap(b"["),
        8 => swap(b"%5B"),
        9 => swap(b"%2e"),
        10 => swap(b"-"),
        11 => before(b"+"),
        12 => before(b"%20%20"),
        13 => before(b" "),
        14 => before(b"%09"),
        15 => before(b"%0a"),
        16 => before(b"%C2%A0"),
        17 => before(b"%EF%BB%BF"),
        18 => before(b"%00"),
        19 => before(b"."),
        20 => before(b"[x]"),
        21 => before(b"x;"),
        22 => after(b"%00"),
        23 => after(b"%00junk"),
        24 => after(b"\0"),
        25 => after(b"[]"),
        26 => after(b"%5B%5D"),
        27 => after(b"[k]"),
        28 => after(b"[k]junk"),
        29 => after(b"[k"),
        30 => after(b"["),
        31 => after(b"]"),
        32 => after("[a]".repeat(64 + rng.below(3)).as_bytes()),
        33 => after(b"[%00]"),
        34 => after(b"+"),
        35 => after(b"."),
        36 => after(b"%"),
        37 => after(b"[a][b"),
        38 => after(b"%ff"),
        39 => after(b"[]="),
        40 => name
            .iter()
            .map(|b| if rng.one_in(3) { b ^ 0x20 } else { *b })
            .collect(),
        41 => [b"%25", &name[..]].concat(),
        42 => {
            let at = rng.below(name.len().max(1));
            [&name[..at], b"%zz", &name[at..]].concat()
        }
        _ => name,
    }
}

/// Percent-encodes one byte in `often`, with either case of hex digits.
pub fn encoded(rng: &mut Rng, bytes: &[u8], often: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, &b) in bytes.iter().enumerate() {
        // What is an escape already stays one.
        let in_escape = (at >= 1 && bytes[at - 1] == b'%') || (at >= 2 && bytes[at - 2] == b'%');
        if matches!(b, b'%' | b'+') || in_escape || !rng.one_in(often) {
            out.push(b);
        } else if rng.one_in(2) {
            out.extend_from_slice(format!("%{b:02x}").as_bytes());
        } else {
            out.extend_from_slice(format!("%{b:02X}").as_bytes());
        }
    }
    out
}

/// Names that are nobody's, or nearly somebody's.
pub fn noise(rng: &mut Rng) -> Vec<u8> {
    const NOISE: [&[u8]; 34] = [
        b"x=1",
        b"x[]=1",
        b"x[a][b]=1",
        b"a.b=c",
        b"",
        b"=x",
        b"[x]=1",
        b"%00=1",
        b"%20=1",
        b"auth[member_id]=evil",
        b"auth%5Bdomain%5D=evil",
        b"member_idx=evil",
        b"xmember_id=evil",
        b"MEMBER_ID=evil",
        b"Member_Id=evil",
        b"member-id=evil",
        b"member_id_=evil",
        b"member__id=evil",
        b"_member_id=evil",
        b"domain=evil",
        b"DOMAINS=evil",
        b"PLACEMENT_OPTION=evil",
        b"PLACEMENTS[]=x",
        b"x=%ff",
        b"x=\xff",
        b"x;y=1",
        b"x=1;member_id=evil",
        b"x=1;member.id=evil",
        b"x;AUTH_ID=1",
        b"__Host-member_id=evil",
        b"x%=1",
        b"x=%",
        b"x=a=b&y",
        b"?x=1",
    ];
    rng.pick(&NOISE).to_vec()
}

pub fn crumb(rng: &mut Rng) -> Vec<u8> {
    let name = known(rng);
    let mut crumb = match rng.below(5) {
        0 => b"PHPSESSID".to_vec(),
        1 => [b"__Host-", name.as_bytes()].concat(),
        2 => name.as_bytes().to_vec(),
        _ => spelling(rng, name),
    };
    // A header takes neither control bytes nor a second crumb by accident.
    crumb.retain(|&b| b >= b' ' && b != 0x7f);
    if rng.one_in(6) {
        crumb.insert(0, b'\t');
    }
    crumb.extend_from_slice(rng.pick(&[
        &b"=evil"[..],
        b"=",
        b"",
        b"=a=b",
        b"=%41",
        b" =evil",
        b"=evil; x=y",
    ]));
    crumb
}
