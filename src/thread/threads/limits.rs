//! Dropping privileges in every thread.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{errno::Errno, unistd::gettid};

use super::{
    excess::{Excess, Refused},
    tasks::{Life, Tasks, Thread},
};
use crate::{
    CapSet, CapState, Error, Op, Result, Subject,
    proc::Status,
    securebits::Securebits,
    sys::{
        self,
        broadcast::{self, Answer, Job},
    },
};

/// The privileges that each thread of the process keeps at most.
///
/// Each thread intersects its own sets with these limits, so a thread with fewer privileges keeps
/// those and does not fail. Raising privileges in all threads is not supported: threads may have
/// different permitted sets, so a raise could succeed in some and fail in others, and could not be
/// undone.
///
/// A server whose runtime has bound its port:
///
/// ```
/// use rcap::{Cap, CapSet, threads::Limits};
///
/// std::thread::spawn(|| std::thread::park());
///
/// let limits = Limits::to(CapSet::of(&[Cap::NET_BIND_SERVICE])).no_new_privs();
/// # // Without CAP_SETPCAP, the bounding set cannot be limited.
/// # let limits = match rcap::CapState::current()?.permitted.contains(Cap::SETPCAP) {
/// #     true => limits,
/// #     false => limits.bounding(CapSet::all()),
/// # };
/// let report = limits.apply()?;
/// println!("{} threads in {} sweeps", report.threads, report.sweeps);
/// # Ok::<(), rcap::Error>(())
/// ```
///
/// # Method and limitations
///
/// Every thread that exceeds the limits gets signal 33 and changes its own sets in the handler.
/// glibc changes the user IDs of a process in the same way.
///
/// - /proc must be mounted, and belong to the PID namespace of the process. Otherwise, this is an
///   error before any thread has changed.
/// - poll(2), epoll_wait(2), nanosleep(2) and recv(2) with a timeout may fail with `EINTR` in a
///   thread, as with any signal. Calls that can be restarted are restarted.
/// - The handler uses a thread's alternate signal stack if there is one (sigaltstack(2)), and
///   blocks all signals. It needs 3 KB of stack in an unoptimized build, in addition to the
///   kernel's frame.
/// - io_uring threads of the kernel take no signals. If one of them exceeds the limits, nothing is
///   changed, and the error names it. Drop privileges before creating the ring.
/// - Do not use this in a signal handler, or in the child of a process that had threads when it
///   forked.
/// - It is tested with glibc and musl on x86-64. The code for AArch64 and 64-bit RISC-V follows
///   documentation and sources. On other architectures the feature does not compile.
/// - User and group IDs do not change. setgroups(3), setresgid(3) and setresuid(3) of the C library
///   can then change them in all threads, if all threads kept `CAP_SETGID` and `CAP_SETUID`. When
///   the user changes from 0, the kernel clears the permitted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[doc(alias = "psx_syscall")]
#[non_exhaustive]
pub struct Limits {
    /// The limits of the effective, permitted and inheritable sets. A capability must be permitted
    /// to be effective.
    pub caps: CapState,
    /// The limit of the ambient set, which must also be permitted and inheritable.
    pub ambient: CapSet,
    /// The limit of the bounding set. Dropping needs a permitted `CAP_SETPCAP` in each thread that
    /// exceeds the limit.
    pub bounding: CapSet,
    /// Securebits to set in addition, such as locks. This needs a permitted `CAP_SETPCAP` in each
    /// thread without these bits.
    pub securebits: Securebits,
    /// Whether to set no-new-privs.
    pub no_new_privs: bool,
}

/// The result of [`Limits::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// The number of threads, all of which are within the limits.
    pub threads: usize,
    /// The number of times that the threads were listed and changed, until none exceeded the
    /// limits.
    pub sweeps: usize,
}

/// The time limit for a thread to take the signal.
const PATIENCE: Duration = Duration::from_secs(5);
/// The time limit for each further thread, after one has exceeded its limit.
const IMPATIENCE: Duration = Duration::from_millis(100);
/// The time limit while threads end before they can be examined.
const CHURN: Duration = Duration::from_secs(20);

