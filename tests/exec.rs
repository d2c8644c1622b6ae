//! The library's rules of execve(2) compared with the kernel: random processes execute random
//! files, and every set and ID must match the prediction.
//!
//! `RCAP_EXEC_CASES` is the number of cases per test.

// The test prints its state to the process that compares it.
#![allow(clippy::print_stdout)]

mod common;

use std::{
    env,
    ffi::CString,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{OpenOptionsExt, PermissionsExt, chown},
    },
    path::{Path, PathBuf},
    process::ExitCode,
};

use common::{Needs, Test};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags},
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{self, AccessFlags, Gid, Uid},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};
use rcap::{
    Cap, CapSet, CapState, ambient, bounding,
    exec::{self, Credentials, Kernel, Program},
    file::{ATTRIBUTE, FileCaps},
    launch::Launcher,
    no_new_privs,
    proc::Ids,
    securebits::{self, Securebits},
};

/// Set in the environment of the executed program.
const PROBE: &str = "RCAP_EXEC_PROBE";

fn test(name: &'static str, needs: Needs, body: fn()) -> Test {
    Test { name, needs, programs: &[], body }
}

fn main() -> ExitCode {
    if env::var_os(PROBE).is_some() {
        println!("{}", shown(&Credentials::current().unwrap(), is_secure()));
        return ExitCode::SUCCESS;
    }
    common::main(&[
        test("as_root", Needs::Root, as_root),
        test("in_user_namespaces", Needs::Root, in_user_namespaces),
        test("as_the_root_of_a_namespace", Needs::UserNamespace, as_the_root_of_a_namespace),
        test("scripts_of_scripts", Needs::Nothing, scripts_of_scripts),
        test("in_another_pid_namespace", Needs::Root, in_another_pid_namespace),
    ])
}

/// Returns whether the kernel has set AT_SECURE for this program.
#[expect(unsafe_code, reason = "getauxval(3)")]
fn is_secure() -> bool {
    // SAFETY: the call takes an integer and reads the auxiliary vector.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

fn shown(process: &Credentials, is_secure: bool) -> String {
    format!("{process:?} secure {is_secure}")
}

fn as_root() {
    compare(12_000, Just(None).boxed());
}

fn in_user_namespaces() {
    compare(6_000, (0..MAPS.len()).prop_map(Some).boxed());
}

fn as_the_root_of_a_namespace() {
    compare(6_000, Just(None).boxed());
}

/// A process and the file that it executes.
#[derive(Clone, Debug)]
struct Case {
    /// An index into [`MAPS`], for a user namespace that the process enters.
    namespace: Option<usize>,
    uid: [u32; 3],
    gid: [u32; 3],
    groups: Vec<u32>,
    bounding: CapSet,
    caps: CapState,
    ambient: CapSet,
    securebits: u32,
    no_new_privs: bool,
    owner: (u32, u32),
    mode: u32,
    file_caps: Option<FileCaps>,
    nosuid: bool,
    script: bool,
}

/// ID maps of a namespace: inside, outside, and length.
const MAPS: [&str; 4] = [
    "0 1000 1",
    // Root of the machine is another user in this namespace.
    "0 1000 1\n1000 0 1\n1001 1001 1",
    "0 0 1",
    "0 100000 65536",
];

const IDS: [u32; 4] = [0, 1000, 1001, 65534];

fn id() -> impl Strategy<Value = u32> {
    (0..IDS.len()).prop_map(|at| IDS[at])
}

fn set() -> impl Strategy<Value = CapSet> {
    let some = [Cap::CHOWN, Cap::SETUID, Cap::SETPCAP, Cap::NET_RAW, Cap::CHECKPOINT_RESTORE];
    let some = move |bits: u8| {
        some.into_iter().enumerate().filter(move |(at, _)| bits >> at & 1 == 1).map(|(_, cap)| cap)
    };
    prop_oneof![
        2 => Just(CapSet::empty()),
        2 => Just(CapSet::NAMED),
        6 => any::<u8>().prop_map(move |bits| some(bits).collect()),
        2 => any::<u8>().prop_map(move |bits| CapSet::NAMED - some(bits).collect::<CapSet>()),
    ]
}

fn file_caps() -> impl Strategy<Value = FileCaps> {
    let rootid = prop_oneof![
        6 => Just(None),
        4 => prop_oneof![Just(0), Just(1000), Just(65534), Just(100_000), Just(5)].prop_map(Some),
    ];
    (set(), set(), any::<bool>(), rootid).prop_map(|(permitted, inheritable, effective, rootid)| {
        FileCaps { permitted, inheritable, effective, rootid }
    })
}

fn cases(namespace: BoxedStrategy<Option<usize>>) -> impl Strategy<Value = Case> {
    let ids = || prop_oneof![id().prop_map(|id| [id; 3]), [id(), id(), id()]];
    let process = (ids(), ids(), prop::collection::vec(id(), 0..3), set(), (set(), set(), set()));
    let rest = (set(), 0..0x100_u32, prop::bool::weighted(0.25), namespace);
    let mode = prop_oneof![
        Just(0o755),
        Just(0o4755),
        Just(0o2755),
        Just(0o6755),
        Just(0o2745),
        Just(0o750),
    ];
    let file = (
        (id(), id()),
        mode,
        prop::option::weighted(0.6, file_caps()),
        prop::bool::weighted(0.15),
        prop::bool::weighted(0.2),
    );
    (process, rest, file).prop_map(
        |(
            (uid, gid, groups, bounding, (effective, permitted, inheritable)),
            (ambient, securebits, no_new_privs, namespace),
            (owner, mode, file_caps, nosuid, script),
        )| Case {
            namespace,
            uid,
            gid,
            groups,
            bounding,
            caps: CapState { effective, permitted, inheritable },
            ambient,
            // Mostly none, because locked bits would make other states unreachable.
            securebits: if securebits < 0x60 { securebits & 0x55 } else { 0 },
            no_new_privs,
            owner,
            mode,
            file_caps,
            nosuid,
            script,
        },
    )
}

/// Two copies of this program, one of them on a mount with nosuid, and a script for each.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn make() -> Files {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        let directory = common::directory();
        let files = Files { directory };
        let fs = Some("tmpfs");
        mount(fs, files.directory.path(), fs, MsFlags::empty(), Some("mode=755")).unwrap();
        let nosuid = files.directory.path().join("nosuid");
        fs::create_dir(&nosuid).unwrap();
        mount(fs, &nosuid, fs, MsFlags::MS_NOSUID, Some("mode=755")).unwrap();
        for dir in [files.directory.path(), &nosuid] {
            let program = dir.join("program");
            fs::copy(env::current_exe().unwrap(), &program).unwrap();
            script(&dir.join("script"), &program);
        }
        files
    }

    fn path(&self, case: &Case, name: &str) -> PathBuf {
        let dir = self.directory.path();
        if case.nosuid { dir.join("nosuid").join(name) } else { dir.join(name) }
    }

    /// Prepares the file of the case, as far as this namespace permits.
    fn dress(&self, case: &Case) {
        for name in ["script", "program"] {
            let path = self.path(case, name);
            // The kernel ignores the script's own attribute.
            let _ = xattr::remove(&path, ATTRIBUTE);
            let _ = chown(&path, Some(case.owner.0), Some(case.owner.1));
            fs::set_permissions(&path, fs::Permissions::from_mode(case.mode | 0o004)).unwrap();
            if let Some(caps) = case.file_caps {
                let _ = xattr::set(&path, ATTRIBUTE, &caps.encode());
            }
        }
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let path = self.directory.path();
        for mounted in [path.join("nosuid"), path.to_owned()] {
            let _ = nix::mount::umount2(&mounted, nix::mount::MntFlags::MNT_DETACH);
        }
    }
}

