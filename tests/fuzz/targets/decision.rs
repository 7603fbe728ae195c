//! See `invariants::decision`.

#![no_main]

#[path = "../invariants.rs"]
#[allow(dead_code, reason = "shared by all targets")]
mod invariants;
#[path = "../others.rs"]
#[allow(dead_code, reason = "shared by all targets")]
mod others;
#[path = "../php.rs"]
#[allow(dead_code, reason = "shared by all targets")]
mod php;
#[path = "../seeds.rs"]
mod seeds;

libfuzzer_sys::fuzz_target!(init: seeds::write("decision"), |data: &[u8]| {
    invariants::decision(data);
});
