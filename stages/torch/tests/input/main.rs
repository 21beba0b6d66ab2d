//! Encoders that nobody in their right mind would write. See `tests/hostile/mod.rs`.

#[path = "../../../../tests/hostile/mod.rs"]
mod hostile;

mod models;
