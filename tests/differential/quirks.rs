//! The measured quirks of PHP's form reading, one row each: what PHP alone makes of it, and what the
//! gateway does about it. A row whose PHP column is wrong fails too: then PHP has changed.

use super::bench::{Became, Bench, Worker};
use super::grammar::Case;
use crate::common::forms::{BODY, MEMBER, QUERY};
use crate::common::php::Held;
use crate::common::shown;

/// PHP alone: what `$_REQUEST['member_id']` holds where the call says [`MEMBER`] and the row more.
#[derive(Clone, Copy)]
enum Php {
    /// The call's own.
    Same,
    /// Something else.
    Other(&'static [u8]),
    Array,
    /// Nothing: the variable was deleted.
    Deleted,
    /// Another field's row.
    Any,
}

use Php::{Any, Array, Deleted, Other, Same};

const EVIL: Php = Other(b"evil");
const FORWARDED: &str = "";

/// What is appended to the query, to the body, PHP alone, and the gateway's fault or [`FORWARDED`].
const ROWS: [(&[u8], &[u8], Php, &str); 85] = [
    // Names that PHP turns into the field's.
    (b"", b"member.id=evil", EVIL, "member_id mangled"),
    (b"", b"member id=evil", EVIL, "member_id mangled"),
    (b"", b"member+id=evil", EVIL, "member_id mangled"),
    (b"", b"member%20id=evil", EVIL, "member_id mangled"),
    (b"", b"member%2eid=evil", EVIL, "member_id mangled"),
    (b"", b"member[id=evil", EVIL, "member_id mangled"),
    (b"", b"member%5Bid=evil", EVIL, "member_id mangled"),
    (b"", b"+member_id=evil", EVIL, "member_id mangled"),
    (b"", b"%20%20member_id=evil", EVIL, "member_id mangled"),
    (b"", b" member.id=evil", EVIL, "member_id mangled"),
    (b"member.id=evil", b"", Same, "member_id mangled"),
    (b"", b"AUTH.ID=evil", Any, "AUTH_ID mangled"),
    (b"", b"REFRESH+ID=evil", Any, "REFRESH_ID mangled"),
    (b"APP[SID=evil", b"", Any, "APP_SID mangled"),
    (b"", b"APPLICATION.TOKEN=evil", Any, "APPLICATION_TOKEN mangled"),
    (b"", b"APPLICATION%20SCOPE=evil", Any, "APPLICATION_SCOPE mangled"),
    (b"", b"SERVER.ENDPOINT=evil", Any, "SERVER_ENDPOINT mangled"),
    (b"", b"PLACEMENT.OPTIONS=evil", Any, "PLACEMENT_OPTIONS mangled"),
    (b"", b"AUTH[EXPIRES=1", Any, "AUTH_EXPIRES mangled"),
    (b"+DOMAIN=evil", b"", Any, "DOMAIN mangled"),
    (b"+LANG=evil", b"", Any, "LANG mangled"),
    (b"+PROTOCOL=0", b"", Any, "PROTOCOL mangled"),
    (b"", b"+status=F", Any, "status mangled"),
    (b"", b"+PLACEMENT=evil", Any, "PLACEMENT mangled"),
    // Names cut short.
    (b"", b"member_id%00=evil", EVIL, "member_id truncated"),
    (b"", b"member_id%00junk=evil", EVIL, "member_id truncated"),
    (b"", b"member_id\0junk=evil", EVIL, "member_id truncated"),
    (b"", b"member.id%00=evil", EVIL, "member_id truncated"),
    // Cut at the NUL, this is `member_id[`, and so `member_id_`; Rack 2 and qs read member_id.
    (b"", b"member_id[%00]=evil", Same, "member_id mangled"),
    // Arrays.
    (b"", b"member_id[]=evil", Array, "member_id array"),
    (b"", b"member_id[k]=evil", Array, "member_id array"),
    (b"", b"member_id%5B%5D=evil", Array, "member_id array"),
    (b"", b"member_id[k]junk=evil", Array, "member_id array"),
    (b"", b"member.id[]=evil", Array, "member_id array"),
    (b"member_id[]=evil", b"", Same, "member_id array"),
    // Repeats.
    (b"", b"member_id=evil", EVIL, "member_id duplicate"),
    (b"", b"%6dember_id=evil", EVIL, "member_id duplicate"),
    (b"", b"member%5fid=evil", EVIL, "member_id duplicate"),
    (b"member_id=evil", b"", Same, "member_id conflict"),
    (b"", b"member_id=", Other(b""), "member_id duplicate"),
    (b"", b"member_id", Other(b""), "member_id duplicate"),
    (
        b"",
        b"member_id=3f7a90c1d2e45b68a0719cbe8d243f56",
        Same,
        FORWARDED,
    ),
    (
        b"",
        b"%6D%65mber_id=%33f7a90c1d2e45b68a0719cbe8d243f56",
        Same,
        FORWARDED,
    ),
    (
        b"member_id=3f7a90c1d2e45b68a0719cbe8d243f56",
        b"",
        Same,
        FORWARDED,
    ),
    (b"", b"AUTH_ID=other", Any, "AUTH_ID duplicate"),
    (b"AUTH_ID=other", b"", Any, "AUTH_ID conflict"),
    (
        b"",
        b"PLACEMENT_OPTIONS=%7B%7D",
        Any,
        "PLACEMENT_OPTIONS duplicate",
    ),
    // Two bytes that a lossy decoder would make one character.
    (b"PLACEMENT_OPTIONS=%ff", b"", Any, "PLACEMENT_OPTIONS conflict"),
    // Values that readers take differently.
    (b"SERVER_ENDPOINT=%", b"", Any, "SERVER_ENDPOINT invalid"),
    (b"SERVER_ENDPOINT=%zz", b"", Any, "SERVER_ENDPOINT invalid"),
    (b"SERVER_ENDPOINT=%u0041", b"", Any, "SERVER_ENDPOINT invalid"),
    (b"SERVER_ENDPOINT=%ff", b"", Any, "SERVER_ENDPOINT invalid"),
    // A semicolon separates where arg_separator.input says so, in the query only.
    (b"x=1;member_id=evil", b"", Same, "member_id mangled"),
    (b"x;member.id=evil", b"", Same, "member_id mangled"),
    (b"x=1;y=2", b"", Same, FORWARDED),
    (b"", b"x=1;member_id=evil", Same, FORWARDED),
    // Names that stay foreign.
    (b"", b"member-id=x", Same, FORWARDED),
    (b"", b"MEMBER_ID=x", Same, FORWARDED),
    (b"", b"Member_id=x", Same, FORWARDED),
    (b"", b"member_id_=x", Same, FORWARDED),
    (b"", b"member_id.=x", Same, FORWARDED),
    (b"", b"member_id+=x", Same, FORWARDED),
    // Rack 2 and qs take the bracket away.
    (b"", b"member_id[=x", Same, "member_id mangled"),
    (b"", b"member_id]=x", Same, "member_id mangled"),
    (b"", b"%09member_id=x", Same, FORWARDED),
    (b"", b"%C2%A0member_id=x", Same, FORWARDED),
    (b"", b"%EF%BB%BFmember_id=x", Same, FORWARDED),
    (b"", b".member_id=x", Same, FORWARDED),
    (b"", b"%00member_id=x", Same, FORWARDED),
    (b"", b"[x]member_id=x", Same, FORWARDED),
    // What beside the call names another portal.
    (b"", b"auth[member_id]=x", Same, "auth[member_id] foreign"),
    (b"", b"auth%5Bmember_id%5D=x", Same, "auth[member_id] foreign"),
    (b"auth[domain]=evil.example", b"", Same, "auth[domain] foreign"),
    (b"", b"event=x&auth[x]=1", Same, "event foreign"),
    (b"", b"auth[x]=1", Same, FORWARDED),
    (b"", b"%2525member_id=x", Same, FORWARDED),
    (b"", b"%256dember_id=x", Same, FORWARDED),
    (b"", b"member__id=x", Same, FORWARDED),
    (b"", b"x=member_id=evil", Same, FORWARDED),
    (b"", b"__Host-member_id=x", Same, FORWARDED),
    (b"", b"=member_id", Same, FORWARDED),
    (b"", b"x=%ff&y=%&z=%zz", Same, FORWARDED),
    (b"", b"&&&", Same, FORWARDED),
    (b"?member_id=x", b"", Same, FORWARDED),
    (b"", b"x[][][]=1&y[a=1", Same, FORWARDED),
];

fn appended(query: &[u8], body: &[u8]) -> Case {
    let with = |base: &str, more: &[u8]| match more {
        b"" => base.as_bytes().to_vec(),
        _ => [base.as_bytes(), b"&", more].concat(),
    };
    Case::of(&with(QUERY, query), &with(BODY, body))
}

#[test]
fn every_quirk_is_met() {
    let bench = Bench::start("");
    let mut worker = bench.worker();
    for (query, body, php, fault) in ROWS {
        check(&mut worker, &appended(query, body), php, fault);
    }
}

fn check(worker: &mut Worker<'_>, case: &Case, php: Php, fault: &str) {
    let shown = shown(&case.bytes());
    let seen = worker.php_alone(case).held("request", "member_id");
    let expected = match php {
        Any => seen.clone(),
        Same => Some(Held::Text(MEMBER.into())),
        Other(value) => Some(Held::Text(value.to_vec())),
        Array => Some(Held::Array),
        Deleted => None,
    };
    assert_eq!(seen, expected, "PHP alone: {shown}");
    match worker.run(case) {
        Became::Forwarded { disagreements } => {
            assert_eq!(disagreements, [""; 0], "{shown}");
            assert_eq!(fault, FORWARDED, "forwarded: {shown}");
        }
        Became::Refused { errors, .. } => assert_eq!(errors, [fault], "{shown}"),
    }
}

#[test]
fn nesting_beyond_what_php_takes_deletes() {
    let bench = Bench::start("");
    let mut worker = bench.worker();
    let deep = |levels: usize| format!("member_id{}=evil", "[a]".repeat(levels));
    check(
        &mut worker,
        &appended(b"", deep(64).as_bytes()),
        Array,
        "member_id array",
    );
    check(
        &mut worker,
        &appended(b"", deep(65).as_bytes()),
        Deleted,
        "member_id truncated",
    );
    // Deleted in the body, the query's value shows through.
    let both = appended(b"member_id=evil", deep(65).as_bytes());
    check(&mut worker, &both, EVIL, "member_id truncated");
    let foreign = format!("x{}=1", "[a]".repeat(65));
    check(&mut worker, &appended(b"", foreign.as_bytes()), Same, FORWARDED);
}

#[test]
fn a_known_name_behind_a_thousand_others_is_not_lost() {
    let bench = Bench::start("[widget]\nmax_params = 1000\n");
    let mut worker = bench.worker();
    let pairs = QUERY.split('&').count();
    // PHP keeps the thousandth pair of a query and drops the next one silently.
    let padded = |count: usize| {
        Case::of(
            format!("{}&{QUERY}", vec!["x=1"; count].join("&")).as_bytes(),
            BODY.as_bytes(),
        )
    };
    check(&mut worker, &padded(1000 - pairs), Same, FORWARDED);
    match worker.run(&padded(1001 - pairs)) {
        Became::Refused { code, .. } => assert_eq!(code, "malformed_form"),
        became => panic!("{became:?}"),
    }
    // In a body, empty pairs count too.
    let pairs = BODY.split('&').count();
    let padded = |count: usize| {
        Case::of(
            QUERY.as_bytes(),
            format!("{}{BODY}", "&".repeat(count)).as_bytes(),
        )
    };
    check(&mut worker, &padded(1000 - pairs), Same, FORWARDED);
    assert_eq!(
        worker.run(&padded(1001 - pairs)).refused_as(),
        Some("malformed_form")
    );
}

#[test]
fn only_a_post_of_one_plain_form_is_read() {
    let bench = Bench::start("");
    let mut worker = bench.worker();
    // Under each of these PHP ignores the body, or reads it by other rules; the query alone would win.
    for types in [
        &["text/plain"][..],
        &[],
        &["application/x-www-form-urlencoded", "text/plain"],
        &["application/x-www-form-urlencoded, text/plain"],
        &["text/plain, application/x-www-form-urlencoded"],
        &["multipart/form-data; boundary=x"],
        &["application/json"],
        &["application/x-www-form-urlencoded; boundary=x"],
    ] {
        let mut case = Case::of(QUERY.as_bytes(), BODY.as_bytes());
        case.types = types.to_vec();
        assert_eq!(
            worker.run(&case).refused_as(),
            Some("unsupported_media_type"),
            "{types:?}"
        );
    }
    let mut case = Case::of(QUERY.as_bytes(), BODY.as_bytes());
    case.headers = vec!["Content-Encoding: gzip"];
    assert_eq!(worker.run(&case).refused_as(), Some("unsupported_media_type"));
}

#[test]
fn no_cookie_has_an_opinion() {
    let bench = Bench::start("");
    let mut worker = bench.worker();
    let crumbs: [&[u8]; 12] = [
        b"member_id=evil",
        b"member.id=evil",
        b"\tmember_id=evil",
        b"member[id=evil",
        b"member_id[]=evil",
        b"member_id",
        b"DOMAIN=evil",
        b"AUTH.ID=evil",
        b"PLACEMENT_OPTIONS=x",
        b"%6dember_id=evil",
        b"member+id=evil",
        b"x=1;member_id=evil",
    ];
    for lines in [false, true] {
        let mut case = Case::of(QUERY.as_bytes(), BODY.as_bytes());
        case.cookies = crumbs.iter().map(|crumb| crumb.to_vec()).collect();
        case.cookie_lines = lines;
        match worker.run(&case) {
            Became::Forwarded { disagreements } => assert_eq!(disagreements, [""; 0]),
            became => panic!("{became:?}"),
        }
    }
}
