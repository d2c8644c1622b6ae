//! The library on the running kernel.

mod common;

use std::{
    fs, io,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use common::wait_for;
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    unistd::{Gid, Uid, gettid},
};
use rcap::{
    Cap, CapSet, CapState, Error, Iab, Mode, ambient, bounding,
    identity::{self, Identity},
    no_new_privs,
    proc::{Kind, Proc, Seccomp},
    securebits::{self, Securebits},
};

tests! {
    Nothing:
        supported_is_what_the_kernel_says,
        a_tree_of_the_running_system,
        no_new_privs_is_set_for_good,
        keep_caps_is_set_and_cleared,
        a_process_that_is_gone_a_zombie_and_a_kernel_thread,
        a_program_that_seccomp_has_killed,
        a_status_agrees_with_the_calls,
        a_set_may_only_lose;
    UserNamespace:
        sets_are_applied_as_a_whole,
        raised_for_one_call,
        bounding_and_ambient,
        raised_for_a_call_of_another_error,
        securebits_are_locked,
        threads_have_sets_of_their_own,
        an_iab_is_applied_or_nothing_is,
        modes_are_set_and_recognised,
        a_mode_that_a_lock_refuses;
    Root:
        a_process_that_may_not_be_read,
        a_user_keeps_what_is_permitted,
        an_identity_is_changed_or_nothing_is;
}

const NET_RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);

fn errno<T: std::fmt::Debug>(result: rcap::Result<T>) -> Option<i32> {
    result.unwrap_err().raw_os_error()
}

fn supported_is_what_the_kernel_says() {
    let last = fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap();
    let last: u8 = last.trim().parse().unwrap();
    assert_eq!(CapSet::supported(), CapSet::first(last + 1));
}

fn a_tree_of_the_running_system() {
    let own = std::process::id();
    let (tree, tid) = thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel::<()>();
        let (to_here, here) = mpsc::channel();
        scope.spawn(move || {
            to_here.send(gettid().as_raw().cast_unsigned()).unwrap();
            let _ = receiver.recv();
        });
        let tid = here.recv().unwrap();
        let tree = Proc::default().tree().unwrap();
        drop(sender);
        (tree, tid)
    });
    let process = tree.get(own).unwrap();
    // Many processes are read by more threads, which are in the tree too.
    let threads: Vec<u32> = process.threads.iter().map(|thread| thread.pid).collect();
    assert!(threads.contains(&tid) && !threads.contains(&own), "{threads:?}");
    assert!(process.threads.iter().all(|thread| thread.tgid == own));
    assert!(tree.children(process.status.ppid).contains(&own));
}

fn no_new_privs_is_set_for_good() {
    assert!(!no_new_privs::is_set().unwrap());
    no_new_privs::set().unwrap();
    assert!(no_new_privs::is_set().unwrap());
}

fn keep_caps_is_set_and_cleared() {
    for keep in [true, false] {
        securebits::set_keep_caps(keep).unwrap();
        assert_eq!(securebits::keep_caps().unwrap(), keep);
        assert_eq!(securebits::current().unwrap().contains(Securebits::KEEP_CAPS), keep);
    }
}

fn a_process_that_is_gone_a_zombie_and_a_kernel_thread() {
    let proc = Proc::default();
    let mut child = Command::new("true").stdin(Stdio::piped()).spawn().unwrap();
    while proc.status(child.id()).unwrap().kind != Kind::Zombie {
        thread::yield_now();
    }
    let pid = child.id();
    assert!(proc.processes().unwrap().contains(&pid));
    child.wait().unwrap();
    for result in [
        proc.status(pid).map(drop),
        proc.threads(pid).map(drop),
        proc.user_namespace(pid).map(drop),
        CapState::of_pid(pid).map(drop),
        CapState::of_pid(u32::MAX).map(drop),
    ] {
        assert!(matches!(result, Err(Error::NoProcess { .. })), "{result:?}");
    }
    // In a new process namespace, it is not visible.
    if let Some(status) = proc.status(2).ok().filter(|status| status.name == "kthreadd") {
        assert_eq!(status.kind, Kind::KernelThread);
    }
    assert_eq!(proc.status(std::process::id()).unwrap().kind, Kind::Program);
}

