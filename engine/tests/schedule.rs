//! The scheduler over random workflows: what runs, how often, beside what, and what comes out,
//! against a model that knows nothing of threads or caches. Stage kinds are small ones of the
//! test's own; the cache is real.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use climb_cache::Cache;
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
use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Work {
    value: u8,
    /// The length of its list output.
    items: u8,
    /// Fails; a stage that maps over a list fails for the item whose text ends in `0`.
    fails: bool,
}

impl Params for Work {}

/// What a task writes: all that went into it.
fn content(work: &Work, item: Option<&str>, from: &[String]) -> String {
    let text = format!("{} {} {item:?} {from:?}", work.value, work.items);
    blake3::hash(text.as_bytes()).to_hex()[..12].to_string()
}

fn item(whole: &str, i: u8) -> String {
    format!("{whole}-{i}")
}

fn fails(work: &Work, item: Option<&str>) -> bool {
    work.fails && item.is_none_or(|item| item.ends_with('0'))
}

fn run_work(work: &Work, cx: &TaskContext) -> anyhow::Result<()> {
    let read = |path: &Path| std::fs::read_to_string(path);
    let item_text = cx
        .optional("item")
        .map(|item| read(&item.path))
        .transpose()?;
    let from = cx.list("from").iter().map(|input| read(&input.path));
    let from: Vec<String> = from.collect::<Result<_, _>>()?;
    anyhow::ensure!(!fails(work, item_text.as_deref()), "told to fail");
    let whole = content(work, item_text.as_deref(), &from);
    std::fs::write(cx.output("text"), &whole)?;
    if cx.optional("item").is_none() {
        let list = cx.output_folder("list")?;
        for i in 0..work.items {
            std::fs::write(list.join(format!("{i}")), item(&whole, i))?;
        }
    }
    Ok(())
}

const FROM: InputPort = InputPort {
    name: "from",
    ty: "text",
    arity: Arity::Many,
    doc: "",
};
const TEXT: OutputPort = OutputPort {
    name: "text",
    ty: "text",
    items: None,
    doc: "",
};

struct Whole;

impl Stage for Whole {
    const KIND: &'static str = "whole";
    const VERSION: u32 = 1;
    const DOC: &'static str = "for tests";
    type Params = Work;

    fn inputs() -> Vec<InputPort> {
        vec![FROM]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![
            TEXT,
            OutputPort {
                name: "list",
                ty: "list",
                items: Some("item"),
                doc: "",
            },
        ]
    }
}

impl Whole {
    fn run(work: &Work, cx: &TaskContext) -> anyhow::Result<()> {
        run_work(work, cx)
    }
}

struct Each;

impl Stage for Each {
    const KIND: &'static str = "each";
    const VERSION: u32 = 1;
    const DOC: &'static str = "for tests";
    type Params = Work;

    fn inputs() -> Vec<InputPort> {
        vec![
            FROM,
            InputPort {
                name: "item",
                ty: "item",
                arity: Arity::One,
                doc: "",
            },
        ]
    }

    fn outputs() -> Vec<OutputPort> {
        vec![TEXT]
    }
}

impl Each {
    fn run(work: &Work, cx: &TaskContext) -> anyhow::Result<()> {
        run_work(work, cx)
    }
}

/// One stage of a random workflow; it may refer to those before it.
#[derive(Clone, Debug)]
struct Drawn {
    work: Work,
    cpus: u8,
    from: BTreeSet<usize>,
    /// Maps over the list of an earlier stage.
    over: Option<usize>,
    /// Of `from`, those that map over the same list and are taken item by item.
    aligned: BTreeSet<usize>,
    /// `on_failure: drop`, at most so many percent. Of a fan-out.
    drop: Option<u8>,
}

