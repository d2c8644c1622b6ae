//! Dropping privileges in every thread, on the running kernel.

mod common;

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    iter,
    os::unix::net::UnixStream,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, pthread_sigmask},
    },
    unistd,
};
use rcap::{
    Cap, CapSet, CapState, Error, Iab, Op, Subject, ambient, bounding,
    launch::Launcher,
    no_new_privs,
    proc::{Kind, Proc, Status},
    securebits::{self, Securebits},
    threads::Limits,
};

tests! {
    Nothing:
        nothing_to_drop_takes_no_privilege;
    UserNamespace:
        every_set_of_every_thread,
        threads_that_wait_in_the_kernel,
        a_thread_that_blocks_every_signal,
        a_thread_that_has_less_already,
        a_thread_that_cannot_stops_all,
        a_lock_that_cannot_be_set_stops_all,
        a_thread_that_does_not_answer,
        a_thread_that_is_stopped_while_it_answers,
        a_thread_that_fails_after_the_check,
        a_thread_that_cannot_be_looked_at,
        no_descriptor_left,
        another_pid_namespace,
        a_thread_with_little_stack,
        threads_that_are_cancelled,
        a_first_thread_that_has_ended,
        threads_that_come_and_go,
        again_and_again,
        two_callers,
        the_ids_of_the_c_library_afterwards,
        a_runtime_under_load,
        a_thread_of_io_uring;
    Root:
        the_groups_of_the_c_library_afterwards;
}

const KEEP: CapSet = CapSet::of(&[Cap::NET_BIND_SERVICE, Cap::SETUID, Cap::SETGID]);

/// Returns the status of every thread, from /proc.
fn statuses() -> Vec<Status> {
    let (proc, pid) = (Proc::default(), std::process::id());
    let tids = proc.threads(pid).unwrap().into_iter();
    // Threads that have ended since are left out.
    tids.filter_map(|tid| proc.thread_status(pid, tid).ok()).collect()
}

fn assert_limited(limits: &Limits) {
    for status in statuses() {
        let name = format!("{} {}", status.pid, status.name.to_string_lossy());
        assert!(limits.caps.permitted.is_superset(status.caps.permitted), "{name}");
        assert!(limits.caps.effective.is_superset(status.caps.effective), "{name}");
        assert!(limits.caps.inheritable.is_superset(status.caps.inheritable), "{name}");
        assert!(limits.ambient.is_superset(status.ambient), "{name}");
        assert!(limits.bounding.is_superset(status.bounding), "{name}");
        assert!(!limits.no_new_privs || status.no_new_privs == Some(true), "{name}");
    }
}

/// Waits until joined threads have disappeared from the kernel's list.
fn alone() {
    common::wait_until(|| statuses().len() == 1);
}

/// Runs `test` beside threads that wait for its end.
fn beside<T>(count: usize, test: impl FnOnce() -> T) -> T {
    let barrier = Barrier::new(count + 1);
    thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                barrier.wait();
                barrier.wait();
            });
        }
        barrier.wait();
        let value = test();
        barrier.wait();
        value
    })
}

fn nothing_to_drop_takes_no_privilege() {
    let before = statuses();
    let mut limits = Limits::to(CapSet::all());
    beside(3, || assert_eq!(limits.apply().unwrap().threads, 4));
    limits.no_new_privs = true;
    beside(3, || {
        limits.apply().unwrap();
        assert_limited(&limits);
    });
    assert_eq!(statuses()[0].caps, before[0].caps);
    alone();
    assert_eq!(Limits::to(CapSet::all()).apply().unwrap().threads, 1);
}

