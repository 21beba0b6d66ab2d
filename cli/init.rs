//! `climb init`.

use std::io::Write;
use std::path::{Path, PathBuf};

use climb_engine::diagnostic::Diagnostic;
use climb_engine::load;
use climb_engine::sources;
use climb_engine::stage::{FoundFile, SourceSpec};
use climb_stages::corpus::Format;
use climb_stages::corpus::survey::{self, CHUNK, Survey};
use climb_stages::suggest::{Suggestion, suggest};
use serde_json::json;

use crate::failure::Failure;
use crate::render::{diagnostics, text};
use crate::{check, common};

const STARTER: &str = include_str!("starter.yaml");

/// Write a starter workflow for a corpus
///
/// Looks at the files: their format, which field of JSONL or Parquet records holds the text, and
/// how much there is. Then writes a whole CLIMB search with comments, and with as many clusters
/// and as large proxies as that much text is good for.
///
/// Examples:
///
///     climb init --corpus 'data/**/*.jsonl.zst'
///     climb init search.yaml --corpus 'docs/**/*.md' --target '**/README*'
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The workflow to write
    #[arg(default_value = "workflow.yaml")]
    file: PathBuf,

    /// The corpus: a glob, a folder or a file; repeatable
    #[arg(long, value_name = "GLOB", required = true)]
    corpus: Vec<String>,

    /// Files of the corpus whose held-out documents are the target, as a glob on their names
    /// [default: all]
    #[arg(long, value_name = "GLOB")]
    target: Vec<String>,

    /// Overwrite the file if it is there
    #[arg(long)]
    force: bool,
}

pub fn run(args: Args) -> Result<(), Failure> {
    if !args.force && args.file.exists() {
        let message = format!("{} is there already", args.file.display());
        let help = "give another name, or --force to overwrite it";
        return Err(Diagnostic::error(message).help(help).into());
    }
    let corpus: Vec<String> = args
        .corpus
        .iter()
        .map(|g| anchored(g, &args.file))
        .collect::<Result<_, _>>()?;
    let files = find("--corpus", "paths", &corpus, &args.file)?;
    let wrong = |error| Failure::refused(format!("--corpus: {error:#}"));
    let survey = survey::survey(&files).map_err(wrong)?;
    let target = target(&args, &files)?;
    let wanted = if target == ["**"] { 0.05 } else { 0.4 };
    let fraction = survey::heldout_fraction(&files, &survey, &target, wanted).map_err(wrong)?;
    let suggestion = suggest(survey.documents, survey.text_bytes);
    let yaml = starter(
        &args.file,
        &corpus,
        (&target, fraction),
        &survey,
        &suggestion,
    );
    write(&args, &yaml)?;
    report(&args, &survey);
    Ok(())
}

/// A pattern as seen from the workflow's folder. That of this folder is no glob.
fn anchored(pattern: &str, file: &Path) -> Result<String, Failure> {
    let here = file.parent().is_none_or(|parent| parent == Path::new(""));
    if here || Path::new(pattern).is_absolute() {
        return Ok(pattern.to_string());
    }
    let full = std::path::absolute(pattern).unwrap_or_else(|_| pattern.into());
    let folder = std::env::current_dir().unwrap_or_default();
    let (Some(full_text), Some(folder)) = (full.to_str(), folder.to_str()) else {
        let message = format!("the path of {} is not UTF-8", folder.display());
        let help = "give a workflow in this folder, so that the corpus is named without it";
        return Err(Diagnostic::error(message).help(help).into());
    };
    Ok(match full.exists() {
        true => full_text.to_string(),
        false => format!("{}/{pattern}", sources::escape_glob(folder)),
    })
}

/// The files that the workflow's `corpus` stage would read.
fn find(
    option: &str,
    param: &'static str,
    patterns: &[String],
    file: &Path,
) -> Result<Vec<FoundFile>, Failure> {
    let spec = SourceSpec {
        group: "files",
        param,
        patterns: patterns.to_vec(),
        exclude: Vec::new(),
    };
    sources::find(&spec, &sources::base_dir(file)).map_err(|mut problem| {
        problem.message = problem.message.replace(&format!("`{param}`"), option);
        problem.into()
    })
}

