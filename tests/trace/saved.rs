//! Reports that are saved, added up and read.

use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    process::Stdio,
};

use nix::{sys::stat::Mode, unistd::mkfifo};
use serde_json::Value;

use super::{
    common::{directory, program, ran},
    trace,
};

pub(crate) fn saved_and_merged() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [file, one, two, link] = ["file", "one", "two", "link"].map(path);
    fs::write(&file, "").unwrap();
    assert_eq!(trace(&["--save", &one, "--", "chown", "1000", &file]).status, Some(0));
    assert_eq!(trace(&["--save", &two, "--", "nice", "-n", "-5", "true"]).status, Some(0));
    let merged = ran(program("rcap").args(["report", &one, &two]));
    assert!(merged.out.starts_with("Candidates: cap_chown,cap_sys_nice\n"), "{merged:?}");
    assert!(merged.out.contains("Run 2: nice -n -5 true (cap_sys_nice)\n"), "{merged:?}");
    let settings = ran(program("rcap").args(["report", "--to", "systemd", &one, &two])).out;
    assert!(settings.contains("\nCapabilityBoundingSet=CAP_CHOWN CAP_SYS_NICE\n"), "{settings}");
    let merged = ran(program("rcap").args(["report", "--json", &one, &two]));
    let merged: Value = serde_json::from_str(&merged.out).unwrap();
    let checks = merged["checks"].as_array().unwrap();
    let nice = checks.iter().find(|check| check["cap"] == "cap_sys_nice").unwrap();
    assert_eq!(nice["runs"], serde_json::json!([1]));
    for text in ["", "{}", "{\"schema\":1}"] {
        fs::write(&two, text).unwrap();
        let refused = ran(program("rcap").args(["report", &one, &two]));
        assert_eq!((refused.status, &*refused.out), (Some(2), ""));
        assert!(refused.err.contains("not a report"), "{refused:?}");
    }
    // Reports are escaped on a terminal.
    let text = fs::read_to_string(&one).unwrap();
    fs::write(&two, text.replace("change the owner", "\\u001b[31m")).unwrap();
    let escaped = ran(program("rcap").args(["report", &two]));
    assert_eq!(escaped.status, Some(0), "{escaped:?}");
    assert!(escaped.out.contains(r"\u{1b}[31m") && !escaped.out.contains('\u{1b}'), "{escaped:?}");
    // A symbolic link is not followed, and the program does not run.
    std::os::unix::fs::symlink(&two, &link).unwrap();
    let refused = trace(&["--save", &link, "--", "rm", &one]);
    assert_eq!(refused.status, Some(125));
    assert!(fs::exists(&one).unwrap());
}

pub(crate) fn what_is_saved_is_a_new_file() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [fifo, one, other, witness] = ["fifo", "one", "other", "witness"].map(path);
    mkfifo(&*fifo, Mode::S_IRWXU).unwrap();
    fs::write(&witness, "").unwrap();
    for (save, why) in [
        (&*fifo, "it is a FIFO, not a regular file"),
        ("/dev/stdout", "it is a symbolic link, not a regular file"),
        ("/dev/null", "it is a device, not a regular file"),
        ("-", "standard output is not a file (./- is one)"),
    ] {
        let refused = trace(&["--save", save, "--", "rm", &witness]);
        assert_eq!(refused.status, Some(125));
        assert_eq!(refused.err, format!("rcap trace: cannot write {save}: {why}\n"));
    }
    assert!(fs::exists(&witness).unwrap());
    // Another hard link of the file does not change.
    fs::write(&other, "victim").unwrap();
    fs::hard_link(&other, &one).unwrap();
    assert_eq!(trace(&["--save", &one, "--", "true"]).status, Some(0));
    assert_eq!(fs::read_to_string(&other).unwrap(), "victim");
    assert_eq!(fs::metadata(&one).unwrap().permissions().mode() & 0o777, 0o600);
    // A file of another user is not extended.
    chown(&one, Some(1000), None).unwrap();
    let refused = trace(&["--save", &one, "--add", "--", "true"]);
    assert!(refused.err.contains("belongs to another user"), "{refused:?}");
    assert_eq!(trace(&["--save", &one, "--", "true"]).status, Some(0));
    assert_eq!(fs::metadata(&one).unwrap().uid(), 0);
    // No temporary files remain.
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 4);
}

/// Two recordings to one file, during and after them.
pub(crate) fn a_recording_that_runs() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let saved = path("saved");
    let report = |args: &[&str]| ran(program("rcap").args(["report", &saved]).args(args));
    // Each program exits when its FIFO is written to.
    let start = |fifo: &str| {
        mkfifo(&*path(fifo), Mode::S_IRWXU).unwrap();
        let script = format!("echo ready; read line < {}", path(fifo));
        let mut command = program("rcap");
        command.args(["trace", "--add", "--save", &saved, "--", "sh", "-c", &script]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 6]).unwrap();
        child
    };
    let end = |fifo: &str| fs::write(path(fifo), "\n").unwrap();
    assert_eq!(report(&["--wait"]).status, Some(2));
    let (mut one, mut two) = (start("one"), start("two"));
    let pending = report(&[]);
    let words = format!("rcap report: {saved}: still being recorded (--wait waits for the end)\n");
    assert_eq!((pending.status, pending.err), (Some(2), words));
    let mut waiting = program("rcap");
    waiting.args(["report", "--wait", &saved]).stdin(Stdio::null()).stdout(Stdio::piped());
    let waiting = waiting.spawn().unwrap();
    end("one");
    assert!(one.wait().unwrap().success());
    let first = report(&[]);
    assert_eq!(
        first.err,
        format!("rcap report: {saved}: another run is still being recorded (--wait)\n")
    );
    assert!(first.out.contains("\nRun 1: sh -c ") && !first.out.contains("\nRun 2"), "{first:?}");
    end("two");
    assert!(two.wait().unwrap().success());
    let whole = waiting.wait_with_output().unwrap();
    assert!(whole.status.success());
    let whole = String::from_utf8(whole.stdout).unwrap();
    assert!(whole.contains("\nRun 1: sh -c ") && whole.contains("\nRun 2: sh -c "), "{whole}");
    assert_eq!(report(&[]).out, whole);
    // The recording that was killed is not waited for.
    let mut three = start("three");
    three.kill().unwrap();
    three.wait().unwrap();
    assert_eq!(report(&["--wait"]).out, whole);
    end("three");
    // Without --add, the file is replaced.
    assert_eq!(trace(&["--save", &saved, "--", "true"]).status, Some(0));
    assert!(!report(&[]).out.contains("Run 2"));
}
