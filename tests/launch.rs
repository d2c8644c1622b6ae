//! The launcher, on the running kernel.

mod common;

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::{
        fd::AsRawFd,
        unix::{fs::PermissionsExt, process::ExitStatusExt},
    },
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use common::{directory, which};
use nix::unistd::pipe;
use rcap::{
    Cap, CapSet, CapState, Error, Iab, Mode, Op, Subject, ambient, bounding,
    identity::Identity,
    launch::Launcher,
    no_new_privs,
    proc::{Proc, Status},
    securebits::{self, Securebits},
    threads,
};

tests! {
    Nothing:
        one_thread_or_several,
        functions_end_as_they_end,
        nothing_is_left_behind;
    UserNamespace:
        a_program_has_what_was_asked_for,
        a_command_that_others_start,
        a_function_has_what_was_asked_for,
        a_root_directory,
        environment_directory_and_streams,
        the_step_that_failed,
        programs_that_cannot_be_executed,
        standard_streams_that_are_closed;
    UserNamespace ["busybox"]:
        a_relative_root_directory;
    Root:
        a_command_of_tokio,
        a_user_with_ambient_capabilities,
        ids_that_cannot_be_had,
        from_a_process_with_threads;
}

const NET_RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);

fn status_of(launcher: &Launcher) -> String {
    let mut cat = Command::new("cat");
    cat.arg("/proc/self/status").stdout(Stdio::piped());
    let output = launcher.spawn(cat).unwrap().wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(":\t"));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

fn set(status: &str, name: &str) -> CapSet {
    CapSet::from_bits(u64::from_str_radix(field(status, name), 16).unwrap())
}

/// Returns the output of a function in a child.
fn said(launcher: &Launcher, function: impl FnOnce() -> String) -> String {
    let (read, write) = pipe().unwrap();
    let child = launcher
        .call(|| {
            File::from(write.try_clone().unwrap()).write_all(function().as_bytes()).unwrap();
            0
        })
        .unwrap();
    drop(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    text
}

/// Returns the operation that failed in the child, and its errno.
fn failed<T: std::fmt::Debug>(result: rcap::Result<T>) -> (Op, i32) {
    match result.unwrap_err() {
        Error::Os { op, subject: Subject::Child | Subject::Path(_), source, .. } => {
            (op, source.raw_os_error().unwrap())
        }
        other => panic!("{other:?}"),
    }
}

fn one_thread_or_several() {
    for _ in 0..500 {
        thread::spawn(|| {}).join().unwrap();
        threads::ensure_single_threaded().unwrap();
    }
    thread::spawn(|| {
        let err = threads::ensure_single_threaded().unwrap_err();
        assert_eq!(err.to_string(), "not possible in a process with 2 threads");
        assert!(matches!(Launcher::new().call(|| 0), Err(Error::Threads { .. })));
    })
    .join()
    .unwrap();
}

fn functions_end_as_they_end() {
    let ended = |function: fn() -> u8| Launcher::new().call(function).unwrap().wait().unwrap();
    assert_eq!(ended(|| 0).code(), Some(0));
    assert_eq!(ended(|| 255).code(), Some(255));
    let panicked = ended(|| {
        std::panic::set_hook(Box::new(|_| {}));
        panic!();
    });
    assert_eq!(panicked.code(), Some(101));
    let killed = Launcher::new()
        .call(|| {
            thread::sleep(std::time::Duration::from_secs(60));
            0
        })
        .unwrap();
    assert_eq!(killed.kill(65).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    killed.kill(libc::SIGTERM).unwrap();
    assert_eq!(killed.wait().unwrap().signal(), Some(libc::SIGTERM));
}

fn nothing_is_left_behind() {
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let launcher = Launcher::new().securebits(Securebits::NOROOT).root("/nonexistent");
    for _ in 0..20 {
        launcher.spawn(Command::new("true")).unwrap_err();
        launcher.call(|| 0).unwrap_err();
        Launcher::new().spawn(Command::new("/nonexistent")).unwrap_err();
        assert!(Launcher::new().spawn(Command::new("true")).unwrap().wait().unwrap().success());
        assert!(Launcher::new().call(|| 0).unwrap().wait().unwrap().success());
    }
    assert_eq!(descriptors(), before);
    let children = fs::read_to_string("/proc/thread-self/children").unwrap();
    assert_eq!(children, "", "a child was not waited for");
    // Descriptors of the library are closed in the function and the program.
    let child = Launcher::new().call(|| u8::from(descriptors() == before)).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    let ls = || {
        let mut ls = Command::new("ls");
        ls.arg("/proc/self/fd").stdout(Stdio::piped());
        ls
    };
    let launched = Launcher::new().spawn(ls()).unwrap().wait_with_output().unwrap();
    assert_eq!(launched.stdout, ls().output().unwrap().stdout);
}

fn a_program_has_what_was_asked_for() {
    let before = status_of(&Launcher::new());
    let own = CapState::current().unwrap();
    let keep = CapSet::of(&[Cap::NET_RAW, Cap::KILL, Cap::CHOWN]);
    let launcher = Launcher::new()
        .bounding(keep)
        .iab("!cap_chown,^cap_net_raw".parse().unwrap())
        .securebits(Securebits::NOROOT | Securebits::NOROOT_LOCKED)
        .no_new_privs();
    for _ in 0..2 {
        let status = status_of(&launcher);
        assert_eq!(set(&status, "CapBnd"), keep.without(Cap::CHOWN));
        for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
            assert_eq!(set(&status, name), NET_RAW, "{name}");
        }
        assert_eq!(field(&status, "NoNewPrivs"), "1");
    }
    let status = status_of(&Launcher::new().mode(Mode::NoPriv));
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(set(&status, name), CapSet::empty(), "{name}");
    }
    // The bounding set does not limit the ambient set.
    let none = CapSet::empty();
    let noroot = Launcher::new().securebits(Securebits::NOROOT);
    let status = status_of(&noroot.bounding(none).iab(Iab::new(NET_RAW, NET_RAW, none)));
    assert_eq!((set(&status, "CapPrm"), set(&status, "CapBnd")), (NET_RAW, none));
    // This process has not changed.
    assert_eq!(CapState::current().unwrap(), own);
    assert_eq!(ambient::current().unwrap(), CapSet::empty());
    assert_eq!(securebits::current().unwrap(), Securebits::empty());
    assert!(!no_new_privs::is_set().unwrap());
    let caps = |status: &str| ["CapPrm", "CapInh", "CapBnd"].map(|name| set(status, name));
    assert_eq!(caps(&status_of(&Launcher::new())), caps(&before));
}

