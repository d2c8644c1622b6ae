//! `rcap run`, compared with what the kernel reports about the program.

mod common;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran, wait_until, which};
use rcap::{
    Cap,
    file::{self, FileCaps},
};

tests! {
    Nothing:
        usage;
    Root:
        exactly_what_is_named,
        as_another_user,
        as_docker_has_it,
        what_kubernetes_does_not_allow,
        what_cannot_be_given,
        no_new_privs_unless_the_file_gives_something,
        in_its_place,
        its_surroundings,
        in_the_new_root,
        with_a_set_uid_bit,
        shown_and_verified,
        by_an_ordinary_user;
    Tracing:
        traced_with_a_set_uid_bit;
    Root ["mount unshare"]:
        a_working_directory_in_the_new_root;
    Root ["ip nc unshare"]:
        netcat_on_port_80;
}

fn run(args: &[&str]) -> Ran {
    let mut command = program("rcap");
    ran(command.arg("run").args(args).stdin(Stdio::null()).env_remove("LD_LIBRARY_PATH"))
}

/// Returns a field of /proc/self/status in a program started with these options.
fn field(options: &[&str], name: &str) -> String {
    let ran = run(&[options, &["--", "cat", "/proc/self/status"]].concat());
    assert_eq!((ran.status, &*ran.err), (Some(0), ""), "{options:?}");
    let line = ran.out.lines().find_map(|line| line.strip_prefix(name)).expect("a field");
    line.trim_start_matches(':').split_whitespace().collect::<Vec<_>>().join(" ")
}

fn sets(options: &[&str]) -> [u64; 5] {
    ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"]
        .map(|name| u64::from_str_radix(&field(options, name), 16).unwrap())
}

const NET_RAW: u64 = 1 << 13;
const PORT: u64 = 1 << 10;

fn usage() {
    for args in [&[][..], &["--cap-add", "nothing", "true"], &["--profile", "x", "true"], &["--x"]]
    {
        let ran = run(args);
        assert_eq!((ran.status, &*ran.out), (Some(125), ""), "{args:?}");
    }
    assert!(run(&["--help"]).out.contains("rcap run --user nobody"));
}

fn exactly_what_is_named() {
    let all = sets(&[]);
    assert_eq!((all[0], all[4]), (0, 0));
    assert_eq!(all[1], all[3]);
    assert_eq!(sets(&["--cap-drop", "all"]), [0; 5]);
    for options in [
        &["--cap-drop", "all", "--cap-add", "net_raw"][..],
        &["--cap-drop=ALL", "--cap-add=CAP_NET_RAW"],
        &["--cap-set", "NET_RAW"],
        &["--cap-add", "net_raw"],
        &["--cap-add", "net_raw", "--cap-drop", "chown"],
    ] {
        assert_eq!(sets(options), [0, NET_RAW, NET_RAW, NET_RAW, 0], "{options:?}");
    }
    let less = all[1] & !NET_RAW;
    assert_eq!(sets(&["--cap-drop", "net_raw"]), [0, less, less, less, 0]);
    // Docker's options may be repeated.
    let two = ["--cap-drop", "all", "--cap-add", "net_raw", "--cap-add", "net_bind_service"];
    assert_eq!(sets(&two)[2], NET_RAW | PORT);
}

