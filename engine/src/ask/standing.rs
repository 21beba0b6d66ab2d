//! A workflow in a cache that may be read and not written: a run of it that has nothing to do needs
//! no more than that.

use climb_cache::CacheError;

use crate::runs::event::{Event, Outcome};
use crate::runs::result::{RunResult, stage_results};
use crate::walk::{Step, TaskState, Walk};

/// How a workflow stands.
pub enum Standing {
    /// Every task is cached: what a run would say, and what it would come to.
    Done {
        events: Vec<Event>,
        result: Box<RunResult>,
    },
    /// So many tasks that would run are known already.
    ToRun(usize),
}

/// Walks as a run would, and starts nothing.
pub fn standing(walk: &mut Walk) -> Result<Standing, CacheError> {
    let graph = walk.ground().graph;
    let mut events = Vec::new();
    let mut to_run = 0;
    while let Some(step) = walk.step() {
        let tracker = walk.tracker();
        match step {
            Step::Expanded(node) => events.push(Event::StageExpanded {
                stage: graph.nodes[node].name.clone(),
                kind: graph.nodes[node].kind.clone(),
                tasks: tracker.nodes[node].as_ref().map_or(0, Vec::len),
            }),
            Step::Cached(task, record) => events.push(Event::TaskCached {
                stage: tracker.node(task).name.clone(),
                task: tracker.tasks[task].name.clone(),
                key: record.key,
                cost: record.cost,
            }),
            Step::Missing(_) => to_run += 1,
            Step::Broken(_, error) => return Err(error),
            Step::Finished(node) => events.push(Event::StageFinished {
                stage: graph.nodes[node].name.clone(),
            }),
            Step::Left(_) | Step::Exceeded(_) => {}
        }
    }
    let is_done = |state: &TaskState| matches!(state, TaskState::Done { .. });
    if !walk.tracker().tasks.iter().all(|task| is_done(&task.state)) {
        return Ok(Standing::ToRun(to_run));
    }
    let summary = walk.summary();
    let result = RunResult {
        run: String::new(),
        workflow: graph.name.clone(),
        outcome: Outcome::Succeeded,
        summary: summary.clone(),
        budgets: graph.budgets.clone(),
        stages: stage_results(walk),
        dropped: Vec::new(),
    };
    events.push(Event::RunFinished {
        run: String::new(),
        outcome: Outcome::Succeeded,
        summary,
    });
    Ok(Standing::Done {
        events,
        result: Box::new(result),
    })
}
