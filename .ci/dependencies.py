"""Checks the dependency tree: what the library alone pulls in, and which Rust it asks for."""

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


def version(package):
    parts = [int(part) for part in (package["rust_version"] or "1.0").split(".")]
    return tuple(parts + [0] * (3 - len(parts)))


tree = cargo("tree", "--locked", "-e", "normal", "--prefix", "none")
names = {line.split()[0] for line in tree.splitlines() if line}
newer = [name for name in names if version(packages[name]) > version(packages["rcap"])]
if newer:
    sys.exit(f"a newer Rust than {packages['rcap']['rust_version']} is asked for by {newer}")
print(f"{len(alone)} crates for the library alone, {len(names)} with the programs")
