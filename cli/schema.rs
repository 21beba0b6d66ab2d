//! `climb schema`.

use std::path::PathBuf;

use crate::common;
use crate::failure::Failure;

/// Print the JSON Schema of workflow files, for editors
///
/// With the schema an editor completes and checks workflows as they are written: stage kinds,
/// their ports, and each parameter with its type, range, default and documentation. Point at it
/// in a workflow's first line:
///
///     # yaml-language-server: $schema=schema.json
///
/// Example: climb schema --output schema.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Write it to this file
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: Args) -> Result<(), Failure> {
    let schema = climb_engine::load::json_schema(&common::registry());
    let json = serde_json::to_string_pretty(&schema).expect("plain data") + "\n";
    let Some(file) = args.output else {
        print!("{json}");
        return Ok(());
    };
    std::fs::write(&file, json)
        .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", file.display())))
}
