//! Output that people read, compared with files in tests/snapshots. `SNAPSHOTS=overwrite` writes
//! them anew; read the difference before committing it.

use std::path::Path;

use snapbox::{Assert, Data};

/// Compares `text` with tests/snapshots/`name`.txt.
pub fn check(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/snapshots/{name}.txt"));
    let expected = Data::read_from(&file, None);
    Assert::new().action_env("SNAPSHOTS").eq(text, expected);
}

/// [`check`] after replacing what differs from run to run: ids, times, sizes, and the width of
/// tables.
pub fn check_table(name: &str, text: &str) {
    let lines: Vec<String> = text.lines().map(steady).collect();
    check(name, &(lines.join("\n") + "\n"));
}

/// [`check_table`] after replacing every number with a fraction too: measured amounts and scores.
pub fn check_masked(name: &str, text: &str) {
    let mask = |word: &str| -> String {
        let bare = word.trim_matches(|c: char| "+-±,;()".contains(c));
        let number = bare.trim_end_matches(['k', 'M', 'G', 'T']);
        match number.parse::<f64>() {
            // A difference that is none has no sign, and the next text may make one of it.
            Ok(0.0) if number.contains('.') && word == bare => "±[#]".into(),
            Ok(_) if number.contains('.') => word.replace(bare, "[#]").replace(['+', '-'], "±"),
            _ => word.into(),
        }
    };
    let line = |line: &str| line.split(' ').map(mask).collect::<Vec<_>>().join(" ");
    let lines: Vec<String> = text.lines().map(line).collect();
    check_table(name, &lines.join("\n"));
}

const UNITS: [&str; 7] = ["ms", "s", "B", "KiB", "MiB", "KiB/s", "MiB/s"];

fn steady(line: &str) -> String {
    let line = line.replace(['─', '═'], " ");
    let words: Vec<&str> = line.split_whitespace().collect();
    let bare = |i: usize| -> &str {
        let word: &str = words.get(i).copied().unwrap_or_default();
        word.trim_matches(|c: char| "():,.".contains(c))
    };
    let steady: Vec<String> = (0..words.len())
        // `1 min 05 s` is as good as `5 s`.
        .filter(|&i| bare(i) != "min" && bare(i + 1) != "min")
        .map(|i| words[i].replace(bare(i), &stand_in(bare(i), bare(i + 1))))
        .collect();
    steady.join(" ")
}

/// What stands for a word that the word `next` follows.
fn stand_in(word: &str, next: &str) -> String {
    match word {
        word if UNITS.contains(&word) => "[UNIT]".into(),
        // Whether it has a fraction hangs on how fast the machine is.
        "[#]" if UNITS.contains(&next) => "[N]".into(),
        word if word.parse::<f64>().is_ok() && UNITS.contains(&next) => "[N]".into(),
        word if shaped(word, "9999-99-99") => "[DATE]".into(),
        word if shaped(word, "99:99") || shaped(word, "99:99:99") => "[CLOCK]".into(),
        word if word.parse::<usize>().is_ok() && next == "cpus" => "[N]".into(),
        word if word
            .get(..15)
            .is_some_and(|id| shaped(id, "99999999-999999")) =>
        {
            // Of two runs in one second the later one is numbered.
            let (name, number) = word[15..].rsplit_once('-').unwrap_or_default();
            match !name.is_empty() && number.parse::<u32>().is_ok() {
                true => format!("[TIME]{name}"),
                false => format!("[TIME]{}", &word[15..]),
            }
        }
        word => word.into(),
    }
}

fn shaped(text: &str, shape: &str) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape.bytes()).all(|(c, s)| match s {
            b'9' => c.is_ascii_digit(),
            s => c == s,
        })
}
