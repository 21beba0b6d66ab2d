//! Sweeps: one workflow in many variants, compiled into one graph in which equal tasks are one.
//!
//! [`spec`] says which variants there are; each is loaded into a graph of its own; [`union`] makes
//! one of them. Tasks that only turn out to be equal while they run have equal keys, and the
//! scheduler runs them once anyway.

mod names;
mod spec;
mod union;

pub use names::is_variant_name;
pub use spec::{MAX_VARIANTS, Seeds, Setting, Settings, Spec, Variant};
pub use union::{Member, Union};
