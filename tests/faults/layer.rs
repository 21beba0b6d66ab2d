//! Loads `interpose.c` into the binary and tells it what to do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::workspace::{Ran, Workspace};

/// A workflow of programs whose outputs are large and small, files and folders. Two of them read the
/// same folder, at once where the run may do so.
///
/// Its programs see the layer too; its name is the same everywhere, as it is in their keys.
pub const WORKFLOW: &str = r#"
params: {lines: 3000, times: 1}
stages:
  made:
    uses: command
    with:
      run: |
        mkdir "$CLIMB_OUTPUT_MADE"
        seq "$CLIMB_PARAM_LINES" | cat > "$CLIMB_OUTPUT_MADE/large"
        echo small > "$CLIMB_OUTPUT_MADE/small"
        echo a log
      params: {lines: "${params.lines}"}
      outputs: {made: text}
      pass_env: [LD_PRELOAD, CLIMB_FAULTS]
  joined:
    uses: command
    needs: {made: made}
    with:
      run: |
        for i in $(seq "$CLIMB_PARAM_TIMES"); do
          cat "$CLIMB_INPUT_MADE/large" "$CLIMB_INPUT_MADE/small"
        done > "$CLIMB_OUTPUT_X"
        cat "$CLIMB_INPUT_MADE/small" > "$CLIMB_OUTPUT_N"
      params: {times: "${params.times}"}
      inputs: {made: {type: text}}
      outputs: {x: text, n: text}
      pass_env: [LD_PRELOAD, CLIMB_FAULTS]
  counted:
    uses: command
    needs: {made: made}
    with:
      run: cat "$CLIMB_INPUT_MADE"/* | wc -c | cat > "$CLIMB_OUTPUT_X"
      params: {times: "${params.times}"}
      inputs: {made: {type: text}}
      outputs: {x: text}
      pass_env: [LD_PRELOAD, CLIMB_FAULTS]
"#;

/// A folder with [`WORKFLOW`].
pub fn small() -> Workspace {
    let workspace = Workspace::empty();
    workspace.write("faults.yaml", WORKFLOW);
    workspace
}

/// What the layer is to do. The numbers are those of `interpose.c`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Plan {
    /// Nothing.
    Pass,
    /// Write every change to `changes.log`.
    Log,
    Fail {
        /// Which change, from 1.
        at: usize,
        error: i32,
        how: How,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum How {
    Once = 0,
    /// Everything after it fails too.
    Sticky = 1,
    /// Half of a write is done before it fails.
    Short = 2,
}

/// What the layer saw.
pub struct Seen {
    pub changes: usize,
    /// The file of the first change that failed.
    pub failed: Option<String>,
}

const PATH_BYTES: usize = 1024;

/// Tasks that all read one folder, large files and small, and can run at once.
pub fn several() -> Workspace {
    let mut yaml = String::from(
        r#"
stages:
  made:
    uses: command
    with:
      run: |
        mkdir "$CLIMB_OUTPUT_MADE"
        for i in $(seq 12); do
          echo small $i > "$CLIMB_OUTPUT_MADE/small$i"
          seq $i 2000 | cat > "$CLIMB_OUTPUT_MADE/large$i"
        done
      outputs: {made: text}
      pass_env: [LD_PRELOAD, CLIMB_FAULTS]
"#,
    );
    for i in 1..5 {
        yaml += &format!(
            r#"  read{i}:
    uses: command
    needs: {{made: made}}
    with:
      run: cat "$CLIMB_INPUT_MADE"/* | tail -n {i}00 | cat > "$CLIMB_OUTPUT_X"
      inputs: {{made: {{type: text}}}}
      outputs: {{x: text}}
      pass_env: [LD_PRELOAD, CLIMB_FAULTS]
"#
        );
    }
    let workspace = Workspace::empty();
    workspace.write("several.yaml", yaml);
    workspace
}

/// Runs climb with the layer, which does as planned.
pub fn climb(workspace: &Workspace, plan: Plan, args: &[&str]) -> (Ran, Seen) {
    let command = command(workspace, plan, args);
    let ran = bounded(command, workspace, &format!("{plan:?}"));
    let control = std::fs::read(workspace.path(CONTROL));
    (ran, seen(&control.expect("the control file")))
}

const CONTROL: &str = "faults.ctl";

/// Climb with the layer, which will do as planned.
pub fn command(workspace: &Workspace, plan: Plan, args: &[&str]) -> Command {
    let (at, error, mode) = match plan {
        Plan::Pass => (0, 0, 0),
        Plan::Log => (0, 0, 4),
        Plan::Fail { at, error, how } => (at as i64, error, how as i32),
    };
    let mut control = Vec::new();
    control.extend_from_slice(&at.to_ne_bytes());
    control.extend_from_slice(&error.to_ne_bytes());
    control.extend_from_slice(&mode.to_ne_bytes());
    control.resize(control.len() + 8 + 4 + PATH_BYTES + 4, 0);
    workspace.write(CONTROL, control);
    let mut command = workspace.command(args);
    command.env("LD_PRELOAD", library());
    command.env("CLIMB_FAULTS", "./faults.ctl");
    command
}

fn seen(control: &[u8]) -> Seen {
    let changes = i64::from_ne_bytes(control[16..24].try_into().expect("8 bytes"));
    let hit = i32::from_ne_bytes(control[24..28].try_into().expect("4 bytes"));
    let path = control[28..].split(|&byte| byte == 0).next();
    let path = String::from_utf8_lossy(path.expect("a piece")).into_owned();
    Seen {
        changes: changes as usize,
        failed: (hit != 0).then_some(path),
    }
}

/// A run that must end by itself: a fault may make a library wait for ever.
pub fn bounded(mut command: Command, workspace: &Workspace, what: &str) -> Ran {
    let file = |name| std::fs::File::create(workspace.path(name)).expect("made");
    command.stdout(file("stdout")).stderr(file("stderr"));
    let mut child = command.spawn().expect("climb starts");
    let deadline = Instant::now() + Duration::from_secs(180);
    let status = loop {
        if let Some(status) = child.try_wait().expect("waited") {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().expect("killed");
            panic!("{what}: it hangs\n{}", workspace.read("stderr"));
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let text = |name| {
        let bytes = std::fs::read(workspace.path(name)).expect("readable");
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ran {
        code: status.code(),
        stdout: text("stdout"),
        stderr: text("stderr"),
    }
}

/// The layer, compiled once.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/interpose.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let library = folder.join("libclimbfaults.so");
        let new = folder.join(format!("libclimbfaults-{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .args([&new, &source])
            .status();
        assert!(compiled.expect("cc is there").success());
        std::fs::rename(&new, &library).expect("renamed");
        library
    })
}
