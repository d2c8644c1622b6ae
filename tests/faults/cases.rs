//! The command lines, and the judgement of their runs.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::Path,
};

use nix::{errno::Errno, libc, sys::signal::Signal};
use rcap::file::{self, FileCaps};

use crate::{
    common::{directory, program, tracefs},
    tracer::{self, Call, Fault, Traced},
};

/// A command line that runs in a directory of its own.
struct Case {
    line: &'static [&'static str],
    /// Creates the files.
    setup: fn(&Path),
    /// Reduces the output to the part that is the same in every run.
    normal: fn(&str) -> String,
    /// Returns whether the output states that it is incomplete, which then is not a failure.
    states_gaps: fn(&str) -> bool,
    /// Whether a failure must leave standard output empty, because the program was not to start.
    is_silent: bool,
    /// The number of faults to try by default, because a run takes long.
    quick: Option<usize>,
}

const CASE: Case = Case {
    line: &[],
    setup: |_| {},
    normal: str::to_owned,
    states_gaps: |_| false,
    is_silent: false,
    quick: None,
};

/// The files of a directory by name: mode, owner, capabilities, and content.
type Files = BTreeMap<String, (u32, u32, Vec<u8>, Vec<u8>)>;

/// The observable result of a run.
#[derive(Debug)]
struct Outcome {
    traced: Traced,
    files: Files,
    fault: Option<Fault>,
}

/// The judgement of a run with a fault.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The fault made no difference.
    Same,
    /// The program reported an error.
    Refused,
    /// The output states that it is incomplete.
    Stated,
    /// The process ended because it had no memory.
    OutOfMemory,
    /// The result is not acceptable.
    Wrong(Wrong),
}

/// The reason for which a result is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Wrong {
    Hangs,
    LeavesAProcess,
    /// This file is neither as before nor as it was to become.
    Leaves(String),
    Panics,
    /// Exit status 0 with another result.
    Lies,
    FailsWithoutAMessage,
    /// It fails after the program has started.
    FailsTooLate,
    IsKilled(Signal),
}

fn files(dir: &Path) -> Files {
    let mut found = Files::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let caps = xattr::get(&path, "security.capability").ok().flatten().unwrap_or_default();
            let content = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let name = path.strip_prefix(dir).unwrap().to_string_lossy().into_owned();
            found.insert(name, (meta.mode(), meta.uid(), caps, content));
            if meta.is_dir() {
                pending.push(path);
            }
        }
    }
    found
}

/// Judges a run with a fault by the run without it and by the files before.
fn judge(case: &Case, before: &Files, good: &Outcome, got: &Outcome) -> Verdict {
    let [normal, output] = [&good.traced.out, &got.traced.out].map(|out| (case.normal)(out));
    if got.traced.has_left {
        return Verdict::Wrong(Wrong::LeavesAProcess);
    }
    let Some(end) = got.traced.end else { return Verdict::Wrong(Wrong::Hangs) };
    for name in got.files.keys().chain(before.keys()).chain(good.files.keys()) {
        let [was, to_be, is] = [before, &good.files, &got.files].map(|files| files.get(name));
        if is != was && is != to_be {
            return Verdict::Wrong(Wrong::Leaves(name.clone()));
        }
    }
    let ran_out = ["memory allocation of ", "alternative stack"];
    if end != Ok(0) && ran_out.iter().any(|words| got.traced.err.contains(words)) {
        return Verdict::OutOfMemory;
    }
    if end == good.traced.end.expect("it ended") && output == normal && got.files == good.files {
        return Verdict::Same;
    }
    match end {
        _ if got.traced.err.contains("panicked at") => Verdict::Wrong(Wrong::Panics),
        Ok(0) if (case.states_gaps)(&got.traced.out) => Verdict::Stated,
        Ok(0) => Verdict::Wrong(Wrong::Lies),
        Ok(_) if (case.states_gaps)(&got.traced.out) => Verdict::Refused,
        Ok(_) if states(&got.traced.out, got.fault) => Verdict::Refused,
        Ok(_) if got.traced.err.is_empty() && !got.traced.is_message => {
            Verdict::Wrong(Wrong::FailsWithoutAMessage)
        }
        Ok(_) if case.is_silent && !got.traced.out.is_empty() => {
            Verdict::Wrong(Wrong::FailsTooLate)
        }
        Ok(_) => Verdict::Refused,
        Err(signal) => Verdict::Wrong(Wrong::IsKilled(signal)),
    }
}

