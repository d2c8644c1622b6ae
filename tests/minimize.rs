//! `rcap minimize` with real programs.

mod common;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use common::{Ran, directory, program, ran, wait_until, which};
use nix::{
    mount::{MsFlags, mount},
    sched::CloneFlags,
    sys::{
        resource::{UsageWho, getrusage},
        statvfs::FsFlags,
    },
};
use serde_json::{Value, json};

tests! {
    Nothing:
        usage;
    Tracing:
        a_file_is_given_away,
        nothing_is_needed,
        a_removed_file_of_another,
        it_fails_with_everything,
        a_program_that_is_flaky,
        refused_and_yet_it_ends_well,
        the_same_output,
        every_run_begins_anew,
        an_overlay_is_thrown_away,
        an_overlay_leads_nowhere_else,
        an_overlay_keeps_flags_and_names,
        an_overlay_as_another_user,
        an_overlay_without_sockets,
        a_signal_on_an_overlay,
        nothing_is_left_of_an_overlay,
        output_is_not_kept,
        output_is_opened_by_another_user,
        kept_and_dropped,
        interrupted,
        a_set_uid_program;
    Tracing ["chroot"]:
        an_overlay_in_a_chroot;
    Tracing ["setsid"]:
        a_daemon_on_an_overlay,
        a_daemon_that_forks_twice;
    Tracing ["python3"]:
        a_hundred_threads;
    Tracing ["ip nc unshare"]:
        netcat_on_port_80,
        netcat_where_any_port_may_be_bound,
        netcat_as_another_user;
    Tracing ["ip ping unshare"]:
        ping;
    Tracing ["ping tcpdump"]:
        tcpdump;
}

/// Cargo sets library directories that other users cannot enter, which would count as denials.
const LIBRARIES: &str = "LD_LIBRARY_PATH";

fn minimize(args: &[&str]) -> Ran {
    let mut command = program("rcap");
    command.arg("minimize");
    // The default limit depends on the first run, and the machine may become busy.
    if !args.contains(&"--timeout") {
        command.args(LONG);
    }
    ran(command.args(args).stdin(Stdio::null()).env_remove(LIBRARIES))
}

const LONG: [&str; 2] = ["--timeout", "10m"];

/// Returns the JSON object, and the names of the minimum.
fn minimum(args: &[&str]) -> (Value, Vec<String>) {
    let ran = minimize(&[&["--json"], args].concat());
    assert_eq!(ran.status, Some(0), "{ran:?}");
    let object: Value = serde_json::from_str(&ran.out).unwrap();
    let names = object["minimum"].as_array().unwrap();
    let names = names.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    (object, names)
}

fn file_in(dir: &Path) -> String {
    let file = dir.join("file");
    fs::write(&file, "text\n").unwrap();
    file.to_str().unwrap().to_owned()
}

fn usage() {
    for args in
        [&[][..], &["--keep", "cap_nothing", "true"], &["--repeat", "0", "true"], &["--nonsense"]]
    {
        let ran = minimize(args);
        assert_eq!((ran.status, &*ran.out), (Some(125), ""), "{args:?}");
        assert!(!ran.err.is_empty());
    }
    assert!(minimize(&["--help"]).out.contains("rcap minimize -- ping"));
}

