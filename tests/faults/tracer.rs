//! Runs a program under ptrace(2), and makes one of its system calls fail or do half of its work.
//!
//! Only calls of this package's programs count, also in their threads and in their children before
//! execve(2). A thread counts after Rust's runtime has started it, which ends with sigaltstack(2).

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Event, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// A system call of a run: the `ordinal`th of its `number`, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Call {
    pub(crate) number: i64,
    pub(crate) ordinal: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call does nothing and fails.
    Fails(Errno),
    /// The call does its work, and reports a failure.
    Reports(Errno),
    /// A read or a write transfers one byte.
    Short,
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Traced {
    /// The exit status, or the signal that ended the program, or `None` if it hung.
    pub(crate) end: Option<Result<i32, Signal>>,
    pub(crate) out: String,
    pub(crate) err: String,
    /// The number of calls by number.
    pub(crate) calls: BTreeMap<i64, usize>,
    /// Whether the fault has been applied.
    pub(crate) is_hit: bool,
    /// Whether the call that has failed was a write to standard error.
    pub(crate) is_message: bool,
    /// Whether a process was left after the program had ended.
    pub(crate) has_left: bool,
}

/// The time after which a run counts as hanging, and after which a child of a program that has
/// ended counts as left.
const PATIENCE: Duration = Duration::from_secs(120);

/// A thread of the program or of its children.
#[derive(Clone, Copy, Debug, Default)]
struct Tracee {
    /// Whether it executes one of this package's programs.
    is_own: bool,
    /// Whether the runtime has started.
    has_started: bool,
    /// Whether it is in a system call, and the change of that call.
    in_call: bool,
    applied: Option<Applied>,
}

#[derive(Clone, Copy, Debug)]
struct Applied {
    fault: Fault,
    /// The registers at the entry.
    registers: libc::user_regs_struct,
}

struct Tracer {
    /// The directory of this package's programs.
    programs: PathBuf,
    plan: Option<(Call, Fault)>,
    root: Pid,
    tracees: BTreeMap<Pid, Tracee>,
    /// Threads that have stopped before their parent's event.
    early: Vec<Pid>,
    traced: Traced,
}

/// Runs a program with the call of `plan` changed.
pub(crate) fn run(command: &mut Command, plan: Option<(Call, Fault)>) -> io::Result<Traced> {
    let [mut out, mut err] = [tempfile::tempfile()?, tempfile::tempfile()?];
    command.stdout(out.try_clone()?).stderr(err.try_clone()?);
    let root = start(command)?;
    let programs = Path::new(command.get_program()).canonicalize()?;
    let programs = programs.parent().map(PathBuf::from).unwrap_or_default();
    let traced = Traced {
        end: None,
        out: String::new(),
        err: String::new(),
        calls: BTreeMap::new(),
        is_hit: false,
        is_message: false,
        has_left: false,
    };
    let tracees = BTreeMap::from([(root, Tracee { is_own: true, ..Tracee::default() })]);
    let mut tracer = Tracer { programs, plan, root, tracees, early: Vec::new(), traced };
    let (ended, guard) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        // The kernel kills what a tracer that ends has left; this one goes on with other runs.
        if guard.recv_timeout(PATIENCE).is_err_and(|e| e == mpsc::RecvTimeoutError::Timeout) {
            kill_descendants();
        }
    });
    let result = tracer.follow();
    drop(ended);
    guard.join().expect("it does not panic");
    result?;
    let mut traced = tracer.traced;
    traced.out = text(&mut out)?;
    traced.err = text(&mut err)?;
    Ok(traced)
}

/// Starts a program that stops at its first instruction.
#[expect(unsafe_code, reason = "ptrace(2) before execve(2) needs a closure between fork and exec")]
fn start(command: &mut Command) -> io::Result<Pid> {
    // SAFETY: ptrace(2) is one system call, and allocates nothing.
    unsafe { command.pre_exec(|| Ok(ptrace::traceme()?)) };
    let child = command.spawn()?;
    let root = Pid::from_raw(i32::try_from(child.id()).expect("a process ID"));
    waitpid(root, Some(WaitPidFlag::__WALL))?;
    ptrace::setoptions(
        root,
        Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_TRACEEXEC
            | Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACEFORK
            | Options::PTRACE_O_TRACEVFORK
            | Options::PTRACE_O_EXITKILL,
    )?;
    ptrace::syscall(root, None)?;
    Ok(root)
}