fn as_another_user() {
    let nobody = ["--user", "nobody"];
    assert_eq!(field(&nobody, "Uid"), "65534 65534 65534 65534");
    let [inheritable, permitted, effective, _, ambient] = sets(&nobody);
    assert_eq!([inheritable, permitted, effective, ambient], [0; 4]);
    let with = [&nobody[..], &["--cap-set", "net_raw"]].concat();
    assert_eq!(sets(&with), [NET_RAW; 5]);
    for options in [["--user", "1234:5", "--groups", "7,8"], ["--user", "1234", "--group", "5"]] {
        assert_eq!(field(&options, "Gid"), "5 5 5 5");
        assert_eq!(field(&options, "Uid"), "1234 1234 1234 1234");
    }
    let groups = ["--user", "1234", "--group", "5", "--groups", "7,8"];
    assert_eq!(field(&groups, "Groups"), "7 8");
    assert_eq!(field(&["--groups", ""], "Groups"), "");
    assert_eq!(field(&["--group", "tty"], "Gid"), "5 5 5 5");
    for options in [["--user", "no-such-user"], ["--group", "no-such-group"]] {
        assert_eq!(run(&[&options[..], &["true"]].concat()).status, Some(125));
    }
    // A number without a user has no group, and group 0 would be root's.
    for options in [&["--user", "12345"][..], &["--user", "12345", "--groups", "7"]] {
        let ran = run(&[options, &["true"]].concat());
        assert_eq!((ran.status, &*ran.out), (Some(125), ""), "{options:?}");
        assert!(ran.err.contains("12345: not in the user database: add a group"), "{ran:?}");
    }
    assert_eq!(field(&["--user", "65534"], "Gid"), "65534 65534 65534 65534");
}

fn as_docker_has_it() {
    assert_eq!(sets(&["--profile", "docker"])[2], 0xa804_25fb);
    let podman = sets(&["--profile", "podman"])[2];
    assert_eq!(podman.count_ones(), 11);
    assert_eq!(sets(&["--profile", "docker", "--cap-drop", "net_raw"])[2], 0xa804_25fb & !NET_RAW);
    assert_eq!(sets(&["--profile", "podman", "--cap-add", "net_raw"])[2], podman | NET_RAW);
    assert_eq!(sets(&["--profile", "none"]), sets(&[]));
}

fn what_kubernetes_does_not_allow() {
    let refused = |args: &[&str]| {
        let ran = run(&[args, &["true"]].concat());
        assert_eq!((ran.status, &*ran.out), (Some(125), ""), "{args:?}");
        ran.err
    };
    let restricted = ["--profile", "kubernetes-restricted"];
    assert!(refused(&restricted).contains("requires a non-root user"));
    let user = [&restricted[..], &["--user", "nobody"]].concat();
    assert!(refused(&[&user[..], &["--cap-add", "net_raw"]].concat()).contains("cap_net_raw"));
    assert!(refused(&[&user[..], &["--allow-new-privs"]].concat()).contains("no_new_privs"));
    assert_eq!(sets(&[&user[..], &["--cap-add", "net_bind_service"]].concat()), [PORT; 5]);
    let baseline = ["--profile", "kubernetes-baseline", "--cap-add", "sys_admin"];
    assert!(refused(&baseline).contains("does not allow adding cap_sys_admin"));
}

fn what_cannot_be_given() {
    // If the request is rejected, nothing has been started.
    let dir = directory();
    let file = dir.path().join("file");
    let script = format!("touch {}", file.display());
    let inner = ["--cap-add", "net_raw", "--", "sh", "-c", &script];
    let rcap = program("rcap").get_program().to_str().unwrap().to_owned();
    let ran = run(&[&["--cap-drop", "net_raw", "--", &rcap, "run"], &inner[..]].concat());
    assert_eq!(ran.status, Some(125), "{ran:?}");
    assert!(ran.err.contains("cannot grant cap_net_raw: not in your bounding set"), "{ran:?}");
    assert!(!file.exists());
}

