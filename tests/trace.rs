//! The kernel's checks of capabilities, recorded on the running kernel.

mod common;

use std::{
    fs,
    os::unix::fs::chown,
    process::{Command, Stdio},
};

use common::directory;
use rcap::{
    Cap,
    trace::{Check, EventKind, MARK, Recorder, Recording},
};

tests! {
    Root:
        a_file_is_given_away,
        threads_and_children_are_followed,
        nothing_is_left_behind;
}

fn record(command: &mut Command) -> Recording {
    let mut program = Command::new(command.get_program());
    program.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut recorder = Recorder::start(program, 1024).unwrap();
    recorder.child.wait().unwrap();
    recorder.finish().unwrap()
}

/// The checks of a capability behind the mark, and in which functions they were made.
fn checks(recording: &Recording, cap: Cap) -> Vec<(Check, Vec<String>)> {
    let all = recording.events.iter().filter_map(|event| match &event.kind {
        EventKind::Check(check) => Some(check),
        _ => None,
    });
    let behind = all.skip_while(|check| check.number != MARK || check.stack.is_empty()).skip(1);
    behind
        .filter(|check| check.cap() == Some(cap))
        .map(|check| {
            let name = |address: &u64| recording.symbols.name(*address).map(str::to_owned);
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
        assert!(check.granted);
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
    Recorder::start(Command::new("/nonexistent"), 64).unwrap_err();
    assert_eq!(descriptors(), before);
    let tracefs = rcap::trace::Tracefs::open().unwrap();
    assert_eq!(tracefs.instances().unwrap(), [""; 0]);
}
