//! The end of the process, and what becomes of output that cannot be written, as to a file on a full
//! disk.

use std::io::Write;

use crate::common::FAILED;

/// `println!` and `eprintln!` panic then. Ends the process with a plain error instead: what is in
/// the cache is safe, and so is the state that running tasks have saved.
pub fn end_when_it_fails() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>();
        let failed = text.and_then(|text| text.strip_prefix("failed printing to "));
        let Some(failed) = failed else {
            return usual(info);
        };
        let _ = writeln!(std::io::stderr(), "error: cannot write to {failed}");
        leave(FAILED);
    }));
}

/// Ends the process at once: libtorch would take longer to take itself down than most commands take.
pub fn leave(code: u8) -> ! {
    let code = match std::io::stdout().flush() {
        Err(error) if code == 0 => {
            let _ = writeln!(std::io::stderr(), "error: cannot write to stdout: {error}");
            FAILED
        }
        _ => code,
    };
    // SAFETY: C's own buffers are written; what the exit handlers would free goes with the process.
    unsafe {
        libc::fflush(std::ptr::null_mut());
        libc::_exit(i32::from(code))
    }
}
