//! Finding and digesting the files from outside the cache that stages read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use climb_cache::{Artifact, Cache, Digest, FileRef};
use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use walkdir::WalkDir;

use crate::diagnostic::{Diagnostic, Span};
use crate::graph::{Graph, Node, NodeId};
use crate::stage::{FoundFile, Registry, SourceFile, SourceSpec, StageKind};

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
    for spec in kind.sources(params) {
        match find(&spec, base) {
            Ok(files) => _ = groups.insert(spec.group.to_string(), files),
            Err(problem) => problems.push(problem.at(span(spec.param))),
        }
    }
    for problem in kind.check_sources(params, &groups) {
        let mut diagnostic = Diagnostic::error(problem.message).at(span(&problem.field));
        diagnostic.help = problem.help;
        problems.push(diagnostic);
    }
    (groups, problems)
}

/// Finds and digests the sources of every node, and lets each kind look at them. All problems at
/// once; nothing has run yet.
pub fn find_all(
    graph: &Graph,
    registry: &Registry,
    cache: &Cache,
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
    let file = |f: &SourceFile| FileRef {
        digest: f.digest,
        size: f.size,
    };
    files.iter().map(|f| (f.name.clone(), file(f))).collect()
}

fn digest(cache: &Cache, files: Vec<FoundFile>) -> Result<Vec<SourceFile>, Diagnostic> {
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

/// The files a spec names, sorted by name. Relative patterns start at `base`.
pub fn find(spec: &SourceSpec, base: &Path) -> Result<Vec<FoundFile>, Diagnostic> {
    let exclude = glob_set(&spec.exclude, spec.param)?;
    let mut paths = BTreeSet::new();
    let mut roots = Vec::new();
    for pattern in &spec.patterns {
        let (root, files) = expand(pattern, base, spec.param)?;
        if files.is_empty() {
            return Err(no_match(pattern, &root, spec.param));
        }
        roots.push(root);
        paths.extend(files);
    }
    let common = common_root(&roots);
    let mut files: Vec<FoundFile> = paths
        .into_iter()
        .map(|path| FoundFile {
            name: relative_name(&path, &common),
            size: path.metadata().map_or(0, |metadata| metadata.len()),
            path,
        })
        .filter(|file| !exclude.is_match(&file.name))
        .collect();
    files.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    if files.is_empty() && !spec.patterns.is_empty() {
        return Err(Diagnostic::error(format!(
            "`{}` excludes every file it matches",
            spec.param
        )));
    }
    Ok(files)
}

/// The folder a pattern starts from, and the files it matches.
fn expand(pattern: &str, base: &Path, param: &str) -> Result<(PathBuf, Vec<PathBuf>), Diagnostic> {
    let full = base.join(pattern);
    if full.is_file() {
        let root = full.parent().unwrap_or(base).to_path_buf();
        return Ok((root, vec![full]));
    }
    let (root, matcher) = if full.is_dir() {
        (full, None)
    } else {
        let root = literal_root(&full);
        (
            root,
            Some(glob_set(&[full.to_string_lossy().into_owned()], param)?),
        )
    };
    let hidden = pattern
        .split('/')
        .any(|part| part.starts_with('.') && !part.starts_with(".."));
    let files = WalkDir::new(&root)
        .follow_links(true)
        .into_iter()
        .filter_entry(|entry| {
            entry.depth() == 0 || hidden || !entry.file_name().to_string_lossy().starts_with('.')
        })
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.into_path())
        .filter(|path| {
            matcher
                .as_ref()
                .is_none_or(|matcher| matcher.is_match(path))
        })
        .collect();
    Ok((root, files))
}

fn no_match(pattern: &str, root: &Path, param: &str) -> Diagnostic {
    let help = if root.exists() {
        format!("{} exists, but nothing in it matches", root.display())
    } else {
        format!("{} does not exist", root.display())
    };
    Diagnostic::error(format!("`{param}`: `{pattern}` matches no file")).help(help)
}

fn glob_set(patterns: &[String], param: &str) -> Result<GlobSet, Diagnostic> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern)
            .literal_separator(true)
            .build()
            .map_err(|e| Diagnostic::error(format!("`{param}`: `{pattern}` is no glob: {e}")))?;
        set.add(glob);
    }
    set.build()
        .map_err(|e| Diagnostic::error(format!("`{param}`: {e}")))
}

/// The folder above a pattern's first part with a glob character in it.
fn literal_root(pattern: &Path) -> PathBuf {
    let is_glob = |part: &Component| {
        part.as_os_str()
            .to_string_lossy()
            .contains(['*', '?', '[', '{'])
    };
    let parts: Vec<Component> = pattern.components().collect();
    let literal = parts
        .iter()
        .position(is_glob)
        .unwrap_or(parts.len().saturating_sub(1));
    parts[..literal].iter().collect()
}

fn common_root(roots: &[PathBuf]) -> PathBuf {
    let mut roots = roots.iter();
    let Some(mut common) = roots.next().cloned() else {
        return PathBuf::new();
    };
    for root in roots {
        while !root.starts_with(&common) && common.pop() {}
    }
    common
}

fn relative_name(path: &Path, root: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
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
mod tests {
    use super::*;

    fn spec(patterns: &[&str], exclude: &[&str]) -> SourceSpec {
        let strings = |list: &[&str]| list.iter().map(|s| s.to_string()).collect();
        SourceSpec {
            group: "files",
            param: "paths",
            patterns: strings(patterns),
            exclude: strings(exclude),
        }
    }

    fn names(spec: &SourceSpec, base: &Path) -> Vec<String> {
        find(spec, base)
            .unwrap()
            .into_iter()
            .map(|file| file.name)
            .collect()
    }

    #[test]
    fn globs_folders_and_files_are_found_by_name() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["a/x.md", "a/b/y.md", "a/b/z.rs", "a/.hidden/q.md", "c.md"] {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, file).unwrap();
        }
        let base = dir.path();
        assert_eq!(names(&spec(&["a/**/*.md"], &[]), base), ["b/y.md", "x.md"]);
        assert_eq!(names(&spec(&["a"], &["b/*.rs"]), base), ["b/y.md", "x.md"]);
        assert_eq!(
            names(&spec(&["a/*", "c.md"], &[]), base),
            ["a/x.md", "c.md"]
        );
        assert_eq!(names(&spec(&["a/.hidden/*"], &[]), base), ["q.md"]);
        assert_eq!(names(&spec(&["a/**/*.{md,rs}"], &[]), base).len(), 3);
        let nested = names(&spec(&["**/{*.{md,rs},LICEN[CS]E*}"], &[]), base);
        assert_eq!(nested.len(), 4);
    }

    #[test]
    fn a_pattern_without_files_says_what_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let error = find(&spec(&["no/such/*.md"], &[]), dir.path()).unwrap_err();
        assert!(
            error.message.contains("`no/such/*.md` matches no file"),
            "{error:?}"
        );
        assert!(error.help.unwrap().contains("does not exist"));
    }
}
