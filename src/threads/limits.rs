//! Privileges dropped in every thread.

use std::{
    collections::HashSet,
    fs, io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    Cap, CapSet, CapState, Error, Op, Result, Subject, ambient, bounding, no_new_privs,
    proc::{Kind, Proc, Status},
    securebits::{self, Securebits},
    sys::broadcast::{self, Answer},
};

/// What each thread of the process keeps at most.
///
/// Each thread intersects its own sets with these, so that one which has less already keeps that,
/// and cannot fail for it. To raise privileges in all threads is not offered: a thread can raise
/// what it has permitted, and threads have different things permitted, so that it could succeed
/// in some and fail in others, with no way back.
///
/// A server whose runtime has bound its port:
///
/// ```
/// use rcap::{Cap, CapSet, threads::Limits};
///
/// std::thread::spawn(|| std::thread::park());
///
/// let mut limits = Limits::to(CapSet::of(&[Cap::NET_BIND_SERVICE]));
/// limits.no_new_privs = true;
/// # // The bounding set is limited as well where that may be.
/// # if !rcap::CapState::current()?.permitted.has(Cap::SETPCAP) {
/// #     limits.bounding = CapSet::all();
/// # }
/// let report = limits.apply()?;
/// println!("{} threads in {} sweeps", report.threads, report.sweeps);
/// # Ok::<(), rcap::Error>(())
/// ```
///
/// # How it is done, and what it cannot do
///
/// Every thread is sent the signal 33, and changes itself in its handler; glibc changes the user
/// ids of a process in the same way. What that means:
///
/// - /proc has to be mounted.
/// - A thread may find that poll(2), epoll_wait(2), nanosleep(2) or a recv(2) with a timeout was
///   interrupted (`EINTR`), as by any signal. What can be restarted is.
/// - Threads that the kernel makes for io_uring take no signals. As long as there is one that
///   has more than the limits allow, nothing is changed, and the error names it: drop privileges
///   before the ring is made.
/// - It is not for a signal handler, nor for the child of a process that had threads when it
///   forked.
/// - It was tried with glibc on x86-64. For musl, AArch64 and 64-bit RISC-V it is written by
///   their documentation and sources. On other machines the feature does not compile.
/// - The user and group ids are not changed. After the limits, setgroups(3), setresgid(3) and
///   setresuid(3) of the C library change them in all threads, if `CAP_SETGID` and `CAP_SETUID`
///   were left in all; the kernel then clears what is permitted of a user that was 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[doc(alias = "psx_syscall")]
pub struct Limits {
    /// The limits of the effective, permitted and inheritable set. What is not permitted is not
    /// effective either.
    pub caps: CapState,
    /// The limit of the ambient set, besides what is permitted and inheritable.
    pub ambient: CapSet,
    /// The limit of the bounding set. To drop from it takes a permitted `CAP_SETPCAP` in each
    /// thread that has more.
    pub bounding: CapSet,
    /// Securebits that are set in addition, such as locks. It takes a permitted `CAP_SETPCAP` in
    /// each thread that does not have them.
    pub securebits: Securebits,
    /// Whether no-new-privs is set.
    pub no_new_privs: bool,
}

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// How many threads were changed, or had no more than the limits allow.
    pub threads: usize,
    /// How often the threads were listed: until two lists in a row had none that was new.
    pub sweeps: usize,
}

/// How long a thread may leave the signal waiting.
const PATIENCE: Duration = Duration::from_secs(5);

/// One caller at a time.
static TURN: Mutex<()> = Mutex::new(());

impl Limits {
    /// Limits all five sets to `caps`.
    pub const fn to(caps: CapSet) -> Limits {
        let limits = CapState { effective: caps, permitted: caps, inheritable: caps };
        Limits {
            caps: limits,
            ambient: caps,
            bounding: caps,
            securebits: Securebits::empty(),
            no_new_privs: false,
        }
    }

