//! Numbers of things, as people write them.

use std::fmt::Display;

/// `1 task`, `4 tasks`, `1 index entry`, `15,954 index entries`.
pub fn count(n: impl Display, noun: &str) -> String {
    let n = n.to_string();
    match n.as_str() {
        "1" => format!("1 {noun}"),
        _ => format!("{n} {}", plural(noun)),
    }
}

/// The plural of a noun, or of some words that end with one.
fn plural(noun: &str) -> String {
    const HISSING: [&str; 5] = ["s", "x", "ch", "sh", "z"];
    let before_y = noun.strip_suffix('y').filter(|stem| {
        let vowels = ['a', 'e', 'i', 'o', 'u'];
        !stem.ends_with(vowels)
    });
    match before_y {
        Some(stem) => format!("{stem}ies"),
        None if HISSING.iter().any(|end| noun.ends_with(end)) => format!("{noun}es"),
        None => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thing_is_not_many() {
        assert_eq!(count(1, "task"), "1 task");
        assert_eq!(count(0, "task"), "0 tasks");
        assert_eq!(count(2u64, "key"), "2 keys");
        assert_eq!(count("15,954", "index entry"), "15,954 index entries");
        assert_eq!(count(1, "index entry"), "1 index entry");
        assert_eq!(count(3, "bad process"), "3 bad processes");
        assert_eq!(count(2, "proxy"), "2 proxies");
    }
}
