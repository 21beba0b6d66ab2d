//! Where things stand in a YAML file: a tree of places beside serde_yaml's tree of values.
//!
//! serde_yaml keeps no positions, so the text is parsed a second time for its events. Aliases share
//! the node of their anchor and are never expanded, so alias bombs cost nothing here: what they
//! would expand to is counted, and refused before serde_yaml builds it.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, Span as Marks};

use climb_contract::diagnostic::Span;

/// Deeper nesting than this is nobody's workflow.
const MAX_DEPTH: usize = 64;
/// So are more values than this, aliases expanded.
const MAX_VALUES: usize = 200_000;
/// A text counts as a value for each so many bytes: an alias may stand for a long one.
const TEXT_VALUE: usize = 256;

/// The key that merges other mappings in.
pub const MERGE: &str = "<<";

/// A node's place, and its children's.
#[derive(Debug)]
pub struct Place {
    pub span: Span,
    pub children: Children,
    /// Of a mapping: where its keys and its `<<` are.
    index: Index,
    /// Values in it, itself among them, aliases expanded.
    values: usize,
    /// Levels below it, aliases expanded.
    height: usize,
}

#[derive(Debug)]
pub enum Children {
    None,
    /// Duplicates are kept.
    Map(Vec<Entry>),
    List(Vec<Rc<Place>>),
}

/// Where the entries of a mapping are: a workflow may have thousands of stages.
#[derive(Debug, Default)]
struct Index {
    /// The first entry of each key.
    by_key: HashMap<String, usize>,
    merges: Vec<usize>,
}

impl Index {
    fn of(children: &Children) -> Index {
        let mut index = Index::default();
        let Children::Map(entries) = children else {
            return index;
        };
        for (i, (key, ..)) in entries.iter().enumerate() {
            if key == MERGE {
                index.merges.push(i);
            }
            index.by_key.entry(key.clone()).or_insert(i);
        }
        index
    }
}

/// Key, the key's place, the value.
pub type Entry = (String, Span, Rc<Place>);

/// One part of a path into a document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    Key(String),
    Index(usize),
}

impl Place {
    fn new(span: Span, children: Children) -> Place {
        let (inner, keys): (Vec<&Rc<Place>>, usize) = match &children {
            Children::None => (Vec::new(), 0),
            Children::Map(entries) => (
                entries.iter().map(|(.., child)| child).collect(),
                entries.iter().map(|(key, ..)| weight(key)).sum(),
            ),
            Children::List(items) => (items.iter().collect(), 0),
        };
        let values = inner.iter().map(|child| child.values);
        let values = values.fold(1 + keys, usize::saturating_add);
        let height = inner.iter().map(|child| child.height + 1).max();
        Place {
            span,
            values,
            height: height.unwrap_or(0),
            index: Index::of(&children),
            children,
        }
    }

    fn scalar(span: Span, text: &str) -> Place {
        Place {
            values: weight(text),
            ..Place::new(span, Children::None)
        }
    }

    /// A mapping's entries as they count: those of `<<` in its place, unless the mapping itself or
    /// an earlier one has the key.
    pub fn entries(&self) -> Vec<&Entry> {
        let Children::Map(own) = &self.children else {
            return Vec::new();
        };
        let mut seen: HashSet<&str> = own.iter().map(|(name, ..)| name.as_str()).collect();
        let mut all = Vec::new();
        for entry in own {
            if entry.0 != MERGE {
                all.push(entry);
                continue;
            }
            let bases: Vec<&Rc<Place>> = match &entry.2.children {
                Children::List(bases) => bases.iter().collect(),
                _ => vec![&entry.2],
            };
            for inherited in bases.iter().flat_map(|base| base.entries()) {
                if seen.insert(&inherited.0) {
                    all.push(inherited);
                }
            }
        }
        all
    }

    /// The keys of the mapping at `path`, in the order in which they are written.
    pub fn names(&self, path: &[Part]) -> Vec<String> {
        match path.split_first() {
            None => self.entries().iter().map(|e| e.0.clone()).collect(),
            Some((part, rest)) => self
                .child(part)
                .map_or_else(Vec::new, |(_, child)| child.names(rest)),
        }
    }

    /// The places of `over` laid on top of `base`: mappings are merged, all else is replaced. The
    /// keys of `base` come first.
    pub fn overlay(base: &Rc<Place>, over: &Rc<Place>) -> Rc<Place> {
        let both = (&base.children, &over.children);
        let (Children::Map(_), Children::Map(_)) = both else {
            return over.clone();
        };
        let (below, above) = (base.entries(), over.entries());
        let mut on_top: HashMap<&str, &Entry> = HashMap::new();
        for entry in &above {
            on_top.entry(&entry.0).or_insert(entry);
        }
        let mut merged: Vec<Entry> = Vec::new();
        for (name, span, child) in &below {
            merged.push(match on_top.get(name.as_str()) {
                Some((_, span, top)) => (name.clone(), span.clone(), Place::overlay(child, top)),
                None => (name.clone(), span.clone(), child.clone()),
            });
        }
        let known: HashSet<&str> = below.iter().map(|entry| entry.0.as_str()).collect();
        let new = above
            .iter()
            .filter(|entry| !known.contains(entry.0.as_str()));
        merged.extend(new.map(|entry| (*entry).clone()));
        Rc::new(Place::new(over.span.clone(), Children::Map(merged)))
    }

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
                if let Some(&at) = self.index.by_key.get(name) {
                    let (_, span, child) = &entries[at];
                    return Some((span.clone(), child));
                }
                // `<<: *base`, or a list of them.
                let merges = self.index.merges.iter();
                merges
                    .map(|&at| &entries[at].2)
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

/// How many values a text counts as.
fn weight(text: &str) -> usize {
    1 + text.len() / TEXT_VALUE
}

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
    let mut reader = Reader {
        file,
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
            file: file.to_path_buf(),
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

struct Reader<'a> {
    file: &'a Path,
    stack: Vec<Open>,
    anchors: HashMap<usize, Rc<Place>>,
    root: Option<Rc<Place>>,
}

impl Reader<'_> {
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
            file: self.file.to_path_buf(),
            line: start.line().max(1),
            column: start.col() + 1,
            len: len.max(1),
        }
    }
}
