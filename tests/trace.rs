//! The kernel's capability checks, recorded on the running kernel.

mod common;

#[path = "trace/buffers.rs"]
mod buffers;
#[path = "trace/denials.rs"]
mod denials;
#[path = "trace/rings.rs"]
mod rings;
#[path = "trace/running.rs"]
mod running;
#[path = "trace/saved.rs"]
mod saved;
#[path = "trace/stacks.rs"]
mod stacks;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::{PermissionsExt, chown},
    process::{Command, Stdio},
};

use buffers::{buffers_grow, lost_records};
use common::{directory, instances, program, ran, tracefs, wait_until};
use denials::{
    objects_of_checks, other_locks, refused_by_a_filter, refused_by_landlock, what_was_refused,
};
use rings::{a_ring_that_is_polled, workers_of_io_uring};
use running::{
    a_control_group_by_either_backend, a_running_process, a_unit, denials_in_a_control_group,
    unused_in_a_unit,
};
use saved::{a_recording_that_runs, saved_and_merged, what_is_saved_is_a_new_file};
use serde_json::Value;
use stacks::{functions_of_a_short_program, functions_that_caused_a_check, names_of_functions};

use rcap::{
    Cap,
    identity::Identity,
    launch::Launcher,
    trace::{Meaning, Need, Options, Recording, Seen, Tracer},
};

tests! {
    Nothing:
        usage;
    Tracing:
        without_privilege,
        a_report,
        json,
        what_it_ends_with,
        a_daemon_is_waited_for,
        a_daemon_is_left_running,
        a_program_for_a_while,
        what_can_be_done_here,
        a_running_process,
        a_control_group_by_either_backend,
        a_unit,
        unused_in_a_unit,
        each_check_as_it_happens,
        what_was_refused,
        refused_by_a_filter,
        objects_of_checks,
        workers_of_io_uring,
        a_ring_that_is_polled,
        saved_and_merged,
        what_is_saved_is_a_new_file,
        a_recording_that_runs,
        without_outcomes,
        interrupted,
        what_a_killed_one_leaves,
        a_file_is_given_away,
        functions_that_caused_a_check,
        functions_of_a_short_program,
        threads_and_children_are_followed,
        nothing_is_left_behind;
    Tracing ["chattr mount unshare"]:
        other_locks;
    Tracing ["mount setpriv unshare"]:
        denials_in_a_control_group;
    Tracing ["python3"]:
        refused_by_landlock,
        buffers_grow,
        lost_records;
    Tracing ["as cc ld"]:
        names_of_functions;
    Tracing ["ip unshare"]:
        answers_by_message,
        checks_without_an_event;
    Tracing ["dmesg ping su tcpdump"]:
        known_programs;
}

/// Records a program without its output, and collects its checks.
fn record(command: &mut Command) -> (Recording, Vec<Seen>) {
    let mut program = Command::new(command.get_program());
    program.args(command.get_args()).stdin(Stdio::null()).stdout(Stdio::null());
    let mut seen = Vec::new();
    let mut tracer = Tracer::new(&options(1024)).unwrap();
    let mut child = tracer.start(program, &Launcher::new()).unwrap();
    while child.try_wait().unwrap().is_none() || !tracer.living().unwrap().is_empty() {
        tracer.poll(|one| seen.push(one.clone())).unwrap();
    }
    let recording = tracer.finish(|one| seen.push(one.clone())).unwrap();
    assert!(recording.is_complete(), "{recording:?}");
    (recording, seen)
}

fn options(kilobytes: u32) -> Options {
    let mut options = Options::default();
    options.kilobytes = kilobytes;
    options
}

/// Returns the needs of one capability.
fn needs(recording: &Recording, cap: Cap) -> Vec<&Need> {
    recording.analysis.needs.iter().filter(|need| need.cap == cap).collect()
}

fn a_file_is_given_away() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    chown(&file, Some(0), Some(0)).unwrap();
    let (recording, seen) = record(Command::new("chown").arg("1000").arg(&file));
    assert_eq!(recording.analysis.candidates, Cap::CHOWN.into());
    let needs = needs(&recording, Cap::CHOWN);
    assert_eq!(needs.len(), 1, "{needs:?}");
    let Need { meaning, granted, function, system_call, returned, program, .. } = needs[0];
    assert_eq!((*meaning, *granted, *returned), (Meaning::Candidate, true, Some(0)));
    assert_eq!((&**function, system_call.as_deref()), ("setattr_prepare", Some("fchownat")));
    assert!(program.ends_with("/chown"), "{program}");
    assert!(seen.is_sorted_by_key(|one| one.time));
    let count = seen.iter().filter(|one| one.cap == Cap::CHOWN).count();
    assert_eq!(u64::try_from(count), Ok(needs[0].count));
}

