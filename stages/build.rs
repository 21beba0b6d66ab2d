//! Makes our binaries and tests find libtorch and libxgboost without `LD_LIBRARY_PATH`.
//! Serves both climb-stages and the root package.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn main() {
    if std::env::var("CARGO_PKG_NAME").is_ok_and(|name| name == "climb") {
        name_the_build();
    }
    println!("cargo:rerun-if-env-changed=XGBOOST_LIB_DIR");
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB").ok();
    let xgboost = std::env::var("XGBOOST_LIB_DIR").ok();
    for folder in libtorch.iter().chain(&xgboost) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    // DT_RPATH rather than DT_RUNPATH: it also serves libxgboost's own libgomp.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
    // Nothing names a symbol of libtorch_cuda: the linker would drop it, and with it the CUDA
    // kernels' registration. Only where it exists: PyPI's libtorch.so wants a libtorch_cuda.so
    // that .deps/ leaves out, so libtorch.so must stay out of a CPU build.
    if libtorch.is_some_and(|folder| Path::new(&folder).join("libtorch_cuda.so").exists()) {
        println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
        println!("cargo:rustc-link-arg=-ltorch_cuda");
        println!("cargo:rustc-link-arg=-Wl,--as-needed");
    }
}

/// `CLIMB_SOURCES`: a digest of all that the binary is made of, so that no task is run by another
/// build than the one that made its key.
fn name_the_build() {
    let mut files = vec![PathBuf::from("Cargo.lock")];
    for folder in ["cache/src", "engine/src", "stages/src", "cli"] {
        println!("cargo:rerun-if-changed={folder}");
        files_below(Path::new(folder), &mut files);
    }
    println!("cargo:rerun-if-changed=Cargo.lock");
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        (&file, std::fs::read(&file).unwrap_or_default()).hash(&mut hasher);
    }
    println!("cargo:rustc-env=CLIMB_SOURCES={:016x}", hasher.finish());
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => files_below(&path, files),
            false => files.push(path),
        }
    }
}
