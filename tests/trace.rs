//! The kernel's capability checks, recorded on the running kernel.

mod common;

#[path = "trace/denials.rs"]
mod denials;
#[path = "trace/rings.rs"]
mod rings;
#[path = "trace/stacks.rs"]
mod stacks;

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use common::{
    Followed, directory, instances, program, ran, tracefs, unified, until_exists, wait_until,
};
use denials::{
    objects_of_checks, other_locks, refused_by_a_filter, refused_by_landlock, what_was_refused,
};
use nix::{sys::stat::Mode, unistd::mkfifo};
use rings::{a_ring_that_is_polled, workers_of_io_uring};
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

/// Starts a shell that waits for a file `go`, changes the owner of a file, and exits.
fn waiting(dir: &Path, before: &str) -> std::process::Child {
    let file = dir.join("file");
    fs::write(&file, "").unwrap();
    let wait = until_exists(&dir.join("go"));
    let script = format!("{before} {wait}; chown 1000 {}", file.display());
    Command::new("sh").args(["-c", &script]).spawn().unwrap()
}

fn go(dir: &Path) {
    fs::write(dir.join("go"), "").unwrap();
}

/// Starts a recording of running processes, and waits until it has begun.
fn followed(args: &[&str]) -> Followed {
    Followed::start(program("rcap").arg("trace").args(args))
}

fn a_running_process() {
    let dir = directory();
    let mut child = waiting(dir.path(), "");
    let recording = followed(&["--pid", &child.id().to_string()]);
    go(dir.path());
    let found = recording.report();
    child.wait().unwrap();
    assert_eq!(names(&found["candidates"]), ["cap_chown"], "{found}");
    assert_eq!(found["exit"], Value::Null);
    let check = &found["checks"].as_array().unwrap()[0];
    assert!(check["program"].as_str().unwrap().ends_with("/chown"), "{check}");
    // The time limit ends it before anything has happened.
    let dir = directory();
    let mut child = waiting(dir.path(), "");
    let found = report(&["--pid", &child.id().to_string(), "--for", "100ms"]);
    assert_eq!(names(&found["candidates"]), [""; 0]);
    go(dir.path());
    child.wait().unwrap();
    let none = trace(&["--pid", "4194304"]);
    assert_eq!(
        (none.status, &*none.err),
        (Some(125), "rcap trace: process 4194304: does not exist\n")
    );
}

