//! The kernel's checks of capabilities, recorded on the running kernel.

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    process::{Command, Stdio},
};

use common::{directory, program, ran};
use rcap::{
    Cap,
    identity::Identity,
    launch::Launcher,
    trace::{Backend, Check, Event, EventKind, MARK, Options, Recorder, Symbols},
};

tests! {
    Nothing:
        usage;
    Root:
        without_privilege,
        a_report,
        json,
        what_it_ends_with,
        a_daemon_is_waited_for,
        a_file_is_given_away,
        threads_and_children_are_followed,
        nothing_is_left_behind;
}

/// What was recorded of a program.
struct Recording {
    events: Vec<Event>,
    lost: Option<u64>,
}

fn record(command: &mut Command) -> Recording {
    let mut program = Command::new(command.get_program());
    program.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut recorder = Recorder::new(&options()).unwrap();
    recorder.start(program, &Launcher::new()).unwrap().wait().unwrap();
    let (events, lost) = recorder.stop().unwrap();
    Recording { events, lost }
}

fn options() -> Options {
    Options { kilobytes: 1024, ..Options::new(Backend::best().unwrap()) }
}

/// The checks of a capability behind the mark, and in which functions they were made.
fn checks(recording: &Recording, cap: Cap) -> Vec<(Check, Vec<String>)> {
    let all = recording.events.iter().filter_map(|event| match &event.kind {
        EventKind::Check(check) => Some(check),
        _ => None,
    });
    let symbols = Symbols::load();
    assert_eq!(all.clone().next().map(|check| check.number), Some(MARK));
    all.skip(1)
        .filter(|check| check.cap() == Some(cap))
        .map(|check| {
            let name = |address: &u64| symbols.name(*address).map(str::to_owned);
            (check.clone(), check.stack.iter().filter_map(name).collect())
        })
        .collect()
}

fn a_file_is_given_away() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    chown(&file, Some(0), Some(0)).unwrap();
    let recording = record(Command::new("chown").arg("1000").arg(&file));
    assert_eq!(recording.lost, Some(0));
    let checks = checks(&recording, Cap::CHOWN);
    assert!(!checks.is_empty());
    for (check, functions) in &checks {
        assert_eq!(check.granted, Some(true));
        assert!(functions.iter().any(|name| name == "setattr_prepare"), "{functions:?}");
        assert!(functions.iter().any(|name| name.contains("chown")), "{functions:?}");
    }
    let kinds = || recording.events.iter().map(|event| &event.kind);
    let executed = kinds().any(|kind| {
        matches!(kind, EventKind::Exec { path } if path.to_string_lossy().ends_with("chown"))
    });
    assert!(executed);
    assert!(kinds().any(|kind| matches!(kind, EventKind::SystemCall { returned: 0, .. })));
    assert!(recording.events.is_sorted_by_key(|event| event.time));
}

fn threads_and_children_are_followed() {
    let dir = directory();
    let script = format!("(chown 1000 {0}/a; chown 1000 {0}/b) & wait", dir.path().display());
    for name in ["a", "b"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let recording = record(Command::new("sh").args(["-c", &script]));
    let asked = checks(&recording, Cap::CHOWN);
    assert!(asked.len() >= 2, "{asked:?}");
    let is_chown = |kind: &EventKind| matches!(kind, EventKind::Exec { path } if path.to_string_lossy().ends_with("/chown"));
    let programs = recording.events.iter().filter(|event| is_chown(&event.kind));
    let tids: Vec<_> = programs.map(|event| event.tid).collect();
    assert_eq!(tids.len(), 2);
    for tid in tids {
        let started = |kind: &EventKind| *kind == EventKind::Started { tid };
        assert!(recording.events.iter().any(|event| started(&event.kind)));
    }
}

fn nothing_is_left_behind() {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for _ in 0..3 {
        record(&mut Command::new("true"));
    }
    let mut recorder = Recorder::new(&options()).unwrap();
    recorder.start(Command::new("/nonexistent"), &Launcher::new()).unwrap_err();
    drop(recorder);
    assert_eq!(descriptors(), before);
    let tracefs = rcap::trace::Tracefs::open().unwrap();
    let own = format!("rcap-{}-", std::process::id());
    let left = tracefs.instances().unwrap().into_iter().find(|name| name.starts_with(&own));
    assert_eq!(left, None);
}

fn usage() {
    let none = ran(program("rcap").arg("trace"));
    assert_eq!((none.status, &*none.out), (Some(125), ""));
    assert_eq!(ran(program("rcap").args(["trace", "--buffer", "1", "true"])).status, Some(125));
}

fn without_privilege() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("rcap");
    fs::copy(program("rcap").get_program(), &copy).unwrap();
    let mut command = Command::new(copy);
    command.args(["trace", "true"]).stdout(Stdio::null()).stderr(Stdio::piped());
    let nobody = Launcher::new().identity(&Identity::of_user("nobody").unwrap());
    let output = nobody.spawn(command).unwrap().wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(words.starts_with("rcap trace: cannot ") && words.contains("takes root"), "{words}");
}

fn trace(args: &[&str]) -> common::Ran {
    ran(program("rcap").arg("trace").args(args).stdin(Stdio::null()))
}

fn a_report() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let report = trace(&["--", "chown", "1000", file]);
    assert_eq!((report.status, &*report.out), (Some(0), ""));
    assert!(report.err.starts_with("Candidates: cap_chown\n\nCAPABILITY"), "{}", report.err);
    assert!(report.err.contains(" change the owner, mode or times of a file "), "{}", report.err);
    assert!(report.err.contains(" cap_sys_admin: whether memory may be overcommitted"));
    assert!(!report.err.contains("lost"));
    let none = trace(&["true"]);
    assert!(none.err.starts_with("Candidates: none\n"), "{}", none.err);
    let all = trace(&["--all", "true"]);
    assert!(!all.err.contains("Set aside"), "{}", all.err);
}

fn json() {
    let report = trace(&["--json", "--", "sh", "-c", "echo out; kill -9 $$"]);
    assert_eq!(report.status, Some(137));
    assert_eq!(report.err, "out\n");
    let report: serde_json::Value = serde_json::from_str(&report.out).unwrap();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["command"][0], "sh");
    assert_eq!(report["exit"], serde_json::json!({"code": null, "signal": 9}));
    assert_eq!(report["candidates"], serde_json::json!([]));
    assert_eq!(report["lost"], 0);
    assert!(report["checks"].as_array().unwrap().iter().any(|check| check["rule"] == "overcommit"));
}

fn what_it_ends_with() {
    assert_eq!(trace(&["sh", "-c", "exit 7"]).status, Some(7));
    let none = trace(&["/nonexistent"]);
    assert_eq!(none.status, Some(127));
    assert_eq!(none.err, "rcap trace: cannot execute /nonexistent: No such file or directory\n");
    assert_eq!(trace(&["/etc/passwd"]).status, Some(126));
}

fn a_daemon_is_waited_for() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let daemon = format!("(sleep 0.3; chown 1000 {}) >/dev/null 2>&1 &", file.display());
    let report = trace(&["sh", "-c", &daemon]);
    assert!(report.err.starts_with("Candidates: cap_chown\n"), "{}", report.err);
}
