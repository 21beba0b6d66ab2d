//! Running the program.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::bail;

use super::arguments::arguments;
use super::environment::{self, variable_name};
use super::params::{CommandParams, Run};
use super::programs::{self, weight};
use crate::context::{Cancelled, TaskContext};

/// The program of a task, ready to be started in the workflow's folder.
pub struct Foreign {
    pub command: Command,
    /// As it is called.
    pub name: String,
    /// Variables that are too long to be set.
    left_out: Vec<String>,
    outputs: Vec<String>,
    /// Why it could not be started, as far as that can be told.
    missing: &'static str,
}

impl Foreign {
    /// Writes the files that the program may read. What it says goes to `log`.
    pub(super) fn prepare(
        params: &CommandParams,
        cx: &TaskContext,
        mut log: File,
    ) -> anyhow::Result<Foreign> {
        let line = command_line(params, cx)?;
        let told = environment::tell(params, cx, size(&line))?;
        for name in &told.left_out {
            let _ = writeln!(log, "climb: {}", left_out(name));
        }
        let name = line[0].to_string_lossy().into_owned();
        let found = programs::find(params, &name, &cx.base_dir);
        // Looked up here: were it left to the child, our whole process would be copied for that.
        let program = found
            .as_ref()
            .map_or(OsStr::new(&line[0]), |path| path.as_os_str());
        let mut command = Command::new(program);
        command
            .arg0(&line[0])
            .args(&line[1..])
            .current_dir(&cx.base_dir)
            .env_clear()
            .envs(&told.variables)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(Foreign {
            command,
            left_out: told.left_out,
            outputs: params.outputs.keys().cloned().collect(),
            missing: match found {
                Some(_) => "",
                None if name.contains('/') => ": there is no such program in the workflow's folder",
                None => ": it is nowhere on the PATH",
            },
            name,
        })
    }

    pub fn cannot_start(&self, error: std::io::Error) -> anyhow::Error {
        anyhow::Error::new(error).context(format!("cannot start `{}`{}", self.name, self.missing))
    }

    /// Whether it did what it was to do.
    pub fn judge(&self, status: ExitStatus, cx: &TaskContext) -> anyhow::Result<()> {
        let end = match (status.signal(), status.code()) {
            (Some(signal), _) => format!("`{}` died of signal {signal}", self.name),
            (None, Some(0)) => return self.check_outputs(cx),
            (None, code) => format!(
                "`{}` failed with exit code {}",
                self.name,
                code.unwrap_or(-1)
            ),
        };
        match &self.left_out[..] {
            [] => bail!("{end}"),
            [name, ..] => bail!("{end}; {}", left_out(name)),
        }
    }

    fn check_outputs(&self, cx: &TaskContext) -> anyhow::Result<()> {
        for name in &self.outputs {
            if !cx.output(name).exists() {
                bail!(
                    "`{}` ended well but wrote no output `{name}`: \
                     it was to be a file or folder at $CLIMB_OUTPUT_{}",
                    self.name,
                    variable_name(name)
                );
            }
        }
        Ok(())
    }
}

/// Runs the program from a process that does nothing else.
pub(super) fn run(params: &CommandParams, cx: &TaskContext) -> anyhow::Result<()> {
    let log = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    let mut foreign = Foreign::prepare(params, cx, log)?;
    // SAFETY: prctl is async-signal-safe. If we are killed, so is the program.
    unsafe {
        foreign.command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    let child = foreign.command.spawn();
    let child = child.map_err(|error| foreign.cannot_start(error))?;
    let status = wait(child, cx, &foreign.name)?;
    foreign.judge(status, cx)
}

/// The program and its arguments.
fn command_line(params: &CommandParams, cx: &TaskContext) -> anyhow::Result<Vec<OsString>> {
    let line = match &params.run {
        Run::Shell(line) => ["sh", "-eu", "-c", line].map(OsString::from).to_vec(),
        Run::Arguments(list) => arguments(list, params, cx)?,
    };
    if line.is_empty() {
        bail!("no program to run");
    }
    if size(&line) > environment::room() {
        bail!(
            "its arguments ({}) take {} bytes, and the system takes at most {}: instead of \
             `{{input.NAME}}` use `{{file.input.NAME}}`, the file that has a path a line",
            line.len(),
            size(&line),
            environment::room()
        );
    }
    Ok(line)
}

fn size(line: &[OsString]) -> usize {
    line.iter().map(|arg| weight(arg, "".as_ref())).sum()
}

/// What to say of a variable that is too long to be set.
fn left_out(name: &str) -> String {
    let file = name.replacen("CLIMB_", "CLIMB_FILE_", 1);
    format!(
        "${name} is not set, as its value is longer than the system takes: it is in the file ${file}"
    )
}

/// How long a program may take to end after SIGTERM.
pub const GRACE: Duration = Duration::from_secs(20);

/// Waits; on an interrupt asks the program to end (SIGTERM) and gives it a while to save.
fn wait(mut child: Child, cx: &TaskContext, program: &str) -> anyhow::Result<ExitStatus> {
    let mut told: Option<Instant> = None;
    let mut killed = false;
    loop {
        if let Some(status) = child.try_wait()? {
            // Whoever told us may have told it too.
            let cancelled = status.signal().is_some() && cx.check_cancelled().is_err();
            return if told.is_some() || cancelled {
                Err(Cancelled.into())
            } else {
                Ok(status)
            };
        }
        if cx.check_cancelled().is_err() {
            match told {
                None => {
                    told = Some(Instant::now());
                    // SAFETY: a plain system call on a child not waited for yet.
                    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
                }
                Some(at) if at.elapsed() > GRACE && !killed => {
                    killed = true;
                    cx.warn(format!(
                        "`{program}` did not stop within {} s of SIGTERM and was killed",
                        GRACE.as_secs()
                    ));
                    child.kill()?;
                }
                Some(_) => {}
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
