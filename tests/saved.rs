//! `rcap save` and `rcap restore`: nothing is lost, and only the right files change.

mod common;

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, symlink},
    },
    path::Path,
    process::{Command, Stdio},
};

use common::{
    Ran,
    debian::{DEBIAN, debian},
    directory, fed, program, ran, run,
    systemd::{Manager, SYSTEMD},
    wait_until,
};
use nix::unistd::{chown, mkfifo};
use rcap::{
    Cap, CapSet,
    file::{self, FileCaps},
};
use serde_json::Value;

tests! {
    Nothing:
        mistakes;
    Root:
        there_and_back,
        odd_names,
        modes_and_owners,
        what_is_refused,
        content,
        after_an_upgrade,
        killed_in_the_middle,
        changed_meanwhile;
    Root ["cpio git install rsync tar"]:
        what_keeps_them;
    Root [DEBIAN, "chroot mount unshare"]:
        the_hook_of_apt;
    Root [DEBIAN, "chroot mount rpm rpmbuild unshare"]:
        the_hook_of_rpm;
    Root [SYSTEMD]:
        the_path_unit;
}

fn make(path: &Path, caps: CapSet) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "content").unwrap();
    if !caps.is_empty() {
        give(path, caps);
    }
}

fn give(path: &Path, caps: CapSet) {
    let caps = FileCaps { permitted: caps, effective: true, ..FileCaps::EMPTY };
    let _ = file::write(path, &caps).unwrap();
}

fn caps(path: &Path) -> Option<CapSet> {
    file::read(path).unwrap().map(|caps| caps.permitted)
}

