use std::io;

use super::*;
use rcap::{Cap, CapSet, settings::Profile};

fn one(argument: &str) -> Result<Settings, NotFound> {
    super::one(argument, &Context::default(), &mut io::empty())
}

#[test]
fn arguments() {
    #[rustfmt::skip]
    let rows = [
        ("net_row",           "net_row: unknown capability \"net_row\"; did you mean cap_net_raw"),
        ("/nonexistent",      "no such file"),
        ("nonexistent.yaml",  "nonexistent.yaml: no such file"),
        ("nonexistent.yaml:w", "nonexistent.yaml:w: no such file"),
        ("compose:nonexistent", "nonexistent: no such file"),
        ("pid:x",             "by its number"),
        ("--cap-add=net_row", "did you mean cap_net_raw"),
        ("cap_net_raw=x",     "cap_net_raw=x"),
        ("",                  "unknown capability"),
    ];
    for (text, words) in rows {
        let err = one(text).unwrap_err().to_string();
        assert!(err.contains(words), "{text}: {err}");
    }
}

#[test]
fn words_before_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).display().to_string();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("docker", "services: {w: {cap_drop: [ALL]}, v: {}}");
    write("docker:w", "services: {w: {}}");
    write("none", "services: {}");
    write(
        "twice",
        "apiVersion: v1\nkind: List\nitems: [{spec: {containers: [{name: c}, {name: c}]}}]",
    );
    // A path is one with a slash, whatever its last part is.
    for argument in [
        "docker".to_owned(),
        format!("compose:{}:v", path("docker")),
        format!("{}:v", path("docker")),
    ] {
        assert_eq!(one(&argument).unwrap().bounding, Profile::Docker.given(), "{argument}");
    }
    let stdin = |argument: &str, text: &str| {
        super::one(argument, &Context::default(), &mut text.as_bytes())
    };
    assert_eq!(stdin("-", "net_raw").unwrap().bounding, CapSet::from(Cap::NET_RAW));
    assert_eq!(
        stdin("-:w", "services: {w: {cap_drop: [ALL]}, v: {}}").unwrap().bounding,
        CapSet::empty()
    );
    assert!(stdin("unit:-", "services: {}").is_err());
    #[rustfmt::skip]
    let rows = [
        (path("docker"),                "it has several; name one"),
        (path("docker:w"),              "docker is a file too"),
        (path("docker:x"),              "no service or container x in it"),
        (path("docker/x"),              "Not a directory"),
        (path("none"),                  "no service or container in it"),
        (path("twice:c"),               "c is ambiguous: it can be list:c#1, list:c#2"),
        (path(""),                      "it has several; name one"),
        ("/dev/null".to_owned(),        "is a device, not a regular file"),
        ("/dev/null:x".to_owned(),      "/dev/null: is a device, not a regular file"),
    ];
    for (argument, words) in rows {
        let err = one(&argument).unwrap_err().to_string();
        assert!(err.contains(words), "{argument}: {err}");
    }
    // A directory such as /proc/1.
    std::fs::create_dir(path("process")).unwrap();
    write("process/status", "Name:\tx\nCapPrm:\t0\nCapBnd:\t2000\n");
    let status = one(&path("process/status")).unwrap();
    assert_eq!(status.bounding, CapSet::from(Cap::NET_RAW));
    assert_eq!(one(&path("process")).unwrap(), status);
}
