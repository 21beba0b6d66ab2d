//! An allocator that counts, and refuses what nobody needs: the memory that a case asks for is
//! part of what the tests here look at.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// No single allocation may be larger: a declared size was believed.
const MOST: usize = 5 << 30;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// The case that is running, to be named should the process end.
pub static CASE: AtomicU64 = AtomicU64::new(0);

pub struct Meter;

#[global_allocator]
static METER: Meter = Meter;

impl Meter {
    fn grow(by: usize) {
        let now = NOW.fetch_add(by, Relaxed) + by;
        PEAK.fetch_max(now, Relaxed);
    }
}

// SAFETY: all is handed to the system's allocator, or refused as it may be.
unsafe impl GlobalAlloc for Meter {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST {
            return refuse(layout.size());
        }
        Meter::grow(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > MOST {
            return refuse(layout.size());
        }
        Meter::grow(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > MOST {
            return refuse(size);
        }
        Meter::grow(size);
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.realloc(at, layout, size) }
    }
}

/// The process ends after this, in Rust's own words; the case is named before.
fn refuse(size: usize) -> *mut u8 {
    let case = CASE.load(Relaxed);
    let text = format!("case {case} asks for {size} bytes at once\n");
    // SAFETY: a plain write; `eprintln!` is captured, and lost with the process.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    std::ptr::null_mut()
}

/// What `f` returns, and the most bytes that were allocated meanwhile.
pub fn peak_of<T>(f: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = f();
    (result, PEAK.load(Relaxed).saturating_sub(before))
}
