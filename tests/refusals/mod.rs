//! Every refusal of the contract's section 4: what the client gets, what is counted and logged, that
//! nothing reached the upstream, and what becomes of the connection.

mod row;
mod table;
mod connection;
mod pages;
mod seen;
mod told;