fn script(path: &Path, interpreter: &Path) {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(path).unwrap();
    file.write_all(b"#! ").unwrap();
    file.write_all(interpreter.as_os_str().as_bytes()).unwrap();
    file.write_all(b" argument\n").unwrap();
}

fn compare(cases_default: u32, namespace: BoxedStrategy<Option<usize>>) {
    let count = env::var("RCAP_EXEC_CASES").ok().and_then(|text| text.parse().ok());
    let config = Config {
        cases: count.unwrap_or(cases_default),
        failure_persistence: None,
        ..Config::default()
    };
    let files = Files::make();
    let kernel = Kernel::running();
    let mut runner = TestRunner::new(config);
    let result = runner.run(&cases(namespace), |case| {
        files.dress(&case);
        let name = if case.script { "script" } else { "program" };
        let [predicted, real] = predict_and_execute(&case, &files.path(&case, name), kernel);
        prop_assert_eq!(predicted, real);
        Ok(())
    });
    if let Err(err) = result {
        panic!("{err}");
    }
}

/// Returns the prediction and the result, from a child that is the process of the case.
fn predict_and_execute(case: &Case, path: &Path, kernel: Kernel) -> [String; 2] {
    let (read, write) = unistd::pipe().unwrap();
    let child = Launcher::new()
        .call(|| {
            unistd::dup2_stdout(&write).unwrap();
            let process = become_it(case);
            println!("{}", predicted(&process, path, kernel));
            let path = CString::new(path.as_os_str().as_bytes()).unwrap();
            let environment = [CString::new(format!("{PROBE}=1")).unwrap()];
            let Err(errno) = unistd::execve(&path, &[c"program"], &environment);
            println!("{errno}");
            0
        })
        .unwrap();
    drop(write);
    let mut text = String::new();
    File::from(read).read_to_string(&mut text).unwrap();
    child.wait().unwrap();
    let mut lines = text.lines().map(str::to_owned);
    [lines.next(), lines.next()].map(|line| line.unwrap_or_else(|| "nothing".into()))
}

