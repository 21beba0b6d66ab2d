//! A Parquet file, as a corpus and as questions. Start it from small real files (`corpus/parquet/`).
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hostile/entry/corpus.rs"]
mod entry;

// A library's panic that is caught is no finding; one that gets out of here still ends the fuzzer.
fuzz_target!(init: { std::panic::set_hook(Box::new(|_| {})); }, |bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    std::fs::write(&path, bytes).unwrap();
    entry::read(dir.path(), &path, &entry::params(false));
    entry::look(&path);
    entry::ask(&path);
});
