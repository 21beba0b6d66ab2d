//! `climb get`: an output of a task, copied out of the cache. Reads files only, so it works beside
//! a run.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use climb_cache::{Artifact, Digest, Record, TaskName, look, name};
use climb_engine::diagnostic::Diagnostic;
use climb_engine::event::Event;
use climb_engine::load::suggest;
use climb_engine::survey;

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::render::text;
use crate::{printing, status, story};

mod mixtures;

/// Copy an output of a finished task out of the cache, checked on the way
///
/// An output is named as in a workflow: `search.fit` is the last iteration's. One task of many is
/// named by its number, as `climb log` shows it. A list of mixtures becomes one table where the
/// destination ends with `.csv`.
///
/// Examples:
///   climb get select.mixture mixture.json
///   climb get dataset climbmix/
///   climb get next.mixtures next.csv
///   climb get 'search[1].train[3]' proxy/ --run 20261124-205116-quickstart
///   climb get select.selection - | jq .weights
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// STAGE, STAGE.OUTPUT, or one of several tasks: STAGE[3].OUTPUT
    output: String,

    /// Where to put it: a new file or folder, or a folder that is there; `-` prints a file
    destination: PathBuf,

    /// A run's id, see `climb runs`; by default the latest
    #[arg(long)]
    run: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let cache = &args.cache.cache;
    let id = status::find_run(cache, args.run.as_deref())?;
    let (record, name) = locate(cache, &id, &args.output)?;
    let artifact = &record.outputs[&name];
    if args.destination == Path::new("-") {
        return print(cache, &record, artifact);
    }
    let destination = destination(&args.destination, &name)?;
    if mixtures::is_table(&destination, artifact) {
        let table = mixtures::table(cache, &id, &record, artifact)?;
        let size = text::bytes(table.len() as u64);
        in_place(&destination, |whole| std::fs::write(whole, table)).map_err(|error| {
            Failure::Failed(format!("cannot write {}: {error}", destination.display()))
        })?;
        println!("{} (1 file, {size})", destination.display());
        return Ok(());
    }
    write(cache, &record, artifact, &destination).map_err(|error| {
        Failure::Failed(format!("cannot write {}: {error}", destination.display()))
    })?;
    let files = text::count(artifact.files().len(), "file");
    let size = text::bytes(artifact.size());
    println!("{} ({files}, {size})", destination.display());
    Ok(())
}

/// Copies an output to a place that is not there yet.
pub fn copy(cache: &Path, run: Option<&str>, output: &str, to: &Path) -> Result<(), Failure> {
    let (record, name) = locate(cache, &status::find_run(cache, run)?, output)?;
    write(cache, &record, &record.outputs[&name], to)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", to.display())))
}

/// The record that made an output, and the output's name.
pub fn locate(cache: &Path, id: &str, output: &str) -> Result<(Record, String), Failure> {
    let ended = ended(cache, id)
        .map_err(|error| Failure::Failed(format!("the journal of run {id}: {error}")))?;
    let last = |repeat: &str| ended.repeats.get(repeat).copied();
    let found = find(cache, &ended, &name::in_iteration(output, last));
    Ok(found.map_err(|(message, help)| {
        Diagnostic::error(format!("{message} in run {id}")).help(help)
    })?)
}

/// Keys by task.
type Tasks = BTreeMap<TaskName, Digest>;
/// The last iteration of each `repeat`.
type Repeats = BTreeMap<String, usize>;

/// How the tasks of a run ended.
#[derive(Default)]
struct TaskEnds {
    /// Those that the run has done, or found cached.
    finished: Tasks,
    /// Why the others are not there.
    lacking: BTreeMap<TaskName, String>,
    repeats: Repeats,
}

fn ended(cache: &Path, run: &str) -> std::io::Result<TaskEnds> {
    let mut ended = TaskEnds::default();
    let (tasks, repeats) = (&mut ended.finished, &mut ended.repeats);
    let events = match (survey::milestones(cache, run), story::result(cache, run)) {
        (Err(error), None) => return Err(error),
        (events, result) => {
            // A journal may be damaged: the result tells of the same tasks.
            let stages = result.into_iter().flat_map(|result| result.stages);
            let done = stages.flat_map(|stage| stage.tasks);
            tasks.extend(done.map(|task| (task.name, task.key)));
            events.unwrap_or_default()
        }
    };
    for stamped in events {
        match stamped.event {
            Event::RunStarted { stages, .. } => {
                let iterations = stages.iter().filter_map(|stage| stage.name.parts().repeat);
                for (repeat, number) in iterations {
                    let last = repeats.entry(repeat.to_string()).or_default();
                    *last = number.max(*last);
                }
            }
            Event::TaskCached { task, key, .. } | Event::TaskFinished { task, key, .. } => {
                tasks.insert(task, key);
            }
            Event::TaskFailed {
                task,
                error,
                dropped,
                retry_seconds: None,
                ..
            } => {
                let how = if dropped { "was dropped" } else { "failed" };
                ended.lacking.insert(task, format!("{how}: {error}"));
            }
            Event::TaskSkipped { task, because, .. } => {
                let why = format!("was skipped: {because}");
                ended.lacking.insert(task, why);
            }
            _ => {}
        }
    }
    ended
        .lacking
        .retain(|task, _| !ended.finished.contains_key(task));
    Ok(ended)
}

