//! Processes that end, or go on, otherwise than climb has it: left behind, told to stop by others,
//! refused by the system.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::workspace::{Ran, Workspace};

/// One command, as a line of the shell.
fn workflow(run: &str) -> String {
    format!("stages: {{x: {{uses: command, with: {{run: {run:?}, outputs: {{x: text}}}}}}}}\n")
}

fn with_workflow(run: &str) -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("w.yaml", workflow(run));
    workspace
}

/// A run in the background, whose output goes to the file `log`.
fn start(workspace: &Workspace, args: &[&str]) -> Child {
    let log = workspace.path("log");
    let open = || {
        std::fs::File::options()
            .create(true)
            .append(true)
            .open(&log)
    };
    let log = || open().expect("a file");
    let mut command = workspace.command(args);
    command.stdin(Stdio::null()).stdout(log()).stderr(log());
    command.spawn().expect("climb starts")
}

/// Waits until `is` gives something. So long is only waited where it never does.
fn await_that<T>(what: &str, is: impl Fn() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        if let Some(found) = is() {
            return found;
        }
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn await_file(workspace: &Workspace, name: &str) -> String {
    await_that(name, || {
        let text = std::fs::read_to_string(workspace.path(name)).ok()?;
        text.ends_with('\n').then(|| text.trim().to_string())
    })
}

fn send(pid: impl ToString, signal: &str) {
    let status = Command::new("kill")
        .args([&format!("-{signal}"), "--", &pid.to_string()])
        .status();
    assert!(status.expect("kill runs").success());
}

fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
    !matches!(state, None | Some(Some('Z')))
}

fn output(workspace: &Workspace) -> String {
    let got = workspace.climb(&["get", "x.x", "-"]);
    assert!(got.ok(), "{}", got.stderr);
    got.stdout
}

/// The first attempt does `first` and tells so; a later one writes `right`.
fn first_time(first: &str) -> String {
    format!(
        r#"if ! test -e seen; then touch seen
{first}
sleep 1000; fi; echo right > "$CLIMB_OUTPUT_X""#
    )
}

/// The process that ends a run's commands should climb be killed.
fn guard_of(run: &Child) -> u32 {
    let parent = format!("PPid:\t{}\n", run.id());
    let is_guard = |pid: &u32| {
        let read =
            |file| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("status").contains(&parent) && read("cmdline").ends_with("\0guard\0")
    };
    await_that("the guard", || {
        let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
        let mut pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.find(is_guard)
    })
}

/// Kills climb and its guard at once, as the out-of-memory killer may.
fn kill_together(mut run: Child) {
    let guard = guard_of(&run);
    // Stopped first: neither sees the other go.
    send(run.id(), "STOP");
    send(guard, "STOP");
    send(guard, "KILL");
    send(run.id(), "KILL");
    run.wait().expect("waited");
}

#[test]
fn what_a_dead_run_left_behind_is_ended_before_the_next() {
    let left_in = [
        ("its group", "sleep 1001 & echo $! > left"),
        (
            "a session of its own",
            "setsid sh -c 'echo $$ > left; exec sleep 1001' &",
        ),
        (
            "its group, without environment",
            "env -i sleep 1001 & echo $! > left",
        ),
    ];
    for (place, leave) in left_in {
        let workspace = with_workflow(&first_time(leave));
        let run = start(&workspace, &["run", "w.yaml"]);
        let left = await_file(&workspace, "left");
        kill_together(run);
        assert!(lives(&left), "{place}: this shows nothing");
        let ran = workspace.climb(&["run", "w.yaml"]);
        assert!(ran.ok(), "{}", ran.stderr);
        assert!(!lives(&left), "{place}: process {left} stayed");
        assert!(ran.stderr.contains(&format!("{left} (")), "{}", ran.stderr);
        assert_eq!(output(&workspace), "right\n");
    }
}