/// Returns whether an answer on standard output contains the reason of a fault.
fn states(out: &str, fault: Option<Fault>) -> bool {
    match fault {
        Some(Fault::Fails(errno) | Fault::Reports(errno)) => {
            let words = std::io::Error::from(errno).to_string();
            let words = words.split(" (os error").next().unwrap_or_default();
            [words, errno.desc()].iter().any(|words| out.contains(words))
        }
        _ => false,
    }
}

/// Calls that are not made to fail: they do not return, or cannot fail in this way, and the C
/// library ends the process if they do.
const SPARED: &[i64] = &[
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    // The C library's own work when a thread starts and ends.
    libc::SYS_futex,
    libc::SYS_rseq,
    libc::SYS_set_robust_list,
    libc::SYS_rt_sigprocmask,
    // They always succeed.
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_umask,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
];

/// Returns the faults of a call.
fn faults(number: i64) -> Vec<Fault> {
    use Errno::{EINTR, EIO, EMFILE, ENOMEM, ENOSPC, ENOSYS, EPERM};
    let fails = |errnos: &[Errno]| errnos.iter().copied().map(Fault::Fails).collect::<Vec<_>>();
    match number {
        // close(2) always closes, also when it fails.
        libc::SYS_close => vec![Fault::Reports(EINTR), Fault::Reports(EIO)],
        // An interrupted execve(2) is not known to the kernel.
        libc::SYS_execve | libc::SYS_execveat => fails(&[EPERM, EMFILE, ENOMEM]),
        libc::SYS_mmap
        | libc::SYS_mprotect
        | libc::SYS_munmap
        | libc::SYS_brk
        | libc::SYS_mremap
        | libc::SYS_madvise => fails(&[ENOMEM]),
        // Rust's standard library panics at errors that the kernel does not return.
        libc::SYS_clock_nanosleep => fails(&[EINTR]),
        libc::SYS_getrandom => fails(&[EINTR, ENOSYS, EPERM]),
        libc::SYS_recvfrom => vec![Fault::Fails(EINTR), Fault::Short],
        libc::SYS_read
        | libc::SYS_pread64
        | libc::SYS_write
        | libc::SYS_pwrite64
        | libc::SYS_sendto => [fails(&[EPERM, EINTR, ENOMEM, ENOSPC]), vec![Fault::Short]].concat(),
        _ => fails(&[EPERM, ENOSYS, EINTR, EMFILE, ENOMEM, ENOSPC]),
    }
}

/// Returns the faults to try of a command line that made these calls.
fn plans(case: &Case, calls: &BTreeMap<i64, usize>) -> Vec<(Call, Fault)> {
    let is_all = std::env::var("RCAP_FAULTS").is_ok_and(|value| value == "all");
    let mut plans = Vec::new();
    for (&number, &count) in calls.iter().filter(|(number, _)| !SPARED.contains(number)) {
        let faults = faults(number);
        for ordinal in 0..count {
            let call = Call { number, ordinal };
            // Repetitions of a call are the same code; the first ones and the last ones differ.
            let is_near = ordinal < 40 || ordinal + 10 >= count;
            let is_quick = ordinal < 2 || ordinal + 1 == count;
            if is_all && is_near {
                plans.extend(faults.iter().map(|&fault| (call, fault)));
            } else if !is_all && is_quick {
                // A different fault for each call.
                plans.push((call, faults[(ordinal + plans.len()) % faults.len()]));
            }
        }
    }
    let limit = case.quick.filter(|_| !is_all).unwrap_or(plans.len()).max(1);
    let step = plans.len().div_ceil(limit).max(1);
    plans.into_iter().step_by(step).collect()
}

/// Runs a command line in a new directory `place` of `dir`.
fn once(case: &Case, dir: &Path, plan: Option<(Call, Fault)>) -> (Files, Outcome) {
    let place = dir.join("place");
    let _ = fs::remove_dir_all(&place);
    fs::create_dir(&place).unwrap();
    fs::set_permissions(&place, fs::Permissions::from_mode(0o755)).unwrap();
    (case.setup)(&place);
    let before = files(&place);
    let mut command = program(case.line[0]);
    command.args(&case.line[1..]).current_dir(&place).env("TMPDIR", &place);
    let traced = tracer::run(&mut command, plan).unwrap();
    let outcome = Outcome { traced, files: files(&place), fault: plan.map(|(_, fault)| fault) };
    (before, outcome)
}