fn threads_and_children_are_followed() {
    let dir = directory();
    let script = format!("(chown 1000 {0}/a; chown 1000 {0}/b) &", dir.path().display());
    for name in ["a", "b"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let (recording, seen) = record(Command::new("sh").args(["-c", &script]));
    let needs = needs(&recording, Cap::CHOWN);
    assert!(needs.len() == 1 && needs[0].count == 2, "{needs:?}");
    let mut tids: Vec<_> =
        seen.iter().filter(|one| one.cap == Cap::CHOWN).map(|one| one.tid).collect();
    tids.dedup();
    assert_eq!(tids.len(), 2);
}

fn nothing_is_left_behind() {
    let tracefs = tracefs();
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    for _ in 0..3 {
        record(&mut Command::new("true"));
    }
    let mut tracer = Tracer::new(&options(1024)).unwrap();
    assert_eq!(instances(&tracefs, std::process::id()).len(), 1);
    tracer.start(Command::new("/nonexistent"), &Launcher::new()).unwrap_err();
    drop(tracer);
    // A thread may still be reading the names of the kernel's functions.
    wait_until(|| descriptors() == before);
    assert!(instances(&tracefs, std::process::id()).is_empty());
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
    assert!(words.starts_with("rcap trace: cannot ") && words.contains("requires root"), "{words}");
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
    assert!(
        report.err.contains(" change the owner, mode or times of a file: granted"),
        "{}",
        report.err
    );
    assert!(report.err.contains(" cap_sys_admin: whether memory may be overcommitted"));
    assert!(!report.err.contains("lost"));
    let none = trace(&["true"]);
    assert!(none.err.starts_with("Candidates: none\n"), "{}", none.err);
    let all = trace(&["--all", "true"]);
    assert!(!all.err.contains("Ignored"), "{}", all.err);
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

/// The first signal after the end of the program ends the recording, but not the daemon.
fn a_daemon_is_left_running() {
    let dir = directory();
    let [file, pid] = ["file", "pid"].map(|name| dir.path().join(name));
    fs::write(&file, "").unwrap();
    let daemon = format!(
        "(chown 1000 {}; exec sleep 1000) >/dev/null 2>&1 & echo $! > {}",
        file.display(),
        pid.display()
    );
    let mut child = program("rcap")
        .args(["trace", "--json", "--", "sh", "-c", &daemon])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let line = lines.next().unwrap().unwrap();
    assert!(line.ends_with("Ctrl-C ends the recording."), "{line}");
    let signal = |pid: i32, signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal);
    signal(child.id().cast_signed(), nix::sys::signal::Signal::SIGINT).unwrap();
    let line = lines.next().unwrap().unwrap();
    assert!(line.ends_with("are still running."), "{line}");
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        (names(&report["candidates"]), &report["exit"]["code"]),
        (vec!["cap_chown"], &0.into())
    );
    assert_eq!(report["gaps"], serde_json::json!([]));
    let daemon = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
    signal(daemon, nix::sys::signal::Signal::SIGKILL).unwrap();
}

fn a_program_for_a_while() {
    let ended = trace(&["--for", "100ms", "--", "sleep", "1000"]);
    assert_eq!(ended.status, Some(128 + libc::SIGTERM), "{ended:?}");
    assert!(ended.err.starts_with("Candidates: none\n"), "{ended:?}");
}

fn report(args: &[&str]) -> Value {
    let ran = trace(&[&["--json"], args].concat());
    serde_json::from_str(ran.out.lines().last().unwrap_or_default())
        .unwrap_or_else(|err| panic!("{err}: {ran:?}"))
}

fn names(value: &Value) -> Vec<&str> {
    value.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect()
}

fn what_can_be_done_here() {
    let check = trace(&["--check"]);
    assert_eq!(check.status, Some(0), "{check:?}");
    assert!(check.out.lines().any(|line| line.starts_with("recording ") && line.contains("yes: ")));
    assert_eq!(trace(&["--check", "true"]).status, Some(125));
    assert_eq!(trace(&["--backend", "none", "true"]).status, Some(125));
    let bpf = trace(&["--backend", "bpf", "true"]);
    assert_eq!(bpf.status, Some(125));
    assert!(bpf.err.contains("control groups"), "{bpf:?}");
}

