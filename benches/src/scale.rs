//! `climb-bench scale`: what climb takes on a workflow of many tasks, and on a cache of
//! many records.

mod measure;
mod state;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use climb_cache::Cache;
use comfy_table::{CellAlignment, Table, presets};

use measure::Measured;

/// Time, memory and open files with many tasks in a workflow, and many records in a cache
///
/// Fills caches with records of made-up tasks, then runs climb on them, a process each. The
/// time to fill them is not in the table. 1,000,000 records take about 10 GB on the disk for a while.
///
/// Examples:
///   climb-bench scale --tasks 1000 --records 10000
///   climb-bench scale --dir /scratch --json scale.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Tasks in one workflow
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    tasks: usize,

    /// Records in one cache
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    records: usize,

    /// Tasks that are executed, a process each
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    executed: usize,

    /// Where the caches are made, and removed again [default: the folder for temporary files]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Also write the figures to a file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let parent = args.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = parent.join(format!("climb-scale-{}", std::process::id()));
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let rows = tasks(args.tasks, &dir.join("tasks")).and_then(|mut rows| {
        rows.extend(records(args.records, &dir.join("records"))?);
        rows.push(executed(args.executed, &dir.join("executed"))?);
        Ok(rows)
    });
    let told = rows.and_then(|rows| tell(&rows, args.json.as_deref()));
    // A million files take a while to go, so the figures come first.
    let removed = std::fs::remove_dir_all(&dir);
    told?;
    removed.with_context(|| format!("cannot remove {}", dir.display()))
}

fn tell(rows: &[Measured], json: Option<&Path>) -> anyhow::Result<()> {
    print(rows);
    if let Some(path) = json {
        let json = serde_json::to_string_pretty(rows)? + "\n";
        std::fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// One workflow of so many tasks: nothing known, its list known, everything cached, and everything
/// to run again.
fn tasks(count: usize, dir: &Path) -> anyhow::Result<Vec<Measured>> {
    let workflow = state::write_workflow(dir)?;
    let of = |what: &str| format!("{what}, {}", climb_contract::count(count, "task"));
    let run = |words: &[&str], what: &str| measure::climb(dir, words, &of(what));
    let mut rows = vec![run(&["check", "w.yaml"], "check")?];
    rows.push(run(&["plan", "w.yaml"], "plan, list not known")?);
    state::finish(dir, &workflow, 1, count)?;
    rows.push(run(&["plan", "w.yaml"], "plan, all to run")?);
    state::finish(dir, &workflow, usize::MAX, count)?;
    rows.push(run(&["plan", "w.yaml"], "plan, all cached")?);
    rows.push(run(&["run", "w.yaml"], "run, all cached")?);
    rows.push(run(&["plan", "w.yaml"], "plan, all cached, after a run")?);
    let changed = ["plan", "w.yaml", "--set", "params.word=again"];
    rows.push(run(&changed, "plan, all to run again")?);
    rows.push(run(&["status"], "status")?);
    rows.push(run(&["show"], "show")?);
    Ok(rows)
}

/// A small workflow on a cache of so many records of other tasks.
fn records(count: usize, dir: &Path) -> anyhow::Result<Vec<Measured>> {
    let workflow = state::write_workflow(dir)?;
    let key = state::fill(dir, count)?;
    state::finish(dir, &workflow, usize::MAX, 10)?;
    let of = |what: &str| format!("{what}, {}", climb_contract::count(count, "record"));
    let run = |words: &[&str], what: &str| measure::climb(dir, words, &of(what));
    let mut rows = vec![run(&["plan", "w.yaml"], "plan, sealed index")?];
    std::fs::remove_file(dir.join(".climb/index.seal")).context("there is no seal")?;
    rows.push(run(&["plan", "w.yaml"], "plan, index without a seal")?);
    rows.push(run(&["run", "w.yaml"], "run, all cached")?);
    rows.push(run(&["cache", "stats"], "cache stats")?);
    rows.push(run(&["cache", "gc", "--dry-run"], "cache gc --dry-run")?);
    let cache = Cache::open(&dir.join(".climb"), "climb-bench scale")?;
    let start = Instant::now();
    cache.lookup(&key)?.context("the record is gone")?;
    rows.push(Measured {
        what: of("one lookup"),
        seconds: start.elapsed().as_secs_f64(),
        cpu_seconds: None,
        peak_bytes: None,
        open_files: None,
    });
    Ok(rows)
}

/// A run that executes so many tasks.
fn executed(count: usize, dir: &Path) -> anyhow::Result<Measured> {
    let workflow = state::write_workflow(dir)?;
    state::finish(dir, &workflow, 1, count)?;
    let what = format!("run, {} executed", climb_contract::count(count, "task"));
    measure::climb(dir, &["run", "w.yaml"], &what)
}

fn print(rows: &[Measured]) {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(["what", "seconds", "cpu seconds", "peak MiB", "open files"]);
    for row in rows {
        let megabytes = |bytes: u64| format!("{:.0}", bytes as f64 / f64::from(1 << 20));
        table.add_row([
            row.what.clone(),
            format!("{:.3}", row.seconds),
            row.cpu_seconds.map_or(String::new(), |s| format!("{s:.3}")),
            row.peak_bytes.map_or(String::new(), megabytes),
            row.open_files.map_or(String::new(), |n| n.to_string()),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
}
