mod reference;

use super::*;
use crate::request::field::FaultCode;
use proptest::prelude::*;

fn parse<'a>(query: &'a str, body: &'a str) -> Form<'a> {
    Form::parse(query.as_bytes(), body.as_bytes(), 1000).unwrap()
}

fn faults(query: &str, body: &str) -> Vec<(Field, FaultCode)> {
    parse(query, body)
        .faults()
        .map(|fault| (fault.field, fault.code))
        .collect()
}

#[test]
fn a_genuine_call_reads_from_both_parts() {
    let form = parse(
        "DOMAIN=p.bitrix24.com&PROTOCOL=1",
        "member_id=ab&PLACEMENT_OPTIONS=%7B%22a%22%3A1%7D&x[]=1",
    );
    assert_eq!(form.value(Field::Domain), Some(&b"p.bitrix24.com"[..]));
    assert_eq!(form.value(Field::PlacementOptions), Some(&b"{\"a\":1}"[..]));
    assert_eq!(form.value(Field::Lang), None);
    assert_eq!(form.faults().count(), 0);
}

#[test]
fn every_way_to_a_second_opinion_has_its_code() {
    use FaultCode::*;
    for (query, body, code) in [
        ("member_id=a&member_id=b", "", Duplicate),
        ("", "member_id=a&%6dember_id=b", Duplicate),
        ("member_id=a", "member_id=b", Conflict),
        ("", "member.id=b", Mangled),
        ("", "member+id=b", Mangled),
        ("", "member%20id=b", Mangled),
        ("", "member[id=b", Mangled),
        ("", "+member_id=b", Mangled),
        ("", "%20%20member_id", Mangled),
        ("", "member_id[]=b", Array),
        ("", "member_id%5B%5D=b", Array),
        ("", "member.id[a][b=c", Array),
        ("", "member_id[a]junk=c", Array),
        ("", "member_id%00junk=b", Truncated),
        ("", "member.id%00[]=b", Truncated),
        ("x=1;member_id=2", "", Mangled),
        ("member_id=a;x=2", "", Mangled),
        ("", "[member_id]=a", Mangled),
        ("", "%5Bmember_id%5D=a", Mangled),
        ("", "member_id%5D=a", Mangled),
        ("", "[]]member_id]x=a", Mangled),
        ("", "member_id=a]=b", Invalid),
        ("", "member_id=a%5d=b", Invalid),
    ] {
        assert_eq!(faults(query, body), [(Field::MemberId, code)], "{query} | {body}");
    }
    let deep = format!("member_id=a&member_id{}=b", "[a]".repeat(65));
    assert_eq!(faults("", &deep), [(Field::MemberId, Truncated)]);
}

#[test]
fn what_php_reads_as_another_name_is_no_fault() {
    for body in [
        "MEMBER_ID=a",
        "member-id=a",
        "member_id_=a",
        "member_id.=a",
        "member_id%20=a",
        "%09member_id=a",
        "[xmember_id]=a",
        "%00member_id=a",
        "=member_id",
        "data[member_id]=a",
        "xmember_id=a",
        "member_id%0a=b",
        "member_id_%5D=a",
    ] {
        assert_eq!(faults("", body), [], "{body}");
        assert_eq!(parse("", body).value(Field::MemberId), None, "{body}");
    }
    assert_eq!(
        faults("", "x=1;member_id=2"),
        [],
        "PHP never splits a body at a semicolon"
    );
}

#[test]
fn an_equal_repeat_is_one_opinion() {
    let form = parse("member_id=a+b&member_id=a%20b", "%6Dember_id=a+b");
    assert_eq!(form.value(Field::MemberId), Some(&b"a b"[..]));
}

#[test]
fn broken_utf8_stays_different() {
    let options = Field::PlacementOptions;
    assert_eq!(
        faults("", "PLACEMENT_OPTIONS=%ff&PLACEMENT_OPTIONS=%fe"),
        [(options, FaultCode::Duplicate)]
    );
    assert_eq!(
        parse("", "PLACEMENT_OPTIONS=%ff%zz%4").value(options),
        Some(&b"\xff%zz%4"[..])
    );
}

#[test]
fn a_value_that_readers_decode_differently_is_invalid() {
    for value in ["%ff", "%zz", "a%4", "%"] {
        assert_eq!(
            faults("", &format!("AUTH_ID={value}")),
            [(Field::AuthId, FaultCode::Invalid)],
            "{value}"
        );
    }
    assert_eq!(
        parse("", "AUTH_ID=%25%d0%b6").value(Field::AuthId),
        Some("%ж".as_bytes())
    );
}

#[test]
fn parameters_are_counted_as_php_counts_them() {
    assert!(Form::parse(b"&&&a=1&&", b"", 1).is_ok());
    assert_eq!(Form::parse(b"a&b", b"", 1).unwrap_err(), FormFault::TooManyParams);
    assert_eq!(Form::parse(b"", b"a&", 1).unwrap_err(), FormFault::TooManyParams);
}

