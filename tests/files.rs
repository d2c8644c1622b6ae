//! File capabilities on the running kernel.

mod common;

use std::{
    collections::BTreeMap,
    ffi::CString,
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, chown, symlink},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use common::{Ran, directory, program, ran};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use rcap::{
    Cap, CapSet, CapState, Error, Op, Subject,
    file::{self, FileCaps, FileKind, Refusal, Scan},
};

tests! {
    UserNamespace:
        files_by_path_and_by_descriptor,
        a_tree_as_one_value,
        refusals_say_why,
        a_mount_that_is_read_only_or_nosuid,
        a_path_that_is_swapped_for_a_link,
        an_update_of_files_that_change_places;
    Root:
        an_owner_that_is_not_mapped;
    Root ["unshare"]:
        file_capabilities_of_two_namespaces;
}

const WRITTEN: FileCaps = FileCaps::effective(CapSet::of(&[Cap::NET_RAW]));

fn files_by_path_and_by_descriptor() {
    let dir = directory();
    let path = dir.path().join("f");
    fs::write(&path, "").unwrap();
    assert_eq!(file::read(&path).unwrap(), None);
    assert!(!file::remove(&path).unwrap());
    assert!(!file::write(&path, &WRITTEN).unwrap().nosuid);
    assert_eq!(file::read(&path).unwrap(), Some(WRITTEN));
    // Unnamed capabilities are preserved.
    let unnamed = FileCaps { permitted: CapSet::from_bits(1 << 63), ..FileCaps::EMPTY };
    let opened = File::open(&path).unwrap();
    // nix is used because std drops the flag with musl.
    let mode = nix::sys::stat::Mode::empty();
    let located = nix::fcntl::open(&path, nix::fcntl::OFlag::O_PATH, mode).unwrap().into();
    for fd in [&opened, &located] {
        let _ = file::write_fd(fd, &unnamed).unwrap();
        assert_eq!(file::read_fd(fd).unwrap(), Some(unnamed));
        assert!(file::remove_fd(fd).unwrap());
        assert!(!file::remove_fd(fd).unwrap());
        assert_eq!(file::read_fd(fd).unwrap(), None);
    }
    // The file may be unreadable.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    let setfcap = CapSet::of(&[Cap::SETFCAP]);
    CapState { effective: setfcap, permitted: setfcap, ..CapState::EMPTY }.apply().unwrap();
    let opened = File::open(&path);
    assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    let _ = file::write(&path, &FileCaps::EMPTY).unwrap();
    assert_eq!(file::read(&path).unwrap(), Some(FileCaps::EMPTY));
}

fn a_tree_as_one_value() {
    let dir = directory();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("a/closed")).unwrap();
    let permitted = FileCaps::permitted(Cap::KILL.into());
    for (name, caps) in [("f", Some(WRITTEN)), ("a/g", Some(permitted)), ("a/none", None)] {
        fs::write(path(name), "").unwrap();
        let _ = caps.map(|caps| file::write(path(name), &caps).unwrap());
    }
    symlink("f", path("link")).unwrap();
    let all = BTreeMap::from([(path("a/g"), permitted), (path("f"), WRITTEN)]);
    assert_eq!(Scan::default().collect(dir.path()).complete().unwrap(), all);
    let one = Scan::default().collect(path("f")).complete().unwrap();
    assert_eq!(one, BTreeMap::from([(path("f"), WRITTEN)]));
    let without = Scan::default().exclude("a").collect(dir.path());
    assert_eq!(without.complete().unwrap(), one);

    // If a directory is unreadable, its files are missing, and the result is incomplete.
    fs::set_permissions(path("a/closed"), fs::Permissions::from_mode(0o0)).unwrap();
    CapState::EMPTY.apply().unwrap();
    let collected = Scan::default().collect(dir.path());
    assert_eq!(collected.files, all);
    let [Error::Os { op: Op::ReadDirectory, subject, source, .. }] = &collected.errors[..] else {
        panic!("{collected:?}");
    };
    assert_eq!(*subject, Subject::Path(path("a/closed")));
    assert_eq!(source.raw_os_error(), Some(libc::EACCES));
    assert_eq!(collected.complete().unwrap_err().raw_os_error(), Some(libc::EACCES));
    let nothing = Scan::default().collect(path("none"));
    assert_eq!(nothing.complete().unwrap_err().kind(), io::ErrorKind::NotFound);
    fs::set_permissions(path("a/closed"), fs::Permissions::from_mode(0o755)).unwrap();
}