fn every_set_of_every_thread() {
    "^cap_kill,^cap_setuid,cap_chown".parse::<Iab>().unwrap().apply().unwrap();
    let mut limits = Limits::to(KEEP);
    limits.caps.effective = Cap::SETUID.into();
    limits.caps.inheritable = KEEP.with(Cap::CHOWN);
    limits.bounding = KEEP.with(Cap::CHOWN);
    limits.securebits = Securebits::NOROOT | Securebits::NOROOT_LOCKED;
    limits.no_new_privs = true;
    let (sender, receiver) = mpsc::channel();
    let done = Arc::new(Barrier::new(6));
    let workers: Vec<_> = (0..5)
        .map(|_| {
            let (sender, done) = (sender.clone(), Arc::clone(&done));
            thread::spawn(move || {
                done.wait();
                done.wait();
                sender.send(securebits::current().unwrap()).unwrap();
            })
        })
        .collect();
    done.wait();
    let report = limits.apply().unwrap();
    assert_eq!((report.threads, report.sweeps), (6, 2));
    assert_limited(&limits);
    for Status { caps, bounding, ambient, .. } in statuses() {
        assert_eq!(
            caps.to_string(),
            "cap_chown,cap_setuid=i cap_setgid,cap_setuid,\
            cap_net_bind_service+p cap_setuid+e"
                .parse::<CapState>()
                .unwrap()
                .to_string()
        );
        assert_eq!(bounding, limits.bounding);
        assert_eq!(ambient, Cap::SETUID.into());
    }
    done.wait();
    for _ in 0..5 {
        assert_eq!(receiver.recv().unwrap(), limits.securebits);
    }
    for worker in workers {
        worker.join().unwrap();
    }
    // A thread that starts later has the same sets.
    let later = thread::spawn(|| CapState::current().unwrap().permitted).join().unwrap();
    assert_eq!(later, KEEP);
}

fn threads_that_wait_in_the_kernel() {
    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let limits = Limits::to(KEEP);
    let reader = thread::spawn(move || {
        let mut byte = [0];
        (&theirs).read_exact(&mut byte).unwrap();
        byte
    });
    let (sender, receiver) = mpsc::channel::<u8>();
    let futex = thread::spawn(move || receiver.recv().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let sleeper = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(300));
            }
        })
    };
    let busy = {
        let stop = Arc::clone(&stop);
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        })
    };
    thread::sleep(Duration::from_millis(50));
    assert_eq!(limits.apply().unwrap().threads, 5);
    assert_limited(&limits);
    ours.write_all(b"x").unwrap();
    sender.send(7).unwrap();
    stop.store(true, Ordering::Relaxed);
    assert_eq!(reader.join().unwrap(), *b"x");
    assert_eq!(futex.join().unwrap(), 7);
    sleeper.join().unwrap();
    busy.join().unwrap();
}

fn a_thread_that_blocks_every_signal() {
    let limits = Limits::to(KEEP);
    let barrier = Arc::new(Barrier::new(2));
    let other = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).unwrap();
            barrier.wait();
            barrier.wait();
            CapState::current().unwrap().permitted
        })
    };
    barrier.wait();
    assert_eq!(limits.apply().unwrap().threads, 2);
    barrier.wait();
    assert_eq!(other.join().unwrap(), KEEP);
}

fn a_thread_that_has_less_already() {
    let barrier = Arc::new(Barrier::new(2));
    let other = {
        let barrier = Arc::clone(&barrier);
        thread::spawn(move || {
            let less = CapSet::of(&[Cap::SETUID, Cap::KILL, Cap::SETPCAP]);
            CapState { permitted: less, ..CapState::EMPTY }.apply().unwrap();
            barrier.wait();
            barrier.wait();
            CapState::current().unwrap()
        })
    };
    barrier.wait();
    let limits = Limits::to(KEEP).no_new_privs();
    limits.apply().unwrap();
    assert_limited(&limits);
    barrier.wait();
    let left = CapState { permitted: Cap::SETUID.into(), ..CapState::EMPTY };
    assert_eq!(other.join().unwrap(), left);
}

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

