//! `climb diff`: two runs side by side, from their journals and results; works while another
//! process has the cache.

use std::path::Path;

use climb_engine::compare::{self, Changed, StageChange, StageComparison};
use climb_engine::diagnostic::Diagnostic;
use climb_engine::runs::result::{Dropped, RunResult};
use climb_engine::runs::{self, RunInfo};
use climb_stages::formats::confirmation::Contender;
use serde_json::json;

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::render::ending::better;
use crate::render::run::state_name;
use crate::render::table::table;
use crate::render::{self, diagnostics, text};
use crate::story::{self, SearchResult};
use crate::{next, status};

/// Compare two runs: parameters, artifacts stage by stage, and results
///
/// Example: climb diff 20261124-205116-quickstart 20261125-091502-quickstart
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The run to compare with, see `climb runs`
    #[arg(value_name = "OLD")]
    old: String,

    #[arg(value_name = "NEW")]
    /// The run to compare
    new: String,

    /// Print the comparison as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    cache: CacheArgs,
}

/// One of the two.
struct RunSide {
    info: RunInfo,
    result: RunResult,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let cache = &args.cache.cache;
    let sides = Failure::all([&args.old, &args.new].map(|name| side(cache, name)))?;
    let [old, new] = &sides[..] else {
        unreachable!("there are two");
    };
    let params = compare::params(&old.info.params, &new.info.params);
    let stages = compare::stages(cache, &old.result, &new.result);
    if args.json {
        let all = json!({
            "old": old.info.id, "new": new.info.id, "params": params, "stages": stages,
        });
        render::json(&all);
        return Ok(());
    }
    println!("old  {} ({})", old.info.id, state_name(old.info.state));
    println!("new  {} ({})", new.info.id, state_name(new.info.state));
    for side in [old, new] {
        tell_of_sweep(&side.info);
    }
    print_params(&params);
    print_stages(&stages);
    print_results(cache, old, new);
    Ok(())
}

/// Its parameters are those of the file, and its result is one variant's.
fn tell_of_sweep(run: &RunInfo) {
    let is_sweep = run
        .origin
        .as_ref()
        .is_some_and(|origin| origin.sweep.is_some());
    if is_sweep {
        diagnostics::note(&format!(
            "run {} is a sweep: what follows has the file's parameters, and the result of one variant \
             only; `climb table {0}` has them all",
            run.id
        ));
    }
}

fn side(cache: &Path, name: &str) -> Result<RunSide, Failure> {
    let id = status::find_run(cache, Some(name))?;
    match (runs::read(cache, &id), story::result(cache, &id)) {
        (Some(info), Some(result)) => Ok(RunSide { info, result }),
        (
            Some(RunInfo {
                damage: Some(damage),
                ..
            }),
            None,
        ) => {
            let message = format!("run {id} is damaged, there is no result to compare: {damage}");
            Err(Failure::refused(message))
        }
        (info, _) => {
            let message = format!("run {id} has not come to an end: it has no result to compare");
            let next = info.and_then(|info| next::of_earlier(&info, cache));
            let help = next.unwrap_or("`climb status` shows where it is".into());
            Err(Diagnostic::error(message).help(help).into())
        }
    }
}

fn print_params(params: &[Changed]) {
    println!("\nparams");
    if params.is_empty() {
        println!("  the same");
    }
    for changed in params {
        println!("  {}", change(changed));
    }
}

/// `clusters 48 -> 32`.
fn change(changed: &Changed) -> String {
    let side = |value: &Option<serde_json::Value>| match value {
        Some(value) => text::clip(&value.to_string(), 60),
        None => "(none)".into(),
    };
    let (old, new) = (side(&changed.old), side(&changed.new));
    format!("{} {old} -> {new}", changed.name)
}

fn print_stages(stages: &[StageComparison]) {
    println!("\nstages");
    let same = stages.iter().filter(|s| s.change == StageChange::Same);
    let same = same.count();
    let width = stages.iter().map(|s| s.stage.chars().count()).max();
    let width = width.unwrap_or(0);
    for stage in stages {
        let Some(line) = describe(&stage.change) else {
            continue;
        };
        println!("  {:<width$}  {line}", stage.stage);
        for why in reasons(&stage.change) {
            println!("  {:<width$}    {why}", "");
        }
    }
    match (stages.len() - same, same) {
        (0, _) => println!("  all have the same artifacts"),
        (_, 0) => {}
        (_, 1) => println!("  the other one has the same artifacts"),
        (_, _) => println!("  the other {same} have the same artifacts"),
    }
}

