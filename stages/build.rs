//! Makes this crate's tests find libxgboost without `LD_LIBRARY_PATH`.

fn main() {
    println!("cargo:rerun-if-env-changed=XGBOOST_LIB_DIR");
    if let Ok(folder) = std::env::var("XGBOOST_LIB_DIR") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{folder}");
    }
    // DT_RPATH rather than DT_RUNPATH: it also serves libxgboost's own libgomp.
    println!("cargo:rustc-link-arg=-Wl,--disable-new-dtags");
}
