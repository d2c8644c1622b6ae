//! The story of the container tutorial, with a real Debian.

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

/// Returns the names of the minimum, and the JSON object.
fn minimize(options: &[&str]) -> (Vec<String>, Value) {
    let script = "apt-get update && apt-get install -y rcap-test";
    let path = format!("{}:{PATH_INSIDE}", env::var("PATH").unwrap());
    let ran = ran(program("rcap")
        .args(["minimize", "--json", "--overlay", "--keep", "sys_chroot"])
        .args(options)
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

/// Returns whether a run with exactly these and `CAP_SYS_CHROOT` passed, or `None` without such a
/// run.
fn passed(object: &Value, set: &[&str]) -> Option<bool> {
    let runs = object["runs"].as_array().unwrap();
    let names = |run: &Value| -> Vec<String> {
        let names = run["set"].as_array().unwrap().iter().map(|name| name.as_str().unwrap());
        names.filter(|name| *name != "cap_sys_chroot").map(str::to_owned).collect()
    };
    runs.iter().find(|run| names(run) == set).map(|run| run["passed"].as_bool().unwrap())
}

fn apt_update_and_install() {
    // By the exit status alone, fewer than the five pass, and none does not.
    let (names, object) = minimize(&["--no-strict"]);
    assert!(!names.is_empty() && names.len() < FIVE.len(), "{object}");
    assert!(names.iter().all(|name| FIVE.contains(&&**name)), "{object}");
    assert_eq!(passed(&object, &[]), Some(false));
    // The lost abilities are reported: acting as other users and on their files.
    let last = object["runs"].as_array().unwrap().iter().rev();
    let least = last.clone().find(|run| run["passed"] == true && run["set"] == object["minimum"]);
    let refused = least.unwrap()["failures"].as_array().unwrap();
    let refused: Vec<_> = refused.iter().map(|one| one["need"]["cap"].as_str().unwrap()).collect();
    assert!(refused.contains(&"cap_chown") && refused.contains(&"cap_fowner"), "{refused:?}");

    // The five pass, because further denials have no visible effect on apt.
    let keep = format!("sys_chroot,{}", FIVE.join(","));
    let (names, object) = minimize(&["--no-strict", "--keep", &keep]);
    assert_eq!(names, FIVE);
    assert_eq!(passed(&object, &FIVE), Some(true));

    // With the strict rule, all five are needed, and so are further denied capabilities.
    let (names, object) = minimize(&[]);
    assert!(FIVE.iter().all(|name| names.iter().any(|other| other == name)), "{names:?}");
    for verdict in object["verdicts"].as_array().unwrap() {
        let needed = verdict["needed"] == true && verdict["cap"] != "cap_sys_chroot";
        let failures = verdict["failures"].as_array();
        assert_eq!(needed, failures.is_some_and(|failures| !failures.is_empty()), "{verdict}");
    }
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
    // All of the tutorial's capabilities, and none that Docker does not grant.
    assert!(FIVE.iter().all(|name| candidates.iter().any(|other| other == name)), "{report}");
    assert!(!candidates.iter().any(|name| name == "cap_sys_admin"), "{report}");
}
