//! By itself, as it looks at what its process reads.

mod common;

use std::fs;

use climb_cache::{Artifact, Digest};

use common::open;

/// Bytes that this process has read by system calls.
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("Linux");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: "));
    line.expect("a line").parse().expect("a number")
}

#[test]
fn an_object_that_many_starting_tasks_need_is_hashed_once() {
    const SIZE: usize = 32 << 20;
    let dir = tempfile::tempdir().unwrap();
    let artifact: Artifact = {
        let cache = open(dir.path());
        let work = cache.work_dir(&Digest::of(b"maker")).unwrap();
        fs::write(work.join("pack"), vec![7; SIZE]).unwrap();
        cache.store(&work.join("pack")).unwrap()
    };
    let cache = open(dir.path());
    let before = bytes_read();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let checkout = cache.checkout(&artifact).unwrap();
                assert_eq!(checkout.changes().unwrap(), []);
            });
        }
    });
    let read = bytes_read() - before;
    assert!(read >= SIZE as u64, "it was not looked at");
    assert!(read < 3 * SIZE as u64 / 2, "{read} bytes were read");
}
