//! `getpcaps` as its users see it: output and exit status.

mod common;

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    process::{self, Command},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use common::{Ran, directory, program, run, tools::check};
use nix::unistd::gettid;
use rcap::{Cap, CapSet, CapState};
use serde_json::{Value, json};

tests! {
    Nothing:
        getpcaps_of_itself,
        getpcaps_all,
        getpcaps_by_name,
        getpcaps_names_of_any_bytes,
        getpcaps_errors;
    UserNamespace:
        getpcaps_threads;
}

fn own_text() -> String {
    CapState::current().unwrap().to_string()
}

fn name_this_process(name: &[u8]) {
    fs::write("/proc/self/comm", name).unwrap();
}

fn getpcaps_of_itself() {
    let dir = directory();
    let dir = dir.path();
    let [pid, text] = [process::id().to_string(), own_text()];
    let iab = rcap::proc::Proc::default().status(process::id()).unwrap().iab(CapSet::supported());
    name_this_process(b"a name");
    let plain = format!("{pid}: {text}\n");
    let named = format!("{pid} (a name): {text}\n");
    let verbose = format!("Capabilities for '{pid}': {text}\n");
    check(dir, &format!("getpcaps {pid}"), 0, &plain, "");
    check(dir, &format!("getpcaps {pid} --names {pid}"), 0, &format!("{plain}{named}"), "");
    check(dir, &format!("getpcaps --verbose {pid}"), 0, &verbose, "");
    let ugly = format!("Capabilities for `{pid}': {text}\n");
    check(dir, &format!("getpcaps --ugly {pid}"), 0, "", &ugly);
    check(dir, &format!("getpcaps --legacy {pid}"), 0, "", &ugly);
    let both = format!("{pid} (a name): \"{text}\" [{iab}]\n");
    check(dir, &format!("getpcaps --iab --verbose --names {pid}"), 0, &both, "");
    // The process has one thread.
    check(dir, &format!("getpcaps --threads {pid}"), 0, &plain, "");

    let ran = run(dir, "getpcaps", ["--json", &pid]);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    let status = rcap::proc::Proc::default().status(process::id()).unwrap();
    let namespace = rcap::proc::Proc::default().user_namespace(process::id()).unwrap().inode;
    let process = json!({
        "pid": process::id(),
        "tgid": process::id(),
        "ppid": status.ppid,
        "name": "a name",
        "kind": "program",
        "text": text,
        "effective": status.caps.effective,
        "permitted": status.caps.permitted,
        "inheritable": status.caps.inheritable,
        "bounding": status.bounding,
        "ambient": status.ambient,
        "iab": iab.to_string(),
        "uid": status.uid,
        "gid": status.gid,
        "groups": status.groups,
        "no_new_privs": status.no_new_privs,
        "seccomp": status.seccomp,
        "user_namespace": namespace,
    });
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    assert_eq!(document, json!({"schema": 1, "processes": [process]}));
}

/// Processes start and exit during the test.
fn getpcaps_all() {
    let dir = directory();
    let line = format!("{}: {}", process::id(), own_text());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = Command::new(env!("CARGO_BIN_EXE_getpcaps")).arg("--license").output();
            }
        });
        let runs: Vec<_> = (0..50).map(|_| run(dir.path(), "getpcaps", ["--all"])).collect();
        let json = run(dir.path(), "getpcaps", ["--json", "--all"]);
        done.store(true, Ordering::Relaxed);
        for ran in runs {
            assert_eq!((ran.status, &*ran.err), (Some(0), ""));
            assert_eq!(ran.out.lines().filter(|&other| other == line).count(), 1);
            let pids = ran.out.lines().map(|line| line.split(':').next().unwrap().parse::<u32>());
            assert!(pids.collect::<Result<Vec<_>, _>>().unwrap().is_sorted());
        }
        assert_eq!((json.status, &*json.err), (Some(0), ""));
        let json: Value = serde_json::from_str(&json.out).unwrap();
        let pids = json["processes"].as_array().unwrap().iter().map(|process| &process["pid"]);
        assert_eq!(pids.filter(|&pid| *pid == process::id()).count(), 1);
    });
}

fn getpcaps_by_name() {
    let dir = directory();
    let dir = dir.path();
    let (pid, text) = (process::id(), own_text());
    let name = format!("process{pid:08}");
    name_this_process(name.as_bytes());
    check(dir, &format!("getpcaps {name}"), 0, &format!("{pid}: {text}\n"), "");
    let out = format!("{pid} ({name}): {text}\n");
    check(dir, &format!("getpcaps --names {name}"), 0, &out, "");
    // The kernel stores 15 bytes.
    check(dir, &format!("getpcaps {name}-and-more"), 0, &format!("{pid}: {text}\n"), "");
    let part = &name[..14];
    let err = format!(
        "getpcaps: Cannot parse pid {part}: (Invalid argument, and no process has this name)\n"
    );
    check(dir, &format!("getpcaps {part} {pid}"), 1, &format!("{pid}: {text}\n"), &err);
}