fn a_file_is_given_away() {
    let dir = directory();
    let file = file_in(dir.path());
    let ran = minimize(&["--", "chown", "1000", &file]);
    assert_eq!((ran.status, &*ran.err), (Some(0), ""));
    assert!(ran.out.starts_with("Minimum: cap_chown\n\ncap_chown  needed: without it, exit status 1, not exit status 0: chown: "), "{}", ran.out);
    assert!(ran.out.contains("and chown was refused cap_chown: change the owner, mode or times of a file (fchownat = EPERM)"), "{}", ran.out);
    let settings = minimize(&["--to", "docker", "--", "chown", "1002", &file]).out;
    let want = "\n\n--cap-drop=ALL --cap-add=CHOWN --security-opt=no-new-privileges\n";
    assert!(settings.ends_with(want), "{settings}");
    let (object, _) = minimum(&["--", "chown", "1001", &file]);
    assert_eq!(object["schema"], 1);
    assert_eq!(object["command"][0], "chown");
    assert_eq!(object["proved"], true);
    assert_eq!(object["verdicts"][0]["needed"], true);
    assert_eq!(object["verdicts"][0]["failures"][0]["kind"], "exit");
    // With all capabilities, with the candidate, and without it.
    let sets = object["runs"].as_array().unwrap().iter().map(|run| run["set"].clone());
    let sets: Vec<Value> = sets.skip(1).collect();
    assert_eq!(sets, [json!(["cap_chown"]), json!([])]);
}

fn nothing_is_needed() {
    let (object, names) = minimum(&["true"]);
    assert!(names.is_empty());
    assert_eq!(object["runs"].as_array().unwrap().len(), 2);
}

/// Runs in a separate network namespace, where every port is free.
fn netcat(dir: &Path, setting: &str, args: &[&str]) -> Ran {
    let copy = dir.join("nc");
    fs::copy(which("nc").unwrap(), &copy).unwrap();
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755)).unwrap();
    let rcap = program("rcap").get_program().to_owned();
    let script = format!(
        "ip link set lo up; {setting}; exec \"$0\" minimize --timeout 10m --check 'echo | {0} -N 127.0.0.1 80' \"$@\" -- {0} -l -p 80",
        copy.display()
    );
    let mut command = Command::new("unshare");
    ran(command.args(["-n", "sh", "-c", &script]).arg(rcap).args(args).env_remove(LIBRARIES))
}

fn netcat_on_port_80() {
    let dir = directory();
    let ran = netcat(dir.path(), "true", &[]);
    assert!(ran.out.starts_with("Minimum: cap_net_bind_service\n"), "{ran:?}");
    assert!(ran.out.contains("Permission denied\n"), "{ran:?}");
    assert!(ran.out.contains("bind a port below 1024 (bind = EACCES)"), "{ran:?}");
}

fn netcat_where_any_port_may_be_bound() {
    let dir = directory();
    let ran = netcat(dir.path(), "echo 0 > /proc/sys/net/ipv4/ip_unprivileged_port_start", &[]);
    assert!(ran.out.starts_with("Minimum: none\n"), "{ran:?}");
}

fn netcat_as_another_user() {
    let dir = directory();
    let ran = netcat(dir.path(), "true", &["--user", "nobody", "--no-new-privs"]);
    assert!(ran.out.starts_with("Minimum: cap_net_bind_service\n"), "{ran:?}");
}

/// In another user's directory, removing needs write permission, and in a sticky one also the
/// privileges of the file's owner.
fn a_removed_file_of_another() {
    for (mode, want) in [(0o755, "cap_dac_override"), (0o1777, "cap_fowner")] {
        let dir = directory();
        let inner = dir.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).unwrap();
        chown(&inner, Some(1000), Some(1000)).unwrap();
        let file = inner.join("file");
        let reset = format!("touch {0} && chown 1000 {0}", file.display());
        let (_, names) = minimum(&["--reset", &reset, "--", "rm", file.to_str().unwrap()]);
        assert_eq!(names, [want], "{mode:o}");
    }
}

fn it_fails_with_everything() {
    assert_eq!(minimize(&["/nonexistent"]).status, Some(127));
    let late = minimize(&["--timeout", "200ms", "--", "sleep", "100"]);
    assert_eq!(late.status, Some(1));
    assert!(late.err.contains("did not end in time"), "{late:?}");
    let killed = minimize(&["--", "sh", "-c", "kill -9 $$"]);
    assert!(killed.err.contains("was ended by a signal"), "{killed:?}");
    let check = minimize(&["--check", "false", "--", "true"]);
    assert!(check.err.contains("did not do what --check asks for"), "{check:?}");
    let reset = minimize(&["--reset", "exit 3", "true"]);
    assert!(reset.err.contains("--reset failed: exit status 3"), "{reset:?}");
}

