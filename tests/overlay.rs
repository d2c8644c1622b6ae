//! The copy of the file system in which `rcap minimize` runs a program.

mod common;

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran, wait_until};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::CloneFlags,
    sys::statvfs::FsFlags,
};
use rcap::{
    Cap,
    launch::attainable,
    trace::{
        Options,
        minimize::{Minimizer, Plan, Program, Setup},
    },
};
use serde_json::{Value, json};

tests! {
    Tracing:
        an_overlay_is_thrown_away,
        an_overlay_of_another_program,
        an_overlay_leads_nowhere_else,
        an_overlay_keeps_flags_and_names,
        an_overlay_as_another_user,
        an_overlay_without_sockets,
        a_signal_on_an_overlay,
        nothing_is_left_of_an_overlay;
    Tracing ["mount umount unshare"]:
        an_overlay_while_mounts_come_and_go;
    Tracing ["chroot"]:
        an_overlay_in_a_chroot;
    Tracing ["setsid"]:
        a_daemon_on_an_overlay;
}

/// Cargo has programs look for their libraries in directories that other users may not enter, and
/// each would be refused that.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

fn minimize(args: &[&str]) -> Ran {
    let mut command = program("rcap");
    command.args(["minimize", "--timeout", "10m"]).args(args);
    ran(command.stdin(Stdio::null()).env_remove(LIBRARIES))
}

/// The names of the minimum.
fn minimum(args: &[&str]) -> Vec<String> {
    let ran = minimize(&[&["--json"], args].concat());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let object: Value = serde_json::from_str(&ran.out).unwrap();
    let names = object["minimum"].as_array().unwrap();
    names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn file_in(dir: &Path) -> String {
    let file = dir.join("file");
    fs::write(&file, "text\n").unwrap();
    file.to_str().unwrap().to_owned()
}

/// In the place of a test: what the program on the overlay does, with these arguments.
const ROLE: &str = "RCAP_TEST_ROLE";

/// The arguments of a test that runs itself as the program.
fn role() -> Option<Vec<String>> {
    let words = std::env::var(ROLE).ok()?;
    // The last line is what the report has.
    std::panic::set_hook(Box::new(|panic| {
        std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("{}\n", panic.to_string().replace('\n', " ")).as_bytes(),
        )
        .unwrap_or_default();
    }));
    Some(words.split('\u{1}').map(str::to_owned).collect())
}

/// Runs `rcap minimize` with this test's program as the program, in a role.
fn minimize_myself(rcap: &Path, options: &[&str], role: &[&str]) -> Value {
    let mut command = Command::new(rcap);
    command.args(["minimize", "--json"]).args(options);
    command.arg("--").arg(std::env::current_exe().unwrap());
    command.env(ROLE, role.join("\u{1}")).env_remove(LIBRARIES).stdin(Stdio::null());
    let ran = ran(&mut command);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// The first run has passed, as the program says.
fn first_passed(object: &Value) {
    assert_eq!(object["runs"][0]["exit"]["code"], 0, "{object}");
}

/// Makes the mounts of a test its own.
fn own_mounts() {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

fn mount_tmpfs(on: &Path, flags: MsFlags) {
    mount(Some("tmpfs"), on, Some("tmpfs"), flags, None::<&str>).unwrap();
}

/// The program has all capabilities in the first run, and tries what it can to write to a file of
/// the machine's, and to find its processes.
fn an_overlay_leads_nowhere_else() {
    if let Some(role) = role() {
        let [victim, outside] = &*role else { panic!("{role:?}") };
        return escape(Path::new(victim), outside);
    }
    // If it fails, let it be this test that has no root directory any more.
    own_mounts();
    let dir = directory();
    let victim = file_in(dir.path());
    // The path /proc/1/exe could lead to the program on the machine's disk.
    let rcap = dir.path().join("rcap");
    fs::copy(program("rcap").get_program(), &rcap).unwrap();
    fs::set_permissions(&rcap, fs::Permissions::from_mode(0o755)).unwrap();
    // A descriptor that the program would inherit.
    let open = nix::fcntl::open("/", nix::fcntl::OFlag::O_PATH, nix::sys::stat::Mode::empty());
    let open = open.unwrap();
    let outside = fs::read_link("/proc/self/ns/pid").unwrap();
    let object = minimize_myself(&rcap, &[], &[&victim, outside.to_str().unwrap()]);
    drop(open);
    first_passed(&object);
    assert_eq!(fs::read_to_string(&victim).unwrap(), "text\n");
    assert_eq!(fs::metadata(&rcap).unwrap().permissions().mode() & 0o7777, 0o755);
}

fn escape(victim: &Path, outside: &str) {
    let below = |root: &Path| {
        let path = root.join(victim.strip_prefix("/").unwrap());
        let _ = fs::OpenOptions::new()
            .append(true)
            .open(path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"escaped\n"));
    };
    below(Path::new("/"));
    assert!(fs::read_to_string(victim).unwrap().ends_with("escaped\n"));
    // Processes, their directories and descriptors.
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            below(&entry.path().join("root"));
            below(&entry.path().join("cwd"));
            for file in fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten() {
                below(&file.path());
            }
            processes.push(name);
        }
    }
    // Only those of the run: what follows would do harm to any other.
    assert!((2..10).contains(&processes.len()), "{processes:?}");
    assert_ne!(fs::read_link("/proc/self/ns/pid").unwrap(), Path::new(outside));
    assert_eq!(
        fs::read_link("/proc/1/ns/pid").unwrap(),
        fs::read_link("/proc/self/ns/pid").unwrap()
    );
    let _ = fs::set_permissions("/proc/1/exe", fs::Permissions::from_mode(0o4711));
    // The classic: a root directory further down, and a descriptor from above.
    let root = fs::File::open("/").unwrap();
    fs::create_dir("/below").unwrap();
    nix::unistd::chroot("/below").unwrap();
    nix::unistd::fchdir(&root).unwrap();
    (0..64).for_each(|_| nix::unistd::chdir("..").unwrap());
    nix::unistd::chroot(".").unwrap();
    below(Path::new("/"));
    assert!(Path::new("/below").is_dir());
    // Mounts below the root directory, and the root of the namespace.
    let namespace = fs::File::open("/proc/1/ns/mnt").unwrap();
    for _ in 0..8 {
        nix::sched::setns(&namespace, CloneFlags::CLONE_NEWNS).unwrap();
        below(Path::new("/"));
        if nix::mount::umount2("/", nix::mount::MntFlags::MNT_DETACH).is_err() {
            break;
        }
    }
}

