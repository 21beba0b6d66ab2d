//! The tar inside an archive. The compression around it is made to fit.
#![no_main]

use std::cell::LazyCell;

use climb_cache::Cache;
use libfuzzer_sys::fuzz_target;

thread_local! {
    static HERE: LazyCell<(tempfile::TempDir, Cache)> = LazyCell::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&dir.path().join("cache"), "fuzz").unwrap();
        (dir, cache)
    });
}

fuzz_target!(|tar: &[u8]| {
    HERE.with(|here| {
        let (dir, cache) = &**here;
        let archive = zstd::encode_all(tar, 1).unwrap();
        if let Err(error) = cache.import(&archive[..]) {
            assert!(
                error.to_string().contains("nothing was imported"),
                "{error}"
            );
        }
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "outside the cache"
        );
    });
});
