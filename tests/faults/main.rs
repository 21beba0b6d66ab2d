//! Faults of the disk: a write that fails at every place there is, limits of the real system, and
//! what is on the disk after a power loss at any moment. `make test` runs a short pass of each,
//! `make torture` the long one. The disk's faults are made by `interpose.c`, which `layer.rs` loads
//! into the binary.
#![cfg(target_os = "linux")]

#[path = "../e2e/workspace.rs"]
#[allow(dead_code)]
mod workspace;

#[path = "../torture/random.rs"]
mod random;

#[path = "../torture/pieces.rs"]
#[allow(dead_code)]
mod pieces;

mod changes;
mod disk;
mod failing;
mod layer;
mod limits;
mod power;

/// Whether the long pass is asked for.
fn long() -> bool {
    std::env::var_os("CLIMB_TORTURE").is_some()
}

/// Calls `f` for each of `0..count`, two at a time: most of each is waiting for the disk.
fn each(count: usize, f: impl Fn(usize) + Sync) {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if i >= count {
                        return;
                    }
                    f(i);
                }
            });
        }
    });
}
