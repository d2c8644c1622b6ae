//! Recordings report that they failed or are incomplete, and do not disturb other recordings.

mod common;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use common::{
    Ran, directory, instances, program, ran, refuse_calls, tracefs, unified, unshare_mounts,
    wait_until,
};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, CpuSet, sched_getcpu, sched_setaffinity, unshare},
    sys::wait::wait,
    unistd::Pid,
};
use serde_json::Value;

use rcap::{
    Cap, Error,
    launch::Launcher,
    trace::{Backend, Gap, Options, Recording, Target, TraceError, Tracer},
};

tests! {
    Root:
        in_another_pid_namespace,
        children_in_another_pid_namespace,
        without_proc,
        a_control_group_in_another_pid_namespace,
        a_burst_is_held_by_bpf,
        a_process_that_leaves_its_group,
        units_and_containers_of_others;
    Tracing:
        nothing_is_recorded,
        nothing_is_recorded_of_what_runs,
        nothing_is_recorded_by_minimize,
        switched_off,
        changed_for_a_while,
        read_by_others,
        switched_off_for_minimize,
        a_held_instance_is_left_alone,
        closed_standard_streams,
        a_burst_is_held;
}

fn rcap(args: &[&str]) -> Ran {
    ran(program("rcap").args(args).stdin(Stdio::null()))
}

fn mount_on(kind: &str, path: &str) {
    mount(Some(kind), path, Some(kind), MsFlags::empty(), None::<&str>).unwrap();
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

/// Asserts that the backend is rejected, with an alternative.
fn assert_refused(ran: &Ran) {
    assert_eq!(ran.status, Some(125), "{ran:?}");
    let words = [&*ran.out, &*ran.err].concat();
    assert!(words.contains("initial PID namespace"), "{ran:?}");
    assert!(words.contains("run in the host's PID namespace"), "{ran:?}");
}

/// /proc may be that of the host or of the namespace.
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

/// BPF does not need process IDs.
fn a_control_group_in_another_pid_namespace() {
    let group = unified().join(format!("rcap-test-{}", std::process::id()));
    fs::create_dir(&group).unwrap();
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    // The process is not in rcap's namespace, and ends with the test at the latest.
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

/// This process's children are in another PID namespace, as after `unshare -p`.
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
        assert!(ran.err.contains("/proc: not mounted"), "{ran:?}");
        assert!(!ran.err.contains("kernel has neither"), "{ran:?}");
    }
}

/// Returns the directory of this process's only instance.
fn own_instance(tracefs: &Path) -> PathBuf {
    instances(tracefs, std::process::id()).pop().unwrap()
}

fn by_tracepoint() -> Options {
    let mut options = Options::default();
    options.backend = Some(Backend::Tracepoint);
    options
}

/// Returns a tracer whose event another process has disabled.
fn deaf(tracefs: &Path) -> Tracer {
    let tracer = Tracer::new(&by_tracepoint()).unwrap();
    let event = own_instance(tracefs).join("events/capability/cap_capable/enable");
    fs::write(event, "0").unwrap();
    tracer
}

/// The program does not continue without being recorded.
fn nothing_is_recorded() {
    let mut tracer = deaf(&tracefs());
    let mut command = Command::new("sleep");
    let started = tracer.start(
        {
            command.arg("1000");
            command
        },
        &Launcher::new(),
    );
    assert!(matches!(started, Err(Error::Trace(TraceError::NoMark))), "{started:?}");
    assert_eq!(wait(), Err(Errno::ECHILD));
}

/// A sandbox forbids the system call of the recorder's own check.
fn nothing_is_recorded_of_what_runs() {
    refuse_calls(&[libc::SYS_prctl.try_into().unwrap()]);
    let attached = Tracer::attach(&[Target::Process(std::process::id())], &by_tracepoint());
    assert!(matches!(attached, Err(Error::Trace(TraceError::NoMark))), "{attached:?}");
}

/// Returns a script with which a child of rcap changes a setting of its instance.
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

