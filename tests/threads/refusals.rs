//! Failures: no thread changes, or the error names those that have not.

use std::{
    fs::{self, File},
    io, iter,
    sync::{Arc, Barrier, mpsc},
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd,
};
use rcap::{
    CapSet, CapState, Error, Op, Subject,
    launch::Launcher,
    no_new_privs,
    proc::{Proc, Status},
    securebits::{self, Securebits},
    threads::Limits,
};

use super::{KEEP, alone, beside, statuses};

/// Asserts that no thread changes after `other` was called in one of them.
fn refused(limits: Limits, other: impl FnOnce() + Send + 'static) -> Error {
    let barrier = Arc::new(Barrier::new(2));
    let thread = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            other();
            barrier.wait();
            barrier.wait();
        })
    };
    barrier.wait();
    let sets = || -> Vec<_> {
        let sets = |status: Status| (status.caps, status.bounding, status.no_new_privs);
        statuses().into_iter().map(sets).collect()
    };
    let before = sets();
    // Three more threads, which are like their creator.
    let (err, after) = beside(3, || (limits.apply().unwrap_err(), sets()));
    assert_eq!(after[..2], before);
    assert_eq!(after[2..], [before[0]; 3]);
    barrier.wait();
    thread.join().unwrap();
    err
}

pub(crate) fn a_thread_that_cannot_stops_all() {
    let without = || CapState::EMPTY.apply().unwrap();
    let err = refused(Limits::to(KEEP), without);
    let Error::Os { op: Op::DropBounding, subject: Subject::OtherThread(tid), .. } = &err else {
        panic!("{err:?}");
    };
    let want = format!("cannot drop a capability from the bounding set of thread {tid}");
    assert_eq!(err.to_string(), want);
    assert_eq!(err.raw_os_error(), Some(libc::EPERM));
    // If nothing needs to be dropped, the missing privilege does not matter.
    let limits = Limits::to(KEEP).bounding(CapSet::all());
    alone();
    let barrier = Arc::new(Barrier::new(2));
    let other = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            CapState::EMPTY.apply().unwrap();
            barrier.wait();
            barrier.wait();
        })
    };
    barrier.wait();
    assert_eq!(limits.apply().unwrap().threads, 2);
    barrier.wait();
    other.join().unwrap();
}

pub(crate) fn a_lock_that_cannot_be_set_stops_all() {
    let limits = Limits::to(KEEP).securebits(Securebits::NOROOT);
    let err = refused(limits, || securebits::set(Securebits::NOROOT_LOCKED).unwrap());
    let Error::Os { op: Op::SetSecurebits, subject: Subject::OtherThread(_), .. } = err else {
        panic!("{err:?}");
    };
}

/// A thread that has blocked the signal, with a raw system call.
#[expect(unsafe_code, reason = "the C library does not let a program block this signal")]
pub(crate) fn a_thread_that_does_not_answer() {
    let err = refused(Limits::to(KEEP), || {
        let mask = u64::MAX;
        // SAFETY: the kernel reads eight bytes.
        let ret = unsafe {
            libc::syscall(
                libc::SYS_rt_sigprocmask,
                libc::SIG_SETMASK,
                &raw const mask,
                std::ptr::null::<u64>(),
                8,
            )
        };
        assert_eq!(ret, 0);
    });
    let Error::Os { op: Op::Signal, subject: Subject::OtherThread(_), .. } = &err else {
        panic!("{err:?}");
    };
    assert_eq!(err.raw_os_error(), Some(libc::ETIMEDOUT));
}