#[test]
fn a_path_is_a_name() {
    for (query, body) in [
        (
            "",
            "event=ONAPPINSTALL&auth%5Bmember_id%5D=a&auth%5Bstatus%5D=F&auth%5Bx%5D%5By%5D=1",
        ),
        (
            "auth[member_id]=a",
            "event=ONAPPINSTALL&auth[user_id]=1&auth%5buser_id%5D=1",
        ),
    ] {
        let form = parse(query, body);
        assert_eq!(
            form.value(Field::AuthMemberId),
            Some(&b"a"[..]),
            "{query} | {body}"
        );
        assert_eq!(form.value(Field::Event), Some(&b"ONAPPINSTALL"[..]));
        assert_eq!(
            (form.value(Field::MemberId), form.value(Field::Status)),
            (None, None)
        );
        assert_eq!((form.has_auth(), form.faults().count()), (true, 0));
    }
    // A key of PHP's is the bytes between its brackets.
    for body in [
        "auth[ member_id ]=a",
        "auth[MEMBER_ID]=a",
        "auth[member.id]=a",
        "Auth[member_id]=a",
    ] {
        assert_eq!(parse("", body).value(Field::AuthMemberId), None, "{body}");
    }
}

#[test]
fn every_way_to_a_second_opinion_about_a_path_has_its_code() {
    use FaultCode::*;
    const ID: Field = Field::AuthMemberId;
    const REST: Field = Field::Auth;
    for (query, body, field, code) in [
        ("", "auth[member_id]=a&auth%5Bmember_id%5D=b", ID, Duplicate),
        ("auth[member_id]=a", "auth[member_id]=b", ID, Conflict),
        ("", "+auth[member_id]=a", ID, Mangled),
        ("", "%20auth[member_id]=a", ID, Mangled),
        ("", "auth[member_id]junk=a", ID, Mangled),
        ("", "auth[member_id].x=a", ID, Mangled),
        ("", "auth[member_id][b=a", ID, Mangled),
        ("", "[auth][member_id]=a", ID, Mangled),
        ("", "auth[[member_id]]=a", REST, Mangled),
        ("", "auth[member_id=a", ID, Mangled),
        ("", "auth]member_id=a", ID, Mangled),
        ("", "auth[ member_id]=a", REST, Mangled),
        ("", "auth[member_id][]=a", ID, Array),
        ("", "auth[member_id][x]=a", ID, Array),
        ("", "auth[]=a", REST, Array),
        ("", "auth[+]=a", REST, Array),
        ("", "auth[x][]=a", REST, Array),
        ("", "auth[member_id]%00=a", ID, Truncated),
        ("", "auth[member_id]%00[x]=a", ID, Truncated),
        ("", "auth[x%00member_id]=a", REST, Mangled),
        ("x=1;auth[member_id]=2", "", ID, Mangled),
        ("x=1;auth[x]=2", "", REST, Mangled),
        ("", "auth[x]=1&auth[x]=2", REST, Duplicate),
        ("auth[x]=1", "auth[x]=2", REST, Conflict),
        ("", "auth[x]=1&auth[y]=1&auth[x][a]=1", REST, Array),
        ("auth[x][a][b]=1", "auth[x][a]=1", REST, Array),
        ("", "auth[x]=%ff", REST, Invalid),
        ("", "auth=1&auth[x]=1", REST, Array),
        ("auth=1", "auth[x]=1", REST, Array),
        ("", "+auth%00=1&auth[x]=1", REST, Array),
        ("x;auth=1", "auth[x]=1", REST, Array),
        ("", "event.token=a", Field::EventToken, Mangled),
        ("", "event[a]=a", Field::Event, Array),
        ("", "workflow_id=a&workflow_id=b", Field::WorkflowId, Duplicate),
    ] {
        assert_eq!(faults(query, body), [(field, code)], "{query} | {body}");
        assert_eq!(parse(query, body).has_auth(), field.is_auth(), "{query} | {body}");
    }
    let deep = format!("auth[member_id]=a&auth{}=b", "[a]".repeat(65));
    assert_eq!(faults("", &deep), [(REST, Truncated)]);
    let deepest = format!("auth{}=b", "[a]".repeat(64));
    assert_eq!(faults("", &deepest), []);
}

#[test]
fn a_plain_auth_claims_nothing() {
    for (query, body) in [
        ("auth=1", "auth=2"),
        ("", "auth"),
        ("x;auth=1", ""),
        ("", "auth_member_id=1"),
    ] {
        let form = parse(query, body);
        assert!(!form.has_auth() && form.faults().count() == 0, "{query} | {body}");
    }
}

