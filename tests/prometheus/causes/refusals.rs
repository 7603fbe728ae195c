//! What callers do wrong, or too often.

use super::{Case, call, calls, case, once, sound, step, traffic};
use crate::common::forms::{BODY, QUERY, post};

pub fn spike() -> Case {
    let gateway = sound("");
    case(
        "refused",
        &[gateway],
        [
            step(
                move || calls(gateway, 6, 422, |_| post("/app", &[], "PLACEMENT=X")),
                &["WidgetGatewayRejectionSpike"],
            ),
            step(move || traffic(gateway), &[]),
        ],
    )
}

pub fn limited() -> Case {
    let gateway = sound(
        "[limits.member]\nrate = \"1/h\"\nburst = 100000\n[[limits.overrides]]\nmember_id = \"00000000000000000000000000000009\"\nrate = \"1/h\"\nburst = 1\n",
    );
    case(
        "limited",
        &[gateway],
        [
            once(
                move || calls(gateway, 1, 200, |_| call(9)),
                move || calls(gateway, 5, 429, |_| call(9)),
                &["WidgetGatewayLimitedShareHigh"],
            ),
            step(move || traffic(gateway), &[]),
        ],
    )
}

pub fn ambiguous() -> Case {
    let gateway = sound("");
    let twice = || post(&format!("/app?{QUERY}&LANG=xx"), &[], BODY);
    case(
        "ambiguous",
        &[gateway],
        [
            // One of them is a scanner's, and nobody's business.
            once(
                move || calls(gateway, 1, 400, |_| twice()),
                move || traffic(gateway),
                &[],
            ),
            step(
                // So few of all that the refusals are no spike.
                move || {
                    for _ in 0..3 {
                        calls(gateway, 25, 200, call);
                        calls(gateway, 1, 400, |_| twice());
                    }
                },
                &["WidgetGatewayAmbiguousFields"],
            ),
            step(move || traffic(gateway), &[]),
        ],
    )
}

pub fn unexpected() -> Case {
    let gateway = sound("");
    let event = || post("/app", &[], "event=ONAPPINSTALL&auth[domain]=p.example");
    case(
        "unexpected",
        &[gateway],
        [
            once(
                move || calls(gateway, 1, 422, |_| event()),
                move || traffic(gateway),
                &["WidgetGatewayUnexpectedMessages"],
            ),
            step(move || traffic(gateway), &[]),
        ],
    )
}
