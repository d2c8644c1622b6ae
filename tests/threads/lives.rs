//! Threads that start, end or are cancelled meanwhile, and several calls.

use std::{
    fs,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

use rcap::{
    Cap, CapSet, CapState,
    proc::{Kind, Status},
    securebits::Securebits,
    threads::Limits,
};

use super::{KEEP, Stop, assert_limited, beside, common, statuses};

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
pub(crate) fn a_thread_with_little_stack() {
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
pub(crate) fn threads_that_are_cancelled() {
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
pub(crate) fn a_first_thread_that_has_ended() {
    thread::spawn(|| {
        // Its ID is not the lowest one if process IDs have begun again.
        let is_first = |status: &Status| status.pid == std::process::id();
        let first = || statuses().into_iter().find(is_first).unwrap();
        common::wait_until(|| first().kind == Kind::Zombie);
        let result = Limits::to(KEEP).apply();
        let is_limited = CapState::current().unwrap().permitted == KEEP;
        let passed = result.is_ok() && is_limited && first().caps.permitted != KEEP;
        std::process::exit(i32::from(!passed));
    });
    // SAFETY: nothing of this thread is used afterwards.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

/// Starts threads until `stop` is set, and counts them.
fn churn(stop: &AtomicBool, started: &AtomicUsize) {
    while !stop.load(Ordering::Relaxed) {
        let child = thread::spawn(|| thread::spawn(thread::yield_now));
        child.join().unwrap().join().unwrap();
        started.fetch_add(2, Ordering::Relaxed);
    }
}

pub(crate) fn threads_that_come_and_go() {
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

pub(crate) fn again_and_again() {
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

pub(crate) fn two_callers() {
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
