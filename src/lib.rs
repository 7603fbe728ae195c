//! A reverse proxy in front of Bitrix24 widget handlers. The modules stand in the order in which a
//! request meets them; `pipeline` is the file to read first.

pub mod request;
pub mod policy;
pub mod upstream;
pub mod response;
pub mod pipeline;
pub mod telemetry;
pub mod config;
pub mod process;
pub mod server;
pub mod admin;
pub mod explain;
pub mod run;
