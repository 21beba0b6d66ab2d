//! `climb table`: the table of a sweep, also while it runs.

use std::path::{Path, PathBuf};

use anyhow::Context;
use climb_engine::runs::{self, RunState};

use crate::common::CacheArgs;
use crate::failure::Failure;
use crate::render::{self, columns};
use crate::story::sweep::{Sort, Sweep, SweepState};
use crate::{printing, status};

/// Show the table of the latest sweep (or of the named run)
///
/// Works from any terminal, also while the sweep runs: a row fills when its variant is done.
///
/// Examples:
///   climb table --sort gain
///   climb table 20260101-120000-climb --format parquet --output ablation.parquet
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A run's id; by default the latest sweep
    run: Option<String>,

    #[command(flatten)]
    cache: CacheArgs,

    #[command(flatten)]
    table: TableArgs,
}

/// How a table is shown.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TableArgs {
    /// Sort the table by a column
    #[arg(long, value_enum, default_value = "variant", value_name = "COLUMN")]
    sort: Sort,

    /// The table's form
    #[arg(long, value_enum, default_value = "table", value_name = "FORM")]
    format: TableForm,

    /// Write the table to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum TableForm {
    #[default]
    Table,
    Csv,
    Json,
    Parquet,
}

impl TableArgs {
    /// Whether stdout gets a table that a program may read.
    pub fn is_for_programs(&self) -> bool {
        self.format != TableForm::Table && self.output.is_none()
    }

    pub fn show(&self, sweep: &Sweep) -> Result<(), Failure> {
        let mut sweep = sweep.clone();
        sweep.sort(self.sort);
        let wrong =
            |error: anyhow::Error| Failure::Failed(format!("cannot write the table: {error:#}"));
        let bytes = match self.format {
            TableForm::Table => render::sweep::drawn(&sweep).into_bytes(),
            TableForm::Json => {
                let mut json = serde_json::to_vec_pretty(&sweep).expect("plain data");
                json.push(b'\n');
                json
            }
            TableForm::Csv => columns::csv(&sweep).into_bytes(),
            TableForm::Parquet => columns::parquet(&sweep).map_err(wrong)?,
        };
        write(self.output.as_deref(), &bytes).map_err(wrong)
    }
}

fn write(path: Option<&Path>, bytes: &[u8]) -> anyhow::Result<()> {
    match path {
        Some(path) => std::fs::write(path, bytes).with_context(|| format!("{}", path.display())),
        // A text is printed as all texts are; Parquet is none.
        None => match std::str::from_utf8(bytes) {
            Ok(text) => {
                print!("{text}");
                Ok(())
            }
            Err(_) => {
                printing::bytes(bytes);
                Ok(())
            }
        },
    }
}

pub fn run(args: Args) -> Result<(), Failure> {
    let mut sweep = find(&args)?;
    let info = runs::read(&args.cache.cache, &sweep.run);
    let is_running = info.is_some_and(|info| info.state == RunState::Running);
    if sweep.state == SweepState::Running && !is_running {
        // Killed: nobody was left to say so.
        sweep.mark_interrupted();
    }
    if !args.table.is_for_programs() {
        println!(
            "{}: sweep {}, {}",
            sweep.workflow,
            sweep.run,
            sweep.state.word()
        );
    }
    args.table.show(&sweep)
}

fn find(args: &Args) -> Result<Sweep, Failure> {
    let cache = &args.cache.cache;
    let run = match &args.run {
        Some(name) => status::find_run(cache, Some(name))?,
        None => {
            let runs = runs::ids(cache);
            let mut sweeps = runs.into_iter().rev();
            let latest = sweeps.find(|run| Sweep::path(cache, run).exists());
            let none = || format!("no sweep yet in the cache {}", cache.display());
            latest.ok_or_else(|| Failure::refused(none()))?
        }
    };
    Sweep::read(cache, &run).map_err(|error| {
        Failure::refused(match error.kind() {
            std::io::ErrorKind::NotFound => format!("run {run} is no sweep: it has no table"),
            _ => format!("cannot read the table of run {run}: {error}"),
        })
    })
}
