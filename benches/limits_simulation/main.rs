//! What replicas that share a limit admit together, next to one ideal limiter that sees every request:
//! `cargo bench --bench limits-simulation`, or `cargo test --bench limits-simulation` without optimization.
//!
//! The limiters, their leases and the script's arithmetic are the gateway's; network, store and clocks are made up,
//! from a seed. `-- MEMBERS` says how many members there are besides the busy ones (a million), with one request each on
//! average.
//! It ends with status 1 where a bound of `policy::limit::shared` does not hold.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a simulation"
)]

mod chance;
mod cluster;
mod judge;

use cluster::{Balancing, Scenario, Trouble};

/// `rate` and `burst` of each member.
const RATE: u32 = 10;
const BURST: u32 = 100;

fn main() {
    let members = std::env::args()
        .skip(1)
        .find_map(|argument| argument.parse().ok())
        .unwrap_or(1_000_000);
    let calm = Scenario {
        name: "",
        replicas: 3,
        lease: 10,
        balancing: Balancing::Even,
        trouble: Trouble::default(),
    };
    let scenarios = [
        Scenario { name: "even", ..calm },
        Scenario {
            name: "even, each request waits",
            lease: 1,
            ..calm
        },
        Scenario {
            name: "even",
            replicas: 10,
            ..calm
        },
        Scenario {
            name: "even",
            replicas: 100,
            ..calm
        },
        Scenario {
            name: "even, each request waits",
            replicas: 100,
            lease: 1,
            ..calm
        },
        Scenario {
            name: "half of it at one",
            replicas: 10,
            balancing: Balancing::Uneven,
            ..calm
        },
        Scenario {
            name: "half of it at one",
            replicas: 100,
            balancing: Balancing::Uneven,
            ..calm
        },
        Scenario {
            name: "clocks 1 % fast or slow, hours apart",
            replicas: 10,
            trouble: Trouble {
                skew: 0.01,
                ..Trouble::default()
            },
            ..calm
        },
        Scenario {
            name: "one answer in 100 is lost",
            replicas: 10,
            trouble: Trouble {
                lost: 0.01,
                ..Trouble::default()
            },
            ..calm
        },
        Scenario {
            name: "a reload with another store every 10 s",
            replicas: 10,
            trouble: Trouble {
                reload_every: Some(10),
                ..Trouble::default()
            },
            ..calm
        },
        Scenario {
            name: "no store for 5 s of every 20 s",
            replicas: 10,
            trouble: Trouble {
                outages: true,
                ..Trouble::default()
            },
            ..calm
        },
        Scenario {
            name: "no store for 5 s of every 20 s",
            replicas: 100,
            trouble: Trouble {
                outages: true,
                ..Trouble::default()
            },
            ..calm
        },
        Scenario {
            name: "the same, half of it at one",
            replicas: 10,
            balancing: Balancing::Uneven,
            trouble: Trouble {
                outages: true,
                ..Trouble::default()
            },
            ..calm
        },
        Scenario {
            name: "all of that together",
            replicas: 100,
            balancing: Balancing::Uneven,
            trouble: Trouble {
                skew: 0.01,
                lost: 0.01,
                reload_every: Some(10),
                outages: true,
            },
            ..calm
        },
        Scenario {
            name: "no store, even",
            lease: 0,
            ..calm
        },
        Scenario {
            name: "no store, even",
            replicas: 10,
            lease: 0,
            ..calm
        },
        Scenario {
            name: "no store, even",
            replicas: 100,
            lease: 0,
            ..calm
        },
        Scenario {
            name: "no store, by member_id in front",
            replicas: 10,
            lease: 0,
            balancing: Balancing::ByMember,
            ..calm
        },
        Scenario {
            name: "no store, by member_id in front",
            replicas: 100,
            lease: 0,
            balancing: Balancing::ByMember,
            ..calm
        },
        Scenario {
            name: "the same, a replica leaves after 30 s",
            replicas: 10,
            lease: 0,
            balancing: Balancing::ByMemberOneLeaves,
            ..calm
        },
    ];
    println!(
        "{members} members with one request, {} busy ones at 10 times {RATE}/s with a burst of {BURST}, {} s\n",
        cluster::BUSY,
        cluster::SECONDS,
    );
    println!(
        "| replicas | lease | | admitted, to ideal | most over burst + rate·t | bound | questions a request |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut holds = true;
    for scenario in scenarios {
        let told = cluster::run(&scenario, members);
        let bound = scenario.bound();
        let is_within = bound.is_none_or(|bound| told.most_over <= f64::from(bound) + 0.5);
        holds &= is_within;
        println!(
            "| {} | {} | {} | {:.1} % ({:.1} to {:.1} %) | {:.1} | {}{} | {:.2} |",
            scenario.replicas,
            match scenario.lease {
                0 => "none".to_owned(),
                lease => lease.to_string(),
            },
            scenario.name,
            told.all,
            told.least,
            told.most,
            told.most_over,
            bound.map_or("none".to_owned(), |bound| bound.to_string()),
            if is_within { "" } else { " BROKEN" },
            told.questions,
        );
    }
    assert!(holds, "a bound does not hold");
}
