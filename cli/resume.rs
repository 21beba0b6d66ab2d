//! `climb resume`.

use std::path::Path;

use climb_engine::diagnostic::Diagnostic;
use climb_engine::event::Origin;
use climb_engine::kept::Texts;
use climb_engine::load;
use climb_engine::runs::{self, RunFolder, RunInfo, RunState};
use serde_json::Value;

use crate::common::{self, CacheArgs, WorkflowSource};
use crate::failure::Failure;
use crate::render::diagnostics;
use crate::session::{MachineArgs, RunArgs};
use crate::table::TableArgs;
use crate::{run, status, sweep};

/// Take up a run that was interrupted, failed or died, just as it was
///
/// The run goes on with its own workflow text, parameters (--set), options and working folder, even
/// if the workflow file has changed since. What it finished is not done again; a task that was cut
/// off goes on from its last checkpoint. By default it is the latest run that did not succeed and
/// that no later run has taken up. A run that came with an archive is taken up by its name only: it
/// runs the archive's commands, which are shown first.
///
/// Examples:
///   climb resume
///   climb resume 20261124-205116-quickstart --jobs 4
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A run's id, see `climb runs`; by default the latest unfinished one
    run: Option<String>,

    #[command(flatten)]
    how: RunArgs,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let how = args.how;
    let cache = std::path::absolute(&how.cache.cache)
        .map_err(|error| Failure::refused(format!("{}: {error}", how.cache.cache.display())))?;
    let Some(run) = choose(&how.cache.cache, args.run.as_deref(), how.wait)? else {
        return Ok(());
    };
    let (source, origin) = source(&cache, &run)?;
    if run.imported.is_some() {
        show_commands(&run, &source, &origin)?;
    }
    std::env::set_current_dir(&origin.cwd).map_err(|error| {
        let cwd = origin.cwd.display();
        Failure::refused(format!("the run's working folder {cwd} is gone: {error}"))
    })?;
    if !how.json {
        eprintln!("taking up run {}", run.id);
    }
    let how = RunArgs {
        cache: CacheArgs { cache },
        machine: MachineArgs {
            jobs: how.machine.jobs.or(origin.jobs),
            gpus: how.machine.gpus.or(origin.gpus),
        },
        keep_going: how.keep_going || origin.keep_going,
        resumes: Some(run.id),
        ..how
    };
    match origin.sweep {
        None => run::launch(source, &how),
        Some(asked) => sweep::launch(sweep::Launch {
            source,
            asked,
            run: how,
            table: TableArgs::default(),
            dry_run: false,
        }),
    }
}

/// The run to take up; `None`, and a word why, when there is nothing to do.
/// `wait`: one that is still running is taken up once it has ended.
fn choose(cache: &Path, named: Option<&str>, wait: bool) -> Result<Option<RunInfo>, Failure> {
    let latest = status::find_run(cache, named)?;
    let run = match named {
        Some(_) => runs::read(cache, &latest),
        None => {
            let mut all = runs::list(cache);
            all.retain(|run| run.imported.is_none());
            runs::unfinished(&all).pop().or(all.last()).cloned()
        }
    };
    let theirs = runs::read(cache, &latest).is_some_and(|run| run.imported.is_some());
    let Some(run) = run else {
        if theirs {
            let message = "no run of this cache's own is there to be taken up";
            let help = format!(
                "`climb resume {latest}` takes up the imported run: it runs the archive's commands"
            );
            return Err(Diagnostic::error(message).help(help).into());
        }
        let message = format!("run {latest} died before it began");
        return Err(Failure::refused(message));
    };
    match run.state {
        RunState::Succeeded => {
            println!("Run {} succeeded; there is nothing to resume.", run.id);
            Ok(None)
        }
        RunState::Running if named.is_none() && !wait => {
            let message = format!("run {} is still running ({})", run.id, run.process_name());
            let problem = Diagnostic::error(message);
            Err(problem.help("`climb status` shows it").into())
        }
        _ => Ok(Some(run)),
    }
}

/// The run's own workflow, as it was.
fn source(cache: &Path, run: &RunInfo) -> Result<(WorkflowSource, Origin), Failure> {
    let folder = RunFolder::of(cache, &run.id);
    let origin = run.origin.clone();
    if let (None, Some(damage)) = (&origin, &run.damage) {
        let message = format!("run {} cannot be taken up: {damage}", run.id);
        let help = "run its workflow again: what it finished is in the cache";
        return Err(Diagnostic::error(message).help(help).into());
    }
    let kept = origin.and_then(|origin| {
        let texts = Texts::read(&folder, &origin.extends).ok()?;
        Some((origin, texts))
    });
    if let Some((
        Origin {
            texts: Some(then), ..
        },
        texts,
    )) = &kept
        && texts.digest() != *then
    {
        let message = format!(
            "the workflow that run {} kept is damaged: it is not what it was",
            run.id
        );
        let help = format!(
            "it is in {}; run it again as it was: {}",
            folder.path().display(),
            run.command.join(" ")
        );
        return Err(Diagnostic::error(message).help(help).into());
    }
    let Some((origin, texts)) = kept else {
        let message = format!("run {} did not keep its workflow", run.id);
        let help = format!("run it again as it was: {}", run.command.join(" "));
        return Err(Diagnostic::error(message).help(help).into());
    };
    note_change(&run.file, &texts.workflow, &folder.workflow());
    for (i, (file, text)) in texts.extends.iter().enumerate() {
        note_change(file, text, &folder.extended(i));
    }
    let source = WorkflowSource {
        file: run.file.clone(),
        text: texts.workflow,
        set: origin.set.clone(),
        env: origin.env.clone(),
        extends: texts.extends,
    };
    Ok((source, origin))
}

/// The commands of somebody else's run, before any of them is started.
fn show_commands(run: &RunInfo, source: &WorkflowSource, origin: &Origin) -> Result<(), Failure> {
    let graph = source.clone().load(&common::registry())?;
    let commands = graph.nodes.iter().filter(|node| node.kind == "command");
    let mut commands: Vec<String> = commands
        .map(|node| match &node.params["run"] {
            Value::String(line) => format!("    {}: {line}", node.stage),
            arguments => format!("    {}: {arguments}", node.stage),
        })
        .collect();
    commands.dedup();
    let what = match commands.is_empty() {
        true => "It runs no command".to_string(),
        false => format!(
            "It runs these commands of the archive's:\n{}",
            commands.join("\n")
        ),
    };
    diagnostics::note(&format!(
        "run {} was imported. {what}\n  in {}",
        run.id,
        origin.cwd.display()
    ));
    Ok(())
}

/// Says so when `file` is not any more what the run kept of it.
fn note_change(file: &Path, text: &str, kept: &Path) {
    let (what, instead) = match load::read_text(file) {
        Ok(now) if now == text => return,
        Ok(_) => ("has changed since", " (`climb run` takes the new one)"),
        Err(_) => ("is gone", ""),
    };
    let (file, kept) = (file.display(), kept.display());
    diagnostics::note(&format!(
        "{file} {what}; this goes on with the text as it was, {kept}{instead}"
    ));
}
