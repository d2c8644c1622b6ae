//! Privileges dropped in every thread, on the running kernel.

mod common;

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{SigSet, SigmaskHow, pthread_sigmask},
    unistd,
};
use rcap::{
    Cap, CapSet, CapState, Error, Iab, Op, Subject, ambient, bounding, no_new_privs,
    proc::{Proc, Status},
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

/// Every thread, by /proc.
fn statuses() -> Vec<Status> {
    let (proc, pid) = (Proc::default(), std::process::id());
    let tids = proc.threads(pid).unwrap().into_iter();
    // One that has ended meanwhile has none.
    tids.filter_map(|tid| proc.thread_status(pid, tid).ok()).collect()
}

fn assert_limited(limits: &Limits) {
    for status in statuses() {
        let name = format!("{} {}", status.pid, status.name.display());
        assert!(limits.caps.permitted.contains(status.caps.permitted), "{name}");
        assert!(limits.caps.effective.contains(status.caps.effective), "{name}");
        assert!(limits.caps.inheritable.contains(status.caps.inheritable), "{name}");
        assert!(limits.ambient.contains(status.ambient), "{name}");
        assert!(limits.bounding.contains(status.bounding), "{name}");
        assert!(!limits.no_new_privs || status.no_new_privs == Some(true), "{name}");
    }
}

/// Runs `test` beside threads that wait for the end of it.
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
    assert_eq!((report.threads, report.sweeps), (6, 3));
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
    // And those of a thread that begins later.
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
    let sleeper = thread::spawn(|| thread::sleep(Duration::from_millis(300)));
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
    let mut limits = Limits::to(KEEP);
    limits.no_new_privs = true;
    limits.apply().unwrap();
    assert_limited(&limits);
    barrier.wait();
    let left = CapState { permitted: Cap::SETUID.into(), ..CapState::EMPTY };
    assert_eq!(other.join().unwrap(), left);
}

/// Nothing changes in any thread when `other` has happened in one of them.
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
    // Three more, which are as their creator is.
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
    // Without anything to drop for which it lacks the right, it can.
    let limits = Limits { bounding: CapSet::all(), ..Limits::to(KEEP) };
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
    let limits = Limits { securebits: Securebits::NOROOT, ..Limits::to(KEEP) };
    let err = refused(limits, || securebits::set(Securebits::NOROOT_LOCKED).unwrap());
    let Error::Os { op: Op::SetSecurebits, subject: Subject::OtherThread(_), .. } = err else {
        panic!("{err:?}");
    };
}

/// One whose mask has the signal, which takes a system call of one's own.
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
    let Error::Stragglers { threads, changed: 0, .. } = &err else {
        panic!("{err:?}");
    };
    assert_eq!(
        err.to_string(),
        format!("{threads:?}: these threads did not follow; nothing has changed")
    );
}

/// Keeps starting threads until `stop`, and counts them.
fn churn(stop: &AtomicBool, started: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let child = thread::spawn(|| thread::spawn(thread::yield_now));
        child.join().unwrap().join().unwrap();
        started.fetch_add(2, Ordering::Relaxed);
    }
}

fn threads_that_come_and_go() {
    let limits = Limits::to(KEEP);
    let [stop, started] = [AtomicBool::new(false), AtomicBool::new(false)];
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| churn(&stop, &count));
        }
        while count.load(Ordering::Relaxed) < 1000 {
            thread::yield_now();
        }
        let report = limits.apply().unwrap();
        started.store(true, Ordering::Relaxed);
        assert!(report.threads >= 5, "{report:?}");
        for _ in 0..50 {
            assert_limited(&limits);
        }
        while count.load(Ordering::Relaxed) < 10_000 {
            thread::yield_now();
        }
        assert_limited(&limits);
        stop.store(true, Ordering::Relaxed);
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
        // One capability less every time, and the same a few times.
        let mut caps = all;
        for cap in all.without(Cap::SETPCAP).caps() {
            caps = caps.without(cap);
            for _ in 0..5 {
                let limits = Limits::to(caps);
                limits.apply().unwrap();
                assert_limited(&limits);
            }
        }
        stop.store(true, Ordering::Relaxed);
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
            // Ends the process if the threads do not agree.
            unistd::setresuid(root, root, root).unwrap();
            assert_eq!(unistd::setgroups(&[]), Err(nix::errno::Errno::EPERM));
        }
        assert_limited(&Limits::to(KEEP));
    });
    // And while they are changed.
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let root = unistd::Uid::from_raw(0);
            while !stop.load(Ordering::Relaxed) {
                unistd::setresuid(root, root, root).unwrap();
                // Each is a signal for all the others, which would do nothing else.
                thread::sleep(Duration::from_micros(100));
            }
        });
        for _ in 0..100 {
            Limits::to(KEEP).apply().unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}

fn the_groups_of_the_c_library_afterwards() {
    beside(4, || {
        let mut limits = Limits::to(KEEP);
        limits.bounding = CapSet::empty();
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
        let mut limits = Limits::to(KEEP);
        limits.no_new_privs = true;
        let report = tokio::task::spawn_blocking(move || limits.apply()).await.unwrap().unwrap();
        assert!(report.threads >= 5, "{report:?}");
        assert_limited(&limits);
        for client in clients {
            client.await.unwrap();
        }
        assert_limited(&limits);
    });
}

/// A thread of the kernel's that has the capabilities of the process and takes no signals.
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
        return; // it is forbidden on this machine
    }
    // It gives itself its name.
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
    // With nothing to take from it, it is no obstacle.
    assert_eq!(Limits::to(CapSet::all()).apply().unwrap().threads, 2);
    assert!(!no_new_privs::is_set().unwrap() && !bounding::current().unwrap().is_empty());
    assert!(ambient::current().unwrap().is_empty());
}
