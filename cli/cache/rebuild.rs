//! `climb cache rebuild`.

use crate::common::{self, CacheArgs};
use crate::text;

/// Fill the index anew from the records
///
/// For an index that seems wrong. One that cannot be opened is rebuilt without being asked.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: &Args) -> Result<(), u8> {
    let cache = common::open_existing_cache(&args.cache.cache)?;
    let (found, bad) = cache.rebuild().map_err(common::failed)?;
    let records = text::count(found, "record");
    println!("The index holds {records}.");
    if bad > 0 {
        let bad = text::count(bad, "damaged record");
        println!("{bad} set aside in damaged/; those tasks will run again.");
    }
    Ok(())
}