fn workflows() -> impl Strategy<Value = Vec<Drawn>> {
    let stage = (
        (0u8..2, 0u8..4, proptest::bool::weighted(0.2)),
        1u8..4,
        (
            any::<u8>(),
            proptest::option::weighted(0.6, proptest::sample::select(vec![34u8, 50, 67, 99])),
        ),
        proptest::collection::vec(any::<proptest::sample::Index>(), 0..3),
        proptest::option::weighted(0.4, any::<proptest::sample::Index>()),
    );
    proptest::collection::vec(stage, 1..9).prop_map(|stages| {
        let mut drawn: Vec<Drawn> = Vec::new();
        for (i, stage) in stages.into_iter().enumerate() {
            let ((value, items, fails), cpus, (aligned, drop), from, over) = stage;
            let lists: Vec<usize> = (0..i).filter(|&j| drawn[j].over.is_none()).collect();
            let over = over.filter(|_| !lists.is_empty());
            let over = over.map(|index: proptest::sample::Index| lists[index.index(lists.len())]);
            let from = from.iter().filter(|_| i > 0).map(|index| index.index(i));
            let from: BTreeSet<usize> = from.collect();
            let same = |j: &&usize| over.is_some() && drawn[**j].over == over;
            let some = |j: &&usize| aligned >> (**j % 8) & 1 == 1;
            let aligned = from.iter().filter(same).filter(some).copied().collect();
            let work = Work {
                value,
                items,
                fails,
            };
            drawn.push(Drawn {
                work,
                cpus,
                from,
                over,
                aligned,
                drop: drop.filter(|_| over.is_some()),
            });
        }
        drawn
    })
}

fn yaml(workflow: &[Drawn]) -> String {
    let mut text = String::from("stages:\n");
    for (i, stage) in workflow.iter().enumerate() {
        let Work {
            value,
            items,
            fails,
        } = stage.work;
        let kind = if stage.over.is_some() {
            "each"
        } else {
            "whole"
        };
        text += &format!(
            "  s{i}:\n    uses: {kind}\n    resources: {{cpus: {}}}\n",
            stage.cpus
        );
        text += &format!("    with: {{value: {value}, items: {items}, fails: {fails}}}\n");
        let from = stage.from.iter().map(|&j| match workflow[j].over {
            Some(_) if !stage.aligned.contains(&j) => format!("all.s{j}.text"),
            _ => format!("s{j}.text"),
        });
        let from: Vec<String> = from.collect();
        text += &format!("    needs: {{from: [{}]}}\n", from.join(", "));
        if let Some(list) = stage.over {
            text += &format!("    foreach: {{item: s{list}.list}}\n");
        }
        if let Some(percent) = stage.drop {
            text += &format!("    on_failure: {{drop: {percent}%}}\n");
        }
    }
    text
}

/// What a task comes to.
#[derive(Clone, Debug, PartialEq)]
enum End {
    Text(String),
    Failed,
    Skipped,
    Dropped,
}

/// What a stage's tasks come to. `None`: nobody knows which there are.
type Expected = Vec<Option<Vec<End>>>;

/// The texts of all tasks of stage `j` but those of the items in `gaps`, if none is missing.
fn gathered(expected: &Expected, j: usize, gaps: &BTreeSet<usize>) -> Option<Vec<String>> {
    let tasks = expected[j].as_ref()?.iter().enumerate();
    let mut texts = Vec::new();
    for (item, end) in tasks {
        match end {
            End::Text(text) if !gaps.contains(&item) => texts.push(text.clone()),
            End::Text(_) | End::Dropped => {}
            End::Failed | End::Skipped => return None,
        }
    }
    Some(texts)
}

/// The items dropped by a stage or by another that it gathers over the same list.
fn gaps(workflow: &[Drawn], expected: &Expected, stage: &Drawn, j: usize) -> BTreeSet<usize> {
    let mut gaps = BTreeSet::new();
    for &other in stage.from.difference(&stage.aligned) {
        if workflow[j].over.is_some() && workflow[other].over == workflow[j].over {
            let tasks = expected[other].iter().flatten().enumerate();
            gaps.extend(
                tasks
                    .filter(|(_, end)| **end == End::Dropped)
                    .map(|(i, _)| i),
            );
        }
    }
    gaps
}

/// One task of a stage. `Err`: it never starts.
fn task(
    workflow: &[Drawn],
    expected: &Expected,
    stage: &Drawn,
    item: (usize, Option<&str>),
) -> Result<End, End> {
    let mut from = Vec::new();
    for &j in &stage.from {
        if !stage.aligned.contains(&j) {
            let texts = gathered(expected, j, &gaps(workflow, expected, stage, j));
            from.extend(texts.ok_or(End::Skipped)?);
            continue;
        }
        match expected[j].as_ref().map(|tasks| &tasks[item.0]) {
            Some(End::Text(text)) => from.push(text.clone()),
            Some(End::Dropped) => return Err(End::Dropped),
            _ => return Err(End::Skipped),
        }
    }
    Ok(match (fails(&stage.work, item.1), stage.drop) {
        (false, _) => End::Text(content(&stage.work, item.1, &from)),
        (true, None) => End::Failed,
        (true, Some(_)) => End::Dropped,
    })
}

