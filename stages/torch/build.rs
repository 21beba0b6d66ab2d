//! Makes this crate's tests find libtorch and libxgboost without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo:rerun-if-env-changed=XGBOOST_LIB_DIR");
    let libtorch = std::env::var("DEP_TCH_LIBTORCH_LIB").ok();
    for folder in libtorch
        .into_iter()
        .chain(std::env::var("XGBOOST_LIB_DIR").ok())
    {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    // DT_RPATH rather than DT_RUNPATH: it also serves libxgboost's own libgomp.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
}