/// A thread stopped by a debugger: it has taken the call, and one of its system calls does not
/// return. Here, a seccomp filter notifies a listener of capset(2), which answers late.
#[expect(unsafe_code, reason = "the C library has no seccomp(2)")]
pub(crate) fn a_thread_that_is_stopped_while_it_answers() {
    let (sender, receiver) = mpsc::channel();
    let barrier = Arc::new(Barrier::new(2));
    let other = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            no_new_privs::set().unwrap();
            let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
            let listener = filter_capset(flags, libc::SECCOMP_RET_USER_NOTIF);
            sender.send(i32::try_from(listener).unwrap()).unwrap();
            barrier.wait();
            barrier.wait();
            CapState::current().unwrap().permitted
        })
    };
    let listener = receiver.recv().unwrap();
    barrier.wait();
    let limits = Limits::to(KEEP).bounding(CapSet::all());
    let begin = Instant::now();
    let err = limits.apply().unwrap_err();
    let Error::ThreadsNotChanged { threads, changed: 1, source, .. } = &err else {
        panic!("{err:?}");
    };
    assert_eq!((threads.len(), source.raw_os_error()), (1, Some(libc::ETIMEDOUT)));
    assert!(begin.elapsed() > Duration::from_secs(5));
    // Another call does not disturb it, and returns an error.
    assert_eq!(limits.apply().unwrap_err().raw_os_error(), Some(libc::EBUSY));
    // Without a listener, the system call fails with ENOSYS, and the thread continues. SAFETY:
    // nothing else uses the descriptor.
    assert_eq!(unsafe { libc::close(listener) }, 0);
    barrier.wait();
    assert_eq!(other.join().unwrap(), CapSet::supported());
}

/// Filters capset(2) in the calling thread.
#[expect(unsafe_code, reason = "the C library has no seccomp(2)")]
fn filter_capset(flags: libc::c_ulong, action: u32) -> libc::c_long {
    let number = u32::try_from(libc::SYS_capset).unwrap();
    let code = |bits: u32| u16::try_from(bits).unwrap();
    let mut program = [
        (code(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS), 0, 0, 0),
        (code(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K), 0, 1, number),
        (code(libc::BPF_RET | libc::BPF_K), 0, 0, action),
        (code(libc::BPF_RET | libc::BPF_K), 0, 0, libc::SECCOMP_RET_ALLOW),
    ]
    .map(|(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k });
    let program = libc::sock_fprog { len: 4, filter: program.as_mut_ptr() };
    // SAFETY: the kernel reads the program, which is live.
    let ret = unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program)
    };
    assert!(ret >= 0, "{}", io::Error::last_os_error());
    ret
}

/// Later threads change anyway, and the error has their number.
pub(crate) fn a_thread_that_fails_after_the_check() {
    let barrier = Arc::new(Barrier::new(2));
    let (sender, receiver) = mpsc::channel();
    let other = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            filter_capset(0, libc::SECCOMP_RET_ERRNO | libc::EACCES.unsigned_abs());
            sender.send(unistd::gettid().as_raw().unsigned_abs()).unwrap();
            barrier.wait();
        })
    };
    let filtered = receiver.recv().unwrap();
    let limits = Limits::to(KEEP).bounding(CapSet::all());
    let (result, after) = beside(4, || (limits.apply(), statuses()));
    let err = result.unwrap_err();
    let Error::ThreadsNotChanged { threads, changed: 5, source, .. } = &err else {
        panic!("{err:?}");
    };
    assert_eq!(*threads, [filtered]);
    assert_eq!(source.raw_os_error(), Some(libc::EACCES));
    let words = format!("threads {filtered}: not changed, but 5 other threads have changed");
    assert_eq!(err.to_string(), words);
    for status in after {
        let is_limited = limits.caps.permitted.is_superset(status.caps.permitted);
        assert_eq!(is_limited, status.pid != filtered);
    }
    barrier.wait();
    other.join().unwrap();
}

