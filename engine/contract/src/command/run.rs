//! Running the program.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
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
    /// As it is called.
    pub name: String,
    /// Where it was found, or its name.
    program: OsString,
    line: Vec<OsString>,
    pub variables: BTreeMap<String, OsString>,
    folder: PathBuf,
    log: File,
    /// Variables that are too long to be set.
    left_out: Vec<String>,
    outputs: Vec<String>,
    /// Why it could not be started, as far as that can be told.
    missing: &'static str,
}

/// How often a program is tried again that some other child, about to start, still has open for writing.
const BUSY: usize = 20;

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
        // Looked up here: were it left to the child, our whole process would be copied for that.
        let found = programs::find(params, &name, &cx.base_dir);
        Ok(Foreign {
            missing: match found {
                Some(_) => "",
                None if name.contains('/') => ": there is no such program in the workflow's folder",
                None => ": it is nowhere on the PATH",
            },
            program: found.map_or(line[0].clone(), PathBuf::into_os_string),
            variables: told.variables,
            left_out: told.left_out,
            outputs: params.outputs.keys().cloned().collect(),
            folder: cx.base_dir.clone(),
            name,
            line,
            log,
        })
    }

    /// Starts it. `set` says more of its process.
    pub fn spawn(&self, set: &dyn Fn(&mut Command)) -> io::Result<Child> {
        let mut own = Command::new(&self.program);
        own.arg0(&self.line[0]);
        let mut tries = 0..BUSY;
        loop {
            match self.spawn_as(&mut own, set) {
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    tries.next().ok_or(error)?;
                    std::thread::sleep(Duration::from_millis(5));
                }
                // A script that does not say by whom it is to be run: the shell's, as everywhere.
                Err(error) if error.raw_os_error() == Some(libc::ENOEXEC) => {
                    return self.spawn_as(Command::new("/bin/sh").arg(&self.program), set);
                }
                other => return other,
            }
        }
    }

    fn spawn_as(&self, command: &mut Command, set: &dyn Fn(&mut Command)) -> io::Result<Child> {
        if command.get_current_dir().is_none() {
            command
                .args(&self.line[1..])
                .current_dir(&self.folder)
                .env_clear()
                .envs(&self.variables)
                .stdin(Stdio::null());
            set(command);
        }
        let (stdout, stderr) = (self.log.try_clone()?, self.log.try_clone()?);
        command.stdout(stdout).stderr(stderr).spawn()
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
    let foreign = Foreign::prepare(params, cx, log)?;
    let child = foreign.spawn(&|command| {
        // SAFETY: prctl is async-signal-safe. If we are killed, so is the program.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
    });
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
