#!/usr/bin/env python3
"""Unpacks the sources of climb's dependencies into .deps/corpus, the quickstart's text.

`cargo vendor` decides by Cargo.lock alone what is there, so it is the same on every machine: prose,
code, licences, change logs and data of several hundred crates. Done once for each Cargo.lock.
"""

import sys

sys.dont_write_bytecode = True

import hashlib
import os
import shutil
import subprocess

from terminal import Progress, SetupError, run

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CORPUS = os.path.join(ROOT, ".deps", "corpus")
STAMP = os.path.join(ROOT, ".deps", "stamps", "corpus")


def main():
    with open(os.path.join(ROOT, "Cargo.lock"), "rb") as file:
        lock = file.read()
    digest = hashlib.sha256(lock).hexdigest()
    if os.path.isdir(CORPUS) and os.path.exists(STAMP):
        with open(STAMP) as file:
            if file.read() == digest:
                return
    making = CORPUS + ".making"
    shutil.rmtree(making, ignore_errors=True)
    os.makedirs(os.path.dirname(STAMP), exist_ok=True)
    vendor(making, lock.count(b"\nsource = "))
    if os.path.exists(STAMP):
        os.remove(STAMP)
    shutil.rmtree(CORPUS, ignore_errors=True)
    os.rename(making, CORPUS)
    with open(STAMP, "w") as file:
        file.write(digest)


def vendor(folder, crates):
    """Runs `cargo vendor` into `folder`, showing how many of the `crates` are there."""
    progress = Progress("corpus: sources of our crates", crates, str)
    command = ["cargo", "vendor", "--locked", "--versioned-dirs", folder]
    # Its standard output is advice for .cargo/config.toml, which is not what the sources are for.
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                               universal_newlines=True, errors="replace")
    done, said = 0, []
    try:
        for line in process.stderr:
            if line.strip().startswith("Vendoring "):
                done += 1
                progress.update(done)
            else:
                said.append("  | " + line)
        process.wait()
    except BaseException:
        process.terminate()
        progress.abandon()
        raise
    if process.returncode != 0:
        progress.abandon()
        raise SetupError("`{}` failed:\n{}".format(" ".join(command[:4]), "".join(said[-12:]).rstrip()))
    progress.finish("unpacked {} crates into .deps/corpus".format(len(os.listdir(folder))))


if __name__ == "__main__":
    run(main)
