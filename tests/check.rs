//! `rcap check`: directories, words and processes against policies, and its formats.

mod common;

use std::{fs, path::Path, process::Command};

use common::{Ran, directory, ran, run};
use serde_json::Value;

tests! {
    Nothing:
        a_directory,
        sources,
        files_that_cannot_be_read,
        formats;
    Nothing ["xmllint"]:
        test_cases;
}

const COMPOSE: &str = "services:
  web: {image: nginx, cap_drop: [ALL], cap_add: [NET_BIND_SERVICE], user: '1000',
        security_opt: ['no-new-privileges:true']}
  db: {image: db, privileged: true}
";

fn tree() -> tempfile::TempDir {
    let dir = directory();
    fs::create_dir(dir.path().join("deploy")).unwrap();
    let write =
        |name: &str, text: &str| fs::write(dir.path().join("deploy").join(name), text).unwrap();
    write("compose.yaml", COMPOSE);
    write(
        "a.service",
        "[Service]\nUser=web\nNoNewPrivileges=yes\nCapabilityBoundingSet=\nExecStart=/bin/x\n",
    );
    write("values.yaml", "replicas: 3\n");
    write("README", "privileged: true\n");
    fs::write(dir.path().join("policy.toml"), "[[rule]]\nname = 'web'\nbounding = []\n").unwrap();
    dir
}

fn check(dir: &Path, line: &str) -> Ran {
    run(dir, "rcap", ["check"].into_iter().chain(line.split(' ')))
}

fn a_directory() {
    let dir = tree();
    let ran = check(dir.path(), "--policy pod-security-baseline deploy");
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert_eq!(
        ran.out,
        "deploy/compose.yaml:db: critical: it has every capability (policy-privileged)\n"
    );
    assert_eq!(ran.err, "rcap check: 3 checked, 1 violations, 2 other files\n");
    let ran = check(dir.path(), "--policy policy.toml deploy/a.service");
    assert_eq!((ran.status, &*ran.out), (Some(0), ""), "{ran:?}");
    let ran = check(dir.path(), "--policy pod-security-restricted deploy/compose.yaml:web");
    assert_eq!((ran.status, &*ran.out), (Some(0), ""), "{ran:?}");
}

fn sources() {
    let dir = tree();
    for (line, status) in [
        ("--policy pod-security-baseline docker", 0),
        ("--policy pod-security-restricted docker", 1),
        ("--policy pod-security-privileged machine", 0),
        ("--policy pod-security-baseline missing.yaml", 2),
        ("--policy missing.toml deploy", 2),
        ("--policy deploy/compose.yaml deploy", 2),
    ] {
        let ran = check(dir.path(), line);
        assert_eq!(ran.status, Some(status), "{line}: {ran:?}");
        assert!(!ran.err.is_empty(), "{line}");
    }
}

/// A file that cannot be read may hide a violation: it is named, and the check does not pass.
fn files_that_cannot_be_read() {
    let dir = tree();
    fs::write(dir.path().join("deploy/bad.yaml"), "services: [\n").unwrap();
    fs::write(dir.path().join("deploy/zbytes.yaml"), b"\xff").unwrap();
    let ran = check(dir.path(), "--policy pod-security-privileged deploy");
    assert_eq!((ran.status, &*ran.out), (Some(2), ""), "{ran:?}");
    for name in ["bad.yaml", "zbytes.yaml"] {
        assert!(ran.err.contains(name), "{ran:?}");
    }
    assert!(ran.err.contains("3 checked"), "{ran:?}");
}

fn formats() {
    let dir = tree();
    let json = |option: &str| -> Value {
        let ran = check(dir.path(), &format!("--policy policy.toml {option} deploy"));
        assert_eq!(ran.status, Some(1), "{ran:?}");
        serde_json::from_str(&ran.out).unwrap()
    };
    let document = json("--json");
    assert_eq!(document["checked"].as_array().unwrap().len(), 3);
    assert_eq!(document["violations"][0]["subject"], "deploy/compose.yaml:web");
    assert_eq!(document["violations"][0]["id"], "policy-bounding");
    let log = json("--sarif");
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "policy-bounding");
    let location = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(location, "deploy/compose.yaml");
}

fn test_cases() {
    let dir = tree();
    let name = "<&\"'>.service";
    fs::write(dir.path().join("deploy").join(name), "[Service]\nExecStart=/bin/x\n").unwrap();
    fs::write(dir.path().join("policy.toml"), "[[rule]]\nno-new-privs = true\n").unwrap();
    let xml = check(dir.path(), "--policy policy.toml --junit deploy");
    fs::write(dir.path().join("out.xml"), &xml.out).unwrap();
    let value = |path: &str| {
        let ran = ran(Command::new("xmllint")
            .args(["--nonet", "--xpath", path])
            .arg(dir.path().join("out.xml")));
        assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{path}: {}", xml.out);
        ran.out.trim().to_owned()
    };
    assert_eq!(value("string(/testsuites/@tests)"), "4");
    assert_eq!(value("count(//testcase)"), "4");
    assert_eq!(value("count(//failure)"), value("string(/testsuites/@failures)"));
    assert_eq!(value("string(//testcase[1]/@name)"), format!("deploy/{name}"));
}