/// The kernel shows a mode that no process can set.
#[expect(unsafe_code, reason = "neither the standard library nor nix has this mode")]
fn a_program_that_seccomp_has_killed() {
    let only_read_and_write = || {
        // SAFETY: the call takes only integers.
        let ret = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_STRICT) };
        if ret == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    let mut command = Command::new("true");
    // SAFETY: the function makes one system call.
    let mut child = unsafe { command.pre_exec(only_read_and_write) }.spawn().unwrap();
    let status = || Proc::default().status(child.id()).unwrap();
    while status().kind != Kind::Zombie {
        thread::yield_now();
    }
    assert_eq!(status().seccomp, Some(Seccomp::Dead));
    let tree = Proc::default().tree().unwrap();
    assert!(tree.processes().any(|process| process.status.pid == child.id()));
    child.wait().unwrap();
}

fn a_status_agrees_with_the_calls() {
    let pid = std::process::id();
    let proc = Proc::default();
    let status = proc.status(pid).unwrap();
    assert_eq!(status.caps, CapState::current().unwrap());
    assert_eq!(status.caps, CapState::of_pid(pid).unwrap());
    assert_eq!(status.bounding, bounding::current().unwrap());
    assert_eq!(status.ambient, ambient::current().unwrap());
    assert_eq!(status.uid.effective, nix::unistd::geteuid().as_raw());
    assert_eq!((status.pid, status.tgid, status.threads), (pid, pid, 1));
    assert_eq!(proc.thread_status(pid, pid).unwrap(), status);
    let own = fs::read_link("/proc/self/ns/user").unwrap();
    let namespace = proc.user_namespace(pid).unwrap();
    assert_eq!(own.to_str(), Some(&*format!("user:[{}]", namespace.inode)));
}

fn a_set_may_only_lose() {
    CapState::EMPTY.apply().unwrap();
    let more = CapState { permitted: NET_RAW, ..CapState::EMPTY };
    assert_eq!(errno(more.apply()), Some(libc::EPERM));
    assert_eq!(CapState::current().unwrap(), CapState::EMPTY);
    assert_eq!(errno(bounding::drop(Cap::CHOWN)), Some(libc::EPERM));
    assert_eq!(errno(ambient::raise(Cap::CHOWN)), Some(libc::EPERM));
}

fn sets_are_applied_as_a_whole() {
    let full = CapState::current().unwrap();
    assert!(full.permitted.is_superset(CapSet::supported()));
    let state = CapState {
        effective: Cap::CHECKPOINT_RESTORE.into(), // in the upper 32 bits
        permitted: CapSet::of(&[Cap::CHECKPOINT_RESTORE, Cap::CHOWN]),
        inheritable: Cap::KILL.into(),
    };
    state.apply().unwrap();
    assert_eq!(CapState::current().unwrap(), state);
    // Effective but not permitted: rejected without any effect.
    let wrong = CapState { effective: Cap::KILL.into(), ..CapState::EMPTY };
    assert_eq!(errno(wrong.apply()), Some(libc::EPERM));
    assert_eq!(CapState::current().unwrap(), state);
}

fn raised_for_one_call() {
    let full = CapState::current().unwrap();
    let permitted = CapState { effective: CapSet::empty(), ..full };
    permitted.apply().unwrap();
    let effective = || CapState::current().unwrap().effective;
    assert_eq!(CapState::with_raised(NET_RAW, || rcap::Result::Ok(effective())).unwrap(), NET_RAW);
    assert_eq!(effective(), CapSet::empty());
    let result: rcap::Result<()> =
        CapState::with_raised(NET_RAW, || CapState::of_pid(u32::MAX).map(drop));
    assert!(matches!(result, Err(Error::NoProcess { .. })));
    assert_eq!(effective(), CapSet::empty());
    let panicked = std::panic::catch_unwind(|| {
        CapState::with_raised::<(), rcap::Error>(NET_RAW, || std::panic::panic_any(effective()))
    });
    assert_eq!(panicked.unwrap_err().downcast_ref(), Some(&NET_RAW));
    assert_eq!(effective(), CapSet::empty());
    CapState::EMPTY.apply().unwrap();
    let result: rcap::Result<()> =
        CapState::with_raised(NET_RAW, || panic!("it must not be called"));
    assert_eq!(errno(result), Some(libc::EPERM));
}

