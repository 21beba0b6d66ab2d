//! `climb cache verify`.

use std::io::IsTerminal;
use std::time::Instant;

use climb_cache::{Damage, Fate, Verified};
use indicatif::{ProgressBar, ProgressStyle};

use crate::common::{self, CacheArgs, Opened};
use crate::failure::{BAD_INPUT, FAILED, Failure};
use crate::render::{diagnostics, text};

/// Hash every object and record again, and set aside what is damaged
///
/// Whatever is damaged is moved to the cache's damaged/ and the tasks that made it run again the
/// next time they are wanted. A damaged record that the index still knows is written anew. Exit
/// code 1 when anything was damaged, 2 when there are records of a newer climb, which are left alone.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let cache = common::open_existing_to_read(&args.cache.cache)?;
    let bar = bar(climb_cache::bytes_to_verify(cache.reader().dir()));
    let started = Instant::now();
    let verified = match &cache {
        Opened::Cache(cache) => cache.verify(&|bytes| bar.inc(bytes)),
        Opened::Look(look, _) => look.verify(&|bytes| bar.inc(bytes)),
    };
    let seconds = started.elapsed().as_secs_f64();
    bar.finish_and_clear();
    let verified = verified?;
    for about in &verified.unknown {
        diagnostics::note(about);
    }
    for damage in &verified.damage {
        println!("{}", describe(damage));
    }
    println!("{}", total(&verified, seconds));
    match (verified.damage.is_empty(), verified.unknown.is_empty()) {
        (false, _) => Err(Failure::Said(FAILED)),
        (true, false) => Err(Failure::Said(BAD_INPUT)),
        (true, true) => Ok(()),
    }
}

fn bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let template = "{bar:40.cyan} {bytes}/{total_bytes} · {bytes_per_sec} · {eta} left";
    let style = ProgressStyle::with_template(template).expect("a valid template");
    ProgressBar::new(bytes).with_style(style.progress_chars("━╸ "))
}

fn describe(damage: &Damage) -> String {
    let fate = match damage.fate {
        Fate::SetAside => "is damaged; it was set aside in damaged/",
        Fate::Found => "is damaged; it was left as it is, as the cache cannot be written",
        Fate::Missing => "is gone",
        Fate::Repaired => "was damaged or gone; it was made good from a copy",
    };
    let mut line = format!("{} {fate}", damage.what);
    for (task, run) in &damage.tasks {
        line.push_str(&format!("\n    {task} (run {run}) will run again"));
    }
    line
}

fn total(verified: &Verified, seconds: f64) -> String {
    let objects = text::count(verified.objects, "object");
    let records = text::count(verified.records, "record");
    let rate = text::bytes((verified.bytes as f64 / seconds.max(1e-6)) as u64);
    let end = match (verified.damage.len(), verified.unknown.len()) {
        (0, 0) => "all as they should be".to_string(),
        (0, n) => format!("{n} of another climb's format, the rest as they should be"),
        (n, _) => format!("{n} damaged"),
    };
    format!(
        "{objects} and {records}, {} in {} ({rate}/s): {end}",
        text::bytes(verified.bytes),
        text::seconds(seconds)
    )
}
