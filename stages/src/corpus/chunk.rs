//! Cutting long texts where people would.

/// Pieces of at most `limit` characters (0: the whole), cut at the last blank line, else the last
/// line end, else the last space, of each piece. Together they are the text.
pub fn pieces(text: &str, limit: usize) -> Vec<&str> {
    if limit == 0 {
        return vec![text];
    }
    let (mut pieces, mut rest) = (Vec::new(), text);
    loop {
        let Some((end, _)) = rest.char_indices().nth(limit) else {
            if !rest.is_empty() || pieces.is_empty() {
                pieces.push(rest);
            }
            return pieces;
        };
        let window = &rest[..end];
        // Not so early that the piece is tiny.
        let late = |at: usize| (at > end / 3).then_some(at);
        let cut = window
            .rfind("\n\n")
            .and_then(|at| late(at + 2))
            .or_else(|| window.rfind('\n').and_then(|at| late(at + 1)))
            .or_else(|| window.rfind(' ').and_then(|at| late(at + 1)))
            .unwrap_or(end);
        pieces.push(&rest[..cut]);
        rest = &rest[cut..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cuts_are_at_paragraphs_then_lines_then_words() {
        assert_eq!(pieces("aaaa\n\nbbbb cc", 8), ["aaaa\n\n", "bbbb cc"]);
        assert_eq!(pieces("aaaa\nbb cccc", 8), ["aaaa\n", "bb cccc"]);
        assert_eq!(pieces("aaaa bb cccc", 9), ["aaaa bb ", "cccc"]);
        assert_eq!(pieces("aaaaaaaaaa", 4), ["aaaa", "aaaa", "aa"]);
        assert_eq!(pieces("", 4), [""]);
    }

    proptest! {
        #[test]
        fn nothing_is_lost(text in "[a-zé \n]{0,200}", limit in 1usize..40) {
            let pieces = pieces(&text, limit);
            prop_assert!(pieces.iter().all(|piece| piece.chars().count() <= limit));
            prop_assert_eq!(pieces.concat(), text.as_str());
        }
    }
}
