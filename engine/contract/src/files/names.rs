//! Names of files in keys, records and messages.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A relative path as a name: itself where it is UTF-8. Where it is not, each byte that is none of
/// UTF-8 is `\xE9`, say, and each `\` is `\\`, as in a literal of Rust or C, so that no two paths
/// have one name. (So a UTF-8 path with such an `\xE9` in it is written alike.)
pub fn name_of(path: &Path) -> String {
    let bytes = path.as_os_str().as_bytes();
    match std::str::from_utf8(bytes) {
        Ok(name) if !has_escape(name) => name.to_string(),
        _ => escaped(bytes),
    }
}

/// Whether a `/`-separated name is one of a hidden file, or of one in a hidden folder.
pub fn is_hidden(name: &str) -> bool {
    let hidden = |part: &str| part.starts_with('.') && part != "." && part != "..";
    name.split('/').any(hidden)
}

fn has_escape(name: &str) -> bool {
    let hex = |byte: &u8| matches!(byte, b'0'..=b'9' | b'A'..=b'F');
    let windows = name.as_bytes().windows(4);
    windows
        .into_iter()
        .any(|w| w.starts_with(b"\\x") && w[2..].iter().all(hex))
}

fn escaped(bytes: &[u8]) -> String {
    let mut name = String::new();
    for chunk in bytes.utf8_chunks() {
        name.push_str(&chunk.valid().replace('\\', "\\\\"));
        for byte in chunk.invalid() {
            name.push_str(&format!("\\x{byte:02X}"));
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ffi::OsStr;

    use super::*;

    fn name(bytes: &[u8]) -> String {
        name_of(Path::new(OsStr::from_bytes(bytes)))
    }

    #[test]
    fn no_two_paths_have_one_name() {
        let paths: [&[u8]; 8] = [
            b"a/caf\xe9",
            b"a/caf\xe8",
            "a/café".as_bytes(),
            b"a/caf\\xE9",
            b"a/caf\\\\xE9",
            b"a/\\caf\xe9",
            b"a/\\\\caf\xe9",
            "a/caf\u{fffd}".as_bytes(),
        ];
        let names: BTreeSet<String> = paths.into_iter().map(name).collect();
        assert_eq!(names.len(), paths.len(), "{names:?}");
    }

    #[test]
    fn a_name_in_utf8_is_itself() {
        assert_eq!(name("a/é\\n.md".as_bytes()), "a/é\\n.md");
        assert_eq!(name(b"caf\xe9.md"), "caf\\xE9.md");
    }
}
