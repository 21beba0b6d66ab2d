//! The files that patterns name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use globset::{GlobSet, GlobSetBuilder};
use walkdir::{DirEntry, WalkDir};

use super::caches;
use super::names::{is_hidden, name_of};
use super::pattern::{Pattern, What, Wrong, escape_glob, glob};
use super::trouble::{self, Trouble};
use crate::diagnostic::Diagnostic;
use crate::stage::{FoundFile, PROGRAMS, SourceSpec};

/// The files a spec names, sorted by name. Relative patterns start at `base`. What a pattern may
/// mean and cannot be looked at is an error, unless it is excluded.
pub fn find(spec: &SourceSpec, base: &Path) -> Result<Vec<FoundFile>, Diagnostic> {
    let (patterns, mut troubles) = read_patterns(spec, base)?;
    let roots: Vec<&Path> = patterns.iter().map(|p| p.root.as_path()).collect();
    let common = common_root(&roots);
    let exclude = Exclude {
        globs: glob_set(&spec.exclude, spec.param)?,
        root: &common,
    };
    let mut sizes = BTreeMap::new();
    for pattern in &patterns {
        let mut walk = Descent::new(pattern, &exclude);
        walk.run();
        if !walk.matched {
            return Err(no_match(pattern, spec.param));
        }
        sizes.extend(walk.files);
        troubles.extend(walk.troubles);
    }
    troubles.extend(sizes.keys().filter_map(|path| Trouble::of_file(path)));
    if !troubles.is_empty() {
        let told = trouble::told(troubles);
        return Err(Diagnostic::error(format!("`{}`: {told}", spec.param)));
    }
    if sizes.is_empty() && !spec.patterns.is_empty() {
        return Err(Diagnostic::error(format!(
            "`{}` excludes every file it matches",
            spec.param
        )));
    }
    let found = |(path, size): (PathBuf, u64)| FoundFile {
        name: name_of(match spec.group {
            PROGRAMS => path.file_name().map_or(&*path, Path::new),
            _ => path.strip_prefix(&common).unwrap_or(&path),
        }),
        size,
        path,
    };
    let mut files: Vec<FoundFile> = sizes.into_iter().map(found).collect();
    files.sort_by(|a, b| (&a.name, &a.path).cmp(&(&b.name, &b.path)));
    Ok(files)
}

fn read_patterns<'a>(
    spec: &'a SourceSpec,
    base: &Path,
) -> Result<(Vec<Pattern<'a>>, Vec<Trouble>), Diagnostic> {
    let (mut patterns, mut troubles) = (Vec::new(), Vec::new());
    for text in &spec.patterns {
        match Pattern::new(text, base, spec.param) {
            Ok(pattern) => {
                if let Some(cache) = caches::cache_of(pattern.start()) {
                    return Err(in_cache(text, &cache, spec.param));
                }
                patterns.push(pattern);
            }
            Err(Wrong::Glob(problem)) => return Err(problem),
            Err(Wrong::Trouble(trouble)) => troubles.push(trouble),
        }
    }
    Ok((patterns, troubles))
}

/// Globs of what is left out, on names below a root.
struct Exclude<'a> {
    globs: GlobSet,
    root: &'a Path,
}

impl Exclude<'_> {
    fn has(&self, path: &Path) -> bool {
        let below = path.strip_prefix(self.root).unwrap_or(path);
        self.globs.is_match(below)
    }

    /// Whether all that is in a folder is left out, as by `folder/**`.
    fn has_all_in(&self, folder: &Path) -> bool {
        // Nobody names files so.
        let any = "\u{1}/\u{1}";
        !self.globs.is_empty() && self.has(&folder.join(any))
    }
}

/// What one pattern comes to.
struct Descent<'a> {
    pattern: &'a Pattern<'a>,
    exclude: &'a Exclude<'a>,
    /// With their sizes.
    files: Vec<(PathBuf, u64)>,
    troubles: Vec<Trouble>,
    /// Something was there, though it may be excluded or not readable.
    matched: bool,
}

