//! What becomes of output that cannot be written, as to a file on a full disk.

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
        std::process::exit(i32::from(FAILED));
    }));
}