fn describe(change: &StageChange) -> Option<String> {
    Some(match change {
        StageChange::Same => return None,
        StageChange::OnlyOld => "only in the old run".into(),
        StageChange::OnlyNew => "only in the new run".into(),
        StageChange::SameBytes => "other tasks, the same artifacts".into(),
        StageChange::Differs {
            tasks,
            differing,
            outputs,
            dropped,
            ..
        } => {
            let mut parts = Vec::new();
            if tasks.0 != tasks.1 {
                parts.push(format!("{} -> {} tasks", tasks.0, tasks.1));
            }
            for (side, dropped) in [("old", &dropped.0), ("new", &dropped.1)] {
                if !dropped.is_empty() {
                    parts.push(format!("{} dropped in the {side} run", dropped.len()));
                }
            }
            if *differing > 0 {
                let both = tasks.0.min(tasks.1);
                let of = match both {
                    1 => String::new(),
                    n => format!(" in {differing} of {n} tasks"),
                };
                let differ = if outputs.len() == 1 {
                    "differs"
                } else {
                    "differ"
                };
                parts.push(format!("{} {differ}{of}", outputs.join(", ")));
            }
            parts.join("; ")
        }
    })
}

fn reasons(change: &StageChange) -> Vec<String> {
    let StageChange::Differs {
        dropped,
        params,
        inputs,
        versions,
        unkeyed,
        ..
    } = change
    else {
        return Vec::new();
    };
    let mut all: Vec<String> = params.iter().map(self::change).collect();
    all.extend(inputs.iter().cloned());
    all.extend(versions.map(|(old, new)| format!("stage version {old} -> {new}")));
    all.extend(unkeyed.clone());
    all.extend(lost("old", &dropped.0));
    all.extend(lost("new", &dropped.1));
    all
}

/// `each[3] dropped in the new run: exit code 3`.
fn lost(side: &str, dropped: &[Dropped]) -> Vec<String> {
    const SHOWN: usize = 3;
    let first = dropped.iter().take(SHOWN).map(|dropped| {
        let because = dropped.because.lines().next().unwrap_or_default();
        format!("{} dropped in the {side} run: {because}", dropped.task)
    });
    let mut all: Vec<String> = first.collect();
    if dropped.len() > SHOWN {
        all.push(format!(
            "and {} more in the {side} run",
            dropped.len() - SHOWN
        ));
    }
    all
}

fn print_results(cache: &Path, old: &RunSide, new: &RunSide) {
    let mut table = table(&["result", "old", "new"], &[1, 2]);
    for (name, value) in results(cache, old, new) {
        table.add_row([name, value.0, value.1]);
    }
    println!("\n{table}");
}

/// (what, (old, new)).
fn results(cache: &Path, old: &RunSide, new: &RunSide) -> Vec<(String, (String, String))> {
    let mut rows = Vec::new();
    let [before, after] = [old, new].map(|side| SearchResult::in_run(&side.result, cache));
    if let (Some(a), Some(b)) = (&before.selection, &after.selection) {
        let score = |n: f64| format!("{n:.4}");
        rows.push((
            "proxy runs".into(),
            (a.runs.to_string(), b.runs.to_string()),
        ));
        let best = (score(a.observed.score), score(b.observed.score));
        rows.push((format!("best proxy ({})", better(b.direction)), best));
        rows.push(("predicted".into(), (score(a.predicted), score(b.predicted))));
    }
    if let (Some(a), Some(b)) = (&before.evidence, &after.evidence) {
        for contender in &b.contenders {
            let Some(before) = a.contenders.iter().find(|c| c.name == contender.name) else {
                continue;
            };
            let score = |c: &Contender| format!("{:.4} {}", c.mean, text::spread(c.known_spread()));
            let (old, new) = (score(before), score(contender));
            rows.push((format!("trained on {}", contender.name), (old, new)));
        }
    }
    let (a, b) = (&old.info.summary, &new.info.summary);
    let pair = |a: usize, b: usize| (a.to_string(), b.to_string());
    rows.push(("tasks run".into(), pair(a.tasks_run, b.tasks_run)));
    rows.push(("tasks cached".into(), pair(a.tasks_cached, b.tasks_cached)));
    if a.tasks_dropped + b.tasks_dropped > 0 {
        let dropped = pair(a.tasks_dropped, b.tasks_dropped);
        rows.push(("tasks dropped".into(), dropped));
    }
    let times = (text::seconds(a.wall_seconds), text::seconds(b.wall_seconds));
    rows.push(("time".into(), times));
    rows
}
