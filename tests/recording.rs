//! A recording says when it does not work or is not complete, and leaves those of others alone.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran, unified, wait_until};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::wait::wait,
};
use serde_json::Value;

use rcap::{
    Error,
    launch::Launcher,
    trace::{Backend, Gap, Options, Recorder, Tracefs},
};

tests! {
    Tracing:
        in_another_pid_namespace,
        a_control_group_in_another_pid_namespace,
        children_in_another_pid_namespace,
        without_proc,
        nothing_is_recorded,
        nothing_is_recorded_of_what_runs,
        nothing_is_recorded_by_minimize,
        switched_off,
        switched_off_for_minimize,
        a_held_instance_is_left_alone,
        closed_standard_streams;
}

fn rcap(args: &[&str]) -> Ran {
    ran(program("rcap").args(args).stdin(Stdio::null()))
}

/// Puts this process into a mount namespace from which nothing gets out.
fn unshare_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

fn mount_on(kind: &str, path: &str) {
    mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>).unwrap();
}

/// Tracefs, mounted for this process and its children.
fn tracefs() -> PathBuf {
    let path = "/sys/kernel/tracing";
    unshare_mounts();
    mount_on("tracefs", path);
    path.into()
}

/// Runs `body` as the first process of a new PID namespace.
fn as_init(body: impl FnOnce()) {
    unshare(CloneFlags::CLONE_NEWPID).unwrap();
    let status = Launcher::new().call(|| {
        body();
        0
    });
    assert!(status.unwrap().wait().unwrap().success());
}

/// Refuses, and says how it works.
fn assert_refused(ran: &Ran) {
    assert_eq!(ran.status, Some(125), "{ran:?}");
    let words = [&*ran.out, &*ran.err].concat();
    assert!(words.contains("initial PID namespace"), "{ran:?}");
    assert!(words.contains("run rcap in the host's PID namespace"), "{ran:?}");
}