fn model(workflow: &[Drawn]) -> Expected {
    let mut expected: Expected = Vec::new();
    // Those that lost more than they may, and those that follow them item by item.
    let mut beyond = BTreeSet::new();
    for (i, stage) in workflow.iter().enumerate() {
        let items: Option<Vec<Option<String>>> = match stage.over {
            None => Some(vec![None]),
            Some(list) => gathered(&expected, list, &BTreeSet::new()).map(|texts| {
                let items = 0..workflow[list].work.items;
                items.map(|i| Some(item(&texts[0], i))).collect()
            }),
        };
        let tasks = items.map(|items| {
            let items = items.iter().enumerate();
            let ends = items.map(|(i, item)| {
                let end = task(workflow, &expected, stage, (i, item.as_deref()));
                end.unwrap_or_else(|never| never)
            });
            let mut ends: Vec<End> = ends.collect();
            let dropped = ends.iter().filter(|end| **end == End::Dropped).count();
            let most = stage.drop.unwrap_or(100);
            if 100 * dropped > usize::from(most) * ends.len() || !stage.aligned.is_disjoint(&beyond)
            {
                beyond.insert(i);
                ends.iter_mut()
                    .filter(|end| **end == End::Dropped)
                    .for_each(|end| *end = End::Failed);
            }
            ends
        });
        expected.push(tasks);
    }
    expected
}

/// The tasks by name, with what they come to.
fn named(workflow: &[Drawn], expected: &Expected) -> BTreeMap<String, End> {
    let mut ends = BTreeMap::new();
    for (i, tasks) in expected.iter().enumerate() {
        for (item, end) in tasks.iter().flatten().enumerate() {
            let name = match workflow[i].over {
                Some(_) => format!("s{i}[{item}]"),
                None => format!("s{i}"),
            };
            ends.insert(name, end.clone());
        }
    }
    ends
}

/// The texts of the tasks that succeed, by task name.
fn succeeding(workflow: &[Drawn], expected: &Expected) -> BTreeMap<String, String> {
    let ends = named(workflow, expected).into_iter();
    ends.filter_map(|(name, end)| match end {
        End::Text(text) => Some((name, text)),
        _ => None,
    })
    .collect()
}

fn dropped(workflow: &[Drawn], expected: &Expected) -> BTreeSet<String> {
    let ends = named(workflow, expected).into_iter();
    ends.filter_map(|(name, end)| (end == End::Dropped).then_some(name))
        .collect()
}

/// What was seen of a run.
struct Seen {
    result: RunResult,
    /// Task keys that were executed to their end, in order.
    executed: Vec<String>,
    most_cpus: usize,
}

fn options(cpus: usize, keep_going: bool) -> RunOptions {
    RunOptions {
        machine: Machine {
            cpus,
            memory_bytes: 1 << 30,
            gpus: 0,
        },
        keep_going,
        program: Program {
            exe: "/no/process/is/started/here".into(),
            name: "climb".into(),
            build: "test".into(),
        },
        workers: Default::default(),
        command: Vec::new(),
        origin: Default::default(),
        texts: Default::default(),
    }
}

fn run(cache: &Cache, workflow: &[Drawn], cpus: usize, keep_going: bool) -> Seen {
    let registry = Registry::new(vec![erase::<Whole>(Whole::run), erase::<Each>(Each::run)]);
    let file = cache.dir().join("w.yaml");
    let loaded = load_text(&yaml(workflow), &file, &[], &registry, &|_| None);
    let graph = loaded
        .unwrap_or_else(|e| panic!("{e:#?}\n{}", yaml(workflow)))
        .graph;
    let sources = NodeSources::new();
    let walk = Walk::new(Ground {
        graph: &graph,
        registry: &registry,
        cache,
        sources: &sources,
    });
    let wanted: Vec<usize> = workflow
        .iter()
        .map(|s| usize::from(s.cpus).min(cpus))
        .collect();
    let cpus_of = |stage: &str| wanted[stage[1..].parse::<usize>().expect("sN")];
    let (mut executed, mut used, mut most_cpus) = (Vec::new(), 0, 0);
    let mut running = BTreeSet::new();
    let result =
        Run::new(walk, Vec::new(), cache, options(cpus, keep_going)).execute(&mut |stamped| {
            match &stamped.event {
                Event::TaskStarted { stage, task, .. } => {
                    running.insert(task.clone());
                    used += cpus_of(stage);
                    most_cpus = most_cpus.max(used);
                }
                Event::TaskFinished {
                    stage, task, key, ..
                } if running.remove(task) => {
                    used -= cpus_of(stage);
                    executed.push(key.hex());
                }
                Event::TaskFailed { stage, .. } => used -= cpus_of(stage),
                _ => {}
            }
        });
    Seen {
        result: result.expect("the journal can be written"),
        executed,
        most_cpus,
    }
}

