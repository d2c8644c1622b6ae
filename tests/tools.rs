//! The tools as their users see them: output and exit statuses.

mod common;

use std::{
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{self, Command},
    sync::{
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
};

use common::{Ran, directory, program, ran, run};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
    unistd::{gettid, mkfifo},
};
use rcap::{
    Cap, CapSet, CapState, bounding,
    file::{self, FileCaps},
};
use serde_json::{Value, json};

tests! {
    Nothing:
        one_command_four_ways,
        getcap_of_what_cannot_have_any,
        getcap_usage_errors,
        setcap_usage_errors,
        setcap_refuses_what_is_no_regular_file,
        getpcaps_of_itself,
        getpcaps_all,
        getpcaps_by_name,
        getpcaps_names_of_any_bytes,
        getpcaps_errors,
        decoded,
        explained,
        a_closed_pipe,
        signals_of_programs_that_are_started;
    UserNamespace:
        getcap_json,
        getcap_names_of_any_bytes,
        getcap_exclude,
        getcap_sort_and_threads,
        getcap_one_file_system,
        getcap_strict,
        getcap_with_few_descriptors,
        setcap_force,
        setcap_add,
        setcap_remove,
        setcap_dry_run,
        setcap_dry_run_json,
        setcap_without_setfcap,
        setcap_verify,
        setcap_verify_json,
        setcap_unmapped_rootid,
        setcap_nosuid_and_read_only,
        setcap_warns,
        a_proc_that_is_not_procfs,
        setcap_and_getcap_on_older_kernels,
        getpcaps_threads;
    Root:
        setcap_rootid;
    Nothing ["mandoc"]:
        manual_pages_are_right_mdoc;
}

/// A closed pipe kills each program with a signal and without a message, like libcap's.
fn a_closed_pipe() {
    #[rustfmt::skip]
    let rows: [(&str, &[&str]); 6] = [
        ("getpcaps", &["1"]),
        ("getcap",   &["-h"]),
        ("setcap",   &["-h"]),
        ("capsh",    &["--print"]),
        ("captree",  &["1"]),
        ("rcap",     &["explain", "net_raw"]),
    ];
    for (name, args) in rows {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let mut command = program(name);
        let output = command.args(args).stdout(writer.try_clone().unwrap());
        // Some programs print their answers to standard error.
        let output = output.stderr(writer).output().unwrap();
        assert_eq!(output.status.signal(), Some(libc::SIGPIPE), "{name}: {output:?}");
    }
}

/// Programs started by the tools do not ignore SIGPIPE.
fn signals_of_programs_that_are_started() {
    let grep = ["grep", "SigIgn", "/proc/self/status"];
    let shell = grep.join(" ");
    for (name, args) in [
        ("rcap", &[&["run", "--"][..], &grep].concat()[..]),
        ("capsh", &["--", "-c", &shell]),
        ("capsh", &["--shell=/bin/sh", "--noenv", "--", "-c", &shell]),
    ] {
        let ran = ran(program(name).args(args));
        let ignored = ran.out.trim_end().strip_prefix("SigIgn:\t").unwrap();
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        assert_eq!(ignored & 1 << (libc::SIGPIPE - 1), 0, "{name} {args:?}: {ran:?}");
    }
}

fn manual_pages_are_right_mdoc() {
    let pages = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/man")).unwrap();
    let pages: Vec<_> = pages.map(|page| page.unwrap().path()).collect();
    let lint = ran(Command::new("mandoc").args(["-Tlint", "-W", "warning"]).args(pages));
    assert_eq!(lint, Ran { status: Some(0), out: String::new(), err: String::new() });
}

/// Runs a command line of words without spaces, and compares the output. The usage after an error
/// is ignored.
#[track_caller]
fn check(dir: &Path, line: &str, status: i32, out: &str, err: &str) {
    let words: Vec<_> = line.split(' ').collect();
    check_words(dir, &words, status, out, err);
}

#[track_caller]
fn check_words(dir: &Path, words: &[&str], status: i32, out: &str, err: &str) {
    let Ran { status: got, out: got_out, err: got_err } = run(dir, words[0], &words[1..]);
    let got_err = got_err.split("usage: ").next().unwrap_or_default();
    assert_eq!((got, &*got_out, got_err), (Some(status), out, err), "{words:?}");
}

/// Runs a command line of words without spaces that prints only a JSON document.
#[track_caller]
fn check_json(dir: &Path, line: &str, status: i32, want: &Value) {
    let words: Vec<_> = line.split(' ').collect();
    let ran = run(dir, words[0], &words[1..]);
    assert_eq!((ran.status, &*ran.err), (Some(status), ""), "{line}");
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), *want, "{line}");
    assert!(ran.out.ends_with('\n'), "{line}");
}