/// Whether the process file system is the host's or that of the namespace.
fn in_another_pid_namespace() {
    unshare_mounts();
    let group = unified().join(format!("rcap-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    let cgroup = group.to_str().unwrap();
    as_init(|| {
        for mounted in [false, true] {
            if mounted {
                mount_on("proc", "/proc");
            }
            let rows: [&[&str]; 7] = [
                &["trace", "true"],
                &["trace", "--backend", "tracepoint", "true"],
                &["trace", "--backend", "kprobe", "true"],
                &["trace", "--pid", "1"],
                &["trace", "--backend", "tracepoint", "--cgroup", cgroup],
                &["trace", "--check"],
                &["minimize", "true"],
            ];
            for args in rows {
                assert_refused(&rcap(args));
            }
        }
    });
    fs::remove_dir(&group).unwrap();
}

/// By BPF, which takes no process ids.
fn a_control_group_in_another_pid_namespace() {
    let group = unified().join(format!("rcap-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // It is not in the namespace of rcap, and ends with this process if not before.
    let enter = format!("echo $$ > {}/cgroup.procs", group.display());
    let script = format!("{enter}; read line; chown 1000 {}", file.display());
    let mut outside = Command::new("sh");
    let mut outside = outside.args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
    let mut line = outside.stdin.take().unwrap();
    wait_until(|| !fs::read_to_string(group.join("cgroup.procs")).unwrap().is_empty());
    unshare_mounts();
    as_init(|| {
        mount_on("proc", "/proc");
        let mut child = program("rcap")
            .args(["trace", "--json", "--cgroup"])
            .arg(&group)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut first).unwrap();
        assert_eq!(first, "Recording 1 processes.\n");
        line.write_all(b"\n").unwrap();
        let report: Value = serde_json::from_reader(child.stdout.take().unwrap()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(report["candidates"], serde_json::json!(["cap_chown"]), "{report}");
        assert_eq!((&report["backend"], &report["gaps"]), (&"bpf".into(), &serde_json::json!([])));
    });
    outside.wait().unwrap();
    fs::remove_dir(&group).unwrap();
}

/// Children that are in another PID namespace than this process, as after `unshare -p`.
fn children_in_another_pid_namespace() {
    let dir = directory();
    let log = dir.path().join("log");
    let status = Launcher::new().call(|| {
        unshare(CloneFlags::CLONE_NEWPID).unwrap();
        let log = fs::File::create(&log).unwrap();
        let err = program("rcap").args(["trace", "true"]).stderr(log).exec();
        panic!("{err}");
    });
    let status = status.unwrap().wait().unwrap().code();
    assert_refused(&Ran { status, out: String::new(), err: fs::read_to_string(&log).unwrap() });
}

fn without_proc() {
    unshare_mounts();
    mount_on("tmpfs", "/proc");
    for args in [&["trace", "true"][..], &["trace", "--check"], &["minimize", "true"]] {
        let ran = rcap(args);
        assert_eq!(ran.status, Some(125), "{ran:?}");
        assert!(ran.err.contains("/proc is not mounted"), "{ran:?}");
        assert!(!ran.err.contains("kernel has neither"), "{ran:?}");
    }
}

/// The directory of the one instance of this process.
fn own_instance(tracefs: &Path) -> PathBuf {
    let own = format!("rcap-{}-", std::process::id());
    let names = Tracefs::open().unwrap().instances().unwrap();
    let name = names.into_iter().find(|name| name.starts_with(&own)).expect("it has been made");
    tracefs.join("instances").join(name)
}

/// A recorder whose event somebody has switched off.
fn deaf(tracefs: &Path) -> Recorder {
    let recorder = Recorder::new(&Options::new(Backend::Tracepoint)).unwrap();
    let event = own_instance(tracefs).join("events/capability/cap_capable/enable");
    fs::write(event, "0").unwrap();
    recorder
}

/// The program does not go on unrecorded either.
fn nothing_is_recorded() {
    let mut recorder = deaf(&tracefs());
    let mut command = Command::new("sleep");
    let started = recorder.start(
        {
            command.arg("1000");
            command
        },
        &Launcher::new(),
    );
    assert!(matches!(started, Err(Error::NoMark)), "{started:?}");
    assert_eq!(wait(), Err(Errno::ECHILD));
}

fn nothing_is_recorded_of_what_runs() {
    let attached = deaf(&tracefs()).attach(&[std::process::id()]);
    assert!(matches!(attached, Err(Error::NoMark)), "{attached:?}");
}

/// A script that has a child of rcap's change a setting of its instance.
fn change(tracefs: &Path, file: &str, write: &str) -> String {
    format!(
        "for file in {}/instances/rcap-$PPID-*/{file}; do {write}$file; done",
        tracefs.display()
    )
}

fn nothing_is_recorded_by_minimize() {
    let script = change(&tracefs(), "events/capability/cap_capable/enable", "echo 0 >");
    let minimum = rcap(&["minimize", "--reset", &script, "true"]);
    assert_eq!((minimum.status, &*minimum.out), (Some(125), ""), "{minimum:?}");
    assert!(minimum.err.contains("recording does not work"), "{minimum:?}");
}

/// By the program that is recorded.
fn switched_off() {
    let tracefs = tracefs();
    #[rustfmt::skip]
    let rows = [
        ("tracing_on",                            "echo 0 >"),
        ("set_event_pid",                         ": >"),
        ("events/capability/cap_capable/enable",  "echo 0 >"),
        ("events/capability/cap_capable/filter",  "echo cap==5 >"),
        ("events/capability/cap_capable/trigger", "echo '!stacktrace' >"),
        ("events/raw_syscalls/sys_exit/enable",   "echo 0 >"),
        ("options/event-fork",                    "echo 0 >"),
    ];
    for (file, write) in rows {
        let script = change(&tracefs, file, write);
        let found = rcap(&["trace", "--json", "--", "sh", "-c", &script]);
        assert_eq!(found.status, Some(0), "{found:?}");
        let report: Value = serde_json::from_str(&found.out).unwrap();
        let want = format!("another process changed {file} of the trace buffer");
        assert_eq!(report["gaps"], serde_json::json!([want]), "{report}");
        let found = rcap(&["trace", "--", "sh", "-c", &script]);
        assert!(found.err.contains(&format!("\nThis is not complete: {want}\n")), "{found:?}");
    }
    let report = rcap(&["trace", "--json", "--", "true"]).out;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["gaps"], &report["lost"]), (&serde_json::json!([]), &0.into()));
    // What is recorded already ends as incomplete as well.
    let mut recorder = Recorder::new(&Options::new(Backend::Tracepoint)).unwrap();
    recorder.attach(&[std::process::id()]).unwrap();
    fs::write(own_instance(&tracefs).join("tracing_on"), "0").unwrap();
    let gaps = recorder.stop().unwrap().gaps;
    assert!(matches!(&*gaps, [Gap::Changed { setting, .. }] if setting == "tracing_on"));
}

fn switched_off_for_minimize() {
    let script = change(&tracefs(), "tracing_on", "echo 0 >");
    let minimum = rcap(&["minimize", "--", "sh", "-c", &script]);
    assert_eq!((minimum.status, &*minimum.out), (Some(1), ""), "{minimum:?}");
    assert!(minimum.err.contains("is not complete"), "{minimum:?}");
}

/// Whoever holds it, in whatever PID namespace: its name says nothing.
fn a_held_instance_is_left_alone() {
    let tracefs = tracefs();
    let instance = tracefs.join(format!("instances/rcap-4194303-1-{}", std::process::id()));
    fs::create_dir(&instance).unwrap();
    let holds = ["set_event_pid", "per_cpu/cpu0/trace_pipe_raw", "tracing_on"];
    for hold in holds.map(|file| fs::File::open(instance.join(file)).unwrap()) {
        assert_eq!(rcap(&["trace", "true"]).status, Some(0));
        assert_eq!(fs::read_to_string(instance.join("tracing_on")).unwrap(), "1\n");
        drop(hold);
    }
    assert_eq!(rcap(&["trace", "true"]).status, Some(0));
    assert!(!instance.exists());
}

/// Their numbers are not those of the files that rcap opens.
fn closed_standard_streams() {
    let dir = directory();
    let closed = ["2>&-", "<&- >&- 2>&-", ">&- 2>&-", "<&- 2>&-"];
    for streams in closed {
        let file = dir.path().join("s.json");
        let script =
            format!(r#""$0" trace --save "$1" -- sh -c 'echo out; echo err >&2' {streams}"#);
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &script]).arg(program("rcap").get_program()).arg(&file);
        assert_eq!(ran(shell).status, Some(0), "{streams}");
        let text = fs::read_to_string(&file).unwrap();
        let report: Value =
            serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"));
        assert_eq!(report["exit"]["code"], 0, "{streams}");
    }
}