/// The record and the output that `wanted` names. The error is (message, help).
fn find(
    cache: &Path,
    ended: &TaskEnds,
    wanted: &str,
) -> Result<(Record, String), (String, String)> {
    let tasks = &ended.finished;
    let task = name::split_output(wanted).map_or(wanted, |(task, _)| task);
    let mut lacking = ended.lacking.iter();
    if let Some((task, why)) = lacking.find(|(name, _)| **name == task || **name == wanted) {
        let help = format!("`climb log --task '{task}'` shows what it said, if it was begun");
        return Err((format!("`{task}` has no outputs: it {why},"), help));
    }
    let (task, output) = match name::split_output(wanted) {
        _ if tasks.contains_key(wanted) => (wanted, None),
        Some((task, output)) if tasks.contains_key(task) => (task, Some(output)),
        _ => {
            let items = tasks.keys().filter(|task| task.is_item_of(wanted));
            if let Some(first) = items.clone().next() {
                let of_it = text::count(items.count(), "task");
                let help = format!("it is {of_it}: name one, as `{first}`");
                return Err((format!("`{wanted}` is a fan-out, not one task,"), help));
            }
            if let Some((stage, output)) = name::split_output(wanted)
                && let Some(first) = tasks.keys().find(|task| task.is_item_of(stage))
            {
                let help = format!("name one of its tasks, as `{first}.{output}`");
                return Err((format!("`{stage}` is a fan-out, not one task,"), help));
            }
            let help = match tasks.is_empty() {
                true => "it has finished no task".into(),
                false => suggest::help(
                    wanted,
                    stages(tasks).iter().map(|s| s.as_str()),
                    "what is finished",
                ),
            };
            return Err((format!("there is no finished task `{wanted}`"), help));
        }
    };
    let Some(record) = look::record(cache, &tasks[task]) else {
        let help = "it was collected as garbage, or damaged: `climb cache verify` makes it good where a copy is \
                    left; else run the workflow again"
            .to_string();
        return Err((
            format!("the record of `{task}` is no longer in the cache"),
            help,
        ));
    };
    let names: Vec<&str> = record.outputs.keys().map(String::as_str).collect();
    let name = match (output, &names[..]) {
        (Some(output), _) if names.contains(&output) => output,
        (None, [one]) => one,
        (Some(output), _) => {
            let help = suggest::help(output, names.iter().copied(), "its outputs");
            return Err((format!("`{task}` has no output `{output}`"), help));
        }
        (None, _) => {
            let all: Vec<String> = names.iter().map(|name| format!("{task}.{name}")).collect();
            let help = format!("name one: {}", all.join(", "));
            return Err((format!("`{task}` has {} outputs", names.len()), help));
        }
    };
    let name = name.to_string();
    Ok((record, name))
}

/// The tasks' names, those of a fan-out once.
fn stages(tasks: &BTreeMap<TaskName, Digest>) -> BTreeSet<TaskName> {
    tasks.keys().map(|task| task.node()).collect()
}

/// Into a folder that is there, under the output's own name. Nothing is overwritten.
fn destination(wanted: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = if wanted.is_dir() {
        wanted.join(name)
    } else {
        wanted.to_path_buf()
    };
    if path.exists() {
        let message = format!("{} is there already", path.display());
        let help = "nothing is overwritten: name another place";
        return Err(Diagnostic::error(message).help(help).into());
    }
    Ok(path)
}

fn print(cache: &Path, record: &Record, artifact: &Artifact) -> Result<(), Failure> {
    let Artifact::File(file) = artifact else {
        let message = "it is a folder, which cannot be printed";
        let help = "name a destination instead of `-`";
        return Err(Diagnostic::error(message).help(help).into());
    };
    let bytes = look::bytes(cache, &record.key, file);
    let bytes = bytes.map_err(|error| Failure::Failed(error.to_string()))?;
    match std::io::stdout().is_terminal() {
        true => print!("{}", String::from_utf8_lossy(&bytes)),
        false => printing::bytes(&bytes),
    }
    Ok(())
}

fn write(cache: &Path, record: &Record, artifact: &Artifact, to: &Path) -> std::io::Result<()> {
    in_place(to, |whole| {
        if let Artifact::Folder(_) = artifact {
            std::fs::create_dir(whole)?;
        }
        for path in artifact.empty_folders() {
            std::fs::create_dir_all(whole.join(path))?;
        }
        for (path, file) in artifact.files() {
            let place = match path {
                "" => whole.to_path_buf(),
                inside => whole.join(inside),
            };
            std::fs::create_dir_all(place.parent().expect("below the folder"))?;
            look::copy(cache, &record.key, &file, &place)?;
        }
        Ok(())
    })
}

/// Beside the destination first, so that it is there whole or not at all.
fn in_place(to: &Path, make: impl FnOnce(&Path) -> std::io::Result<()>) -> std::io::Result<()> {
    let parent = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent)?;
    let partial = tempfile::Builder::new()
        .prefix(".climb-get-")
        .tempdir_in(parent)?;
    let whole = partial.path().join("whole");
    make(&whole)?;
    std::fs::rename(&whole, to)
}
