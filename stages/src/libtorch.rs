//! Where libtorch is, without linking it: climb tells its worker.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The version whose C++ interface the worker was built for.
pub const WANTED: &str = "2.11";

/// A libtorch that the worker can run with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Libtorch {
    /// The folder of `libtorch_cpu.so`.
    pub folder: PathBuf,
    /// `2.11.0+cpu`
    pub version: String,
    /// What it was found by, for people.
    pub by: String,
}

impl Libtorch {
    fn has_cuda(&self) -> bool {
        self.folder.join("libtorch_cuda.so").is_file()
    }
}

/// The one of `LIBTORCH`; else of `.deps` above this program or of the active Python, the one with CUDA
/// where there is a GPU, in this order. `Err`: why there is none, and what to do.
pub fn find() -> Result<&'static Libtorch, &'static str> {
    static FOUND: OnceLock<Result<Libtorch, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let set = std::env::var_os("LIBTORCH").map(PathBuf::from);
        let program = std::env::current_exe().unwrap_or_default();
        search(set.as_deref(), &program, &active_python, has_nvidia())
    });
    found.as_ref().map_err(String::as_str)
}

/// `libtorch 2.11.0+cpu`, for the record of what a task was made with.
pub fn name() -> Option<String> {
    let found = find().ok()?;
    Some(format!("libtorch {}", found.version))
}

/// Whether the system has NVIDIA's driver, so that it is worth asking for GPUs.
pub fn has_nvidia() -> bool {
    let signs = [
        "/dev/nvidiactl",
        "/dev/nvidia0",
        "/dev/dxg",
        "/proc/driver/nvidia/version",
    ];
    signs.iter().any(|path| Path::new(path).exists())
}

fn search(
    set: Option<&Path>,
    program: &Path,
    python: &dyn Fn() -> Option<PathBuf>,
    wants_cuda: bool,
) -> Result<Libtorch, String> {
    if let Some(set) = set {
        let found = at(set, "LIBTORCH").ok_or_else(|| {
            format!(
                "LIBTORCH is {}, where there is no lib/libtorch_cpu.so: unset it, or set it to a \
                 PyTorch's `torch` folder",
                set.display()
            )
        })?;
        return fitting(found);
    }
    // target/release/deps/x is the deepest that a program of a checkout lies.
    let above = program.ancestors().skip(1).take(4);
    let beside = above.map(|folder| folder.join(".deps/libtorch"));
    let beside = beside.filter_map(|folder| at(&folder, ".deps")).next();
    let beside = beside.map(fitting);
    if let Some(Ok(found)) = &beside
        && (!wants_cuda || found.has_cuda())
    {
        return Ok(found.clone());
    }
    let python = python().and_then(|folder| at(&folder, "the active Python"));
    let python = python.map(fitting);
    match (beside, python) {
        (_, Some(Ok(found))) if found.has_cuda() => Ok(found),
        (Some(Ok(found)), _) | (_, Some(Ok(found))) => Ok(found),
        (Some(wrong), _) | (None, Some(wrong)) => wrong,
        (None, None) => Err(format!(
            "libtorch is not found: `make deps` fetches it beside climb; or activate a Python that \
             has PyTorch {WANTED} (`pip install torch=={WANTED}.0`); or set LIBTORCH to its `torch` \
             folder"
        )),
    }
}

fn fitting(found: Libtorch) -> Result<Libtorch, String> {
    let fits = found.version == WANTED || found.version.starts_with(&format!("{WANTED}."));
    if fits || std::env::var_os("LIBTORCH_BYPASS_VERSION_CHECK").is_some() {
        return Ok(found);
    }
    Err(format!(
        "the libtorch of {} ({}) is version {}, and climb-torch needs {WANTED}: `pip install \
         torch=={WANTED}.0`, or `make deps` and unset LIBTORCH",
        found.by,
        found.folder.display(),
        found.version
    ))
}

