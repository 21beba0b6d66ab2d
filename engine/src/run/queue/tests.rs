use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const MACHINE: Amount = Amount {
    cpus: 8,
    memory_bytes: 100,
    gpus: 1,
};

/// A task of a made-up run: the order of a list of them is that of their turns.
#[derive(Clone, Copy, Debug)]
struct Made {
    cpus: usize,
    least_cpus: usize,
    memory_bytes: u64,
    gpus: usize,
    /// What it really takes.
    seconds: f64,
    is_known: bool,
}

const fn made(cpus: usize, gpus: usize, seconds: f64) -> Made {
    Made {
        cpus,
        least_cpus: cpus,
        memory_bytes: 0,
        gpus,
        seconds,
        is_known: true,
    }
}

fn ready(i: usize, task: &Made) -> Ready {
    Ready {
        turn: (true, i, 0, i),
        wanted: Request {
            cpus: task.cpus,
            least_cpus: task.least_cpus,
            memory_bytes: task.memory_bytes,
            gpus: task.gpus,
        },
        is_command: false,
        seconds: task.is_known.then_some(task.seconds),
    }
}

/// What came of a run of tasks that were all ready at its begin.
struct Ran {
    starts: BTreeMap<TaskId, f64>,
    end: f64,
    /// For each task that was first in turn and had to wait, when it was to start at the latest.
    promised: BTreeMap<TaskId, f64>,
}

fn run(tasks: &[Made]) -> Ran {
    let mut queue = Queue::default();
    for (i, task) in tasks.iter().enumerate() {
        queue.insert(ready(i, task));
    }
    let (mut now, mut free) = (0.0, MACHINE);
    let mut running: Vec<(f64, Amount, bool)> = Vec::new();
    let mut ran = Ran {
        starts: BTreeMap::new(),
        end: 0.0,
        promised: BTreeMap::new(),
    };
    loop {
        let ends_in = |(end, amount, is_known): &(f64, Amount, bool)| Busy {
            amount: *amount,
            ends_in: is_known.then_some(end - now),
        };
        let busy: Vec<Busy> = running.iter().map(ends_in).collect();
        if let Some((task, given)) = queue.take(free, &busy, &|_| true) {
            let Made {
                seconds, is_known, ..
            } = tasks[task];
            let amount = Amount {
                cpus: given.cpus.min(free.cpus),
                memory_bytes: given.memory_bytes,
                gpus: given.gpus,
            };
            assert!(amount.fits(&free), "{given:?} of {free:?}");
            assert!(amount.cpus >= given.least_cpus);
            free = free - amount;
            let slower = given.cpus.max(tasks[task].cpus) as f64 / amount.cpus.max(1) as f64;
            running.push((now + seconds * slower, amount, is_known));
            ran.starts.insert(task, now);
            continue;
        }
        let waiting = (0..tasks.len()).find(|i| !ran.starts.contains_key(i));
        if let Some(first) = waiting {
            let least = ready(first, &tasks[first]).wanted.least();
            if let Some((starts, _)) = Reservation::of(&least, &free, &busy).starts {
                ran.promised.entry(first).or_insert(now + starts);
            }
        }
        running.sort_by(|a, b| b.0.total_cmp(&a.0));
        let Some((end, amount, _)) = running.pop() else {
            assert!(waiting.is_none(), "nothing runs, and {waiting:?} waits");
            ran.end = now;
            return ran;
        };
        now = end;
        free = free + amount;
    }
}

#[test]
fn a_task_that_waits_for_a_gpu_holds_no_cpu_task_back() {
    for is_known in [true, false] {
        let mut tasks = [made(1, 1, 1.0); 6];
        tasks[3..].fill(made(1, 0, 1.0));
        tasks.iter_mut().for_each(|task| task.is_known = is_known);
        let starts = run(&tasks).starts;
        assert!((3..6).all(|i| starts[&i] == 0.0), "{starts:?}");
    }
}

/// Three long tasks leave five cpus idle behind one that wants them all.
#[test]
fn short_tasks_pass_one_that_has_to_wait_longer_than_they_take() {
    let mut tasks = vec![made(3, 0, 8.0), made(8, 0, 1.0)];
    tasks.extend([made(1, 0, 1.0); 40]);
    let known = run(&tasks);
    assert_eq!(known.starts[&1], 8.0);
    assert_eq!(known.end, 9.0);
    // Whose length nobody knows wait: they might keep it waiting.
    tasks[2..].iter_mut().for_each(|task| task.is_known = false);
    let unknown = run(&tasks);
    assert_eq!((unknown.starts[&1], unknown.starts[&2]), (8.0, 9.0));
    assert_eq!(unknown.end, 14.0);
}

#[test]
fn a_long_task_does_not_pass_to_the_cost_of_one_that_waits() {
    let tasks = [
        made(5, 0, 2.0),
        made(6, 0, 1.0),
        made(3, 0, 100.0),
        made(2, 0, 100.0),
    ];
    let starts = run(&tasks).starts;
    assert_eq!(starts[&1], 2.0);
    // Six of eight are kept: two may have the others for as long as they like.
    assert_eq!(starts[&3], 0.0);
    assert_eq!(starts[&2], 3.0);
}

#[test]
fn who_can_use_all_cpus_starts_with_those_that_are_free() {
    let all = Made {
        least_cpus: 4,
        ..made(8, 0, 8.0)
    };
    assert_eq!(run(&[made(1, 0, 100.0), all]).starts[&1], 0.0);
    assert_eq!(run(&[made(5, 0, 100.0), all]).starts[&1], 100.0);
}

#[test]
fn a_command_that_may_not_start_yet_holds_other_commands_back_and_nothing_else() {
    let mut queue = Queue::default();
    for (i, is_command) in [(0, true), (1, true), (2, false)] {
        let ready = ready(i, &made(1, 0, 1.0));
        queue.insert(Ready {
            is_command,
            ..ready
        });
    }
    let mut take = |allowed: TaskId| {
        let next = queue.take(MACHINE, &[], &|task| task >= allowed);
        next.map(|(task, _)| task)
    };
    assert_eq!(take(1), Some(2));
    assert_eq!(take(1), None);
    assert_eq!(take(0), Some(0));
}

fn tasks() -> impl Strategy<Value = Vec<Made>> {
    let task = (
        1usize..9,
        0u64..101,
        0usize..2,
        1u32..50,
        any::<bool>(),
        any::<bool>(),
    );
    let task = task.prop_map(
        |(cpus, memory_bytes, gpus, seconds, is_elastic, is_known)| Made {
            cpus: if is_elastic { 8 } else { cpus },
            least_cpus: if is_elastic { 4 } else { cpus },
            memory_bytes,
            gpus,
            // A power of the step, so that a length is what it says.
            seconds: STEP.powi(seconds as i32 % 20),
            is_known,
        },
    );
    proptest::collection::vec(task, 1..30)
}

proptest! {
    /// And never more at once than there is: `run` asserts it.
    #[test]
    fn every_task_runs_and_whoever_waits_starts_when_it_was_promised(mut tasks in tasks(), all in any::<bool>()) {
        if all {
            tasks.iter_mut().for_each(|task| task.is_known = true);
        }
        let ran = run(&tasks);
        prop_assert_eq!(ran.starts.len(), tasks.len());
        for (task, latest) in ran.promised {
            prop_assert!(ran.starts[&task] <= latest + 1e-6, "{} promised {latest}: {:?}", task, ran.starts);
        }
    }
}
