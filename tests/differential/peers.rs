//! Every weakness that was measured in HAProxy and in OpenResty doing this job (`peers.md` 0.3 and
//! 0.4), against this gateway.

use super::bench::{Became, Bench};
use super::grammar::Case;
use crate::common::forms::{self, BODY, MEMBER, QUERY, post};
use crate::common::{Gateway, Received, Reply, Upstream, shown};

const LIMIT: &str = "[limits.member]\nrate = \"5/m\"\n";

fn setting() -> (Upstream, Gateway) {
    let upstream = Upstream::replying(Reply::Echo);
    let gateway = Gateway::start(format!("{}{LIMIT}", forms::routes(&[upstream.address])));
    (upstream, gateway)
}

/// A call whose `member_id` stands there as the given pairs.
fn call(pairs: &str) -> Vec<u8> {
    let own = format!("member_id={MEMBER}");
    assert!(BODY.contains(&own));
    post(&format!("/?{QUERY}"), &[], BODY.replace(&own, pairs))
}

fn statuses(gateway: &Gateway, calls: impl Iterator<Item = String>) -> Vec<u16> {
    let mut conn = gateway.connect();
    calls.map(|pairs| conn.roundtrip(call(&pairs)).status).collect()
}

/// HAProxy's header says the first, PHP the last: the limit counts fresh decoys, PHP serves the victim.
fn decoys_are_refused(victim: &str) {
    let (_upstream, gateway) = setting();
    let decoys = (0..7).map(|n| format!("member_id={n:032x}&{victim}={MEMBER}"));
    assert_eq!(statuses(&gateway, decoys), [400; 7], "{victim}");
}

#[test]
fn haproxy_0_3_a_plain_duplicate_does_not_get_round_the_limit() {
    decoys_are_refused("member_id");
}

#[test]
fn haproxy_0_3_an_encoded_duplicate_does_not_get_round_the_limit() {
    decoys_are_refused("%6dember_id");
}

#[test]
fn haproxy_0_3_a_mangled_duplicate_does_not_get_round_the_limit() {
    decoys_are_refused("member.id");
    decoys_are_refused("member%20id");
    decoys_are_refused("member[id");
}

#[test]
fn haproxy_0_3_a_legal_encoding_of_the_name_is_read() {
    let (_upstream, gateway) = setting();
    let spellings = [
        "%6dember_id",
        "member%5Fid",
        "member%5fid",
        "%6D%65%6D%62%65%72%5F%69%64",
        "member_id",
    ];
    let calls = spellings.map(|name| format!("{name}={MEMBER}"));
    // All of them are one member: the sixth call is over its limit, however it is spelled.
    assert_eq!(statuses(&gateway, calls.into_iter()), [200; 5]);
    assert_eq!(
        statuses(&gateway, std::iter::once(format!("m%65mber_id={MEMBER}"))),
        [429]
    );
}

#[test]
fn haproxy_0_3_a_long_field_before_the_id_hides_nothing() {
    let (_upstream, gateway) = setting();
    let response = gateway.ask(call(&format!("x={}&member_id={MEMBER}", "y".repeat(20_000))));
    assert_eq!(response.status, 200, "{}", shown(&response.body));
    let received = Received::echoed(&response.body);
    assert_eq!(received.header("X-Bitrix24-Member-Id").as_deref(), Some(MEMBER));
}

#[test]
fn haproxy_0_3_an_underscore_look_alike_does_not_pass() {
    let (_upstream, gateway) = setting();
    for name in [
        "X_Bitrix24_Member_Id",
        "X-Bitrix24_Member-Id",
        "x_bitrix24-member_id",
        "X.Bitrix24.Member.Id",
    ] {
        let line = format!("{name}: evil");
        let response = gateway.ask(post(
            &format!("/?{QUERY}"),
            &[&line],
            BODY.replace(MEMBER, &"a".repeat(32)),
        ));
        if response.status == 429 {
            continue;
        }
        let received = Received::echoed(&response.body);
        let values: Vec<_> = received
            .headers()
            .into_iter()
            .filter(|(_, value)| value == b"evil")
            .collect();
        assert_eq!(values, [], "{name}");
        assert_eq!(
            received.header("X-Bitrix24-Member-Id"),
            Some("a".repeat(32)),
            "{name}"
        );
    }
}

#[test]
fn haproxy_0_3_a_reload_does_not_forget_who_is_over_the_limit() {
    let (upstream, gateway) = setting();
    let all_of = |count: usize| (0..count).map(|_| format!("member_id={MEMBER}"));
    assert_eq!(
        statuses(&gateway, all_of(6)),
        [200, 200, 200, 200, 200, 429],
        "before"
    );
    gateway.rewrite(&format!(
        "{}{LIMIT}\n[log]\nlevel = \"debug\"\n",
        forms::routes(&[upstream.address])
    ));
    let reloaded = gateway.ask_admin("POST", "/-/reload");
    assert_eq!(reloaded.status, 200);
    assert_eq!(reloaded.json()["generation"], 2, "whoever noticed the file first");
    assert_eq!(statuses(&gateway, all_of(2)), [429; 2], "after");
}

#[test]
fn openresty_0_4_names_that_only_php_knows_do_not_get_round_the_limit() {
    let (_upstream, gateway) = setting();
    for hidden in [
        "member.id",
        "member_id[]",
        "member_id%5B%5D",
        "member+id",
        "member_id%00",
    ] {
        // Alone, and beside the exact name.
        assert_eq!(
            statuses(&gateway, (0..7).map(|_| format!("{hidden}={MEMBER}"))),
            [400; 7],
            "{hidden}"
        );
        let beside = (0..7).map(|n| format!("member_id={n:032x}&{hidden}={MEMBER}"));
        assert_eq!(statuses(&gateway, beside), [400; 7], "{hidden}");
    }
}

#[test]
fn openresty_0_4_a_body_of_20_kb_is_no_temporary_file() {
    let (_upstream, gateway) = setting();
    let response = gateway.ask(call(&format!("member_id={MEMBER}&x={}", "y".repeat(20_000))));
    assert_eq!(response.status, 200, "{}", shown(&response.body));
}

#[test]
fn openresty_0_4_leading_parameters_do_not_push_the_id_out() {
    let bench = Bench::start("");
    let mut worker = bench.worker();
    for count in [100, 120, 900] {
        let body = format!("{}&{BODY}", vec!["x=1"; count].join("&"));
        match worker.run(&Case::of(QUERY.as_bytes(), body.as_bytes())) {
            Became::Forwarded { disagreements } => assert_eq!(disagreements, [""; 0]),
            became => panic!("{count}: {became:?}"),
        }
    }
}

/// The plain use that all the tricks above try to get round.
#[test]
fn the_limit_counts_a_member_and_nobody_else() {
    let (_upstream, gateway) = setting();
    let own = (0..7).map(|_| format!("member_id={MEMBER}"));
    assert_eq!(statuses(&gateway, own), [200, 200, 200, 200, 200, 429, 429]);
    assert_eq!(
        statuses(&gateway, std::iter::once(format!("member_id={}", "b".repeat(32)))),
        [200]
    );
}
