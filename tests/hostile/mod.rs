//! What the tests of hostile input share: input that nobody in their right mind would write is a
//! result or an error with a message; no panic, no memory out of proportion, nothing outside its
//! folder. The passes are short and seeded (`CLIMB_TORTURE_SEED`); `CLIMB_HOSTILE=N` makes them N
//! times as long, `CLIMB_HOSTILE_CASE=N` repeats one case. `fuzz/` has the same entry points for
//! cargo-fuzz.

mod meter;
pub mod mutate;
#[path = "../torture/random.rs"]
pub mod random;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use random::Random;

/// More of the processor's time for one case is a hang.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `case` so often, each time with random choices of its own. Fails at the first that panics,
/// hangs, or has more than `bound` bytes allocated at once.
pub fn cases(count: u64, bound: usize, mut case: impl FnMut(&mut Random)) {
    // The meter is the whole process's.
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let all = match number("CLIMB_HOSTILE_CASE") {
        Some(one) => one..one + 1,
        None => 0..count * number("CLIMB_HOSTILE").unwrap_or(1),
    };
    let mut most = (0, 0);
    let mut slowest = (Duration::ZERO, 0);
    for n in all {
        meter::CASE.store(n, Relaxed);
        let start = processor_time();
        let mut random = Random::numbered(n);
        let run = || catch_unwind(AssertUnwindSafe(|| case(&mut random)));
        let (result, bytes) = meter::peak_of(run);
        let took = processor_time() - start;
        assert!(result.is_ok(), "case {n} panicked");
        assert!(bytes <= bound, "case {n} had {bytes} bytes allocated");
        assert!(took < PATIENCE, "case {n} took {took:?}");
        most = most.max((bytes, n));
        slowest = slowest.max((took, n));
    }
    eprintln!("most memory {most:?}, slowest {slowest:?}");
}

/// What this process has had of the processor, however busy the machine is.
fn processor_time() -> Duration {
    // SAFETY: timespec is plain data, and outlives the call.
    let time = unsafe {
        let mut time: libc::timespec = std::mem::zeroed();
        libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time);
        time
    };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// One of `all`.
pub fn pick<'a, T>(all: &'a [T], random: &mut Random) -> &'a T {
    &all[random.below(all.len() as u64) as usize]
}