    /// Applies the limits to every thread of the process, the calling one first.
    ///
    /// Before the first thread changes, each is asked whether it can.
    ///
    /// # Errors
    ///
    /// Nothing has changed: [`Error::Os`] with [`Subject::OtherThread`] or [`Subject::Thread`]
    /// if a thread lacks what it needs, or takes no signals; [`Error::Stragglers`] with no
    /// `changed` thread if one does not answer for five seconds, as under a debugger; or /proc
    /// cannot be read.
    ///
    /// The calling thread has changed, and others may have: [`Error::Stragglers`] that names those
    /// which have not. A program should then end.
    pub fn apply(&self) -> Result<Report> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // Known from here on, and no more looked for.
        let _ = CapSet::supported();
        let result = self.check().and_then(|()| self.change());
        let quiet = !matches!(result, Err(Error::Stragglers { .. }));
        // A handler that stays hands on what is not for it.
        let _ = broadcast::uninstall(quiet);
        result
    }

    fn check(&self) -> Result<()> {
        self.check_here()?;
        let done = sweep(&|| answer(self.check_here()), |status| self.hold(status));
        done.map_err(|failed| failed.into_error(0)).map(drop)
    }

    fn change(&self) -> Result<Report> {
        self.change_here()?;
        let done = sweep(&|| answer(self.change_here()), |status| self.hold(status));
        done.map_err(|failed| {
            let changed = failed.done + 1;
            match failed.into_error(changed) {
                // What could be refused was asked before; a thread that lost a right since.
                Error::Os { subject: Subject::OtherThread(tid), .. } => {
                    Error::Stragglers { threads: vec![tid], changed }
                }
                other => other,
            }
        })
    }

    /// Whether a thread that takes no signals has no more than these. Its securebits cannot be
    /// known, and do not give it anything.
    fn hold(&self, status: &Status) -> bool {
        let Status { caps, ambient, bounding, no_new_privs, .. } = status;
        self.caps.effective.contains(caps.effective)
            && self.caps.permitted.contains(caps.permitted)
            && self.caps.inheritable.contains(caps.inheritable)
            && self.ambient.contains(*ambient)
            && self.bounding.contains(*bounding)
            && (!self.no_new_privs || *no_new_privs == Some(true))
    }

    /// Whether the calling thread can apply the limits: system calls only, no memory, no locks.
    fn check_here(&self) -> Result<()> {
        let setpcap = CapState::current()?.permitted.has(Cap::SETPCAP);
        let refused = |op: Op| Err(op.thread(nix::errno::Errno::EPERM));
        if !setpcap && !self.bounding.contains(bounding::current()?) {
            return refused(Op::DropBounding);
        }
        let [now, locks] = [securebits::current()?, self.securebits];
        let missing = locks - now;
        // What is locked at 0 can never be set.
        let locked = Securebits::from_bits_retain((now.bits() & LOCKS) >> 1);
        if !missing.is_empty() && (!setpcap || missing.intersects(locked)) {
            return refused(Op::SetSecurebits);
        }
        Ok(())
    }

    /// Applies the limits to the calling thread: system calls only, no memory, no locks.
    fn change_here(&self) -> Result<()> {
        let drop = bounding::current()? - self.bounding;
        let bits = securebits::current()?;
        let missing = self.securebits - bits;
        if !drop.is_empty() || !missing.is_empty() {
            CapState::with_raised(Cap::SETPCAP.into(), || {
                drop.caps().try_for_each(bounding::drop)?;
                if missing.is_empty() { Ok(()) } else { securebits::set(bits | missing) }
            })?;
        }
        (ambient::current()? - self.ambient).caps().try_for_each(ambient::lower)?;
        let now = CapState::current()?;
        let permitted = now.permitted & self.caps.permitted;
        CapState {
            effective: now.effective & self.caps.effective & permitted,
            permitted,
            inheritable: now.inheritable & self.caps.inheritable,
        }
        .apply()?;
        if self.no_new_privs { no_new_privs::set() } else { Ok(()) }
    }
}

/// The securebits that lock the one before.
const LOCKS: u32 = 0xaaa;

/// What a thread answers, as a number: 0, or the operation that failed and its errno.
fn answer(result: Result<()>) -> u64 {
    match result {
        Ok(()) => 0,
        Err(err) => {
            let op = match err {
                Error::Os { op, .. } => op as u8,
                _ => Op::Signal as u8,
            };
            let errno = err.raw_os_error().unwrap_or(libc::EINVAL).cast_unsigned();
            1 << 63 | u64::from(op) << 32 | u64::from(errno)
        }
    }
}

/// Why a sweep ended early.
struct Failed {
    /// How many threads had answered.
    done: usize,
    tid: u32,
    /// `None`: it did not answer.
    error: Option<Error>,
}