/// BPF and the tracepoint give the same result, also for processes that enter the group later.
fn a_control_group_by_either_backend() {
    let group = unified().join(format!("rcap-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    let enter = format!("echo $$ > {}/cgroup.procs;", group.display());
    let of = |backend: &str| {
        let dir = directory();
        let [file, over] = ["file", "over"].map(|name| dir.path().join(name));
        // The first process stays until the second is seen, and causes checks until then.
        let stay = format!("{enter} trap '{}' EXIT;", until_exists(&over));
        let ask = format!(
            "{}; {enter} until test -e {}; do chroot / true; done; chown 1000 {}",
            until_exists(&dir.path().join("go")),
            over.display(),
            file.display()
        );
        let first = waiting(dir.path(), &stay);
        wait_until(|| has_processes(&group));
        let second = Command::new("sh").args(["-c", &ask]).spawn().unwrap();
        let mut trace = followed(&["--backend", backend, "--cgroup", group.to_str().unwrap()]);
        go(dir.path());
        trace.see("cap_sys_chroot");
        fs::write(&over, "").unwrap();
        for mut child in [first, second] {
            child.wait().unwrap();
        }
        trace.report()
    };
    let (bpf, tracepoint) = (of("bpf"), of("tracepoint"));
    fs::remove_dir(&group).unwrap();
    assert_eq!(bpf["backend"], "bpf");
    // BPF has the names of programs, and not their paths. Checks of other processes at the start of
    // the recording may be incomplete, and are not compared.
    let rows = |report: &Value| {
        let mut rows = BTreeMap::new();
        let checks = report["checks"].as_array().unwrap().iter();
        for check in checks.filter(|check| check["cap"] == "cap_chown") {
            let row = ["rule", "function", "system_call", "returned", "granted"]
                .map(|key| check[key].to_string());
            *rows.entry(row).or_insert(0) += check["count"].as_u64().unwrap();
        }
        rows
    };
    assert_eq!(rows(&bpf), rows(&tracepoint));
    assert_eq!(rows(&bpf).into_values().collect::<Vec<_>>(), [2], "{bpf}");
    assert_eq!(names(&bpf["candidates"]), ["cap_chown", "cap_sys_chroot"]);
    assert_eq!(bpf["lost"], 0);
}

fn has_processes(group: &Path) -> bool {
    !fs::read_to_string(group.join("cgroup.procs")).unwrap().is_empty()
}

/// A unit is selected by the control group that systemd creates.
fn a_unit() {
    let name = format!("rcap-test-unit-{}", std::process::id());
    let group = unified().join(format!("{name}.service"));
    fs::create_dir(&group).unwrap();
    let dir = directory();
    let mut child = waiting(dir.path(), &format!("echo $$ > {}/cgroup.procs;", group.display()));
    wait_until(|| has_processes(&group));
    let recording = followed(&["--unit", &name]);
    go(dir.path());
    child.wait().unwrap();
    let found = recording.report();
    // The group has no processes left.
    let none = trace(&["--unit", &name]);
    fs::remove_dir(&group).unwrap();
    assert_eq!(names(&found["candidates"]), ["cap_chown"], "{found}");
    let want = format!("rcap trace: {name}: no control group found\n");
    assert_eq!((none.status, none.err), (Some(125), want));
}

/// `rcap scan` says what the processes of a unit hold and never used in a saved report.
fn unused_in_a_unit() {
    let name = format!("rcap-test-unused-{}", std::process::id());
    let group = unified().join(format!("{name}.service"));
    fs::create_dir(&group).unwrap();
    let dir = directory();
    let reports = dir.path().join("reports");
    fs::create_dir(&reports).unwrap();
    let join = format!("echo $$ > {}/cgroup.procs;", group.display());
    let mut child = waiting(dir.path(), &join);
    wait_until(|| has_processes(&group));
    let saved = reports.join("unit.json");
    let recording = followed(&["--unit", &name, "--save", saved.to_str().unwrap()]);
    go(dir.path());
    child.wait().unwrap();
    recording.report();
    let stay = format!("{join} exec sleep 1000");
    let mut again = Command::new("sh").args(["-c", &stay]).spawn().unwrap();
    wait_until(|| has_processes(&group));
    let scan = || {
        let mut rcap = program("rcap");
        let rcap = rcap.args(["scan", "--json", "--exclude", "*", "--traces"]).arg(&reports);
        let scan: Value = serde_json::from_str(&ran(rcap).out).unwrap();
        let subject = format!("unit {name}.service");
        let is_it = |one: &&Value| one["id"] == "unit-unused" && one["subject"] == *subject;
        let found = scan["findings"].as_array().unwrap().iter().filter(is_it).count();
        let mut units = scan["units"].as_array().unwrap().iter();
        let unit = units.find(|unit| unit["name"] == *format!("{name}.service")).unwrap();
        (unit["unused"].clone(), found, scan["unread"].to_string())
    };
    let (unused, found, _) = scan();
    fs::write(reports.join("other.json"), "{}").unwrap();
    let closed = scan();
    again.kill().unwrap();
    again.wait().unwrap();
    wait_until(|| !has_processes(&group));
    fs::remove_dir(&group).unwrap();
    let unused = names(&unused);
    assert!(!unused.contains(&"cap_chown") && unused.contains(&"cap_sys_admin"), "{unused:?}");
    assert_eq!(found, 1);
    assert_eq!((&closed.0, closed.1), (&Value::Null, 0));
    assert!(closed.2.contains("other.json"), "{}", closed.2);
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

fn saved_and_merged() {
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

fn what_is_saved_is_a_new_file() {
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
fn a_recording_that_runs() {
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

/// A program that causes many checks on request.
const BURSTS: &str = "
import os, sys
for line in sys.stdin:
    for i in range(int(line)): os.chown(sys.argv[1], i % 2, 0)
    print('done', flush=True)
";

/// Many checks, with the smallest buffer, which is not read while they happen.
fn buffers_grow() {
    const CHECKS: usize = 3000;
    let dir = directory();
    let mut command = Command::new("python3");
    command.args(["-c", BURSTS]).arg(dir.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut tracer = Tracer::new(&options(64)).unwrap();
    let mut child = tracer.start(command, &Launcher::new()).unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    // Checks are held back until the names of kernel functions are known.
    let mut any = false;
    while !any {
        tracer.poll(|_| any = true).unwrap();
    }
    let mut burst = || {
        writeln!(input, "{CHECKS}").unwrap();
        assert_eq!(output.next().unwrap().unwrap(), "done");
        let mut count = 0;
        // The last millisecond is held back.
        thread::sleep(Duration::from_millis(2));
        tracer.poll(|one| count += usize::from(one.cap == Cap::CHOWN)).unwrap();
        count
    };
    assert!(burst() < CHECKS);
    // The buffer doubles each time records are lost.
    let grown = (0..10).map(|_| burst()).find(|&count| count >= CHECKS);
    assert!(grown.is_some());
    drop(input);
    child.wait().unwrap();
    // Records were lost, and the kernel did not count all of them.
    assert_eq!(tracer.finish(|_| ()).unwrap().lost, None);
}

/// The report names what the recording lacks.
fn lost_records() {
    let dir = directory();
    let pidfile = dir.path().join("pid");
    let script = format!("echo $$ > {}; exec python3 -c \"$0\" \"$1\"", pidfile.display());
    let mut child = program("rcap")
        .args(["trace", "--buffer", "64", "--", "sh", "-c", &script, BURSTS])
        .arg(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| fs::read_to_string(&pidfile).is_ok_and(|text| text.ends_with('\n')));
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    let signal = |signal| nix::sys::signal::kill(pid, signal).unwrap();
    let status = format!("/proc/{}/status", child.id());
    // The recorder does not read while the checks happen.
    signal(nix::sys::signal::Signal::SIGSTOP);
    wait_until(|| fs::read_to_string(&status).unwrap().contains("State:\tT"));
    let mut input = child.stdin.take().unwrap();
    writeln!(input, "3000").unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(output.next().unwrap().unwrap(), "done");
    signal(nix::sys::signal::Signal::SIGCONT);
    drop(input);
    let text = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    assert!(text.contains("Records were lost: this is not complete"), "{text}");
}
