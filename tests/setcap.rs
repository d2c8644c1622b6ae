//! `setcap` as its users see it: output and exit status.

mod common;

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use common::{
    directory, run,
    tools::{Mounted, check, check_json, check_words, file_caps, get, set, touch, withhold},
};
use nix::{mount::MsFlags, sys::stat::Mode, unistd::mkfifo};
use rcap::{
    Cap, bounding,
    file::{self, FileCaps},
};
use serde_json::{Value, json};

tests! {
    Nothing:
        setcap_usage_errors,
        setcap_refuses_what_is_no_regular_file;
    UserNamespace:
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
        setcap_warns;
    Root:
        setcap_rootid;
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
        let file = file_with(dir, &index.to_string(), old);
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

/// Creates a file with these capabilities, or without an attribute.
fn file_with(dir: &Path, name: &str, caps: &str) -> String {
    touch(dir, &[name]);
    if !caps.is_empty() {
        set(dir, caps, name);
    }
    name.to_owned()
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
        let file = file_with(dir, &index.to_string(), old);
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
