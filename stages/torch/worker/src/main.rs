//! `climb-torch`: a package of its own, for its tests find libtorch by a path in the binary, and this
//! program must not have one: climb tells it where libtorch is.

/// As climb's own.
const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "-", env!("CLIMB_SOURCES"));

fn main() {
    std::process::exit(climb_torch::main(BUILD))
}
