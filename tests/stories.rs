//! The container tutorial's own story, with a real Debian.

mod common;

use std::{env, fs, process::Stdio};

use common::{
    debian::{DEBIAN, PATH_INSIDE, debian},
    directory,
    docker::{DOCKER, Daemon},
    program, ran,
};
use serde_json::Value;

tests! {
    Tracing [DEBIAN]:
        apt_update_and_install;
    Tracing [DEBIAN, DOCKER]:
        apt_in_docker;
}

/// The result of the tutorial.
const FIVE: [&str; 5] = ["cap_chown", "cap_dac_override", "cap_fowner", "cap_setgid", "cap_setuid"];

/// The names of the minimum, and the object.
fn minimize() -> (Vec<String>, Value) {
    let script = "apt-get update && apt-get install -y rcap-test";
    let path = format!("{}:{PATH_INSIDE}", env::var("PATH").unwrap());
    let ran = ran(program("rcap")
        .args(["minimize", "--json", "--keep", "sys_chroot"])
        .args(["--", "chroot"])
        .arg(debian())
        .args(["sh", "-c", script])
        .env("PATH", path)
        .env_remove("LD_LIBRARY_PATH")
        .stdin(Stdio::null()));
    let object: Value =
        serde_json::from_str(&ran.out).unwrap_or_else(|err| panic!("{err}: {ran:?}"));
    let names = object["minimum"].as_array().unwrap().iter();
    let names = names.map(|name| name.as_str().unwrap().to_owned());
    (names.filter(|name| name != "cap_sys_chroot").collect(), object)
}

fn apt_update_and_install() {
    let (names, object) = minimize();
    assert_eq!(names, FIVE, "{object}");
    assert_eq!(object["proved"], true);
    // Without two of them, apt ends well and leaves other owners and modes behind.
    let verdicts = object["verdicts"].as_array().unwrap();
    let verdict = |cap: &str| {
        let verdict = verdicts.iter().find(|verdict| verdict["cap"] == cap).unwrap();
        verdict["verdict"].as_str().unwrap()
    };
    for cap in ["cap_chown", "cap_fowner"] {
        assert_eq!(verdict(cap), "changes-result", "{object}");
    }
    for cap in ["cap_setgid", "cap_setuid"] {
        assert_eq!(verdict(cap), "required", "{object}");
    }
    assert_eq!(verdict("cap_kill"), "tolerated", "{object}");
}

/// As in the tutorial, apt fails even for root when everything is dropped, and works with the five.
/// The runtime finds the candidates without trial and error.
fn apt_in_docker() {
    let dir = directory();
    let daemon = Daemon::start(dir.path(), &debian());
    let script = "apt-get update && apt-get install -y rcap-test";
    let run = |args: &[&str]| {
        let first = ["run", "--rm", "--network", "none"];
        daemon.docker(&[&first[..], args, &["rcap-test:1", "sh", "-c", script]].concat())
    };
    let none = run(&["--cap-drop", "all"]);
    assert_ne!(none.status, Some(0), "{none:?}");
    let five = ["SETUID", "SETGID", "DAC_OVERRIDE", "CHOWN", "FOWNER"];
    let add: Vec<&str> = five.iter().flat_map(|cap| ["--cap-add", cap]).collect();
    let mended = run(&[&["--cap-drop", "all"], &add[..]].concat());
    assert_eq!(mended.status, Some(0), "{mended:?}");

    let id_file = dir.path().join("id");
    let traced = run(&["--runtime", "rcap", "--cidfile", id_file.to_str().unwrap()]);
    assert_eq!(traced.status, Some(0), "{traced:?}");
    let report = daemon.report(&fs::read_to_string(id_file).unwrap());
    let candidates = report["candidates"].as_array().unwrap();
    // All that the tutorial has found, and nothing that Docker does not give.
    assert!(FIVE.iter().all(|name| candidates.iter().any(|other| other == name)), "{report}");
    assert!(!candidates.iter().any(|name| name == "cap_sys_admin"), "{report}");
}
