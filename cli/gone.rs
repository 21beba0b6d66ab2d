//! A working folder that is gone. libtorch's own start ends the process there, before `main`, with a
//! word about a library that it cannot load: so this looks before any library starts.

use std::sync::atomic::{AtomicBool, Ordering};

static GONE: AtomicBool = AtomicBool::new(false);

/// Run by the loader before the initialisers of the libraries.
#[used]
#[unsafe(link_section = ".preinit_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    let mut path = [0u8; libc::PATH_MAX as usize];
    // SAFETY: the buffer is as long as is said.
    let found = unsafe { libc::getcwd(path.as_mut_ptr().cast(), path.len()) };
    if found.is_null() && std::io::Error::last_os_error().raw_os_error() == Some(libc::ENOENT) {
        GONE.store(true, Ordering::Relaxed);
        // SAFETY: a plain system call with a string that ends.
        unsafe { libc::chdir(c"/".as_ptr()) };
    }
}

/// Whether it was gone when the process began.
pub fn is_gone() -> bool {
    GONE.load(Ordering::Relaxed)
}