/// Creates empty files and their directories.
fn touch(dir: &Path, files: &[&str]) {
    for file in files {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
}

#[track_caller]
fn set(dir: &Path, caps: &str, file: impl AsRef<OsStr>) {
    let ran = run(dir, "setcap", [caps.as_ref(), file.as_ref()]);
    assert_eq!(ran, Ran { status: Some(0), out: String::new(), err: String::new() }, "{caps}");
}

/// Returns the capabilities of a file, with its root ID.
fn get(dir: &Path, file: &str) -> String {
    run(dir, "getcap", ["-vn", file]).out
}

/// A mount that is removed when dropped, so that its directory can be removed.
struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a tmpfs that only this process and its children see.
    fn tmpfs(on: PathBuf, flags: MsFlags) -> Mounted {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        fs::create_dir(&on).unwrap();
        mount(Some("none"), &on, Some("tmpfs"), flags, None::<&str>).unwrap();
        Mounted(on)
    }

    fn remount(&self, flags: MsFlags) {
        let flags = flags | MsFlags::MS_REMOUNT;
        mount(None::<&str>, &self.0, None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Removes these capabilities from programs executed later, but not from this process.
fn withhold(caps: &[Cap]) {
    for &cap in caps {
        bounding::drop(cap).unwrap();
    }
}

fn file_caps(permitted: &[&str], effective: bool) -> Value {
    json!({"permitted": permitted, "inheritable": [], "effective": effective, "rootid": null})
}

fn one_command_four_ways() {
    let dir = directory();
    touch(dir.path(), &["f"]);
    let pid = process::id().to_string();
    let rows: &[(&str, &[&[&str]])] = &[
        ("getcap", &[&["-v", "f"], &["--help"], &["-h"], &["-l"], &["--no-such-option"], &[]]),
        ("setcap", &[&["-v", "=", "f"], &["--help"], &["-h"], &["--license"], &["x", "f"], &[]]),
        ("getpcaps", &[&[&pid], &["--iab", &pid], &["--help"], &["--no-such-option"], &[]]),
    ];
    for &(name, lists) in rows {
        let [link, copy] = ["link", "copy"].map(|kind| dir.path().join(kind));
        for kind in [&link, &copy] {
            fs::create_dir_all(kind).unwrap();
        }
        symlink(env!("CARGO_BIN_EXE_rcap"), link.join(name)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_rcap"), copy.join(name)).unwrap();
        for &args in lists {
            let want = run(dir.path(), name, args);
            let mut applet = program("rcap");
            let ways = [
                applet.arg(name),
                &mut Command::new(link.join(name)),
                &mut Command::new(copy.join(name)),
            ];
            for way in ways {
                assert_eq!(ran(way.current_dir(dir.path()).args(args)), want, "{way:?}");
            }
        }
    }
}

fn getcap_of_what_cannot_have_any() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["d/f"]);
    mkfifo(&dir.join("p"), Mode::S_IRWXU).unwrap();
    symlink("d/f", dir.join("l")).unwrap();
    check(dir, "getcap d d/f p l", 0, "", "");
    let not = "(Not a regular file)";
    let all = format!("d {not}\nd/f\np {not}\nl {not}\n");
    check(dir, "getcap -v d d/f p l", 0, &all, "");
    check(dir, "getcap d p l -v", 0, &format!("d {not}\np {not}\nl {not}\n"), "");
    let nulls = format!("d\0{not}\nd/f\0\np\0{not}\nl\0{not}\n");
    check(dir, "getcap -v --null d d/f p l", 0, &nulls, "");
    let tree = format!(". {not}\n./d {not}\n./d/f\n./l {not}\n./p\n");
    check(dir, "getcap -rv --sort .", 0, &tree, "");
    let missing = "getcap: cannot open x: No such file or directory\n";
    check(dir, "getcap -v x d/f", 0, "d/f\n", missing);
    check(dir, "getcap -v --strict x d/f", 1, "d/f\n", missing);
    check_json(dir, "getcap --json d d/f p l", 0, &json!({"schema": 1, "files": []}));
    let files = json!([
        {"path": "d", "kind": "directory", "capabilities": null},
        {"path": "d/f", "kind": "file", "capabilities": null},
        {"path": "p", "kind": "special", "capabilities": null},
        {"path": "l", "kind": "symbolic-link", "capabilities": null},
        {
            "path": "x",
            "kind": "unreadable",
            "error": "cannot open x: No such file or directory",
        },
    ]);
    let files = json!({"schema": 1, "files": files});
    check_json(dir, "getcap -v --json d d/f p l x", 0, &files);
    check_json(dir, "getcap -v --json --strict d d/f p l x", 1, &files);
}

fn getcap_usage_errors() {
    let dir = directory();
    touch(dir.path(), &["f"]);
    let rows = [
        ("getcap", "getcap: missing FILE"),
        ("getcap --json --null f", "getcap: --json cannot be used with --null"),
        ("getcap --threads 0 f", "getcap: --threads 0: 0 is not in 1..=256"),
        ("getcap --threads 257 f", "getcap: --threads 257: 257 is not in 1..=256"),
        ("getcap -x f", "getcap: unknown option -x"),
        ("getcap --recursve f", "getcap: unknown option --recursve; did you mean --recursive?"),
    ];
    for (line, want) in rows {
        let mut words = line.split(' ');
        let ran = run(dir.path(), words.next().unwrap(), words);
        let err = ran.err.lines().next();
        assert_eq!((ran.status, &*ran.out, err), (Some(1), "", Some(want)), "{line}");
    }
}

fn getcap_json() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["a", "b", "c", "d"]);
    set(dir, "cap_net_raw,cap_kill=ep", "a");
    set(dir, "cap_kill=i", "b");
    set(dir, "=", "d");
    let a = json!({
        "path": "./a",
        "kind": "file",
        "text": "cap_kill,cap_net_raw=ep",
        "capabilities": file_caps(&["cap_kill", "cap_net_raw"], true),
    });
    let b = json!({
        "path": "./b",
        "kind": "file",
        "text": "cap_kill=i",
        "capabilities":
            {"permitted": [], "inheritable": ["cap_kill"], "effective": false, "rootid": null},
    });
    let c = json!({"path": "./c", "kind": "file", "capabilities": null});
    let d = json!({
        "path": "./d",
        "kind": "file",
        "text": "=",
        "capabilities": file_caps(&[], false),
    });
    let dot = json!({"path": ".", "kind": "directory", "capabilities": null});
    let few = json!({"schema": 1, "files": [a, b, d]});
    check_json(dir, "getcap -r --sort --json .", 0, &few);
    let all = json!({"schema": 1, "files": [dot, a, b, c, d]});
    check_json(dir, "getcap -rvn --sort --json .", 0, &all);
}

fn getcap_names_of_any_bytes() {
    let dir = directory();
    let dir = dir.path();
    let names: [&[u8]; 5] = [b"\x1b[31m", b"a b", b"c\nd", b"e\\f", b"n\xff"];
    let (mut plain, mut null, mut files) = (Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let file = OsStr::from_bytes(name);
        fs::write(dir.join(file), "").unwrap();
        set(dir, "cap_kill=p", file);
        plain.extend([b"./", name, b" cap_kill=p\n"].concat());
        null.extend([b"./", name, b"\0cap_kill=p\n"].concat());
        files.push(json!({
            "path": format!("./{}", file.display()),
            "kind": "file",
            "text": "cap_kill=p",
            "capabilities": file_caps(&["cap_kill"], false),
        }));
    }
    files[4]["path_bytes"] = json!(b"./n\xff");
    let out = |option: &[&str]| {
        let output =
            program("getcap").current_dir(dir).args(["-r", "--sort", "."]).args(option).output();
        let output = output.unwrap();
        assert_eq!((output.status.code(), output.stderr), (Some(0), Vec::new()));
        output.stdout
    };
    assert_eq!(out(&[]), plain);
    assert_eq!(out(&["--null"]), null);
    let want = json!({"schema": 1, "files": files});
    assert_eq!(serde_json::from_slice::<Value>(&out(&["--json"])).unwrap(), want);

    // setcap prints names in the same way.
    let name = OsStr::from_bytes(names[4]);
    let verify = program("setcap").current_dir(dir).args(["-v", "cap_kill=p"]).arg(name).output();
    assert_eq!(verify.unwrap().stdout, b"n\xff: OK\n");
    let dry = ["--dry-run", "--json", "-r"].map(OsString::from);
    let ran = run(dir, "setcap", dry.iter().map(OsString::as_os_str).chain([name]));
    let want = json!({
        "schema": 1,
        "files": [{
            "path": "n\u{fffd}",
            "path_bytes": [110, 255],
            "old": file_caps(&["cap_kill"], false),
            "new": null,
            "refused": null,
        }],
    });
    assert_eq!((ran.status, serde_json::from_str(&ran.out).unwrap()), (Some(0), want));
    // Names are escaped in messages.
    let err = "setcap: cannot open \\u{1b}[2J\\\\: No such file or directory\n";
    check(dir, "setcap cap_kill=p \x1b[2J\\", 1, "", err);
}