/// Its leader came to its own end before anybody looked.
#[test]
fn what_outlived_its_groups_leader_is_ended_before_the_next() {
    let leave = "env -i sleep 1001 & echo $! > left; echo $$ > leader; until test -e leave; do sleep 0.05; done; exit 3";
    let workspace = with_workflow(&first_time(leave));
    let run = start(&workspace, &["run", "w.yaml"]);
    let left = await_file(&workspace, "left");
    let leader = await_file(&workspace, "leader");
    kill_together(run);
    workspace.write("leave", "");
    await_that("the leader's end", || (!lives(&leader)).then_some(()));
    assert!(lives(&left), "this shows nothing");
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert!(!lives(&left), "process {left} stayed");
    assert_eq!(output(&workspace), "right\n");
}

#[test]
fn a_killed_run_takes_its_commands_along_at_once() {
    for leave in [
        "sleep 1001 & echo $! > left",
        "env -i sleep 1001 & echo $! > left",
    ] {
        let workspace = with_workflow(&first_time(leave));
        let mut run = start(&workspace, &["run", "w.yaml"]);
        let left = await_file(&workspace, "left");
        let guard = guard_of(&run);
        // Somebody who is not climb.
        send(guard, "TERM");
        send(guard, "INT");
        send(run.id(), "KILL");
        run.wait().expect("waited");
        await_that("its end", || (!lives(&left)).then_some(()));
        await_that("the guard's end", || {
            (!lives(&guard.to_string())).then_some(())
        });
    }
}

#[test]
fn a_guard_that_was_killed_is_replaced() {
    let workspace = with_workflow(
        "echo > began; until test -e go; do sleep 0.01; done; echo right > \"$CLIMB_OUTPUT_X\"",
    );
    let text = workspace.read("w.yaml");
    let second = "{y: {uses: command, needs: {x: x}, with: {run: 'sleep 1001 & echo $! > left; sleep 1000', outputs: {y: text}}}, x:";
    workspace.write("w.yaml", text.replacen("{x:", second, 1));
    let mut run = start(&workspace, &["run", "w.yaml"]);
    await_that("the task", || {
        workspace.path("began").exists().then_some(())
    });
    send(guard_of(&run), "KILL");
    workspace.write("go", "");
    let left = await_file(&workspace, "left");
    send(run.id(), "KILL");
    run.wait().expect("waited");
    await_that("its end", || (!lives(&left)).then_some(()));
}

#[test]
fn what_cannot_be_found_cannot_reach_the_next_attempt() {
    // Nothing tells whose this is. It writes wherever its attempt could, until it is told to end.
    let stray = r#"
        echo $$ > left
        until test -e enough; do
            mkdir -p "$(dirname "$1")" "$2"
            echo wrong > "$1"; echo wrong > "$2/state"; sleep 0.01
        done 2>> errors
        echo ended > ended
    "#;
    let leave = r#"env -i setsid sh stray.sh "$CLIMB_OUTPUT_X" "$CLIMB_STATE" > /dev/null 2>&1 &"#;
    let workspace = Workspace::empty();
    workspace.write("stray.sh", stray);
    let run = format!(
        r#"if ! test -e seen; then touch seen; {leave} sleep 1000; fi
           echo right > "$CLIMB_OUTPUT_X"; echo right > "$CLIMB_STATE/state"
           sleep 2; cat "$CLIMB_STATE/state" >> "$CLIMB_OUTPUT_X""#
    );
    workspace.write("w.yaml", workflow(&run));
    let run = start(&workspace, &["run", "w.yaml"]);
    let left = await_file(&workspace, "left");
    kill_together(run);
    let ran = workspace.climb(&["run", "w.yaml"]);
    let alive = lives(&left);
    workspace.write("enough", "");
    await_file(&workspace, "ended");
    assert!(alive, "this shows nothing");
    assert!(ran.ok(), "{}", ran.stderr);
    assert_eq!(output(&workspace), "right\nright\n");
    assert!(workspace.climb(&["cache", "verify"]).ok());
}

#[test]
fn a_failed_attempt_leaves_no_process_to_the_next() {
    let workspace = Workspace::empty();
    let run = r#"if ! test -e seen; then touch seen; setsid sh -c 'echo $$ > left; exec sleep 1001' &
                 until test -s left; do sleep 0.01; done; exit 3; fi
                 echo right > "$CLIMB_OUTPUT_X""#;
    let stage = workflow(run).replace("uses: command", "uses: command, retries: 1, backoff: 10ms");
    workspace.write("w.yaml", stage);
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    let left = await_file(&workspace, "left");
    assert!(!lives(&left));
    assert!(ran.stderr.contains("left behind"), "{}", ran.stderr);
}

