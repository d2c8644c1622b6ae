//! A harness for tests of programs and of the kernel. Each test runs in its own process, which it
//! may change, with the privilege and the programs that it declares in the `tests!` table. Its
//! `PATH` has only those programs and [`BASE`], so a test cannot use an undeclared program. A test
//! whose requirements are not met is listed as ignored, with what is missing, and fails with
//! `RCAP_REQUIRE=1`. RCAP_EXCEPT has words for requirements whose tests stay ignored: `tracing` for
//! a kernel that has not oopsed, and names of programs.

// Each test program uses a part of this module.
#![allow(dead_code, clippy::print_stderr)]

use std::{
    env,
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Lines, Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, ChildStdout, Command, ExitCode, Output, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd,
};
use rcap::{CapSet, CapState};
use serde_json::Value;

pub(crate) mod debian;
pub(crate) mod docker;
pub(crate) mod page;
pub(crate) mod sets;
pub(crate) mod systemd;
pub(crate) mod tools;

/// The environment variable that names the test to run.
const BODY: &str = "RCAP_TEST";
/// The name of a probe for user namespaces, in place of a test.
const PROBE: &str = "probe a user namespace";

/// Programs that every test finds: the shells, and the useful programs of a minimal Debian's
/// essential packages (coreutils, grep, sed). Tests declare all others in the `tests!` table.
pub(crate) const BASE: &[&str] = &[
    "bash",
    "cat",
    "chmod",
    "chown",
    "chroot",
    "cp",
    "cut",
    "date",
    "dd",
    "dirname",
    "echo",
    "env",
    "expr",
    "false",
    "grep",
    "head",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mknod",
    "mktemp",
    "mv",
    "nice",
    "nohup",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "sh",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "stty",
    "sync",
    "tail",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "uname",
    "uniq",
    "wc",
];

/// Programs that are scripts on every system, and that no test copies.
const SCRIPTS: &[&str] = &["chromium", "debootstrap", "docker-compose"];

/// Directories of administrators' programs, which an ordinary user's `PATH` may lack.
const ADMINISTRATION: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The privilege that a test needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// Root of a user namespace, which is created for the test.
    UserNamespace,
    /// Root of the machine.
    Root,
    /// Root of a machine whose kernel has not oopsed. A kernel that oopsed inside tracefs holds its
    /// locks, and every process that traces hangs until the machine is rebooted.
    Tracing,
}

/// The requirement that a kernel which has oopsed does not meet.
const SOUND_KERNEL: &str = "a kernel that has not oopsed";

pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    /// The programs in addition to [`BASE`]. One string can hold several, separated by spaces.
    pub(crate) programs: &'static [&'static str],
    pub(crate) body: fn(),
}

/// Tests by the names of their functions, below the privilege and the programs that they need:
///
/// ```ignore
/// tests! {
///     Nothing:
///         usage;
///     Root ["ip", "nc", "unshare"]:
///         netcat_on_port_80,
///         netcat_as_another_user;
/// }
/// ```
#[macro_export]
macro_rules! tests {
    ($($needs:ident $([$($programs:expr),+])?: $($name:ident),+;)+) => {
        fn main() -> std::process::ExitCode {
            let groups = [$({
                let needs = $crate::common::Needs::$needs;
                let programs: &'static [&'static str] = const { &[$($($programs),+)?] };
                vec![$($crate::common::Test {
                    name: stringify!($name),
                    needs,
                    programs,
                    body: $name,
                }),+]
            }),+];
            $crate::common::main(&groups.into_iter().flatten().collect::<Vec<_>>())
        }
    };
}

pub(crate) fn main(tests: &[Test]) -> ExitCode {
    // A test that minimizes a program in its own process starts this program as an init process.
    #[cfg(feature = "cli")]
    if let Some(result) = rcap::trace::minimize::init_process(&env::args_os().collect::<Vec<_>>()) {
        return if result.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    // The process has one thread so far, as unshare(2) requires for a user namespace.
    match env::var(BODY) {
        Ok(name) if name == PROBE => enter_user_namespace(),
        Ok(name) => {
            let test = tests.iter().find(|test| test.name == name).expect("no such test");
            if test.needs == Needs::UserNamespace {
                enter_user_namespace();
            }
            (test.body)();
        }
        Err(_) => {
            let trials = tests.iter().map(trial).collect();
            return libtest_mimic::run(&Arguments::from_args(), trials).exit_code();
        }
    }
    ExitCode::SUCCESS
}

fn trial(test: &Test) -> Trial {
    let &Test { name, needs, programs, body: _ } = test;
    let lacks = match needs {
        Needs::UserNamespace if !has_user_namespaces() => vec!["user namespaces"],
        Needs::Root | Needs::Tracing if !is_root() => vec!["root"],
        Needs::Tracing if has_oopsed(&tainted()) => vec![SOUND_KERNEL],
        _ => vec![],
    };
    let programs: Vec<&str> = programs.iter().flat_map(|words| words.split(' ')).collect();
    let absent = programs.iter().copied().filter(|name| find(name, &searched()).is_none());
    let lacks = lacks.into_iter().chain(absent).collect::<Vec<_>>().join(", ");
    let kind = if lacks.is_empty() { lacks.clone() } else { format!("needs {lacks}") };
    let is_ignored = is_ignored(&lacks);
    let run = move || {
        if !lacks.is_empty() {
            return Err(Failed::from(format!("it needs {lacks}")));
        }
        let path = links(&programs);
        let output = again(name, Some(path.path()));
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr].concat();
        Err(Failed::from(String::from_utf8_lossy(&text).into_owned()))
    };
    Trial::test(name, run).with_kind(kind).with_ignored_flag(is_ignored)
}