/// Its directory in /proc is covered, as far as that is possible.
pub(crate) fn a_thread_that_cannot_be_looked_at() {
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    for file in ["status", "stat", ""] {
        let err = refused_beside(Limits::to(KEEP), |tid| {
            let path = format!("/proc/{}/task/{tid}/{file}", std::process::id());
            let cover = if file.is_empty() { "/proc/self/task" } else { "/dev/null" };
            mount(Some(cover), &*path, none, MsFlags::MS_BIND, none).unwrap();
        });
        let Error::Os { op: Op::ReadProc, subject: Subject::OtherThread(_), .. } = &err else {
            panic!("{file}: {err:?}");
        };
    }
}

/// Asserts that no thread changes after `other` happened to one of them.
fn refused_beside(limits: Limits, other: impl FnOnce(u32)) -> Error {
    let (sender, receiver) = mpsc::channel();
    let barrier = Arc::new(Barrier::new(2));
    let thread = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            sender.send(unistd::gettid().as_raw().unsigned_abs()).unwrap();
            barrier.wait();
            CapState::current().unwrap()
        })
    };
    let before = CapState::current().unwrap();
    other(receiver.recv().unwrap());
    let err = limits.apply().unwrap_err();
    assert_eq!(CapState::current().unwrap(), before);
    barrier.wait();
    assert_eq!(thread.join().unwrap(), before);
    err
}

/// With any number of free descriptors, either all threads change or none.
pub(crate) fn no_descriptor_left() {
    let limits = Limits::to(KEEP);
    let before = CapState::current().unwrap();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, 64, most).unwrap();
    let mut held: Vec<File> = iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert_eq!(File::open("/dev/null").unwrap_err().raw_os_error(), Some(libc::EMFILE));
    let (results, after) = beside(2, || {
        let mut results = Vec::new();
        while !held.is_empty() {
            let result = limits.apply();
            let is_ok = result.is_ok();
            results.push((result, CapState::current().unwrap()));
            if is_ok {
                break;
            }
            held.pop();
        }
        held.clear();
        (results, statuses())
    });
    let ((last, sets), earlier) = results.split_last().unwrap();
    assert_eq!((last.as_ref().unwrap().threads, sets.permitted), (3, KEEP));
    assert_ne!(earlier.len(), 0, "it needs no descriptor");
    for (result, sets) in earlier {
        let err = result.as_ref().unwrap_err();
        assert!(matches!(err, Error::Os { op: Op::ReadProc, .. }), "{err:?}");
        assert_eq!((err.raw_os_error(), *sets), (Some(libc::EMFILE), before));
    }
    assert_eq!(after.iter().map(|status| status.caps.permitted).collect::<Vec<_>>(), [KEEP; 3]);
}

/// /proc belongs to the outer PID namespace, or is not a proc file system.
pub(crate) fn another_pid_namespace() {
    unshare(CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS).unwrap();
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    let refused = |why: &str| {
        let before = CapState::current().unwrap();
        let apply = || (Limits::to(KEEP).apply(), CapState::current().unwrap());
        let (result, after) = beside(5, apply);
        assert_eq!(result.unwrap_err().to_string(), why);
        assert_eq!(after, before);
    };
    let child = Launcher::new().call(|| {
        let foreign = "/proc: not mounted, or belongs to another PID namespace";
        refused(foreign);
        assert_eq!(Proc::of_namespace().unwrap_err().to_string(), foreign);
        // Even then, the number of the process's threads is known.
        thread::spawn(|| {
            let err = rcap::threads::ensure_single_threaded().unwrap_err();
            assert_eq!(err.to_string(), "not possible in a process with 2 threads");
        })
        .join()
        .unwrap();
        mount(Some("tmpfs"), "/proc", Some("tmpfs"), MsFlags::empty(), none).unwrap();
        fs::create_dir_all("/proc/self/task/1").unwrap();
        fs::create_dir_all("/proc/1/task/1").unwrap();
        fs::create_dir_all("/proc/thread-self").unwrap();
        refused(foreign);
        0
    });
    assert_eq!(child.unwrap().wait().unwrap().code(), Some(0));
}
