//! `getcap` as its users see it: output and exit status.

mod common;

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::PathBuf,
    process::Command,
};

use common::{
    Ran, directory, program, ran, run,
    tools::{Mounted, XATTRAT, check, check_json, file_caps, set, touch, withhold},
};
use nix::{mount::MsFlags, sys::stat::Mode, unistd::mkfifo};
use rcap::{
    Cap,
    file::{self, FileCaps},
};
use serde_json::{Value, json};

tests! {
    Nothing:
        getcap_of_what_cannot_have_any,
        getcap_usage_errors;
    UserNamespace:
        getcap_json,
        getcap_names_of_any_bytes,
        getcap_exclude,
        getcap_sort_and_threads,
        getcap_one_file_system,
        getcap_strict,
        getcap_with_few_descriptors;
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
        ("getcap --threads 0 f", "getcap: --threads: needs a number from 1 to 256"),
        ("getcap --threads 257 f", "getcap: --threads: needs a number from 1 to 256"),
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
