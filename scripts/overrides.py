"""Libraries of the user's own, named by environment variables, instead of those in .deps/.

The same variables win at build time: cargo's [env] table in .cargo/config.toml yields to them.
"""

import os
import subprocess

from terminal import SetupError


def own_folders(environ, deps):
    """Which folders of `deps` are not needed, and because of what: {folder: "VARIABLE=value"}.

    A variable that points at `deps` itself changes nothing. One that points nowhere is an error
    here, which is easier to read than the compiler's.
    """
    own = {}
    if "LIBTORCH_USE_PYTORCH" in environ:  # any value: torch-sys only looks whether it is set
        own["libtorch"] = "LIBTORCH_USE_PYTORCH={}, PyTorch {}".format(
            environ["LIBTORCH_USE_PYTORCH"], _pytorch_version(environ)
        )
    elif _set(environ, "LIBTORCH", deps):
        _check(environ, "LIBTORCH", "include/torch", "lib/libtorch_cpu.so")
        own["libtorch"] = "LIBTORCH=" + environ["LIBTORCH"]
    if _set(environ, "XGBOOST_LIB_DIR", deps):
        _check(environ, "XGBOOST_LIB_DIR", "libxgboost.so")
        own["xgboost"] = "XGBOOST_LIB_DIR=" + environ["XGBOOST_LIB_DIR"]
    if _set(environ, "LIBCLANG_PATH", deps):
        _check(environ, "LIBCLANG_PATH", "")
        own["libclang"] = "LIBCLANG_PATH=" + environ["LIBCLANG_PATH"]
    return own


def _set(environ, variable, deps):
    value = environ.get(variable)
    if value is None:
        return False
    inside = os.path.realpath(deps) + os.sep
    return not os.path.realpath(value).startswith(inside)


def _check(environ, variable, *wanted):
    value = environ[variable]
    if not os.path.isabs(value):
        raise SetupError(
            "{}={} must be an absolute path: crates are built in folders of their own\n"
            "  (unset it to use .deps/)".format(variable, value)
        )
    for name in wanted:
        path = os.path.join(value, name)
        if not os.path.exists(path):
            raise SetupError("{}={}: there is no {}\n  (unset it to use .deps/)".format(variable, value, path))


def _pytorch_version(environ):
    """Version of the PyTorch that torch-sys will ask, found as torch-sys finds its Python."""
    python = "python" if "VIRTUAL_ENV" in environ else "python3"
    ask = "from importlib.metadata import version; print(version('torch'))"
    try:
        asked = subprocess.run([python, "-c", ask], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                               universal_newlines=True)
    except OSError:
        asked = None
    if asked is None or asked.returncode != 0:
        raise SetupError(
            "LIBTORCH_USE_PYTORCH is set, but `{}` has no PyTorch\n"
            "  Install it there (pip install torch==2.11.0), or unset LIBTORCH_USE_PYTORCH to use .deps/.".format(python)
        )
    return asked.stdout.strip()