/// Each start takes the steps, and a failed step returns its errno.
fn a_command_that_others_start() {
    let dir = directory();
    let mut cat = Command::new("cat");
    cat.arg("/proc/self/status");
    Launcher::new().bounding(NET_RAW).ambient(Cap::NET_RAW).apply_to(&mut cat).unwrap();
    for _ in 0..2 {
        let status = String::from_utf8(cat.output().unwrap().stdout).unwrap();
        for name in ["CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"] {
            assert_eq!(set(&status, name), NET_RAW, "{name}");
        }
    }
    // Other inheritable capabilities are preserved, and other ambient ones are not.
    let iab = "^cap_kill,cap_chown".parse().unwrap();
    let status = status_of(&Launcher::new().ambient(NET_RAW).iab(iab));
    assert_eq!(set(&status, "CapInh"), NET_RAW | Cap::KILL | Cap::CHOWN);
    assert_eq!(set(&status, "CapAmb"), NET_RAW);

    let mut pwd = Command::new("pwd");
    pwd.current_dir(dir.path());
    Launcher::new().no_new_privs().apply_to(&mut pwd).unwrap();
    let want = format!("{}\n", dir.path().display());
    assert_eq!(String::from_utf8(pwd.output().unwrap().stdout).unwrap(), want);

    let started = |launcher: &Launcher, program: &str| {
        let mut command = Command::new(program);
        launcher.apply_to(&mut command).unwrap();
        command.status().map_err(|err| err.raw_os_error())
    };
    let nowhere = Launcher::new().root("/nonexistent");
    assert_eq!(started(&nowhere, "true"), Err(Some(libc::ENOENT)));
    assert_eq!(started(&Launcher::new().uid(1), "true"), Err(Some(libc::EINVAL)));
    assert_eq!(started(&Launcher::new(), "/"), Err(Some(libc::EACCES)));
    let err = Launcher::new().root("a\0b").apply_to(&mut Command::new("true")).unwrap_err();
    assert_eq!(err.raw_os_error(), Some(libc::EINVAL));
}

