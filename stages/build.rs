//! Makes our binaries and tests find libtorch and libxgboost without `LD_LIBRARY_PATH`.
//! Serves both climb-stages and the root package.

use std::path::Path;

fn main() {
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
