//! Caches full of records of tasks that nobody ran.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use climb_cache::{Artifact, Cache, Cost, Digest, Ingredients, Provenance, Record};
use climb_contract::command::CommandStage;
use climb_contract::stage::Registry;
use climb_engine::walk::sources::NodeSources;
use climb_engine::walk::{Ground, KeyedTask, Step, Walk};
use jiff::Timestamp;

/// A list, and a task for each of its items.
const WORKFLOW: &str = r#"
name: scale
params: {word: done}
stages:
  list:
    uses: command
    with: {run: "true", outputs: {items: {type: items, items: item}}}
  each:
    uses: command
    foreach: {item: list.items}
    with:
      params: {word: "${params.word}"}
      run: echo "$CLIMB_PARAM_WORD" > "$CLIMB_OUTPUT_DONE"
      outputs: {done: text}
"#;

/// Records that are written at once.
const BATCH: usize = 20_000;

pub fn write_workflow(dir: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(dir)?;
    let path = dir.join("w.yaml");
    std::fs::write(&path, WORKFLOW)?;
    Ok(path)
}

fn open(dir: &Path) -> anyhow::Result<Cache> {
    Ok(Cache::open(&dir.join(".climb"), "climb-bench scale")?)
}

/// Records the first `most` tasks of the workflow as finished; the list has `items`.
pub fn finish(dir: &Path, workflow: &Path, most: usize, items: usize) -> anyhow::Result<()> {
    let cache = open(dir)?;
    let registry = Registry::new(vec![Box::new(CommandStage)]);
    let no_env = |_: &str| None;
    let loaded = climb_engine::load::load(workflow, &[], &registry, &no_env);
    let graph = loaded.expect("the workflow is ours").graph;
    let sources = NodeSources::default();
    let mut walk = Walk::new(Ground {
        graph: &graph,
        registry: &registry,
        sources: &sources,
        cache: &cache,
    });
    let list = store_list(&cache, items)?;
    let done = store_text(&cache, "done")?;
    let (mut batch, mut count) = (Vec::new(), 0);
    while let Some(step) = walk.step() {
        let Step::Missing(id) = step else {
            continue;
        };
        let task = walk.tracker().tasks[id].clone();
        let keyed = task.keyed.expect("keyed");
        let outputs = match task.name.as_str() {
            "list" => BTreeMap::from([("items".to_string(), list.clone())]),
            _ => BTreeMap::from([("done".to_string(), done.clone())]),
        };
        if count < most {
            batch.push(record(&task.name, keyed, outputs.clone()));
            count += 1;
        }
        if batch.len() == BATCH {
            cache.commit_all(&std::mem::take(&mut batch))?;
        }
        walk.done(id, outputs);
    }
    Ok(cache.commit_all(&batch)?)
}

/// Records of `count` tasks of another workflow; returns the key of one in the middle.
pub fn fill(dir: &Path, count: usize) -> anyhow::Result<Digest> {
    let cache = open(dir)?;
    let done = store_text(&cache, "done")?;
    let mut middle = Digest::of(b"");
    for start in (0..count).step_by(BATCH) {
        let made = |i: usize| {
            let ingredients = Ingredients {
                kind: "command".into(),
                version: 1,
                params: serde_json::json!({"run": "true", "params": {"n": i}, "outputs": {"done": "text"}}).into(),
                inputs: BTreeMap::new(),
            };
            let keyed = KeyedTask {
                key: ingredients.key(),
                ingredients,
                inputs: BTreeMap::new(),
                without: Vec::new(),
            };
            let outputs = BTreeMap::from([("done".to_string(), done.clone())]);
            record(&format!("other[{i}]"), keyed, outputs)
        };
        let batch: Vec<Record> = (start..(start + BATCH).min(count)).map(made).collect();
        if (start..start + batch.len()).contains(&(count / 2)) {
            middle = batch[count / 2 - start].key;
        }
        cache.commit_all(&batch)?;
    }
    Ok(middle)
}

fn record(task: &str, keyed: KeyedTask, outputs: BTreeMap<String, Artifact>) -> Record {
    Record {
        key: keyed.key,
        input_names: keyed.input_names(),
        ingredients: keyed.ingredients,
        outputs,
        cost: Cost {
            wall_seconds: 0.01,
            ..Cost::default()
        },
        provenance: Provenance {
            run: "20260101-000000-scale".into(),
            task: task.into(),
            host: "made-up".into(),
            device: "cpu".into(),
            climb: env!("CARGO_PKG_VERSION").into(),
            finished: Timestamp::now(),
            made_with: Default::default(),
        },
    }
}

/// A small file in the cache.
fn store_text(cache: &Cache, text: &str) -> anyhow::Result<Artifact> {
    let work = cache.work_dir(&Digest::of(b"scale"))?;
    let path = work.join("file");
    std::fs::write(&path, text)?;
    Ok(cache.store(&path)?)
}

/// A folder of small files, each another.
fn store_list(cache: &Cache, items: usize) -> anyhow::Result<Artifact> {
    let folder = cache.work_dir(&Digest::of(b"scale"))?.join("items");
    std::fs::create_dir_all(&folder)?;
    for i in 0..items {
        std::fs::write(folder.join(format!("{i:07}")), format!("item {i}"))?;
    }
    Ok(cache.store(&folder)?)
}
