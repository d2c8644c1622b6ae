#!/usr/bin/env python3
"""Prints the crates that the program rcap is built from, as an SPDX 2.3 document."""

import datetime
import json
import os
import subprocess
import tomllib

TARGET = "x86_64-unknown-linux-musl"

metadata = json.loads(
    subprocess.check_output(
        ["cargo", "metadata", "--locked", "--format-version", "1", "--features", "cli",
         "--filter-platform", TARGET]
    )
)
with open("Cargo.lock", "rb") as file:
    locked = tomllib.load(file)["package"]
checksums = {(crate["name"], crate["version"]): crate.get("checksum") for crate in locked}
crates = {crate["id"]: crate for crate in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

# The crates that are linked or that run in the build, without those of tests.
root = metadata["resolve"]["root"]
used, pending = set(), [root]
while pending:
    crate = pending.pop()
    if crate not in used:
        used.add(crate)
        for edge in nodes[crate]["deps"]:
            if any(kind["kind"] != "dev" for kind in edge["dep_kinds"]):
                pending.append(edge["pkg"])


def name(crate):
    return f"SPDXRef-{crate['name']}-{crate['version']}".replace("_", "-").replace("+", "-")


def package(crate):
    checksum = checksums[crate["name"], crate["version"]]
    location = f"pkg:cargo/{crate['name']}@{crate['version']}"
    entry = {
        "SPDXID": name(crate),
        "name": crate["name"],
        "versionInfo": crate["version"],
        "downloadLocation": crate["repository"] or "NOASSERTION",
        "licenseDeclared": (crate["license"] or "NOASSERTION").replace("/", " OR "),
        "filesAnalyzed": False,
        "externalRefs": [{"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl",
                          "referenceLocator": location}],
    }
    if checksum:
        entry["checksums"] = [{"algorithm": "SHA256", "checksumValue": checksum}]
    return entry


found = sorted((crates[crate] for crate in used), key=lambda crate: (crate["name"], crate["version"]))
time = datetime.datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), datetime.UTC)
own = crates[root]
print(json.dumps({
    "spdxVersion": "SPDX-2.3",
    "dataLicense": "CC0-1.0",
    "SPDXID": "SPDXRef-DOCUMENT",
    "name": f"rcap-{own['version']}",
    "documentNamespace": f"https://spdx.org/spdxdocs/rcap-{own['version']}-{int(time.timestamp())}",
    "creationInfo": {"created": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "creators": ["Tool: .ci/sbom.py"]},
    "packages": [package(crate) for crate in found],
    "relationships": [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": name(own)}
    ] + [
        {"spdxElementId": name(own), "relationshipType": "DEPENDS_ON", "relatedSpdxElement": name(crate)}
        for crate in found if crate is not own
    ],
}, indent=1))
