//! Tasks that crash, flood, linger or write half: that attempt fails, and nothing else.

use std::time::{Duration, Instant};

use crate::workspace::{Counts, Ran, Workspace};

/// A command whose first attempt does `bad`, and whose second succeeds.
fn crash_once(bad: &str) -> (Workspace, Ran) {
    let workspace = Workspace::empty();
    let yaml = format!(
        r#"
stages:
  task:
    uses: command
    retries: 1
    backoff: 10ms
    timeout: 20s
    with:
      run: |
        if ! test -e "$CLIMB_STATE/tried"; then
          touch "$CLIMB_STATE/tried"
          echo the last words
          {bad}
        fi
        echo whole > "$CLIMB_OUTPUT_X"
      outputs: {{x: text}}
"#
    );
    workspace.write("w.yaml", yaml);
    let ran = workspace.climb(&["run", "w.yaml", "--json"]);
    (workspace, ran)
}

fn assert_cost_one_attempt(workspace: &Workspace, ran: &Ran, says: &str) {
    assert!(ran.ok(), "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout.matches("\"task_failed\"").count(), 1);
    assert!(ran.stdout.contains(says), "no {says:?} in {}", ran.stdout);
    assert!(ran.stdout.contains("the last words"), "{}", ran.stdout);
    assert_eq!(Counts::of(&ran.stdout).ran.len(), 1);
    let digest = blake3::hash(b"whole\n").to_hex();
    let output = &workspace.artifacts()["task.x"]["file"]["digest"];
    assert_eq!(output.as_str(), Some(digest.as_str()));
}

#[test]
fn a_signal_costs_one_attempt() {
    for (signal, number) in [("SEGV", 11), ("KILL", 9), ("ABRT", 6)] {
        let (workspace, ran) = crash_once(&format!("kill -{signal} $$"));
        assert_cost_one_attempt(&workspace, &ran, &format!("died of signal {number}"));
    }
}

#[test]
fn half_an_output_is_never_kept() {
    let bad = "head -c 100000 /dev/zero > \"$CLIMB_OUTPUT_X\"; exit 3";
    let (workspace, ran) = crash_once(bad);
    assert_cost_one_attempt(&workspace, &ran, "exit code 3");
}

#[test]
fn a_hang_ends_at_the_timeout_with_the_log() {
    let workspace = Workspace::empty();
    let run = "echo the last words; sleep 1000 & wait";
    workspace.write(
        "w.yaml",
        format!(
            "stages: {{task: {{uses: command, timeout: 3s, with: {{run: {run:?}, outputs: {{x: text}}}}}}}}"
        ),
    );
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert_eq!(ran.code, Some(1));
    for says in ["past its timeout", "| the last words", "logs/task.log"] {
        assert!(ran.stderr.contains(says), "no {says:?}:\n{}", ran.stderr);
    }
}

#[test]
fn a_flood_of_output_takes_bounded_memory() {
    let workspace = Workspace::empty();
    // 100 MB in lines, then 100 MB without any line's end; neither is UTF-8.
    let yaml = r#"
stages:
  flood:
    uses: command
    with:
      run: |
        yes "$(printf 'a flood \377')" | head -c 100000000
        head -c 100000000 /dev/zero | tr '\0' '\377' >&2
        printf '\nthe last words\n'
        exit 5
      outputs: {x: text}
"#;
    workspace.write("w.yaml", yaml);
    let mut command = workspace.command(&["run", "w.yaml"]);
    command.stderr(std::process::Stdio::piped());
    command.stdout(std::process::Stdio::null());
    let mut child = command.spawn().expect("climb starts");
    let mut most = 0;
    let text = std::thread::scope(|scope| {
        let mut stderr = child.stderr.take().expect("piped");
        let read = scope.spawn(move || {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut stderr, &mut bytes).expect("read");
            String::from_utf8_lossy(&bytes).into_owned()
        });
        while child.try_wait().expect("waited").is_none() {
            most = most.max(peak_kib(child.id()));
            std::thread::sleep(Duration::from_millis(2));
        }
        read.join().expect("joined")
    });
    assert!(text.contains("| the last words"), "{text:.2000}");
    assert!(text.len() < 100_000, "{} bytes of message", text.len());
    // The log is 200 MB, and three times that as text, since a byte that is not UTF-8 becomes three.
    assert!(most < 380 << 10, "{most} KiB");
}

/// The most memory the process had at any time.
fn peak_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix(" kB")?.parse().ok())
        .unwrap_or(0)
}

#[test]
fn a_process_left_in_the_background_goes_with_its_task() {
    let workspace = Workspace::empty();
    let yaml = r#"
stages:
  task:
    uses: command
    with:
      run: sleep 1000 & echo $! > "$CLIMB_OUTPUT_X"; cp "$CLIMB_OUTPUT_X" pid
      outputs: {x: text}
"#;
    workspace.write("w.yaml", yaml);
    let started = Instant::now();
    let ran = workspace.climb(&["run", "w.yaml"]);
    assert!(ran.ok(), "{}", ran.stderr);
    assert!(started.elapsed() < Duration::from_secs(60));
    let pid = workspace.read("pid");
    let command = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
    assert!(
        !command.starts_with(b"sleep"),
        "process {pid} is still there"
    );
}

#[test]
fn outputs_stay_within_the_cache() {
    for make in [
        "ln -s /etc/hostname \"$CLIMB_OUTPUT_X\"",
        "mkdir \"$CLIMB_OUTPUT_X\"; ln -s ../../.. \"$CLIMB_OUTPUT_X/up\"",
        "mkfifo \"$CLIMB_OUTPUT_X\"",
    ] {
        let workspace = Workspace::empty();
        workspace.write(
            "w.yaml",
            format!(
                "stages: {{task: {{uses: command, with: {{run: {make:?}, outputs: {{x: text}}}}}}}}"
            ),
        );
        let ran = workspace.climb(&["run", "w.yaml"]);
        assert_eq!(ran.code, Some(1), "{make}");
        assert!(
            ran.stderr.contains("symlink or special file"),
            "{make}:\n{}",
            ran.stderr
        );
    }
}
