//! Every refusal of the contract's section 4: what the client gets, what is counted and logged, that
//! nothing reached the upstream, and what becomes of the connection.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "../common/mod.rs"]
mod common;

mod row;
mod table;
mod connection;
mod told;