fn a_thread_that_cannot_stops_all() {
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

fn a_lock_that_cannot_be_set_stops_all() {
    let limits = Limits::to(KEEP).securebits(Securebits::NOROOT);
    let err = refused(limits, || securebits::set(Securebits::NOROOT_LOCKED).unwrap());
    let Error::Os { op: Op::SetSecurebits, subject: Subject::OtherThread(_), .. } = err else {
        panic!("{err:?}");
    };
}

/// A thread that has blocked the signal, with a raw system call.
#[expect(unsafe_code, reason = "the C library does not let a program block this signal")]
fn a_thread_that_does_not_answer() {
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
fn a_thread_that_is_stopped_while_it_answers() {
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
fn a_thread_that_fails_after_the_check() {
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
fn a_thread_that_cannot_be_looked_at() {
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
fn no_descriptor_left() {
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
fn another_pid_namespace() {
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

/// pthread_create(3). The attributes and the argument outlive the thread, which is joined.
#[expect(unsafe_code, reason = "std gives a thread neither a stack nor a way to be cancelled")]
fn start(
    attributes: *const libc::pthread_attr_t,
    function: extern "C" fn(*mut libc::c_void) -> *mut libc::c_void,
    argument: *mut libc::c_void,
) -> libc::pthread_t {
    let mut id = std::mem::MaybeUninit::uninit();
    // SAFETY: the function's comment states why the arguments are valid.
    let made = unsafe { libc::pthread_create(id.as_mut_ptr(), attributes, function, argument) };
    assert_eq!(made, 0);
    // SAFETY: the call has initialized it.
    unsafe { id.assume_init() }
}

/// Two kilobytes of stack, and an alternate stack, because the kernel's frame alone can be larger.
#[expect(unsafe_code, reason = "sigaltstack(2) and pthread_create(3)")]
fn a_thread_with_little_stack() {
    const LEFT: usize = 2048;
    struct Shared {
        bottom: usize,
        ready: Barrier,
        pipe: [i32; 2],
    }
    /// Uses up the stack, and waits there.
    #[inline(never)]
    fn descend(shared: &Shared) -> u8 {
        let pad = std::hint::black_box([0_u8; 64]);
        if (&raw const pad).addr() - shared.bottom > LEFT + 512 {
            return descend(shared).wrapping_add(pad[0]);
        }
        let mut byte = 0_u8;
        // SAFETY: the kernel writes one byte.
        while unsafe { libc::read(shared.pipe[0], (&raw mut byte).cast(), 1) } != 1 {}
        byte
    }
    extern "C" fn thread(shared: *mut libc::c_void) -> *mut libc::c_void {
        // SAFETY: it outlives the thread, which is joined.
        let shared = unsafe { &*shared.cast::<Shared>() };
        let mut stack = vec![0_u8; 16 * 1024];
        let alternate =
            libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
        // SAFETY: the stack outlives its use.
        assert_eq!(unsafe { libc::sigaltstack(&raw const alternate, std::ptr::null_mut()) }, 0);
        shared.ready.wait();
        descend(shared);
        let permitted = CapState::current().unwrap().permitted;
        let none = libc::stack_t { ss_flags: libc::SS_DISABLE, ..alternate };
        // SAFETY: the stack is no longer in use.
        assert_eq!(unsafe { libc::sigaltstack(&raw const none, std::ptr::null_mut()) }, 0);
        // It fits into the alternate stack that Rust gives each thread, if the kernel's frame has
        // up to 3.6 KB.
        let used = stack.len() - stack.iter().position(|&byte| byte != 0).unwrap();
        assert!((1..8192).contains(&used), "{used}");
        usize::try_from(permitted.bits()).unwrap() as *mut libc::c_void
    }
    let size = 256 * 1024;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping of memory.
    let stack = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, -1, 0) };
    assert_ne!(stack, libc::MAP_FAILED);
    let guard = 64 * 1024;
    // SAFETY: the lower part is not used otherwise.
    assert_eq!(unsafe { libc::mprotect(stack, guard, libc::PROT_NONE) }, 0);
    let mut pipe = [0; 2];
    // SAFETY: the kernel writes two descriptors.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    let bottom = stack.addr() + guard;
    let mut shared = Shared { bottom, ready: Barrier::new(2), pipe };
    // SAFETY: the attributes are initialized next.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    // SAFETY: the call initializes the attributes.
    assert_eq!(unsafe { libc::pthread_attr_init(&raw mut attributes) }, 0);
    let usable = bottom as *mut libc::c_void;
    // SAFETY: only the thread uses the memory until it is joined.
    let set = unsafe { libc::pthread_attr_setstack(&raw mut attributes, usable, size - guard) };
    assert_eq!(set, 0);
    let id = start(&raw const attributes, thread, (&raw mut shared).cast());
    shared.ready.wait();
    let waits = || {
        statuses().iter().filter(|status| status.pid != std::process::id()).all(|status| {
            let pid = std::process::id();
            let text = fs::read_to_string(format!("/proc/{pid}/task/{}/syscall", status.pid));
            text.is_ok_and(|text| text.starts_with(&format!("{} ", libc::SYS_read)))
        })
    };
    common::wait_until(waits);
    assert_eq!(Limits::to(KEEP).apply().unwrap().threads, 2);
    // SAFETY: the kernel reads one byte.
    assert_eq!(unsafe { libc::write(shared.pipe[1], b"x".as_ptr().cast(), 1) }, 1);
    let mut permitted = std::ptr::null_mut();
    // SAFETY: the thread exists, and nothing else joins it.
    assert_eq!(unsafe { libc::pthread_join(id, &raw mut permitted) }, 0);
    assert_eq!(permitted.addr() as u64, KEEP.bits());
}

/// Another library cancels its own threads.
#[expect(unsafe_code, reason = "pthread_cancel(3)")]
fn threads_that_are_cancelled() {
    extern "C" fn wait(_: *mut libc::c_void) -> *mut libc::c_void {
        loop {
            // SAFETY: the call has no arguments. The C library ends the thread here, where nothing
            // needs to be dropped.
            unsafe { libc::pause() };
        }
    }
    let stop = AtomicBool::new(false);
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let id = start(std::ptr::null(), wait, std::ptr::null_mut());
                    // SAFETY: the thread has not been joined.
                    assert_eq!(unsafe { libc::pthread_cancel(id) }, 0);
                    // SAFETY: nothing else joins the thread.
                    assert_eq!(unsafe { libc::pthread_join(id, std::ptr::null_mut()) }, 0);
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Securebits are only visible to the thread itself, so each thread is asked each time.
        let limits = Limits::to(CapSet::all()).securebits(Securebits::NOROOT);
        let _stop = Stop(&stop);
        (0..1500).try_for_each(|_| limits.apply().map(drop)).unwrap();
    });
    assert!(count.into_inner() > 0);
}

/// The thread stays in the list, with its sets.
#[expect(clippy::exit, unsafe_code, reason = "the first thread ends, and not the process")]
fn a_first_thread_that_has_ended() {
    thread::spawn(|| {
        let first = || statuses().remove(0);
        common::wait_until(|| first().kind == Kind::Zombie);
        let result = Limits::to(KEEP).apply();
        let is_limited = CapState::current().unwrap().permitted == KEEP;
        let passed = result.is_ok() && is_limited && first().caps.permitted != KEEP;
        std::process::exit(i32::from(!passed));
    });
    // SAFETY: nothing of this thread is used afterwards.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Ends other threads of a test when dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts threads until `stop` is set, and counts them.
fn churn(stop: &AtomicBool, started: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let child = thread::spawn(|| thread::spawn(thread::yield_now));
        child.join().unwrap().join().unwrap();
        started.fetch_add(2, Ordering::Relaxed);
    }
}

fn threads_that_come_and_go() {
    let limits = Limits::to(KEEP);
    let stop = AtomicBool::new(false);
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| churn(&stop, &count));
        }
        while count.load(Ordering::Relaxed) < 1000 {
            thread::yield_now();
        }
        // The threads also stop if this fails.
        let _stop = Stop(&stop);
        let report = limits.apply().unwrap();
        assert!(report.threads >= 5, "{report:?}");
        for _ in 0..50 {
            assert_limited(&limits);
        }
        while count.load(Ordering::Relaxed) < 10_000 {
            thread::yield_now();
        }
        assert_limited(&limits);
    });
}

