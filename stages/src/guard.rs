//! Libraries that may panic on a file that somebody made for it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::anyhow;

/// What `f` returns; a panic in it is an error. For reading only: what `f` has half done is dropped.
pub fn caught<T>(f: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or(panic.downcast_ref::<&str>().copied());
        Err(anyhow!(
            "it makes no sense ({})",
            text.unwrap_or("no reason given")
        ))
    })
}
