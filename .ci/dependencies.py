"""Checks the crates that the library alone depends on, and the Rust version that crates ask for."""

import json
import subprocess
import sys

ALONE = {"bitflags", "cfg-if", "libc", "linux-raw-sys", "nix", "rcap", "rustix", "xattr"}


def cargo(*args):
    return subprocess.run(["cargo", *args], check=True, capture_output=True, text=True).stdout


tree = cargo("tree", "--locked", "-e", "normal", "--no-default-features", "--prefix", "none")
alone = {line.split()[0] for line in tree.splitlines() if line}
if alone != ALONE:
    sys.exit(f"the library alone depends on {sorted(alone)} and not on {sorted(ALONE)}")

metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1"))
packages = {package["name"]: package for package in metadata["packages"]}


def version(text):
    parts = [int(part) for part in (text or "1.0").split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


tree = cargo("tree", "--locked", "-e", "normal", "--prefix", "none")
names = {line.split()[0] for line in tree.splitlines() if line}
stated = packages["rcap"]["rust_version"]
stated_with_programs = packages["rcap"]["metadata"]["rust-version"]["cli"]
for crates, limit in [(alone, stated), (names, stated_with_programs)]:
    newer = [name for name in crates if version(packages[name]["rust_version"]) > version(limit)]
    if newer:
        sys.exit(f"a newer Rust than {limit} is asked for by {newer}")
print(f"{len(alone)} crates for the library alone, {len(names)} with the programs")