/// Ensures that only one caller is active.
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

    /// Returns these limits with others of the effective, permitted and inheritable set.
    pub const fn caps(self, caps: CapState) -> Limits {
        Limits { caps, ..self }
    }

    /// Returns these limits with another one of the ambient set.
    pub const fn ambient(self, ambient: CapSet) -> Limits {
        Limits { ambient, ..self }
    }

    /// Returns these limits with another one of the bounding set. [`CapSet::all`] leaves the bounding
    /// set alone, which takes no `CAP_SETPCAP`.
    pub const fn bounding(self, bounding: CapSet) -> Limits {
        Limits { bounding, ..self }
    }

    /// Returns these limits with securebits to set in addition to those of each thread.
    pub const fn securebits(self, securebits: Securebits) -> Limits {
        Limits { securebits, ..self }
    }

    /// Returns these limits with no-new-privs to set.
    pub const fn no_new_privs(self) -> Limits {
        Limits { no_new_privs: true, ..self }
    }

    /// Applies the limits to every thread of the process, starting with the calling thread.
    ///
    /// First, each thread checks whether it can change. Waiting for a thread that does not answer
    /// ends after five seconds.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadsNotChanged`]: the calling thread and others have changed, except for the
    /// threads in the error. A program should then exit.
    ///
    /// Any other error: no thread has changed. [`Error::NoProc`] if /proc does not show the threads
    /// of this process. [`Error::Os`] with [`Subject::OtherThread`] or [`Subject::Thread`] if a
    /// thread lacks a privilege, cannot be examined, takes no signals, or does not answer
    /// (`ETIMEDOUT`), for example under a debugger.
    pub fn apply(&self) -> Result<Applied> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // The result is cached, so handlers do not need a system call.
        let _ = CapSet::supported();
        let mut tasks = Tasks::open()?;
        let result = self.check(&mut tasks).and_then(|others| self.change(&mut tasks, &others));
        // If the handler stays, it forwards every signal that does not come from here.
        let _ = broadcast::uninstall();
        result
    }

    /// Checks whether each thread can change, and returns the other threads.
    fn check(&self, tasks: &mut Tasks) -> Result<BTreeSet<u32>> {
        self.take(Step::Check).map_err(|Refused(op, errno)| op.thread(errno))?;
        let job = self.job(Step::Check);
        let others = tasks.others()?;
        for &tid in &others {
            let thread = tasks.thread(tid);
            let thread = thread.map_err(|err| Op::ReadProc.on(Subject::OtherThread(tid), err))?;
            let Some(thread) = thread else { continue };
            self.visit(tid, Some(thread), &job, PATIENCE)?;
        }
        Ok(others.into_iter().collect())
    }

    /// Changes each thread, until all threads in one list are within the limits.
    ///
    /// Threads that are not in that list are within the limits too: they were started by threads in
    /// the list, or by their children, each of which changed before the list was read.
    fn change(&self, tasks: &mut Tasks, known: &BTreeSet<u32>) -> Result<Applied> {
        let stragglers = |threads, changed, source: Error| Error::ThreadsNotChanged {
            threads,
            changed,
            source: Box::new(source),
        };
        if let Err(Refused(op, errno)) = self.take(Step::Change) {
            let own = gettid().as_raw().unsigned_abs();
            return Err(stragglers(vec![own], 0, op.thread(errno)));
        }
        let job = self.job(Step::Change);
        let begin = Instant::now();
        let mut sweeps = 0;
        let [mut changed, mut ended] = [BTreeSet::new(), BTreeSet::new()];
        loop {
            let others = tasks.others().map_err(|err| {
                let left = known.difference(&changed).copied().collect();
                stragglers(left, changed.len() + 1, err)
            })?;
            sweeps += 1;
            let mut sweep = self.sweep(tasks, &others, &job);
            changed.extend(&sweep.changed);
            // A thread that has just ended may have started others, which the next list has.
            sweep.gone.extend(sweep.ended.iter().filter(|&&tid| ended.insert(tid)));
            if sweep.reason.is_none() && !sweep.gone.is_empty() && begin.elapsed() > CHURN {
                sweep.reason = Some(Op::ReadProc.thread(Errno::ETIMEDOUT));
                sweep.left.clone_from(&sweep.gone);
            }
            if let Some(source) = sweep.reason {
                return Err(stragglers(sweep.left, changed.len() + 1, source));
            }
            if sweep.is_clean && sweep.gone.is_empty() {
                return Ok(Applied { threads: others.len() + 1, sweeps });
            }
        }
    }

    /// Changes each thread of a list.
    fn sweep(&self, tasks: &Tasks, others: &[u32], job: &Arc<Job>) -> Sweep {
        let mut sweep = Sweep { is_clean: true, ..Sweep::default() };
        for &tid in others {
            // A thread that cannot be examined gets the signal anyway.
            let visited = match tasks.thread(tid) {
                Ok(None) => Ok(Visit::Gone),
                thread => {
                    let patience = if sweep.reason.is_none() { PATIENCE } else { IMPATIENCE };
                    self.visit(tid, thread.ok().flatten(), job, patience)
                }
            };
            match visited {
                Ok(Visit::Within) => sweep.changed.push(tid),
                Ok(Visit::Beyond) => {
                    sweep.is_clean = false;
                    sweep.changed.push(tid);
                }
                Ok(Visit::Gone) => sweep.gone.push(tid),
                Ok(Visit::Ended) => sweep.ended.push(tid),
                Err(err) => {
                    sweep.left.push(tid);
                    sweep.reason.get_or_insert(err);
                }
            }
        }
        sweep
    }

    fn job(&self, step: Step) -> Arc<Job> {
        let limits = *self;
        Arc::new(Box::new(move || number(limits.take(step))))
    }

    /// Makes another thread call `job`, unless it is known to be within the limits.
    #[expect(unsafe_code, reason = "a job runs in a signal handler of another thread")]
    fn visit(
        &self,
        tid: u32,
        thread: Option<Thread>,
        job: &Arc<Job>,
        patience: Duration,
    ) -> Result<Visit> {
        let failed = |op: Op, source: io::Error| Err(op.on(Subject::OtherThread(tid), source));
        if let Some(Thread { status, life }) = thread {
            // The securebits of a thread that runs no program have no effect.
            let is_within = self.securebits.is_empty() || life != Life::Runs;
            match life {
                _ if is_within && self.hold(&status) => return Ok(Visit::Within),
                Life::Runs => {}
                Life::Ended => return Ok(Visit::Ended),
                Life::OfTheKernel => return failed(Op::Signal, Errno::EOPNOTSUPP.into()),
            }
        }
        // SAFETY: TURN is held, so no other thread is in this call. A job is `take`, which only
        // makes system calls.
        match unsafe { broadcast::call_in(sys::pid_t(tid), job, patience) } {
            Ok(Answer::Returned(number)) => match answer(number) {
                Ok(false) => Ok(Visit::Within),
                Ok(true) => Ok(Visit::Beyond),
                Err(Refused(op, errno)) => failed(op, errno.into()),
            },
            Ok(Answer::Gone) => Ok(Visit::Gone),
            Ok(Answer::Silent) => failed(Op::Signal, Errno::ETIMEDOUT.into()),
            Err(err) => failed(Op::Signal, err),
        }
    }

    /// Returns whether a thread is within the limits, except for its securebits, which the kernel
    /// reports only to the thread itself.
    fn hold(&self, status: &Status) -> bool {
        let Status { caps, ambient, bounding, no_new_privs, .. } = status;
        self.caps.effective.is_superset(caps.effective)
            && self.caps.permitted.is_superset(caps.permitted)
            && self.caps.inheritable.is_superset(caps.inheritable)
            && self.ambient.is_superset(*ambient)
            && self.bounding.is_superset(*bounding)
            && (!self.no_new_privs || *no_new_privs == Some(true))
    }

    /// Limits the calling thread, which may be in a signal handler: see [`Excess`].
    ///
    /// Returns whether the thread exceeds the limits and can change, or has changed.
    fn take(&self, step: Step) -> std::result::Result<bool, Refused> {
        let Some(excess) = Excess::over(self)? else { return Ok(false) };
        match step {
            Step::Check => excess.check()?,
            Step::Change => excess.remove()?,
        }
        Ok(true)
    }
}

