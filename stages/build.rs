//! Makes our binaries and tests find libtorch and libxgboost without `LD_LIBRARY_PATH`.
//! Serves both climb-stages and the root package.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=XGBOOST_LIB_DIR");
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB").ok();
    let xgboost = std::env::var("XGBOOST_LIB_DIR").ok();
    for folder in libtorch.iter().chain(&xgboost) {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    // DT_RPATH rather than DT_RUNPATH: it also serves libxgboost's own libgomp.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
    // Without this the linker drops libtorch, and with it the CUDA kernels' registration.
    println!("cargo:rustc-link-arg=-Wl,--no-as-needed");
    println!("cargo:rustc-link-arg=-ltorch");
}
