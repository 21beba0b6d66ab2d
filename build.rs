//! Of the programs climb and climb-torch: the name of the build, and where libxgboost is.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

fn main() {
    name_the_build();
    println!("cargo:rerun-if-env-changed=XGBOOST_LIB_DIR");
    // Beside the checkout's target folder, wherever that is moved to; and where it was built.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../../.deps/xgboost");
    if let Ok(folder) = std::env::var("XGBOOST_LIB_DIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    // DT_RPATH rather than DT_RUNPATH: it also serves libxgboost's own libgomp. libtorch must not be
    // in it, as it goes before the LD_LIBRARY_PATH by which climb tells its worker where libtorch is.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
}

/// `CLIMB_SOURCES`: a digest of all that the programs are made of, so that no task is run by another
/// build than the one that made its key.
fn name_the_build() {
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let root = Path::new(&package)
        .ancestors()
        .find(|dir| dir.join("Cargo.lock").is_file());
    let root = root.expect("the workspace has a lock file");
    let mut files = vec![root.join("Cargo.lock")];
    for folder in [
        "cache/src",
        "engine/src",
        "engine/contract/src",
        "engine/workflow/src",
        "stages/src",
        "stages/torch/src",
        "stages/torch/worker/src",
        "cli",
    ] {
        println!("cargo:rerun-if-changed={}", root.join(folder).display());
        files_below(&root.join(folder), &mut files);
    }
    println!("cargo:rerun-if-changed={}", files[0].display());
    files.sort();
    let mut hasher = DefaultHasher::new();
    for file in files {
        let name = file.strip_prefix(root).unwrap_or(&file);
        (name, std::fs::read(&file).unwrap_or_default()).hash(&mut hasher);
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
