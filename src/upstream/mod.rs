//! The decision becomes an upstream request: which headers, which server.

pub mod answer;
pub mod headers;
pub mod idle;
pub mod origin;
pub mod peer;
pub mod pool;
pub mod sample;
pub mod send;
pub mod socket;
