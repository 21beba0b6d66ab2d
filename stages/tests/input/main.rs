//! Files from outside that nobody in their right mind would write: workflows, corpora. See
//! `tests/hostile/mod.rs`.

// Others use the rest of it.
#[allow(dead_code)]
#[path = "../../../tests/hostile/mod.rs"]
mod hostile;

mod corpora;
mod workflows;
