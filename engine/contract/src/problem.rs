//! What is wrong with a parameter.

use crate::diagnostic::{Diagnostic, Severity, Span};

/// A problem with a parameter that its schema cannot express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParamProblem {
    /// The field, dotted for nested ones: `heldout.fraction`, `run[1]`; `needs.x` is a port's
    /// wiring.
    pub field: String,
    pub message: String,
    pub help: Option<String>,
    pub severity: Severity,
    /// Another field that has to do with it, whose place is told too.
    pub beside: Option<String>,
}

impl ParamProblem {
    pub fn new(field: &str, message: impl Into<String>) -> ParamProblem {
        ParamProblem {
            field: field.to_string(),
            message: message.into(),
            help: None,
            severity: Severity::Error,
            beside: None,
        }
    }

    /// Something that may be right all the same.
    pub fn warning(field: &str, message: impl Into<String>) -> ParamProblem {
        ParamProblem {
            severity: Severity::Warning,
            ..ParamProblem::new(field, message)
        }
    }

    /// The problem at its place in the file; `span` gives a field's.
    pub fn place(self, span: &dyn Fn(&str) -> Span) -> Diagnostic {
        let beside = self.beside.map(|field| span(&field));
        let beside = beside.map(|s| {
            format!(
                "the other is at {}:{}:{}",
                s.file.display(),
                s.line,
                s.column
            )
        });
        let help: Vec<String> = beside.into_iter().chain(self.help).collect();
        Diagnostic {
            severity: self.severity,
            help: (!help.is_empty()).then(|| help.join("; ")),
            ..Diagnostic::error(self.message).at(span(&self.field))
        }
    }

    pub fn beside(mut self, field: &str) -> ParamProblem {
        self.beside = Some(field.to_string());
        self
    }

    pub fn help(mut self, help: impl Into<String>) -> ParamProblem {
        self.help = Some(help.into());
        self
    }
}
