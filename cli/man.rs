//! `climb man`.

use std::path::{Path, PathBuf};

use crate::common::FAILED;
use crate::{diagnostics, printing};

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

pub fn run(args: Args) -> u8 {
    match &args.output {
        Some(dir) => {
            if let Err(error) = write(dir) {
                diagnostics::error(&format!("cannot write to {}: {error}", dir.display()));
                return FAILED;
            }
        }
        None => {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(crate::command()).render(&mut page);
            rendered.expect("memory takes it");
            printing::bytes(&page);
        }
    }
    0
}

fn write(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    clap_mangen::generate_to(crate::command(), dir)
}
