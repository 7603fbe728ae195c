//! The reloads that were.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::config::Change;
use crate::telemetry::metrics::{Reloaded, Trigger};

/// One reload that was.
#[derive(Clone, Debug)]
pub struct ReloadRecord {
    /// When it ended.
    pub at: SystemTime,
    /// What asked for it.
    pub trigger: Trigger,
    /// How it ended.
    pub result: Reloaded,
    /// What it changed.
    pub changes: Vec<Change>,
    /// As they were told.
    pub faults: Vec<String>,
}

/// The last reloads, the latest last.
pub type History = VecDeque<ReloadRecord>;