/// Tries all faults of some command lines, and panics with the results that are not acceptable.
fn try_all(cases: &[Case]) {
    let mut wrong = Vec::new();
    let dir = directory();
    let dir = dir.path();
    for case in cases {
        let (before, good) = once(case, dir, None);
        let line = case.line.join(" ");
        assert!(good.traced.end.is_some_and(|end| end.is_ok()), "{line}: {good:?}");
        let mut counts = BTreeMap::<String, usize>::new();
        for (call, fault) in plans(case, &good.traced.calls) {
            let (_, got) = once(case, dir, Some((call, fault)));
            // Threads do not always make the same calls.
            if !got.traced.is_hit {
                continue;
            }
            let verdict = judge(case, &before, &good, &got);
            let is_wrong = matches!(verdict, Verdict::Wrong(_));
            let result = if is_wrong { "wrong".into() } else { format!("{verdict:?}") };
            *counts.entry(result).or_default() += 1;
            if let Verdict::Wrong(reason) = verdict {
                let Traced { end, out, err, .. } = &got.traced;
                let name = name(call.number);
                wrong.push(format!(
                    "{line}\n  {fault:?} of {name} {}: {reason:?}: {end:?}\n  \
                     out: {:.300}\n  instead of {:.300}\n  err: {err:.300}",
                    call.ordinal,
                    (case.normal)(out),
                    (case.normal)(&good.traced.out),
                ));
            }
        }
        note(&format!("{line}: {counts:?}\n"));
    }
    assert!(wrong.is_empty(), "{} wrong results\n{}", wrong.len(), wrong.join("\n"));
}

/// Appends to the file that `RCAP_FAULTS_TO` names.
fn note(line: &str) {
    if let Some(path) = std::env::var_os("RCAP_FAULTS_TO") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(line.as_bytes()).unwrap();
    }
}

macro_rules! names {
    ($($name:ident)*) => { &[$((libc::$name, stringify!($name))),*] };
}

/// The calls by number, for messages.
const NAMES: &[(i64, &str)] = names! {
    SYS_read SYS_write SYS_open SYS_openat SYS_openat2 SYS_close SYS_stat SYS_fstat SYS_lstat
    SYS_newfstatat SYS_statx SYS_poll SYS_ppoll SYS_lseek SYS_mmap SYS_mprotect SYS_munmap SYS_brk
    SYS_mremap SYS_madvise SYS_rt_sigaction SYS_rt_sigprocmask SYS_sigaltstack SYS_ioctl SYS_pread64
    SYS_pwrite64 SYS_readv SYS_writev SYS_pipe2 SYS_dup SYS_dup2 SYS_dup3 SYS_fcntl SYS_clone
    SYS_clone3 SYS_fork SYS_vfork SYS_execve SYS_execveat SYS_wait4 SYS_waitid SYS_kill SYS_getdents64
    SYS_readlink SYS_readlinkat SYS_unlink SYS_unlinkat SYS_rename SYS_renameat SYS_renameat2
    SYS_mkdir SYS_mkdirat SYS_rmdir SYS_fsync SYS_fchmod SYS_fchown SYS_fchownat SYS_ftruncate
    SYS_getxattr SYS_lgetxattr SYS_fgetxattr SYS_setxattr SYS_fsetxattr SYS_removexattr
    SYS_fremovexattr SYS_capget SYS_capset SYS_prctl SYS_getuid SYS_geteuid SYS_getgid SYS_getegid
    SYS_setuid SYS_setgid SYS_setresuid SYS_setresgid SYS_getresuid SYS_getresgid SYS_setgroups
    SYS_getgroups SYS_statfs SYS_fstatfs SYS_socket SYS_connect SYS_socketpair SYS_recvfrom SYS_sendto
    SYS_recvmsg SYS_sendmsg SYS_bpf SYS_perf_event_open SYS_pidfd_open SYS_pidfd_send_signal
    SYS_unshare SYS_setns SYS_mount SYS_umount2 SYS_pivot_root SYS_chdir SYS_fchdir SYS_chroot
    SYS_getrandom SYS_memfd_create SYS_timerfd_create SYS_signalfd4 SYS_eventfd2 SYS_epoll_wait
    SYS_prlimit64 SYS_sched_getaffinity SYS_sched_yield SYS_uname SYS_getcwd SYS_umask SYS_setsid
    SYS_setpgid SYS_getpgid SYS_tgkill SYS_clock_nanosleep SYS_access SYS_faccessat SYS_faccessat2
    SYS_listxattr SYS_llistxattr SYS_flistxattr SYS_sync_file_range SYS_fallocate SYS_flock
    SYS_close_range SYS_fsopen SYS_fsconfig SYS_fsmount SYS_move_mount SYS_open_tree SYS_seccomp
    SYS_sched_setaffinity SYS_getppid SYS_getsid SYS_sethostname SYS_mount_setattr
};