fn getcap_exclude() {
    let dir = directory();
    let dir = dir.path();
    let files = ["d/keep", "d/skip/x", "d/sub/skip/y", "d/sub/a.tmp", "d/z.tmp", "skip"];
    touch(dir, &files);
    for file in files {
        set(dir, "cap_kill=p", file);
    }
    #[rustfmt::skip]
    let rows: &[(&str, &[&str])] = &[
        ("",                                  &["./d/keep", "./d/skip/x", "./d/sub/a.tmp", "./d/sub/skip/y", "./d/z.tmp", "./skip"]),
        (" --exclude skip",                   &["./d/keep", "./d/sub/a.tmp", "./d/z.tmp"]),
        (" --exclude *.tmp --exclude=sk*",    &["./d/keep"]),
        (" --exclude ./d/skip",               &["./d/keep", "./d/sub/a.tmp", "./d/sub/skip/y", "./d/z.tmp", "./skip"]),
        (" --exclude d/skip",                 &["./d/keep", "./d/skip/x", "./d/sub/a.tmp", "./d/sub/skip/y", "./d/z.tmp", "./skip"]),
        (" --exclude ./d/*.tmp",              &["./d/keep", "./d/skip/x", "./d/sub/a.tmp", "./d/sub/skip/y", "./skip"]),
        (" --exclude ./*/*",                  &["./skip"]),
        (" --exclude [k-s]*",                 &["./d/z.tmp"]),
    ];
    for (options, names) in rows {
        let want = names.iter().flat_map(|name| [name, " cap_kill=p\n"]).collect::<String>();
        check(dir, &format!("getcap -r --sort .{options}"), 0, &want, "");
    }
    check(dir, "getcap -r --exclude d/s* --exclude z* d", 0, "d/keep cap_kill=p\n", "");
    // A file on the command line is never excluded.
    check(dir, "getcap -r --exclude skip skip", 0, "skip cap_kill=p\n", "");
}

fn getcap_sort_and_threads() {
    let dir = directory();
    let dir = dir.path();
    let mut want = String::new();
    for index in 0..40 {
        for file in ["a/x", "a.b", "b"] {
            let file = format!("{index:02}/{file}");
            touch(dir, &[&file]);
            set(dir, "cap_kill=p", &file);
            want.extend([&file, " cap_kill=p\n"]);
        }
    }
    let directories: Vec<_> = (0..40).rev().map(|index| format!("{index:02}")).collect();
    let directories = directories.join(" ");
    for threads in ["", " --threads 1", " --threads 4", " --threads 256"] {
        for _ in 0..5 {
            check(dir, &format!("getcap -r --sort{threads} {directories}"), 0, &want, "");
        }
        // Without --sort, the result is the same in another order.
        let line = format!("-r{threads} {directories}");
        let out = run(dir, "getcap", line.split(' ')).out;
        let mut lines: Vec<_> = out.lines().collect();
        let mut wanted: Vec<_> = want.lines().collect();
        lines.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(lines, wanted, "{line}");
    }
    // The same without -r.
    check(dir, "getcap --sort 01/b 00/b", 0, "00/b cap_kill=p\n01/b cap_kill=p\n", "");
    check(dir, "getcap 01/b 00/b", 0, "01/b cap_kill=p\n00/b cap_kill=p\n", "");
}

fn getcap_one_file_system() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f"]);
    let _mounted = Mounted::tmpfs(dir.join("other"), MsFlags::empty());
    touch(dir, &["other/g"]);
    set(dir, "cap_kill=p", "f");
    set(dir, "cap_kill=p", "other/g");
    let [f, g] = ["./f cap_kill=p\n", "other/g cap_kill=p\n"];
    check(dir, "getcap -r --sort .", 0, &format!("{f}./{g}"), "");
    check(dir, "getcap -r --sort --one-file-system .", 0, f, "");
    check(dir, "getcap -r --sort --one-file-system . other", 0, &format!("{f}{g}"), "");
    let verbose = format!(". (Not a regular file)\n{f}./other (Not a regular file)\n");
    check(dir, "getcap -rv --sort --one-file-system .", 0, &verbose, "");
}

fn getcap_strict() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["closed/f", "open"]);
    set(dir, "cap_kill=p", "open");
    let closed = dir.join("closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    check(dir, "getcap -r --strict .", 0, "./open cap_kill=p\n", "");
    withhold(&[Cap::DAC_OVERRIDE, Cap::DAC_READ_SEARCH]);
    check(dir, "getcap -r .", 0, "./open cap_kill=p\n", "");
    let why = "cannot read the directory ./closed: Permission denied";
    check(dir, "getcap -r --strict .", 1, "./open cap_kill=p\n", &format!("getcap: {why}\n"));
    let files = json!([
        {"path": "./closed", "kind": "unreadable", "error": why},
        {
            "path": "./open",
            "kind": "file",
            "text": "cap_kill=p",
            "capabilities": file_caps(&["cap_kill"], false),
        },
    ]);
    let want = json!({"schema": 1, "files": files});
    check_json(dir, "getcap -r --sort --json .", 0, &want);
    check_json(dir, "getcap -r --sort --json --strict .", 1, &want);
    let err = "getcap: cannot open closed/f: Permission denied\n";
    check(dir, "getcap closed/f", 0, "", err);
    check(dir, "getcap --strict closed/f", 1, "", err);
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
}

