//! One pattern of a source group: a file, a folder or a glob.

use std::io;
use std::path::{Component, Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobMatcher};

use super::names::is_hidden;
use super::trouble::Trouble;
use crate::diagnostic::Diagnostic;

pub(super) struct Pattern<'a> {
    pub text: &'a str,
    /// The folder that it starts from.
    pub root: PathBuf,
    pub what: What,
    /// Hidden files are meant too.
    pub hidden: bool,
}

pub(super) enum What {
    File(PathBuf),
    /// All below the root.
    Folder,
    Below(Below),
}

/// A glob on paths below a root. The root itself is taken as it is, whatever characters it has.
pub(super) struct Below {
    whole: GlobMatcher,
    /// Of its parts, those at the beginning that are matched each by itself.
    parts: Vec<GlobMatcher>,
    /// How deep matches can be; `None`: at any depth.
    pub depth: Option<usize>,
}

/// Why there is no pattern.
pub(super) enum Wrong {
    Glob(Diagnostic),
    Trouble(Trouble),
}

impl<'a> Pattern<'a> {
    pub fn new(text: &'a str, base: &Path, param: &str) -> Result<Pattern<'a>, Wrong> {
        let full = base.join(text);
        let (root, what) = match full.metadata() {
            Ok(meta) if meta.is_file() => {
                let root = full.parent().unwrap_or(base).to_path_buf();
                (root, What::File(full))
            }
            Ok(meta) if meta.is_dir() => (full, What::Folder),
            Ok(_) => return Err(Wrong::Trouble(Trouble::special(&full))),
            Err(error) if is_absent(&error) && full.symlink_metadata().is_err() => {
                below(text, base, param)?
            }
            Err(error) => return Err(Wrong::Trouble(Trouble::of(&full, &error))),
        };
        Ok(Pattern {
            text,
            root,
            what,
            hidden: is_hidden(text),
        })
    }

    /// What it names, as far as that is without glob characters.
    pub fn start(&self) -> &Path {
        match &self.what {
            What::File(path) => path,
            What::Folder | What::Below(_) => &self.root,
        }
    }

    /// What a glob's first part with glob characters in it would be were they none.
    pub fn as_written(&self) -> Option<String> {
        let rest = Path::new(self.text).components();
        let part = rest
            .map(|part| part.as_os_str().to_string_lossy())
            .find(|part| is_glob(part))?;
        self.root.join(&*part).exists().then(|| part.into_owned())
    }
}

impl Below {
    pub fn is_match(&self, relative: &Path) -> bool {
        self.whole.is_match(relative)
    }

    /// Whether something below this folder may match.
    pub fn may_hold(&self, folder: &Path) -> bool {
        let parts = folder.iter().zip(&self.parts);
        let fits = parts.into_iter().all(|(name, part)| part.is_match(name));
        fits && self.depth.is_none_or(|depth| folder.iter().count() < depth)
    }
}

/// A text as a glob that matches it alone.
pub fn escape_glob(text: &str) -> String {
    globset::escape(&text.replace('\\', "\\\\"))
}

/// Splits a glob in the folder above its first part with a glob character, and the rest.
fn below(text: &str, base: &Path, param: &str) -> Result<(PathBuf, What), Wrong> {
    let parts: Vec<Component> = Path::new(text).components().collect();
    let name = |part: &Component| part.as_os_str().to_string_lossy().into_owned();
    let literal: Vec<String> = parts
        .iter()
        .map_while(|part| only_name(&name(part)))
        .collect();
    let above = literal.len().min(parts.len().saturating_sub(1));
    let root = base.join(literal[..above].iter().collect::<PathBuf>());
    let rest: Vec<String> = parts[above..].iter().map(name).collect();
    let whole = glob(&rest.join("/"), param)?.compile_matcher();
    // Until one that spans folders.
    let one_each = rest.iter().take_while(|part| is_one_level(part));
    let parts: Vec<GlobMatcher> = one_each
        .map(|part| Ok(glob(part, param)?.compile_matcher()))
        .collect::<Result<_, Wrong>>()?;
    let depth = (parts.len() == rest.len()).then_some(parts.len());
    Ok((
        root,
        What::Below(Below {
            whole,
            parts,
            depth,
        }),
    ))
}

/// The one name that a part matches, if there is but one: it may be escaped, as by [`escape_glob`].
fn only_name(part: &str) -> Option<String> {
    let (mut name, mut rest) = (String::new(), part);
    while let Some(at) = rest.find(GLOB) {
        name.push_str(&rest[..at]);
        let mut ahead = rest[at..].chars();
        let escaped = match (ahead.next(), ahead.next(), ahead.next()) {
            (Some('['), Some(c), Some(']')) if GLOB.contains(&c) && c != '\\' => c,
            (Some('\\'), Some(c), _) => c,
            _ => return None,
        };
        name.push(escaped);
        let around = if rest[at..].starts_with('[') { 2 } else { 1 };
        rest = &rest[at + around + escaped.len_utf8()..];
    }
    Some(name + rest)
}

const GLOB: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

fn is_glob(part: &str) -> bool {
    part.contains(GLOB)
}

/// Whether a part matches names of one level only: it is no `**`, and no piece of a `{a/b,c}`.
fn is_one_level(part: &str) -> bool {
    let count = |c: char| part.matches(c).count();
    !part.contains("**") && count('{') == count('}') && count('[') == count(']')
}

pub(super) fn glob(pattern: &str, param: &str) -> Result<Glob, Wrong> {
    let glob = GlobBuilder::new(pattern).literal_separator(true).build();
    glob.map_err(|error| {
        let message = format!("`{param}`: `{pattern}` is no glob: {error}");
        Wrong::Glob(Diagnostic::error(message))
    })
}

/// Whether there is nothing of such a name, rather than something that cannot be looked at.
fn is_absent(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        NotFound | NotADirectory | InvalidFilename | InvalidInput
    )
}