#[test]
fn a_signal_from_outside_is_a_failure_of_that_attempt() {
    for signal in ["TERM", "INT", "HUP"] {
        let run = format!("echo attempt >> attempts; kill -{signal} $$; sleep 1000");
        let workspace = with_workflow(&run);
        let ran = workspace.climb(&["run", "w.yaml", "--json"]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert_eq!(workspace.read("attempts").lines().count(), 1);
        let says = format!("SIG{signal} from outside climb");
        assert!(ran.stdout.contains(&says), "no {says:?} in {}", ran.stdout);
        let retried = workflow(&run).replace("command,", "command, retries: 2, backoff: 10ms,");
        workspace.write("w.yaml", retried);
        std::fs::remove_file(workspace.path("attempts")).expect("removed");
        let ran = workspace.climb(&["run", "w.yaml", "--json"]);
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert_eq!(workspace.read("attempts").lines().count(), 3);
        assert_eq!(ran.stdout.matches("\"task_failed\"").count(), 3);
    }
}

/// Saves when it is told to stop; a later attempt finds that.
const SAVING: &str = r#"
    if test -e "$CLIMB_STATE/half"; then cat "$CLIMB_STATE/half" > "$CLIMB_OUTPUT_X"; exit; fi
    trap 'echo saved > "$CLIMB_STATE/half"; exit 1' TERM; echo > began; sleep 1000 & wait"#;

fn assert_interrupted_and_saved(workspace: &Workspace) {
    let runs = workspace.climb(&["runs"]).stdout;
    assert!(runs.contains("interrupted"), "{runs}");
    assert!(workspace.climb(&["resume"]).ok());
    assert_eq!(output(workspace), "saved\n");
}

#[test]
fn a_hangup_interrupts_like_sigterm() {
    for signal in ["HUP", "TERM", "INT"] {
        let workspace = with_workflow(SAVING);
        let mut run = start(&workspace, &["run", "w.yaml"]);
        await_that("the task", || {
            workspace.path("began").exists().then_some(())
        });
        send(run.id(), signal);
        assert_eq!(run.wait().expect("waited").code(), Some(130), "SIG{signal}");
        assert_interrupted_and_saved(&workspace);
    }
}

#[test]
fn an_interrupt_that_comes_twice_at_once_is_one() {
    let workspace = with_workflow(SAVING);
    let mut run = start(&workspace, &["run", "w.yaml"]);
    await_that("the task", || {
        workspace.path("began").exists().then_some(())
    });
    // Both wait until climb is on its feet again.
    send(run.id(), "STOP");
    send(run.id(), "TERM");
    send(run.id(), "HUP");
    send(run.id(), "CONT");
    run.wait().expect("waited");
    assert_interrupted_and_saved(&workspace);
}

#[test]
fn a_run_under_nohup_outlives_the_terminal() {
    let run =
        r#"echo > began; until test -e go; do sleep 0.01; done; echo right > "$CLIMB_OUTPUT_X""#;
    let workspace = with_workflow(run);
    let climb = workspace.command(&["run", "w.yaml"]);
    let mut nohup = Command::new("nohup");
    nohup.arg(climb.get_program()).args(climb.get_args());
    nohup
        .current_dir(workspace.path(""))
        .env_remove("CLIMB_CACHE");
    nohup
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut run = nohup.spawn().expect("nohup starts");
    await_that("the task", || {
        workspace.path("began").exists().then_some(())
    });
    send(run.id(), "HUP");
    workspace.write("go", "");
    assert_eq!(run.wait().expect("waited").code(), Some(0));
    assert_eq!(output(&workspace), "right\n");
}

#[test]
fn the_end_of_the_terminal_interrupts_and_saves() {
    for extra in [&[][..], &["--json"]] {
        let workspace = with_workflow(SAVING);
        let (mut terminal, mut side) = (0, 0);
        let none = std::ptr::null_mut();
        // SAFETY: two descriptors are written.
        let made =
            unsafe { libc::openpty(&mut terminal, &mut side, none, none.cast(), none.cast()) };
        assert_eq!(made, 0);
        let mut command = workspace.command(&[&["run", "w.yaml"][..], extra].concat());
        // SAFETY: only async-signal-safe calls; the terminal becomes that of a session of its own.
        unsafe {
            command.pre_exec(move || {
                libc::setsid();
                libc::ioctl(side, libc::TIOCSCTTY, 0);
                (0..3).for_each(|fd| _ = libc::dup2(side, fd));
                libc::close(terminal);
                libc::close(side);
                Ok(())
            });
        }
        let mut run = command.spawn().expect("climb starts");
        // SAFETY: ours, and closed once.
        unsafe { libc::close(side) };
        await_that("the task", || {
            workspace.path("began").exists().then_some(())
        });
        // SAFETY: as above.
        unsafe { libc::close(terminal) };
        run.wait().expect("waited");
        assert_interrupted_and_saved(&workspace);
    }
}

#[test]
fn a_task_that_is_killed_for_not_stopping_is_said_to_be() {
    let workspace = with_workflow("echo $$ > task; sleep 1000");
    let mut run = start(&workspace, &["run", "w.yaml"]);
    let task = await_file(&workspace, "task");
    // It cannot stop in order.
    send(&task, "STOP");
    send(run.id(), "INT");
    assert_eq!(run.wait().expect("waited").code(), Some(130));
    let log = workspace.read("log");
    assert!(log.contains("did not stop within 20 s of SIGTERM"), "{log}");
    assert!(!log.contains("out of memory"), "{log}");
}

#[test]
fn tasks_are_run_by_the_binary_that_began_the_run() {
    let binary = env!("CARGO_BIN_EXE_climb");
    for replaced in [true, false] {
        let workspace = Workspace::empty();
        let yaml = "stages:
  a: {uses: command, with: {run: 'echo > began; until test -e go; do sleep 0.01; done; echo a > \"$CLIMB_OUTPUT_X\"', outputs: {x: text}}}
  x: {uses: command, needs: {a: a}, with: {run: 'echo x > \"$CLIMB_OUTPUT_X\"', outputs: {x: text}}}
";
        workspace.write("w.yaml", yaml);
        // Not copied by us: a file that was open for writing meanwhile cannot be executed.
        let copy = workspace.path("climb-copy");
        let copied = Command::new("cp").arg(binary).arg(&copy).status();
        assert!(copied.expect("cp runs").success());
        let mut run = Command::new(&copy);
        run.args(["run", "w.yaml"]).current_dir(workspace.path(""));
        run.env_remove("CLIMB_CACHE");
        run.stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = run.spawn().expect("climb starts");
        await_that("the first task", || {
            workspace.path("began").exists().then_some(())
        });
        std::fs::remove_file(&copy).expect("removed");
        if replaced {
            let script = "#!/bin/sh\necho \"$*\" >> ran-by-another\nexit 1\n";
            std::fs::write(&copy, script).expect("written");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
            std::fs::set_permissions(&copy, mode).expect("set");
        }
        workspace.write("go", "");
        assert_eq!(run.wait().expect("waited").code(), Some(0));
        assert!(!workspace.path("ran-by-another").exists());
        assert_eq!(output(&workspace), "x\n");
    }
}

#[test]
fn a_description_by_another_build_is_not_run() {
    let workspace = Workspace::empty();
    let task = r#"{"protocol": 1, "build": "0.0.9-abc", "task": "x"}"#;
    workspace.write("task.json", task);
    let ran = workspace.climb(&["task", "task.json"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("0.0.9-abc"), "{}", ran.stderr);
}

/// Who is counted apart from all others.
const PLAIN_USER: &str = "64123";

/// A run by a plain user who may have so many processes and threads; `None` where we cannot be that.
fn run_limited(workspace: &Workspace, limit: u32) -> Option<Ran> {
    let user = [
        format!("--reuid={PLAIN_USER}"),
        format!("--regid={PLAIN_USER}"),
    ];
    let may = Command::new("setpriv")
        .args(&user)
        .args(["--clear-groups", "true"])
        .status();
    if !may.is_ok_and(|status| status.success()) {
        return None;
    }
    let owner = format!("{PLAIN_USER}:{PLAIN_USER}");
    let given = Command::new("chown")
        .args(["-R", &owner])
        .arg(workspace.path(""))
        .status();
    assert!(given.expect("chown runs").success());
    let climb = workspace.command(&["run", "w.yaml", "--jobs", "12", "--keep-going"]);
    let mut command = Command::new("setpriv");
    command
        .args(&user)
        .arg("--clear-groups")
        .arg(climb.get_program())
        .args(climb.get_args());
    command
        .current_dir(workspace.path(""))
        .env_remove("CLIMB_CACHE");
    command.env("HOME", workspace.path(""));
    // SAFETY: a plain system call.
    unsafe {
        command.pre_exec(move || {
            let limit = libc::rlimit {
                rlim_cur: limit.into(),
                rlim_max: limit.into(),
            };
            libc::setrlimit(libc::RLIMIT_NPROC, &limit);
            Ok(())
        });
    }
    Some(Ran::from(command.output().expect("setpriv runs")))
}

#[test]
fn processes_and_threads_that_cannot_be_had_are_an_error_and_no_wait() {
    let yaml = r#"
stages:
  l: {uses: command, with: {run: 'mkdir "$CLIMB_OUTPUT_X"; for i in $(seq 12); do echo $i > "$CLIMB_OUTPUT_X/$i"; done', outputs: {x: {type: list, items: text}}}}
  e: {uses: command, foreach: {i: l}, with: {run: 'cat "$CLIMB_INPUT_I" > "$CLIMB_OUTPUT_Y"; sleep 1', outputs: {y: text}}}
"#;
    // From too few to open the cache to enough for a few tasks.
    for limit in [1, 8, 16, 20, 24, 28, 32, 48] {
        let workspace = Workspace::empty();
        workspace.write("w.yaml", yaml);
        let Some(ran) = run_limited(&workspace, limit) else {
            eprintln!("not shown: this needs root and setpriv");
            return;
        };
        let said = format!("{}\n{}", ran.stdout, ran.stderr);
        match ran.code {
            Some(0) => assert!(said.contains("13 tasks run"), "{limit}: {said}"),
            // A shell says it in its own words.
            Some(1) => assert!(
                ["ulimit -u", "Cannot fork", "Resource temporarily"]
                    .iter()
                    .any(|w| said.contains(w)),
                "{limit}: {said}"
            ),
            code => panic!("{limit}: exit {code:?}: {said}"),
        }
        // What panics in a task's own process is in that task's log.
        assert!(
            !ran.stderr.lines().any(|line| line.starts_with("thread '")),
            "{limit}: {said}"
        );
    }
}

#[test]
fn paths_that_are_no_text_are_refused_by_name() {
    use std::os::unix::ffi::OsStrExt;
    let workspace = Workspace::empty();
    let folder = workspace
        .path("")
        .join(std::ffi::OsStr::from_bytes(b"caf\xe9"));
    std::fs::create_dir(&folder).expect("made");
    let yaml = workflow("echo right > \"$CLIMB_OUTPUT_X\"");
    std::fs::write(folder.join("w.yaml"), &yaml).expect("written");
    workspace.write("w.yaml", &yaml);
    let ran_in = |folder: &Path, args: &[&std::ffi::OsStr]| {
        let mut command = workspace.command(&[]);
        Ran::from(
            command
                .args(args)
                .current_dir(folder)
                .output()
                .expect("climb starts"),
        )
    };
    let refused = |ran: Ran| {
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(r"caf\xE9"), "{}", ran.stderr);
    };
    for command in ["check", "run", "plan"] {
        refused(ran_in(&folder, &[command.as_ref(), "w.yaml".as_ref()]));
        refused(ran_in(
            &workspace.path(""),
            &[command.as_ref(), folder.join("w.yaml").as_os_str()],
        ));
    }
    let cache = folder.join("cache");
    let args = [
        "run".as_ref(),
        "w.yaml".as_ref(),
        "--cache".as_ref(),
        cache.as_os_str(),
    ];
    refused(ran_in(&workspace.path(""), &args));
    let ran = ran_in(&workspace.path(""), &["run".as_ref(), "w.yaml".as_ref()]);
    assert!(ran.ok(), "{}", ran.stderr);
}
