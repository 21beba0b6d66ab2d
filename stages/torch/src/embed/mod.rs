//! The body of `embed`.

mod bert;
mod encoder;
mod pool;
mod run;

pub use run::run;

#[cfg(test)]
mod tests;
