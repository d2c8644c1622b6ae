//! Calling a function in another thread of this process, by a signal.
//!
//! The signal is 33, which no thread blocks for long, because glibc and musl remove it from every
//! mask that a program sets. They use it themselves, for setuid(3) in glibc and pthread_cancel(3)
//! in musl, so the previous handler is called for every other signal 33, and restored afterwards.
//! Signals from here have the code `SI_QUEUE`, which those handlers ignore, so a late one is
//! harmless.

use std::{
    io,
    mem::{self, size_of},
    ptr,
    sync::{
        Arc,
        atomic::{AtomicI32, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use libc::{c_int, c_ulong, c_void, siginfo_t};

use nix::{errno::Errno, unistd};

use super::result;

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64")))]
compile_error!("the feature all-threads is for x86-64, AArch64 and 64-bit RISC-V");

const SIGNAL: c_int = 33;

/// The result of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The return value of the function.
    Returned(u64),
    /// The thread has ended.
    Gone,
    /// The thread did not answer in time. It will not call the function, unless it has started the
    /// call and was stopped.
    Silent,
}

/// A function that threads call.
pub(crate) type Job = Box<dyn Fn() -> u64 + Send + Sync>;

/// The thread that is to call the job, or [`NOBODY`]; [`TAKEN`] during the call; [`ANSWERED`] after
/// it.
static TARGET: AtomicI32 = AtomicI32::new(NOBODY);
const NOBODY: i32 = 0;
const TAKEN: i32 = -1;
const ANSWERED: i32 = -2;

/// The job, which is live while `TARGET` is a thread or `TAKEN`.
static JOB: AtomicPtr<Job> = AtomicPtr::new(ptr::null_mut());
static RETURNED: AtomicU64 = AtomicU64::new(0);

/// The previous handler, and its attributes.
static FORMER: AtomicUsize = AtomicUsize::new(libc::SIG_DFL);
static FORMER_FLAGS: AtomicU64 = AtomicU64::new(0);
static FORMER_MASK: AtomicU64 = AtomicU64::new(0);
#[cfg(not(target_arch = "riscv64"))]
static FORMER_RESTORER: AtomicUsize = AtomicUsize::new(0);

/// Calls `job` in the thread `tid` of this process.
///
/// # Errors
///
/// `EBUSY` if a thread has still not finished an earlier call.
///
/// # Safety
///
/// Only one thread of this process may be in this function at a time. `job` runs in a signal
/// handler: it must be async-signal-safe (signal-safety(7)), must restore the thread's state except
/// its privileges, and must not panic.
#[expect(unsafe_code, reason = "the caller promises what may run in a signal handler")]
pub(crate) unsafe fn call_in(tid: c_int, job: &Arc<Job>, patience: Duration) -> io::Result<Answer> {
    if !within(patience, || [NOBODY, ANSWERED].contains(&TARGET.load(Ordering::Acquire))) {
        return Err(Errno::EBUSY.into());
    }
    JOB.store(Arc::as_ptr(job).cast_mut(), Ordering::Relaxed);
    TARGET.store(tid, Ordering::Release);
    let is_answered = || TARGET.load(Ordering::Acquire) == ANSWERED;
    let returned = || Ok(Answer::Returned(RETURNED.load(Ordering::Relaxed)));
    let begin = Instant::now();
    let mut pause = Duration::from_millis(1);
    let outcome = loop {
        // The C library sets its own handler when it starts its first thread.
        if let Err(err) = install() {
            break Err(err);
        }
        match queue(tid) {
            Ok(()) => {}
            Err(err) if err.raw_os_error() == Some(libc::ESRCH) => break Ok(Answer::Gone),
            // The maximum number of signals is pending; threads will take them in time.
            Err(err) if err.raw_os_error() == Some(libc::EAGAIN) => {}
            Err(err) => break Err(err),
        }
        if within(pause, is_answered) {
            return returned();
        }
        if begin.elapsed() > patience {
            break Ok(Answer::Silent);
        }
        pause = (2 * pause).min(Duration::from_millis(50));
    };
    if TARGET.compare_exchange(tid, NOBODY, Ordering::AcqRel, Ordering::Acquire).is_ok() {
        return outcome;
    }
    // The thread has started the call after all, and makes a few system calls that do not block.
    if within(Duration::from_secs(1), is_answered) {
        return returned();
    }
    // The thread was stopped during the call. It finds the job when it continues.
    mem::forget(Arc::clone(job));
    Ok(Answer::Silent)
}

/// Returns whether `holds` becomes true within this time.
fn within(time: Duration, holds: impl Fn() -> bool) -> bool {
    let begin = Instant::now();
    let mut turns = 0_u32;
    while !holds() {
        if begin.elapsed() > time {
            return false;
        }
        turns += 1;
        if turns < 100 {
            thread::yield_now();
        } else {
            thread::sleep(Duration::from_micros(50));
        }
    }
    true
}

/// `struct sigaction` of the kernel.
#[repr(C)]
#[derive(Clone, Copy)]
struct Action {
    handler: usize,
    flags: c_ulong,
    #[cfg(not(target_arch = "riscv64"))]
    restorer: usize,
    mask: u64,
}

const SA_RESTORER: c_ulong = 0x0400_0000;

/// The function to which the kernel returns from a handler, which the C library does not export.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "it is written in assembly, since it has no stack frame")]
mod restorer {
    std::arch::global_asm!(
        ".hidden rcap_restore_from_signal",
        ".globl rcap_restore_from_signal",
        ".type rcap_restore_from_signal, @function",
        "rcap_restore_from_signal:",
        "mov eax, {rt_sigreturn}",
        "syscall",
        ".size rcap_restore_from_signal, . - rcap_restore_from_signal",
        rt_sigreturn = const libc::SYS_rt_sigreturn,
    );

    // SAFETY: this is its signature, and only the kernel calls it.
    unsafe extern "C" {
        pub(super) fn rcap_restore_from_signal();
    }
}

impl Action {
    fn new(handler: usize, flags: u64) -> Action {
        Action {
            handler,
            flags,
            #[cfg(target_arch = "x86_64")]
            restorer: restorer::rcap_restore_from_signal as *const () as usize,
            #[cfg(target_arch = "aarch64")]
            restorer: 0,
            // Every signal, including those of pthread_cancel(3), whose handler would unwind this
            // one and leave the caller without an answer.
            mask: u64::MAX,
        }
    }

    /// Returns the present action.
    #[expect(unsafe_code, reason = "rt_sigaction(2)")]
    fn current() -> io::Result<Action> {
        // SAFETY: no action is set.
        unsafe { Action::exchange(None) }
    }

    /// Sets an action, if one is given, and returns the previous action.
    ///
    /// # Safety
    ///
    /// The handler of `new` is a function that may be called for this signal with its flags, at any
    /// time and in any thread, and its restorer is a restorer.
    #[expect(unsafe_code, reason = "rt_sigaction(2): the C library hides this signal")]
    unsafe fn exchange(new: Option<Action>) -> io::Result<Action> {
        let mut old = Action::new(libc::SIG_DFL, 0);
        let new = new.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: the kernel reads `new`, if any, and writes `old`. Both are live and have the
        // kernel's layout, and the last argument is the size of the mask. The caller promises the
        // rest about the handler.
        result(unsafe {
            libc::syscall(libc::SYS_rt_sigaction, SIGNAL, new, &raw mut old, size_of::<u64>())
        })?;
        Ok(old)
    }
}

/// Makes [`on_signal`] the handler of the signal.
#[expect(unsafe_code, reason = "rt_sigaction(2)")]
fn install() -> io::Result<()> {
    let old = Action::current()?;
    if old.handler == on_signal as *const () as usize {
        return Ok(());
    }
    FORMER_FLAGS.store(old.flags, Ordering::Relaxed);
    FORMER_MASK.store(old.mask, Ordering::Relaxed);
    #[cfg(not(target_arch = "riscv64"))]
    FORMER_RESTORER.store(old.restorer, Ordering::Relaxed);
    FORMER.store(old.handler, Ordering::Release);
    let restorer = if cfg!(target_arch = "x86_64") { SA_RESTORER } else { 0 };
    let flags = libc::SA_SIGINFO | libc::SA_RESTART | libc::SA_ONSTACK;
    let flags = c_ulong::from(flags.unsigned_abs()) | restorer;
    let new = Action::new(on_signal as *const () as usize, flags);
    // SAFETY: with SA_SIGINFO, the kernel calls the handler as it is declared. It is
    // async-signal-safe: it compares numbers, calls a live job, or calls the previous handler.
    unsafe { Action::exchange(Some(new)) }.map(drop)
}

/// Restores the handler from before the first call. Without a previous handler, this one stays, because
/// a pending signal would end the process.
#[expect(unsafe_code, reason = "rt_sigaction(2)")]
pub(crate) fn uninstall() -> io::Result<()> {
    let former = FORMER.load(Ordering::Acquire);
    let ours = Action::current()?.handler == on_signal as *const () as usize;
    if ours && former != libc::SIG_DFL {
        let former = Action {
            handler: former,
            flags: FORMER_FLAGS.load(Ordering::Relaxed),
            #[cfg(not(target_arch = "riscv64"))]
            restorer: FORMER_RESTORER.load(Ordering::Relaxed),
            mask: FORMER_MASK.load(Ordering::Relaxed),
        };
        // SAFETY: this action was set before, with this handler, these flags and this restorer.
        unsafe { Action::exchange(Some(former)) }?;
    }
    Ok(())
}

/// `siginfo_t` of a queued signal on 64-bit machines.
#[repr(C)]
struct Queued {
    signal: c_int,
    errno: c_int,
    code: c_int,
    padding: c_int,
    pid: c_int,
    uid: u32,
    value: usize,
    rest: [u64; 12],
}

const _: () = assert!(size_of::<Queued>() == size_of::<siginfo_t>());

/// Returns the value that identifies signals from here.
fn cookie() -> usize {
    (&raw const TARGET).addr()
}

/// rt_tgsigqueueinfo(2)
#[expect(unsafe_code, reason = "the C library lacks the call")]
fn queue(tid: c_int) -> io::Result<()> {
    let pid = unistd::getpid().as_raw();
    let uid = unistd::getuid().as_raw();
    let [signal, code] = [SIGNAL, libc::SI_QUEUE];
    let info =
        Queued { signal, errno: 0, code, padding: 0, pid, uid, value: cookie(), rest: [0; 12] };
    // SAFETY: the kernel reads one siginfo_t, which is live.
    let sent =
        unsafe { libc::syscall(libc::SYS_rt_tgsigqueueinfo, pid, tid, SIGNAL, &raw const info) };
    result(sent).map(drop)
}

/// The handler of the signal.
///
/// # Safety
///
/// Only the kernel may call it, with a `siginfo_t` and a context.
#[expect(unsafe_code, reason = "a signal handler is passed pointers")]
unsafe extern "C" fn on_signal(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a siginfo_t, which is as long as a Queued.
    let queued = unsafe { &*info.cast::<Queued>() };
    if queued.code == libc::SI_QUEUE && queued.value == cookie() {
        answer();
    } else {
        // SAFETY: these are the arguments of this signal.
        unsafe { chain(signal, info, context) };
    }
}

/// Calls the job, if it is for this thread.
#[expect(unsafe_code, reason = "the job is shared by its address")]
fn answer() {
    let tid = unistd::gettid().as_raw();
    if TARGET.compare_exchange(tid, TAKEN, Ordering::AcqRel, Ordering::Acquire).is_err() {
        // The job was taken back, or this is a second signal for the same call.
        return;
    }
    // The interrupted code may be about to read its own errno.
    let errno = Errno::last_raw();
    // SAFETY: the caller keeps the job while TARGET is TAKEN, and leaks it if it stops waiting.
    let job = unsafe { &*JOB.load(Ordering::Relaxed) };
    RETURNED.store(job(), Ordering::Relaxed);
    Errno::set_raw(errno);
    TARGET.store(ANSWERED, Ordering::Release);
}

/// Forwards the signal to the previous handler.
///
/// # Safety
///
/// The arguments are those that the kernel passed to the handler of this signal.
#[expect(unsafe_code, reason = "the handler before is known by its address")]
unsafe fn chain(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let former = FORMER.load(Ordering::Acquire);
    if former == libc::SIG_DFL || former == libc::SIG_IGN {
        return;
    }
    let plain = FORMER_FLAGS.load(Ordering::Relaxed) & libc::SA_SIGINFO as u64 == 0;
    if plain {
        // SAFETY: this is the address of a handler set without SA_SIGINFO, which takes the signal.
        let handler: extern "C" fn(c_int) = unsafe { std::mem::transmute(former) };
        handler(signal);
    } else {
        // SAFETY: this is the address of a handler set with SA_SIGINFO, which takes these
        // arguments.
        let handler: unsafe extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
            unsafe { std::mem::transmute(former) };
        // SAFETY: the caller passes the kernel's arguments.
        unsafe { handler(signal, info, context) };
    }
}