fn no_new_privs_unless_the_file_gives_something() {
    assert_eq!(field(&[], "NoNewPrivs"), "1");
    assert_eq!(field(&["--allow-new-privs"], "NoNewPrivs"), "0");
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("cat");
    fs::copy(which("cat").unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let copy = copy.to_str().unwrap();
    let with = |options: &[&str]| {
        run(&[&["--user", "nobody"], options, &["--", copy, "/proc/self/status"]].concat())
    };
    let ran = with(&[]);
    assert!(ran.out.contains("Uid:\t65534\t0\t0\t0\n"), "{ran:?}");
    assert!(ran.err.contains("so no-new-privs is not set"), "{ran:?}");
    let ran = with(&["--no-new-privs"]);
    assert!(ran.out.contains("Uid:\t65534\t65534\t65534\t65534\n"), "{ran:?}");
    assert_eq!(ran.err, "");
}

fn in_its_place() {
    assert_eq!(run(&["sh", "-c", "exit 7"]).status, Some(7));
    // The process is the same, so a signal reaches the program.
    let dir = directory();
    let begun = dir.path().join("begun");
    let script =
        format!("trap 'exit 9' TERM; touch {}; while :; do sleep 0.05; done", begun.display());
    let mut child = program("rcap")
        .args(["run", "--cap-drop", "all", "--", "sh", "-c", &script])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    wait_until(|| begun.exists());
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
    let none = run(&["/nonexistent"]);
    assert_eq!(none.status, Some(127));
    assert_eq!(none.err, "rcap run: cannot execute /nonexistent: No such file or directory\n");
    assert_eq!(run(&["/etc/passwd"]).status, Some(126));
    let copy = dir.path().join("true");
    fs::copy(which("true").unwrap(), &copy).unwrap();
    assert_eq!(common::run(dir.path(), "setcap", ["cap_net_raw=ep", "true"]).status, Some(0));
    let demanding = run(&["--cap-drop", "all", copy.to_str().unwrap()]);
    assert!(
        demanding.err.contains("Operation not permitted, as its file has cap_net_raw=ep"),
        "{demanding:?}"
    );
}

fn its_surroundings() {
    let ran = run(&["--env", "A=b=c", "--chdir", "/usr", "--", "sh", "-c", "echo $A; pwd"]);
    assert_eq!(ran.out, "b=c\n/usr\n");
    assert_eq!(run(&["--env", "=x", "true"]).status, Some(125));
    // With noroot, root is an ordinary user.
    assert_eq!(sets(&["--securebits", "noroot"])[2], 0);
    let dir = directory();
    let none = run(&["--chroot", dir.path().to_str().unwrap(), "--", "/nonexistent"]);
    assert_eq!(none.status, Some(127), "{none:?}");
}

fn shown_and_verified() {
    let dir = directory();
    let file = dir.path().join("file");
    let file = file.to_str().unwrap();
    let shown = run(&["--user", "nobody", "--cap-set", "net_raw", "--print", "--", "touch", file]);
    assert!(shown.out.contains("Current: cap_net_raw=eip\n"), "{shown:?}");
    assert!(shown.out.contains("uid=65534(nobody)"), "{shown:?}");
    assert!(!fs::exists(file).unwrap());
    let verified = run(&["--cap-set", "net_raw", "--verify", "--", "sh", "-c", "exit 5"]);
    assert_eq!(verified.status, Some(5));
    assert!(verified.err.starts_with("rcap run: verified: cap_net_raw=ep "), "{verified:?}");
    // A set-user-ID file would grant another user's privileges.
    let copy = dir.path().join("sleep");
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(which("sleep").unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let differs = run(&["--user", "nobody", "--verify", "--", copy.to_str().unwrap(), "100"]);
    assert_eq!(differs.status, Some(125));
    assert!(differs.err.contains("the program was killed: it had"), "{differs:?}");
}

fn netcat_on_port_80() {
    let rcap = program("rcap").get_program().to_owned();
    let listens = |options: &str| {
        // In a separate network namespace, the port is free.
        let script = format!(
            "ip link set lo up; \"$0\" run --user nobody {options} -- nc -l -p 80 & \
             while kill -0 $!; do echo | nc -N 127.0.0.1 80 && exit 0; sleep 0.02; done; exit 1"
        );
        let mut command = Command::new("unshare");
        ran(command.args(["-n", "sh", "-c", &script]).arg(&rcap).env_remove("LD_LIBRARY_PATH"))
            .status
    };
    assert_eq!(listens(""), Some(1));
    assert_eq!(listens("--cap-add net_bind_service"), Some(0));
}

fn by_an_ordinary_user() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = dir.path().join("rcap");
    fs::copy(program("rcap").get_program(), &copy).unwrap();
    let copy = copy.to_str().unwrap();
    let ran = run(&[
        "--user",
        "nobody",
        "--",
        copy,
        "run",
        "--cap-drop",
        "all",
        "--",
        "cat",
        "/proc/self/status",
    ]);
    assert!(ran.out.contains("NoNewPrivs:\t1\n"), "{ran:?}");
    let ran = run(&["--user", "nobody", "--", copy, "run", "--cap-add", "net_raw", "--", "true"]);
    assert!(ran.err.contains("cannot grant cap_net_raw: not in your permitted set"), "{ran:?}");
    assert_eq!(ran.status, Some(125));

    // Only no-new-privs limits what the program's file gives, because the bounding set is kept.
    let gives = dir.path().join("cat");
    fs::copy(which("cat").unwrap(), &gives).unwrap();
    let gives = gives.to_str().unwrap();
    let with = |options: &[&str]| {
        let outer = ["--user", "nobody", "--allow-new-privs", "--", copy, "run"];
        run(&[&outer, options, &["--", gives, "/proc/self/status"]].concat())
    };
    let limits: [&[&str]; 2] = [&["--cap-drop", "net_raw"], &["--profile", "docker"]];
    for has_caps in [false, true] {
        fs::set_permissions(
            gives,
            fs::Permissions::from_mode(if has_caps { 0o755 } else { 0o4755 }),
        )
        .unwrap();
        if has_caps {
            let _ = file::write(gives, &FileCaps::effective(Cap::NET_RAW.into())).unwrap();
        }
        assert!(!with(&[]).out.contains("\nCapEff:\t0000000000000000\n"));
        for limit in limits {
            let ran = with(limit);
            assert_eq!(ran.status, Some(0), "{limit:?}: {ran:?}");
            assert!(ran.out.contains("\nCapEff:\t0000000000000000\n"), "{limit:?}: {ran:?}");
            assert!(ran.out.contains("\nUid:\t65534\t65534\t"), "{limit:?}: {ran:?}");
            let ran = with(&[limit, &["--allow-new-privs"]].concat());
            assert_eq!((ran.status, &*ran.out), (Some(125), ""), "{limit:?}");
        }
    }
    // The added capabilities are all that is asked for.
    fs::set_permissions(gives, fs::Permissions::from_mode(0o4755)).unwrap();
    let outer = ["--user", "nobody", "--allow-new-privs", "--profile", "docker"];
    let inner = ["--cap-add", "net_raw", "--", copy, "run", "--cap-add", "net_raw"];
    let ran = run(&[&outer[..], &inner, &["--", gives, "/proc/self/status"]].concat());
    assert!(ran.out.contains("\nUid:\t65534\t65534\t"), "{ran:?}");
    assert!(!ran.out.contains("\nCapPrm:\t00000000a80425fb"), "{ran:?}");
}

/// The program's file and the working directory are resolved below the new root directory.
fn in_the_new_root() {
    let host = directory();
    let root = directory();
    let file = |path: &Path, mode| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy("/proc/self/exe", path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let bin = host.path().strip_prefix("/").unwrap();
    // The same directory of PATH outside and inside, where only one of them has the bit.
    for (name, outside, inside) in [("one", 0o4755, 0o755), ("two", 0o755, 0o4755)] {
        file(&host.path().join(name), outside);
        file(&root.path().join(bin).join(name), inside);
    }
    file(&root.path().join("work/three"), 0o4755);
    // A link that leads elsewhere outside, where no such file exists.
    std::os::unix::fs::symlink("/work/three", root.path().join(bin).join("link")).unwrap();
    let path = format!("PATH={}", host.path().display());
    let root = root.path().to_str().unwrap();
    #[rustfmt::skip]
    let rows: &[(&[&str], &str, bool)] = &[
        (&[],                                        "one",          true),
        (&[],                                        "two",          false),
        (&["--chroot", root],                        "one",          false),
        (&["--chroot", root],                        "two",          true),
        (&["--chroot", root],                        "link",         true),
        (&["--chroot", root],                        "/work/three",  true),
        (&["--chroot", root],                        "work/three",   true),
        (&["--chroot", root, "--chdir", "/work"],    "./three",      true),
        (&["--chroot", root, "--chdir", "work"],     "./three",      true),
        (&["--chroot", root, "--chdir", "/work"],    "work/three",   false),
    ];
    for (options, program, has_bit) in rows {
        let ran = run(&[&["--print", "--env", &path], *options, &["--", program]].concat());
        assert_eq!(ran.status, Some(0), "{ran:?}");
        let said = ran.err.contains("no-new-privs is not set");
        assert_eq!(said, *has_bit, "{options:?} {program}: {ran:?}");
    }
}

fn a_working_directory_in_the_new_root() {
    let root = directory();
    let root = root.path().to_str().unwrap();
    fs::create_dir(Path::new(root).join("work")).unwrap();
    for (chdir, want) in
        [(&["--chdir", "/work"][..], "work"), (&["--chdir", "work"], "work"), (&[], "")]
    {
        let here = Path::new(root).join(want).join("here");
        fs::write(&here, "found").unwrap();
        let ran = run_in_root(root, chdir);
        assert_eq!((ran.status, &*ran.out), (Some(0), "found"), "{chdir:?}: {ran:?}");
        fs::remove_file(&here).unwrap();
    }
    let ran = run_in_root(root, &["--chdir", "/none"]);
    assert_eq!(ran.status, Some(125), "{ran:?}");
    assert!(ran.err.contains("change the working directory"), "{ran:?}");
}

/// Runs `cat here` in a root directory with the machine's programs, mounted privately.
fn run_in_root(root: &str, options: &[&str]) -> Ran {
    let script = "mount --make-rprivate / && mkdir -p $0/usr && mount --bind -o ro /usr $0/usr && \
                  for name in bin lib lib64; do \
                    test -e $0/$name || ln -s usr/$name $0/$name; done && exec \"$@\"";
    let cat = which("cat").unwrap();
    let path = format!("PATH={}", cat.parent().unwrap().display());
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, root]).arg(program("rcap").get_program());
    command
        .args(["run", "--env", &path, "--chroot", root])
        .args(options)
        .args(["--", "cat", "here"]);
    ran(command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null()))
}

