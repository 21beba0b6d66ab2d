//! The files from outside that a workflow's stages read, as far as names and headers tell.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use climb_contract::diagnostic::{Diagnostic, Span};
use climb_contract::files::find;
use climb_contract::stage::{FoundFile, StageKind};

use crate::graph::{Graph, Node};

/// Files that were found, by group.
pub type Found = BTreeMap<String, Vec<FoundFile>>;

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
    pub fn param_span(&self, field: &str) -> climb_contract::diagnostic::Span {
        let known = self.param_spans.iter().find(|(name, _)| name == field);
        known.map_or(&self.span, |(_, span)| span).clone()
    }
}
