//! Workflows that are wrong in one way each (tests/broken): `climb check` says what and where, and
//! the JSON Schema refuses all that a schema can.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::workspace::{Ran, Workspace};

/// What the first line of a broken workflow expects:
/// `# [FILE:]LINE:COLUMN piece of the message [(schema: accepts)]`.
struct Expected {
    place: String,
    message: String,
    schema_accepts: bool,
}

impl Expected {
    fn of(file: &Path) -> Expected {
        let text = std::fs::read_to_string(file).expect("readable");
        let line = text.lines().next().expect("a first line");
        let line = line.strip_prefix("# ").expect("a comment");
        let (place, message) = line.split_once(' ').expect("a place and a message");
        let accepted = message.strip_suffix(" (schema: accepts)");
        // Places are in the file itself where no other one is named.
        let own = file.file_name().expect("a name").to_string_lossy();
        let place = match place.split(':').count() {
            2 => format!("{own}:{place}"),
            _ => place.to_string(),
        };
        Expected {
            place,
            message: accepted.unwrap_or(message).to_string(),
            schema_accepts: accepted.is_some(),
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn yaml_files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect();
    files.sort();
    files
}

fn shipped() -> Vec<PathBuf> {
    let folders = [
        "workflows",
        "workflows/ablations",
        "examples/own-trainer",
        "tests/data",
    ];
    folders.into_iter().flat_map(yaml_files).collect()
}

fn climb(args: &[&str]) -> Ran {
    let output = Workspace::empty()
        .command(args)
        .current_dir(root())
        .output();
    Ran::from(output.expect("climb starts"))
}

/// A YAML file as an editor would hand it to a schema. `None`: it is no YAML.
fn as_json(file: &Path) -> Option<Value> {
    let text = std::fs::read_to_string(file).expect("readable");
    let mut yaml: serde_yaml::Value = serde_yaml::from_str(&text).ok()?;
    // Once for each level of anchors that merge others.
    for _ in 0..4 {
        yaml.apply_merge().ok()?;
    }
    serde_json::to_value(yaml).ok()
}

fn schema() -> jsonschema::Validator {
    let ran = climb(&["schema"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let schema = serde_json::from_str(&ran.stdout).expect("JSON");
    jsonschema::meta::validate(&schema).expect("a schema");
    jsonschema::validator_for(&schema).expect("a schema")
}

#[test]
fn check_reports_every_broken_workflow_at_its_place() {
    let files = yaml_files("tests/broken");
    assert!(files.len() >= 30, "{}", files.len());
    let names: Vec<&str> = files
        .iter()
        .map(|file| file.to_str().expect("UTF-8"))
        .collect();
    let ran = climb(&[&["check", "--json"], &names[..]].concat());
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let reports: Vec<Value> = serde_json::from_str(&ran.stdout).expect("JSON");
    assert_eq!(reports.len(), files.len());
    for (file, report) in files.iter().zip(reports) {
        let expected = Expected::of(file);
        let problems = report["problems"].as_array().expect("a list");
        assert_eq!(problems.len(), 1, "{}: {problems:#?}", file.display());
        let span = &problems[0]["span"];
        let place = format!(
            "{}:{}:{}",
            span["file"].as_str().unwrap_or_default(),
            span["line"],
            span["column"]
        );
        let message = problems[0]["message"].as_str().expect("text");
        let right = place.ends_with(&format!("/{}", expected.place));
        assert!(
            right && message.contains(&expected.message),
            "{}: {place} {message}",
            file.display()
        );
    }
}

#[test]
fn the_schema_refuses_what_a_schema_can() {
    let schema = schema();
    let mut refused = 0;
    for file in yaml_files("tests/broken") {
        let accepts = as_json(&file).is_some_and(|value| schema.is_valid(&value));
        let expected = Expected::of(&file).schema_accepts;
        assert_eq!(accepts, expected, "{}", file.display());
        refused += usize::from(!accepts);
    }
    assert!(refused >= 30, "{refused}");
}

#[test]
fn the_schema_accepts_every_shipped_workflow() {
    let schema = schema();
    for file in shipped() {
        let value = as_json(&file).expect("YAML");
        let errors: Vec<String> = schema
            .iter_errors(&value)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{}: {errors:#?}", file.display());
    }
}

#[test]
fn every_shipped_workflow_points_at_the_schema_as_it_is_now() {
    let committed = std::fs::read_to_string(root().join("workflows/schema.json"));
    assert!(
        committed.expect("workflows/schema.json") == climb(&["schema"]).stdout,
        "write it anew: climb schema --output workflows/schema.json"
    );
    for file in shipped() {
        let text = std::fs::read_to_string(&file).expect("readable");
        let line = text.lines().next().unwrap_or_default();
        let path = line.strip_prefix("# yaml-language-server: $schema=");
        let path = path.unwrap_or_else(|| panic!("{} names no schema", file.display()));
        let schema = file.parent().expect("a folder").join(path);
        let schema = schema.canonicalize().expect("a file");
        assert_eq!(schema, root().join("workflows/schema.json"));
    }
}

#[test]
fn the_examples_of_all_kinds_are_one_valid_workflow() {
    let workspace = Workspace::empty();
    let ran = workspace.climb(&["stages", "--json"]);
    let kinds: Value = serde_json::from_str(&ran.stdout).expect("JSON");
    let mut yaml = "stages:\n".to_string();
    for kind in kinds.as_array().expect("a list") {
        yaml.push_str(kind["example"].as_str().expect("an example"));
    }
    workspace.write("w.yaml", &yaml);
    workspace.write(
        "data/a.jsonl.zst",
        "{\"text\": \"some text of a corpus\"}\n",
    );
    workspace.write("benchmarks/piqa-validation.jsonl", "{}\n");
    workspace.write("ratios.csv", "run,web\na,1\n");
    workspace.write("metrics.csv", "run,loss\na,1\n");
    let ran = workspace.climb(&["check", "w.yaml"]);
    assert!(ran.ok(), "{yaml}\n{}", ran.stderr);
    let value: serde_yaml::Value = serde_yaml::from_str(&yaml).expect("YAML");
    let value = serde_json::to_value(value).expect("JSON");
    assert!(schema().is_valid(&value), "{yaml}");
}
