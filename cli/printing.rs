//! The one door to the terminal: what is printed goes through it, and no control character comes out.
//!
//! Workflows, logs, archives, file names and errors of programs are other people's words. A terminal
//! obeys what is in them: it may be renamed, cleared, made to type. So `println!` and the like are
//! this module's here, and show such characters as `\u001b`, which a JSON text reads as the same
//! character. Output that is ours to colour goes through [`styled`].

use std::borrow::Cow;
use std::io::ErrorKind::BrokenPipe;
use std::io::Write;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use crate::failure::FAILED;

/// As the standard library's, with control characters made visible.
macro_rules! print {
    ($($text:tt)*) => { $crate::printing::out(&format!($($text)*)) };
}

/// As the standard library's, with control characters made visible.
macro_rules! println {
    () => { $crate::printing::out("\n") };
    ($($text:tt)*) => { $crate::printing::out(&(format!($($text)*) + "\n")) };
}

/// As the standard library's, with control characters made visible.
macro_rules! eprintln {
    () => { $crate::printing::err("\n") };
    ($($text:tt)*) => { $crate::printing::err(&(format!($($text)*) + "\n")) };
}

pub fn out(text: &str) {
    bytes(visible(text).as_bytes());
}

/// To stdout as they are. Nobody who wants them any more (`climb log | head`) is no error.
pub fn bytes(bytes: &[u8]) {
    match std::io::stdout().write_all(bytes) {
        Ok(()) => {}
        Err(error) if error.kind() == BrokenPipe => closed(),
        Err(error) => fail(&error),
    }
}

static WORKS_ON: AtomicBool = AtomicBool::new(false);

/// From here on there is work that does not end because stdout is closed, and tells its own exit code.
pub fn work_on_when_closed() {
    WORKS_ON.store(true, Relaxed);
}

/// Stdout was closed: quietly ends a command that was there to print.
pub fn closed() {
    if !WORKS_ON.load(Relaxed) {
        leave(CLOSED);
    }
}

/// What is said beside the work never ends it: there may be nobody left to hear it.
pub fn err(text: &str) {
    let _ = std::io::stderr().write_all(visible(text).as_bytes());
}

/// To stderr as it is: of our own making, with everybody else's words in it made [`visible`] before.
pub fn styled(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// The exit code of a program whose stdout was closed, as of one that SIGPIPE ended.
const CLOSED: u8 = 128 + 13;

/// Control characters as `\u001b`; line ends and tabs stay.
pub fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match obeyed(c) {
            true => shown.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// As [`visible`], a character for each: for texts in which places are counted.
pub fn visible_in_place(text: &str) -> String {
    let shown = |c: char| match u32::from(c) {
        // Before a line's end it is part of that.
        0x0d => c,
        n @ 0..0x20 if obeyed(c) => char::from_u32(0x2400 + n).expect("a control picture"),
        0x7f => '\u{2421}',
        _ if obeyed(c) => char::REPLACEMENT_CHARACTER,
        _ => c,
    };
    let mut text: String = text.chars().map(shown).collect();
    if text.contains('\r') {
        text = text.replace("\r\n", "\n");
        text = text.replace('\r', "\u{240d}");
    }
    text
}

/// Whether a terminal does something at this character besides showing it: control characters, and
/// those that turn the direction of the text around.
fn obeyed(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || (c.is_control() && c != '\n' && c != '\t')
}

/// Ends the process with a plain error: what is in the cache is safe, and so is the state that
/// running tasks have saved.
pub fn fail(error: &std::io::Error) -> ! {
    let _ = writeln!(std::io::stderr(), "error: cannot write to stdout: {error}");
    leave(FAILED)
}

static LOST: AtomicBool = AtomicBool::new(false);

/// Something that was asked for did not reach stdout: a success is none any more.
pub fn lost() {
    LOST.store(true, Relaxed);
}

/// Ends the process at once: libtorch would take longer to take itself down than most commands take.
pub fn leave(code: u8) -> ! {
    let code = match code {
        0 if LOST.load(Relaxed) => FAILED,
        code => code,
    };
    let code = match std::io::stdout().flush() {
        Err(error) if error.kind() == BrokenPipe => match WORKS_ON.load(Relaxed) {
            true => code,
            false if code == 0 => CLOSED,
            false => code,
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_made_visible_and_json_stays_the_same() {
        assert_eq!(visible("a\tb\nné"), "a\tb\nné");
        assert_eq!(
            visible("\x1b]0;x\x07 \u{9b}31m \r"),
            "\\u001b]0;x\\u0007 \\u009b31m \\u000d"
        );
        let value = serde_json::json!({"text": "\x1b \x7f \u{85} \u{202e}"});
        let text = value.to_string();
        let shown = visible(&text).into_owned();
        assert!(!shown.contains(obeyed), "{shown}");
        let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, value);
    }

    #[test]
    fn places_in_a_text_stay_where_they_are() {
        let text = "a\x1bb\x7f\u{9b}c\n d";
        let shown = visible_in_place(text);
        assert_eq!(shown, "a␛b␡\u{fffd}c\n d");
        assert_eq!(shown.chars().count(), text.chars().count());
    }
}
