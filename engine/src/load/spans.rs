//! Where things stand in a YAML file: a tree of places beside serde_yaml's tree of values.
//!
//! serde_yaml keeps no positions, so the text is parsed a second time for its events. Aliases share
//! the node of their anchor and are never expanded, so alias bombs cost nothing here.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, Span as Marks};

use crate::diagnostic::Span;

/// Deeper nesting than this is nobody's workflow.
const MAX_DEPTH: usize = 64;

/// A node's place, and its children's.
#[derive(Debug)]
pub struct Place {
    pub span: Span,
    pub children: Children,
}

#[derive(Debug)]
pub enum Children {
    None,
    /// Key, the key's place, the value. Duplicates are kept.
    Map(Vec<(String, Span, Rc<Place>)>),
    List(Vec<Rc<Place>>),
}

/// One part of a path into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Key(String),
    Index(usize),
}

impl Place {
    /// The value's place at `path`, or that of its nearest ancestor there is.
    pub fn value(&self, path: &[Part]) -> Span {
        match path.split_first() {
            None => self.span.clone(),
            Some((part, rest)) => match self.child(part) {
                Some((_, child)) => child.value(rest),
                None => self.span.clone(),
            },
        }
    }

    /// The key's place at `path` (the value's, for a list item).
    pub fn key(&self, path: &[Part]) -> Span {
        match path {
            [] => self.span.clone(),
            [part] => self
                .child(part)
                .map_or_else(|| self.span.clone(), |(key, _)| key),
            [part, rest @ ..] => match self.child(part) {
                Some((_, child)) => child.key(rest),
                None => self.span.clone(),
            },
        }
    }

    fn child(&self, part: &Part) -> Option<(Span, &Place)> {
        match (part, &self.children) {
            (Part::Key(name), Children::Map(entries)) => {
                let direct = entries.iter().find(|(key, ..)| key == name);
                if let Some((_, span, child)) = direct {
                    return Some((span.clone(), child));
                }
                // `<<: *base`, or a list of them.
                let merged = entries.iter().filter(|(key, ..)| key == "<<");
                merged
                    .map(|(.., base)| base)
                    .find_map(|base| match &base.children {
                        Children::List(bases) => bases.iter().find_map(|base| base.child(part)),
                        _ => base.child(part),
                    })
            }
            (Part::Index(i), Children::List(items)) => {
                let item = items.get(*i)?;
                Some((item.span.clone(), item))
            }
            _ => None,
        }
    }

    /// Keys that a mapping has twice: name and the second place.
    pub fn duplicate_keys(&self) -> Vec<(String, Span)> {
        let mut found = Vec::new();
        self.collect_duplicates(&mut found, &mut HashSet::new());
        found
    }

    /// `seen`: an alias shares its anchor's node, which is visited once.
    fn collect_duplicates(
        &self,
        found: &mut Vec<(String, Span)>,
        seen: &mut HashSet<*const Place>,
    ) {
        if !seen.insert(self) {
            return;
        }
        match &self.children {
            Children::None => {}
            Children::List(items) => {
                let items = items.iter();
                items.for_each(|item| item.collect_duplicates(found, seen));
            }
            Children::Map(entries) => {
                let mut names = HashSet::new();
                for (name, span, child) in entries {
                    if !names.insert(name) {
                        found.push((name.clone(), span.clone()));
                    }
                    child.collect_duplicates(found, seen);
                }
            }
        }
    }
}

/// A collection being read.
enum Open {
    Map {
        span: Span,
        entries: Vec<(String, Span, Rc<Place>)>,
        key: Option<(String, Span)>,
        anchor: usize,
    },
    List {
        span: Span,
        items: Vec<Rc<Place>>,
        anchor: usize,
    },
}

/// Reads the places of the first document. Errors are left to serde_yaml: what could be read until
/// then is returned.
pub fn read(text: &str, file: &Path) -> Result<Rc<Place>, TooDeep> {
    let mut reader = Reader {
        file,
        stack: Vec::new(),
        anchors: HashMap::new(),
        root: None,
    };
    for event in Parser::new_from_str(text) {
        let Ok((event, marks)) = event else { break };
        reader.event(event, marks)?;
        if reader.root.is_some() {
            break;
        }
    }
    Ok(reader.root.unwrap_or_else(|| {
        let span = Span {
            file: file.to_path_buf(),
            line: 1,
            column: 1,
            len: 1,
        };
        Rc::new(Place {
            span,
            children: Children::None,
        })
    }))
}

/// The document is nested too deeply.
#[derive(Debug)]
pub struct TooDeep(pub Span);

struct Reader<'a> {
    file: &'a Path,
    stack: Vec<Open>,
    anchors: HashMap<usize, Rc<Place>>,
    root: Option<Rc<Place>>,
}

impl Reader<'_> {
    fn event(&mut self, event: Event, marks: Marks) -> Result<(), TooDeep> {
        let span = self.span(marks);
        match event {
            Event::Scalar(text, _, anchor, _) => {
                let place = Rc::new(Place {
                    span,
                    children: Children::None,
                });
                self.add(Some(text.to_string()), place, anchor);
            }
            Event::MappingStart(anchor, ..) => {
                self.push(Open::Map {
                    span,
                    entries: Vec::new(),
                    key: None,
                    anchor,
                })?;
            }
            Event::SequenceStart(anchor, ..) => {
                self.push(Open::List {
                    span,
                    items: Vec::new(),
                    anchor,
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
                        } => (span, Children::List(items), anchor),
                    };
                    self.add(None, Rc::new(Place { span, children }), anchor);
                }
            }
            Event::Alias(anchor) => {
                let unknown = || {
                    Rc::new(Place {
                        span: span.clone(),
                        children: Children::None,
                    })
                };
                let place = self.anchors.get(&anchor).cloned().unwrap_or_else(unknown);
                self.add(None, place, 0);
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, open: Open) -> Result<(), TooDeep> {
        if self.stack.len() >= MAX_DEPTH {
            let (Open::Map { span, .. } | Open::List { span, .. }) = open;
            return Err(TooDeep(span));
        }
        self.stack.push(open);
        Ok(())
    }

    /// A finished node takes its place in what encloses it.
    fn add(&mut self, text: Option<String>, place: Rc<Place>, anchor: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, place.clone());
        }
        match self.stack.last_mut() {
            None => self.root = Some(place),
            Some(Open::List { items, .. }) => items.push(place),
            Some(Open::Map { entries, key, .. }) => match key.take() {
                None => *key = Some((text.unwrap_or_default(), place.span.clone())),
                Some((name, span)) => entries.push((name, span, place)),
            },
        }
    }

    fn span(&self, marks: Marks) -> Span {
        let (start, end) = (marks.start, marks.end);
        let len = if start.line() == end.line() {
            end.col() - start.col().min(end.col())
        } else {
            1
        };
        Span {
            file: self.file.to_path_buf(),
            line: start.line().max(1),
            column: start.col() + 1,
            len: len.max(1),
        }
    }
}
