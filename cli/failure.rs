//! Why a subcommand did not succeed. Errors are values everywhere below `main`, which shows them.

use climb_cache::CacheError;
use climb_engine::diagnostic::Diagnostic;

use crate::render::{diagnostics, text};

/// Exit code for bad input: nothing was started.
pub const BAD_INPUT: u8 = 2;
/// Exit code for a failed task.
pub const FAILED: u8 = 1;
/// Exit code after an interrupt.
pub const INTERRUPTED: u8 = 130;

#[derive(Debug)]
pub enum Failure {
    /// All that is wrong with a workflow and what it reads; nothing was started.
    Problems(Vec<Diagnostic>),
    /// Why what was asked for cannot be done, a reason for each thing asked.
    Refused(Vec<Diagnostic>),
    /// What went wrong on the way.
    Failed(String),
    /// Its output says it: only this exit code is left.
    Said(u8),
}

impl Failure {
    pub fn refused(message: impl Into<String>) -> Failure {
        Diagnostic::error(message).into()
    }

    /// All of them, or the reasons why any of them cannot be had.
    pub fn all<T>(each: impl IntoIterator<Item = Result<T, Failure>>) -> Result<Vec<T>, Failure> {
        let (mut all, mut reasons) = (Vec::new(), Vec::new());
        for one in each {
            match one {
                Ok(one) => all.push(one),
                Err(Failure::Refused(more)) => reasons.extend(more),
                Err(other) => return Err(other),
            }
        }
        match reasons.is_empty() {
            true => Ok(all),
            false => Err(Failure::Refused(reasons)),
        }
    }

    /// Of a cache that cannot be opened: a full disk is nothing that the user typed.
    pub fn unopened(error: CacheError) -> Failure {
        match error.is_of_the_disk() {
            true => Failure::Failed(error.to_string()),
            false => Failure::refused(error.to_string()),
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::Problems(_) | Failure::Refused(_) => BAD_INPUT,
            Failure::Failed(_) => FAILED,
            Failure::Said(code) => *code,
        }
    }

    /// Prints what is to be said.
    pub fn show(&self) {
        match self {
            Failure::Problems(problems) => {
                diagnostics::print(problems);
                if problems.len() > 1 {
                    let problems = text::count(problems.len(), "problem");
                    eprintln!("{problems}; nothing was started");
                }
            }
            Failure::Refused(reasons) => diagnostics::print(reasons),
            Failure::Failed(message) => diagnostics::error(message),
            Failure::Said(_) => {}
        }
    }
}

impl From<Diagnostic> for Failure {
    fn from(reason: Diagnostic) -> Failure {
        Failure::Refused(vec![reason])
    }
}

/// Of one that is open: what only another climb can read is no failure, and nothing was done.
impl From<CacheError> for Failure {
    fn from(error: CacheError) -> Failure {
        match error {
            CacheError::Newer { .. } => Failure::refused(error.to_string()),
            _ => Failure::Failed(error.to_string()),
        }
    }
}