fn with_a_set_uid_bit() {
    path_is_not_used(&[
        &["run", "--", "prog"],
        &["oci-runtime", "--save", "/nonexistent", "--", "prog", "state"],
    ]);
}

fn traced_with_a_set_uid_bit() {
    path_is_not_used(&[
        &["trace", "--container", "none-of-this-name", "--for", "10ms"],
        &["trace", "--", "prog"],
        &["minimize", "--in-place", "--", "prog"],
    ]);
}

/// A copy of rcap with a set-user-ID bit ignores its caller's PATH.
fn path_is_not_used(commands: &[&[&str]]) {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let rcap = dir.path().join("rcap");
    fs::copy(program("rcap").get_program(), &rcap).unwrap();
    let trace = dir.path().join("trace");
    for name in ["docker", "podman", "prog"] {
        let file = dir.path().join(name);
        fs::write(&file, format!("#!/bin/sh\n: > {}\n", trace.display())).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let started = |uid: u32, mode, args: &[&str]| {
        let _ = fs::remove_file(&trace);
        fs::set_permissions(&rcap, fs::Permissions::from_mode(mode)).unwrap();
        let mut command = Command::new(&rcap);
        std::os::unix::process::CommandExt::gid(&mut command, uid);
        std::os::unix::process::CommandExt::uid(&mut command, uid);
        command.args(args).env("PATH", dir.path()).env_remove("LD_LIBRARY_PATH");
        ran(command.stdin(Stdio::null()));
        trace.exists()
    };
    for args in commands {
        assert!(started(0, 0o755, args), "{args:?}");
        assert!(!started(65534, 0o4755, args), "{args:?}");
        assert!(!started(65534, 0o6755, args), "{args:?}");
    }
}
