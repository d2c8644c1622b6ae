//! The tools as their users see them: what they have in common, and two small commands of `rcap`.

mod common;

use std::{
    fs, io,
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::Path,
    process::{self, Command},
};

use common::{
    Ran, directory, program, ran, run,
    tools::{XATTRAT, check, get, set, touch, withhold},
};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
    unistd::mkfifo,
};
use rcap::Cap;
use serde_json::{Value, json};

tests! {
    Nothing:
        one_command_four_ways,
        decoded,
        explained,
        a_closed_pipe,
        signals_of_programs_that_are_started;
    UserNamespace:
        a_proc_that_is_not_procfs,
        setcap_and_getcap_on_older_kernels;
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

fn decoded() {
    let dir = directory();
    let decode = |args: &[&str]| run(dir.path(), "rcap", [&["decode"], args].concat());
    let names = decode(&["00000000a80425fb"]).out;
    assert!(names.starts_with("00000000a80425fb  cap_chown,") && names.lines().count() == 1);
    assert_eq!(
        decode(&["--encode", "net_raw,CHOWN", "2000"]).out,
        "0000000000002001\n0000000000002000\n"
    );
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let all = u64::MAX >> (63 - last.trim().parse::<u32>().unwrap());
    assert_eq!(decode(&["--encode", "all"]).out, format!("{all:016x}\n"));
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
