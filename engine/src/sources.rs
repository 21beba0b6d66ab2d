//! Finding and digesting the files from outside the cache that stages read.

mod caches;
mod find;
mod names;
mod pattern;
mod trouble;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use climb_cache::{Artifact, Digest, FileRef, Reader};

use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{Graph, Node, NodeId};
use crate::stage::{FoundFile, Registry, SourceFile, StageKind};
pub use find::find;
pub use names::{is_hidden, name_of};
pub use pattern::escape_glob;

/// Source files by group, for each node that has any.
pub type NodeSources = BTreeMap<NodeId, BTreeMap<String, Vec<SourceFile>>>;

/// Files that were found, by group.
type Found = BTreeMap<String, Vec<FoundFile>>;

/// Finds the sources of a stage with these complete `params` and lets its kind look at them, at
/// names and headers. `span` gives a parameter's place.
pub fn look(
    kind: &dyn StageKind,
    params: &serde_json::Value,
    base: &Path,
    span: &dyn Fn(&str) -> Span,
) -> (Found, Vec<Diagnostic>) {
    let mut groups = Found::new();
    let mut problems = Vec::new();
    for spec in kind.sources(params, base) {
        match find(&spec, base) {
            Ok(files) => _ = groups.insert(spec.group.to_string(), files),
            Err(mut problem) => {
                if problem.help.is_none() && params.get("exclude").is_some() {
                    problem.help = Some("mend it, or leave it out with `exclude`".into());
                }
                problems.push(problem.at(span(spec.param)));
            }
        }
    }
    for problem in kind.check_sources(params, &groups) {
        problems.push(problem.place(span));
    }
    (groups, problems)
}

/// Finds and digests the sources of every node, and lets each kind look at them. All problems at
/// once; nothing has run yet.
pub fn find_all(
    graph: &Graph,
    registry: &Registry,
    cache: &dyn Reader,
) -> Result<NodeSources, Vec<Diagnostic>> {
    let base = graph.base_dir();
    let mut found = NodeSources::new();
    let mut problems = Vec::new();
    for (id, node) in graph.nodes.iter().enumerate() {
        let Some(kind) = registry.get(&node.kind) else {
            continue;
        };
        let span = |field: &str| node.param_span(field);
        let (files, wrong) = look(kind, &node.params, &base, &span);
        problems.extend(wrong);
        let mut groups = BTreeMap::new();
        for (group, files) in files {
            match digest(cache, files) {
                Ok(files) => _ = groups.insert(group, files),
                Err(problem) => problems.push(problem),
            }
        }
        if !groups.is_empty() {
            found.insert(id, groups);
        }
    }
    // The iterations of a repeat share their places in the file.
    problems.dedup();
    if problems.is_empty() {
        Ok(found)
    } else {
        Err(problems)
    }
}

/// A group's digest: like a folder's, over relative names and contents.
pub fn group_digest(files: &[SourceFile]) -> Digest {
    Artifact::Folder(file_refs(files)).digest()
}

/// The files of a group by their names.
pub fn file_refs(files: &[SourceFile]) -> BTreeMap<String, FileRef> {
    let file = |f: &SourceFile| FileRef::new(f.digest, f.size);
    files.iter().map(|f| (f.name.clone(), file(f))).collect()
}

fn digest(cache: &dyn Reader, files: Vec<FoundFile>) -> Result<Vec<SourceFile>, Diagnostic> {
    let found = files.into_iter().map(|file| (file.name, file.path));
    let (names, paths): (Vec<_>, Vec<_>) = found.unzip();
    let digests = cache
        .source_digests(&paths)
        .map_err(|error| Diagnostic::error(error.to_string()))?;
    Ok(names
        .into_iter()
        .zip(paths)
        .zip(digests)
        .map(|((name, path), (digest, size))| SourceFile {
            name,
            path,
            size,
            digest,
        })
        .collect())
}

impl Graph {
    /// The folder of the workflow file.
    pub fn base_dir(&self) -> PathBuf {
        base_dir(&self.file)
    }
}

/// The folder that relative paths in a workflow file start from.
pub fn base_dir(file: &Path) -> PathBuf {
    let parent = file.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    std::path::absolute(parent).unwrap_or_else(|_| parent.to_path_buf())
}

impl Node {
    /// Where the parameter `field` stands in the file; the stage's name where it is a default.
    pub fn param_span(&self, field: &str) -> crate::diagnostic::Span {
        let known = self.param_spans.iter().find(|(name, _)| name == field);
        known.map_or(&self.span, |(_, span)| span).clone()
    }
}

#[cfg(test)]
mod tests;
