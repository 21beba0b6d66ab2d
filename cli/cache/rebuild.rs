//! `climb cache rebuild`.

use crate::common::{self, CacheArgs};
use crate::failure::Failure;
use crate::render::text;

/// Fill the index anew from the records
///
/// For an index that seems wrong. One that cannot be opened is rebuilt without being asked.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let cache = common::open_existing_cache(&args.cache.cache)?;
    let rebuilt = cache.rebuild()?;
    let records = text::count(rebuilt.found, "record");
    println!("The index holds {records}.");
    if rebuilt.damaged > 0 {
        let bad = text::count(rebuilt.damaged, "damaged record");
        println!("{bad} set aside in damaged/; those tasks will run again.");
    }
    let Some(about) = rebuilt.about_unknown else {
        return Ok(());
    };
    let more = match rebuilt.unknown {
        1 => String::new(),
        n => format!(" (and {} more like it)", n - 1),
    };
    Err(Failure::refused(format!("{about}{more}")))
}
