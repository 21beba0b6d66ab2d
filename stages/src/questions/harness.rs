//! Texts as the LM evaluation harness makes them, in Python.

/// Python's `str.strip`, which takes more for white space than Rust does.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

pub fn strip_start(text: &str) -> &str {
    text.trim_start_matches(is_space)
}

pub fn strip_end(text: &str) -> &str {
    text.trim_end_matches(is_space)
}

fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Python's `str.capitalize`: the first letter as in a title, the others lowered.
pub fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else {
        return String::new();
    };
    let mut upper = first.to_uppercase();
    let mut title: String = upper.next().into_iter().collect();
    // ß becomes Ss.
    title.extend(upper.flat_map(char::to_lowercase));
    // Lowered as a whole: a sigma looks at what is before it.
    let lowered = text.to_lowercase();
    let begun: usize = first.to_lowercase().map(char::len_utf8).sum();
    title + &lowered[begun..]
}

/// HellaSwag's `preprocess`: without WikiHow's marks.
pub fn without_marks(text: &str) -> String {
    let text = strip(text).replace(" [title]", ". ");
    let (mut kept, mut rest) = (String::new(), text.as_str());
    while let Some(at) = rest.find('[') {
        let (before, mark) = rest.split_at(at);
        kept.push_str(before);
        // A mark is on one line.
        let end = mark
            .find([']', '\n'])
            .filter(|&end| mark[end..].starts_with(']'));
        match end {
            Some(end) => rest = &mark[end + 1..],
            None => {
                kept.push('[');
                rest = &mark[1..];
            }
        }
    }
    kept.push_str(rest);
    kept.replace("  ", " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What CPython 3.12 gives.
    #[test]
    fn texts_are_pythons() {
        for (text, python) in [
            ("he WALKS", "He walks"),
            ("", ""),
            ("ßa", "Ssa"),
            ("ﬁne", "Fine"),
            ("ΑΣ", "Ας"),
            ("- **`--Sweep`", "- **`--sweep`"),
            ("éCOLE", "École"),
            (" he", " he"),
        ] {
            assert_eq!(capitalize(text), python);
        }
        for (text, python) in [
            (" [header] How to [title] do  it ", " How to. do it"),
            ("[a\nb] [c] d", "[a\nb] d"),
            ("[[x] y", " y"),
            ("a [x", "a [x"),
            ("[step] stirs", " stirs"),
            ("a   b", "a  b"),
        ] {
            assert_eq!(without_marks(text), python, "{text:?}");
        }
        assert_eq!(strip("\u{1f} a \u{a0}"), "a");
    }
}
