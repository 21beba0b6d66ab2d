//! Where things stand in a YAML file: a tree of places beside serde_yaml's tree of values.
//!
//! serde_yaml keeps no positions, so the text is parsed a second time for its events. Aliases share
//! the node of their anchor and are never expanded, so alias bombs cost nothing here: what they
//! would expand to is counted, and refused before serde_yaml builds it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use saphyr_parser::{Event, Parser, Span as Marks};

use super::place::{Children, Entry, Place};
use climb_contract::diagnostic::Span;

/// Deeper nesting than this is nobody's workflow.
const MAX_DEPTH: usize = 64;
/// So are more values than this, aliases expanded.
const MAX_VALUES: usize = 200_000;

/// A collection being read.
enum Open {
    Map {
        span: Span,
        entries: Vec<Entry>,
        key: Option<(String, Span)>,
        anchor: usize,
        values: usize,
    },
    List {
        span: Span,
        items: Vec<Rc<Place>>,
        anchor: usize,
        values: usize,
    },
}

/// The places of a document, and what stopped the reading before its end.
pub struct Places {
    pub root: Rc<Place>,
    pub error: Option<(Span, String)>,
}

/// Reads the places of the first document, or of what can be read of it.
pub fn read(text: &str, file: &Path) -> Result<Places, TooMuch> {
    let file = Arc::new(file.to_path_buf());
    let mut reader = Reader {
        file: file.clone(),
        stack: Vec::new(),
        anchors: HashMap::new(),
        root: None,
    };
    let mut error = None;
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, marks)) => reader.event(event, marks)?,
            Err(wrong) => {
                let at = Marks::new(*wrong.marker(), *wrong.marker());
                error = Some((reader.span(at), wrong.info().to_string()));
                break;
            }
        }
        if reader.root.is_some() {
            break;
        }
    }
    let root = reader.root.unwrap_or_else(|| {
        let span = Span {
            file,
            line: 1,
            column: 1,
            len: 1,
        };
        Rc::new(Place::new(span, Children::None))
    });
    Ok(Places { root, error })
}

/// The document is larger than any workflow, aliases expanded.
#[derive(Debug)]
pub enum TooMuch {
    /// Levels within each other.
    Depth(Span),
    /// Values in all.
    Values(Span),
}

struct Reader {
    file: Arc<PathBuf>,
    stack: Vec<Open>,
    anchors: HashMap<usize, Rc<Place>>,
    root: Option<Rc<Place>>,
}

impl Reader {
    fn event(&mut self, event: Event, marks: Marks) -> Result<(), TooMuch> {
        let span = self.span(marks);
        match event {
            Event::Scalar(text, _, anchor, _) => {
                let place = Rc::new(Place::scalar(span, &text));
                self.add(Some(text.to_string()), place, anchor, None)?;
            }
            Event::MappingStart(anchor, ..) => {
                self.push(Open::Map {
                    span,
                    entries: Vec::new(),
                    key: None,
                    anchor,
                    values: 1,
                })?;
            }
            Event::SequenceStart(anchor, ..) => {
                self.push(Open::List {
                    span,
                    items: Vec::new(),
                    anchor,
                    values: 1,
                })?;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some(open) = self.stack.pop() {
                    let (span, children, anchor) = match open {
                        Open::Map {
                            span,
                            entries,
                            anchor,
                            ..
                        } => (span, Children::Map(entries), anchor),
                        Open::List {
                            span,
                            items,
                            anchor,
                            ..
                        } => (span, Children::List(items), anchor),
                    };
                    let place = Rc::new(Place::new(span, children));
                    self.add(None, place, anchor, None)?;
                }
            }
            Event::Alias(anchor) => {
                let unknown = || Rc::new(Place::new(span.clone(), Children::None));
                let place = self.anchors.get(&anchor).cloned().unwrap_or_else(unknown);
                self.add(None, place, 0, Some(span))?;
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, open: Open) -> Result<(), TooMuch> {
        if self.stack.len() >= MAX_DEPTH {
            let (Open::Map { span, .. } | Open::List { span, .. }) = open;
            return Err(TooMuch::Depth(span));
        }
        self.stack.push(open);
        Ok(())
    }

    /// A finished node takes its place in what encloses it. `alias`: where the alias stands that
    /// means it.
    fn add(
        &mut self,
        text: Option<String>,
        place: Rc<Place>,
        anchor: usize,
        alias: Option<Span>,
    ) -> Result<(), TooMuch> {
        let here = || alias.clone().unwrap_or_else(|| place.span.clone());
        if self.stack.len() + place.height > MAX_DEPTH {
            return Err(TooMuch::Depth(here()));
        }
        if anchor > 0 {
            self.anchors.insert(anchor, place.clone());
        }
        if let Some(Open::Map { values, .. } | Open::List { values, .. }) = self.stack.last_mut() {
            *values = values.saturating_add(place.values);
            if *values > MAX_VALUES {
                return Err(TooMuch::Values(here()));
            }
        }
        match self.stack.last_mut() {
            None => self.root = Some(place),
            Some(Open::List { items, .. }) => items.push(place),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => *key = Some((text.unwrap_or_default(), place.span.clone())),
                Some((name, span)) => entries.push((name, span, place)),
            },
        }
        Ok(())
    }

    fn span(&self, marks: Marks) -> Span {
        let (start, end) = (marks.start, marks.end);
        let len = if start.line() == end.line() {
            end.col() - start.col().min(end.col())
        } else {
            1
        };
        Span {
            file: self.file.clone(),
            line: start.line().max(1),
            column: start.col() + 1,
            len: len.max(1),
        }
    }
}