impl Failed {
    fn into_error(self, changed: usize) -> Error {
        self.error.unwrap_or(Error::Stragglers { threads: vec![self.tid], changed })
    }
}

/// Calls `call` in every thread but the calling one, until two lists of the threads in a row have
/// none that has not.
///
/// A thread that is not listed any more was changed or has ended; one that begins has a copy of
/// a thread that was changed, or is in the next list.
fn sweep(
    call: &(dyn Fn() -> u64 + Sync),
    holds: impl Fn(&Status) -> bool,
) -> std::result::Result<Report, Failed> {
    let pid = std::process::id();
    let own = nix::unistd::gettid().as_raw().cast_unsigned();
    let proc = Proc::default();
    let mut done = HashSet::new();
    let [mut sweeps, mut clean] = [0, 0];
    while clean < 2 {
        let failed = |done: &HashSet<_>, tid, error| Failed { done: done.len(), tid, error };
        let tids = proc.threads(pid).map_err(|err| failed(&done, own, Some(err)))?;
        sweeps += 1;
        clean += 1;
        for tid in tids.into_iter().filter(|&tid| tid != own) {
            let Ok(stat) = Stat::read(tid) else { continue };
            let thread = (tid, stat.start);
            if done.contains(&thread) {
                continue;
            }
            clean = 0;
            if stat.takes_no_signals {
                match proc.thread_status(pid, tid) {
                    Ok(status) if status.kind != Kind::Zombie && !holds(&status) => {
                        let source = io::Error::from(nix::errno::Errno::EOPNOTSUPP);
                        let subject = Subject::OtherThread(tid);
                        let error = Error::Os { op: Op::Signal, subject, source };
                        return Err(failed(&done, tid, Some(error)));
                    }
                    _ => {}
                }
                done.insert(thread);
                continue;
            }
            match broadcast::call_in(tid.cast_signed(), call, PATIENCE) {
                Ok(Answer::Returned(0)) => {
                    done.insert(thread);
                }
                Ok(Answer::Returned(number)) => {
                    return Err(failed(&done, tid, Some(refusal(tid, number))));
                }
                Ok(Answer::Gone) => {}
                Ok(Answer::Silent) => return Err(failed(&done, tid, None)),
                Err(source) => {
                    let error = Op::Signal.on(Subject::OtherThread(tid), source);
                    return Err(failed(&done, tid, Some(error)));
                }
            }
        }
    }
    Ok(Report { threads: done.len() + 1, sweeps })
}

/// What the number of [`answer`] stands for.
fn refusal(tid: u32, number: u64) -> Error {
    let [op, errno] = [(number >> 32) & 0xff, number & 0xffff_ffff];
    let op = Op::ALL.iter().find(|known| u64::from(**known as u8) == op);
    let errno = i32::try_from(errno).unwrap_or(libc::EINVAL);
    let source = io::Error::from_raw_os_error(errno);
    op.copied().unwrap_or(Op::Signal).on(Subject::OtherThread(tid), source)
}

/// What `/proc/self/task/TID/stat` says of a thread.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    /// Whether it is a zombie or one that the kernel runs for io_uring or vhost.
    takes_no_signals: bool,
    /// When it began, in ticks: an id can be used again.
    start: u64,
}

impl Stat {
    fn read(tid: u32) -> io::Result<Stat> {
        let text = fs::read(format!("/proc/self/task/{tid}/stat"))?;
        Stat::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The name, in parentheses, may hold anything. (proc_pid_stat(5); include/linux/sched.h)
    fn parse(text: &[u8]) -> Option<Stat> {
        const PF_IO_WORKER: u64 = 0x10;
        const PF_USER_WORKER: u64 = 0x4000;
        let end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = str::from_utf8(&text[end + 1..]).ok()?;
        let fields: Vec<_> = rest.split_ascii_whitespace().collect();
        // The state is field 3.
        let field = |number: usize| fields.get(number - 3).copied();
        let flags: u64 = field(9)?.parse().ok()?;
        let ended = matches!(field(3)?, "Z" | "X" | "x");
        Some(Stat {
            takes_no_signals: ended || flags & (PF_IO_WORKER | PF_USER_WORKER) != 0,
            start: field(22)?.parse().ok()?,
        })
    }
}