/// On each level, one directory is pending, in any order.
fn getcap_with_few_descriptors() {
    let dir = directory();
    let dir = dir.path();
    let mut bottom = PathBuf::from("t");
    let mut want = Vec::new();
    let file = |path: PathBuf| path.join("f").to_str().unwrap().to_owned();
    for level in 0..100 {
        let [a, b, c] = ["a", "b", "c"].map(|name| bottom.join(format!("{name}{level}")));
        want.extend([file(a), file(c)]);
        touch(dir, &[&want[2 * level]]);
        fs::create_dir(dir.join(&b)).unwrap();
        touch(dir, &[&want[2 * level + 1]]);
        bottom = b;
    }
    want.push(file(bottom));
    touch(dir, &[&want[200]]);
    want.sort();
    for file in &want {
        file::write(dir.join(file), &FileCaps { permitted: Cap::KILL.into(), ..FileCaps::EMPTY })
            .map(|_| ())
            .unwrap();
    }
    let limited = |descriptors: u32, args: &[&str]| {
        let script = format!("ulimit -n {descriptors}; exec \"$0\" \"$@\"");
        let mut sh = Command::new("sh");
        sh.current_dir(dir).args(["-c", &script]).arg(program("getcap").get_program()).args(args);
        ran(&mut sh)
    };
    let found = |ran: &Ran| -> Vec<String> {
        let mut lines: Vec<_> =
            ran.out.lines().filter_map(|line| line.strip_suffix(" cap_kill=p")).collect();
        lines.sort_unstable();
        lines.into_iter().map(str::to_owned).collect()
    };
    for (descriptors, threads) in [(10, "1"), (32, "4")] {
        let ran = limited(descriptors, &["-r", "--threads", threads, "t"]);
        assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{descriptors}");
        assert_eq!(found(&ran), want, "{descriptors}");
    }
    // With too few descriptors for two directories, the second is reported.
    let ran = limited(4, &["-r", "--threads", "1", "t/b0"]);
    assert_eq!((ran.status, found(&ran)), (Some(1), vec![]));
    assert!(
        ran.err.contains("getcap: cannot read the directory t/b0/a1: Too many open files\n"),
        "{}",
        ran.err
    );
    common::refuse_calls(&XATTRAT);
    let ran = limited(12, &["-r", "--threads", "1", "t"]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    assert_eq!(found(&ran), want);
}

fn setcap_usage_errors() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f"]);
    let name = "expected a capability: a name such as cap_net_raw, or a number from 0 to 63";
    let list = "--remove needs a list of capabilities without flags";
    let raises = "--add needs a list of capabilities, or a list, + and flags";
    let verify = "--add and --remove cannot be combined with -v";
    #[rustfmt::skip]
    let rows: &[(&[&str], &str, String)] = &[
        (&[],                                "",                  "no capabilities and no file".into()),
        (&["cap_kill=p"],                    "",                  "no file for the capabilities".into()),
        (&["kill=p", "f"],                   "argument: kill=p\n", "unknown capability \"kill\"; did you mean cap_kill?".into()),
        (&["--json", "--dry-run", "x", "f"], "{\"files\":[],\"schema\":1}\n", "unknown capability \"x\" at byte 0 of \"x\"".into()),
        (&["--json", "cap_kill=p", "f"],     "{\"files\":[],\"schema\":1}\n", "--json needs -v or --dry-run".into()),
        (&["--add"],                         "",                  "--add and --remove need capabilities".into()),
        (&["--remove"],                      "",                  "--add and --remove need capabilities".into()),
        (&["--add", "cap_kill"],             "",                  "no file for the capabilities".into()),
        (&["--add", "", "f"],                "",                  format!("{name}, at byte 0 of \"+p\"")),
        (&["--add", "kill", "f"],            "",                  "unknown capability \"kill\"; did you mean cap_kill?".into()),
        (&["--add", "cap_kill+x", "f"],      "",                  "expected one of the flags e, i and p, at byte 9 of \"cap_kill+x\"".into()),
        (&["cap_net_rwa=ep", "f"],           "argument: cap_net_rwa=ep\n", "unknown capability \"cap_net_rwa\"; did you mean cap_net_raw?".into()),
        (&["--dryrun", "f"],                 "argument: --dryrun\n", format!("{name}, at byte 0 of \"--dryrun\"; did you mean --dry-run?")),
        (&["cap_kill=p", "f", "--json"],     "{\"files\":[],\"schema\":1}\n", "--json needs -v or --dry-run".into()),
        (&["--remove", "", "f"],             "",                  format!("{name}, at byte 0 of \"-eip\"")),
        (&["--remove", "cap_kill+p", "f"],   "",                  list.into()),
        (&["--remove", "cap_kill=", "f"],    "",                  list.into()),
        (&["--remove", "cap_kill-p", "f"],   "",                  list.into()),
        (&["--add", "cap_kill-p", "f"],      "",                  raises.into()),
        (&["--add", "=", "f"],               "",                  raises.into()),
        (&["-v", "--add", "cap_kill", "f"],  "",                  verify.into()),
        (&["-v", "--remove", "cap_kill", "f"], "",                verify.into()),
        (&["", "f"],                         "",                  "empty space is an invalid capability, did you mean -r?".into()),
        (&["-n"],                            "",                  "-n needs a root ID".into()),
        (&["-n", "0", "cap_kill=p", "f"],    "",                  "0: not a root ID, which is a number from 1 to 4294967294".into()),
        (&["-n", "4294967296", "cap_kill=p", "f"], "",            "4294967296: not a root ID, which is a number from 1 to 4294967294".into()),
    ];
    for (args, out, err) in rows {
        let words: Vec<_> = ["setcap"].iter().chain(*args).copied().collect();
        check_words(dir, &words, 1, out, &format!("setcap: {err}\n"));
    }
    assert_eq!(get(dir, "f"), "f\n");
}