fn bounding_and_ambient() {
    let last = Cap::from_number(63).unwrap();
    assert_eq!(bounding::current().unwrap(), CapSet::supported());
    bounding::drop(Cap::SYS_MODULE).unwrap();
    assert!(!bounding::contains(Cap::SYS_MODULE).unwrap());
    assert_eq!(bounding::current().unwrap(), CapSet::supported().without(Cap::SYS_MODULE));
    if !CapSet::supported().contains(last) {
        assert!(!bounding::contains(last).unwrap());
        assert_eq!(errno(bounding::drop(last)), Some(libc::EINVAL));
        assert_eq!(errno(ambient::contains(last)), Some(libc::EINVAL));
    }
    assert_eq!(errno(ambient::raise(Cap::NET_RAW)), Some(libc::EPERM));
    let full = CapState::current().unwrap();
    let two = NET_RAW.with(Cap::KILL);
    CapState { inheritable: two, ..full }.apply().unwrap();
    ambient::raise(Cap::NET_RAW).unwrap();
    ambient::raise(Cap::KILL).unwrap();
    assert_eq!(ambient::current().unwrap(), two);
    ambient::lower(Cap::KILL).unwrap();
    assert_eq!(ambient::current().unwrap(), NET_RAW);
    assert!(ambient::contains(Cap::NET_RAW).unwrap());
    ambient::clear().unwrap();
    assert_eq!(ambient::current().unwrap(), CapSet::empty());

    ambient::set(two).unwrap();
    assert_eq!(ambient::current().unwrap(), two);
    ambient::set(Cap::KILL).unwrap();
    assert_eq!(ambient::current().unwrap(), Cap::KILL.into());
    // A capability that cannot be raised adds nothing.
    assert_eq!(errno(ambient::set(Cap::NET_RAW | Cap::SETUID)), Some(libc::EPERM));
    assert_eq!(ambient::current().unwrap(), CapSet::empty());

    bounding::drop(Cap::SYS_BOOT | Cap::SYS_TIME).unwrap();
    let rest = CapSet::supported() - (Cap::SYS_MODULE | Cap::SYS_BOOT) - Cap::SYS_TIME;
    assert_eq!(bounding::current().unwrap(), rest);
    bounding::retain(two).unwrap();
    assert_eq!(bounding::current().unwrap(), two);
    CapState { effective: CapSet::empty(), ..CapState::current().unwrap() }.apply().unwrap();
    bounding::retain(CapSet::all()).unwrap();
    assert_eq!(errno(bounding::retain(Cap::KILL)), Some(libc::EPERM));
    assert_eq!(bounding::current().unwrap(), two);
}

/// The error can be any type that [`Error`] converts into.
fn raised_for_a_call_of_another_error() {
    let effective = || CapState::current().unwrap().effective;
    let all = CapState::current().unwrap();
    CapState { effective: CapSet::empty(), ..all }.apply().unwrap();
    let bound = CapState::with_raised(Cap::NET_RAW, || {
        assert_eq!(effective(), NET_RAW);
        Err::<(), _>(std::io::Error::from_raw_os_error(libc::EADDRINUSE))
    });
    assert_eq!(bound.unwrap_err().raw_os_error(), Some(libc::EADDRINUSE));
    assert_eq!(effective(), CapSet::empty());
    CapState::EMPTY.apply().unwrap();
    let refused = CapState::with_raised(Cap::NET_RAW, || Ok::<(), std::io::Error>(()));
    let refused = refused.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::PermissionDenied);
    assert_eq!(refused.to_string(), "cannot set the capability sets");
}

fn securebits_are_locked() {
    let locked = Securebits::NOROOT | Securebits::NOROOT_LOCKED;
    securebits::set(locked).unwrap();
    assert_eq!(securebits::current().unwrap(), locked);
    assert_eq!(errno(securebits::set(Securebits::empty())), Some(libc::EPERM));
    securebits::set(locked | Securebits::KEEP_CAPS_LOCKED).unwrap();
    assert_eq!(errno(securebits::set_keep_caps(true)), Some(libc::EPERM));
}

