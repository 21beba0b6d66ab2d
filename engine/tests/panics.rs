//! A panic on a task's thread, outside the stage itself, is that task's failure: the run comes to
//! its end all the same.

use std::thread;

use climb_cache::Cache;
use climb_engine::context::TaskContext;
use climb_engine::load::load_text;
use climb_engine::run::execute::Program;
use climb_engine::run::pool::Machine;
use climb_engine::run::{Run, RunOptions};
use climb_engine::runs::event::{Event, Outcome};
use climb_engine::stage::{InputPort, Isolation, OutputPort, Params, Registry, Stage, erase};
use climb_engine::walk::sources::NodeSources;
use climb_engine::walk::{Ground, Walk};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Nothing {}

impl Params for Nothing {}

const TEXT: OutputPort = OutputPort {
    name: "text",
    ty: "text",
    items: None,
    doc: "",
};

fn write(cx: &TaskContext) -> anyhow::Result<()> {
    Ok(std::fs::write(cx.output("text"), "text")?)
}

struct Sound;

impl Stage for Sound {
    const KIND: &'static str = "sound";
    const VERSION: u32 = 1;
    const DOC: &'static str = "for tests";
    type Params = Nothing;

    fn inputs() -> Vec<InputPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutputPort> {
        vec![TEXT]
    }
}

impl Sound {
    fn run(_: &Nothing, cx: &TaskContext) -> anyhow::Result<()> {
        write(cx)
    }
}

/// Panics when the engine asks it something on a task's thread, which has no name; a test's has.
struct Unsound;

impl Stage for Unsound {
    const KIND: &'static str = "unsound";
    const VERSION: u32 = 1;
    const DOC: &'static str = "for tests";
    type Params = Nothing;

    fn inputs() -> Vec<InputPort> {
        Vec::new()
    }

    fn outputs() -> Vec<OutputPort> {
        vec![TEXT]
    }

    fn isolation() -> Isolation {
        assert!(thread::current().name().is_some(), "outside the stage");
        Isolation::Thread
    }
}

impl Unsound {
    fn run(_: &Nothing, cx: &TaskContext) -> anyhow::Result<()> {
        write(cx)
    }
}

#[test]
fn a_panic_on_a_tasks_thread_is_that_tasks_failure() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), "test").unwrap();
    let registry = Registry::new(vec![
        erase::<Sound>(Sound::run),
        erase::<Unsound>(Unsound::run),
    ]);
    let yaml = "name: w\nstages:\n  a: {uses: unsound}\n  b: {uses: sound}\n";
    let file = dir.path().join("w.yaml");
    let loaded = load_text(yaml, &file, &[], &registry, &|_| None).unwrap();
    let sources = NodeSources::new();
    let walk = Walk::new(Ground {
        graph: &loaded.graph,
        registry: &registry,
        cache: &cache,
        sources: &sources,
    });
    let options = RunOptions {
        machine: Machine {
            cpus: 2,
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
    let mut errors = Vec::new();
    let result = Run::new(walk, Vec::new(), &cache, options).execute(&mut |stamped| {
        if let Event::TaskFailed { task, error, .. } = &stamped.event {
            errors.push(format!("{task}: {error}"));
        }
    });
    let result = result.unwrap();
    assert_eq!(result.outcome, Outcome::Failed);
    assert_eq!(errors, ["a: it panicked: outside the stage"]);
    let done = result.stages.iter().filter(|stage| !stage.tasks.is_empty());
    assert_eq!(done.count(), 1);
}
