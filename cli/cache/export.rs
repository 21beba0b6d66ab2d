//! `climb cache export`.

use std::collections::BTreeSet;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use climb_cache::{CacheError, Digest, Packed, RunFiles};
use climb_engine::diagnostic::Diagnostic;
use climb_engine::runs::result::RunResult;
use climb_engine::runs::{self, RunFolder};

use crate::common::{self, CacheArgs, Opened};
use crate::failure::Failure;
use crate::render::text;
use crate::{next, printing, status, story};

/// Write what a run made to one file, to carry to another machine
///
/// The file has the tasks' records, their outputs, and the run's journal and result; with --stage
/// only those stages' records and outputs. `climb cache import` takes it in.
///
/// Examples:
///   climb cache export --output search.climb
///   climb cache export --run 20261124-205116-quickstart --stage embed --output embed.climb
///   climb cache export --output - | ssh gpu climb cache import -
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The run, see `climb runs`; by default the latest
    #[arg(long, value_name = "RUN")]
    run: Option<String>,

    /// Only this stage, e.g. embed or search.train; repeatable
    #[arg(long, value_name = "STAGE")]
    stage: Vec<String>,

    /// The file to write; - for stdout
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,

    #[command(flatten)]
    cache: CacheArgs,
}

pub fn run(args: &Args) -> Result<(), Failure> {
    let dir = &args.cache.cache;
    let id = status::find_run(dir, args.run.as_deref())?;
    let keys = match args.stage.is_empty() {
        true => all_keys(dir, &id)?,
        false => keys_of(&result(dir, &id)?, &args.stage)?,
    };
    let run = args.stage.is_empty().then(|| RunFiles {
        id: id.clone(),
        folder: RunFolder::of(dir, &id).path().to_path_buf(),
    });
    let to_stdout = args.output == Path::new("-");
    if to_stdout && std::io::stdout().is_terminal() {
        let problem = Diagnostic::error("an archive is not for a terminal");
        return Err(problem.help("send it to a file or a pipe").into());
    }
    let cache = common::open_existing_to_read(dir)?;
    let packed = match to_stdout {
        true => export(&cache, &keys, run.as_ref(), std::io::stdout().lock()),
        false => to_file(&cache, &keys, run.as_ref(), &args.output),
    };
    if let Err(CacheError::Io { source, .. }) = &packed
        && to_stdout
        && source.kind() == std::io::ErrorKind::BrokenPipe
    {
        printing::closed();
    }
    let packed = packed?;
    // Not on stdout, which may be the archive.
    eprintln!(
        "exported {}, {} ({}){}",
        text::count(packed.records, "record"),
        text::count(packed.objects, "object"),
        text::bytes(packed.bytes),
        run.map_or(String::new(), |run| format!(", run {}", run.id))
    );
    Ok(())
}

/// All that the run made or used; also of a run that has not come to an end.
fn all_keys(dir: &Path, id: &str) -> Result<BTreeSet<Digest>, Failure> {
    match runs::read(dir, id) {
        Some(run) if run.is_partly_unknown => {
            let damage = run.damage.as_deref().unwrap_or("its journal was cut off");
            let message = format!("not all that run {id} made is known: {damage}");
            let help = "`--stage` exports stages that its result tells of";
            Err(Diagnostic::error(message).help(help).into())
        }
        Some(run) => Ok(run.done),
        None => Err(Failure::Failed(format!(
            "the journal of run {id} cannot be read"
        ))),
    }
}

fn result(dir: &Path, id: &str) -> Result<RunResult, Failure> {
    story::result(dir, id).ok_or_else(|| {
        let message = format!("run {id} has not come to an end");
        let next = runs::read(dir, id).and_then(|run| next::of_earlier(&run, dir));
        let next = next.unwrap_or("`climb status` shows where it is".into());
        let help = format!("{next} Without --stage it can be exported");
        Diagnostic::error(message).help(help).into()
    })
}

fn keys_of(result: &RunResult, stages: &[String]) -> Result<BTreeSet<Digest>, Failure> {
    let mut keys = BTreeSet::new();
    for wanted in stages {
        let named = result.stages.iter();
        let named = named.filter(|s| *s.name == **wanted || s.name.stage() == *wanted);
        let before = keys.len();
        keys.extend(named.flat_map(|stage| &stage.tasks).map(|task| task.key));
        if keys.len() == before {
            let names: BTreeSet<String> = result.stages.iter().map(|s| s.name.stage()).collect();
            let names: Vec<String> = names.into_iter().collect();
            let message = format!(
                "run {} has no finished task of a stage `{wanted}`",
                result.run
            );
            let help = format!("its stages are {}", names.join(", "));
            return Err(Diagnostic::error(message).help(help).into());
        }
    }
    Ok(keys)
}

fn export(
    cache: &Opened,
    keys: &BTreeSet<Digest>,
    run: Option<&RunFiles>,
    out: impl Write,
) -> Result<Packed, CacheError> {
    match cache {
        Opened::Cache(cache) => cache.export(keys, run, out),
        Opened::Look(look, _) => look.export(keys, run, out),
    }
}

/// A file is there whole or not at all.
fn to_file(
    cache: &Opened,
    keys: &BTreeSet<Digest>,
    run: Option<&RunFiles>,
    path: &Path,
) -> Result<Packed, CacheError> {
    let io = |source| CacheError::Io {
        doing: "write",
        path: path.to_path_buf(),
        source,
    };
    // A device or a pipe is written to, never replaced.
    if path.metadata().is_ok_and(|meta| !meta.is_file()) {
        let file = std::fs::OpenOptions::new().write(true).open(path);
        let mut out = BufWriter::new(file.map_err(io)?);
        let packed = export(cache, keys, run, &mut out)?;
        out.flush().map_err(io)?;
        return Ok(packed);
    }
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".part");
    let part = path.with_file_name(name);
    let write = || {
        let file = std::fs::File::create(&part).map_err(io)?;
        let mut out = BufWriter::new(file);
        let packed = export(cache, keys, run, &mut out)?;
        out.flush().map_err(io)?;
        out.get_ref().sync_all().map_err(io)?;
        std::fs::rename(&part, path).map_err(io)?;
        Ok(packed)
    };
    let done = write();
    if done.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    done
}
