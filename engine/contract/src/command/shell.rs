//! The words of a shell line, as far as they can be told without running it: for warnings, and for
//! what a record tells. Words with an expansion in them are left out, and so are those it writes to.

use std::iter::Peekable;
use std::str::Chars;

/// A word that means itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub text: String,
    pub role: Role,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The name of a command.
    Command,
    /// An argument of the named command, or what it reads its input from.
    Argument { of: String },
}

const SHELLS: [&str; 6] = ["sh", "bash", "dash", "ksh", "zsh", "ash"];

/// After these a command's name is still to come.
const BEFORE_A_COMMAND: [&str; 17] = [
    "!", "{", "}", "if", "then", "elif", "else", "fi", "while", "until", "do", "done", "time",
    "exec", "nohup", "command", "env",
];

/// Which argument of a list is a line for a shell: `[sh, -c, LINE]`, `[bash, -euo, pipefail, -c, LINE]`.
pub(super) fn line_among(list: &[&str]) -> Option<usize> {
    let is_shell = |arg: &&str| SHELLS.contains(&arg.rsplit('/').next().unwrap_or(arg));
    let after = match list.first()?.rsplit('/').next()? {
        "env" => list.iter().position(&is_shell)? + 1,
        _ => list.first().filter(|arg| is_shell(arg)).map(|_| 1)?,
    };
    let mut takes_value = false;
    for (at, arg) in list.iter().enumerate().skip(after) {
        let is_option = arg.starts_with(['-', '+']);
        if is_option && !arg.starts_with("--") && arg.ends_with('c') {
            return (at + 1 < list.len()).then_some(at + 1);
        }
        // The name of a script comes first: what follows is for that.
        if !is_option && !takes_value {
            return None;
        }
        takes_value = is_option && arg.ends_with(['o', 'O']);
    }
    None
}

pub(super) fn words(line: &str) -> Vec<Word> {
    let mut lexer = Lexer {
        chars: line.chars().peekable(),
        words: Vec::new(),
        text: None,
        plain: true,
        command: None,
        next: Next::Word,
        here: Vec::new(),
    };
    lexer.read();
    lexer.words
}

/// What the next word is.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    Word,
    /// Where input comes from.
    Read,
    /// Where output goes.
    Written,
    /// The end of a here-document.
    Here,
}

struct Lexer<'l> {
    chars: Peekable<Chars<'l>>,
    words: Vec<Word>,
    /// The word being read; quotes make an empty one.
    text: Option<String>,
    plain: bool,
    /// `None`: it is still to come.
    command: Option<String>,
    next: Next,
    /// Ends of here-documents that begin on the next line.
    here: Vec<String>,
}