/// Saves the files below `dir` as text.
#[track_caller]
fn save(dir: &Path, options: &[&str]) -> String {
    let output = program("rcap").arg("save").args(options).arg("--root").args([dir, dir]).output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn restore(dir: &Path, text: &str, options: &[&str]) -> Ran {
    let mut command = program("rcap");
    command.arg("restore").args(options).arg("--root").arg(dir);
    fed(&mut command, text.as_bytes()).into()
}

fn last(ran: &Ran) -> &str {
    ran.out.lines().last().unwrap_or_default()
}

fn there_and_back() {
    const COUNT: usize = 2000;
    let dir = directory();
    let path = |nth: usize| dir.path().join(format!("d{}/{nth}", nth % 50));
    let set = |nth: usize| CapSet::from_bits(1 << (nth % 41) | 1 << (nth % 7));
    for nth in 0..COUNT {
        make(&path(nth), set(nth));
    }
    make(&dir.path().join("plain"), CapSet::empty());
    let text = save(dir.path(), &[]);
    assert_eq!(text.lines().count(), COUNT + 1);
    for nth in 0..COUNT {
        assert!(file::remove(path(nth)).unwrap());
    }
    let ran = restore(dir.path(), &text, &["--dry-run"]);
    assert_eq!((ran.status, last(&ran)), (Some(0), "would change: 2000, unchanged: 0"));
    assert_eq!(caps(&path(0)), None);
    let ran = restore(dir.path(), &text, &[]);
    assert_eq!((ran.status, last(&ran)), (Some(0), "changed: 2000, unchanged: 0"));
    for nth in 0..COUNT {
        assert_eq!(caps(&path(nth)), Some(set(nth)), "{nth}");
    }
    assert_eq!(save(dir.path(), &[]), text);
    let ran = restore(dir.path(), &text, &[]);
    assert_eq!((ran.status, &*ran.out), (Some(0), "changed: 0, unchanged: 2000\n"));
}

fn odd_names() {
    let dir = directory();
    let names: &[&[u8]] =
        &[b"a b", b"#", b"line\nfeed", b"\xff", b"\x1b[0m", b"mode=4755", b"-", b"\\040"];
    for name in names {
        make(&dir.path().join(OsStr::from_bytes(name)), Cap::KILL.into());
    }
    let text = save(dir.path(), &[]);
    assert!(text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{text:?}");
    for name in names {
        assert!(file::remove(dir.path().join(OsStr::from_bytes(name))).unwrap());
    }
    let ran = restore(dir.path(), &text, &[]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{ran:?}");
    assert_eq!(save(dir.path(), &[]), text);
    // Text edited by hand, in libcap's notation.
    let ran = restore(dir.path(), "# rcap save 1\n\n# mine\n  /a\\040b  CAP_CHOWN+ep\n", &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    assert_eq!(caps(&dir.path().join("a b")), Some(Cap::CHOWN.into()));
}

fn modes_and_owners() {
    let dir = directory();
    let file = dir.path().join("su");
    make(&file, CapSet::empty());
    chown(&file, Some(0.into()), Some(7.into())).unwrap();
    let mode = |bits| fs::set_permissions(&file, PermissionsExt::from_mode(bits)).unwrap();
    let now = || fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
    mode(0o4750);
    assert_eq!(save(dir.path(), &[]), "# rcap save 1\n");
    let text = save(dir.path(), &["--modes"]);
    assert_eq!(text, "# rcap save 1\nsu mode=4750 owner=0:7 -\n");
    mode(0o755);
    let ran = restore(dir.path(), &text, &[]);
    assert_eq!((ran.status, now()), (Some(0), 0o4750), "{ran:?}");
    assert_eq!(ran.out, "su mode 0755 -> 4750\nchanged: 1, unchanged: 0\n");
    // The bit would grant another user's privileges.
    chown(&file, Some(1234.into()), None).unwrap();
    mode(0o755);
    let ran = restore(dir.path(), &text, &[]);
    assert_eq!((ran.status, now()), (Some(2), 0o755), "{ran:?}");
    assert!(ran.err.contains("its owner is 1234:7, and was 0:7"), "{ran:?}");
}

/// If one file fails its check, no file is changed.
fn what_is_refused() {
    let dir = directory();
    let root = dir.path().join("root");
    let outside = dir.path().join("outside");
    make(&root.join("first"), CapSet::empty());
    make(&outside.join("victim"), CapSet::empty());
    symlink(&outside, root.join("link")).unwrap();
    symlink(outside.join("victim"), root.join("file")).unwrap();
    mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    #[rustfmt::skip]
    let rows = [
        ("link/victim cap_kill=ep",        "a symbolic link is on the way"),
        ("file cap_kill=ep",               "not a regular file"),
        ("fifo cap_kill=ep",               "not a regular file"),
        ("missing cap_kill=ep",            "No such file or directory"),
        ("../outside/victim cap_kill=ep",  "leads out of the root directory"),
        (".. cap_kill=ep",                 "leads out of the root directory"),
    ];
    for (line, want) in rows {
        let text = format!("# rcap save 1\nfirst cap_kill=ep\n{line}\n");
        let ran = restore(&root, &text, &[]);
        assert_eq!(ran.status, Some(2), "{line}: {ran:?}");
        assert!(ran.err.contains(want), "{line}: {ran:?}");
        assert_eq!(caps(&root.join("first")), None, "{line}");
    }
    assert_eq!(caps(&outside.join("victim")), None);
    let ran = restore(&root, "# rcap save 1\nfirst cap_kill=ep\nmissing =\n", &["--json"]);
    let json: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(json["not_done"][0]["path"], "first");
    assert_eq!(json["failed"][0]["path"], "missing");
    assert_eq!(json["changed"], Value::Array(vec![]));
}

fn content() {
    let dir = directory();
    let file = dir.path().join("file");
    make(&file, Cap::KILL.into());
    let text = save(dir.path(), &["--sha256"]);
    // sha256sum of "content".
    let sum = "ed7002b439e9ac845f22357d822bac1444730fbdb6016d3ec9432297b9ec9f73";
    assert_eq!(text, format!("# rcap save 1\nfile sha256={sum} cap_kill=ep\n"));
    assert!(file::remove(&file).unwrap());
    assert_eq!(restore(dir.path(), &text, &[]).status, Some(0));
    fs::write(&file, "other").unwrap();
    assert_eq!(caps(&file), None, "writing takes capabilities away");
    let ran = restore(dir.path(), &text, &[]);
    assert_eq!(ran.status, Some(2));
    assert!(ran.err.contains("its content is not what was saved"), "{ran:?}");
    assert_eq!(caps(&file), None);
}

/// An upgrade replaces and removes files.
fn after_an_upgrade() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    for name in ["bin/kept", "bin/replaced", "bin/removed"] {
        make(&path(name), Cap::NET_RAW.into());
    }
    let text = save(dir.path(), &[]);
    fs::remove_file(path("bin/removed")).unwrap();
    fs::write(path("bin/new"), "new").unwrap();
    fs::rename(path("bin/new"), path("bin/replaced")).unwrap();
    assert_eq!(restore(dir.path(), &text, &[]).status, Some(2));
    assert_eq!(caps(&path("bin/replaced")), None);
    let ran = restore(dir.path(), &text, &["--ensure"]);
    assert_eq!(
        (ran.status, last(&ran)),
        (Some(0), "changed: 1, unchanged: 1, missing: 1"),
        "{ran:?}"
    );
    assert_eq!(caps(&path("bin/replaced")), Some(Cap::NET_RAW.into()));
}

/// The printed files had changed when it was killed, and each file has either its old or its new
/// state.
fn killed_in_the_middle() {
    const COUNT: usize = 3000;
    let dir = directory();
    let path = |nth: usize| dir.path().join(format!("{nth:04}"));
    for nth in 0..COUNT {
        make(&path(nth), Cap::KILL.into());
    }
    let text = save(dir.path(), &[]);
    for nth in 0..COUNT {
        assert!(file::remove(path(nth)).unwrap());
    }
    fs::write(dir.path().join("text"), &text).unwrap();
    let mut command = program("rcap");
    let command = command.args(["restore", "--root"]).arg(dir.path()).arg(dir.path().join("text"));
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said: Vec<String> = lines.by_ref().take(100).map(Result::unwrap).collect();
    child.kill().unwrap();
    child.wait().unwrap();
    said.extend(lines.map(Result::unwrap));
    // A truncated line does not count as printed.
    let said = said.iter().filter_map(|line| line.strip_suffix(" none -> cap_kill=ep")).count();
    let done = (0..COUNT).filter(|&nth| caps(&path(nth)) == Some(Cap::KILL.into())).count();
    let none = (0..COUNT).filter(|&nth| caps(&path(nth)).is_none()).count();
    assert_eq!(done + none, COUNT);
    assert!(said >= 100 && said <= done && done <= said + 1, "{said} {done}");
    let ran = restore(dir.path(), &text, &[]);
    assert_eq!(last(&ran), format!("changed: {none}, unchanged: {done}"));
    fs::remove_file(dir.path().join("text")).unwrap();
    assert_eq!(save(dir.path(), &[]), text);
}

/// A file that is replaced between its check and its turn gets nothing: the program either changed
/// the file that it opened, or reported that it did not.
fn changed_meanwhile() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    let text = "# rcap save 1\nbin/file cap_kill=ep\n";
    make(&path("bin/file"), CapSet::empty());
    make(&path("outside/file"), CapSet::empty());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                fs::rename(path("bin"), path("away")).unwrap();
                symlink("outside", path("bin")).unwrap();
                fs::remove_file(path("bin")).unwrap();
                fs::rename(path("away"), path("bin")).unwrap();
            }
        });
        for _ in 0..100 {
            restore(dir.path(), text, &[]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(caps(&path("outside/file")), None);
    let ran = restore(dir.path(), text, &[]);
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

/// docs/keeping-capabilities.md: each command of its table does what stands there.
fn what_keeps_them() {
    let page =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/keeping-capabilities.md"));
    let page = page.unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"));
    let mut tried = 0;
    for row in rows {
        let (command, result) = row.rsplit_once("` | ").unwrap();
        let dir = directory();
        make(&dir.path().join("f"), Cap::NET_RAW.into());
        let mut shell = std::process::Command::new("sh");
        let shell = shell.args(["-ec", &command.replace("\\|", "|")]).current_dir(dir.path());
        let ran = ran(shell.env("HOME", dir.path()));
        assert_eq!(ran.status, Some(0), "{command}: {ran:?}");
        let has = if caps(&dir.path().join("out")).is_some() { "kept" } else { "lost" };
        assert_eq!(has, result, "{command}");
        tried += 1;
    }
    assert_eq!(tried, 20);
}

/// The blocks of the man page that are to be copied.
fn examples() -> Vec<&'static str> {
    let page = include_str!("../man/rcap-restore.8");
    let blocks = page.split(".Bd -literal -offset indent\n").skip(1);
    blocks.map(|block| block.split(".Ed").next().unwrap()).collect()
}

/// Runs a shell script in which `$root` is a Debian with rcap, and `$0` the directory.
fn in_a_debian(dir: &Path, script: &str) -> Ran {
    fs::copy(program("rcap").get_program(), dir.join("rcap")).unwrap();
    let place = dir.join("place");
    fs::create_dir(&place).unwrap();
    // The Debian is shared by the tests: what they write is in a file system of their own.
    let script = format!(
        "set -e; mount --make-rprivate /; mount -t tmpfs tmpfs $2; mkdir $2/u $2/w $2/r
        mount -t overlay -o lowerdir=$1,upperdir=$2/u,workdir=$2/w overlay $2/r; root=$2/r
        mount -t proc proc $root/proc; mkdir $root/etc/rcap; cp $0/rcap $root/usr/bin
        {script}"
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "--propagation", "private", "sh", "-c", &script]);
    let ran = ran(unshare.arg(dir).arg(debian()).arg(&place).stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    ran
}

/// An upgrade by apt replaces the file, and the hook of the man page puts its capabilities back.
fn the_hook_of_apt() {
    let hook = examples().into_iter().find(|text| text.contains("DPkg::Post-Invoke")).unwrap();
    let dir = directory();
    let package = |version: &str| {
        let tree = dir.path().join(version);
        for path in ["DEBIAN", "usr/bin"] {
            fs::create_dir_all(tree.join(path)).unwrap();
            fs::set_permissions(tree.join(path), PermissionsExt::from_mode(0o755)).unwrap();
        }
        fs::set_permissions(&tree, PermissionsExt::from_mode(0o755)).unwrap();
        let control = format!(
            "Package: rcap-server\nVersion: {version}\nArchitecture: all\n\
             Maintainer: nobody <nobody@example.org>\nDescription: a package\n"
        );
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        fs::write(tree.join("usr/bin/rcap-server"), version).unwrap();
        let deb = dir.path().join(format!("{version}.deb"));
        let built = ran(Command::new("dpkg-deb").arg("--build").arg(&tree).arg(deb));
        assert_eq!(built.status, Some(0), "{built:?}");
    };
    ["1", "2"].into_iter().for_each(package);
    fs::write(dir.path().join("90rcap"), hook).unwrap();
    let script = "mkdir $root/new; mount --bind -o ro $0 $root/new
        chroot $root /bin/sh -ec 'PATH=/usr/sbin:/usr/bin:/sbin:/bin
            apt-get install -qy /new/1.deb; rcap setcap cap_net_raw=ep /usr/bin/rcap-server
            rcap save /usr/bin/rcap-server > /etc/rcap/caps.txt
            cp /new/90rcap /etc/apt/apt.conf.d
            apt-get install -qy /new/2.deb; cat /usr/bin/rcap-server; echo
            rcap getcap /usr/bin/rcap-server; rcap setcap -r /usr/bin/rcap-server
            rm /etc/apt/apt.conf.d/90rcap; apt-get install -qy --reinstall /new/2.deb
            rcap getcap -v /usr/bin/rcap-server'";
    let ran = in_a_debian(dir.path(), script);
    assert!(ran.out.contains("changed: 1, unchanged: 0"), "{ran:?}");
    assert!(ran.out.contains("\n2\n/usr/bin/rcap-server cap_net_raw=ep\n"), "{ran:?}");
    // Without the hook, the capabilities are gone.
    assert!(ran.out.ends_with("\n/usr/bin/rcap-server\n"), "{ran:?}");
}

/// An upgrade by rpm replaces the file, and the file trigger of the man page puts its capabilities
/// back.
fn the_hook_of_rpm() {
    let hook = examples().into_iter().find(|text| text.contains("%transfiletriggerin")).unwrap();
    let dir = directory();
    let package = |name: &str, version: &str, rest: &str| {
        let text = format!(
            "Name: {name}\nVersion: {version}\nRelease: 1\nSummary: a package\nLicense: none\n\
             BuildArch: noarch\n%description\na package\n{rest}"
        );
        let path = dir.path().join(format!("{name}-{version}.spec"));
        fs::write(&path, text).unwrap();
        let top = format!("--define=_topdir {}", dir.path().join("rpmbuild").display());
        // Scripts that compress and strip are not needed.
        let plain = "--define=__os_install_post %{nil}";
        let mut build = Command::new("rpmbuild");
        let built = ran(build.args(["-bb", "--quiet", &top, plain]).arg(path).stdin(Stdio::null()));
        assert_eq!(built.status, Some(0), "{built:?}");
    };
    let files = "%install\nmkdir -p %{buildroot}/usr/bin\n\
                 echo %{version} > %{buildroot}/usr/bin/rcap-server\n%files\n/usr/bin/rcap-server\n";
    for version in ["1", "2"] {
        package("rcap-server", version, files);
    }
    package("rcap-hook", "1", &format!("{hook}%files\n"));
    let script = "cd $0/rpmbuild/RPMS/noarch; rpm() { command rpm --root $root --nodeps \"$@\"; }
        inside() { chroot $root /usr/bin/env PATH=/usr/bin:/bin rcap \"$@\"; }
        rpm -i rcap-server-1-1.noarch.rpm; inside setcap cap_net_raw=ep /usr/bin/rcap-server
        inside save /usr/bin/rcap-server > $root/etc/rcap/caps.txt
        rpm -i rcap-hook-1-1.noarch.rpm
        rpm -U rcap-server-2-1.noarch.rpm; cat $root/usr/bin/rcap-server
        inside getcap /usr/bin/rcap-server; inside setcap -r /usr/bin/rcap-server
        rpm -e rcap-hook; rpm -U --replacepkgs rcap-server-2-1.noarch.rpm
        inside getcap -v /usr/bin/rcap-server";
    let ran = in_a_debian(dir.path(), script);
    assert!(ran.out.contains("changed: 1, unchanged: 0"), "{ran:?}");
    assert!(ran.out.contains("2\n/usr/bin/rcap-server cap_net_raw=ep\n"), "{ran:?}");
    // Without the trigger, the capabilities are gone.
    assert!(ran.out.ends_with("\n/usr/bin/rcap-server\n"), "{ran:?}");
}

/// The units of the man page put the capabilities back after a file was replaced.
fn the_path_unit() {
    let text = examples().into_iter().find(|text| text.contains("[Path]")).unwrap();
    let dir = directory();
    let file = dir.path().join("watched/server");
    make(&file, Cap::NET_RAW.into());
    let saved = dir.path().join("caps.txt");
    let printed = ran(program("rcap").arg("save").arg(&file));
    assert_eq!(printed.status, Some(0), "{printed:?}");
    fs::write(&saved, printed.out).unwrap();
    let rcap = program("rcap").get_program().to_str().unwrap().to_owned();
    let here = [
        ("/usr/local/bin/server", file.to_str().unwrap()),
        ("/etc/rcap/caps.txt", saved.to_str().unwrap()),
        ("/usr/bin/rcap", &rcap),
    ];
    let unit = |text: &str| {
        let (name, text) = text.split_once('\n').unwrap();
        let text = here.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        (name.to_owned(), format!("[Unit]\nDefaultDependencies=no\n{text}"))
    };
    let units: Vec<_> = text.split("# /etc/systemd/system/").skip(1).map(unit).collect();
    let _manager = Manager::start(dir.path(), &units, &["rcap-restore.path".to_owned()]);
    // As dpkg and install do it.
    fs::write(dir.path().join("new"), "other content").unwrap();
    fs::rename(dir.path().join("new"), &file).unwrap();
    wait_until(|| caps(&file) == Some(Cap::NET_RAW.into()));
}

fn mistakes() {
    let dir = directory();
    fs::write(dir.path().join("text"), "x =\n").unwrap();
    #[rustfmt::skip]
    let rows: [(&[&str], i32, &str); 6] = [
        (&["save"],                        2, "missing PATH"),
        (&["save", "missing"],             2, "No such file or directory"),
        (&["save", "--root", "/usr", "/"], 2, "not below /usr"),
        (&["restore", "missing"],          2, "missing: no such file"),
        (&["restore", "text"],             2, "text: line 1: the first line must be"),
        (&["restore", "--root", "missing", "text"], 2, "line 1"),
    ];
    for (args, status, want) in rows {
        let ran = run(dir.path(), "rcap", args);
        assert_eq!((ran.status, &*ran.out), (Some(status), ""), "{args:?}: {ran:?}");
        assert!(ran.err.contains(want), "{args:?}: {ran:?}");
    }
}