fn setcap_refuses_what_is_no_regular_file() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f", "d/f"]);
    mkfifo(&dir.join("p"), Mode::S_IRWXU).unwrap();
    symlink("f", dir.join("l")).unwrap();
    let rows =
        [("d", "a directory"), ("p", "a FIFO"), ("l", "a symbolic link, which is not followed")];
    for (file, what) in rows {
        let why = format!("{file}: not a regular file but {what}");
        let would = format!("setcap: would be refused: {why}\n");
        for (caps, new) in [("cap_kill=p", "cap_kill=p"), ("--add cap_kill", "cap_kill=ep")] {
            check(dir, &format!("setcap {caps} {file}"), 1, "", &format!("setcap: {why}\n"));
            let out = format!("{file}: none -> {new}\n");
            check(dir, &format!("setcap --dry-run {caps} {file}"), 1, &out, &would);
        }
        let want = json!({
            "schema": 1,
            "files": [{
                "path": file,
                "old": null,
                "new": file_caps(&["cap_kill"], false),
                "refused": why,
            }],
        });
        // The first refused file is the last one.
        check_json(
            dir,
            &format!("setcap --dry-run --json cap_kill=p {file} cap_kill=p f"),
            1,
            &want,
        );
    }
    let why = "cannot read the capabilities of x: No such file or directory";
    let would = format!("setcap: would be refused: {why}\n");
    check(dir, "setcap --dry-run --add cap_kill x", 1, "", &would);
    let want = json!({
        "schema": 1,
        "files": [{"path": "x", "old": null, "new": null, "refused": why}],
    });
    check_json(dir, "setcap --dry-run --json --add cap_kill x", 1, &want);
    let err = "setcap: cannot open x: No such file or directory\n";
    check(dir, "setcap cap_kill=p x", 1, "", err);
}

/// -f permits capabilities that are only effective, which set the effective bit. Sets that one bit
/// cannot express are still rejected.
fn setcap_force() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f"]);
    let refused = |args: [&str; 3]| {
        let ran = run(dir, "setcap", args.iter().filter(|arg| !arg.is_empty()));
        assert_eq!((ran.status, &*ran.out), (Some(1), ""));
        assert!(ran.err.contains("one effective bit"), "{ran:?}");
        assert_eq!(file::read(dir.join("f")).unwrap(), None);
    };
    refused(["", "cap_kill=e", "f"]);
    // libcap's check stops before it finds this mistake.
    refused(["", "cap_net_raw=e cap_chown=p", "f"]);
    refused(["-f", "cap_kill=ep cap_chown=p", "f"]);
    check(dir, "setcap -f cap_kill=e f", 0, "", "");
    let bit = FileCaps { effective: true, ..FileCaps::EMPTY };
    assert_eq!(file::read(dir.join("f")).unwrap(), Some(bit));
    check(dir, "getcap f", 0, "f =\n", "");
}

fn setcap_add() {
    let dir = directory();
    let dir = dir.path();
    let two = "cap_chown,cap_kill";
    #[rustfmt::skip]
    let rows = [
        // present              added                  result
        ("",                 "cap_kill",             " cap_kill=ep"),
        ("=",                "cap_kill",             " cap_kill=ep"),
        ("cap_kill=ep",      "cap_kill",             " cap_kill=ep"),
        ("cap_chown=ep",     "cap_kill",             " cap_chown,cap_kill=ep"),
        ("cap_chown=p",      "cap_kill",             " cap_chown,cap_kill=p"),
        ("cap_chown=ei",     "cap_kill",             " cap_chown=ei cap_kill+ep"),
        ("cap_chown=i",      "cap_kill",             " cap_chown=i cap_kill+p"),
        ("cap_chown=ep",     "cap_kill,CAP_BPF,0",   " cap_chown,cap_kill,cap_bpf=ep"),
        ("",                 two,                    " cap_chown,cap_kill=ep"),
        ("",                 "cap_kill+i",           " cap_kill=i"),
        ("cap_chown=p",      "cap_kill+i",           " cap_kill=i cap_chown+p"),
        ("cap_chown=ep",     "cap_kill+ei",          " cap_kill=ei cap_chown+ep"),
        ("cap_chown=p",      "all+e",                ""),
    ];
    for (index, (old, add, new)) in rows.into_iter().enumerate() {
        let file = index.to_string();
        touch(dir, &[&file]);
        if !old.is_empty() {
            set(dir, old, &file);
        }
        if new.is_empty() {
            let ran = run(dir, "setcap", ["--add", add, &file]);
            let why = ": a file has one effective bit, so either none or all capabilities must be effective\n";
            assert_eq!((ran.status, &*ran.out), (Some(1), ""), "{old:?} {add:?}");
            assert!(ran.err.starts_with(&format!("setcap: {file}: cannot store ")), "{}", ran.err);
            assert!(ran.err.ends_with(why), "{}", ran.err);
            assert_eq!(get(dir, &file), format!("{file} {old}\n"));
            continue;
        }
        check(dir, &format!("setcap --add {add} {file}"), 0, "", "");
        assert_eq!(get(dir, &file), format!("{file}{new}\n"), "{old:?} {add:?}");
    }
    // With one effective bit for all capabilities, a clause with different flags is rejected.
    touch(dir, &["f"]);
    set(dir, "cap_chown=ep", "f");
    let err = "setcap: f: cannot store cap_kill: a file has one effective bit, so either none or all \
               capabilities must be effective\n";
    check(dir, "setcap --add cap_kill+p f", 1, "", err);
    check(
        dir,
        "setcap --dry-run --add cap_kill+p f",
        1,
        "",
        &err.replace(": f", ": would be refused: f"),
    );
    // Each pair sees the result of the previous one.
    check(dir, "setcap --add cap_kill f --add cap_bpf f --remove cap_chown f", 0, "", "");
    assert_eq!(get(dir, "f"), "f cap_kill,cap_bpf=ep\n");
}

fn setcap_remove() {
    let dir = directory();
    let dir = dir.path();
    #[rustfmt::skip]
    let rows = [
        // present                    removed                result
        ("",                          "cap_kill",            ""),
        ("cap_kill=ep",               "cap_kill",            ""),
        ("cap_kill=ep",               "cap_chown",           " cap_kill=ep"),
        ("cap_kill,cap_chown=ep",     "cap_kill",            " cap_chown=ep"),
        ("cap_kill,cap_chown=p",      "CAP_KILL",            " cap_chown=p"),
        ("cap_kill,cap_chown=eip",    "cap_kill,cap_bpf",    " cap_chown=eip"),
        ("cap_kill,cap_chown=eip",    "cap_kill,cap_chown",  ""),
        ("cap_kill=i",                "all",                 ""),
        ("=",                         "cap_kill",            ""),
    ];
    for (index, (old, remove, new)) in rows.into_iter().enumerate() {
        let file = index.to_string();
        touch(dir, &[&file]);
        if !old.is_empty() {
            set(dir, old, &file);
        }
        check(dir, &format!("setcap --remove {remove} {file}"), 0, "", "");
        assert_eq!(get(dir, &file), format!("{file}{new}\n"), "{old:?} {remove:?}");
    }
    touch(dir, &["f"]);
    check(dir, "setcap -r f", 1, "", "setcap: f: no capabilities to remove\n");
    check(dir, "setcap -f -r f", 0, "", "setcap: f: no capabilities to remove\n");
    set(dir, "cap_kill=ep", "f");
    check(dir, "setcap -r f", 0, "", "");
    assert_eq!(get(dir, "f"), "f\n");
}