/// What the run's finished tasks wrote, by task name.
fn texts(cache: &Cache, result: &RunResult) -> BTreeMap<String, String> {
    let tasks = result.stages.iter().flat_map(|stage| &stage.tasks);
    let text = |task: &climb_engine::runs::result::TaskResult| {
        let checkout = cache.checkout(&task.outputs["text"]).expect("intact");
        std::fs::read_to_string(checkout.path()).expect("readable")
    };
    tasks
        .map(|task| (task.name.to_string(), text(task)))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..Default::default() })]

    #[test]
    fn all_that_can_run_does_and_nothing_twice(workflow in workflows(), cpus in 1usize..5) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "test").unwrap();
        let expected = model(&workflow);
        let seen = run(&cache, &workflow, cpus, true);

        prop_assert_eq!(texts(&cache, &seen.result), succeeding(&workflow, &expected));
        let unique: BTreeSet<&String> = seen.executed.iter().collect();
        prop_assert_eq!(unique.len(), seen.executed.len(), "a task was executed twice");
        prop_assert!(seen.most_cpus <= cpus, "{} of {cpus} cpus", seen.most_cpus);
        let any_failed = named(&workflow, &expected).values().any(|end| *end == End::Failed);
        let outcome = if any_failed { Outcome::Failed } else { Outcome::Succeeded };
        prop_assert_eq!(seen.result.outcome, outcome);
        let told = |seen: &Seen| -> BTreeSet<String> {
            seen.result.dropped.iter().map(|dropped| dropped.task.to_string()).collect()
        };
        prop_assert_eq!(told(&seen), dropped(&workflow, &expected));

        // Again: what succeeded is there, what failed is tried once more.
        let again = run(&cache, &workflow, 1, true);
        prop_assert!(again.executed.is_empty(), "{:?} ran again", again.executed);
        prop_assert_eq!(again.result.outcome, outcome);
        prop_assert_eq!(texts(&cache, &again.result), texts(&cache, &seen.result));
        prop_assert_eq!(told(&again), told(&seen));
    }

    #[test]
    fn the_first_failure_stops_the_rest_and_keeps_what_is_done(workflow in workflows()) {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(dir.path(), "test").unwrap();
        let succeeding = succeeding(&workflow, &model(&workflow));
        let seen = run(&cache, &workflow, 2, false);
        for (name, text) in texts(&cache, &seen.result) {
            prop_assert_eq!(Some(&text), succeeding.get(&name), "{}", name);
        }
        // Going on executes only the others.
        let rest = run(&cache, &workflow, 2, true);
        prop_assert!(rest.executed.iter().all(|key| !seen.executed.contains(key)));
        prop_assert_eq!(texts(&cache, &rest.result), succeeding);
    }
}

/// A list, a stage over it, and one that follows it item by item.
const FOLLOWING: &str = "
stages:
  list: {uses: whole, with: {items: 4}}
  train: {uses: each, foreach: {item: list.list}}
  evaluate: {uses: each, foreach: {item: list.list}, needs: {from: train.text}}
  fit: {uses: whole, needs: {from: all.evaluate.text}}
";

#[test]
fn the_first_task_of_every_stage_starts_before_the_rest_of_those_above_it() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(dir.path(), "test").unwrap();
    let registry = Registry::new(vec![erase::<Whole>(Whole::run), erase::<Each>(Each::run)]);
    let graph = load_text(FOLLOWING, Path::new("w.yaml"), &[], &registry, &|_| None);
    let graph = graph.unwrap().graph;
    let sources = NodeSources::new();
    let walk = Walk::new(Ground {
        graph: &graph,
        registry: &registry,
        cache: &cache,
        sources: &sources,
    });
    let mut started = Vec::new();
    let run = Run::new(walk, Vec::new(), &cache, options(1, false));
    let result = run.execute(&mut |stamped| {
        if let Event::TaskStarted { task, .. } = &stamped.event {
            started.push(task.clone());
        }
    });
    assert_eq!(result.unwrap().outcome, Outcome::Succeeded);
    let expected = [
        "list",
        "train[0]",
        "evaluate[0]",
        "train[1]",
        "train[2]",
        "train[3]",
        "evaluate[1]",
        "evaluate[2]",
        "evaluate[3]",
        "fit",
    ];
    assert_eq!(started, expected);
}
