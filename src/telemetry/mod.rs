//! What is told: metric families, the log, and the one place that feeds both for a request.

pub mod access_log;
pub mod count;
pub mod log;
pub mod metrics;
pub mod notice;
pub mod observed;
mod labels;
pub mod outcome;
pub mod placement;
pub mod recent;
pub mod record;
pub mod top;
pub mod traces;