/// The candidates of Debian's programs, as root with all capabilities.
fn known_programs() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let [file, other, device, packets] = ["file", "other", "device", "packets"].map(path);
    for path in [&file, &other] {
        fs::write(path, "").unwrap();
    }
    fs::set_permissions(&other, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&other, Some(1000), Some(1000)).unwrap();
    #[rustfmt::skip]
    let rows: [(&[&str], &[&str]); 9] = [
        (&["true"],                                           &[]),
        (&["cat", &file],                                     &[]),
        (&["cat", &other],                                    &["cap_dac_read_search"]),
        (&["chown", "1000", &file],                           &["cap_chown"]),
        (&["nice", "-n", "-5", "true"],                       &["cap_sys_nice"]),
        (&["dmesg"],                                          &["cap_syslog"]),
        (&["mknod", &device, "c", "1", "3"],                  &["cap_mknod"]),
        (&["su", "nobody", "-s", "/bin/true"],
         &["cap_setgid", "cap_setuid", "cap_audit_write"]),
        (&["tcpdump", "-i", "lo", "-c", "1", "-w", &packets],
         &["cap_chown", "cap_setgid", "cap_setuid", "cap_net_raw"]),
    ];
    for (command, want) in rows {
        // The program waits for a packet.
        let found = if command[0] == "tcpdump" {
            let mut ran = program("rcap");
            let child = ran.args(["trace", "--json", "--"]).args(command).stdin(Stdio::null());
            let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
            while child.try_wait().unwrap().is_none() {
                ran_quietly(&["ping", "-c", "1", "127.0.0.1"]);
            }
            serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap()
        } else {
            report(&[&["--"], command].concat())
        };
        let mut candidates = names(&found["candidates"]);
        // pam_systemd, if installed, enlarges its socket buffers. (SO_SNDBUFFORCE)
        candidates.retain(|name| (command[0], *name) != ("su", "cap_net_admin"));
        assert_eq!(candidates, want, "{command:?}: {found}");
        assert_eq!(found["lost"], 0);
    }
}

/// The kernel answers a request by netlink in a message, and sendmsg(2) succeeds.
fn answers_by_message() {
    let mtu = "ip link set lo mtu 65000; true";
    let capsh = format!("{} capsh", program("rcap").get_program().to_str().unwrap());
    let refused = format!("{capsh} --drop=cap_net_admin --shell=/bin/sh -- -c '{mtu}'");
    for (script, candidates, missing) in
        [(mtu, &["cap_net_admin"][..], &[][..]), (&*refused, &[], &["cap_net_admin"])]
    {
        let found = report(&["--", "unshare", "-n", "sh", "-c", script]);
        let without = |set: &str| {
            let mut names = names(&found[set]);
            names.retain(|name| !["cap_sys_admin", "cap_setpcap"].contains(name));
            names.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(without("candidates"), candidates, "{found}");
        assert_eq!(without("missing"), missing, "{found}");
    }
}

/// The kernel looks whether a process may map user 0, and has no event for it.
fn checks_without_an_event() {
    let found = report(&["--", "unshare", "-r", "true"]);
    assert!(found["unseen"].to_string().contains("cap_setfcap"), "{found}");
    let found = report(&["--", "unshare", "-n", "true"]);
    assert!(!found["unseen"].to_string().contains("cap_setfcap"), "{found}");
}

fn ran_quietly(command: &[&str]) {
    let mut program = Command::new(command[0]);
    program.args(&command[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    program.status().unwrap();
}

fn each_check_as_it_happens() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let args = ["--", "chown", "1000", file.to_str().unwrap()];
    let lines = trace(&[&["--follow"], &args[..]].concat()).err;
    let first = lines.lines().next().unwrap();
    assert!(first.contains("cap_chown") && first.contains("[fchownat = 0]"), "{first}");
    let objects = trace(&[&["--follow", "--json"], &args[..]].concat()).out;
    let objects: Vec<Value> =
        objects.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (report, checks) = objects.split_last().unwrap();
    assert_eq!(report["schema"], 1);
    assert!(checks.iter().any(|check| check["cap"] == "cap_chown" && check["rule"] == "candidate"));
}

fn without_outcomes() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let found = report(&["--no-outcomes", "--", "chown", "1000", file.to_str().unwrap()]);
    assert_eq!(names(&found["candidates"]), ["cap_chown"]);
    assert_eq!(found["checks"][0]["returned"], Value::Null);
}

fn interrupted() {
    let dir = directory();
    let begun = dir.path().join("begun");
    let script =
        format!("trap 'exit 9' TERM; touch {}; while :; do sleep 0.1; done", begun.display());
    let child = program("rcap")
        .args(["trace", "--json", "--", "sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| begun.exists());
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(9));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["exit"]["code"], 9);
}

fn what_a_killed_one_leaves() {
    let tracefs = tracefs();
    let mut child = program("rcap")
        .args(["trace", "cat"]) // exits when the FIFO has no writer
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_there = || !instances(&tracefs, child.id()).is_empty();
    wait_until(is_there);
    let pid = child.id();
    let input = child.stdin.take();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!instances(&tracefs, pid).is_empty());
    drop(input);
    report(&["true"]);
    assert!(instances(&tracefs, pid).is_empty());
}