fn again_and_again() {
    let stop = AtomicBool::new(false);
    let count = AtomicUsize::new(0);
    let all = CapSet::supported();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| churn(&stop, &count));
        }
        let _stop = Stop(&stop);
        // One capability less each time, and then the same set a few times.
        let mut caps = all;
        for cap in all.without(Cap::SETPCAP) {
            caps = caps.without(cap);
            for _ in 0..5 {
                let limits = Limits::to(caps);
                limits.apply().unwrap();
                assert_limited(&limits);
            }
        }
    });
}

fn two_callers() {
    let [one, two] =
        [CapSet::supported().without(Cap::KILL), CapSet::supported().without(Cap::CHOWN)];
    beside(2, || {
        thread::scope(|scope| {
            for caps in [one, two, one, two] {
                scope.spawn(move || {
                    for _ in 0..20 {
                        Limits::to(caps).apply().unwrap();
                    }
                });
            }
        });
        assert_limited(&Limits::to(one & two));
    });
}

fn the_ids_of_the_c_library_afterwards() {
    beside(4, || {
        let root = unistd::Uid::from_raw(0);
        for _ in 0..20 {
            Limits::to(KEEP).apply().unwrap();
            // This aborts the process if the threads differ.
            unistd::setresuid(root, root, root).unwrap();
            assert_eq!(unistd::setgroups(&[]), Err(nix::errno::Errno::EPERM));
        }
        assert_limited(&Limits::to(KEEP));
    });
    // The same while threads change.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let root = unistd::Uid::from_raw(0);
            while !stop.load(Ordering::Relaxed) {
                unistd::setresuid(root, root, root).unwrap();
                // Each call signals all other threads, which would otherwise do nothing.
                thread::sleep(Duration::from_micros(100));
            }
        });
        let _stop = Stop(&stop);
        for _ in 0..100 {
            Limits::to(KEEP).apply().unwrap();
        }
    });
}

