//! Every test of the gateway, in one binary: one link, one harness, and as many tests at a time as there
//! are cores. What a test needs for itself, environment and signals, it gives to a process it starts.

#![cfg(test)]

mod common;
mod browser;

mod architecture;
mod properties;

mod front_door;
mod cases;
mod routing;
mod messages;
mod static_hosts;
mod bodies;
mod refusals;
mod limits;
mod shared_limits;
mod roll_out;
mod verify;
mod verify_by_proxy;
mod layers;
mod held_back;
mod flood;
mod cookies;
mod one_hop;
mod answers;
mod websocket;
mod slow_clients;
mod own_time;
mod php;
mod differential;
mod backends;

mod tls;
mod proxy_protocol;
mod upstreams;
mod reload;
mod reload_told;
mod stop;

mod access_log;
mod traces;
mod cardinality;
mod prometheus;
mod scraper;
mod admin;
mod status_page;
mod framed;
mod commands;
mod operations;
mod build_info;
mod standard_error;
mod setup_lines;
mod packages;
mod documents;