fn an_overlay_keeps_flags_and_names() {
    /// A name that overlayfs, its options and /proc/self/mountinfo each have a meaning for.
    const NAME: &str = "a:b,c d\\e\nf";
    let flags = |path: &Path| {
        let flags = nix::sys::statvfs::statvfs(path).unwrap().flags();
        let kept = FsFlags::ST_RDONLY
            | FsFlags::ST_NOSUID
            | FsFlags::ST_NODEV
            | FsFlags::ST_NOEXEC
            | FsFlags::ST_NOATIME
            // ST_RELATIME, which nix has for glibc alone
            | FsFlags::from_bits_retain(0x1000);
        (flags & kept).bits()
    };
    if let Some(role) = role() {
        let [dir, want @ ..] = &*role else { panic!("{role:?}") };
        for (at, want) in want.iter().enumerate() {
            let point = Path::new(dir).join(format!("{at}{NAME}"));
            assert_eq!(flags(&point).to_string(), *want, "{at}");
            assert_eq!(fs::read_to_string(point.join("file")).unwrap(), "text\n");
            let written = fs::write(point.join("new"), "");
            assert_eq!(written.is_ok(), at != 3, "{at}: {written:?}");
        }
        // Another lower directory, if a colon were to separate them.
        assert!(!Path::new(dir).join(format!("0{NAME}")).join("secret").exists());
        return;
    }
    own_mounts();
    let dir = directory();
    fs::create_dir(dir.path().join("b,c d\\e\nf")).unwrap();
    fs::write(dir.path().join("b,c d\\e\nf/secret"), "").unwrap();
    std::env::set_current_dir(dir.path()).unwrap();
    let mut want = Vec::new();
    for (at, flags_of) in [
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
        MsFlags::MS_NOSUID | MsFlags::MS_NOATIME,
        MsFlags::empty(),
        MsFlags::MS_RDONLY,
    ]
    .into_iter()
    .enumerate()
    {
        let point = dir.path().join(format!("{at}{NAME}"));
        fs::create_dir(&point).unwrap();
        mount_tmpfs(&point, MsFlags::empty());
        fs::write(point.join("file"), "text\n").unwrap();
        let (none, again) = (None::<&str>, MsFlags::MS_REMOUNT | MsFlags::MS_BIND);
        mount(none, &point, none, again | flags_of, none).unwrap();
        want.push(flags(&point).to_string());
    }
    // Only the upper of two mounts on the same directory is visible.
    let hidden = dir.path().join(format!("0{NAME}"));
    fs::create_dir(hidden.join("hidden")).unwrap();
    mount_tmpfs(&hidden.join("hidden"), MsFlags::empty());
    mount_tmpfs(&hidden, MsFlags::MS_NOSUID);
    fs::write(hidden.join("file"), "text\n").unwrap();
    want[0] = flags(&hidden).to_string();
    let mut role = vec![dir.path().to_str().unwrap()];
    role.extend(want.iter().map(String::as_str));
    let object = minimize_myself(program("rcap").get_program().as_ref(), &[], &role);
    first_passed(&object);
    assert!(!hidden.join("new").exists());
    for at in [3, 2, 1, 0, 0] {
        let point = dir.path().join(format!("{at}{NAME}"));
        nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

/// Mounted directories keep their owner, mode and access control list.
fn an_overlay_as_another_user() {
    const LIST: &str = "system.posix_acl_access";
    let seen = |path: &str| {
        let stat = fs::metadata(path).unwrap();
        let list = xattr::get(path, LIST).unwrap().unwrap_or_default();
        format!("{path} {:o} {} {} {list:x?}", stat.mode(), stat.uid(), stat.gid())
    };
    if let Some(role) = role() {
        assert_eq!(nix::unistd::geteuid().as_raw(), 65534);
        for want in &role {
            let path = want.split(' ').next().unwrap();
            assert_eq!(seen(path), *want);
        }
        let dir = role[2].split(' ').next().unwrap();
        fs::write(Path::new(dir).join("new"), "").unwrap();
        return;
    }
    own_mounts();
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // This program is executed by another user too.
    let point = dir.path().join("point");
    fs::create_dir(&point).unwrap();
    mount_tmpfs(&point, MsFlags::empty());
    chown(&point, Some(7), Some(8)).unwrap();
    fs::set_permissions(&point, fs::Permissions::from_mode(0o2750)).unwrap();
    // Version 2; the owner, user 65534, the group, the mask, others.
    let entries = [
        (1u16, 7u16, u32::MAX),
        (2, 7, 65534),
        (4, 5, u32::MAX),
        (16, 7, u32::MAX),
        (32, 0, u32::MAX),
    ];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, rights, id) in entries {
        list.extend(tag.to_le_bytes());
        list.extend(rights.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    xattr::set(&point, LIST, &list).unwrap();
    let role = ["/", "/tmp", point.to_str().unwrap()].map(seen);
    let role: Vec<&str> = role.iter().map(String::as_str).collect();
    let object =
        minimize_myself(program("rcap").get_program().as_ref(), &["--user", "nobody"], &role);
    first_passed(&object);
    assert_eq!(object["minimum"], json!([]));
    nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// A mounted socket or namespace would lead to processes outside; a mounted file is there for
/// reading.
fn an_overlay_without_sockets() {
    let kind = |path: &Path| fs::symlink_metadata(path).unwrap().file_type();
    if let Some(role) = role() {
        let [socket, namespace, file] = &*role else { panic!("{role:?}") };
        assert!(kind(Path::new(socket)).is_file());
        assert_eq!(fs::metadata(namespace).unwrap().len(), 6);
        let namespace = fs::File::open(namespace).unwrap();
        assert_eq!(nix::sched::setns(namespace, CloneFlags::empty()), Err(Errno::EINVAL));
        assert_eq!(fs::read_to_string(file).unwrap(), "text\n");
        let errno = fs::write(file, "").unwrap_err().raw_os_error();
        assert_eq!(errno, Some(Errno::EROFS as i32));
        return;
    }
    own_mounts();
    let dir = directory();
    let file = file_in(dir.path());
    let listener = std::os::unix::net::UnixListener::bind(dir.path().join("listening")).unwrap();
    let sources = [dir.path().join("listening"), "/proc/self/ns/uts".into(), file.into()];
    let points = ["socket", "namespace", "point"].map(|name| dir.path().join(name));
    for (source, point) in sources.iter().zip(&points) {
        fs::write(point, "below\n").unwrap();
        let none = None::<&str>;
        mount(Some(source), point, none, MsFlags::MS_BIND, none).unwrap();
    }
    let role = points.each_ref().map(|point| point.to_str().unwrap());
    first_passed(&minimize_myself(program("rcap").get_program().as_ref(), &[], &role));
    for point in &points {
        nix::mount::umount(point).unwrap();
    }
    drop(listener);
}

/// Where the root directory of rcap is not that of its mount namespace, and no mount point.
fn an_overlay_in_a_chroot() {
    if let Some(role) = role() {
        let [victim, secret, outside] = &*role else { panic!("{role:?}") };
        assert!(!Path::new(secret).exists());
        fs::write(victim, "other\n").unwrap();
        return escape(Path::new(victim), outside);
    }
    own_mounts();
    let dir = directory();
    mount_tmpfs(dir.path(), MsFlags::empty());
    let secret = file_in(dir.path());
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let victim = file_in(&root);
    let rcap = program("rcap").get_program().to_owned();
    let programs = Path::new(&rcap).parent().unwrap();
    let own = std::env::current_exe().unwrap();
    let own = Path::new("/programs").join(own.strip_prefix(programs).unwrap());
    // The machine's programs, for reading, and its processes.
    let none = None::<&str>;
    for (source, name, read_only) in [
        (Path::new("/usr"), "usr", true),
        (Path::new("/sys"), "sys", true),
        (programs, "programs", true),
        (Path::new("/proc"), "proc", false),
    ] {
        let point = root.join(name);
        fs::create_dir(&point).unwrap();
        mount(Some(source), &point, none, MsFlags::MS_BIND, none).unwrap();
        if read_only {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
            mount(none, &point, none, flags, none).unwrap();
        }
    }
    for name in ["bin", "lib", "lib64"] {
        std::os::unix::fs::symlink(Path::new("usr").join(name), root.join(name)).unwrap();
    }
    fs::create_dir(root.join("dev")).unwrap();
    fs::write(root.join("dev/null"), "").unwrap();
    let outside = fs::read_link("/proc/self/ns/pid").unwrap();
    let mut command = Command::new("chroot");
    command.arg(&root).args(["/programs/rcap", "minimize", "--json"]);
    command.arg("--").arg(own);
    command.env(ROLE, ["/file", &secret, outside.to_str().unwrap()].join("\u{1}"));
    let ran = ran(command.env_remove(LIBRARIES).stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    first_passed(&serde_json::from_str(&ran.out).unwrap());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "text\n");
    nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

/// Engines mount and unmount the file systems of containers at any time.
fn an_overlay_while_mounts_come_and_go() {
    let dir = directory();
    let script = "while ! test -e end; do \
                      for d in 1 2 3 4 5 6; do mkdir $d; mount -t tmpfs none $d; done; \
                      for d in 1 2 3 4 5 6; do umount -l $d; rmdir $d; done; \
                  done & \
                  for run in 1 2 3 4 5 6 7 8; do \"$0\" minimize -- true || break; done; \
                  status=$?; touch end; wait; exit $status";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "shared", "sh", "-c", script]);
    let ran = ran(command.arg(program("rcap").get_program()).current_dir(dir.path()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
}

fn a_daemon_on_an_overlay() {
    let dir = directory();
    let file = file_in(dir.path());
    // The parent has ended when the daemon does its work, and so has the parent's parent.
    let script = format!("(setsid sh -c 'sleep 0.2; chown 1000 {file}' >/dev/null 2>&1 &) &");
    let names = minimum(&["--settle", "1m", "--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
}

/// A signal ends a program as it does elsewhere, which is not so for the first process of a PID
/// namespace.
fn a_signal_on_an_overlay() {
    let ran = minimize(&["--", "sh", "-c", "kill $$; sleep 1000"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.err.contains("it is ended by SIGTERM"), "{ran:?}");
}

fn nothing_is_left_of_an_overlay() {
    own_mounts();
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let dir = directory();
    let processes = || {
        let all = fs::read_dir("/proc").unwrap().flatten();
        let all = all.filter_map(|entry| fs::read(entry.path().join("environ")).ok());
        let mine = format!("TMPDIR={}", dir.path().display());
        all.filter(|text| text.split(|&byte| byte == 0).any(|pair| pair == mine.as_bytes())).count()
    };
    let mut child = program("rcap")
        .args(["minimize", "--", "sh", "-c", "sleep 1000 & sleep 1000"])
        .env("TMPDIR", dir.path())
        .env_remove(LIBRARIES)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // Itself, the shell and what that has started.
    wait_until(|| processes() >= 4);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(|| processes() == 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    // Others may have removed one.
    let (after, before): (_, HashSet<&str>) = (mounts(), before.lines().collect());
    assert_eq!(after.lines().find(|mount| !before.contains(mount)), None);
}

/// A program other than rcap that uses the library: this test's program is the init process.
fn an_overlay_of_another_program() {
    let dir = directory();
    let file = file_in(dir.path());
    let setup = Setup::new(["chown", "1000", &file].map(Into::into).into());
    let program = Program::new(setup, &Options::default(), Box::new(|| false)).unwrap();
    let mut minimizer = Minimizer::new(Plan::new(attainable().unwrap()), program);
    minimizer.search(&mut |_| ()).unwrap();
    let found = minimizer.found();
    assert_eq!((found.minimum, found.proved), (Cap::CHOWN.into(), true));
    assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
}

fn an_overlay_is_thrown_away() {
    let dir = directory();
    let file = file_in(dir.path());
    chown(&file, Some(0), Some(0)).unwrap();
    let script = format!(
        "test $(stat -c %u {file}) = 1000 && exit 1; chown 1000 {file}; mkdir {}/new",
        dir.path().display()
    );
    assert_eq!(minimum(&["--", "sh", "-c", &script]), ["cap_chown"]);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file).unwrap());
    assert_eq!(owner, 0);
    assert!(!dir.path().join("new").exists());
}