/// An asynchronous runtime has threads, and starts programs in its own way.
fn a_command_of_tokio() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let output = runtime.block_on(async {
        let mut cat = tokio::process::Command::new("cat");
        cat.arg("/proc/self/status");
        nobody().ambient(NET_RAW).apply_to(cat.as_std_mut()).unwrap();
        cat.output().await.unwrap()
    });
    let status = String::from_utf8(output.stdout).unwrap();
    assert_eq!(field(&status, "Uid"), "65534\t65534\t65534\t65534");
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb"] {
        assert_eq!(set(&status, name), NET_RAW, "{name}");
    }
}

fn a_function_has_what_was_asked_for() {
    let caps: CapState = "cap_net_raw=ep cap_kill=i cap_chown=p".parse().unwrap();
    let text = said(&Launcher::new().caps(caps).securebits(Securebits::KEEP_CAPS), || {
        format!("{}|{}", CapState::current().unwrap(), securebits::current().unwrap())
    });
    assert_eq!(text, "cap_kill=i cap_net_raw+ep cap_chown+p|keep-caps");
    let mode = || format!("{:?}", Mode::current().unwrap());
    assert_eq!(said(&Launcher::new().mode(Mode::Pure1eInit), mode), "Some(Pure1eInit)");
    let set = || bounding::current().unwrap().to_string();
    assert_eq!(said(&Launcher::new().bounding(NET_RAW), set), "cap_net_raw");
    let iab: Iab = "!cap_chown,^cap_kill".parse().unwrap();
    let current = || Iab::current().unwrap().to_string();
    assert_eq!(said(&Launcher::new().iab(iab), current), iab.to_string());
}

fn a_root_directory() {
    let dir = directory();
    fs::write(dir.path().join("here"), "").unwrap();
    let names = || {
        let entries = ["/", "."].map(|dir| fs::read_dir(dir).unwrap().next().unwrap().unwrap());
        entries.map(|entry| entry.file_name().into_string().unwrap()).join(" ")
    };
    assert_eq!(said(&Launcher::new().root(dir.path()), names), "here here");
    // The step needs CAP_SYS_CHROOT, which need not be effective.
    let all = CapState::current().unwrap();
    CapState { effective: CapSet::empty(), ..all }.apply().unwrap();
    assert_eq!(said(&Launcher::new().root(dir.path()), names), "here here");
    // The program is searched for below the new root directory.
    assert_eq!(
        Launcher::new().root(dir.path()).spawn(Command::new("true")).unwrap_err().to_string(),
        "cannot execute true"
    );
}

fn environment_directory_and_streams() {
    let dir = directory();
    let mut sh = Command::new("sh");
    sh.args(["-c", "read line; echo $line $NAME $(pwd) $HOME; echo error >&2; exit 3"])
        .env_clear()
        .envs([("NAME", "value"), ("PATH", &*std::env::var("PATH").unwrap())])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = Launcher::new().no_new_privs().spawn(sh).unwrap();
    child.stdin.take().unwrap().write_all(b"line\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let want = format!("line value {}\n", dir.path().display());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), want);
    assert_eq!((output.stderr, output.status.code()), (b"error\n".into(), Some(3)));
}

fn the_step_that_failed() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let all = CapState::current().unwrap();
    let without = |cap: Cap| {
        let permitted = all.permitted.without(cap);
        CapState { permitted, effective: permitted, ..all }
    };
    let [eperm, einval] = [libc::EPERM, libc::EINVAL];
    let new = Launcher::new;
    let raise = Iab::new(NET_RAW, NET_RAW, CapSet::empty());
    let fixed = Securebits::NOROOT_LOCKED;
    #[rustfmt::skip]
    let rows = [
        (all,                       new().root("/nonexistent"),       Op::Chroot,         libc::ENOENT),
        (all,                       new().root(&file),                Op::Chroot,         libc::ENOTDIR),
        (without(Cap::SYS_CHROOT),  new().root("/"),                  Op::Chroot,        eperm),
        (all,                       new().groups(0, &[]),             Op::SetGroups,      eperm),
        (all,                       new().groups(1, &[]),             Op::SetGid,         einval),
        (without(Cap::SETGID),      new().groups(0, &[]),             Op::SetGid,        eperm),
        (all,                       new().uid(1),                     Op::SetUid,         einval),
        (without(Cap::SETUID),      new().uid(0),                     Op::SetUid,        eperm),
        (without(Cap::SETPCAP),     new().bounding(NET_RAW),          Op::DropBounding,        eperm),
        (without(Cap::SETPCAP),     new().mode(Mode::Pure1e),         Op::SetSecurebits,        eperm),
        (without(Cap::NET_RAW),     new().iab(raise),                 Op::RaiseAmbient,   eperm),
        (without(Cap::SETPCAP),     new().securebits(fixed),          Op::SetSecurebits,  eperm),
        (without(Cap::NET_RAW),     new().caps(all),                  Op::SetSets,        eperm),
    ];
    for (caps, launcher, op, errno) in rows {
        // A separate child for each, because dropped privileges cannot be regained.
        let same = || {
            caps.apply().unwrap();
            let [spawned, called] =
                [failed(launcher.spawn(Command::new("true"))), failed(launcher.call(|| 0))];
            format!("{}", spawned == (op, errno) && called == spawned)
        };
        assert_eq!(said(&Launcher::new(), same), "true", "{launcher:?}");
    }
    let err = Launcher::new().uid(1).spawn(Command::new("true")).unwrap_err();
    assert_eq!(err.to_string(), "cannot set the user ids of the child process");
    assert_eq!(err.raw_os_error(), Some(einval));
}

