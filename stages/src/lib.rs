//! The CLIMB stages (arXiv 2504.13161), one module each. Knows ML, knows nothing of scheduling or
//! storage.

pub mod formats;