/// The recorded program disables the recording.
fn switched_off() {
    let tracefs = tracefs();
    #[rustfmt::skip]
    let rows = [
        ("tracing_on",                            "echo 0 >"),
        ("set_event_pid",                         ": >"),
        ("events/capability/cap_capable/enable",  "echo 0 >"),
        ("events/capability/cap_capable/filter",  "echo cap==5 >"),
        ("events/capability/cap_capable/trigger", "echo '!stacktrace' >"),
        ("options/event-fork",                    "echo 0 >"),
    ];
    for (file, write) in rows {
        let script = change(&tracefs, file, write);
        let found = rcap(&["trace", "--json", "--", "sh", "-c", &script]);
        assert_eq!(found.status, Some(0), "{found:?}");
        let report: Value = serde_json::from_str(&found.out).unwrap();
        let want =
            format!("another process changed {file} of the trace buffer, or it cannot be read");
        assert_eq!(report["gaps"], serde_json::json!([want]), "{report}");
        let found = rcap(&["trace", "--", "sh", "-c", &script]);
        assert!(found.err.contains(&format!("\nThis is not complete: {want}\n")), "{found:?}");
    }
    let report = rcap(&["trace", "--json", "--", "true"]).out;
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((&report["gaps"], &report["lost"]), (&serde_json::json!([]), &0.into()));
    // A recording that has begun also becomes incomplete.
    let own = [Target::Process(std::process::id())];
    let mut tracer = Tracer::attach(&own, &by_tracepoint()).unwrap();
    fs::write(own_instance(&tracefs).join("tracing_on"), "0").unwrap();
    let gaps = tracer.finish(|_| ()).unwrap().gaps;
    assert!(matches!(&*gaps, [Gap::Changed { setting, .. }] if setting == "tracing_on"));
}

/// The setting has its original value when the recording ends.
fn changed_for_a_while() {
    let tracefs = tracefs();
    let attach =
        || Tracer::attach(&[Target::Process(std::process::id())], &by_tracepoint()).unwrap();
    for (file, changed, unchanged) in [
        ("tracing_on", "0", "1"),
        ("events/capability/cap_capable/enable", "0", "1"),
        ("events/capability/cap_capable/filter", "cap==5", "0"),
        ("options/event-fork", "0", "1"),
    ] {
        let mut tracer = attach();
        let instance = own_instance(&tracefs);
        fs::write(instance.join(file), changed).unwrap();
        thread::sleep(Duration::from_millis(20));
        tracer.poll(|_| ()).unwrap();
        fs::write(instance.join(file), unchanged).unwrap();
        let gaps = tracer.finish(|_| ()).unwrap().gaps;
        assert!(matches!(&*gaps, [Gap::Changed { setting, .. }] if setting == file), "{gaps:?}");
        // Only that recording has a gap.
        drop(tracer);
        assert_eq!(attach().finish(|_| ()).unwrap().gaps, [], "{file}");
    }
}

/// Records that another process reads.
fn read_by_others() {
    let tracefs = tracefs();
    let own = [Target::Process(std::process::id())];
    let read = || {
        let mut pipe = fs::File::options();
        let pipe = pipe.read(true).custom_flags(libc::O_NONBLOCK);
        let mut pipe = pipe.open(own_instance(&tracefs).join("trace_pipe")).unwrap();
        assert!(pipe.read(&mut vec![0; 64 * 1024]).unwrap() > 0);
    };
    let empty = || fs::write(own_instance(&tracefs).join("trace"), "").unwrap();
    let rows: [(&dyn Fn(), &[Gap]); 3] =
        [(&read, &[Gap::Taken]), (&empty, &[Gap::Taken]), (&|| (), &[])];
    for (what, want) in rows {
        let mut tracer = Tracer::attach(&own, &by_tracepoint()).unwrap();
        tracer.poll(|_| ()).unwrap();
        let dir = directory();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        (0..50).for_each(|id| chown(&file, Some(id), None).unwrap());
        what();
        assert_eq!(tracer.finish(|_| ()).unwrap().gaps, want);
    }
}

fn switched_off_for_minimize() {
    let script = change(&tracefs(), "tracing_on", "echo 0 >");
    let minimum = rcap(&["minimize", "--in-place", "--", "sh", "-c", &script]);
    assert_eq!((minimum.status, &*minimum.out), (Some(1), ""), "{minimum:?}");
    assert!(minimum.err.contains("is not complete"), "{minimum:?}");
}