fn a_program_that_is_flaky() {
    let dir = directory();
    let file = file_in(dir.path());
    // Every second run ends differently.
    let script = format!("if test -s {file}; then : > {file}; exit 1; else echo x > {file}; fi");
    let ran = minimize(&["--repeat", "3", "--", "sh", "-c", &script]);
    assert_eq!(ran.status, Some(1));
    assert!(ran.err.contains("does not do the same each time"), "{ran:?}");
}

fn refused_and_yet_it_ends_well() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!("chown 1000 {file} 2>/dev/null; true");
    let (_, names) = minimum(&["--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
    let ran = minimize(&["--no-strict", "--", "sh", "-c", &script]);
    assert!(ran.out.starts_with("Minimum: none\n"), "{ran:?}");
    assert!(ran.out.contains("It passed so, and yet:\n  chown was refused cap_chown"), "{ran:?}");
}

fn the_same_output() {
    let dir = directory();
    let file = file_in(dir.path());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    chown(&file, Some(1000), Some(1000)).unwrap();
    let script = format!("cat {file} 2>/dev/null; true");
    let args = ["--no-strict", "--", "sh", "-c", &script];
    assert!(minimum(&args).1.is_empty());
    assert_eq!(minimum(&[&["--same-output"], &args[..]].concat()).1, ["cap_dac_read_search"]);
}

fn every_run_begins_anew() {
    let dir = directory();
    let file = file_in(dir.path());
    // A second run would have nothing to do, so only the first run would need the capability.
    let script = format!("test $(stat -c %u {file}) = 1000 || chown 1000 {file}");
    let reset = format!("chown 0 {file}");
    assert!(minimum(&["--", "sh", "-c", &script]).1.is_empty());
    assert_eq!(minimum(&["--reset", &reset, "--", "sh", "-c", &script]).1, ["cap_chown"]);
}

fn an_overlay_is_thrown_away() {
    let dir = directory();
    let file = file_in(dir.path());
    chown(&file, Some(0), Some(0)).unwrap();
    let script = format!(
        "test $(stat -c %u {file}) = 1000 && exit 1; chown 1000 {file}; mkdir {}/new",
        dir.path().display()
    );
    assert_eq!(minimum(&["--overlay", "--", "sh", "-c", &script]).1, ["cap_chown"]);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&file).unwrap());
    assert_eq!(owner, 0);
    assert!(!dir.path().join("new").exists());
}

/// Set for a test that acts as the program on the overlay, with these arguments.
const ROLE: &str = "RCAP_TEST_ROLE";

/// Returns the arguments of a test that acts as the program.
fn role() -> Option<Vec<String>> {
    let words = std::env::var(ROLE).ok()?;
    // The report has the last line.
    std::panic::set_hook(Box::new(|panic| {
        std::io::Write::write_all(
            &mut std::io::stderr(),
            format!("{}\n", panic.to_string().replace('\n', " ")).as_bytes(),
        )
        .unwrap_or_default();
    }));
    Some(words.split('\u{1}').map(str::to_owned).collect())
}

/// Runs `rcap minimize` with this test as the program, in a role.
fn minimize_myself(rcap: &Path, options: &[&str], role: &[&str]) -> Value {
    let mut command = Command::new(rcap);
    command.args(["minimize", "--overlay", "--json", "--no-strict"]).args(options);
    command.arg("--").arg(std::env::current_exe().unwrap());
    command.env(ROLE, role.join("\u{1}")).env_remove(LIBRARIES).stdin(Stdio::null());
    let ran = ran(&mut command);
    assert_eq!(ran.status, Some(0), "{ran:?}");
    serde_json::from_str(&ran.out).unwrap()
}