fn programs_that_cannot_be_executed() {
    let dir = directory();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    for (path, errno) in [("/nonexistent".as_ref(), libc::ENOENT), (&*file, libc::EACCES)] {
        let err = Launcher::new().no_new_privs().spawn(Command::new(path)).unwrap_err();
        assert_eq!(err.to_string(), format!("cannot execute {}", path.display()));
        assert_eq!(err.raw_os_error(), Some(errno));
    }
    let mut elsewhere = Command::new("true");
    elsewhere.current_dir("/nonexistent");
    let err = Launcher::new().spawn(elsewhere).unwrap_err();
    assert_eq!(err.to_string(), "cannot change the working directory /nonexistent");
    assert_eq!(err.raw_os_error(), Some(libc::ENOENT));
}

/// A relative root directory is resolved in this process's working directory, even if the child has
/// another one.
fn a_relative_root_directory() {
    let dir = directory();
    std::env::set_current_dir(dir.path()).unwrap();
    fs::create_dir_all("root/work").unwrap();
    let busybox = which("busybox").unwrap();
    fs::copy(busybox, "root/busybox").unwrap();
    for (directory, want) in [(None, "/\n"), (Some("/work"), "/work\n"), (Some("work"), "/work\n")]
    {
        let mut pwd = Command::new("/busybox");
        pwd.arg("pwd");
        if let Some(directory) = directory {
            pwd.current_dir(directory);
        }
        let output = Launcher::new().root("root").output(pwd).unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), want, "{directory:?}");
    }
    let mut nowhere = Command::new("/busybox");
    nowhere.current_dir("/none");
    let err = Launcher::new().root("root").spawn(nowhere).unwrap_err();
    assert_eq!(err.to_string(), "cannot change the working directory /none");
    let err = Launcher::new().root("none").spawn(Command::new("/busybox")).unwrap_err();
    assert_eq!(err.to_string(), "cannot change the root directory none");
}

fn nobody() -> Launcher {
    Launcher::new().identity(&Identity::of_user("nobody").unwrap())
}

fn a_user_with_ambient_capabilities() {
    let status = status_of(&nobody().bounding(NET_RAW).ambient(NET_RAW).no_new_privs());
    for name in ["Uid", "Gid"] {
        assert_eq!(field(&status, name), "65534\t65534\t65534\t65534");
    }
    assert_eq!(field(&status, "Groups"), "65534");
    for name in ["CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd"] {
        assert_eq!(set(&status, name), NET_RAW, "{name}");
    }
    let status = status_of(&nobody());
    assert_eq!(["CapPrm", "CapEff", "CapAmb"].map(|name| set(&status, name)), [CapSet::empty(); 3]);
    // A function keeps the permitted set by default.
    let caps = || CapState::current().unwrap().to_string();
    let permitted = CapState { effective: CapSet::empty(), ..CapState::current().unwrap() };
    assert_eq!(said(&nobody(), caps), permitted.to_string());
    assert_eq!(said(&nobody().caps(CapState::EMPTY), caps), "=");
}

fn ids_that_cannot_be_had() {
    let invalid = u32::MAX;
    let tried = Launcher::new().groups(0, &[1, invalid]).spawn(Command::new("true"));
    assert_eq!(failed(tried), (Op::SetGroups, libc::EINVAL));
    // The permitted set could not be preserved.
    securebits::set(Securebits::KEEP_CAPS_LOCKED).unwrap();
    let tried = Launcher::new().uid(65534).spawn(Command::new("true"));
    assert_eq!(failed(tried), (Op::SetSecurebits, libc::EPERM));
}

