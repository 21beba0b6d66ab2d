//! Other people's predictors and searches, which the command of `--peers` runs (benches/peers.py).

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use anyhow::{Context, bail, ensure};
use climb_contract::count as counted;
use climb_stages::formats::mixture::Mixture;
use climb_stages::formats::scored::Scored;
use serde::{Deserialize, Serialize};

/// The searches, as the command calls them.
pub const RECIPES: [&str; 4] = ["N", "paper", "regmix (published)", "olmix"];

/// Measures predictors, beside ours; prints their figures as JSON.
pub fn measure(
    command: &str,
    data: &Path,
    targets: &[&str],
    sizes: &[usize],
    draws: u64,
) -> anyhow::Result<Child> {
    let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
    let mut shell = shell(command);
    shell.arg("--data").arg(data);
    shell.args(["--sizes", &sizes.join(",")]);
    shell.args(["--draws", &draws.to_string()]);
    targets
        .iter()
        .for_each(|target| _ = shell.args(["--target", target]));
    let started = shell.stdout(Stdio::piped()).spawn();
    started.with_context(|| format!("cannot start `{command}`"))
}

fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell
        .arg("-c")
        .arg(format!("{command} \"$@\""))
        .arg("peers");
    shell
}

/// What a search may know when it is asked. The runs themselves are ours, and their noise.
#[derive(Serialize)]
pub struct Question<'q> {
    pub recipe: &'q str,
    pub seed: u64,
    /// So many mixtures to train next; `None`: the answer.
    pub count: Option<usize>,
    pub shares: &'q [f64],
    /// What each metric weighs in the score.
    pub importance: Vec<f64>,
    runs: Vec<Run<'q>>,
}

#[derive(Serialize)]
struct Run<'q> {
    mixture: &'q [f64],
    metrics: Vec<f64>,
}

impl<'q> Question<'q> {
    /// For a run's metrics in the order of `importance`.
    pub fn about(mut self, scored: &'q [Scored]) -> Question<'q> {
        let run = |run: &'q Scored| Run {
            mixture: &run.mixture.weights,
            metrics: run.metrics.values().copied().collect(),
        };
        self.runs = scored.iter().map(run).collect();
        self
    }

    pub fn new(recipe: &'q str, seed: u64, shares: &'q [f64], importance: Vec<f64>) -> Self {
        Question {
            recipe,
            seed,
            count: None,
            shares,
            importance,
            runs: Vec::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Reply {
    Mixtures(Vec<Vec<f64>>),
    Error(String),
}

/// Long-lived processes, one for each of our threads, that answer a line of JSON with a line.
pub struct Peers {
    processes: Vec<Mutex<Process>>,
}

struct Process {
    child: Child,
    /// `None` once it was closed.
    to: Option<ChildStdin>,
    from: BufReader<ChildStdout>,
}

impl Peers {
    pub fn start(command: &str) -> anyhow::Result<Peers> {
        let one = |_| {
            let mut shell = shell(command);
            shell.arg("--search");
            shell.stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = shell
                .spawn()
                .with_context(|| format!("cannot start `{command}`"))?;
            let from = BufReader::new(child.stdout.take().expect("it is piped"));
            let to = child.stdin.take();
            Ok(Mutex::new(Process { child, to, from }))
        };
        let processes = (0..rayon::current_num_threads()).map(one);
        let processes = processes.collect::<anyhow::Result<_>>()?;
        Ok(Peers { processes })
    }

    /// The mixtures that a recipe wants trained, or the one that it answers.
    pub fn ask(&self, question: &Question) -> anyhow::Result<Vec<Mixture>> {
        let at = rayon::current_thread_index().unwrap_or(0) % self.processes.len();
        let mut process = self.processes[at].lock().expect("no holder panics");
        let reply = process.ask(question);
        let mixtures = match reply.context("the command of --peers ended or said no JSON")? {
            Reply::Mixtures(mixtures) => mixtures,
            Reply::Error(error) => bail!("`{}` of --peers: {error}", question.recipe),
        };
        let wanted = question.count.unwrap_or(1);
        let (recipe, domains) = (question.recipe, question.shares.len());
        ensure!(
            mixtures.len() == wanted,
            "`{recipe}` of --peers gave {} where {wanted} were asked for",
            counted(mixtures.len(), "mixture")
        );
        let whole = |weights: &Vec<f64>| {
            let sum: f64 = weights.iter().sum();
            weights.len() == domains
                && (sum - 1.0).abs() < 1e-6
                && weights.iter().all(|w| *w >= 0.0)
        };
        ensure!(
            mixtures.iter().all(whole),
            "`{recipe}` of --peers gave weights that are not {domains} shares of 1"
        );
        let seedless = |weights| Mixture {
            weights,
            seed: None,
        };
        Ok(mixtures.into_iter().map(seedless).collect())
    }
}

impl Process {
    fn ask(&mut self, question: &Question) -> anyhow::Result<Reply> {
        let to = self.to.as_mut().expect("open until the drop");
        to.write_all((serde_json::to_string(question)? + "\n").as_bytes())?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Process {
    /// It ends when there are no more questions.
    fn drop(&mut self) {
        self.to.take();
        let _ = self.child.wait();
    }
}
