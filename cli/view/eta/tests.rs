use climb_cache::{Cost, Digest};
use climb_engine::event::{Event, StageOutlook, Stamped, TaskReport};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn outlook(name: &str, tasks: usize, depth: usize, flops: f64) -> StageOutlook {
    StageOutlook {
        name: name.into(),
        kind: "train".into(),
        tasks: Some(tasks),
        expected_seconds: None,
        totals: BTreeMap::from([("flops".into(), flops)]),
        at_once: Some(2),
        depth,
    }
}

fn view(stages: Vec<StageOutlook>) -> RunView {
    let mut view = RunView::default();
    let event = Event::RunStarted {
        run: "r".into(),
        workflow: "w".into(),
        file: "w.yaml".into(),
        params: serde_json::Value::Null,
        pid: 1,
        process: None,
        command: Vec::new(),
        stages,
        origin: None,
    };
    view.apply(&Stamped { at: at(0), event });
    view
}

fn start(view: &mut RunView, second: i64, stage: &str, task: &str) {
    let event = Event::TaskStarted {
        stage: stage.into(),
        task: task.into(),
        key: Digest::of(b"x"),
        attempt: 1,
        log: String::new(),
    };
    let at = at(second);
    view.apply(&Stamped { at, event });
}

fn report(view: &mut RunView, second: i64, stage: &str, task: &str, done: u64) {
    let event = Event::TaskReported {
        stage: stage.into(),
        task: task.into(),
        report: TaskReport::Progress {
            done,
            total: 100,
            unit: "tokens".into(),
        },
    };
    let at = at(second);
    view.apply(&Stamped { at, event });
}

fn eta(view: &RunView) -> Eta {
    view.outlook().eta(2)
}

#[test]
fn a_first_run_has_an_estimate_from_its_first_progress() {
    let mut view = view(vec![outlook("train", 4, 0, 1.0)]);
    assert_eq!(eta(&view).describe(), "no estimate yet");
    start(&mut view, 0, "train", "train[0]");
    report(&mut view, 0, "train", "train[0]", 0);
    report(&mut view, 10, "train", "train[0]", 10);
    // 90 s of this one and three more of 100 s, two at a time.
    assert_eq!(
        eta(&view),
        Eta {
            seconds: 195.0,
            unknown: 0
        }
    );
}

fn finish(view: &mut RunView, second: i64, stage: &str, task: &str, seconds: f64) {
    let event = Event::TaskFinished {
        stage: stage.into(),
        task: task.into(),
        key: Digest::of(task.as_bytes()),
        cost: Cost {
            wall_seconds: seconds,
            totals: BTreeMap::new(),
        },
    };
    let at = at(second);
    view.apply(&Stamped { at, event });
}

/// Six tasks, two at a time, that never say how far they are; earlier ones took a second.
fn silent_fan_out() -> RunView {
    let stage = StageOutlook {
        expected_seconds: Some(1.0),
        ..outlook("each", 6, 0, 0.0)
    };
    let mut view = view(vec![stage]);
    start(&mut view, 0, "each", "each[0]");
    start(&mut view, 0, "each", "each[1]");
    view
}

#[test]
fn tasks_that_have_ended_price_those_that_wait() {
    let mut view = silent_fan_out();
    assert_eq!(eta(&view).seconds, 3.0);
    finish(&mut view, 10, "each", "each[0]", 10.0);
    finish(&mut view, 10, "each", "each[1]", 10.0);
    assert_eq!(eta(&view).seconds, 20.0);
    start(&mut view, 10, "each", "each[2]");
    view.seen = Some(at(14));
    // 6 s of the one that runs, and three of 10 s.
    assert_eq!(eta(&view).seconds, 18.0);
}

#[test]
fn a_task_that_outlives_what_was_expected_prices_those_that_wait() {
    let mut view = silent_fan_out();
    view.seen = Some(at(60));
    assert_eq!(eta(&view).seconds, 120.0);
}

