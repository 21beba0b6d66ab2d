//! What numeric libraries say when they fail: a message, then a dump of their own stack. People get
//! the message in plain words; the dump is for the log.

/// Stands before a library's whole text in a task's log.
pub const WHOLE: &str = "the library's whole words: ";

/// Where a dump of C++ frames begins, as it is or as `{:?}` writes it.
const DUMPS: [&str; 4] = [
    "\nframe #",
    "\\nframe #",
    "\nException raised from",
    "\\nException raised from",
];

/// A text without the dump in it, and whether there was one. What is wrapped around a library's
/// error goes too.
pub fn without(text: &str) -> (String, bool) {
    let at = DUMPS.iter().filter_map(|dump| text.find(dump)).min();
    let Some(at) = at else {
        return (text.to_string(), false);
    };
    let message = text[..at].trim_end();
    let wrapped = "called `Result::unwrap()` on an `Err` value: Torch(\"";
    (message.replacen(wrapped, "libtorch: ", 1), true)
}

/// The size that was asked for where memory ended, as libtorch tells it on a CPU or a GPU.
pub fn out_of_memory(text: &str) -> Option<String> {
    let after = |sign: &str| text.find(sign).map(|at| &text[at + sign.len()..]);
    if let Some(rest) = after("you tried to allocate ") {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let bytes: f64 = rest[..digits].parse().ok()?;
        return Some(format!("{:.1} GiB", bytes / (1u64 << 30) as f64));
    }
    let rest = after("out of memory. Tried to allocate ")?;
    let size: Vec<&str> = rest.split_whitespace().take(2).collect();
    Some(size.join(" ").trim_end_matches('.').to_string())
}

/// The lines of a built-in stage's log that are no dump: its error says all that people need.
pub fn before<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let is_dump = |line: &&str| {
        line.contains(WHOLE) || (line.starts_with("thread '") && line.contains("panicked at "))
    };
    let end = lines.iter().position(is_dump).unwrap_or(lines.len());
    lines[..end].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: &str = "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at \
                       alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you \
                       tried to allocate 137438953472 bytes. Error code 12 (Cannot allocate \
                       memory)\\nframe #0: c10::ThrowEnforceNotMet(char const*) + 0x5f\\nframe #1\")";
    const GPU: &str = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity \
                       of 79.1 GiB\nException raised from malloc at CUDACachingAllocator.cpp:1\nframe";

    #[test]
    fn a_dump_goes_and_the_message_stays() {
        let (said, had_dump) = without(CPU);
        assert!(
            had_dump && said.starts_with("libtorch: [enforce fail"),
            "{said}"
        );
        assert!(said.ends_with("(Cannot allocate memory)"), "{said}");
        assert!(without(GPU).0.ends_with("capacity of 79.1 GiB"));
        assert_eq!(without("plain\nwords"), ("plain\nwords".into(), false));
    }

    #[test]
    fn what_was_asked_for_is_told() {
        assert_eq!(out_of_memory(CPU).as_deref(), Some("128.0 GiB"));
        assert_eq!(out_of_memory(GPU).as_deref(), Some("20.00 GiB"));
        assert_eq!(out_of_memory("no memory of it"), None);
    }

    #[test]
    fn what_a_task_said_before_a_panic_is_shown() {
        let log = [
            "step 1",
            "thread 'main' (7) panicked at tch.rs:1:",
            "frames",
        ];
        assert_eq!(before(&log), ["step 1"]);
        assert_eq!(before(&log[..1]), ["step 1"]);
    }
}