impl Lexer<'_> {
    fn read(&mut self) {
        while let Some(c) = self.chars.next() {
            match c {
                '\n' => {
                    self.end_command();
                    self.skip_here_documents();
                }
                ';' | '&' | '|' | '(' | ')' | '`' => self.end_command(),
                ' ' | '\t' | '\r' => self.end_word(),
                '#' if self.text.is_none() => while self.chars.next_if(|c| *c != '\n').is_some() {},
                '<' | '>' => self.redirect(c),
                '\'' => self.quoted('\''),
                '"' => self.quoted('"'),
                '\\' => self.escaped(),
                '$' if self.chars.peek() == Some(&'(') => {
                    self.chars.next();
                    self.plain = false;
                    self.end_command();
                }
                '$' | '*' | '?' => {
                    self.plain = false;
                    self.push(c);
                }
                c => self.push(c),
            }
        }
        self.end_command();
    }

    fn push(&mut self, c: char) {
        self.text.get_or_insert_default().push(c);
    }

    fn escaped(&mut self) {
        if let Some(c) = self.chars.next().filter(|c| *c != '\n') {
            self.push(c);
        }
    }

    fn quoted(&mut self, quote: char) {
        self.text.get_or_insert_default();
        while let Some(c) = self.chars.next().filter(|c| *c != quote) {
            match c {
                '\\' if quote == '"' => self.escaped(),
                '$' | '`' if quote == '"' => self.plain = false,
                c => self.push(c),
            }
        }
    }

    fn redirect(&mut self, c: char) {
        // `2>`: the number is no word.
        if self
            .text
            .as_ref()
            .is_some_and(|text| text.chars().all(|c| c.is_ascii_digit()))
        {
            self.text = None;
        }
        self.end_word();
        self.next = match (c, self.chars.next_if_eq(&c)) {
            ('>', _) => Next::Written,
            (_, None) => Next::Read,
            (_, Some(_)) if self.chars.next_if_eq(&'<').is_some() => Next::Written,
            (_, Some(_)) => Next::Here,
        };
        // `>&2`, `>|file`, `<<-END`
        self.chars.next_if(|c| matches!(c, '&' | '|' | '-'));
    }

    fn end_word(&mut self) {
        let Some(text) = self.text.take() else {
            self.plain = true;
            return;
        };
        let plain = std::mem::replace(&mut self.plain, true);
        let next = std::mem::replace(&mut self.next, Next::Word);
        match (next, self.command.clone()) {
            (Next::Written, _) => {}
            (Next::Here, _) => self.here.push(text),
            (Next::Read, of) => {
                let of = of.unwrap_or_default();
                self.add(plain, text, Role::Argument { of });
            }
            (Next::Word, Some(of)) => self.add(plain, text, Role::Argument { of }),
            (Next::Word, None) if is_assignment(&text) => {}
            (Next::Word, None) if BEFORE_A_COMMAND.contains(&text.as_str()) => {}
            (Next::Word, None) => {
                self.command = Some(text.clone());
                self.add(plain, text, Role::Command);
            }
        }
    }

    fn add(&mut self, plain: bool, text: String, role: Role) {
        if plain {
            self.words.push(Word { text, role });
        }
    }

    fn end_command(&mut self) {
        self.end_word();
        self.command = None;
        self.next = Next::Word;
    }

    fn skip_here_documents(&mut self) {
        for end in std::mem::take(&mut self.here) {
            loop {
                let mut line = String::new();
                while let Some(c) = self.chars.next_if(|c| *c != '\n') {
                    line.push(c);
                }
                if self.chars.next().is_none() || line.trim_start_matches('\t') == end {
                    break;
                }
            }
        }
    }
}

/// `NAME=value` before a command.
fn is_assignment(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(line: &str) -> (Vec<String>, Vec<String>) {
        let (mut commands, mut arguments) = (Vec::new(), Vec::new());
        for word in words(line) {
            match word.role {
                Role::Command => commands.push(word.text),
                Role::Argument { .. } => arguments.push(word.text),
            }
        }
        (commands, arguments)
    }

    #[test]
    fn the_words_of_a_line_are_told_without_running_it() {
        for (line, commands, arguments) in [
            (
                "tool a.py > \"$OUT\"; echo $X >> out.txt",
                "tool echo",
                "a.py",
            ),
            (
                "python3 train.py --x=1 2>&1 | tee log",
                "python3 tee",
                "train.py --x=1 log",
            ),
            (
                "A=1 B=2 mytool 'my file' < in.txt",
                "mytool",
                "my file in.txt",
            ),
            (
                "if test -f ok; then exec ./run.sh; fi",
                "test ./run.sh",
                "-f ok",
            ),
            ("x=$(tool2 b) && cp parts/* \"$OUT\"", "tool2 cp", "b"),
            (
                "# nothing train.py\ncat <<END\nfake words\nEND\nlast one",
                "cat last",
                "one",
            ),
            ("a \"b`c`\" \"$d\" e\\ f", "a", "e f"),
            ("grep x#y z 2>/dev/null", "grep", "x#y z"),
            ("", "", ""),
        ] {
            let (found, read) = told(line);
            assert_eq!(found.join(" "), commands, "{line}");
            assert_eq!(read.join(" "), arguments, "{line}");
        }
    }

    #[test]
    fn a_list_may_hold_a_shell_line() {
        for (list, at) in [
            (&["sh", "-c", "x"][..], Some(2)),
            (&["/bin/bash", "-euo", "pipefail", "-c", "x", "y"], Some(4)),
            (&["bash", "-lc", "x"], Some(2)),
            (&["env", "bash", "-c", "x"], Some(3)),
            (&["bash", "script.sh"], None),
            (&["bash", "script.sh", "-c", "x"], None),
            (&["python3", "-c", "x"], None),
            (&["sh", "-c"], None),
            (&[], None),
        ] {
            assert_eq!(line_among(list), at, "{list:?}");
        }
    }
}
