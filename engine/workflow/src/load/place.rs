//! A tree of places beside a tree of values: where each key and value stands in its file.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use climb_contract::diagnostic::Span;

/// The key that merges other mappings in.
pub const MERGE: &str = "<<";

/// A text counts as a value for each so many bytes: an alias may stand for a long one.
const TEXT_VALUE: usize = 256;

/// A node's place, and its children's.
#[derive(Debug)]
pub struct Place {
    pub span: Span,
    pub children: Children,
    /// Of a mapping: where its keys and its `<<` are.
    index: Index,
    /// Values in it, itself among them, aliases expanded.
    pub(super) values: usize,
    /// Levels below it, aliases expanded.
    pub(super) height: usize,
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
    pub(super) fn new(span: Span, children: Children) -> Place {
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

    pub(super) fn scalar(span: Span, text: &str) -> Place {
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
pub(super) fn weight(text: &str) -> usize {
    1 + text.len() / TEXT_VALUE
}