impl<'a> Descent<'a> {
    fn new(pattern: &'a Pattern<'a>, exclude: &'a Exclude<'a>) -> Descent<'a> {
        Descent {
            pattern,
            exclude,
            files: Vec::new(),
            troubles: Vec::new(),
            matched: false,
        }
    }

    fn run(&mut self) {
        let mut walk = match &self.pattern.what {
            What::File(path) => WalkDir::new(path),
            What::Folder => WalkDir::new(&self.pattern.root),
            What::Below(below) => WalkDir::new(&self.pattern.root)
                .min_depth(1)
                .max_depth(below.depth.unwrap_or(usize::MAX)),
        };
        walk = walk.follow_links(true);
        let in_cache = caches::is_cache(&self.pattern.root);
        let mut entries = walk.into_iter();
        while let Some(entry) = entries.next() {
            let of_cache = |entry: &DirEntry| {
                in_cache && entry.depth() == 1 && caches::is_entry(entry.file_name())
            };
            match entry {
                Ok(entry) if entry.file_type().is_dir() => {
                    if entry.depth() > 0 && (of_cache(&entry) || !self.enters(&entry)) {
                        entries.skip_current_dir();
                    }
                }
                Ok(entry) if of_cache(&entry) => {}
                Ok(entry) => self.file(entry),
                Err(error) => self.error(&error),
            }
        }
    }

    fn relative<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.pattern.root).unwrap_or(path)
    }

    /// Whether a path is hidden, below the root.
    fn is_hidden(&self, path: &Path) -> bool {
        let named = matches!(self.pattern.what, What::File(_));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !named && !self.pattern.hidden && is_hidden(&name)
    }

    /// Whether something below a folder may be meant.
    fn may_hold(&self, folder: &Path) -> bool {
        match &self.pattern.what {
            What::File(_) => false,
            What::Folder => true,
            What::Below(below) => below.may_hold(self.relative(folder)),
        }
    }

    fn enters(&mut self, folder: &DirEntry) -> bool {
        let path = folder.path();
        if self.is_hidden(path) || !self.may_hold(path) || caches::is_cache(path) {
            return false;
        }
        let excluded = self.exclude.has_all_in(path);
        self.matched |= excluded;
        !excluded
    }

    fn is_match(&self, path: &Path) -> bool {
        match &self.pattern.what {
            What::Below(below) => below.is_match(self.relative(path)),
            What::File(_) | What::Folder => true,
        }
    }

    fn file(&mut self, entry: DirEntry) {
        let path = entry.path();
        if self.is_hidden(path) || !self.is_match(path) {
            return;
        }
        self.matched = true;
        if self.exclude.has(path) {
            return;
        }
        match entry.metadata() {
            Ok(meta) if meta.is_file() => self.files.push((entry.into_path(), meta.len())),
            Ok(_) => self.troubles.push(Trouble::special(path)),
            Err(error) => self.troubles.push(Trouble::of_walk(&error, path)),
        }
    }

    /// A link may be one to a file or to a folder: nobody can tell where it leads nowhere.
    fn error(&mut self, error: &walkdir::Error) {
        let path = error.path().unwrap_or(&self.pattern.root);
        let below_root = path != self.pattern.root;
        if !below_root && path.symlink_metadata().is_err() {
            return;
        }
        let meant = self.is_match(path) || self.may_hold(path);
        if below_root && (self.is_hidden(path) || !meant) {
            return;
        }
        self.matched = true;
        if !(below_root && (self.exclude.has(path) || self.exclude.has_all_in(path))) {
            let trouble = Trouble::of_walk(error, &self.pattern.root);
            self.troubles.push(trouble);
        }
    }
}

fn no_match(pattern: &Pattern, param: &str) -> Diagnostic {
    let root = &pattern.root;
    let help = if caches::is_cache(root) {
        format!("{} is a cache: files in it come and go", root.display())
    } else if let Some(part) = pattern.as_written() {
        let literal = escape_glob(&part);
        format!("`{part}` is there, but as a glob it means something else: write `{literal}`")
    } else if root.exists() {
        format!("{} exists, but nothing in it matches", root.display())
    } else {
        format!("{} does not exist", root.display())
    };
    let message = format!("`{param}`: `{}` matches no file", pattern.text);
    Diagnostic::error(message).help(help)
}

fn in_cache(pattern: &str, cache: &Path, param: &str) -> Diagnostic {
    let message = format!(
        "`{param}`: `{pattern}` is inside the cache {}, where files come and go",
        cache.display()
    );
    Diagnostic::error(message).help("`climb get` copies an artifact to a place of its own")
}

fn glob_set(patterns: &[String], param: &str) -> Result<GlobSet, Diagnostic> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        match glob(pattern, param) {
            Ok(glob) => _ = set.add(glob),
            Err(Wrong::Glob(problem)) => return Err(problem),
            Err(Wrong::Trouble(_)) => unreachable!("no file was looked at"),
        }
    }
    set.build()
        .map_err(|e| Diagnostic::error(format!("`{param}`: {e}")))
}

fn common_root(roots: &[&Path]) -> PathBuf {
    let mut roots = roots.iter();
    let Some(mut common) = roots.next().map(|root| root.to_path_buf()) else {
        return PathBuf::new();
    };
    for root in roots {
        while !root.starts_with(&common) && common.pop() {}
    }
    common
}
