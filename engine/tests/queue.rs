//! Stages that want different things of the machine.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use climb_cache::Cache;
use climb_engine::context::TaskContext;
use climb_engine::load::load_text;
use climb_engine::run::execute::Program;
use climb_engine::run::pool::Machine;
use climb_engine::run::{Run, RunOptions};
use climb_engine::runs::event::{Event, Outcome};
use climb_engine::stage::{InputPort, OutputPort, Params, Registry, Stage, erase};
use climb_engine::walk::sources::NodeSources;
use climb_engine::walk::{Ground, Walk};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Meet {
    n: u32,
    /// A file that it makes, and one that it waits for.
    makes: PathBuf,
    awaits: PathBuf,
}

impl Params for Meet {}

struct Kind;

impl Stage for Kind {
    const KIND: &'static str = "k";
    const VERSION: u32 = 1;
    const DOC: &'static str = "for tests";
    type Params = Meet;

    fn inputs() -> Vec<InputPort> {
        Vec::new()
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
    fn run(meet: &Meet, cx: &TaskContext) -> anyhow::Result<()> {
        std::fs::write(&meet.makes, "")?;
        let begun = Instant::now();
        while !meet.awaits.exists() {
            anyhow::ensure!(begun.elapsed() < Duration::from_secs(60), "nobody came");
            std::thread::sleep(Duration::from_millis(5));
        }
        std::fs::write(cx.output("text"), meet.n.to_string())?;
        Ok(())
    }
}

/// The first GPU stage waits for the last cpu stage, which stands behind two more that want the GPU.
#[test]
fn cpu_tasks_start_beside_gpu_tasks_that_wait_for_the_gpu() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(&dir.path().join("cache"), "test").unwrap();
    let registry = Registry::new(vec![erase::<Kind>(Kind::run)]);
    let stage = |name: &str, n: u32, awaits: &str, wants: &str| {
        let file = |name: &str| dir.path().join(name).display().to_string();
        format!(
            "  {name}: {{uses: k, with: {{n: {n}, makes: {}, awaits: {}}}, resources: {{{wants}}}}}\n",
            file(name),
            file(awaits)
        )
    };
    let mut yaml = String::from("stages:\n");
    yaml += &stage("gpu0", 0, "cpu2", "cpus: 1, gpus: 1");
    yaml += &stage("gpu1", 1, "gpu1", "cpus: 1, gpus: 1");
    yaml += &stage("gpu2", 2, "gpu2", "cpus: 1, gpus: 1");
    for n in 0..3 {
        yaml += &stage(&format!("cpu{n}"), 10 + n, "cpu2", "cpus: 1");
    }
    let file = dir.path().join("w.yaml");
    let loaded = load_text(&yaml, &file, &[], &registry, &|_| None).unwrap();
    let sources = NodeSources::new();
    let walk = Walk::new(Ground {
        graph: &loaded.graph,
        registry: &registry,
        cache: &cache,
        sources: &sources,
    });
    let options = RunOptions {
        machine: Machine {
            cpus: 4,
            memory_bytes: 1 << 30,
            gpus: 1,
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
    let mut started = Vec::new();
    let run = Run::new(walk, Vec::new(), &cache, options);
    let result = run.execute(&mut |stamped| {
        if let Event::TaskStarted { task, .. } = &stamped.event {
            started.push(task.clone());
        }
    });
    assert_eq!(result.unwrap().outcome, Outcome::Succeeded);
    assert_eq!(
        started[..4],
        ["gpu0", "cpu0", "cpu1", "cpu2"],
        "{started:?}"
    );
}
