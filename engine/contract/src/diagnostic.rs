//! What is wrong with a workflow, and where. Rendering is the command line's business.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A place in a workflow file. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    #[serde(serialize_with = "plainly")]
    pub file: Arc<PathBuf>,
    pub line: usize,
    pub column: usize,
    /// Characters to underline.
    pub len: usize,
}

fn plainly<S: Serializer>(file: &Arc<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    file.as_path().serialize(serializer)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    Error,
    Warning,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// What was wrong, e.g. `unknown stage kind \`kmean\``.
    pub message: String,
    /// `None` for problems outside the file (a bad `--set`, a file that cannot be read).
    pub span: Option<Span>,
    /// Shorter text beside the underline.
    pub label: Option<String>,
    /// What to do: `did you mean \`kmeans\`?`
    pub help: Option<String>,
}

/// Longer messages are cut: they quote values, which may be of any length.
const MAX_TEXT: usize = 4000;

fn cut(mut text: String) -> String {
    if text.len() > MAX_TEXT {
        let end = (0..=MAX_TEXT).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
        text.shrink_to_fit();
    }
    text
}

impl Diagnostic {
    pub fn error(message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Error,
            message: cut(message.into()),
            span: None,
            label: None,
            help: None,
        }
    }

    pub fn warning(message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            severity: Severity::Warning,
            ..Diagnostic::error(message)
        }
    }

    pub fn at(mut self, span: Span) -> Diagnostic {
        self.span = Some(span);
        self
    }

    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = Some(label.into());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> Diagnostic {
        self.help = Some(cut(help.into()));
        self
    }

    /// `w.yaml:3:7: k is 50 (lower it)`, where there is no room for the lines around it.
    pub fn in_a_line(&self) -> String {
        let place = self.span.as_ref().map_or(String::new(), |span| {
            format!("{}:{}:{}: ", span.file.display(), span.line, span.column)
        });
        let help = self.help.as_ref();
        let help = help.map_or(String::new(), |help| format!(" ({help})"));
        format!("{place}{}{help}", self.message)
    }
}
