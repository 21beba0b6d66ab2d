//! Threads, before anything needs them. rayon panics where it can have none, and sled waits for ever.

use std::io;
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::thread::{Builder, available_parallelism};

use rayon::ThreadPoolBuilder;

use crate::error::CacheError;

/// What is needed beside rayon's pool: seven of sled's pool and its flusher, and a few of our own.
const BESIDE: usize = 12;

/// Makes rayon's pool, as large as the machine and its limits allow, and sees that there is room for
/// the others.
pub(crate) fn prepare() -> Result<(), CacheError> {
    static READY: Mutex<bool> = Mutex::new(false);
    let mut ready = READY.lock().expect("not poisoned");
    if *ready {
        return Ok(());
    }
    let wanted = pool_size();
    let possible = probe(wanted + BESIDE).map_err(|source| CacheError::NoThreads {
        source,
        needed: BESIDE + 1,
    })?;
    // An error: somebody else made the pool before.
    let pool = ThreadPoolBuilder::new().num_threads(possible - BESIDE);
    let _ = pool.build_global();
    *ready = true;
    Ok(())
}

/// As rayon has it.
fn pool_size() -> usize {
    let asked = std::env::var("RAYON_NUM_THREADS").ok();
    let asked = asked.and_then(|text| text.parse().ok()).filter(|&n| n > 0);
    asked.unwrap_or_else(|| available_parallelism().map_or(1, usize::from))
}

/// How many threads there can be at once, of so many; an error where that is too few for us.
fn probe(most: usize) -> io::Result<usize> {
    let mut waiting = Vec::new();
    for _ in 0..most {
        let (end, wait) = channel::<()>();
        match Builder::new().spawn(move || _ = wait.recv()) {
            Ok(thread) => waiting.push((end, thread)),
            Err(error) if waiting.len() <= BESIDE => return Err(error),
            Err(_) => break,
        }
    }
    let count = waiting.len();
    for (end, thread) in waiting {
        drop(end);
        let _ = thread.join();
    }
    Ok(count)
}