/// A held instance is kept, in any PID namespace and under any name.
fn a_held_instance_is_left_alone() {
    let tracefs = tracefs();
    let instance = tracefs.join(format!("instances/rcap-4194303-1-{}", std::process::id()));
    let files = ["set_event_pid", "per_cpu/cpu0/trace_pipe_raw", "tracing_on"];
    // Another recording removes one that is not held yet.
    let holds = loop {
        fs::create_dir(&instance).unwrap();
        let opened: Result<Vec<_>, _> =
            files.iter().map(|file| fs::File::open(instance.join(file))).collect();
        if let Ok(holds) = opened {
            break holds;
        }
        let _ = fs::remove_dir(&instance);
    };
    for hold in holds {
        assert_eq!(rcap(&["trace", "true"]).status, Some(0));
        assert_eq!(fs::read_to_string(instance.join("tracing_on")).unwrap(), "1\n");
        drop(hold);
    }
    assert_eq!(rcap(&["trace", "true"]).status, Some(0));
    assert!(!instance.exists());
}

/// Their numbers are not reused for files that rcap opens.
fn closed_standard_streams() {
    let dir = directory();
    let closed = ["2>&-", "<&- >&- 2>&-", ">&- 2>&-", "<&- 2>&-"];
    for streams in closed {
        let file = dir.path().join("s.json");
        let script = format!(
            r#""$0" trace --follow --save "$1" -- nice -n -5 sh -c 'echo out; echo err >&2' {streams}"#
        );
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &script]).arg(program("rcap").get_program()).arg(&file);
        assert_eq!(ran(shell).status, Some(0), "{streams}");
        let text = fs::read_to_string(&file).unwrap();
        let report: Value =
            serde_json::from_str(&text).unwrap_or_else(|err| panic!("{err}: {text}"));
        assert_eq!(report["exit"]["code"], 0, "{streams}");
    }
}

/// Makes one check per system call, on one processor.
fn burst() {
    let dir = directory();
    let mut here = CpuSet::new();
    here.set(sched_getcpu().unwrap()).unwrap();
    sched_setaffinity(Pid::from_raw(0), &here).unwrap();
    for _ in 0..BURST {
        chown(dir.path(), Some(1), None).unwrap();
    }
}

const BURST: u64 = 100_000;

fn assert_held(recording: &Recording) {
    assert_eq!((recording.lost, &*recording.gaps), (Some(0), &[][..]));
    let needs = recording.analysis.needs.iter();
    let needs = needs.filter(|need| need.cap == Cap::CHOWN && need.returned == Some(0));
    assert!(needs.map(|need| need.count).sum::<u64>() >= BURST, "{recording:?}");
}

/// The default buffer holds the burst, although nothing is read before the end.
fn a_burst_is_held() {
    let own = [Target::Process(std::process::id())];
    let mut tracer = Tracer::attach(&own, &by_tracepoint()).unwrap();
    burst();
    assert_held(&tracer.finish(|_| ()).unwrap());
}

fn a_burst_is_held_by_bpf() {
    let group = Group::new();
    let mut tracer = by_bpf(&group);
    group.enter();
    burst();
    assert_held(&tracer.finish(|_| ()).unwrap());
}

fn by_bpf(group: &Group) -> Tracer {
    let mut options = Options::default();
    options.backend = Some(Backend::Bpf);
    Tracer::attach(&[Target::Cgroup(group.path.clone())], &options).unwrap()
}

/// A control group for this process, which is removed when dropped.
struct Group {
    path: PathBuf,
    before: PathBuf,
}