fn threads_have_sets_of_their_own() {
    let pid = std::process::id();
    let (proc, full) = (Proc::default(), CapState::current().unwrap());
    let (send, receive) = mpsc::channel();
    let (done, wait) = mpsc::channel::<()>();
    let other = thread::spawn(move || {
        CapState::EMPTY.apply().unwrap();
        send.send(nix::unistd::gettid().as_raw().unsigned_abs()).unwrap();
        let _ = wait.recv();
    });
    let tid = receive.recv().unwrap();
    assert_eq!(proc.threads(pid).unwrap(), [pid, tid]);
    assert_eq!(proc.thread_status(pid, tid).unwrap().caps, CapState::EMPTY);
    assert_eq!(CapState::of_pid(tid).unwrap(), CapState::EMPTY);
    assert_eq!(proc.status(pid).unwrap().caps, full);
    assert_eq!(CapState::current().unwrap(), full);
    drop(done);
    other.join().unwrap();
    // The C library notices the end of a thread before the kernel forgets it.
    let gone = wait_for(|| proc.thread_status(pid, tid).err());
    assert!(matches!(gone, Error::NoProcess { pid, .. } if pid == tid), "{gone:?}");
}

fn a_process_that_may_not_be_read() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_PRIVATE | MsFlags::MS_REC, none).unwrap();
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), Some("hidepid=2")).unwrap();
    let init = CapState::of_pid(1).unwrap();
    become_user(65534);
    let proc = Proc::default();
    assert!(!proc.processes().unwrap().contains(&1));
    for result in [proc.status(1).map(drop), proc.threads(1).map(drop)] {
        assert!(matches!(result, Err(Error::Unreadable { pid: 1, .. })), "{result:?}");
    }
    assert_eq!(CapState::of_pid(1).unwrap(), init);
    assert!(matches!(proc.status(u32::MAX), Err(Error::NoProcess { .. })));
}

fn become_user(id: u32) {
    let (uid, gid) = (Uid::from_raw(id), Gid::from_raw(id));
    nix::unistd::setgroups(&[]).unwrap();
    nix::unistd::setresgid(gid, gid, gid).unwrap();
    nix::unistd::setresuid(uid, uid, uid).unwrap();
}

fn an_iab_is_applied_or_nothing_is() {
    let all = CapState::current().unwrap();
    let iab: Iab = "!cap_chown,cap_kill,^cap_net_raw".parse().unwrap();
    iab.apply().unwrap();
    assert_eq!(Iab::current().unwrap(), iab);
    assert_eq!(CapState::current().unwrap().permitted, all.permitted);
    // Dropped capabilities stay dropped, and the other sets are replaced.
    "^cap_kill".parse::<Iab>().unwrap().apply().unwrap();
    let iab: Iab = "!cap_chown,^cap_kill".parse().unwrap();
    assert_eq!(Iab::current().unwrap(), iab);

    let before = CapState { effective: CapSet::empty(), ..CapState::current().unwrap() };
    let without = |cap: Cap| CapState { permitted: before.permitted.without(cap), ..before };
    without(Cap::NET_RAW).apply().unwrap();
    for refused in [
        "^cap_net_raw", // not permitted
        "cap_chown",    // not in the bounding set
        "!cap_kill,^cap_net_raw",
    ] {
        let result = refused.parse::<Iab>().unwrap().apply();
        assert_eq!(errno(result), Some(libc::EPERM), "{refused}");
        assert_eq!(Iab::current().unwrap(), iab, "{refused}");
        assert_eq!(CapState::current().unwrap(), without(Cap::NET_RAW), "{refused}");
    }
    // CAP_SETPCAP is raised only where it is needed.
    CapState { permitted: NET_RAW | Cap::KILL, effective: CapSet::empty(), ..before }
        .apply()
        .unwrap_err();
    CapState { permitted: Cap::KILL.into(), ..before }.apply().unwrap();
    assert_eq!(errno("!cap_kill".parse::<Iab>().unwrap().apply()), Some(libc::EPERM));
    assert_eq!(Iab::current().unwrap(), iab);
    "cap_kill".parse::<Iab>().unwrap().apply().unwrap();
    assert_eq!(Iab::current().unwrap(), "!cap_chown,cap_kill".parse().unwrap());
}

