//! `extends:`: a workflow on top of other files. Mappings are merged deeply, the later one wins, a
//! list replaces a list. Values and places are merged alike, so that every error names the file,
//! line and column that it comes from.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde_json::Value;

use super::document;
use super::model::{join, key};
use super::place::{Part, Place};
use super::suggest;
use climb_contract::diagnostic::{Diagnostic, Span};

/// More files than this in one workflow is a mistake.
const MAX_FILES: usize = 32;
/// What a workflow says about itself, and not about those that extend it.
const OWN: [&str; 3] = ["extends", "name", "description"];

/// A document's value and its places.
type Document = (Value, Rc<Place>);

/// Reads `text`, and with `read_file` every file that it extends.
pub fn read(
    text: &str,
    file: &Path,
    read_file: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<Document, Vec<Diagnostic>> {
    let mut reader = Reader {
        read_file,
        chain: Vec::new(),
        files: 0,
    };
    reader.read(text, file)
}

struct Reader<'a> {
    read_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// The files being read, each extending the next.
    chain: Vec<PathBuf>,
    files: usize,
}

impl Reader<'_> {
    fn read(&mut self, text: &str, file: &Path) -> Result<Document, Vec<Diagnostic>> {
        let (mut value, place) = document::read(text, file).map_err(|error| vec![error])?;
        let Some(extends) = value.as_object_mut().and_then(|top| top.remove("extends")) else {
            return Ok((value, place));
        };
        let bases = names(&extends, &place).map_err(|error| vec![error])?;
        let same = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_path_buf());
        self.chain.push(same);
        let mut problems = Vec::new();
        let mut below: Option<Document> = None;
        for (name, span) in bases {
            match self.base(&name, file, &span) {
                Ok(base) => {
                    below = Some(match below.take() {
                        Some(below) => overlay(below, base),
                        None => base,
                    });
                }
                Err(errors) => problems.extend(errors),
            }
        }
        self.chain.pop();
        match below {
            _ if !problems.is_empty() => Err(problems),
            Some((mut below, places)) => {
                if let Some(top) = below.as_object_mut() {
                    top.retain(|name, _| !OWN.contains(&name.as_str()));
                }
                Ok(overlay((below, places), (value, place)))
            }
            None => Ok((value, place)),
        }
    }

    /// One file that `file` extends.
    fn base(&mut self, name: &str, file: &Path, span: &Span) -> Result<Document, Vec<Diagnostic>> {
        let wrong = |message: String| Diagnostic::error(message).at(span.clone());
        let path = file.parent().unwrap_or(Path::new("")).join(name);
        let same = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
        if let Some(start) = self.chain.iter().position(|seen| *seen == same) {
            let names = self.chain[start..].iter().chain([&same]).map(|p| short(p));
            let names: Vec<String> = names.collect();
            let message = format!("files extend each other: {}", names.join(" extends "));
            return Err(vec![wrong(message)]);
        }
        self.files += 1;
        if self.files > MAX_FILES {
            let message = format!("a workflow cannot be made of more than {MAX_FILES} files");
            return Err(vec![wrong(message)]);
        }
        let text = (self.read_file)(&path).map_err(|error| {
            let problem = wrong(format!("cannot read {}: {error}", path.display()));
            vec![near(problem, &path)]
        })?;
        let base = self.read(&text, &path)?;
        if !base.0.is_object() {
            let message = format!("{} is no mapping that could be extended", path.display());
            return Err(vec![wrong(message)]);
        }
        Ok(base)
    }
}

fn short(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str());
    format!("`{}`", name.to_string_lossy())
}

/// Suggests a file with a like name, if there is one.
fn near(problem: Diagnostic, path: &Path) -> Diagnostic {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new(".")));
    let names = entries.into_iter().flatten().flatten();
    let names: Vec<String> = names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .collect();
    let wanted = path.file_name().unwrap_or_default().to_string_lossy();
    match suggest::nearest(&wanted, names.iter().map(String::as_str)) {
        Some(name) => problem.help(format!("did you mean `{name}`?")),
        None => problem.help("a path in `extends` is relative to the file it stands in"),
    }
}

/// The files named, each with its place.
fn names(extends: &Value, place: &Place) -> Result<Vec<(String, Span)>, Diagnostic> {
    let here = [key("extends")];
    let listed: Vec<(&Value, Vec<Part>)> = match extends {
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items
                .map(|(i, item)| (item, join(&here, Part::Index(i))))
                .collect()
        }
        one => vec![(one, here.to_vec())],
    };
    let mut named = Vec::new();
    for (name, path) in listed {
        let span = place.value(&path);
        match name.as_str() {
            Some(name) => named.push((name.to_string(), span)),
            None => {
                let message = "`extends` is a file's path, or a list of paths";
                return Err(Diagnostic::error(message).at(span));
            }
        }
    }
    Ok(named)
}

fn overlay(base: Document, over: Document) -> Document {
    let place = Place::overlay(&base.1, &over.1);
    let (mut below, above) = (base.0, over.0);
    if let Some(stages) = below.get_mut("stages") {
        drop_replaced_params(stages, &above["stages"]);
    }
    merge(&mut below, above);
    (below, place)
}

