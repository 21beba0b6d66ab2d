//! `climb cache stats`.

use climb_cache::{Count, Usage};
use climb_engine::runs::{self, RunInfo, RunState};
use serde_json::json;

use crate::common::{self, CacheArgs, Opened};
use crate::failure::Failure;
use crate::render::table::table;
use crate::render::{self, text};

/// Show what the cache holds and what room that takes
///
/// A file that several tasks made is there once and counted once.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cache: CacheArgs,

    /// Print the numbers as JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let cache = common::look_at_existing(&args.cache.cache)?;
    let usage = match &cache {
        Opened::Cache(cache) => cache.usage()?,
        Opened::Look(look, _) => look.usage()?,
    };
    let dir = cache.reader().dir();
    let runs = runs::list(dir);
    if args.json {
        let mut value = json!(usage);
        value["cache"] = json!(dir);
        value["runs"] = json!(runs.len());
        render::json(&value);
        return Ok(());
    }
    println!("{}", dir.display());
    print(&usage, &runs);
    Ok(())
}

fn print(usage: &Usage, runs: &[RunInfo]) {
    let mut table = table(&["stage kind", "records", "outputs", "work"], &[1, 2, 3]);
    for (kind, of) in &usage.kinds {
        table.add_row([
            kind.clone(),
            of.records.to_string(),
            text::bytes(of.bytes),
            text::seconds(of.seconds),
        ]);
    }
    println!("\n{table}\n");
    let line = |what: &str, count: Count, more: &str| {
        println!(
            "{what:<10} {:>8}  {:>10}{more}",
            count.count,
            text::bytes(count.bytes)
        );
    };
    line("objects", usage.objects, &shared(usage));
    line("records", usage.records, "");
    line(
        "inline",
        usage.inline,
        "   small outputs, in the index and in their records",
    );
    line(
        "partial",
        usage.partial,
        "   checkpoints of unfinished tasks",
    );
    line(
        "checkouts",
        usage.checkouts,
        "   links to objects take no room",
    );
    line("damaged", usage.damaged, "");
    line(
        "sources",
        usage.sources,
        "   lists of source files, for `climb explain`",
    );
    println!(
        "{:<10} {:>8}  {:>10}",
        "index",
        "",
        text::bytes(usage.index_bytes)
    );
    println!("{:<10} {:>8}{}", "runs", runs.len(), states(runs));
    if usage.unnamed.count > 0 {
        let objects = text::count(usage.unnamed.count, "object");
        let bytes = text::bytes(usage.unnamed.bytes);
        println!("\nNo record names {objects} ({bytes}): `climb cache gc` frees that.");
    }
}

fn shared(usage: &Usage) -> String {
    let inline = usage.inline.bytes;
    let saved = usage
        .unshared_bytes
        .saturating_sub(usage.objects.bytes + inline);
    match saved {
        0 => String::new(),
        saved => format!("   {} more if nothing were shared", text::bytes(saved)),
    }
}

/// `   2 pinned, 1 unfinished`.
fn states(runs: &[RunInfo]) -> String {
    let count = |what: &dyn Fn(&RunInfo) -> bool| runs.iter().filter(|run| what(run)).count();
    let parts = [
        (count(&|run| run.pinned), "pinned"),
        (count(&|run| run.state == RunState::Running), "running"),
        (runs::unfinished(runs).len(), "unfinished"),
    ];
    let parts = parts.iter().filter(|(n, _)| *n > 0);
    let parts: Vec<String> = parts.map(|(n, what)| format!("{n} {what}")).collect();
    match parts.is_empty() {
        true => String::new(),
        false => format!("              {}", parts.join(", ")),
    }
}
