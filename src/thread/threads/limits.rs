//! Privileges dropped in every thread.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use nix::{errno::Errno, sys::prctl, unistd::gettid};

use super::tasks::{Life, Tasks, Thread};
use crate::{
    Cap, CapSet, CapState, Error, Op, Result, Subject,
    proc::Status,
    securebits::Securebits,
    sys::{
        self,
        broadcast::{self, Answer, Job},
    },
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
/// # if !rcap::CapState::current()?.permitted.contains(Cap::SETPCAP) {
/// #     limits.bounding = CapSet::all();
/// # }
/// let report = limits.apply()?;
/// println!("{} threads in {} sweeps", report.threads, report.sweeps);
/// # Ok::<(), rcap::Error>(())
/// ```
///
/// # How it is done, and its limits
///
/// Every thread that has more than the limits allow is sent signal 33, and changes itself in the
/// handler; glibc changes the user ids of a process in the same way.
///
/// - /proc has to be mounted, and belong to the PID namespace of the process. Anything else is an
///   error before a thread has changed.
/// - A thread may find that poll(2), epoll_wait(2), nanosleep(2) or a recv(2) with a timeout was
///   interrupted (`EINTR`), as by any signal. Calls that can be restarted are.
/// - The handler runs on the alternate signal stack where a thread has one (sigaltstack(2)), and
///   blocks all signals. It needs 3 KB there in a build without optimisation, besides the
///   kernel's own frame.
/// - Threads that the kernel makes for io_uring take no signals. While one of them has more than
///   the limits allow, nothing is changed, and the error names it: drop privileges before the
///   ring is made.
/// - It is not for a signal handler, nor for the child of a process that had threads when it
///   forked.
/// - It is tested with glibc and musl on x86-64, and written for AArch64 and 64-bit RISC-V by
///   their documentation and sources. On other machines the feature does not compile.
/// - The user and group ids are not changed. After the limits, setgroups(3), setresgid(3) and
///   setresuid(3) of the C library change them in all threads, if `CAP_SETGID` and `CAP_SETUID`
///   were left in all; the kernel then clears what is permitted of a user that was 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[doc(alias = "psx_syscall")]
#[non_exhaustive]
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

/// The result of [`Limits::apply`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Applied {
    /// How many threads there are, each within the limits.
    pub threads: usize,
    /// How often the threads were listed and changed: until none on the list had more than the
    /// limits allow.
    pub sweeps: usize,
}

