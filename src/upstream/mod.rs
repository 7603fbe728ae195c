//! The decision becomes an upstream request: which headers, which server.

pub mod address;
pub mod answer;
pub mod attempts;
pub mod balance;
pub mod budget;
pub mod caller;
pub mod check;
pub mod entry;
pub mod failure;
pub mod headers;
pub mod health;
pub mod http_peer;
pub mod idle;
pub mod places;
pub mod pool;
pub mod proof;
pub mod resolve;
pub mod sample;
pub mod secure;
pub mod send;
pub mod server;
pub mod socket;
pub mod wire;
