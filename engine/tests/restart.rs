//! What a run says of itself after an input was damaged under it and the walk began anew.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use climb_cache::Cache;
use climb_engine::ask::plan::plan;
use climb_engine::context::TaskContext;
use climb_engine::load::load_text;
use climb_engine::run::execute::Program;
use climb_engine::run::pool::Machine;
use climb_engine::run::{Run, RunOptions};
use climb_engine::runs::event::{Event, Outcome};
use climb_engine::runs::result::RunResult;
use climb_engine::stage::{Arity, InputPort, OutputPort, Params, Registry, Stage, erase};
use climb_engine::walk::sources::NodeSources;
use climb_engine::walk::{Ground, Walk};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Job {
    job: String,
    /// Made by a task that does something once.
    mark: PathBuf,
}

impl Params for Job {}

struct Kind;

impl Stage for Kind {
    const KIND: &'static str = "k";
    const VERSION: u32 = 1;
    const DOC: &'static str = "for tests";
    type Params = Job;

    fn inputs() -> Vec<InputPort> {
        vec![InputPort {
            name: "from",
            ty: "text",
            arity: Arity::Many,
            doc: "",
        }]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![OutputPort {
            name: "text",
            ty: "text",
            items: None,
            doc: "",
        }]
    }
}

impl Kind {
    fn run(job: &Job, cx: &TaskContext) -> anyhow::Result<()> {
        let is_first = !job.mark.exists();
        let text = match job.job.as_str() {
            "big" => "x".repeat(100_000),
            "bad" => anyhow::bail!("told to fail"),
            "spoil" if is_first => {
                std::fs::write(&job.mark, "")?;
                let path = &cx.list("from")[0].path;
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))?;
                std::fs::write(path, "y".repeat(100_000))?;
                "spoilt".into()
            }
            other => other.into(),
        };
        std::fs::write(cx.output("text"), text)?;
        Ok(())
    }
}

/// Runs a workflow; a sweep plans first and gives the run what it has walked.
fn run(cache: &Cache, yaml: &str, plans_first: bool) -> (RunResult, Vec<Event>) {
    let registry = Registry::new(vec![erase::<Kind>(Kind::run)]);
    let file = cache.dir().join("w.yaml");
    let loaded = load_text(yaml, &file, &[], &registry, &|_| None).unwrap();
    let sources = NodeSources::new();
    let mut walk = Walk::new(Ground {
        graph: &loaded.graph,
        registry: &registry,
        cache,
        sources: &sources,
    });
    let walked = match plans_first {
        true => plan(&mut walk).unwrap().1,
        false => Vec::new(),
    };
    let options = RunOptions {
        machine: Machine {
            cpus: 1,
            memory_bytes: 1 << 30,
            gpus: 0,
        },
        keep_going: true,
        program: Program {
            exe: "/no/process/is/started/here".into(),
            name: "climb".into(),
            build: "test".into(),
        },
        workers: Default::default(),
        command: Vec::new(),
        origin: Default::default(),
        texts: Default::default(),
    };
    let mut events = Vec::new();
    let run = Run::new(walk, walked, cache, options);
    let result = run.execute(&mut |stamped| events.push(stamped.event.clone()));
    (result.unwrap(), events)
}

fn workflow(cache: &Cache, first: &str) -> String {
    let mark = cache.dir().join("mark");
    format!(
        "stages:\n{first}  big: {{uses: k, with: {{job: big}}}}\n  spoil: {{uses: k, with: {{job: \
         spoil, mark: {}}}, needs: {{from: big}}}}\n  use: {{uses: k, with: {{job: use}}, needs: \
         {{from: [big, spoil]}}}}\n",
        mark.display()
    )
}

#[test]
fn a_task_that_failed_before_the_walk_began_again_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), "test").unwrap();
    let bad = "  bad: {uses: k, with: {job: bad}}\n";
    let (result, events) = run(&cache, &workflow(&cache, bad), false);
    assert!(cache.dir().join("mark").exists());
    assert_eq!(result.outcome, Outcome::Failed);
    let summary = result.summary;
    assert_eq!(
        (
            summary.tasks_failed,
            summary.tasks_run,
            summary.tasks_cached
        ),
        (1, 3, 0),
        "{summary:?}"
    );
    let failed = events
        .iter()
        .filter(|event| matches!(event, Event::TaskFailed { .. }));
    assert_eq!(failed.count(), 1);
}

#[test]
fn a_cached_task_that_had_to_run_again_is_neither_cached_nor_saved() {
    for plans_first in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "test").unwrap();
        let (first, _) = run(
            &cache,
            "stages:\n  big: {uses: k, with: {job: big}}\n",
            false,
        );
        assert_eq!(first.summary.tasks_run, 1);
        let (result, _) = run(&cache, &workflow(&cache, ""), plans_first);
        assert!(cache.dir().join("mark").exists());
        assert_eq!(result.outcome, Outcome::Succeeded);
        let summary = result.summary;
        assert_eq!(
            (summary.tasks_run, summary.tasks_cached),
            (3, 0),
            "{summary:?}"
        );
        assert_eq!(summary.saved_seconds.to_bits(), 0.0f64.to_bits());
        assert!(
            result
                .stages
                .iter()
                .flat_map(|stage| &stage.tasks)
                .all(|task| !task.cached)
        );
    }
}

#[test]
fn a_run_that_goes_on_from_a_plan_does_and_says_what_one_without_does() {
    let told = |plans_first: bool| {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "test").unwrap();
        std::fs::write(cache.dir().join("mark"), "").unwrap();
        run(
            &cache,
            "stages:\n  big: {uses: k, with: {job: big}}\n",
            false,
        );
        let (result, events) = run(&cache, &workflow(&cache, ""), plans_first);
        let mut told: Vec<String> = Vec::new();
        for event in &events {
            let mut event = serde_json::to_value(event).unwrap();
            let name = event["event"].as_str().unwrap().to_string();
            let task = event["task"].take();
            let stage = event["stage"].take();
            told.push(format!("{name} {stage} {task}"));
        }
        (told, result.summary.tasks_run, result.summary.tasks_cached)
    };
    let plain = told(false);
    assert_eq!((plain.1, plain.2), (2, 1));
    assert_eq!(told(true), plain);
}