fn setcap_dry_run() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f", "g"]);
    set(dir, "cap_kill=ep", "f");
    #[rustfmt::skip]
    let rows = [
        ("cap_chown=p f",                 0, "f: cap_kill=ep -> cap_chown=p\n", ""),
        ("cap_kill=ep f",                 0, "f: cap_kill=ep -> cap_kill=ep (unchanged)\n", ""),
        ("--add cap_chown f",             0, "f: cap_kill=ep -> cap_chown,cap_kill=ep\n", ""),
        ("--remove cap_kill f",           0, "f: cap_kill=ep -> none\n", ""),
        ("--remove cap_chown f",          0, "f: cap_kill=ep -> cap_kill=ep (unchanged)\n", ""),
        ("--remove cap_chown g",          0, "g: none -> none (unchanged)\n", ""),
        ("-r f = g",                      0, "f: cap_kill=ep -> none\ng: none -> =\n", ""),
        ("-r g",                          1, "g: none -> none (unchanged)\n", "setcap: would be refused: g: no capabilities to remove\n"),
        ("-f -r g",                       0, "g: none -> none (unchanged)\n", ""),
        ("cap_kill=p f cap_kill=p x",     1, "f: cap_kill=ep -> cap_kill=p\n", "setcap: would be refused: cannot read the capabilities of x: No such file or directory\n"),
    ];
    for (args, status, out, err) in rows {
        check(dir, &format!("setcap --dry-run {args}"), status, out, err);
        assert_eq!([get(dir, "f"), get(dir, "g")], ["f cap_kill=ep\n", "g\n"], "{args}");
    }
}

fn setcap_dry_run_json() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f", "g"]);
    set(dir, "cap_kill=ep", "f");
    let object = |path: &str, old: Value, new: Value, refused: Option<&str>| json!({"path": path, "old": old, "new": new, "refused": refused});
    let old = || file_caps(&["cap_kill"], true);
    let files = json!([
        object("f", old(), file_caps(&["cap_chown", "cap_kill"], true), None),
        object("f", old(), Value::Null, None),
        object("g", Value::Null, file_caps(&["cap_bpf"], false), None),
        object("g", Value::Null, Value::Null, Some("g: no capabilities to remove")),
    ]);
    let line = "setcap --dry-run --json --add cap_chown f -r f cap_bpf=p g -r g cap_bpf=p f";
    check_json(dir, line, 1, &json!({"schema": 1, "files": files}));
    let files = json!([object("f", old(), old(), None)]);
    check_json(
        dir,
        "setcap --json --dry-run cap_kill=ep f",
        0,
        &json!({"schema": 1, "files": files}),
    );
    assert_eq!([get(dir, "f"), get(dir, "g")], ["f cap_kill=ep\n", "g\n"]);
}

fn setcap_without_setfcap() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f", "g"]);
    set(dir, "cap_kill=ep", "f");
    withhold(&[Cap::SETFCAP]);
    let why = "setting capabilities needs CAP_SETFCAP";
    let would = format!("setcap: would be refused: f: {why}\n");
    check(dir, "setcap --dry-run cap_bpf=p f", 1, "f: cap_kill=ep -> cap_bpf=p\n", &would);
    check(dir, "setcap --dry-run -r f", 1, "f: cap_kill=ep -> none\n", &would);
    let want = json!({
        "schema": 1,
        "files": [{
            "path": "g",
            "old": null,
            "new": file_caps(&["cap_bpf"], true),
            "refused": format!("g: {why}"),
        }],
    });
    check_json(dir, "setcap --dry-run --json --add cap_bpf g", 1, &want);
    let err = format!("setcap: f: {why}: Operation not permitted\n");
    check(dir, "setcap cap_bpf=p f", 1, "", &err);
    check(dir, "setcap -r f", 1, "", &err);
    assert_eq!([get(dir, "f"), get(dir, "g")], ["f cap_kill=ep\n", "g\n"]);
}

fn setcap_verify() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f", "g"]);
    set(dir, "cap_kill=ep", "f");
    #[rustfmt::skip]
    let rows = [
        ("-v cap_kill=ep f",              0, "f: OK\n"),
        ("-v -r g",                       0, "g: OK\n"),
        ("-v = g",                        0, "g: OK\n"),
        ("-v cap_kill=ep f -r g",         0, "f: OK\ng: OK\n"),
        ("-v -q cap_kill=ep f",           0, ""),
        ("-v cap_kill=p f",               1, "f differs in [e]\n"),
        ("-v cap_kill=eip f",             1, "f differs in [i]\n"),
        ("-v -r f",                       1, "f differs in [pe]\n"),
        ("-v cap_chown=ei f -r g",        1, "f differs in [pie]\n"),
        ("-v -n 7 cap_kill=ep f",         1, "nsowner[got=0, want=7],f differs in []\n"),
        ("-v -q -r f",                    1, ""),
    ];
    for (args, status, out) in rows {
        check(dir, &format!("setcap {args}"), status, out, "");
    }
    let err = "setcap: cannot read the capabilities of x: No such file or directory\n";
    check(dir, "setcap -v -r x", 1, "", err);
    assert_eq!(get(dir, "f"), "f cap_kill=ep\n");
}

fn setcap_verify_json() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f"]);
    set(dir, "cap_kill=ep", "f");
    let caps = file_caps(&["cap_kill"], true);
    let same = json!({
        "path": "f",
        "matches": true,
        "differs": [],
        "capabilities": caps,
        "wanted": {"text": "cap_kill=ep", "rootid": null},
    });
    let other = json!({
        "path": "f",
        "matches": false,
        "differs": ["permitted", "inheritable", "effective"],
        "capabilities": caps,
        "wanted": {"text": "cap_bpf=i", "rootid": 7},
    });
    let error = json!({
        "path": "x",
        "matches": false,
        "error": "cannot read the capabilities of x: No such file or directory",
    });
    let document = |files: &[&Value]| json!({"schema": 1, "files": files});
    check_json(dir, "setcap -v --json cap_kill=ep f", 0, &document(&[&same]));
    let line = "setcap -v --json cap_kill=ep f -n 7 cap_bpf=i f -r x";
    check_json(dir, line, 1, &document(&[&same, &other]));
    check_json(dir, "setcap -v --json cap_kill=ep f -r x", 1, &document(&[&same, &error]));
}

