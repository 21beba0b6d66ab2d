//! A folder of its own for each test, and what a run in it did.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::Value;
use walkdir::WalkDir;

/// A temporary folder with a workflow, a corpus and a cache.
pub struct Workspace {
    dir: tempfile::TempDir,
    /// Climb runs as a user who may not do everything.
    plain: bool,
}

/// `nobody`, whom the kernel itself names so.
const PLAIN_USER: u32 = 65534;

impl Workspace {
    pub fn empty() -> Workspace {
        Workspace {
            dir: tempfile::tempdir().expect("a temporary folder"),
            plain: false,
        }
    }

    /// The small workflow beside a small corpus: this project's own prose and code.
    pub fn small() -> Workspace {
        let workspace = Workspace::empty();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        for (folder, ending) in [
            ("engine", "rs"),
            ("stages/src/formats", "rs"),
            ("docs", "md"),
            ("tests", "yaml"),
        ] {
            let files = WalkDir::new(root.join(folder)).sort_by_file_name();
            let files = files
                .into_iter()
                .map(|entry| entry.expect("readable").into_path());
            for file in files.filter(|f| f.extension().is_some_and(|e| e == ending)) {
                let name = file.strip_prefix(root).expect("below the root");
                workspace.copy(&file, &Path::new("corpus").join(name));
            }
        }
        workspace.copy(&root.join("tests/data/small.yaml"), Path::new("small.yaml"));
        workspace
    }

    /// [`Workspace::small`] after one whole run. The run happens once for all tests.
    pub fn warm() -> Workspace {
        static WARM: OnceLock<Workspace> = OnceLock::new();
        let warm = WARM.get_or_init(|| {
            let workspace = Workspace::small();
            let run = workspace.climb(&["run", "small.yaml"]);
            assert!(run.ok(), "the first run failed:\n{}", run.stderr);
            workspace
        });
        Workspace::copy_of(warm)
    }

    #[allow(dead_code)] // shared with tests that have no use for it
    /// From here on climb is run by a plain user, to whom all of this belongs. Where the tests are
    /// run by one, nothing changes. `None`: root cannot become one here, or he cannot run climb.
    pub fn for_plain_user(mut self) -> Option<Workspace> {
        // SAFETY: a plain system call.
        if unsafe { libc::geteuid() } != 0 {
            return Some(self);
        }
        self.plain = true;
        let root = self.dir.path();
        let given = Command::new("chown")
            .args(["-R", &format!("{PLAIN_USER}:{PLAIN_USER}")])
            .arg(root)
            .status();
        assert!(given.expect("chown runs").success());
        let works = self.command(&["--version"]).output();
        let works = works.is_ok_and(|output| output.status.success());
        if !works {
            eprintln!("skipped: a plain user cannot run climb here");
        }
        works.then_some(self)
    }

    pub fn copy_of(other: &Workspace) -> Workspace {
        let mut workspace = Workspace::empty();
        workspace.plain = other.plain;
        // `cp -a` keeps times, so that the stat cache and the objects' marks stay good.
        let from = format!("{}/.", other.path("").display());
        let copied = Command::new("cp")
            .args(["-a", &from])
            .arg(workspace.path(""))
            .status();
        assert!(copied.expect("cp runs").success());
        workspace
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        std::fs::write(&path, text).expect("written");
        if self.plain {
            std::os::unix::fs::chown(&path, Some(PLAIN_USER), Some(PLAIN_USER)).expect("given");
        }
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("readable")
    }

    fn copy(&self, from: &Path, to: &Path) {
        self.write(
            &to.to_string_lossy(),
            std::fs::read(from).expect("readable"),
        );
    }

    /// The binary, to be run in this folder.
    pub fn command(&self, args: &[&str]) -> Command {
        let climb = env!("CARGO_BIN_EXE_climb");
        let mut command = match self.plain {
            false => Command::new(climb),
            true => {
                let mut command = Command::new("setpriv");
                let user = [
                    format!("--reuid={PLAIN_USER}"),
                    format!("--regid={PLAIN_USER}"),
                ];
                command.args(user).args(["--clear-groups", climb]);
                command
            }
        };
        command.args(args).current_dir(self.dir.path());
        command.env_remove("CLIMB_CACHE").env("NO_COLOR", "1");
        command
    }

    /// The binary, to be run in this folder by a user who may not do everything, as root may.
    pub fn plain(&self, args: &[&str]) -> Command {
        // SAFETY: a plain system call.
        if unsafe { libc::geteuid() } != 0 {
            return self.command(args);
        }
        let owned = Command::new("chown")
            .args(["-R", "65534:65534"])
            .arg(self.dir.path())
            .status();
        assert!(owned.expect("chown runs").success());
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_climb")).args(args);
        command.current_dir(self.dir.path()).env("HOME", "/tmp");
        command.env_remove("CLIMB_CACHE").env("NO_COLOR", "1");
        command
    }