impl Group {
    fn new() -> Group {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
        let path = unified().join(format!("rcap-test-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Group { path, before: unified().join(own) }
    }

    fn enter(&self) {
        fs::write(self.path.join("cgroup.procs"), "0").unwrap();
    }

    fn leave(&self) {
        fs::write(self.before.join("cgroup.procs"), "0").unwrap();
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.before.join("cgroup.procs"), "0");
        let _ = fs::remove_dir(&self.path);
    }
}

fn ask() {
    chown(directory().path(), Some(1), Some(0)).unwrap();
}

/// BPF notices it by the first check outside, or if it was listed before.
fn a_process_that_leaves_its_group() {
    let group = Group::new();
    let start = || by_bpf(&group);
    let gaps = |mut tracer: Tracer| tracer.finish(|_| ()).unwrap().gaps;
    // It was checked inside and outside.
    let tracer = start();
    group.enter();
    ask();
    group.leave();
    ask();
    assert_eq!(gaps(tracer), [Gap::LeftCgroup]);
    // It was inside first, and is outside at the end.
    group.enter();
    let tracer = start();
    group.leave();
    assert_eq!(gaps(tracer), [Gap::LeftCgroup]);
    // It stays inside, and others are outside.
    let tracer = start();
    ask();
    group.enter();
    ask();
    assert_eq!(gaps(tracer), []);
    // A process that has exited has not left.
    let tracer = start();
    assert!(Command::new("true").status().unwrap().success());
    group.leave();
    assert_eq!(gaps(tracer), [Gap::LeftCgroup]);
    let mut tracer = start();
    let enter = format!("echo $$ > {}/cgroup.procs; read line", group.path.display());
    let mut child = Command::new("sh");
    let mut child = child.args(["-c", &enter]).stdin(Stdio::piped()).spawn().unwrap();
    while tracer.living().unwrap().is_empty() {
        thread::yield_now();
    }
    drop(child.stdin.take());
    child.wait().unwrap();
    assert_eq!(gaps(tracer), []);
}

/// An unprivileged user can choose the name of a control group.
fn units_and_containers_of_others() {
    let pid = std::process::id();
    let (service, id) = (format!("rcap-test-{pid}.service"), format!("{pid:064x}"));
    let [in_slice, other] =
        ["slice", "service"].map(|kind| unified().join(format!("rcaptest{pid}.{kind}")));
    let directories = |above: &Path| [above.to_owned(), above.join(&service), above.join(&id)];
    for path in [directories(&in_slice), directories(&other)].iter().flatten() {
        fs::create_dir(path).unwrap();
    }
    let inside = |path: PathBuf| {
        let script = format!("echo $$ > {}/cgroup.procs; read line", path.display());
        let mut sh = Command::new("sh");
        let child = sh.args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        wait_until(|| !fs::read_to_string(path.join("cgroup.procs")).unwrap().is_empty());
        child
    };
    let children =
        [&in_slice, &other].map(|above| [&service, &id].map(|name| inside(above.join(name))));
    let trace = |option: &str, name: &str| rcap(&["trace", option, name, "--for", "0ms"]);
    let assert_foreign = |ran: &Ran, path: &Path| {
        assert_eq!(ran.status, Some(125), "{ran:?}");
        assert!(ran.err.contains("created the matching control groups"), "{ran:?}");
        assert!(
            ran.err.contains(path.to_str().unwrap()) && ran.err.contains("--cgroup"),
            "{ran:?}"
        );
    };
    // A unit has no units below it, but root can have created a container there.
    let unit = trace("--unit", &service);
    assert_eq!(unit.status, Some(0), "{unit:?}");
    let several = trace("--container", &id);
    assert!(several.err.contains("several control groups"), "{several:?}");
    // The directory above belongs to a user, or is writable for a group.
    chown(&in_slice, Some(1000), None).unwrap();
    assert_foreign(&trace("--unit", &service), &in_slice);
    assert_foreign(&trace("--unit", &service), &other);
    assert_eq!(trace("--container", &id).status, Some(0));
    fs::set_permissions(&other, fs::Permissions::from_mode(0o775)).unwrap();
    assert_foreign(&trace("--container", &id), &in_slice);
    assert_foreign(&trace("--container", &id), &other);
    for mut child in children.into_iter().flatten() {
        drop(child.stdin.take());
        child.wait().unwrap();
    }
    for path in
        [directories(&in_slice), directories(&other)].iter().flat_map(|all| all.iter().rev())
    {
        fs::remove_dir(path).unwrap();
    }
}
