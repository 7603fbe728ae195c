//! The decision becomes an upstream request: which headers, which server.

pub mod ask;
pub mod headers;
pub mod origin;
pub mod peer;
pub mod pool;
pub mod sample;