/// The target as globs on names below the corpus's common folder, as `heldout.match` takes them.
fn target(args: &Args, files: &[FoundFile]) -> Result<Vec<String>, Failure> {
    let mut globs = Vec::new();
    for pattern in &args.target {
        let on_names = matching(pattern, files);
        // A path from here, as for the corpus: take off what the names lack.
        let full = std::path::absolute(pattern).unwrap_or_else(|_| pattern.into());
        let root = files.first().and_then(root_of);
        let below = root.and_then(|root| Some(full.strip_prefix(root).ok()?.to_path_buf()));
        let below = below.map(|path| path.display().to_string());
        match (on_names, below) {
            (true, _) => globs.push(pattern.clone()),
            (false, Some(below)) if matching(&below, files) => globs.push(below),
            _ => {
                let message = format!("--target: `{pattern}` matches no file of the corpus");
                let names = files.iter().take(3).map(|file| file.name.as_str());
                let names = names.collect::<Vec<_>>().join(", ");
                let help = format!("it is matched with names such as {names}; try `**/NAME*`");
                return Err(Diagnostic::error(message).help(help).into());
            }
        }
    }
    if globs.is_empty() {
        globs.push("**".into());
    }
    Ok(globs)
}

fn matching(pattern: &str, files: &[FoundFile]) -> bool {
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    climb_stages::corpus::any_match(pattern, &names)
}

/// The folder that a file's name starts from.
fn root_of(file: &FoundFile) -> Option<PathBuf> {
    let path = std::path::absolute(&file.path).ok()?;
    let depth = Path::new(&file.name).components().count();
    path.ancestors().nth(depth).map(Path::to_path_buf)
}

fn starter(
    file: &Path,
    corpus: &[String],
    (target, fraction): (&[String], f64),
    survey: &Survey,
    suggestion: &Suggestion,
) -> String {
    // JSON's strings are YAML's.
    let list = |globs: &[String]| {
        let quoted: Vec<String> = globs.iter().map(|glob| json!(glob).to_string()).collect();
        quoted.join(", ")
    };
    let runs: Vec<String> = suggestion.runs.iter().map(u64::to_string).collect();
    let values = [
        ("files", text::count(survey.files, "file")),
        ("format", format_name(survey.format).into()),
        ("size", format!("{}B", text::short(survey.bytes as f64))),
        ("documents", text::short(survey.documents as f64)),
        ("file", file.display().to_string()),
        ("corpus", list(corpus)),
        ("target", list(target)),
        ("options", options(survey)),
        ("fraction", fraction.to_string()),
        ("clusters", suggestion.clusters.to_string()),
        ("final_clusters", suggestion.final_clusters.to_string()),
        ("proxy", suggestion.proxy.into()),
        ("tokens", suggestion.tokens.to_string()),
        ("context", suggestion.context.to_string()),
        ("batch", suggestion.batch.to_string()),
        ("vocab_size", suggestion.vocab_size.to_string()),
        ("runs", runs.join(", ")),
    ];
    let mut yaml = STARTER.to_string();
    for (name, value) in values {
        yaml = yaml.replace(&format!("{{{{{name}}}}}"), &value);
    }
    yaml
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Jsonl => "JSONL",
        Format::Parquet => "Parquet",
        Format::Text | Format::Auto => "text",
    }
}

/// Lines of `with:` that the format asks for.
fn options(survey: &Survey) -> String {
    match &survey.text_field {
        Some(field) => format!("      text_field: {}", json!(field)),
        None => format!("      chunk_chars: {CHUNK} # longer files are cut at paragraphs"),
    }
}

fn write(args: &Args, yaml: &str) -> Result<(), Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true);
    // Without --force never onto a file, even one that came up just now.
    match args.force {
        true => options.create(true).truncate(true),
        false => options.create_new(true),
    };
    let written = options
        .open(&args.file)
        .and_then(|mut file| file.write_all(yaml.as_bytes()));
    written
        .map_err(|error| Failure::refused(format!("cannot write {}: {error}", args.file.display())))
}

/// What was written, checked as `climb check` would.
fn report(args: &Args, survey: &Survey) {
    let registry = common::registry();
    let env = |name: &str| std::env::var(name).ok();
    let checked = load::check(&args.file, &[], &registry, &env);
    diagnostics::print(&checked.problems);
    let field = survey.text_field.as_ref();
    let field = field.map_or(String::new(), |field| format!(", text in `{field}`"));
    println!(
        "{}: {}, {}{field}, about {}",
        args.file.display(),
        text::count(survey.files, "file"),
        format_name(survey.format),
        text::count(text::short(survey.documents as f64), "document")
    );
    match &checked.graph {
        Some(graph) => println!("{}", check::summary(graph, &registry, &checked.problems)),
        None => println!("Put that right, then: climb check {}", args.file.display()),
    }
    println!("Next: climb plan {0}, climb run {0}", args.file.display());
}