fn name(number: i64) -> String {
    let known = NAMES.iter().find(|(known, _)| *known == number);
    known.map_or(format!("call {number}"), |(_, name)| name.replace("SYS_", ""))
}

fn touch(dir: &Path, names: &[&str]) {
    for name in names {
        fs::write(dir.join(name), "content").unwrap();
    }
}

fn give(dir: &Path, name: &str, caps: &str) {
    let caps: FileCaps = caps.parse::<rcap::CapState>().unwrap().try_into().unwrap();
    let _ = file::write(dir.join(name), &caps).unwrap();
}

/// Two files with capabilities, and one without.
fn tree(dir: &Path) {
    touch(dir, &["a", "c"]);
    fs::create_dir(dir.join("d")).unwrap();
    touch(dir, &["d/b"]);
    give(dir, "a", "cap_net_raw=ep");
    give(dir, "d/b", "cap_chown,cap_kill=p");
}

pub(crate) fn verdicts() {
    let traced = |end, out: &str, err: &str| Traced {
        end,
        out: out.into(),
        err: err.into(),
        calls: BTreeMap::new(),
        is_hit: true,
        is_message: false,
        has_left: false,
    };
    let file = |content: &str| Files::from([("f".into(), (0, 0, vec![], content.into()))]);
    let outcome =
        |end, out, err, files| Outcome { traced: traced(end, out, err), files, fault: None };
    let good = outcome(Some(Ok(0)), "out", "", file("new"));
    let judge = |got| judge(&CASE, &file("old"), &good, &got);
    let (failed, segfault) = (Some(Ok(1)), Some(Err(Signal::SIGSEGV)));
    let leaves = |name: &str| Verdict::Wrong(Wrong::Leaves(name.to_owned()));
    assert_eq!(judge(outcome(Some(Ok(0)), "out", "note", file("new"))), Verdict::Same);
    assert_eq!(judge(outcome(failed, "", "no", file("old"))), Verdict::Refused);
    assert_eq!(judge(outcome(failed, "", "no", file("new"))), Verdict::Refused);
    assert_eq!(judge(outcome(failed, "", "no", file("ne"))), leaves("f"));
    for (end, out, content, wrong) in [
        (failed, "", "old", Wrong::FailsWithoutAMessage),
        (Some(Ok(0)), "ou", "new", Wrong::Lies),
        (Some(Ok(0)), "out", "old", Wrong::Lies),
        (None, "", "old", Wrong::Hangs),
        (segfault, "", "old", Wrong::IsKilled(Signal::SIGSEGV)),
    ] {
        assert_eq!(judge(outcome(end, out, "", file(content))), Verdict::Wrong(wrong));
    }
    let mut left = file("old");
    left.extend([("g".into(), (0, 0, vec![], vec![]))]);
    assert_eq!(judge(outcome(failed, "", "no", left)), leaves("g"));
}

pub(crate) fn file_capabilities() {
    try_all(&[
        Case { line: &["setcap", "cap_net_raw+ep", "a", "cap_kill=p", "c"], setup: tree, ..CASE },
        Case { line: &["setcap", "-r", "a"], setup: tree, ..CASE },
        Case { line: &["setcap", "-v", "cap_net_raw=ep", "a"], setup: tree, ..CASE },
        Case { line: &["getcap", "a", "c"], setup: tree, ..CASE },
        Case { line: &["getcap", "-r", "."], setup: tree, normal: sorted, ..CASE },
    ]);
}

/// Removes the texts between two characters.
fn without(text: &str, from: char, to: char) -> String {
    let mut parts = text.split(from);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(to).map_or(part, |(_, rest)| rest))
}