fn getpcaps_names_of_any_bytes() {
    let dir = directory();
    let dir = dir.path();
    let (pid, text) = (process::id(), own_text());
    let names: [(&[u8], &str); 4] = [
        (b"\x1b[7m\n(x) \\n", "\u{1b}[7m\n(x) \\n"),
        (b"n\xff", "n\u{fffd}"),
        (b"r\xc3\xa9sum\xc3\xa9", "r\u{e9}sum\u{e9}"),
        (b"--names", "--names"),
    ];
    for (name, lossy) in names {
        name_this_process(name);
        let mut command = program("getpcaps");
        let output = command.args(["--names", &pid.to_string()]).output().unwrap();
        let want =
            [format!("{pid} (").as_bytes(), name, format!("): {text}\n").as_bytes()].concat();
        assert_eq!((output.status.code(), output.stdout), (Some(0), want), "{lossy:?}");
        let json = run(dir, "getpcaps", ["--json", &pid.to_string()]);
        let json: Value = serde_json::from_str(&json.out).unwrap();
        let bytes = str::from_utf8(name).is_err().then_some(name);
        let process = &json["processes"][0];
        assert_eq!(
            (&process["name"], process.get("name_bytes")),
            (&json!(lossy), bytes.map(|bytes| json!(bytes)).as_ref())
        );
    }
    // A name that is not UTF-8.
    let name = [b"\xff", &*pid.to_string().into_bytes()].concat();
    name_this_process(&name);
    let ran = run(dir, "getpcaps", [OsStr::from_bytes(&name)]);
    let out = format!("{pid}: {text}\n");
    assert_eq!(ran, Ran { status: Some(0), out, err: String::new() });
    let ran = run(dir, "getpcaps", [OsStr::from_bytes(b"no\xfe\x1b")]);
    let err = "getpcaps: Cannot parse pid no\u{fffd}\\u{1b}: (Invalid argument, and no process has \
               this name)\n";
    assert_eq!(ran, Ran { status: Some(1), out: String::new(), err: err.to_owned() });
}

fn getpcaps_errors() {
    let dir = directory();
    let dir = dir.path();
    let own = format!("{}: {}\n", process::id(), own_text());
    let pid = process::id();
    let rows = [
        ("4194305", "process 4194305: does not exist"),
        ("2147483648", "Cannot parse pid 2147483648: (Value too large for defined data type)"),
        ("--no-such-option", "Cannot parse pid --no-such-option: (Invalid argument)"),
    ];
    for (arg, err) in rows {
        check(dir, &format!("getpcaps {arg} {pid}"), 1, &own, &format!("getpcaps: {err}\n"));
    }
    let ran = run(dir, "getpcaps", ["--json", "4194305"]);
    let out = "{\"processes\":[],\"schema\":1}\n".to_owned();
    let err = "getpcaps: process 4194305: does not exist\n".to_owned();
    assert_eq!(ran, Ran { status: Some(1), out, err });
    check(dir, "getpcaps", 1, "", "");
}

fn getpcaps_threads() {
    let dir = directory();
    let dir = dir.path();
    let (pid, text) = (process::id(), own_text());
    let (send, receive) = mpsc::channel();
    let (end, ended) = mpsc::channel::<()>();
    let (end_equal, ended_equal) = mpsc::channel::<()>();
    let differing = thread::spawn(move || {
        let before = CapState::current().unwrap();
        let caps = before.permitted - CapSet::from(Cap::KILL);
        CapState { effective: caps, permitted: caps, ..before }.apply().unwrap();
        send.send((gettid(), own_text())).unwrap();
        let _ = ended.recv();
    });
    let equal = thread::spawn(move || ended_equal.recv());
    let (tid, thread_text) = receive.recv().unwrap();
    assert_ne!(thread_text, text);
    check(dir, &format!("getpcaps {pid}"), 0, &format!("{pid}: {text}\n"), "");
    let out = format!("{pid}: {text}\n{pid}/{tid}: {thread_text}\n");
    check(dir, &format!("getpcaps --threads {pid}"), 0, &out, "");
    let ran = run(dir, "getpcaps", ["--json", "--threads", &pid.to_string()]);
    let document: Value = serde_json::from_str(&ran.out).unwrap();
    let threads = document["processes"][0]["threads"].as_array().unwrap();
    assert_eq!(threads.len(), 1);
    let fields = ["pid", "tgid", "text"].map(|field| threads[0][field].clone());
    assert_eq!(fields, [json!(tid.as_raw()), json!(pid), json!(thread_text)]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    drop(end);
    drop(end_equal);
    differing.join().unwrap();
    let _ = equal.join();
    // The sets of a thread are compared too.
    check(dir, &format!("getpcaps --threads {pid}"), 0, &format!("{pid}: {text}\n"), "");
}
