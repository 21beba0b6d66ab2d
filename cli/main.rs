//! The `climb` command line: one file a subcommand. Everything drawn or printed is drawn here.

// Its macros stand in for the standard library's in all that follows.
#[macro_use]
mod printing;

mod cache;
mod check;
mod common;
mod completions;
mod diff;
mod doctor;
mod explain;
mod failure;
mod get;
mod gone;
mod graph;
mod guard;
mod init;
mod log;
mod man;
mod next;
mod plan;
mod predict;
mod progress;
mod render;
mod resume;
mod rm;
mod run;
mod runs;
mod schema;
mod session;
mod show;
mod stages;
mod standing;
mod status;
mod story;
mod sweep;
mod table;
mod task;
mod view;
mod worker;

use clap::{CommandFactory, Parser, Subcommand};
use climb_engine::diagnostic::Diagnostic;
use failure::Failure;
use tracing_subscriber::EnvFilter;

/// Search a pretraining data mixture: a cached workflow engine for CLIMB (arXiv 2504.13161).
///
/// A YAML workflow describes the stages (embed, cluster, train proxies, fit a predictor, …).
/// Every stage's output is kept in a content-addressed cache, so a change reruns only what it
/// really touches.
#[derive(Parser)]
#[command(
    name = "climb",
    version,
    max_term_width = 100,
    propagate_version = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Args),
    Check(check::Args),
    Run(run::Args),
    Resume(resume::Args),
    Plan(plan::Args),
    Explain(explain::Args),
    Sweep(sweep::Args),
    Table(table::Args),
    Status(status::Args),
    Log(log::Args),
    Runs(runs::Args),
    Show(show::Args),
    Diff(diff::Args),
    Get(get::Args),
    Predict(predict::Args),
    Rm(rm::Args),
    Cache(cache::Args),
    Doctor(doctor::Args),
    Graph(graph::Args),
    Stages(stages::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
    #[command(hide = true)]
    Task(task::Args),
    #[command(hide = true)]
    Guard(guard::Args),
}

impl Command {
    /// Whether it looks at no files.
    fn is_about_climb_itself(&self) -> bool {
        matches!(
            self,
            Command::Stages(_) | Command::Completions(_) | Command::Task(_) | Command::Guard(_)
        )
    }
}

/// Where the working folder is gone, nothing could be found from there.
fn check_working_folder() -> Result<(), Failure> {
    match gone::is_gone() {
        true => {
            let problem = Diagnostic::error("the working folder is gone");
            Err(problem.help("`cd` to a folder that is there").into())
        }
        false => Ok(()),
    }
}

/// The command line, for its completions and its man pages.
fn command() -> clap::Command {
    Cli::command()
}

fn main() {
    let filter = EnvFilter::try_from_env("CLIMB_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false)
        .init();
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        printing::leave(error.exit_code() as u8)
    });
    let code = match dispatch(cli.command) {
        Ok(()) => 0,
        Err(failure) => {
            failure.show();
            failure.exit_code()
        }
    };
    printing::leave(code)
}

fn dispatch(command: Command) -> Result<(), Failure> {
    if !command.is_about_climb_itself() {
        check_working_folder()?;
    }
    match command {
        Command::Init(args) => init::run(args),
        Command::Check(args) => check::run(args),
        Command::Run(args) => run::run(args),
        Command::Resume(args) => resume::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Sweep(args) => sweep::run(args),
        Command::Table(args) => table::run(args),
        Command::Status(args) => status::run(args),
        Command::Log(args) => log::run(args),
        Command::Runs(args) => runs::run(args),
        Command::Show(args) => show::run(args),
        Command::Diff(args) => diff::run(args),
        Command::Get(args) => get::run(args),
        Command::Predict(args) => predict::run(args),
        Command::Rm(args) => rm::run(args),
        Command::Cache(args) => cache::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Graph(args) => graph::run(args),
        Command::Stages(args) => stages::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => man::run(args),
        Command::Task(args) => task::run(args),
        Command::Guard(args) => guard::run(args),
    }
}
