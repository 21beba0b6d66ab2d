//! The JSON of a record's file. Its checksum is made to fit, or nothing behind it would be reached.
#![no_main]

use std::cell::LazyCell;

use climb_cache::{Digest, look};
use libfuzzer_sys::fuzz_target;

thread_local! {
    static CACHE: LazyCell<tempfile::TempDir> = LazyCell::new(|| tempfile::tempdir().unwrap());
}

fuzz_target!(|json: &[u8]| {
    CACHE.with(|cache| {
        let key = Digest::of(b"whatever");
        let hex = key.hex();
        let folder = cache.path().join("records").join(&hex[..2]);
        std::fs::create_dir_all(&folder).unwrap();
        let file = [Digest::of(json).hex().as_bytes(), b"\n", json].concat();
        std::fs::write(folder.join(&hex[2..]), file).unwrap();
        if let Some(record) = look::record(cache.path(), &key) {
            for artifact in record.outputs.values() {
                let _ = (artifact.digest(), artifact.size());
                for (_, file) in artifact.files() {
                    let _ = look::bytes(cache.path(), &key, &file);
                }
            }
        }
    });
});