/// Asserts that the first run passed.
fn first_passed(object: &Value) {
    assert_eq!(object["runs"][0]["exit"]["code"], 0, "{object}");
}

/// Enters a new mount namespace for the test.
fn own_mounts() {
    nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

fn mount_tmpfs(on: &Path, flags: MsFlags) {
    mount(Some("tmpfs"), on, Some("tmpfs"), flags, None::<&str>).unwrap();
}

/// In the first run, the program has all capabilities, and tries to write to files of the machine
/// and to find its processes.
fn an_overlay_leads_nowhere_else() {
    if let Some(role) = role() {
        let [victim, outside] = &*role else { panic!("{role:?}") };
        return escape(Path::new(victim), outside);
    }
    // If this fails, only this test loses its root directory.
    own_mounts();
    let dir = directory();
    let victim = file_in(dir.path());
    // The path /proc/1/exe could lead to the program on the machine's disk.
    let rcap = dir.path().join("rcap");
    fs::copy(program("rcap").get_program(), &rcap).unwrap();
    fs::set_permissions(&rcap, fs::Permissions::from_mode(0o755)).unwrap();
    // A descriptor that the program could inherit.
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
    // Only the run's own processes, because the next steps would harm any other.
    assert!((2..10).contains(&processes.len()), "{processes:?}");
    assert_ne!(fs::read_link("/proc/self/ns/pid").unwrap(), Path::new(outside));
    assert_eq!(
        fs::read_link("/proc/1/ns/pid").unwrap(),
        fs::read_link("/proc/self/ns/pid").unwrap()
    );
    let _ = fs::set_permissions("/proc/1/exe", fs::Permissions::from_mode(0o4711));
    // The classic escape: a root directory further down, and a descriptor from above.
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
    /// A name with characters that overlayfs, its options and /proc/self/mountinfo treat specially.
    const NAME: &str = "a:b,c d\\e\nf";
    let flags = |path: &Path| {
        let flags = nix::sys::statvfs::statvfs(path).unwrap().flags();
        let kept = FsFlags::ST_RDONLY
            | FsFlags::ST_NOSUID
            | FsFlags::ST_NODEV
            | FsFlags::ST_NOEXEC
            | FsFlags::ST_NOATIME
            // ST_RELATIME, which nix only has for glibc
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
        // This would be another lower directory if a colon separated them.
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
    // Of two mounts on the same directory, only the upper one is visible.
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
    // Another user also executes this program.
    let point = dir.path().join("point");
    fs::create_dir(&point).unwrap();
    mount_tmpfs(&point, MsFlags::empty());
    chown(&point, Some(7), Some(8)).unwrap();
    fs::set_permissions(&point, fs::Permissions::from_mode(0o2750)).unwrap();
    // Version 2, followed by the owner, user 65534, the group, the mask and others.
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

/// A mounted socket or namespace would lead to processes outside, and a mounted file is read-only.
fn an_overlay_without_sockets() {
    let kind = |path: &Path| fs::symlink_metadata(path).unwrap().file_type();
    if let Some(role) = role() {
        let [socket, namespace, file] = &*role else { panic!("{role:?}") };
        assert!(kind(Path::new(socket)).is_file());
        assert_eq!(fs::metadata(namespace).unwrap().len(), 6);
        let namespace = fs::File::open(namespace).unwrap();
        assert!(nix::sched::setns(namespace, CloneFlags::empty()).is_err());
        assert_eq!(fs::read_to_string(file).unwrap(), "text\n");
        assert!(fs::write(file, "").is_err());
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

/// rcap's root directory is not that of its mount namespace, and not a mount point.
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
    // The machine's programs, read-only, and its processes.
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
    command.arg(&root).args(["/programs/rcap", "minimize", "--overlay", "--json", "--no-strict"]);
    command.arg("--").arg(own);
    command.env(ROLE, ["/file", &secret, outside.to_str().unwrap()].join("\u{1}"));
    let ran = ran(command.env_remove(LIBRARIES).stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0), "{ran:?}");
    first_passed(&serde_json::from_str(&ran.out).unwrap());
    assert_eq!(fs::read_to_string(&victim).unwrap(), "text\n");
    nix::mount::umount2(dir.path(), nix::mount::MntFlags::MNT_DETACH).unwrap();
}

fn a_daemon_on_an_overlay() {
    let dir = directory();
    let file = file_in(dir.path());
    // The daemon's parent and grandparent have exited before it acts.
    let script = format!("(setsid sh -c 'sleep 0.2; chown 1000 {file}' >/dev/null 2>&1 &) &");
    let (_, names) = minimum(&["--overlay", "--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
}

/// A signal kills the program as usual, although the first process of a PID namespace would ignore
/// it.
fn a_signal_on_an_overlay() {
    let ran = minimize(&["--overlay", "--", "sh", "-c", "kill $$; sleep 1000"]);
    assert_eq!(ran.status, Some(1), "{ran:?}");
    assert!(ran.err.contains("was ended by a signal"), "{ran:?}");
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
        .args(["minimize", "--overlay", "--", "sh", "-c", "sleep 1000 & sleep 1000"])
        .env("TMPDIR", dir.path())
        .env_remove(LIBRARIES)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    // The program, the shell and its child.
    wait_until(|| processes() >= 4);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until(|| processes() == 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    assert_eq!(mounts(), before);
}

/// The program prints 100 MB.
fn output_is_not_kept() {
    let script = "head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end";
    let (object, _) = minimum(&["--same-output", "--", "sh", "-c", script]);
    assert_eq!(object["runs"][0]["message"], "the end");
    let kilobytes = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap().max_rss();
    assert!(kilobytes < 64_000, "{kilobytes} KB");
    // The last line is long.
    let script = "head -c 100000 /dev/zero | tr '\\0' x; printf end";
    let (object, _) = minimum(&["--", "sh", "-c", script]);
    let message = object["runs"][0]["message"].as_str().unwrap();
    assert_eq!(message.chars().count(), 4097);
    assert!(message.starts_with("\u{2026}xxx") && message.ends_with("xend"), "{message}");
}

fn output_is_opened_by_another_user() {
    let script = "echo words > /proc/self/fd/2";
    for options in [&[][..], &["--overlay"]] {
        let (object, _) =
            minimum(&[options, &["--user", "nobody", "--", "sh", "-c", script]].concat());
        assert_eq!(object["runs"][0]["message"], "words", "{object}");
        assert_eq!(object["runs"][0]["exit"]["code"], 0, "{object}");
    }
}

fn kept_and_dropped() {
    let dir = directory();
    let file = file_in(dir.path());
    let (object, names) = minimum(&["--keep", "NET_RAW,kill", "--", "chown", "1000", &file]);
    assert_eq!(names, ["cap_chown", "cap_kill", "cap_net_raw"]);
    assert!(
        object["runs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|run| run["set"].as_array().unwrap().contains(&json!("cap_kill")))
    );
    let (object, names) = minimum(&["--drop", "chown", "--", "chown", "1001", &file]);
    assert!(names.is_empty());
    assert_eq!(object["runs"][0]["exit"]["code"], 1);
}

fn interrupted() {
    let dir = directory();
    let file = dir.path().join("file");
    let mut child = program("rcap")
        .args(["minimize", "--json", "--timeout", "10h", "--", "sh", "-c"])
        // The second run, without capabilities, would take hours, and does not get the signal.
        .args([&format!(
            "test -e {0} && {{ touch {0}2; exec sleep 10000; }}; touch {0}; nice -n -5 true",
            file.display()
        )])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    wait_until(|| dir.path().join("file2").exists());
    let pid = nix::unistd::Pid::from_raw(child.id().cast_signed());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    let mut out = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut out).unwrap();
    assert_eq!(status.code(), Some(130), "{out}");
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap()["proved"], false);
}

fn a_hundred_threads() {
    let dir = directory();
    let file = file_in(dir.path());
    let script = format!(
        "import os, threading\n\
         ts = [threading.Thread(target=os.chown, args=('{file}', 1000, 1000)) for _ in range(100)]\n\
         [t.start() for t in ts]; [t.join() for t in ts]\n\
         os._exit(0 if os.stat('{file}').st_uid == 1000 else 1)\n"
    );
    let reset = format!("chown 0 {file}");
    let (_, names) = minimum(&["--reset", &reset, "--", "python3", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
}

fn a_daemon_that_forks_twice() {
    let dir = directory();
    let file = file_in(dir.path());
    // The daemon's parent has exited long before it acts.
    let script = format!("(setsid sh -c 'sleep 0.2; chown 1000 {file}' >/dev/null 2>&1 &) &");
    let (_, names) = minimum(&["--", "sh", "-c", &script]);
    assert_eq!(names, ["cap_chown"]);
}

/// A user becomes root by the file's bit, limited by the bounding set.
fn a_set_uid_program() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let file = file_in(dir.path());
    let copy = dir.path().join("chown");
    fs::copy(which("chown").unwrap(), &copy).unwrap();
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o4755)).unwrap();
    let (_, names) = minimum(&["--user", "nobody", "--", copy.to_str().unwrap(), "1000", &file]);
    assert_eq!(names, ["cap_chown"]);
    // With no-new-privs the bit has no effect, and the ambient set is used.
    let copy = copy.to_str().unwrap();
    let (_, names) = minimum(&["--user", "nobody", "--no-new-privs", "--", copy, "1001", &file]);
    assert_eq!(names, ["cap_chown"]);
}

/// A copy without the file capabilities of Debian's ping, first if no group may ping without a
/// capability, and then if every group may.
fn ping() {
    let dir = directory();
    let copy = dir.path().join("ping");
    fs::copy(which("ping").unwrap(), &copy).unwrap();
    for (groups, want) in [("1 0", "Minimum: cap_net_raw\n"), ("0 2147483647", "Minimum: none\n")] {
        let script = format!(
            "ip link set lo up; echo {groups} > /proc/sys/net/ipv4/ping_group_range; \
             exec \"$0\" minimize --timeout 10m -- {} -c 1 127.0.0.1",
            copy.display()
        );
        let rcap = program("rcap").get_program().to_owned();
        let ran = ran(Command::new("unshare").args(["-n", "sh", "-c", &script]).arg(rcap));
        assert!(ran.out.starts_with(want), "{ran:?}");
    }
    // With file capabilities, it is not even executed.
    assert_eq!(common::run(dir.path(), "setcap", ["cap_net_raw=ep", "ping"]).status, Some(0));
    let ran = minimize(&["--", copy.to_str().unwrap(), "-c", "1", "127.0.0.1"]);
    assert!(
        ran.out.contains(
            "it could not be executed: Operation not permitted, as its file has cap_net_raw=ep"
        ),
        "{ran:?}"
    );
}

fn tcpdump() {
    let dir = directory();
    let [file, over] = ["packets", "over"].map(|name| dir.path().join(name));
    let script = format!(
        "(until test -e {1}; do ping -c 1 127.0.0.1; done) >/dev/null 2>&1 & \
         tcpdump -i lo -c 1 -w {0}; ended=$?; touch {1}; wait; exit $ended",
        file.display(),
        over.display()
    );
    let reset = format!("rm -f {} {}", file.display(), over.display());
    let args = ["--keep", "net_raw", "--reset", &reset, "--", "sh", "-c", &script];
    let (object, names) = minimum(&args);
    // It becomes another user, and gives the file to that user.
    assert_eq!(names, ["cap_chown", "cap_setgid", "cap_setuid", "cap_net_raw"], "{object}");
}
