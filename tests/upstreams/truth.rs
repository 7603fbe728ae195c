//! What is told of a request that a server failed, and of the server.

use serde_json::json;

use super::{FAILURES, RESPONSES, call, over};
use crate::common::forms::request;
use crate::common::{DeadServer, Gateway, Reply, Upstream};

#[test]
fn a_line_tells_who_answered_and_who_did_not() {
    let (dead, server) = (DeadServer::new(), Upstream::start());
    let gateway = Gateway::start(over(&[dead.address(), server.address], ""));
    assert_eq!(call(&gateway).status, 200);
    let line = &gateway.request_lines(1)[0];
    assert_eq!(
        (
            &line["server"],
            &line["server_address"],
            &line["tries"],
            &line["cause"]
        ),
        (
            &json!(server.address),
            &json!(server.address),
            &json!(2),
            &json!("refused")
        ),
        "{line}"
    );
    assert_eq!(call(&gateway).status, 200);
    let line = &gateway.request_lines(2)[1];
    assert_eq!(
        (&line["tries"], &line["cause"]),
        (&json!(1), &json!(null)),
        "{line}"
    );
    let metrics = gateway.metrics();
    let (gone, there) = (dead.address().to_string(), server.address.to_string());
    assert_eq!(
        metrics.value(FAILURES, &[("server", &gone), ("cause", "refused")]),
        1.0
    );
    assert_eq!(metrics.value(FAILURES, &[]), 1.0);
    assert_eq!(
        metrics.value(RESPONSES, &[("server", &there), ("code_class", "2xx")]),
        2.0
    );
    assert_eq!(metrics.value(RESPONSES, &[("server", &gone)]), 0.0);
}

#[test]
fn failures_are_told_by_their_cause_on_both_ways() {
    let gate = crate::common::upstream::Gate::default();
    let cases = [
        (Reply::Raw(b"garbage\r\n\r\n".to_vec().into()), 502, "bad_answer"),
        (Reply::Close, 502, "reset"),
        (Reply::Held(gate.clone()), 504, "timeout"),
    ];
    for (reply, status, cause) in cases {
        let server = Upstream::replying(reply);
        let gateway = Gateway::start(over(&[server.address], "timeout = \"200ms\"\n"));
        let ask_held = || call(&gateway).status;
        // A GET may be sent once more, a PUT is not routed here: the pass route is asked by HEAD once.
        let ask_passed = || {
            gateway
                .ask(request("GET", "/", &["Connection: close"], ""))
                .status
        };
        for (asked, ask) in [&ask_held as &dyn Fn() -> u16, &ask_passed]
            .into_iter()
            .enumerate()
        {
            assert_eq!(ask(), status, "{cause}");
            let line = &gateway.request_lines(asked + 1)[asked];
            assert_eq!(
                (&line["cause"], &line["server"], &line["tries"]),
                (&json!(cause), &json!(server.address), &json!(1)),
                "{line}"
            );
        }
        assert_eq!(
            gateway.metrics().value(FAILURES, &[("cause", cause)]),
            2.0,
            "{cause}"
        );
        assert_eq!(gateway.metrics().value(FAILURES, &[]), 2.0, "{cause}");
    }
    gate.open();
}
