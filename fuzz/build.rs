//! Nothing to do: it is here for the feature of syn, see Cargo.toml.

fn main() {}
