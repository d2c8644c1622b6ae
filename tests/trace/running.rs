//! Recordings of processes that are already running.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    common::{Followed, directory, program, ran, unified, until_exists, wait_until},
    names, report, trace,
};

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

pub(crate) fn a_running_process() {
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
pub(crate) fn a_control_group_by_either_backend() {
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

/// Denials in a control group have an object and a reason, also without a check of a capability.
pub(crate) fn denials_in_a_control_group() {
    let group = unified().join(format!("rcap-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    let dir = directory();
    let [key, fixed, file] = ["key", "fixed", "fixed/f"].map(|name| dir.path().join(name));
    fs::write(&key, "").unwrap();
    fs::create_dir(&fixed).unwrap();
    fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let script = format!(
        "echo $$ > {}/cgroup.procs; {}\n\
         unshare -m sh -c 'mount -t tmpfs -o ro fixed {} && exec touch {}'\n\
         setpriv --reuid 65534 --clear-groups cat {}",
        group.display(),
        until_exists(&dir.path().join("go")),
        fixed.display(),
        file.display(),
        key.display(),
    );
    let mut child = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).spawn().unwrap();
    wait_until(|| has_processes(&group));
    let recording = followed(&["--cgroup", group.to_str().unwrap()]);
    go(dir.path());
    child.wait().unwrap();
    let report = recording.report();
    fs::remove_dir(&group).unwrap();
    // The loader of a program may look into other directories, too.
    let of = |path: &Path| {
        let mut refused = report["refused"].as_array().unwrap().iter();
        let is_it = |one: &&Value| one["object"]["name"] == path.to_str().unwrap();
        let found = refused.find(is_it).unwrap_or(&Value::Null);
        ["system_call", "lock", "caps", "program"].map(|key| found[key].clone())
    };
    let none: [&str; 0] = [];
    let want = |lock: &str, caps: &[&str], program: &str| {
        [json!("openat"), json!(lock), json!(caps), json!(program)]
    };
    let caps = ["cap_dac_override", "cap_dac_read_search"];
    assert_eq!(of(&key), want("capability", &caps, "cat"), "{report}");
    assert_eq!(of(&file), want("read-only", &none, "touch"), "{report}");
    let unseen = report["unseen"].to_string();
    assert!(!unseen.contains("objects of system calls"), "{unseen}");
}

fn has_processes(group: &Path) -> bool {
    !fs::read_to_string(group.join("cgroup.procs")).unwrap().is_empty()
}

/// A unit is selected by the control group that systemd creates.
pub(crate) fn a_unit() {
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
    let want = format!("rcap trace: {name}: no control group found, so it does not run\n");
    assert_eq!((none.status, none.err), (Some(125), want));
}

/// `rcap scan` says what the processes of a unit hold and never used in a saved report.
pub(crate) fn unused_in_a_unit() {
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
    let report = recording.report();
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
    let (unused, found, unread) = scan();
    fs::write(reports.join("other.json"), "{}").unwrap();
    let closed = scan();
    again.kill().unwrap();
    again.wait().unwrap();
    wait_until(|| !has_processes(&group));
    fs::remove_dir(&group).unwrap();
    assert_ne!(unused, Value::Null, "{unread} {} {}", report["lost"], report["gaps"]);
    let unused = names(&unused);
    assert!(!unused.contains(&"cap_chown") && unused.contains(&"cap_sys_admin"), "{unused:?}");
    assert_eq!(found, 1);
    assert_eq!((&closed.0, closed.1), (&Value::Null, 0));
    assert!(closed.2.contains("other.json"), "{}", closed.2);
}
