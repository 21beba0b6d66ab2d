//! `climb cache gc`.

use climb_cache::Layout;
use climb_cache::{Garbage, Limits};
use climb_engine::diagnostic::Diagnostic;
use climb_engine::load;
use climb_engine::retention::Rules;
use climb_engine::runs::{self, RunInfo};
use jiff::{Span, Timestamp, tz::TimeZone};

use crate::common::{self, CacheArgs};
use crate::failure::Failure;
use crate::render::text;

/// Remove what nobody wants any more, and free the room
///
/// With no option only leftovers go: files that no record names. The options let records go as
/// well, and then what they alone name. A task's age is that of the last run that made or used it.
///
/// Always kept: what pinned runs (`climb runs pin`) made or used, and what a run that did not
/// succeed needs to go on (unless it is itself older than --older-than). Where the journal of such a
/// run is damaged, nothing is removed until you let the run go.
///
/// Examples:
///   climb cache gc --older-than 30d --dry-run
///   climb cache gc --max-size 50GiB
///   climb cache gc --keep-runs 3
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    cache: CacheArgs,

    /// Remove what was last used longer ago, e.g. 30d, 2w, 12h
    #[arg(long, value_name = "AGE", value_parser = before)]
    older_than: Option<Timestamp>,

    /// Remove the least recently used until the rest takes no more, e.g. 50GiB, 500MB;
    /// 50G is 50GiB
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_size: Option<u64>,

    /// Keep what the last N runs made or used; with no other limit, remove all the rest
    #[arg(long, value_name = "N")]
    keep_runs: Option<usize>,

    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let cache = common::open_existing_cache(&args.cache.cache)?;
    let runs = runs::all(cache.dir()).map_err(|error| {
        let folder = Layout::of(cache.dir()).runs();
        Failure::Failed(format!("cannot read {}: {error}", folder.display()))
    })?;
    let rules = Rules {
        keep_runs: args.keep_runs.unwrap_or(0),
        before: args.older_than,
    };
    let is_limited =
        args.older_than.is_some() || args.max_size.is_some() || args.keep_runs.is_some();
    if is_limited {
        check_clear(&rules.unclear(&runs))?;
    }
    let wanted = rules.wanted(&runs);
    let no_other = args.older_than.is_none() && args.max_size.is_none();
    let limits = Limits {
        before: args.older_than,
        max_bytes: args.max_size,
        only_kept: args.keep_runs.is_some() && no_other,
    };
    let garbage = cache.find_garbage(&wanted, &limits)?;
    if !args.dry_run {
        cache.remove(&garbage)?;
    }
    print(&garbage, args.dry_run);
    Ok(())
}

/// Nothing is removed while it cannot be told what a run that is kept needs.
fn check_clear(unclear: &[&RunInfo]) -> Result<(), Failure> {
    let problem = |run: &&RunInfo| {
        let (id, damage) = (&run.id, run.damage.as_deref());
        let damage = damage.unwrap_or("its journal was cut off");
        let message = format!(
            "what run {id} needs cannot be told: {damage}. It is kept, so nothing was removed"
        );
        let unpin = match run.pinned {
            true => format!("`climb runs unpin {id}` and "),
            false => String::new(),
        };
        let help = format!(
            "{unpin}`climb rm {id}` let it go; without options `climb cache gc` removes leftovers only"
        );
        Diagnostic::error(message).help(help)
    };
    match unclear.is_empty() {
        true => Ok(()),
        false => Err(Failure::Refused(unclear.iter().map(problem).collect())),
    }
}

fn print(garbage: &Garbage, dry_run: bool) {
    let parts = [
        (garbage.records.len(), "record", bytes(&garbage.records)),
        (garbage.objects.len(), "object", bytes(&garbage.objects)),
        (garbage.inline.len(), "small output", bytes(&garbage.inline)),
        (garbage.partial.len(), "checkpoint", bytes(&garbage.partial)),
        (
            garbage.checkouts.len(),
            "checkout",
            bytes(&garbage.checkouts),
        ),
        (
            garbage.damaged.len(),
            "damaged file",
            bytes(&garbage.damaged),
        ),
        (
            garbage.source_lists.len(),
            "source list",
            bytes(&garbage.source_lists),
        ),
    ];
    for (n, what, bytes) in parts.iter().filter(|(n, ..)| *n > 0) {
        println!("{:<20} {:>10}", text::count(*n, what), text::bytes(*bytes));
    }
    match garbage.stale_entries() {
        0 => {}
        1 => println!("1 index entry of a file that is gone"),
        n => println!("{n} index entries of files that are gone"),
    }
    let freed = text::bytes(garbage.bytes());
    match (garbage.is_empty(), dry_run) {
        (true, _) => println!("Nothing to remove."),
        (false, true) => println!("Would free {freed}. Nothing was removed (--dry-run)."),
        (false, false) => println!("Freed {freed}."),
    }
    let kept = text::count(garbage.kept_records, "record");
    println!("Kept {kept}, {}.", text::bytes(garbage.kept_bytes));
    if garbage.over > 0 {
        let over = text::bytes(garbage.over);
        println!(
            "That is {over} above --max-size: pinned and unfinished runs need it (`climb runs`)."
        );
    }
}

fn bytes<T>(list: &[(T, u64)]) -> u64 {
    list.iter().map(|(_, bytes)| bytes).sum()
}

/// An age as the moment it began.
fn before(text: &str) -> Result<Timestamp, String> {
    let wrong = || "write an age such as 30d, 2w or 12h".to_string();
    let span: Span = text.parse().map_err(|_| wrong())?;
    if !span.is_positive() {
        return Err(wrong());
    }
    let now = Timestamp::now().to_zoned(TimeZone::UTC);
    let then = now.checked_sub(span).map_err(|_| wrong())?;
    Ok(then.timestamp())
}

/// `50GiB`, `500MB`, `50G`, `1000000`.
fn size(text: &str) -> Result<u64, String> {
    let wrong = "write a size such as 50GiB (or 50G, the same), 500MB or a number of bytes";
    load::bytes(text).ok_or_else(|| wrong.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sizes_are_read() {
        assert_eq!(size("50GiB"), Ok(50 << 30));
        assert_eq!(size("1.5 kB"), Ok(1500));
        assert_eq!(size("77"), Ok(77));
        // As `ls -h` and `du` mean them.
        assert_eq!((size("1M"), size("2 T")), (Ok(1 << 20), Ok(2 << 40)));
        for wrong in ["", "GiB", "-1", "1 parsec", "1.2.3"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        let day = before("1d").unwrap();
        let hours = Timestamp::now().duration_since(day).as_hours();
        assert!((23..=24).contains(&hours), "{hours}");
        assert!(before("2w").unwrap() < before("12h").unwrap());
        for wrong in ["", "x", "-1d", "0d", "5", "99999999y"] {
            assert!(before(wrong).is_err(), "{wrong}");
        }
    }
}
