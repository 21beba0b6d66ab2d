//! The `climb` command line: one file a subcommand. Everything drawn or printed is drawn here.

mod bench;
mod common;
mod diagnostics;
mod graph;
mod log;
mod plan;
mod progress;
mod report;
mod run;
mod status;
mod task;
mod text;
mod view;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
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
    Run(run::Args),
    Plan(plan::Args),
    Status(status::Args),
    Log(log::Args),
    Graph(graph::Args),
    Bench(bench::Args),
    #[command(hide = true)]
    Task(task::Args),
}

fn main() -> ExitCode {
    // `climb log | head` should end quietly rather than panic.
    // SAFETY: restores the default action before any thread starts.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let filter = EnvFilter::try_from_env("CLIMB_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let code = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Plan(args) => plan::run(args),
        Command::Status(args) => status::run(args),
        Command::Log(args) => log::run(args),
        Command::Graph(args) => graph::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Task(args) => task::run(args),
    };
    ExitCode::from(code)
}