fn modes_are_set_and_recognised() {
    let all = CapState::current().unwrap();
    assert_eq!(Mode::current().unwrap(), Some(Mode::Hybrid));
    "^cap_kill".parse::<Iab>().unwrap().apply().unwrap();

    Mode::Pure1e.apply().unwrap();
    assert_eq!(Mode::current().unwrap(), Some(Mode::Pure1e));
    assert_eq!(securebits::current().unwrap(), Securebits::PURE_WITHOUT_AMBIENT);
    let kill = Cap::KILL.into();
    let now = CapState { effective: CapSet::empty(), inheritable: kill, ..all };
    assert_eq!(CapState::current().unwrap(), now);
    assert_eq!(ambient::current().unwrap(), CapSet::empty());

    Mode::Pure1eInit.apply().unwrap();
    assert_eq!(Mode::current().unwrap(), Some(Mode::Pure1eInit));
    assert_eq!(
        CapState::current().unwrap(),
        CapState { effective: CapSet::empty(), inheritable: CapSet::empty(), ..all }
    );
    assert!(!no_new_privs::is_set().unwrap());

    Mode::NoPriv.apply().unwrap();
    assert_eq!(Mode::current().unwrap(), Some(Mode::NoPriv));
    assert_eq!(CapState::current().unwrap(), CapState::EMPTY);
    assert_eq!(bounding::current().unwrap(), CapSet::empty());
    assert!(no_new_privs::is_set().unwrap());
    assert_eq!(errno(Mode::Hybrid.apply()), Some(libc::EPERM));
}

fn a_mode_that_a_lock_refuses() {
    let all = CapState::current().unwrap();
    let locked = Securebits::NOROOT_LOCKED;
    securebits::set(locked).unwrap();
    "cap_kill".parse::<Iab>().unwrap().apply().unwrap();
    for mode in [Mode::NoPriv, Mode::Pure1eInit, Mode::Pure1e, Mode::Hybrid] {
        assert_eq!(errno(mode.apply()), Some(libc::EPERM), "{mode}");
        assert_eq!(securebits::current().unwrap(), locked);
        let [effective, inheritable] = [CapSet::empty(), Cap::KILL.into()];
        assert_eq!(CapState::current().unwrap(), CapState { effective, inheritable, ..all });
        assert_eq!(bounding::current().unwrap(), CapSet::supported());
    }
    assert_eq!(Mode::current().unwrap(), None);
}

fn a_user_keeps_what_is_permitted() {
    let all = CapState::current().unwrap();
    CapState { effective: CapSet::empty(), ..all }.apply().unwrap();
    identity::set_groups(65533, &[7, 5, 5, 65534]).unwrap();
    identity::set_uid(65534).unwrap();
    assert_eq!(CapState::current().unwrap(), CapState { effective: CapSet::empty(), ..all });
    assert!(!securebits::keep_caps().unwrap());
    let status = Proc::default().status(std::process::id()).unwrap();
    let ids = |ids: rcap::proc::Ids| [ids.real, ids.effective, ids.saved, ids.filesystem];
    assert_eq!(ids(status.uid), [65534; 4]);
    assert_eq!(ids(status.gid), [65533; 4]);
    assert_eq!(status.groups, [5, 5, 7, 65534]);
    // The change can be undone, because CAP_SETUID is still permitted.
    identity::set_uid(0).unwrap();
    assert_eq!(CapState::current().unwrap(), CapState { effective: CapSet::empty(), ..all });
}

fn an_identity_is_changed_or_nothing_is() {
    let all = CapState::current().unwrap();
    let refused = |want: i32, for_invalid: i32| {
        let before = Proc::default().status(std::process::id()).unwrap();
        let nobody = Identity { uid: 65534, gid: 65534, groups: vec![1] };
        assert_eq!(errno(nobody.apply()), Some(want));
        assert_eq!(Proc::default().status(std::process::id()).unwrap(), before);
        let invalid = Identity { uid: u32::MAX, ..nobody };
        assert_eq!(errno(invalid.apply()), Some(for_invalid));
        assert_eq!(Proc::default().status(std::process::id()).unwrap(), before);
    };
    // -1 is not an ID.
    assert_eq!(errno(identity::set_uid(u32::MAX)), Some(libc::EINVAL));
    assert_eq!(errno(identity::set_groups(u32::MAX, &[])), Some(libc::EINVAL));
    // The permitted set could not be preserved.
    securebits::set(Securebits::KEEP_CAPS_LOCKED).unwrap();
    refused(libc::EPERM, libc::EINVAL);
    let mut permitted = all.permitted;
    for (cap, for_invalid) in [(Cap::SETUID, libc::EINVAL), (Cap::SETGID, libc::EPERM)] {
        permitted = permitted.without(cap);
        CapState { effective: permitted, permitted, ..all }.apply().unwrap();
        refused(libc::EPERM, for_invalid);
    }
    let no_such = Identity::of_user("no-such-user").unwrap_err();
    assert_eq!(no_such.to_string(), "no-such-user: no such user");
    assert_eq!(Identity::of_user("root").unwrap().uid, 0);
}