fn from_a_process_with_threads() {
    /// Ends the threads even if an assertion fails, which would otherwise wait indefinitely.
    struct Stop<'a>(&'a AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let pid = std::process::id();
    let proc = Proc::default();
    let status = || -> Vec<Status> {
        // A joined thread stays visible for a moment.
        common::wait_until(|| proc.threads(pid).unwrap().len() == 9);
        let tids = proc.threads(pid).unwrap().into_iter();
        tids.map(|tid| proc.thread_status(pid, tid).unwrap()).collect()
    };
    let stop = AtomicBool::new(false);
    let ambient = Iab::new(NET_RAW, NET_RAW, CapSet::empty());
    thread::scope(|scope| {
        let _stop = Stop(&stop);
        // The threads hold the heap's lock about half of the time.
        for _ in 0..8 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    std::hint::black_box(vec![0_u8; 100_000]);
                }
            });
        }
        let before = status();
        for _ in 0..50 {
            let mut child = nobody().iab(ambient).spawn(Command::new("true")).unwrap();
            assert!(child.wait().unwrap().success());
            let refused = Launcher::new().root("/nonexistent").spawn(Command::new("true"));
            assert_eq!(failed(refused), (Op::Chroot, libc::ENOENT));
            #[expect(unsafe_code, reason = "the function uses the heap only, which glibc allows")]
            // SAFETY: as the reason states.
            let child = unsafe {
                nobody()
                    .caps(CapState::EMPTY)
                    .call_among_threads(|| u8::from(!vec![1_u8; 100_000].contains(&0)))
            };
            assert_eq!(child.unwrap().wait().unwrap().code(), Some(1));
        }
        assert_eq!(status(), before);
        let launch = || {
            for _ in 0..20 {
                let mut child = nobody().spawn(Command::new("true")).unwrap();
                assert!(child.wait().unwrap().success());
            }
        };
        thread::scope(|scope| [(); 4].map(|()| scope.spawn(launch)).map(|_| ()));
        assert_eq!(status(), before);
    });
}

/// In a daemon without standard streams, the next descriptor looks like a stream.
fn standard_streams_that_are_closed() {
    let dir = directory();
    let path = dir.path().join("output");
    let file = || File::create(&path).unwrap();
    let child = Launcher::new().call(|| {
        (0..3).for_each(|number| nix::unistd::close(number).unwrap());
        let say = |text: &str, to: Stdio| {
            let mut sh = Command::new("sh");
            sh.args(["-c", text]).stdout(to);
            sh
        };
        let written = || fs::read_to_string(&path).unwrap();
        let spawn = |launcher: &Launcher, command| {
            launcher.spawn(command).map(|child| child.wait_with_output().unwrap())
        };
        let ran = spawn(&Launcher::new(), say("echo written", file().into())).unwrap();
        assert!(ran.status.success());
        assert_eq!(written(), "written\n");
        let ran = spawn(&Launcher::new(), say("echo written", Stdio::piped())).unwrap();
        assert_eq!((ran.status.success(), &*ran.stdout), (true, &b"written\n"[..]));
        // Streams that were not passed are closed, as in this process.
        let streams = "for n in 0 1 2; do [ -e /proc/$$/fd/$n ] && echo $n; done; true";
        let ran = spawn(&Launcher::new(), say(streams, Stdio::piped())).unwrap();
        assert_eq!(String::from_utf8_lossy(&ran.stdout), "1\n");
        // The error names the failed step, and the output is not affected.
        let nowhere = Launcher::new().root("/nonexistent");
        let (op, errno) = failed(nowhere.spawn(say("true", file().into())));
        assert_eq!((op, errno, &*written()), (Op::Chroot, libc::ENOENT, ""));
        let (op, errno) = failed(nowhere.call(|| 0));
        assert_eq!((op, errno), (Op::Chroot, libc::ENOENT));
        let mut absent = Command::new("/nonexistent");
        absent.stdout(file());
        let err = Launcher::new().spawn(absent).unwrap_err();
        assert!(matches!(err, Error::Os { op: Op::Execute, .. }), "{err:?}");
        assert_eq!(written(), "");
        // No descriptor is left open.
        assert_eq!(
            nix::fcntl::open("/", nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty())
                .unwrap()
                .as_raw_fd(),
            0
        );
        0
    });
    let status = child.unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(0));
}
