//! Running the program.

use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::arguments::arguments;
use super::environment::{self, Told, variable_name};
use super::params::{CommandParams, Run};
use super::programs::{self, weight};
use crate::context::{Cancelled, TaskContext};

pub(super) fn run(params: &CommandParams, cx: &TaskContext) -> anyhow::Result<()> {
    let line = command_line(params, cx)?;
    let told = environment::tell(params, cx, size(&line))?;
    for name in &told.left_out {
        eprintln!("climb: {}", left_out(name));
    }
    let program = line[0].to_string_lossy().into_owned();
    let child = prepare(&line, &told, cx)?.spawn();
    let child = child.with_context(|| cannot_start(params, cx, &program))?;
    let status = wait(child, cx, &program)?;
    let end = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("`{program}` died of signal {signal}"),
        (None, Some(0)) => return check_outputs(params, cx, &program),
        (None, code) => format!("`{program}` failed with exit code {}", code.unwrap_or(-1)),
    };
    match &told.left_out[..] {
        [] => bail!("{end}"),
        [name, ..] => bail!("{end}; {}", left_out(name)),
    }
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

fn prepare(line: &[OsString], told: &Told, cx: &TaskContext) -> anyhow::Result<Command> {
    let log = File::from(std::os::fd::AsFd::as_fd(&std::io::stderr()).try_clone_to_owned()?);
    let mut command = Command::new(&line[0]);
    command
        .args(&line[1..])
        .current_dir(&cx.base_dir)
        .env_clear()
        .envs(&told.variables)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // SAFETY: prctl is async-signal-safe. If we are killed, so is the program.
    unsafe {
        command.pre_exec(|| {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            Ok(())
        });
    }
    Ok(command)
}

fn cannot_start(params: &CommandParams, cx: &TaskContext, program: &str) -> String {
    let mut text = format!("cannot start `{program}`");
    if programs::find(params, program, &cx.base_dir).is_none() {
        text.push_str(match program.contains('/') {
            true => ": there is no such program in the workflow's folder",
            false => ": it is nowhere on the PATH",
        });
    }
    text
}

fn check_outputs(params: &CommandParams, cx: &TaskContext, program: &str) -> anyhow::Result<()> {
    for name in params.outputs.keys() {
        if !cx.output(name).exists() {
            bail!(
                "`{program}` ended well but wrote no output `{name}`: \
                 it was to be a file or folder at $CLIMB_OUTPUT_{}",
                variable_name(name)
            );
        }
    }
    Ok(())
}

/// Waits; on an interrupt asks the program to end (SIGTERM) and gives it a while to save.
fn wait(mut child: Child, cx: &TaskContext, program: &str) -> anyhow::Result<ExitStatus> {
    const GRACE: Duration = Duration::from_secs(20);
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
