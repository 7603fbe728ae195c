//! What the functions of a request cost, one by one: `cargo bench --bench functions`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "benches"
)]

mod calls;
mod headers;
mod limiter;
mod reader;
mod refusal;
mod route;
mod validate;

use criterion::{criterion_group, criterion_main};

/// As in the gateway.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

criterion_group!(
    benches,
    route::routing,
    reader::reader,
    validate::validation,
    headers::writing,
    refusal::decisions,
    // What a member costs in memory is measured here, before another table of a million is given back.
    limiter::limits,
    refusal::members
);
criterion_main!(benches);
