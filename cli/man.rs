//! `climb man`.

use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::printing;

/// Print the man page, or write those of all commands
///
/// Examples:
///
///     climb man | man -l -
///     climb man --output ~/.local/share/man/man1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Write climb.1, climb-run.1, … into this folder
    #[arg(long, short, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<(), Failure> {
    if let Some(dir) = &args.output {
        return write(dir).map_err(|error| {
            Failure::Failed(format!("cannot write to {}: {error}", dir.display()))
        });
    }
    let mut page = Vec::new();
    let rendered = clap_mangen::Man::new(crate::command()).render(&mut page);
    rendered.expect("memory takes it");
    printing::bytes(&page);
    Ok(())
}

fn write(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(crate::command(), dir)
}