fn refusal(result: rcap::Result<file::Written>) -> Refusal {
    match result {
        Err(Error::Refused { refusal, .. }) => refusal,
        other => panic!("{other:?}"),
    }
}

/// Compares the refusal of an attempt with that of the check beforehand.
fn both(path: &Path, caps: &FileCaps, want: &Refusal) {
    assert_eq!(refusal(file::check_write(path, Some(caps))), *want, "checking {}", path.display());
    assert_eq!(refusal(file::write(path, caps)), *want, "writing {}", path.display());
}

fn refusals_say_why() {
    let dir = directory();
    let path = |name| dir.path().join(name);
    fs::write(path("f"), "").unwrap();
    symlink("f", path("link")).unwrap();
    let written = file::check_write(path("f"), Some(&WRITTEN)).unwrap();
    nix::unistd::mkfifo(&path("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    both(dir.path(), &WRITTEN, &Refusal::NotRegular(FileKind::Directory));
    both(&path("link"), &WRITTEN, &Refusal::NotRegular(FileKind::SymbolicLink));
    both(&path("fifo"), &WRITTEN, &Refusal::NotRegular(FileKind::Fifo));
    both(Path::new("/dev/null"), &WRITTEN, &Refusal::NotRegular(FileKind::Device));
    let foreign = FileCaps { rootid: Some(7), ..WRITTEN };
    both(&path("f"), &foreign, &Refusal::UnmappedRootid(7));
    match refusal(file::write("/proc/self/status", &WRITTEN)) {
        Refusal::NoAttributes(Some(mount)) => {
            assert_eq!((&*mount.fs, &*mount.on), ("proc", "/proc"));
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(file::write(path("none"), &WRITTEN), Err(Error::Os { .. })));
    assert!(matches!(file::remove(path("link")), Err(Error::Refused { .. })));
    assert_eq!(file::read(path("f")).unwrap(), None);
    // A permitted capability is enough for the check, but not for the attempt.
    let full = CapState::current().unwrap();
    CapState { effective: CapSet::empty(), ..full }.apply().unwrap();
    assert_eq!(file::check_write(path("f"), Some(&WRITTEN)).unwrap(), written);
    assert_eq!(refusal(file::write(path("f"), &WRITTEN)), Refusal::NoSetfcap);
    CapState::EMPTY.apply().unwrap();
    both(&path("f"), &WRITTEN, &Refusal::NoSetfcap);
    assert_eq!(file::read(path("f")).unwrap(), None);
}

fn a_mount_that_is_read_only_or_nosuid() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let dir = directory();
    let none = None::<&str>;
    mount(Some("rcap"), dir.path(), Some("tmpfs"), MsFlags::MS_NOSUID, none).unwrap();
    let path = dir.path().join("f");
    fs::write(&path, "").unwrap();
    assert!(file::check_write(&path, Some(&WRITTEN)).unwrap().nosuid);
    assert!(file::write(&path, &WRITTEN).unwrap().nosuid);
    let flags = MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_RDONLY;
    mount(none, dir.path(), none, flags, none).unwrap();
    both(&path, &FileCaps::EMPTY, &Refusal::ReadOnly);
    assert!(matches!(file::remove(&path), Err(Error::Refused { refusal: Refusal::ReadOnly, .. })));
    assert_eq!(file::read(&path).unwrap(), Some(WRITTEN));
    nix::mount::umount(dir.path()).unwrap();
}

/// Exchanges two names. (renameat2(2))
#[expect(unsafe_code, reason = "nix has it for glibc alone")]
fn exchange(one: &Path, other: &Path) {
    const RENAME_EXCHANGE: libc::c_uint = 2;
    let [one, other] = [one, other].map(|path| CString::new(path.as_os_str().as_bytes()).unwrap());
    let cwd = libc::AT_FDCWD;
    // SAFETY: the kernel reads two NUL-terminated strings.
    let ret = unsafe {
        let [one, other] = [one.as_ptr(), other.as_ptr()];
        libc::syscall(libc::SYS_renameat2, cwd, one, cwd, other, RENAME_EXCHANGE)
    };
    assert_eq!(ret, 0, "{}", io::Error::last_os_error());
}

/// A file and a link are exchanged constantly, and the link's target is never written.
/// (CVE-2026-4878)
fn a_path_that_is_swapped_for_a_link() {
    let dir = directory();
    let path = |name| dir.path().join(name);
    for name in ["f", "target"] {
        fs::write(path(name), "").unwrap();
    }
    symlink("target", path("link")).unwrap();
    let stop = AtomicBool::new(false);
    let (mut written, mut refused) = (0, 0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                exchange(&path("f"), &path("link"));
            }
        });
        // Both results occur eventually.
        while written < 1000 || refused < 1000 {
            match file::write(path("f"), &WRITTEN) {
                Ok(_) => written += 1,
                Err(Error::Refused { refusal: Refusal::NotRegular(_), .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
        }
        for _ in 0..300 {
            let _ = common::run(dir.path(), "setcap", ["cap_net_raw=ep", "f"]);
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(file::read(path("target")).unwrap(), None, "the target was reached");
}

/// Two files are exchanged constantly, and capabilities of one are never written to the other.
fn an_update_of_files_that_change_places() {
    let dir = directory();
    let path = |name| dir.path().join(name);
    for name in ["f", "g"] {
        fs::write(path(name), "").unwrap();
    }
    let strong = FileCaps { permitted: Cap::SYS_ADMIN.into(), ..FileCaps::EMPTY };
    let weak = FileCaps { permitted: Cap::KILL.into(), ..FileCaps::EMPTY };
    let [f, g] = ["f", "g"].map(|name| File::open(path(name)).unwrap());
    let _ = file::write_fd(&f, &strong).unwrap();
    let _ = file::write_fd(&g, &weak).unwrap();
    let stop = AtomicBool::new(false);
    let mut met = [0; 2];
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                exchange(&path("f"), &path("g"));
            }
        });
        while met.iter().any(|&times| times < 1000) {
            let _ = file::update(path("f"), |old| {
                met[usize::from(old == Some(strong))] += 1;
                Ok(old)
            })
            .unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(file::read_fd(&f).unwrap(), Some(strong));
    assert_eq!(file::read_fd(&g).unwrap(), Some(weak));
}

fn an_owner_that_is_not_mapped() {
    let dir = directory();
    let path = dir.path().join("f");
    fs::write(&path, "").unwrap();
    chown(&path, Some(4242), None).unwrap();
    common::enter_user_namespace();
    both(&path, &WRITTEN, &Refusal::UnmappedOwner);
}

/// Capabilities written in one namespace are unreadable in another one, and the initial namespace
/// sees the owner.
fn file_capabilities_of_two_namespaces() {
    let dir = directory();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    for name in ["setcap", "getcap"] {
        fs::copy(program(name).get_program(), dir.path().join(name)).unwrap();
    }
    let path = dir.path().join("f");
    fs::write(&path, "").unwrap();
    let [ours, others] = [100_000, 200_000];
    chown(&path, Some(ours), Some(ours)).unwrap();
    let as_root_of = |id: u32, words: &str| {
        let mut words = words.split(' ');
        let mut command = Command::new("unshare");
        command.arg("--map-root-user").arg(dir.path().join(words.next().unwrap()));
        ran(command.args(words).uid(id).gid(id).current_dir(dir.path()))
    };
    let printed = |out: &str| Ran { status: Some(0), out: out.into(), err: String::new() };
    assert_eq!(as_root_of(ours, "setcap cap_net_raw=ep f"), printed(""));
    assert_eq!(as_root_of(ours, "getcap -n f"), printed("f cap_net_raw=ep\n"));
    let foreign = as_root_of(others, "getcap --strict f");
    assert_eq!((foreign.status, &*foreign.out), (Some(1), ""));
    assert!(foreign.err.contains("user namespace"), "{foreign:?}");
    let refused = as_root_of(others, "setcap cap_kill=ep f");
    assert_eq!(refused.status, Some(1));
    assert!(refused.err.contains("is not mapped in this user namespace"), "{refused:?}");
    assert_eq!(
        common::run(dir.path(), "getcap", ["-n", "f"]),
        printed("f cap_net_raw=ep [rootid=100000]\n")
    );
    let rootid = Some(ours);
    assert_eq!(file::read(&path).unwrap(), Some(FileCaps { rootid, ..WRITTEN }));
}
