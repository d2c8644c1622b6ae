//! `rcap check`: directories, words and processes against policies, and its formats.

mod common;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use common::{Ran, directory, ran, run};
use serde_json::{Value, json};

tests! {
    Nothing:
        a_directory,
        sources,
        files_that_cannot_be_read,
        formats;
    Nothing ["sha256sum tar"]:
        an_image;
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
    fs::create_dir(dir.path().join("empty")).unwrap();
    for (line, status) in [
        ("--policy pod-security-baseline docker", 0),
        ("--policy pod-security-restricted docker", 1),
        ("--policy pod-security-privileged machine", 0),
        ("--policy pod-security-baseline empty", 2),
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

/// A container of an image, and the files in its layer.
fn an_image() {
    let dir = tree();
    let image = |name: &str, user: &str| {
        let layout = dir.path().join(name);
        for path in ["tree/usr/bin", "blobs/sha256"] {
            fs::create_dir_all(layout.join(path)).unwrap();
        }
        let file = layout.join("tree/usr/bin/ping");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, PermissionsExt::from_mode(0o4755)).unwrap();
        let blob = |content: &[u8]| -> Value {
            fs::write(layout.join("blob"), content).unwrap();
            let sum = ran(Command::new("sha256sum").arg(layout.join("blob"))).out;
            let sum = sum.split(' ').next().unwrap();
            fs::rename(layout.join("blob"), layout.join("blobs/sha256").join(sum)).unwrap();
            json!({ "digest": format!("sha256:{sum}"), "size": content.len() })
        };
        let mut tar = Command::new("tar");
        let tar = tar.args(["--owner=0", "--group=0", "-c", "usr"]);
        let layer = blob(&tar.current_dir(layout.join("tree")).output().unwrap().stdout);
        let config = blob(json!({ "config": { "User": user } }).to_string().as_bytes());
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
        let manifest = blob(manifest.to_string().as_bytes());
        let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
        fs::write(layout.join("index.json"), index.to_string()).unwrap();
        fs::write(layout.join("oci-layout"), json!({ "imageLayoutVersion": "1.0.0" }).to_string())
            .unwrap();
    };
    image("root", "");
    image("other", "1000");
    let policy = "[[rule]]\nkind = 'image'\nnon-root = true\n[[rule]]\nkind = 'file'\nallow = []\n";
    fs::write(dir.path().join("policy.toml"), policy).unwrap();
    let file = "critical: it gives all (policy-file)";
    let checked = check(dir.path(), "--policy policy.toml root");
    let lines = format!(
        "root: medium: its user may be root (policy-non-root)\nroot:/usr/bin/ping: {file}\n"
    );
    assert_eq!((checked.status, &*checked.out), (Some(1), &*lines), "{checked:?}");
    let checked = check(dir.path(), "--policy policy.toml other");
    assert_eq!(checked.out, format!("other:/usr/bin/ping: {file}\n"), "{checked:?}");
    let mut tar = Command::new("tar");
    let tar = tar.args(["-C", "other", "-cf", "other.tar", "blobs", "index.json", "oci-layout"]);
    assert_eq!(ran(tar.current_dir(dir.path())).status, Some(0));
    let checked = check(dir.path(), "--policy policy.toml other.tar");
    assert_eq!(checked.out, format!("other.tar:/usr/bin/ping: {file}\n"), "{checked:?}");
    // An image that cannot be read may hide a violation.
    for blob in fs::read_dir(dir.path().join("other/blobs/sha256")).unwrap() {
        let blob = blob.unwrap().path();
        if fs::read(&blob).unwrap().len() > 5000 {
            fs::write(&blob, "x").unwrap();
        }
    }
    let checked = check(dir.path(), "--policy policy.toml other");
    assert_eq!(checked.status, Some(2), "{checked:?}");
    assert!(checked.err.contains("layer 1"), "{checked:?}");
}

fn test_cases() {
    let dir = tree();
    let name = "<&\"'>.service";
    fs::write(dir.path().join("deploy").join(name), "[Service]\nExecStart=/bin/x\n").unwrap();
    fs::write(dir.path().join("policy.toml"), "[[rule]]\nno-new-privs = true\n").unwrap();
    let xml = check(dir.path(), "--policy policy.toml --junit deploy");
    fs::write(dir.path().join("out.xml"), &xml.out).unwrap();
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/junit.xsd");
    let xmllint = |document: &str| {
        fs::write(dir.path().join("checked.xml"), document).unwrap();
        let mut xmllint = Command::new("xmllint");
        xmllint.args(["--nonet", "--noout", "--schema", schema]);
        ran(xmllint.arg(dir.path().join("checked.xml")))
    };
    let valid = xmllint(&xml.out);
    assert_eq!(valid.status, Some(0), "{valid:?}");
    let invalid = xmllint(&xml.out.replace("<testcase ", "<case ").replace("/testcase", "/case"));
    assert_ne!(invalid.status, Some(0), "{invalid:?}");
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