fn predicted(process: &Credentials, path: &Path, kernel: Kernel) -> String {
    let flags = AtFlags::AT_EACCESS;
    let program = match Program::open(path) {
        Ok(program) => program,
        Err(err) => return Errno::from_raw(err.raw_os_error().unwrap_or(0)).to_string(),
    };
    for link in &program.chain {
        if let Err(errno) = unistd::faccessat(AT_FDCWD, &link.path, AccessFlags::X_OK, flags) {
            return errno.to_string();
        }
    }
    match exec::execute(process, &program.executed().file, kernel) {
        Ok(outcome) => shown(&outcome.after, outcome.is_secure),
        Err(err) => Errno::from_raw(err.raw_os_error()).to_string(),
    }
}

/// Makes this process the process of the case, as far as possible, and returns its credentials.
fn become_it(case: &Case) -> Credentials {
    if let Some(map) = case.namespace {
        enter(MAPS[map]);
    }
    let _ = unistd::setgroups(&case.groups.iter().map(|&id| id.into()).collect::<Vec<Gid>>());
    let [real, effective, saved] = case.gid.map(Gid::from_raw);
    let _ = unistd::setresgid(real, effective, saved);
    let _ = securebits::set(Securebits::NO_SETUID_FIXUP);
    let [real, effective, saved] = case.uid.map(Uid::from_raw);
    let _ = unistd::setresuid(real, effective, saved);
    let now = CapState::current().unwrap();
    let inheritable = case.caps.inheritable & now.permitted;
    let _ = CapState { inheritable, ..now }.apply();
    for cap in case.ambient & inheritable {
        let _ = ambient::raise(cap);
    }
    for cap in bounding::current().unwrap() - case.bounding {
        let _ = bounding::drop(cap);
    }
    let _ = securebits::set(Securebits::from_bits_retain(case.securebits));
    let permitted = case.caps.permitted & now.permitted;
    let effective = case.caps.effective & permitted;
    let _ = CapState { effective, permitted, inheritable }.apply();
    if case.no_new_privs {
        no_new_privs::set().unwrap();
    }
    Credentials::current().unwrap()
}

/// Enters a new user namespace. A child that stays outside writes its ID maps.
fn enter(map: &str) {
    let pid = unistd::getpid();
    let (ready, unshared) = unistd::pipe().unwrap();
    let mut unshared = Some(unshared);
    let child = Launcher::new()
        .call(|| {
            drop(unshared.take());
            let mut byte = [0];
            let _ = unistd::read(&ready, &mut byte);
            let write = |name: &str| fs::write(format!("/proc/{pid}/{name}"), map);
            u8::from([write("uid_map"), write("gid_map")].iter().any(io::Result::is_err))
        })
        .unwrap();
    unshare(CloneFlags::CLONE_NEWUSER).unwrap();
    drop(unshared.take());
    assert!(child.wait().unwrap().success(), "the ids are mapped");
}

fn scripts_of_scripts() {
    let directory = common::directory();
    let path = |nth: usize| directory.path().join(nth.to_string());
    fs::copy(env::current_exe().unwrap(), path(0)).unwrap();
    for nth in 1..=6 {
        script(&path(nth), &path(nth - 1));
    }
    let me = Credentials::current().unwrap();
    for (nth, works) in [(1, true), (5, true), (6, false)] {
        let output = std::process::Command::new(path(nth)).env(PROBE, "1").output();
        assert_eq!(output.as_ref().is_ok_and(|output| output.status.success()), works, "{nth}");
        let program = Program::open(path(nth));
        if works {
            let program = program.unwrap();
            assert_eq!((program.scripts().len(), &program.executed().path), (nth, &path(0)));
            let outcome = exec::execute(&me, &program.executed().file, Kernel::running()).unwrap();
            let output = String::from_utf8(output.unwrap().stdout).unwrap();
            assert_eq!(output.trim(), shown(&outcome.after, outcome.is_secure));
        } else {
            let errno = output.unwrap_err().raw_os_error();
            assert_eq!(program.unwrap_err().raw_os_error(), errno);
        }
    }
}

/// /proc stays that of the outer namespace, where this process's IDs belong to other processes.
fn in_another_pid_namespace() {
    unshare(CloneFlags::CLONE_NEWPID).unwrap();
    let nobody = 65534;
    let child = Launcher::new().groups(nobody, &[7]).uid(nobody).call(|| {
        assert_eq!(unistd::getpid().as_raw(), 1);
        let process = Credentials::current().unwrap();
        let ids = |ids: Ids| [ids.real, ids.effective, ids.saved, ids.filesystem];
        assert_eq!((ids(process.uid), ids(process.gid)), ([nobody; 4], [nobody; 4]));
        assert_eq!(process.groups, [7]);
        0
    });
    assert_eq!(child.unwrap().wait().unwrap().code(), Some(0));
}
