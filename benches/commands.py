#!/usr/bin/env python3
"""CPU seconds of trivial commands, beside ninja, Snakemake and redun, in one run.

    python3 benches/commands.py target/release/climb [--tasks 1000] [--jobs 2] [--peers ninja,snakemake,redun]

Peers are installed by pip into a virtual environment, build/peers beside this file's checkout or --venv.
Every tool runs the same N commands, `echo I > out/I`, from nothing; then once more with nothing to do.
Printed: CPU seconds (user + system, of the tool and all its processes), wall seconds, and the ratio
of CPU to ninja's. Figures of one run on a noisy machine: the ratios are what counts.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

PACKAGES = {"ninja": "ninja", "snakemake": "snakemake", "redun": "redun"}


def climb(folder, tasks):
    lines = ["stages:"]
    for i in range(tasks):
        lines.append(f"  s{i}: {{uses: command, with: {{run: 'echo {i} > $CLIMB_OUTPUT_O', outputs: {{o: text}}}}}}")
    (folder / "w.yaml").write_text("\n".join(lines) + "\n")


def ninja(folder, tasks):
    lines = ["rule r", "  command = echo $i > $out"]
    for i in range(tasks):
        lines += [f"build out/{i}: r", f"  i = {i}"]
    (folder / "build.ninja").write_text("\n".join(lines) + "\n")


def snakemake(folder, tasks):
    (folder / "Snakefile").write_text(
        f"N = {tasks}\nrule all:\n    input: expand('out/{{i}}', i=range(N))\n"
        "rule one:\n    output: 'out/{i}'\n    shell: 'echo {wildcards.i} > {output}'\n"
    )


def redun(folder, tasks):
    (folder / "w.py").write_text(
        "from redun import task\nredun_namespace = 'b'\n"
        "@task(script=True)\ndef one(i):\n    return f'echo {i}'\n"
        f"@task()\ndef main():\n    return [one(i) for i in range({tasks})]\n"
    )


def commands(binary, bin, jobs):
    return {
        "climb": (climb, [binary, "run", "w.yaml", "--jobs", str(jobs)]),
        "ninja": (ninja, [bin / "ninja", "-j", str(jobs), "--quiet"]),
        "snakemake": (snakemake, [bin / "snakemake", "-c", str(jobs), "-q"]),
        "redun": (redun, [bin / "redun", "run", "w.py", "main"]),
    }


def measure(command, folder):
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ran = subprocess.run([str(c) for c in command], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ran.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{ran.stderr.decode()[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("climb", type=Path)
    arguments.add_argument("--tasks", type=int, default=1000)
    arguments.add_argument("--jobs", type=int, default=os.cpu_count())
    arguments.add_argument("--peers", default="ninja,snakemake,redun")
    arguments.add_argument("--venv", type=Path, default=Path(tempfile.gettempdir()) / "climb-peers")
    arguments = arguments.parse_args()
    peers = [peer for peer in arguments.peers.split(",") if peer]
    bin = arguments.venv / "bin"
    missing = [PACKAGES[peer] for peer in peers if not (bin / peer).exists()]
    if missing:
        if not bin.exists():
            venv.create(arguments.venv, with_pip=True)
        subprocess.run([bin / "pip", "install", "-q", *missing], check=True)
    figures = {}
    all = commands(arguments.climb.resolve(), bin.resolve(), arguments.jobs)
    for tool in ["climb", *peers]:
        write, command = all[tool]
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            write(folder, arguments.tasks)
            figures[tool] = measure(command, folder), measure(command, folder)
    base = figures.get("ninja", figures["climb"])
    print(f"{arguments.tasks} commands, {arguments.jobs} at once; ratios of CPU seconds to {'ninja' if 'ninja' in figures else 'climb'}")
    for tool, both in figures.items():
        cells = [
            f"{cpu:8.2f} s CPU {wall:7.2f} s wall {cpu / max(of[0], 1e-3):8.1f} x"
            for (cpu, wall), of in zip(both, base)
        ]
        print(f"{tool:<10} from nothing {cells[0]}   nothing to do {cells[1]}")


if __name__ == "__main__":
    main()
