//! What a running task tells of itself.

use serde::{Deserialize, Serialize};

/// What a running task tells of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum TaskReport {
    Progress { done: u64, total: u64, unit: String },
    Total { name: String, value: f64 },
    Warning { message: String },
}