/// Returns whether a test with these missing requirements is ignored instead of failing.
fn is_ignored(lacks: &str) -> bool {
    let excepted = env::var("RCAP_EXCEPT").unwrap_or_default();
    let is_excused = |what: &str| {
        let word = if what == SOUND_KERNEL { "tracing" } else { what };
        excepted.split(' ').any(|one| one == word)
    };
    let is_required = env::var_os("RCAP_REQUIRE").is_some();
    !lacks.is_empty() && (!is_required || lacks.split(", ").all(is_excused))
}

/// Runs this program again, for one test and with a `PATH` of one directory.
fn again(name: &str, path: Option<&Path>) -> Output {
    let mut program = Command::new(env::current_exe().expect("/proc is mounted"));
    if let Some(path) = path {
        program.env("PATH", path);
    }
    program.env(BODY, name).output().expect("it has just been executed")
}

/// Creates a directory of links to the programs of a test, which other users can search.
fn links(programs: &[&str]) -> tempfile::TempDir {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
    let searched = searched();
    for name in BASE.iter().chain(programs) {
        if let Some(file) = find(name, &searched) {
            let _ = symlink(file, dir.path().join(name));
        }
    }
    dir
}

/// Returns the directories of the caller's programs.
fn searched() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(ADMINISTRATION.map(PathBuf::from)).collect()
}

/// Returns the file of a program that can be copied: tests set capabilities of copies, which a
/// script (such as a pyenv shim) cannot have.
pub(crate) fn find(name: &str, directories: &[PathBuf]) -> Option<PathBuf> {
    let files = directories.iter().filter_map(|dir| fs::canonicalize(dir.join(name)).ok());
    let mut files = files.filter(|file| file.is_file());
    files.find(|file| match name {
        _ if BASE.contains(&name) || SCRIPTS.contains(&name) => true,
        // The root directory of a container has no libraries.
        "busybox" => is_elf(file) && !links_to(file, b"ld-"),
        // rcap's tools may be installed under the same names.
        "capsh" | "getcap" | "getpcaps" | "setcap" => links_to(file, b"libcap.so"),
        _ => is_elf(file),
    })
}

fn is_elf(file: &Path) -> bool {
    head(file).starts_with(b"\x7fELF")
}

/// Returns whether a program is linked to a library, based on its first pages.
fn links_to(file: &Path, library: &[u8]) -> bool {
    head(file).windows(library.len()).any(|window| window == library)
}

fn head(file: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An unreadable file counts as empty.
    let _ = fs::File::open(file).and_then(|file| file.take(16384).read_to_end(&mut bytes));
    bytes
}

/// Returns the file of a program in [`BASE`] or of one that the test declares.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).find_map(|dir| fs::canonicalize(dir.join(name)).ok())
}

fn has_user_namespaces() -> bool {
    static PROBED: OnceLock<bool> = OnceLock::new();
    *PROBED.get_or_init(|| again(PROBE, None).status.success())
}

pub(crate) fn tainted() -> String {
    fs::read_to_string("/proc/sys/kernel/tainted").unwrap_or_default()
}

/// Returns whether the text of `/proc/sys/kernel/tainted` has `TAINT_DIE`: the kernel has oopsed
/// since it was booted. (Documentation/admin-guide/tainted-kernels.rst)
pub(crate) fn has_oopsed(tainted: &str) -> bool {
    const TAINT_DIE: u64 = 1 << 7;
    tainted.trim_end().parse::<u64>().is_ok_and(|flags| flags & TAINT_DIE != 0)
}

pub(crate) fn is_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let initial = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    let needed: CapSet = "cap_chown,cap_setuid,cap_setgid,cap_setfcap,cap_setpcap,cap_sys_admin"
        .parse()
        .expect("they are names");
    initial && CapState::current().is_ok_and(|state| state.effective.is_superset(needed))
}

/// Makes this process root of a new user namespace that maps one user.
pub(crate) fn enter_user_namespace() {
    let [uid, gid] = [unistd::geteuid().as_raw(), unistd::getegid().as_raw()];
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER).expect("unshare");
    fs::write("/proc/self/setgroups", "deny").expect("setgroups");
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).expect("uid_map");
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).expect("gid_map");
}

