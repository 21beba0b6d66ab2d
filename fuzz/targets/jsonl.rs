//! A JSONL corpus.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hostile/entry/corpus.rs"]
#[allow(dead_code)]
mod entry;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.jsonl");
    std::fs::write(&path, bytes).unwrap();
    for tokens in [false, true] {
        entry::read(dir.path(), &path, &entry::params(tokens));
    }
    entry::look(&path);
});