    pub fn climb(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().expect("climb starts"))
    }

    /// [`Workspace::climb`] as a user who owns nothing here, and may read everything. Tests run as
    /// root that becomes another; elsewhere the cache is made read-only by its owner.
    pub fn climb_as_a_stranger(&self, args: &[&str]) -> Ran {
        let here = self.path("");
        let run = |program: &str, args: &[&str]| {
            let done = Command::new(program).args(args).arg(&here).status();
            assert!(done.expect("it starts").success(), "{program} {args:?}");
        };
        run("chmod", &["-R", "a+rX"]);
        let command = self.command(args);
        // SAFETY: it only asks.
        if unsafe { libc::geteuid() } != 0 {
            run("chmod", &["-R", "a-w"]);
            let ran = Ran::from({ command }.output().expect("climb starts"));
            run("chmod", &["-R", "u+w"]);
            return ran;
        }
        let mut stranger = Command::new("setpriv");
        stranger.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        stranger.arg(command.get_program()).args(command.get_args());
        stranger.current_dir(&here);
        stranger.env_remove("CLIMB_CACHE").env("NO_COLOR", "1");
        Ran::from(stranger.output().expect("setpriv starts"))
    }

    /// The folder of the only run.
    pub fn only_run(&self) -> PathBuf {
        let runs = std::fs::read_dir(self.path(".climb/runs")).expect("runs");
        let mut runs: Vec<PathBuf> = runs.map(|e| e.expect("entry").path()).collect();
        assert_eq!(runs.len(), 1, "{runs:?}");
        runs.pop().expect("one")
    }

    /// Every file and folder below `name`, with what is in it; but not who has the cache open.
    pub fn contents(&self, name: &str) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
        let entries = WalkDir::new(self.path(name)).into_iter();
        let entries = entries.map(|entry| entry.expect("readable").into_path());
        let entries = entries.filter(|path| !path.ends_with("lock"));
        entries
            .map(|path| {
                let bytes = std::fs::read(&path).ok();
                (path, bytes)
            })
            .collect()
    }

    /// Runs `small.yaml` with these extra arguments and counts what was done.
    pub fn run_small(&self, extra: &[&str]) -> Counts {
        let mut args = vec!["run", "small.yaml", "--json"];
        args.extend(extra);
        let run = self.climb(&args);
        assert!(run.ok(), "the run failed:\n{}\n{}", run.stdout, run.stderr);
        Counts::of(&run.stdout)
    }

    /// The digest of every artifact of the latest run: task and port -> artifact.
    pub fn artifacts(&self) -> BTreeMap<String, Value> {
        let runs = self.path(".climb/runs");
        let mut runs: Vec<PathBuf> = std::fs::read_dir(runs)
            .expect("runs")
            .map(|e| e.expect("entry").path())
            .collect();
        runs.sort();
        let result = std::fs::read(runs.last().expect("a run").join("result.json"));
        let result: Value = serde_json::from_slice(&result.expect("a result")).expect("JSON");
        let mut artifacts = BTreeMap::new();
        for stage in result["stages"].as_array().expect("stages") {
            for task in stage["tasks"].as_array().expect("tasks") {
                for (port, artifact) in task["outputs"].as_object().expect("outputs") {
                    let name = format!("{}.{port}", task["name"].as_str().expect("a name"));
                    artifacts.insert(name, artifact.clone());
                }
            }
        }
        artifacts
    }
}

/// How a command ended and what it said.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn ok(&self) -> bool {
        self.code == Some(0)
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The tasks of a run by what became of them, from its `--json` events.
#[derive(Debug, Default, PartialEq)]
pub struct Counts {
    /// Tasks that were really executed.
    pub ran: BTreeSet<String>,
    pub cached: BTreeSet<String>,
    /// The keys of the executed ones.
    pub keys: Vec<String>,
}

impl Counts {
    pub fn of(events: &str) -> Counts {
        let mut counts = Counts::default();
        for line in events.lines() {
            let Ok(event) = serde_json::from_str::<Value>(line) else {
                continue;
            };
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_string();
            match event["event"].as_str() {
                Some("task_finished") => {
                    counts.ran.insert(text("task"));
                    counts.keys.push(text("key"));
                }
                Some("task_cached") => _ = counts.cached.insert(text("task")),
                _ => {}
            }
        }
        counts
    }

    /// How many tasks of this stage (`search[1].train`) were executed.
    pub fn ran_of(&self, stage: &str) -> usize {
        self.ran
            .iter()
            .filter(|t| *t == stage || t.starts_with(&format!("{stage}[")))
            .count()
    }
}