/// Threads print files in any order.
fn sorted(out: &str) -> String {
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

pub(crate) fn processes() {
    try_all(&[
        Case { line: &["getpcaps", "1"], ..CASE },
        Case { line: &["getpcaps", "--iab", "1"], ..CASE },
        // Processes start and end meanwhile, and those that cannot be read are left out.
        Case { line: &["captree", "2"], normal: |out| out.lines().take(1).collect(), ..CASE },
    ]);
}

/// The sets that a started program has.
const SETS: &str = "grep -E '^(Cap|Uid|Groups|NoNewPrivs)' /proc/self/status";

pub(crate) fn programs_with_other_privileges() {
    let run = Case { is_silent: true, ..CASE };
    try_all(&[
        Case { line: &["rcap", "run", "--cap-set", "cap_net_raw", "--", "sh", "-c", SETS], ..run },
        Case {
            line: &[
                "rcap",
                "run",
                "--cap-set",
                "cap_net_raw",
                "--user",
                "nobody",
                "--no-new-privs",
                "--",
                "sh",
                "-c",
                SETS,
            ],
            ..run
        },
        Case {
            line: &["capsh", "--drop=cap_chown,cap_kill", "--user=nobody", "--", "-c", SETS],
            ..run
        },
        Case { line: &["capsh", "--iab=!cap_chown,^cap_net_raw", "--", "-c", SETS], ..run },
        // Names of users and groups that cannot be read are `???`.
        Case { line: &["capsh", "--print"], normal: |out| without(out, '(', ')'), ..CASE },
    ]);
}

pub(crate) fn saved_capabilities() {
    fn saved(dir: &Path) {
        tree(dir);
        let text = program("rcap")
            .args(["save", "--root", ".", "."])
            .current_dir(dir)
            .output()
            .unwrap()
            .stdout;
        fs::write(dir.join("saved"), text).unwrap();
        for name in ["a", "d/b"] {
            xattr::remove(dir.join(name), "security.capability").unwrap();
        }
    }
    try_all(&[
        Case { line: &["rcap", "save", "."], setup: tree, normal: sorted, ..CASE },
        Case { line: &["rcap", "restore", "--root", ".", "saved"], setup: saved, ..CASE },
    ]);
}

pub(crate) fn inventories() {
    try_all(&[
        Case {
            line: &["rcap", "scan", "--json", "."],
            setup: tree,
            normal: |out| {
                let out = out.replace("\"owner\":null", "\"owner\":\"root\"");
                let out = out.replace("\"group\":null", "\"group\":\"root\"");
                values(&out, &["complete", "unread", "files", "findings"])
            },
            states_gaps: |out| out.contains("\"complete\":false"),
            ..CASE
        },
        Case {
            line: &["rcap", "scan", "."],
            setup: tree,
            normal: |out| {
                let lines =
                    out.lines().skip(1).map(|line| line.replace(" 0 cap", " root cap") + "\n");
                lines.collect()
            },
            states_gaps: |out| out.contains("Not complete: "),
            ..CASE
        },
    ]);
}

pub(crate) fn export_and_explain() {
    try_all(&[
        Case { line: &["rcap", "export", "--to", "docker", "cap_net_raw"], ..CASE },
        // The first line names the user, who is a number if the name cannot be read.
        Case {
            line: &["rcap", "why", "/bin/true"],
            normal: |out| out.lines().skip(1).collect::<Vec<_>>().join("\n"),
            ..CASE
        },
    ]);
}

/// The named values of a JSON object.
fn values(out: &str, keys: &[&str]) -> String {
    let object: serde_json::Value = serde_json::from_str(out).unwrap_or_default();
    keys.iter().map(|key| format!("{key}: {}", object[key])).collect::<Vec<_>>().join("\n")
}

pub(crate) fn recordings() {
    let _ = tracefs();
    try_all(&[
        // A backend that cannot be used is listed with the reason.
        Case {
            line: &["rcap", "trace", "--check"],
            normal: |out| out.lines().filter(|line| line.starts_with("recording")).collect(),
            states_gaps: |out| out.contains("recording               no: "),
            quick: Some(24),
            ..CASE
        },
        Case {
            line: &["rcap", "trace", "--json", "--buffer", "64", "--", "chown", "1000", "c"],
            setup: tree,
            normal: |out| values(out, &["candidates", "gaps", "lost", "missing", "exit"]),
            states_gaps: |out| {
                out.contains("/proc/kallsyms cannot be read") || !out.contains("\"gaps\":[]")
            },
            quick: Some(24),
            ..CASE
        },
    ]);
}

pub(crate) fn minimum() {
    let _ = tracefs();
    try_all(&[Case {
        line: &["rcap", "minimize", "--json", "--", "chown", "1000", "c"],
        setup: tree,
        normal: |out| values(out, &["minimum", "proved"]),
        quick: Some(12),
        ..CASE
    }]);
}
