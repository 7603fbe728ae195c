//! The limiter's tables, and the store that several gateways share.

use std::sync::Mutex;

use super::{Case, call, calls, case, kept, once, step, traffic};
use crate::common::forms::routes;
use crate::common::store::{FakeStore, Redis, Says};
use crate::common::{DeadServer, Gateway, Upstream};

pub fn overflow() -> Case {
    let upstream = kept(Upstream::start());
    let rest = move |keys: usize| {
        format!(
            "{}[limits]\nmax_keys = {keys}\n[limits.member]\nrate = \"1/h\"\nburst = 100000\n",
            routes(&[upstream.address])
        )
    };
    let gateway = kept(Gateway::start(rest(2)));
    case(
        "overflow",
        &[gateway],
        [
            step(
                move || calls(gateway, 10, 200, call),
                &["WidgetGatewayLimiterOverflow"],
            ),
            // Nobody overflows any more, but it is full.
            step(
                move || calls(gateway, 1, 200, |_| call(0)),
                &["WidgetGatewayLimiterTableNearlyFull"],
            ),
            once(
                move || gateway.rewrite(&rest(1000)),
                move || traffic(gateway),
                &[],
            ),
        ],
    )
}

fn with_store(url: &str, more: &str) -> &'static Gateway {
    let upstream = kept(Upstream::start());
    kept(Gateway::start(format!(
        "{}[limits.member]\nrate = \"1000000/s\"\n[limits.shared]\nurl = \"{url}\"\ntimeout = \"1s\"\n{more}",
        routes(&[upstream.address])
    )))
}

pub fn store_down() -> Case {
    let redis = kept(Mutex::new(Redis::start(&[])));
    let gateway = with_store(&redis.lock().unwrap().url(), "");
    case(
        "store-down",
        &[gateway],
        [
            step(move || traffic(gateway), &[]),
            once(
                move || redis.lock().unwrap().kill(),
                move || calls(gateway, 20, 200, call),
                &["WidgetGatewayLimiterStoreDown"],
            ),
            once(
                move || redis.lock().unwrap().start_again(),
                move || traffic(gateway),
                &[],
            ),
        ],
    )
    .ending(move || redis.lock().unwrap().kill())
}

/// A store that is there, and whose keys are another program's.
pub fn store_fails() -> Case {
    let store = kept(FakeStore::start());
    let gateway = with_store(&format!("redis://{}", store.address), "lease = 1\n");
    case(
        "store-fails",
        &[gateway],
        [
            once(
                move || store.says(Says::Bytes("-WRONGTYPE Operation against a key\r\n")),
                move || calls(gateway, 60, 200, call),
                &["WidgetGatewayLimiterStoreErrors"],
            ),
            once(move || store.says(Says::Yes), move || traffic(gateway), &[]),
        ],
    )
}

/// A store that is not there, and a gateway that lets nobody in without it.
pub fn store_closed() -> Case {
    let dead = kept(DeadServer::new());
    let gateway = with_store(&format!("redis://{}", dead.address()), "on_error = \"closed\"\n");
    case(
        "store-closed",
        &[gateway],
        [step(
            move || calls(gateway, 20, 429, call),
            &[
                "WidgetGatewayLimitedShareHigh",
                "WidgetGatewayLimiterRefusesAlone",
                "WidgetGatewayLimiterStoreDown",
            ],
        )],
    )
}