/// The result of changing each thread of a list.
#[derive(Default)]
struct Sweep {
    /// Whether each thread was within the limits before.
    is_clean: bool,
    /// The threads that are within the limits now.
    changed: Vec<u32>,
    /// The threads that have left the list. They may have started others before.
    gone: Vec<u32>,
    /// The threads that have ended and are on the list. The threads that they started are too.
    ended: Vec<u32>,
    /// The threads that may exceed the limits.
    left: Vec<u32>,
    /// The first reason.
    reason: Option<Error>,
}

/// The request to a thread.
#[derive(Clone, Copy)]
enum Step {
    /// Check whether the thread can change.
    Check,
    Change,
}

/// The result of visiting another thread.
enum Visit {
    /// The thread was within the limits.
    Within,
    /// The thread exceeded the limits, and has changed or can change.
    Beyond,
    /// The thread has ended, and is still in the list.
    Ended,
    /// The thread has ended.
    Gone,
}

/// Encodes the answer of a thread as a number.
fn number(answer: std::result::Result<bool, Refused>) -> u64 {
    match answer {
        Ok(changes) => changes.into(),
        Err(Refused(op, errno)) => {
            1 << 63 | u64::from(op as u8) << 32 | u64::from((errno as i32).unsigned_abs())
        }
    }
}

/// Decodes the answer of a thread.
fn answer(number: u64) -> std::result::Result<bool, Refused> {
    if number >> 63 == 0 {
        return Ok(number != 0);
    }
    let [op, errno] = [(number >> 32) & 0xff, number & 0xffff_ffff];
    let op = Op::ALL.iter().copied().find(|&known| u64::from(known as u8) == op);
    let errno = i32::try_from(errno).map_or(Errno::EINVAL, Errno::from_raw);
    Err(Refused(op.unwrap_or(Op::Signal), errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_numbers() {
        let mut answers = vec![Ok(false), Ok(true)];
        for &op in Op::ALL {
            answers.extend(
                [Errno::EPERM, Errno::EACCES, Errno::ENOSYS].map(|err| Err(Refused(op, err))),
            );
        }
        for want in answers {
            assert_eq!(answer(number(want)), want);
        }
    }
}
