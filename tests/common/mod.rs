//! A harness for tests of whole programs and of the kernel: each runs in a process of its own,
//! which it may change as it likes, with the privilege that it asks for. A test that does not
//! find what it needs is listed as ignored; with `RCAP_REQUIRE=1` in the environment it fails.

// Each test program uses its own part of this.
#![allow(dead_code, clippy::print_stderr)]

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
    thread,
    time::{Duration, Instant},
};

use libtest_mimic::{Arguments, Failed, Trial};
use nix::{sched::CloneFlags, unistd};
use rcap::{CapSet, CapState};

pub(crate) mod debian;
pub(crate) mod docker;

/// Names the test that a process is to run.
const BODY: &str = "RCAP_TEST";
/// In the place of a test: whether a user namespace can be made.
const PROBE: &str = "probe a user namespace";

/// What a test needs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// To be root of a user namespace, which is made for it.
    UserNamespace,
    /// To be root of the machine.
    Root,
    /// mandoc(1).
    Mandoc,
    /// script(1), which makes a terminal.
    Terminal,
    /// runc, a static busybox, and to be root of the machine.
    Runc,
    /// debootstrap, dpkg-deb, Debian's packages, and to be root of the machine.
    Debootstrap,
    /// The same with crun.
    Crun,
    /// dockerd and its client, a static busybox, and to be root of the machine.
    Docker,
    /// libcap's programs, and to be root of a user namespace, which is made for it.
    Libcap,
    /// systemd-analyze(1).
    Systemd,
    /// bash(1).
    Bash,
    /// zsh(1).
    Zsh,
    /// fish(1).
    Fish,
}

pub(crate) struct Test {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) body: fn(),
}

/// Tests by the names of their functions.
#[macro_export]
macro_rules! tests {
    ($($needs:ident: $($name:ident),+;)+) => {
        fn main() -> std::process::ExitCode {
            $crate::common::main(&[$($($crate::common::Test {
                name: stringify!($name),
                needs: $crate::common::Needs::$needs,
                body: $name,
            }),+),+])
        }
    };
}

pub(crate) fn main(tests: &'static [Test]) -> ExitCode {
    // The only thread so far, as unshare(2) wants it for a user namespace.
    match env::var(BODY) {
        Ok(name) if name == PROBE => enter_user_namespace(),
        Ok(name) => {
            let test = tests.iter().find(|test| test.name == name).expect("no such test");
            if matches!(test.needs, Needs::UserNamespace | Needs::Libcap) {
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

fn trial(test: &'static Test) -> Trial {
    let (kind, met) = match test.needs {
        Needs::Nothing => ("", true),
        Needs::UserNamespace => ("needs a user namespace", has_user_namespaces()),
        Needs::Root => ("needs root", is_root()),
        Needs::Mandoc => ("needs mandoc", Command::new("mandoc").arg("/dev/null").output().is_ok()),
        Needs::Terminal => {
            ("needs script", Command::new("script").arg("--version").output().is_ok())
        }
        Needs::Runc => ("needs root, runc and busybox", has_runtime(&["runc"])),
        Needs::Debootstrap => (
            "needs root and debootstrap",
            is_root() && which("debootstrap").is_some() && which("dpkg-deb").is_some(),
        ),
        Needs::Crun => ("needs root, crun and busybox", has_runtime(&["crun"])),
        Needs::Docker => {
            ("needs root, Docker and busybox", has_runtime(&["dockerd", "docker", "runc"]))
        }
        Needs::Systemd => ("needs systemd-analyze", which("systemd-analyze").is_some()),
        Needs::Bash => ("needs bash", which("bash").is_some()),
        Needs::Zsh => ("needs zsh", which("zsh").is_some()),
        Needs::Fish => ("needs fish", which("fish").is_some()),
        Needs::Libcap => ("needs libcap's programs", libcap().is_some() && has_user_namespaces()),
    };
    let required = env::var_os("RCAP_REQUIRE").is_some();
    let run = move || {
        if !met {
            return Err(Failed::from(format!("{kind}, and does not find it")));
        }
        let output = again(test.name);
        if output.status.success() {
            return Ok(());
        }
        let text = [output.stdout, output.stderr].concat();
        Err(Failed::from(String::from_utf8_lossy(&text).into_owned()))
    };
    Trial::test(test.name, run).with_kind(kind).with_ignored_flag(!met && !required)
}

/// Runs this program again, for one test.
fn again(name: &str) -> Output {
    let program = env::current_exe().expect("/proc is mounted");
    Command::new(program).env(BODY, name).output().expect("it has just been executed")
}

fn has_runtime(programs: &[&str]) -> bool {
    is_root() && busybox().is_some() && programs.iter().all(|name| which(name).is_some())
}

/// Where a program is, by PATH.
pub(crate) fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file());
    found.or_else(|| Some(Path::new("/usr/sbin").join(name)).filter(|path| path.is_file()))
}

/// A busybox that needs nothing else.
pub(crate) fn busybox() -> Option<PathBuf> {
    let path = which("busybox")?;
    // A program that is linked dynamically names its interpreter, behind its headers.
    let bytes = fs::read(&path).ok()?;
    let dynamic = bytes.get(..4096)?.windows(8).any(|window| window == b"ld-linux");
    (!dynamic).then_some(path)
}

fn has_user_namespaces() -> bool {
    again(PROBE).status.success()
}

fn is_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let initial = map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    let needed: CapSet = "cap_chown,cap_setuid,cap_setgid,cap_setfcap,cap_setpcap,cap_sys_admin"
        .parse()
        .expect("they are names");
    initial && CapState::current().is_ok_and(|state| state.effective.contains(needed))
}

/// Makes this process root of a new user namespace, with the one user that it has been mapped.
pub(crate) fn enter_user_namespace() {
    let [uid, gid] = [unistd::geteuid().as_raw(), unistd::getegid().as_raw()];
    nix::sched::unshare(CloneFlags::CLONE_NEWUSER).expect("unshare");
    fs::write("/proc/self/setgroups", "deny").expect("setgroups");
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).expect("uid_map");
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).expect("gid_map");
}

/// The directory of libcap's programs.
pub(crate) fn libcap() -> Option<PathBuf> {
    let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(Path::new);
    directories.into_iter().find(|dir| dir.join("getcap").is_file()).map(Path::to_path_buf)
}

/// A command of this package.
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

/// What a command printed, and its exit status.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ran {
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Runs a command of this package in a directory.
pub(crate) fn run(
    dir: &Path,
    name: &str,
    args: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Ran {
    ran(program(name).current_dir(dir).args(args))
}

pub(crate) fn ran(command: &mut Command) -> Ran {
    let output = command.output().expect("it can be executed");
    Ran {
        status: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Waits until something is so, which it is to be soon.
pub(crate) fn wait_until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "it is not so after 30 seconds");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A directory that is removed again.
pub(crate) fn directory() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// From here on, this process and its children get ENOSYS from these system calls, as from a
/// kernel that lacks them.
#[expect(unsafe_code, reason = "neither the standard library nor nix installs a filter")]
pub(crate) fn refuse_calls(numbers: &[u32]) {
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
        let enosys = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
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
