"""Validates SARIF and the DaemonSet by their schemas, and runs the queries of docs/fleet.md."""

import json
import pathlib
import re
import sys
import time

import duckdb
import jsonschema
import kubernetes_validate
import yaml

HOSTS = 10_000
FILES = 100

scratch, fleet, daemonset = map(pathlib.Path, sys.argv[1:])

schema = json.loads((scratch / "vendor/serde-sarif/src/schema.json").read_text())
validator = jsonschema.validators.validator_for(schema)(schema)
for name in ["scan.sarif", "check.sarif"]:
    log = json.loads((scratch / name).read_text())
    validator.validate(log)
    assert log["runs"][0]["results"], name
    print(f"{name}: valid, {len(log['runs'][0]['results'])} results")

kubernetes_validate.validate(yaml.safe_load(daemonset.read_text()), "1.29", strict=True)
print(f"{daemonset}: valid")

# The lines of one host, for all of them, and one file that only one host has.
lines = [json.loads(line) for line in (scratch / "host.jsonl").read_text().splitlines()]
for part in range(FILES):
    with open(scratch / f"scans/{part}.jsonl", "w") as out:
        for host in range(part, HOSTS, FILES):
            for line in lines:
                out.write(json.dumps({**line, "host": f"host{host}"}) + "\n")
            if host == 4711:
                file = next(line for line in lines if line["kind"] == "file")
                out.write(json.dumps({**file, "host": f"host{host}", "path": "/opt/only"}) + "\n")

queries = re.findall(r"```sql\n(.*?)```", fleet.read_text(), re.DOTALL)
assert len(queries) == 2
results = []
for query in queries:
    begun = time.monotonic()
    results.append(duckdb.sql(query.replace("scans/", f"{scratch}/scans/")).fetchall())
    print(f"{len(results[-1])} rows of {HOSTS} hosts in {time.monotonic() - begun:.2f} s")
findings, only = results
assert findings and all(hosts == HOSTS for _, _, hosts in findings), findings
assert [(path, host) for path, _, host in only] == [("/opt/only", "host4711")], only