#[test]
fn a_domain_twice_is_one_once_normalized() {
    let form = parse(
        "DOMAIN=Portal.example&DOMAIN=portal.example:",
        "DOMAIN=PORTAL.example",
    );
    assert_eq!(form.value(Field::Domain), Some(&b"Portal.example"[..]));
    assert_eq!(
        faults("DOMAIN=a.b&DOMAIN=a.b:80", ""),
        [(Field::Domain, FaultCode::Duplicate)]
    );
}

#[test]
fn the_part_that_a_name_stands_in_is_known() {
    let form = parse(
        "DOMAIN=a&LANG=en&LANG=de&auth[x]=1",
        "DOMAIN=a&member_id[]=1&auth[member_id]=1",
    );
    let parts = form.parts();
    let set = |fields: &[Field]| FieldSet::of(fields);
    assert_eq!(parts.in_query, set(&[Field::Domain, Field::Lang, Field::Auth]));
    assert_eq!(
        parts.in_body,
        set(&[Field::Domain, Field::MemberId, Field::AuthMemberId])
    );
    assert_eq!(parts.faulty_in_query, set(&[Field::Lang]));
}

/// Every reading of every field, and which parts have too many parameters.
fn same_as_reference(query: &[u8], body: &[u8]) {
    for max_params in [1000, 3] {
        let ours = Form::parse(query, body, max_params);
        let reference = reference::parse(query, body, max_params);
        let shown = || format!("{max_params}: {} | {}", query.escape_ascii(), body.escape_ascii());
        match (&ours, &reference) {
            (Ok(ours), Ok((readings, has_auth))) => {
                for (field, reading) in Field::ALL.into_iter().zip(readings) {
                    assert!(ours.reading(field) == reading, "{}, {}", field.name(), shown());
                }
                assert_eq!(ours.has_auth(), *has_auth, "{}", shown());
            }
            (Err(ours), Err(reference)) => assert_eq!(ours, reference),
            _ => panic!("{}", shown()),
        }
    }
}

/// Parameters from pieces that mean something to one reader or another.
fn part() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "member_id",
        "DOMAIN",
        "PLACEMENT_OPTIONS",
        "AUTH_ID",
        "status",
        "member",
        "id",
        "x",
        "_",
        "a-b",
        "=",
        "=",
        "=",
        "=",
        "&",
        "&",
        "&",
        "&",
        ";",
        "+",
        ".",
        "[",
        "]",
        "%",
        "%2",
        "%5B",
        "%5d",
        "%00",
        "%6d",
        "%ff",
        "%D0%B6",
        "%26",
        "%3d",
        "%20",
        "\0",
        "\u{7f}",
        "\u{436}",
        " ",
        "{\"a\":1}",
        "%7B%22a%22%3A1%7D",
        "[a][b]",
        "1",
        "a",
        "auth",
        "auth[",
        "auth[member_id]",
        "auth%5Bdomain%5D",
        "auth[x]",
        "[x]",
        "event",
        "_token",
    ]);
    let deep = prop::sample::select(vec!["member_id[a]", "auth[x]", "auth"])
        .prop_map(|name| name.to_owned() + &"[a]".repeat(64));
    prop::collection::vec(prop_oneof![40 => word.prop_map(str::to_owned), 1 => deep], 0..24)
        .prop_map(|words| words.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4096, failure_persistence: None, ..ProptestConfig::default() })]

    /// What is read is what the byte-by-byte reading finds.
    #[test]
    fn the_reading_is_the_reference(query in part(), body in part()) {
        same_as_reference(&query, &body);
    }

    /// Any bytes: no panic, and the same.
    #[test]
    fn any_bytes_are_read(
        query in prop::collection::vec(any::<u8>(), 0..200),
        body in prop::collection::vec(prop::sample::select(b"memberidDOMANstuh_=&&%+[].;5BbdD0\0 \xff".to_vec()), 0..200),
    ) {
        same_as_reference(&query, &body);
    }
}

#[test]
fn an_event_is_found_in_what_says_that_it_is_no_form() {
    for text in [
        "auth[member_id]=b&event=X",
        "{\"text\":\"&event=X&auth[domain]=evil.example&\"}",
        "{\"text\":\"&auth%5Bdomain%5D=evil.example&%65vent=X\"}",
        "{\"text\":\"&+event=X&+auth[member_id]=b\"}",
        "{\"text\":\"&auth[x][y]&event=\"}",
        "[&[auth][member_id]=b&event[0]=X]",
    ] {
        assert!(super::hides_event(text.as_bytes()), "{text}");
    }
    for text in [
        "",
        "[]",
        "{\"auth[member_id]\":\"b\"}",
        "{\"page\":\"/?a=1&event=open&auth=no&author[id]=7&member_id=b\"}",
        "{\"text\":\"a & auth & b\"}",
        // Somebody's code, and somebody's address.
        "{\"code\":\"if(a && auth[i]){b&auth[j]}\"}",
        "{\"page\":\"/?event=X&events[]=1\"}",
    ] {
        assert!(!super::hides_event(text.as_bytes()), "{text}");
    }
}