/// Returns a command for a program of this package.
pub(crate) fn program(name: &str) -> Command {
    Command::new(match name {
        "rcap" => env!("CARGO_BIN_EXE_rcap"),
        "capsh" => env!("CARGO_BIN_EXE_capsh"),
        "captree" => env!("CARGO_BIN_EXE_captree"),
        "getcap" => env!("CARGO_BIN_EXE_getcap"),
        "setcap" => env!("CARGO_BIN_EXE_setcap"),
        "getpcaps" => env!("CARGO_BIN_EXE_getpcaps"),
        other => panic!("there is no program {other}"),
    })
}

/// The output and the exit status of a command.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a program of this package in a directory.
pub(crate) fn run(
    dir: &Path,
    name: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Ran {
    ran(program(name).current_dir(dir).args(args))
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    command.output().expect("it can be executed").into()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// Runs a command with this standard input, which it may leave unread.
pub(crate) fn fed(command: &mut Command, input: &[u8]) -> Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it can be executed");
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// The time after which a waiting test counts as hanging, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(600);

/// Waits until a condition is true.
#[track_caller]
pub(crate) fn wait_until(mut is_so: impl FnMut() -> bool) {
    wait_for(|| is_so().then_some(()));
}

/// Waits for a value.
#[track_caller]
pub(crate) fn wait_for<T>(mut find: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        match find() {
            Some(found) => return found,
            None => assert!(begun.elapsed() < PATIENCE, "it is not so after {PATIENCE:?}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// Returns shell code that waits until a file exists.
pub(crate) fn until_exists(file: &Path) -> String {
    format!("until test -e {}; do sleep 0.02; done", file.display())
}

/// A recording of running processes, which can wait for checks.
pub(crate) struct Followed {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    _errors: BufReader<ChildStderr>,
}

impl Followed {
    /// Starts `command`, a `rcap trace` of running processes, and waits until it records.
    pub(crate) fn start(command: &mut Command) -> Followed {
        command.args(["--follow", "--json"]).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        assert!(line.starts_with("Recording "), "{line}");
        Followed { child, lines, _errors: errors }
    }

    /// Waits until a check of a capability is recorded.
    pub(crate) fn see(&mut self, cap: &str) {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.next().unwrap_or_else(|| panic!("no check of {cap}: {seen:?}"));
            let check: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if check["cap"] == cap {
                return;
            }
            seen.push(check);
        }
    }

    /// Waits for the end of the recording, and returns its report.
    pub(crate) fn report(mut self) -> Value {
        let last = self.lines.last().expect("a report").unwrap();
        assert!(self.child.wait().unwrap().success(), "{last}");
        serde_json::from_str(&last).unwrap()
    }
}

/// Creates a directory that is removed when dropped.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Makes these system calls fail with ENOSYS in this process and its children, as on a kernel that
/// lacks them.
pub(crate) fn refuse_calls(numbers: &[u32]) {
    refuse_calls_with(numbers, libc::ENOSYS);
}

/// The same, with another errno.
#[expect(unsafe_code, reason = "neither the standard library nor nix installs a filter")]
pub(crate) fn refuse_calls_with(numbers: &[u32], errno: i32) {
    let op = |code: u32, jump_if_not: u8, value: u32| libc::sock_filter {
        code: code.try_into().expect("a short code"),
        jt: 0,
        jf: jump_if_not,
        k: value,
    };
    // The number is the first word of struct seccomp_data.
    let mut program = vec![op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for &number in numbers {
        program.push(op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, number));
        let enosys = libc::SECCOMP_RET_ERRNO | u32::try_from(errno).expect("an errno");
        program.push(op(libc::BPF_RET | libc::BPF_K, 0, enosys));
    }
    program.push(op(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: program.len().try_into().expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the kernel copies the program, which lives until the end of this function.
    let ret =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(ret, 0, "{}", std::io::Error::last_os_error());
}

/// Returns the mount point of the unified hierarchy.
pub(crate) fn unified() -> PathBuf {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let mut mounts = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    mounts.find(|fields| fields[2] == "cgroup2").expect("it is mounted")[1].into()
}

/// Moves this process into a new mount namespace without propagation.
pub(crate) fn unshare_mounts() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
}

/// Mounts tracefs for this process and its children, and returns its directory.
pub(crate) fn tracefs() -> PathBuf {
    let path = "/sys/kernel/tracing";
    unshare_mounts();
    mount(Some("tracefs"), path, Some("tracefs"), MsFlags::empty(), None::<&str>).unwrap();
    path.into()
}

/// Returns the directories of the instances that the process `pid` has created in `tracefs`.
pub(crate) fn instances(tracefs: &Path, pid: u32) -> Vec<PathBuf> {
    let own = format!("rcap-{pid}-");
    let entries = fs::read_dir(tracefs.join("instances")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(&own)).collect()
}