#[test]
fn cached_tasks_price_those_that_wait() {
    let mut view = view(vec![outlook("each", 3, 0, 0.0)]);
    let event = Event::TaskCached {
        stage: "each".into(),
        task: "each[0]".into(),
        key: Digest::of(b"x"),
        cost: Cost {
            wall_seconds: 7.0,
            totals: BTreeMap::new(),
        },
    };
    view.apply(&Stamped { at: at(0), event });
    assert_eq!(eta(&view).describe(), "about 7.0 s left");
}

#[test]
fn where_nothing_succeeded_attempts_that_failed_tell_the_time() {
    let mut view = view(vec![outlook("each", 3, 0, 0.0)]);
    start(&mut view, 0, "each", "each[0]");
    let event = Event::TaskFailed {
        stage: "each".into(),
        task: "each[0]".into(),
        error: "no".into(),
        tail: Vec::new(),
        log: String::new(),
        retry_seconds: None,
        dropped: true,
    };
    view.apply(&Stamped { at: at(4), event });
    assert_eq!(eta(&view).seconds, 4.0);
}

#[test]
fn another_variant_tells_by_its_size() {
    let small = outlook("train{proxy=62M}", 1, 0, 1.0);
    let large = outlook("train{proxy=350M}", 1, 0, 5.0);
    let mut view = view(vec![small, large]);
    start(&mut view, 0, "train{proxy=62M}", "train{proxy=62M}");
    finish(&mut view, 8, "train{proxy=62M}", "train{proxy=62M}", 8.0);
    assert_eq!(eta(&view).seconds, 40.0);
}

#[test]
fn running_tasks_add_up() {
    let mut view = view(vec![outlook("train", 2, 0, 1.0)]);
    for task in ["train[0]", "train[1]"] {
        start(&mut view, 0, "train", task);
        report(&mut view, 0, "train", task, 0);
        report(&mut view, 10, "train", task, 50);
    }
    let stage = view.stage("train").unwrap();
    assert_eq!(stage.rate(view.now()), Some((10.0, "tokens")));
    assert_eq!(stage.amount(), Some((100, 200, "tokens")));
    assert_eq!(eta(&view).seconds, 10.0);
}

#[test]
fn what_is_shown_gets_older_with_nobody_speaking() {
    let mut view = view(vec![outlook("train", 1, 0, 1.0)]);
    start(&mut view, 0, "train", "train");
    report(&mut view, 0, "train", "train", 0);
    report(&mut view, 10, "train", "train", 50);
    assert_eq!(eta(&view).seconds, 10.0);
    view.seen = Some(at(100));
    assert_eq!(eta(&view).seconds, 100.0);
    assert_eq!(view.stage("train").unwrap().silent(view.now()), Some(90.0));
}

#[test]
fn other_iterations_and_other_sizes_are_told_by_what_ran() {
    let stages = vec![
        outlook("search[1].train", 1, 0, 1.0),
        outlook("search[2].train", 2, 1, 1.0),
        outlook("confirm-train", 1, 2, 10.0),
    ];
    let mut view = view(stages);
    start(&mut view, 0, "search[1].train", "search[1].train");
    let event = Event::TaskFinished {
        stage: "search[1].train".into(),
        task: "search[1].train".into(),
        key: Digest::of(b"x"),
        cost: Cost {
            wall_seconds: 8.0,
            totals: BTreeMap::new(),
        },
    };
    view.apply(&Stamped { at: at(8), event });
    // Two of 8 s side by side, and then one ten times as large.
    assert_eq!(
        eta(&view),
        Eta {
            seconds: 88.0,
            unknown: 0
        }
    );
}

#[test]
fn what_nothing_tells_is_not_counted_as_nothing() {
    let mut stages = vec![outlook("train", 1, 0, 1.0)];
    stages.push(StageOutlook {
        kind: "fit".into(),
        ..outlook("fit", 1, 1, 0.0)
    });
    let mut view = view(stages);
    start(&mut view, 0, "train", "train");
    report(&mut view, 0, "train", "train", 0);
    report(&mut view, 10, "train", "train", 50);
    assert_eq!(eta(&view).describe(), "at least 10.0 s left");
}