fn text(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Kills every descendant of this process: the tracees and their children.
fn kill_descendants() {
    let parents = || -> Option<Vec<(i32, i32)>> {
        let entries = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
        let parent = |stat: &str| stat.rsplit(')').next()?.split(' ').nth(2)?.parse().ok();
        Some(
            entries
                .filter_map(|entry| {
                    let pid = entry.file_name().to_str()?.parse().ok()?;
                    Some((pid, parent(&fs::read_to_string(entry.path().join("stat")).ok()?)?))
                })
                .collect(),
        )
    };
    let parents = parents().unwrap_or_default();
    let mut family = vec![i32::try_from(std::process::id()).expect("a process ID")];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        family.extend(parents.iter().filter(|(_, parent)| *parent == pid).map(|(child, _)| child));
        next += 1;
    }
    for &pid in &family[1..] {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
}

impl Tracer {
    /// Follows every process until the last one has ended.
    fn follow(&mut self) -> io::Result<()> {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(Errno::ECHILD) => return Ok(()),
                Err(Errno::EINTR) => continue,
                status => status?,
            };
            match self.step(status) {
                // It was killed while it was stopped; its end follows.
                Err(Errno::ESRCH) | Ok(()) => {}
                Err(err) => return Err(err.into()),
            }
        }
    }

    fn step(&mut self, status: WaitStatus) -> nix::Result<()> {
        match status {
            WaitStatus::Exited(pid, status) => self.end(pid, Ok(status)),
            WaitStatus::Signaled(pid, signal, _) => self.end(pid, Err(signal)),
            WaitStatus::PtraceSyscall(pid) => {
                self.system_call(pid)?;
                return ptrace::syscall(pid, None);
            }
            WaitStatus::PtraceEvent(pid, _, event) => {
                self.event(pid, event)?;
                return ptrace::syscall(pid, None);
            }
            WaitStatus::Stopped(pid, _) if !self.tracees.contains_key(&pid) => self.early.push(pid),
            // The first stop of a child.
            WaitStatus::Stopped(pid, Signal::SIGSTOP) => return ptrace::syscall(pid, None),
            WaitStatus::Stopped(pid, signal) => return ptrace::syscall(pid, signal),
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, pid: Pid, end: Result<i32, Signal>) {
        self.tracees.remove(&pid);
        let is_killed = end == Err(Signal::SIGKILL);
        if pid == self.root {
            self.traced.end = Some(end).filter(|_| !is_killed);
        } else if is_killed && self.traced.end.is_some() {
            self.traced.has_left = true;
        }
    }

    fn event(&mut self, pid: Pid, event: i32) -> nix::Result<()> {
        if event == Event::PTRACE_EVENT_EXEC as i32 {
            let file = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            let tracee = self.tracees.entry(pid).or_default();
            tracee.is_own = file.starts_with(&self.programs);
            tracee.has_started = false;
            tracee.in_call = true; // the exit of execve(2) follows
            return Ok(());
        }
        let child = i32::try_from(ptrace::getevent(pid)?).map_err(|_| Errno::ERANGE)?;
        let parent = self.tracees.get(&pid).copied().unwrap_or_default();
        let child = Pid::from_raw(child);
        let is_thread = event == Event::PTRACE_EVENT_CLONE as i32;
        let has_started = parent.has_started && !is_thread;
        self.tracees.insert(child, Tracee { has_started, in_call: false, applied: None, ..parent });
        if let Some(place) = self.early.iter().position(|early| *early == child) {
            self.early.remove(place);
            ptrace::syscall(child, None)?;
        }
        Ok(())
    }

    /// Counts the call at its entry and applies the fault, at its entry and exit.
    fn system_call(&mut self, pid: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(pid)?;
        let tracee = self.tracees.entry(pid).or_default();
        let is_entry = !tracee.in_call && registers.rax == failure(Errno::ENOSYS);
        if !is_entry {
            tracee.in_call = false;
            if let Some(Applied { fault, registers: entry }) = tracee.applied.take() {
                match fault {
                    // brk(2) fails by returning the present end.
                    Fault::Fails(_) if entry.orig_rax.cast_signed() == libc::SYS_brk => {}
                    Fault::Fails(errno) | Fault::Reports(errno) => registers.rax = failure(errno),
                    Fault::Short => {}
                }
                // The kernel preserves the registers of the arguments.
                registers = libc::user_regs_struct { rdi: entry.rdi, rdx: entry.rdx, ..registers };
                ptrace::setregs(pid, registers)?;
            }
            return Ok(());
        }
        tracee.in_call = true;
        let number = registers.orig_rax.cast_signed();
        let counts = tracee.is_own && tracee.has_started;
        tracee.has_started |= number == libc::SYS_sigaltstack && registers.rdi != 0;
        if !counts {
            return Ok(());
        }
        let count = self.traced.calls.entry(number).or_default();
        let call = Call { number, ordinal: *count };
        *count += 1;
        let fault = match self.plan {
            Some((planned, fault)) if planned == call => fault,
            _ => return Ok(()),
        };
        let can_be = match fault {
            Fault::Short => can_be_short(pid, &registers),
            // Closing a directory, which has no data to write, always succeeds.
            Fault::Reports(errno) => errno == Errno::EINTR || !is_directory(pid, &registers),
            Fault::Fails(_) => true,
        };
        if !can_be {
            return Ok(());
        }
        tracee.applied = Some(Applied { fault, registers });
        self.traced.is_hit = true;
        self.traced.is_message = number == libc::SYS_write && registers.rdi == 2;
        match fault {
            Fault::Fails(_) if number == libc::SYS_brk => registers.rdi = 0,
            // There is no call of this number.
            Fault::Fails(_) => registers.orig_rax = u64::MAX,
            Fault::Reports(_) => return Ok(()),
            Fault::Short => registers.rdx = 1,
        }
        ptrace::setregs(pid, registers)
    }
}

/// Returns the value with which a system call reports an error.
fn failure(errno: Errno) -> u64 {
    (-i64::from(errno as i32)).cast_unsigned()
}

fn is_directory(pid: Pid, registers: &libc::user_regs_struct) -> bool {
    fs::metadata(format!("/proc/{pid}/fd/{}", registers.rdi)).is_ok_and(|meta| meta.is_dir())
}

/// Returns whether a read or a write may transfer less than requested: files of the kernel's own
/// file systems answer at once.
fn can_be_short(pid: Pid, registers: &libc::user_regs_struct) -> bool {
    let file = fs::read_link(format!("/proc/{pid}/fd/{}", registers.rdi)).unwrap_or_default();
    let own = ["/proc", "/sys", "anon_inode:", "/dev"];
    registers.rdx > 1 && !own.iter().any(|own| file.to_string_lossy().starts_with(own))
}