fn setcap_unmapped_rootid() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f"]);
    let why = "f: the root ID 7 is not mapped in this user namespace";
    check(dir, "setcap -n 7 cap_kill=p f", 1, "", &format!("setcap: {why}: Invalid argument\n"));
    let would = format!("setcap: would be refused: {why}\n");
    check(
        dir,
        "setcap --dry-run -n 7 cap_kill=p f",
        1,
        "f: none -> cap_kill=p [rootid=7]\n",
        &would,
    );
    assert_eq!(get(dir, "f"), "f\n");
}

fn setcap_rootid() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f"]);
    check(dir, "setcap -n 1000 cap_kill=p f", 0, "", "");
    check(dir, "getcap -n f", 0, "f cap_kill=p [rootid=1000]\n", "");
    check(dir, "getcap f", 0, "f cap_kill=p\n", "");
    check(dir, "setcap -n 0x3e8 -v cap_kill=p f", 0, "f: OK\n", "");
    check(dir, "setcap -v cap_kill=p f", 1, "nsowner[got=1000, want=0],f differs in []\n", "");
    // A change keeps the root ID, unless it sets another one.
    check(dir, "setcap --add cap_bpf f --remove cap_kill f", 0, "", "");
    assert_eq!(get(dir, "f"), "f cap_bpf=p [rootid=1000]\n");
    let out = "f: cap_bpf=p [rootid=1000] -> cap_kill,cap_bpf=p [rootid=7]\n";
    check(dir, "setcap --dry-run -n 7 --add cap_kill f", 0, out, "");
    let out = "f: cap_bpf=p [rootid=1000] -> cap_bpf=p\n";
    check(dir, "setcap --dry-run cap_bpf=p f", 0, out, "");
}

/// Warnings about capabilities that have no effect, or keep the program from starting.
fn setcap_warns() {
    let dir = directory();
    let dir = dir.path();
    fs::write(dir.join("script"), "#!/bin/sh\n").unwrap();
    let words = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        run(dir, words[0], &words[1..])
    };
    let program = |name: &str, run_path: &str| elf_with_run_path(&dir.join(name), run_path);
    program("origin", "$ORIGIN/../lib");
    program("braces", "/lib:${ORIGIN}");
    program("plain", "/usr/lib");
    fs::write(dir.join("truncated"), &fs::read(dir.join("origin")).unwrap()[..100]).unwrap();
    let script = "a script: only the capabilities of its interpreter /bin/sh apply";
    let origin = "finds its libraries by $ORIGIN";
    #[rustfmt::skip]
    let rows = [
        ("cap_kill=ep script",    Some(script)),
        ("cap_kill=ep origin",    Some(origin)),
        ("cap_kill=ep braces",    Some(origin)),
        ("cap_kill=i origin",     None),
        ("cap_kill=ep plain",     None),
        ("cap_kill=ep truncated", None),
        ("-q cap_kill=ep origin", None),
    ];
    for (line, want) in rows {
        for dry in ["", "--dry-run "] {
            let found = words(&format!("setcap {dry}{line}"));
            assert_eq!(found.status, Some(0), "{line}: {found:?}");
            match want {
                Some(words) => {
                    assert!(found.err.starts_with("setcap: warning: "), "{line}: {found:?}");
                    assert!(found.err.contains(words), "{line}: {found:?}");
                }
                None => assert_eq!(found.err, "", "{line}"),
            }
        }
    }
    // Outside of the bounding set.
    bounding::drop(Cap::NET_RAW).unwrap();
    for (line, want) in [
        (
            "setcap cap_net_raw,cap_kill=ep plain",
            "execve(2) fails here, as the bounding set lacks cap_net_raw",
        ),
        (
            "setcap --dry-run cap_net_raw=p plain",
            "not granted here, as the bounding set lacks cap_net_raw",
        ),
    ] {
        let found = words(line);
        assert_eq!(
            (found.status, found.err),
            (Some(0), format!("setcap: warning: plain: {want}\n"))
        );
    }
    assert_eq!(words("setcap cap_kill=ep plain").err, "");
}

