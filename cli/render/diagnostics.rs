//! Errors and warnings for people, with the line they are about.

use std::io::IsTerminal;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use climb_engine::diagnostic::{Diagnostic, Severity, Span};
use climb_engine::load;

use crate::printing::{self, visible, visible_in_place};

fn renderer() -> Renderer {
    let plain = std::env::var_os("NO_COLOR").is_some() || !std::io::stderr().is_terminal();
    if plain {
        Renderer::plain()
    } else {
        let (_, columns) = console::Term::stderr().size();
        Renderer::styled().term_width(columns.into())
    }
}

/// Prints each to stderr.
pub fn print(diagnostics: &[Diagnostic]) {
    for diagnostic in diagnostics {
        printing::styled(&(render(diagnostic, &renderer()) + "\n"));
    }
}

/// An error that is not about a place in a file.
pub fn error(message: &str) {
    print(&[Diagnostic::error(message)]);
}

/// Something people should know; nothing is wrong with their input.
pub fn note(message: &str) {
    let message = visible(message);
    let title = Group::with_title(Level::NOTE.primary_title(message.as_ref()));
    printing::styled(&renderer().render(&[title]));
}

fn render(diagnostic: &Diagnostic, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let (message, label) = (visible(&diagnostic.message), diagnostic.label.as_deref());
    let (label, help) = (label.map(visible), diagnostic.help.as_deref().map(visible));
    let title = level.primary_title(message.as_ref());
    let text = diagnostic
        .span
        .as_ref()
        .and_then(|s| load::read_text(&s.file).ok())
        .map(|text| visible_in_place(&text));
    let mut groups: Vec<Group> = match (&diagnostic.span, &text) {
        (Some(span), Some(text)) => {
            let annotation = AnnotationKind::Primary
                .span(byte_range(text, span))
                .label(label.as_deref());
            let snippet = Snippet::source(text.as_str())
                .path(visible(&span.file.display().to_string()).into_owned())
                .annotation(annotation);
            vec![title.element(snippet)]
        }
        _ => vec![Group::with_title(title)],
    };
    if let Some(help) = &help {
        groups.push(Group::with_title(
            Level::HELP.secondary_title(help.as_ref()),
        ));
    }
    renderer.render(&groups)
}

/// The bytes of `text` that a span underlines.
fn byte_range(text: &str, span: &Span) -> std::ops::Range<usize> {
    let line_start: usize = text
        .split_inclusive('\n')
        .take(span.line.saturating_sub(1))
        .map(str::len)
        .sum();
    let line = text[line_start..].lines().next().unwrap_or("");
    let offset = |column: usize| {
        line.char_indices()
            .nth(column)
            .map_or(line.len(), |(at, _)| at)
    };
    let start = offset(span.column.saturating_sub(1));
    let end = offset(span.column.saturating_sub(1) + span.len.max(1));
    line_start + start..line_start + end.max(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_counts_characters_not_bytes() {
        let span = Span {
            file: std::sync::Arc::new("x".into()),
            line: 2,
            column: 3,
            len: 2,
        };
        let text = "a\néüxy z\n";
        assert_eq!(&text[byte_range(text, &span)], "xy");
        let past = Span {
            file: std::sync::Arc::new("x".into()),
            line: 9,
            column: 3,
            len: 2,
        };
        assert_eq!(&text[byte_range(text, &past)], "");
    }
}