/// Of libtorch's own archive, or of PyTorch's package.
fn at(root: &Path, by: &str) -> Option<Libtorch> {
    let folder = root.join("lib");
    if !folder.join("libtorch_cpu.so").is_file() {
        return None;
    }
    let text = std::fs::read_to_string(root.join("build-version"))
        .or_else(|_| std::fs::read_to_string(root.join("version.py")))
        .unwrap_or_default();
    let version = version(&text);
    Some(Libtorch {
        folder,
        version: if version.is_empty() {
            "of no version"
        } else {
            version
        }
        .into(),
        by: by.into(),
    })
}

/// Of a file that is nothing but it, or of Python that says `__version__ = '…'`.
fn version(text: &str) -> &str {
    let assigned = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.split(':').next()?.trim() == "__version__").then_some(value)
    });
    let quotes = |c: char| c.is_whitespace() || c == '\'' || c == '"';
    assigned.unwrap_or(text).trim_matches(quotes)
}

/// The `torch` folder of the Python that `python3` is, without importing it.
fn active_python() -> Option<PathBuf> {
    const ASK: &str = "import importlib.util as u; s = u.find_spec('torch'); \
                       print(s.submodule_search_locations[0] if s else '')";
    let said = Command::new("python3").args(["-c", ASK]).output().ok()?;
    let folder = String::from_utf8(said.stdout).ok()?;
    let folder = folder.trim();
    (said.status.success() && !folder.is_empty()).then(|| folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn torch(root: &Path, version: &str) {
        std::fs::create_dir_all(root.join("lib")).unwrap();
        std::fs::write(root.join("lib/libtorch_cpu.so"), "").unwrap();
        std::fs::write(
            root.join("version.py"),
            format!("__version__ = '{version}'\n"),
        )
        .unwrap();
    }

    #[test]
    fn a_version_is_read_as_libtorch_and_as_pytorch_write_it() {
        assert_eq!(version("2.11.0+cpu\n"), "2.11.0+cpu");
        let python = "from typing import Optional\n\n__all__ = ['__version__', 'debug', 'cuda']\n\
                      __version__ = '2.11.0+cu130'\ndebug = False\n";
        assert_eq!(version(python), "2.11.0+cu130");
        assert_eq!(version("__version__: str = \"2.12\"\n"), "2.12");
    }

    #[test]
    fn what_is_set_goes_before_what_lies_beside_and_that_before_python() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let python = || Some(root.join("site/torch"));
        let program = root.join("checkout/target/release/climb");
        let none = search(None, &program, &|| None, false).unwrap_err();
        assert!(
            none.contains("make deps") && none.contains("LIBTORCH"),
            "{none}"
        );
        torch(&root.join("site/torch"), "2.11.0+cu130");
        let by = |set: Option<&Path>| search(set, &program, &python, false).map(|found| found.by);
        assert_eq!(by(None).unwrap(), "the active Python");
        torch(&root.join("checkout/.deps/libtorch"), "2.11.0+cpu");
        let found = search(None, &program, &python, false).unwrap();
        assert_eq!(
            (found.by.as_str(), found.version.as_str()),
            (".deps", "2.11.0+cpu")
        );
        // On a machine with a GPU, whichever can use it.
        let cuda = || search(None, &program, &python, true).unwrap().by;
        assert_eq!(cuda(), ".deps");
        std::fs::write(root.join("site/torch/lib/libtorch_cuda.so"), "").unwrap();
        assert_eq!(cuda(), "the active Python");
        assert_eq!(by(None).unwrap(), ".deps");
        torch(&root.join("site/torch"), "2.9.0");
        assert_eq!(cuda(), ".deps");
        torch(&root.join("own"), "2.11.1");
        assert_eq!(by(Some(&root.join("own"))).unwrap(), "LIBTORCH");
        let nothing = by(Some(&root.join("nothing"))).unwrap_err();
        assert!(nothing.contains("no lib/libtorch_cpu.so"), "{nothing}");
        torch(&root.join("own"), "2.10.0");
        let other = by(Some(&root.join("own"))).unwrap_err();
        assert!(
            other.contains("2.10.0") && other.contains("2.11"),
            "{other}"
        );
    }
}
