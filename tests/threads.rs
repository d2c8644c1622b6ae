//! Dropping privileges in every thread, on the running kernel.

mod common;

#[path = "threads/lives.rs"]
mod lives;
#[path = "threads/others.rs"]
mod others;
#[path = "threads/refusals.rs"]
mod refusals;

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use lives::{
    a_first_thread_that_has_ended, a_thread_with_little_stack, again_and_again,
    threads_that_are_cancelled, threads_that_come_and_go, two_callers,
};
use nix::sys::signal::{SigSet, SigmaskHow, pthread_sigmask};
use others::{
    a_runtime_under_load, a_thread_of_io_uring, the_groups_of_the_c_library_afterwards,
    the_ids_of_the_c_library_afterwards,
};
use rcap::{
    Cap, CapSet, CapState, Iab,
    proc::{Proc, Status},
    securebits::{self, Securebits},
    threads::Limits,
};
use refusals::{
    a_lock_that_cannot_be_set_stops_all, a_thread_that_cannot_be_looked_at,
    a_thread_that_cannot_stops_all, a_thread_that_does_not_answer,
    a_thread_that_fails_after_the_check, a_thread_that_is_stopped_while_it_answers,
    another_pid_namespace, no_descriptor_left,
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

/// Returns whether a thread has ended or is exiting. It keeps its sets until it leaves the list, and
/// runs no more of the program.
fn is_exiting(tid: u32) -> bool {
    const PF_EXITING: u64 = 0x4;
    let Ok(stat) = fs::read(format!("/proc/self/task/{tid}/stat")) else { return true };
    let end = stat.iter().rposition(|&byte| byte == b')').unwrap();
    let rest = String::from_utf8_lossy(&stat[end + 1..]).into_owned();
    // The state is field 3, and the flags are field 9. (proc_pid_stat(5))
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    matches!(fields[0], "Z" | "X") || fields[6].parse::<u64>().unwrap() & PF_EXITING != 0
}

/// Asserts that every thread that runs the program is within the limits.
#[track_caller]
fn assert_limited(limits: &Limits) {
    for status in statuses().into_iter().filter(|status| !is_exiting(status.pid)) {
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

/// Ends other threads of a test when dropped.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
