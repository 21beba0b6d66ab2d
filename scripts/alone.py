"""Every crate of the workspace must build by itself, with the features that it asks for: beside the
others it also gets theirs, and what it forgot does not show."""

import json
import subprocess
import sys

metadata = subprocess.check_output(["cargo", "metadata", "--no-deps", "--format-version", "1"])
for package in json.loads(metadata)["packages"]:
    name = package["name"]
    check = ["cargo", "check", "--release", "--quiet", "--package", name, "--all-targets"]
    if subprocess.call(check) != 0:
        sys.exit(f"{name} does not build by itself: `{' '.join(check)}`")
