//! Files from outside that nobody in their right mind would write: workflows, corpora, models. See
//! `tests/hostile/mod.rs`.

#[path = "../../../tests/hostile/mod.rs"]
mod hostile;

mod corpora;
mod models;
mod workflows;