/// Merges mappings deeply; anything else is replaced. A mapping left empty (`params:`) changes
/// nothing.
fn merge(below: &mut Value, above: Value) {
    match (below, above) {
        (Value::Object(below), Value::Object(above)) => {
            for (name, value) in above {
                match below.get_mut(&name) {
                    Some(there) => merge(there, value),
                    None => _ = below.insert(name, value),
                }
            }
        }
        (Value::Object(_), Value::Null) => {}
        (below, above) => *below = above,
    }
}

/// A stage that now uses another kind keeps its wiring, but not the other kind's parameters.
fn drop_replaced_params(below: &mut Value, above: &Value) {
    let Some(stages) = below.as_object_mut() else {
        return;
    };
    for (name, stage) in stages {
        let over = &above[name];
        let uses = |stage: &Value| stage.get("uses").cloned();
        if uses(over).is_some_and(|new| uses(stage).is_some_and(|old| old != new)) {
            stage
                .as_object_mut()
                .and_then(|fields| fields.remove("with"));
        }
        if let Some(inner) = stage.pointer_mut("/repeat/stages") {
            let over = over.pointer("/repeat/stages").unwrap_or(&Value::Null);
            drop_replaced_params(inner, over);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Writes the files and reads the last one.
    fn read_files(files: &[(&str, &str)]) -> Result<Document, Vec<Diagnostic>> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let (name, text) = files.last().unwrap();
        read(text, &dir.path().join(name), &|path| {
            std::fs::read_to_string(path)
        })
    }

    fn value(files: &[(&str, &str)]) -> Value {
        read_files(files).unwrap().0
    }

    const BASE: &str = "name: base\nparams: {k: 48, runs: [16, 8, 4]}\nstages:\n  a: {uses: x, \
                        needs: {p: b}, with: {m: 1, n: {o: 2, p: 3}}}\n  b: {uses: y}\n";

    #[test]
    fn mappings_are_merged_and_all_else_is_replaced() {
        let over = "extends: base.yaml\nparams: {runs: [2]}\nstages:\n  a: {with: {n: {p: 4}}}\n  \
                    c: {uses: z}\n";
        let expected = json!({
            "params": {"k": 48, "runs": [2]},
            "stages": {
                "a": {"uses": "x", "needs": {"p": "b"}, "with": {"m": 1, "n": {"o": 2, "p": 4}}},
                "b": {"uses": "y"},
                "c": {"uses": "z"},
            },
        });
        assert_eq!(value(&[("base.yaml", BASE), ("w.yaml", over)]), expected);
    }

    #[test]
    fn another_kind_keeps_the_wiring_and_drops_the_parameters() {
        let over = "extends: base.yaml\nstages: {a: {uses: z, with: {q: 1}}}\n";
        let value = value(&[("base.yaml", BASE), ("w.yaml", over)]);
        let expected = json!({"uses": "z", "needs": {"p": "b"}, "with": {"q": 1}});
        assert_eq!(value["stages"]["a"], expected);
    }

    #[test]
    fn an_empty_mapping_takes_nothing_away_and_a_name_is_not_inherited() {
        let over = "extends: base.yaml\nparams:\nstages:\n  a: {with: }\n";
        let value = value(&[("base.yaml", BASE), ("w.yaml", over)]);
        assert_eq!(value["params"]["k"], 48);
        assert_eq!(value["stages"]["a"]["with"]["m"], 1);
        assert_eq!(value.get("name"), None);
    }

    #[test]
    fn the_last_of_several_wins_and_paths_are_relative_to_their_own_file() {
        let files = [
            ("lib/base.yaml", BASE),
            ("lib/small.yaml", "extends: base.yaml\nparams: {k: 8}\n"),
            ("lib/tiny.yaml", "params: {k: 2}\n"),
            ("w.yaml", "extends: [lib/small.yaml, lib/tiny.yaml]\n"),
        ];
        assert_eq!(value(&files)["params"], json!({"k": 2, "runs": [16, 8, 4]}));
    }

    #[test]
    fn every_place_names_the_file_it_came_from() {
        let over = "extends: base.yaml\nstages:\n  a: {with: {n: {p: 4}}}\n";
        let (_, place) = read_files(&[("base.yaml", BASE), ("w.yaml", over)]).unwrap();
        let at = |path: &[&str]| {
            let path: Vec<Part> = path.iter().map(|name| key(name)).collect();
            let span = place.value(&path);
            let file = span
                .file
                .file_name()
                .unwrap()
                .to_string_lossy()
                .into_owned();
            format!("{file}:{}:{}", span.line, span.column)
        };
        assert_eq!(at(&["stages", "a", "with", "n", "p"]), "w.yaml:3:21");
        assert_eq!(at(&["stages", "a", "with", "n", "o"]), "base.yaml:4:51");
        assert_eq!(at(&["params", "k"]), "base.yaml:2:13");
        assert_eq!(place.names(&[key("stages")]), ["a", "b"]);
    }

    #[test]
    fn a_pile_of_files_is_refused() {
        // 2^12 files, were each read as often as it is named.
        let names: Vec<String> = (0..13).map(|i| format!("{i}.yaml")).collect();
        let texts: Vec<String> = (0..13)
            .map(|i| match i {
                0 => "params: {k: 1}\n".to_string(),
                _ => format!("extends: [{0}.yaml, {0}.yaml]\n", i - 1),
            })
            .collect();
        let files: Vec<(&str, &str)> = names
            .iter()
            .zip(&texts)
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let problems = read_files(&files).unwrap_err();
        assert!(
            problems[0].message.contains("more than 32 files"),
            "{problems:?}"
        );
    }
}
