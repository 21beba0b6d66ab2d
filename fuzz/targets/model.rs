//! A file of an encoder's folder: the first byte says which, the rest is the file.
#![no_main]

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/hostile/entry/model.rs"]
mod entry;

thread_local! {
    static DIR: LazyCell<tempfile::TempDir> = LazyCell::new(|| {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("model")).unwrap();
        entry::write_encoder(&dir.path().join("model"));
        entry::documents(&dir.path().join("documents"));
        dir
    });
}

// A library's panic that is caught is no finding; one that gets out of here still ends the fuzzer.
fuzz_target!(init: { std::panic::set_hook(Box::new(|_| {})); }, |bytes: &[u8]| {
    let Some((which, bytes)) = bytes.split_first() else {
        return;
    };
    DIR.with(|dir| {
        let model = dir.path().join("model");
        let path = model.join(entry::NAMES[usize::from(*which) % entry::NAMES.len()]);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
        entry::embed(dir.path(), &model);
        std::fs::write(&path, whole).unwrap();
    });
});