fn the_groups_of_the_c_library_afterwards() {
    beside(4, || {
        let limits = Limits::to(KEEP).bounding(CapSet::empty());
        limits.apply().unwrap();
        let nobody = 65534;
        unistd::setgroups(&[]).unwrap();
        let [gid, uid] = [unistd::Gid::from_raw(nobody), unistd::Gid::from_raw(nobody)];
        unistd::setresgid(gid, gid, uid).unwrap();
        let uid = unistd::Uid::from_raw(nobody);
        unistd::setresuid(uid, uid, uid).unwrap();
        assert_eq!(statuses().len(), 5);
        for status in statuses() {
            assert_eq!(
                (status.uid.real, status.gid.saved, status.groups),
                (nobody, nobody, vec![])
            );
            assert_eq!((status.caps, status.bounding), (CapState::EMPTY, CapSet::empty()));
        }
    });
}

fn a_runtime_under_load() {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        time,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() {
                        stream.write_all(&byte).await.unwrap();
                    }
                });
            }
        });
        let clients: Vec<_> = (0..20_u8)
            .map(|client| {
                tokio::spawn(async move {
                    let mut stream = TcpStream::connect(address).await.unwrap();
                    for turn in 0..200_u8 {
                        stream.write_all(&[turn ^ client]).await.unwrap();
                        let mut byte = [0];
                        stream.read_exact(&mut byte).await.unwrap();
                        assert_eq!(byte, [turn ^ client]);
                        if turn % 50 == 0 {
                            time::sleep(Duration::from_millis(2)).await;
                        }
                        if turn % 20 == 0 {
                            tokio::task::spawn_blocking(thread::yield_now).await.unwrap();
                        }
                    }
                })
            })
            .collect();
        time::sleep(Duration::from_millis(5)).await;
        let limits = Limits::to(KEEP).no_new_privs();
        let report = tokio::task::spawn_blocking(move || limits.apply()).await.unwrap().unwrap();
        assert!(report.threads >= 5, "{report:?}");
        assert_limited(&limits);
        for client in clients {
            client.await.unwrap();
        }
        assert_limited(&limits);
    });
}

/// A kernel thread that has the process's capabilities and takes no signals.
#[expect(unsafe_code, reason = "the C library has no io_uring_setup(2)")]
fn a_thread_of_io_uring() {
    // struct io_uring_params, with IORING_SETUP_SQPOLL
    let mut params = [0_u32; 30];
    params[2] = 1 << 1;
    // SAFETY: the kernel reads and writes 120 bytes.
    let ring = unsafe { libc::syscall(libc::SYS_io_uring_setup, 4, params.as_mut_ptr()) };
    if ring < 0 {
        let err = io::Error::last_os_error();
        let forbidden = [libc::ENOSYS, libc::EPERM].map(Some);
        assert!(forbidden.contains(&err.raw_os_error()), "{err}");
        return; // forbidden on this machine
    }
    // It sets its own name.
    let of_the_ring = |status: &Status| status.name.to_string_lossy().starts_with("iou-");
    let tid = loop {
        if let Some(status) = statuses().iter().find(|status| of_the_ring(status)) {
            break status.pid;
        }
        thread::yield_now();
    };
    let before = statuses();
    let err = Limits::to(KEEP).apply().unwrap_err();
    assert_eq!(err.to_string(), format!("cannot send a signal to thread {tid}"));
    assert_eq!(err.raw_os_error(), Some(libc::EOPNOTSUPP));
    assert_eq!(statuses(), before);
    // If nothing needs to be dropped, it is not an obstacle.
    assert_eq!(Limits::to(CapSet::all()).apply().unwrap().threads, 2);
    assert!(!no_new_privs::is_set().unwrap());
    assert_eq!(bounding::current().unwrap(), CapSet::supported());
    assert_eq!(ambient::current().unwrap(), CapSet::empty());
}
