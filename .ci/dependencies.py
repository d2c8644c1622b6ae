"""Checks the crates that the library alone depends on, and the Rust version that crates ask for."""

import collections
import json
import re
import subprocess
import sys
import tomllib

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
# The policy of deny.toml, as far as it can be checked without a network: licences, duplicates,
# banned crates and sources.
with open("deny.toml", "rb") as file:
    policy = tomllib.load(file)


def is_allowed(licence):
    """Evaluates an SPDX expression."""
    words = re.sub(r" WITH [\w.-]+", "", licence or "none").replace("/", " OR ")
    tokens = re.findall(r"\(|\)|[\w.+-]+", words)
    known = {"AND": "and", "OR": "or", "(": "(", ")": ")"}
    allowed = policy["licenses"]["allow"]
    return eval(" ".join(known.get(token, str(token in allowed)) for token in tokens))


tree = cargo("tree", "--locked", "-e", "normal,build", "--all-features", "--prefix", "none")
versions = collections.defaultdict(set)
for line in filter(None, tree.splitlines()):
    versions[line.split()[0]].add(line.split()[1])
faults = [f"{name} has the versions {sorted(used)}" for name, used in versions.items() if len(used) > 1]
banned = {crate["crate"] for crate in policy["bans"]["deny"]}
for package in metadata["packages"]:
    name, source = package["name"], package["source"]
    if name in versions and not is_allowed(package["license"]):
        faults.append(f"{name} has the licence {package['license']}")
    if name in banned:
        faults.append(f"{name} is banned")
    if source not in (None, "registry+https://github.com/rust-lang/crates.io-index"):
        faults.append(f"{name} comes from {source}")
if faults:
    sys.exit("deny.toml: " + "; ".join(faults))
print(f"{len(alone)} crates for the library alone, {len(names)} with the programs")