/// How long a thread may leave the signal waiting.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long each further one may, if one has.
const IMPATIENCE: Duration = Duration::from_millis(100);
/// How long threads may end before they can be looked at.
const CHURN: Duration = Duration::from_secs(20);

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
    /// Before the first thread changes, each is asked whether it can. The wait for a thread that
    /// does not answer ends after five seconds.
    ///
    /// # Errors
    ///
    /// [`Error::ThreadsNotChanged`]: the calling thread has changed and others have, except for the
    /// threads that the error names. A program should then end.
    ///
    /// Any other error: no thread has changed. [`Error::NoProc`] if /proc does not show
    /// the threads of this process; [`Error::Os`] with
    /// [`Subject::OtherThread`] or [`Subject::Thread`] if a thread lacks a right, cannot be looked
    /// at, takes no signals, or does not answer (`ETIMEDOUT`), as under a debugger.
    pub fn apply(&self) -> Result<Applied> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        // Known from here on, so that handlers do not ask the kernel.
        let _ = CapSet::supported();
        let mut tasks = Tasks::open()?;
        let result = self.check(&mut tasks).and_then(|others| self.change(&mut tasks, &others));
        // A handler that stays hands on every signal that is not from here.
        let _ = broadcast::uninstall();
        result
    }

    /// Returns an error unless each thread can change. Returns the others that there are.
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

    /// Changes each thread, until every one on a list is found within the limits.
    ///
    /// That is proof for the threads which are not on that list: they were started by threads
    /// that are on it, or by their children, and each of those was changed before the list was
    /// read.
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
            let mut is_clean = true;
            let [mut gone, mut left] = [Vec::new(), Vec::new()];
            let mut reason = None;
            for &tid in &others {
                // One that cannot be looked at is asked all the same.
                let visited = match tasks.thread(tid) {
                    Ok(None) => Ok(Visit::Gone),
                    thread => {
                        let patience = if reason.is_none() { PATIENCE } else { IMPATIENCE };
                        self.visit(tid, thread.ok().flatten(), &job, patience)
                    }
                };
                match visited {
                    Ok(Visit::Within) => drop(changed.insert(tid)),
                    Ok(Visit::Beyond) => {
                        is_clean = false;
                        changed.insert(tid);
                    }
                    // It may have started another one first.
                    Ok(Visit::Gone) => gone.push(tid),
                    Ok(Visit::Ended) if ended.insert(tid) => gone.push(tid),
                    // The threads that it started are on this list.
                    Ok(Visit::Ended) => {}
                    Err(err) => {
                        left.push(tid);
                        reason.get_or_insert(err);
                    }
                }
            }
            if reason.is_none() && !gone.is_empty() && begin.elapsed() > CHURN {
                reason = Some(Op::ReadProc.thread(Errno::ETIMEDOUT));
                left.clone_from(&gone);
            }
            if let Some(source) = reason {
                return Err(stragglers(left, changed.len() + 1, source));
            }
            if is_clean && gone.is_empty() {
                return Ok(Applied { threads: others.len() + 1, sweeps });
            }
        }
    }

    fn job(&self, step: Step) -> Arc<Job> {
        let limits = *self;
        Arc::new(Box::new(move || number(limits.take(step))))
    }

    /// Has another thread call `job`, unless it is known to be within the limits.
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
            // The securebits of a thread that runs no program do not give it anything.
            let is_within = self.securebits.is_empty() || life != Life::Runs;
            match life {
                _ if is_within && self.hold(&status) => return Ok(Visit::Within),
                Life::Runs => {}
                Life::Ended => return Ok(Visit::Ended),
                Life::OfTheKernel => return failed(Op::Signal, Errno::EOPNOTSUPP.into()),
            }
        }
        // SAFETY: TURN is held, so no other thread is there. A job is `take`, which makes system
        // calls only.
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

    /// Whether a thread has no more than these, apart from its securebits, which the kernel tells
    /// nobody else.
    fn hold(&self, status: &Status) -> bool {
        let Status { caps, ambient, bounding, no_new_privs, .. } = status;
        self.caps.effective.is_superset(caps.effective)
            && self.caps.permitted.is_superset(caps.permitted)
            && self.caps.inheritable.is_superset(caps.inheritable)
            && self.ambient.is_superset(*ambient)
            && self.bounding.is_superset(*bounding)
            && (!self.no_new_privs || *no_new_privs == Some(true))
    }

    /// In the calling thread, which may be in a signal handler on a small stack: system calls
    /// only, no memory, no locks, and no error that is more than two numbers.
    ///
    /// Returns whether the thread has more than the limits allow: whether it would change, or has
    /// changed.
    fn take(&self, step: Step) -> std::result::Result<bool, Refused> {
        let now = CapState::from(sys::capget(0).map_err(by(Op::ReadSets))?);
        let bits = sys::get_securebits().map_err(by(Op::ReadSecurebits))?;
        let missing = self.securebits.bits() & !bits;
        let [mut drop, mut lower] = [CapSet::empty(); 2];
        for cap in CapSet::supported() {
            let number = cap.number();
            if !self.bounding.contains(cap)
                && sys::capbset_read(number).map_err(by(Op::ReadBounding))?
            {
                drop = drop.with(cap);
            }
            if !self.ambient.contains(cap)
                && sys::cap_ambient(libc::PR_CAP_AMBIENT_IS_SET, number)
                    .map_err(by(Op::ReadAmbient))?
            {
                lower = lower.with(cap);
            }
        }
        let permitted = now.permitted & self.caps.permitted;
        let limited = CapState {
            effective: now.effective & self.caps.effective & permitted,
            permitted,
            inheritable: now.inheritable & self.caps.inheritable,
        };
        let seal = self.no_new_privs
            && !prctl::get_no_new_privs().map_err(|errno| Refused(Op::ReadNoNewPrivs, errno))?;
        let privileged = !drop.is_empty() || missing != 0;
        if !privileged && lower.is_empty() && limited == now && !seal {
            return Ok(false);
        }
        if matches!(step, Step::Check) {
            let setpcap = now.permitted.contains(Cap::SETPCAP);
            // A bit that is locked at 0 can never be set.
            let locked = (bits & LOCKS) >> 1;
            return match () {
                () if !drop.is_empty() && !setpcap => Err(Refused(Op::DropBounding, Errno::EPERM)),
                () if missing != 0 && (!setpcap || missing & locked != 0) => {
                    Err(Refused(Op::SetSecurebits, Errno::EPERM))
                }
                () => Ok(true),
            };
        }
        let change = || {
            if privileged {
                let raised = CapState { effective: now.effective.with(Cap::SETPCAP), ..now };
                sys::capset(raised.into()).map_err(by(Op::SetSets))?;
            }
            for cap in drop {
                sys::capbset_drop(cap.number()).map_err(by(Op::DropBounding))?;
            }
            if missing != 0 {
                sys::set_securebits(bits | missing).map_err(by(Op::SetSecurebits))?;
            }
            for cap in lower {
                sys::cap_ambient(libc::PR_CAP_AMBIENT_LOWER, cap.number())
                    .map_err(by(Op::LowerAmbient))?;
            }
            sys::capset(limited.into()).map_err(by(Op::SetSets))
        };
        if let Err(refused) = change() {
            let _ = sys::capset(now.into());
            return Err(refused);
        }
        if seal {
            prctl::set_no_new_privs().map_err(|errno| Refused(Op::SetNoNewPrivs, errno))?;
        }
        Ok(true)
    }
}

/// The securebits that lock the one before.
const LOCKS: u32 = 0xaaa;

/// What a thread is asked for.
#[derive(Clone, Copy)]
enum Step {
    /// Whether it can change.
    Check,
    Change,
}

/// How a visit of another thread ended.
enum Visit {
    /// It had no more than the limits allow.
    Within,
    /// It had more, and has changed or can change.
    Beyond,
    /// It has ended, and is still on the list.
    Ended,
    /// It has ended.
    Gone,
}

/// Why a thread could not: an error that fits into a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refused(Op, Errno);

fn by(op: Op) -> impl Fn(io::Error) -> Refused {
    move |err| Refused(op, Errno::from_raw(err.raw_os_error().unwrap_or(libc::EINVAL)))
}

/// The answer of a thread as a number.
fn number(answer: std::result::Result<bool, Refused>) -> u64 {
    match answer {
        Ok(changes) => changes.into(),
        Err(Refused(op, errno)) => {
            1 << 63 | u64::from(op as u8) << 32 | u64::from((errno as i32).unsigned_abs())
        }
    }
}

/// The answer of a thread from its number.
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