/// Writes the part of an ELF file that has a run path.
fn elf_with_run_path(path: &Path, run_path: &str) {
    let mut bytes = vec![0; 64 + 2 * 56];
    bytes[..6].copy_from_slice(&[
        0x7f,
        b'E',
        b'L',
        b'F',
        2,
        if cfg!(target_endian = "little") { 1 } else { 2 },
    ]);
    let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
    put(32, &64_u64.to_ne_bytes());
    put(54, &56_u16.to_ne_bytes());
    put(56, &2_u16.to_ne_bytes());
    let dynamic = 64 + 2 * 56_u64;
    let strings = dynamic + 3 * 16;
    let size = strings + run_path.len() as u64 + 2;
    // PT_LOAD of the whole file at 0x1000, and PT_DYNAMIC.
    for (index, kind, offset, address, size) in
        [(0, 1_u32, 0_u64, 0x1000_u64, size), (1, 2, dynamic, 0x1000 + dynamic, 48)]
    {
        let at = 64 + index * 56;
        put(at, &kind.to_ne_bytes());
        put(at + 8, &offset.to_ne_bytes());
        put(at + 16, &address.to_ne_bytes());
        put(at + 32, &size.to_ne_bytes());
    }
    // DT_RUNPATH, DT_STRTAB and DT_NULL
    for word in [29, 1, 5, 0x1000 + strings, 0, 0_u64] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.push(0);
    bytes.extend(run_path.bytes());
    bytes.push(0);
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn setcap_nosuid_and_read_only() {
    let dir = directory();
    let dir = dir.path();
    let mounted = Mounted::tmpfs(dir.join("m"), MsFlags::MS_NOSUID);
    touch(dir, &["m/f"]);
    let warning = "setcap: m/f: the file system is mounted with nosuid, so executing the file \
                   grants no capabilities\n";
    check(dir, "setcap --dry-run cap_kill=p m/f", 0, "m/f: none -> cap_kill=p\n", warning);
    check(dir, "setcap cap_kill=p m/f", 0, "", warning);
    check(dir, "setcap --add cap_bpf m/f", 0, "", warning);
    assert_eq!(get(dir, "m/f"), "m/f cap_kill,cap_bpf=p\n");
    check(dir, "setcap -r m/f", 0, "", "");
    assert_eq!(get(dir, "m/f"), "m/f\n");

    mounted.remount(MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
    let why = "m/f: the file system is mounted read-only";
    let err = format!("setcap: {why}: Read-only file system\n");
    check(dir, "setcap cap_kill=p m/f", 1, "", &err);
    let would = format!("setcap: would be refused: {why}\n");
    check(dir, "setcap --dry-run cap_kill=p m/f", 1, "m/f: none -> cap_kill=p\n", &would);
    assert_eq!(get(dir, "m/f"), "m/f\n");
}

/// The numbers of setxattrat(2), getxattrat(2) and removexattrat(2), since Linux 6.13.
const XATTRAT: [u32; 3] = [463, 464, 466];

/// A directory at /proc, whose content another user has chosen.
fn a_proc_that_is_not_procfs() {
    let dir = directory();
    let dir = dir.path();
    touch(dir, &["f", "tree/f", "victim/f"]);
    set(dir, "cap_kill=p", "victim/f");
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(Some("none"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
    let thread = Path::new("/proc/thread-self");
    fs::create_dir_all(thread.join("fdinfo")).unwrap();
    mkfifo(&thread.join("uid_map"), Mode::S_IRWXU).unwrap();
    mkfifo(&thread.join("mountinfo"), Mode::S_IRWXU).unwrap();
    // Descriptors lead to a file for setcap, and to a directory with such a file for getcap.
    let lead_to = |target: &Path| {
        let fd = thread.join("fd");
        let _ = fs::remove_dir_all(&fd);
        fs::create_dir(&fd).unwrap();
        for number in 3..32 {
            symlink(target, fd.join(number.to_string())).unwrap();
            let _ = mkfifo(&thread.join(format!("fdinfo/{number}")), Mode::S_IRWXU);
        }
    };
    for refused in [&[][..], &XATTRAT] {
        common::refuse_calls(refused);
        lead_to(&dir.join("victim/f"));
        set(dir, "cap_chown=ep", "f");
        assert_eq!(get(dir, "f"), "f cap_chown=ep\n");
        check(dir, "setcap --add cap_fowner f", 0, "", "");
        check(dir, "setcap -v cap_chown,cap_fowner=ep f", 0, "f: OK\n", "");
        // The reason of a refusal is looked up.
        let err = "setcap: cannot set the capabilities of f: Invalid argument\n";
        check(dir, "setcap -n 7 cap_chown=ep f", 1, "", err);
        check(dir, "setcap -r f", 0, "", "");
        assert_eq!(get(dir, "f"), "f\n");
        lead_to(&dir.join("victim"));
        check(dir, "getcap -r --threads 1 tree", 0, "", "");
        assert_eq!(get(dir, "victim/f"), "victim/f cap_kill=p\n");
    }
}

/// Several calls replace a missing one with the same result, even for an unreadable file.
fn setcap_and_getcap_on_older_kernels() {
    let dir = directory();
    let dir = dir.path();
    common::refuse_calls(&XATTRAT);
    touch(dir, &["f", "closed"]);
    fs::set_permissions(dir.join("closed"), fs::Permissions::from_mode(0o000)).unwrap();
    withhold(&[Cap::DAC_OVERRIDE, Cap::DAC_READ_SEARCH]);
    let both = "./closed cap_chown,cap_kill=ep\n./f cap_chown,cap_kill=ep\n";
    for file in ["f", "closed"] {
        set(dir, "cap_kill=ep", file);
        check(dir, &format!("setcap --add cap_chown {file}"), 0, "", "");
    }
    check(dir, "getcap -r --sort --strict .", 0, both, "");
    symlink("f", dir.join("link")).unwrap();
    check(dir, "getcap -r --sort --strict .", 0, both, "");
    for file in ["f", "closed"] {
        check(dir, &format!("setcap -r {file}"), 0, "", "");
    }
    check(dir, "getcap -r --strict .", 0, "", "");
    // If threads cannot have separate current directories, the change is refused.
    common::refuse_calls(&[libc::SYS_unshare.try_into().unwrap()]);
    set(dir, "cap_chown=ep", "f");
    check(
        dir,
        "setcap cap_chown=ep closed",
        1,
        "",
        "setcap: cannot set the capabilities of closed: Permission denied\n",
    );
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

fn decoded() {
    let dir = directory();
    let decode = |args: &[&str]| run(dir.path(), "rcap", [&["decode"], args].concat());
    let names = decode(&["00000000a80425fb"]).out;
    assert!(names.starts_with("00000000a80425fb  cap_chown,") && names.lines().count() == 1);
    assert_eq!(
        decode(&["--encode", "net_raw,CHOWN", "2000"]).out,
        "0000000000002001\n0000000000002000\n"
    );
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let lines = decode(&[&status]).out;
    assert_eq!(
        lines.lines().map(|line| &line[..6]).collect::<Vec<_>>(),
        ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
    );
    let object: Value =
        serde_json::from_str(&decode(&["--json", "--decimal", "8192"]).out).unwrap();
    assert_eq!(object["sets"][0]["set"], json!(["cap_net_raw"]));
    // One mistake prevents all output.
    let mistake = decode(&["2000", "nonsense\u{1b}"]);
    assert_eq!((mistake.status, &*mistake.out), (Some(2), ""));
    assert!(mistake.err.starts_with(r"rcap decode: nonsense\u{1b}: not a mask"), "{mistake:?}");
    assert_eq!(decode(&["--nonsense"]).status, Some(2));
}

fn explained() {
    let dir = directory();
    let explain = |args: &[&str]| run(dir.path(), "rcap", [&["explain"], args].concat());
    let text = explain(&["net_raw"]).out;
    assert!(text.starts_with("cap_net_raw (13)\n\n  Open raw and packet sockets"), "{text}");
    assert!(text.contains("Granted to containers by default by: docker, containerd."), "{text}");
    assert_eq!(explain(&[]).out.lines().count(), 41);
    let object: Value = serde_json::from_str(&explain(&["--json", "bpf,63"]).out).unwrap();
    let caps = object["capabilities"].as_array().unwrap();
    assert_eq!((caps.len(), &caps[0]["since"]), (2, &json!("5.8")));
    assert_eq!(caps[1]["permits"], Value::Null);
    assert_eq!(explain(&["net_row"]).status, Some(2));
}
