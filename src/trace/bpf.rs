//! Recording the processes of control groups by two BPF programs, which need neither tracefs nor
//! the ids of the processes. (bpf(2), Documentation/bpf/)

use std::{
    collections::HashMap,
    ffi::{CStr, OsString},
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::{Check, Event, EventKind, MARK, Rest};
use crate::{
    Error, Op, Result,
    sys::bpf::{self, Cgroups, Counter, Queue, Threads},
};

mod program;

use program::{Maps, STACK, WORDS};

/// Records what the processes of control groups are asked for, those that enter them later too.
#[derive(Debug)]
pub struct CgroupRecorder {
    queue: Queue<WORDS>,
    /// How many events had no place.
    lost: Counter,
    /// What each thread was known to run.
    programs: HashMap<u32, [u64; 2]>,
    first: bool,
    pending: Vec<Event>,
    /// As long as these are open, the programs run.
    links: Vec<OwnedFd>,
}

/// How many events wait at most: ten megabytes.
const ENTRIES: u32 = 32 * 1024;

impl CgroupRecorder {
    /// Whether a directory is one of the unified hierarchy, whose groups BPF knows.
    pub fn is_unified(path: &Path) -> bool {
        statfs(path).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC)
    }

    /// Whether this kernel and this process can, and some unified hierarchy is mounted.
    pub(super) fn check() -> Result<()> {
        let root = super::target::unified().ok_or(Error::NoBackend)?;
        match CgroupRecorder::new(&[root], true) {
            Err(err) if err.raw_os_error() == Some(libc::ENOENT) => Err(Error::NoBackend),
            other => other.map(drop),
        }
    }

    /// Records the processes of these control groups of the unified hierarchy, and of those below
    /// them. `outcomes`: also what came of the system calls.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`; `ENOENT` where the kernel
    /// lacks the tracepoint; `EBADF` for what is no such directory.
    pub fn new(cgroups: &[PathBuf], outcomes: bool) -> Result<CgroupRecorder> {
        let failed = |err: io::Error| Op::LoadBpf.thread(err);
        // A program has so many instructions at most.
        let count = i16::try_from(cgroups.len()).ok().filter(|count| (1..=64).contains(count));
        let count = count.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let groups = Cgroups::new(count.unsigned_abs().into()).map_err(failed)?;
        for (at, path) in (0..).zip(cgroups) {
            let group = File::open(path).map_err(|err| Op::Open.on(&**path, err))?;
            groups.set(at, group.as_fd()).map_err(failed)?;
        }
        let queue = Queue::new(ENTRIES).map_err(failed)?;
        let open = Threads::new(ENTRIES).map_err(failed)?;
        let lost = Counter::new().map_err(failed)?;
        let maps = Maps { groups: &groups, count, queue: &queue, open: &open, lost: &lost };
        let run = |name: &CStr, instructions: &[u64]| -> Result<OwnedFd> {
            // What the instructions call is for programs under the kernel's own license alone.
            let loaded = bpf::prog_load(instructions, c"Dual MIT/GPL");
            let loaded = loaded.map_err(failed)?;
            bpf::raw_tracepoint_open(name, loaded.as_fd()).map_err(failed)
        };
        let mut links = Vec::new();
        // The ends first: no check is without one.
        if outcomes {
            links.push(run(c"sys_exit", &program::system_call(&maps))?);
        }
        links.push(run(c"cap_capable", &program::check(&maps))?);
        Ok(CgroupRecorder {
            queue,
            lost,
            programs: HashMap::new(),
            first: true,
            pending: Vec::new(),
            links,
        })
    }

    /// What was recorded since, in the order of time.
    ///
    /// # Errors
    ///
    /// None that is known.
    pub fn drain(&mut self) -> Result<Vec<Event>> {
        let mut events = std::mem::take(&mut self.pending);
        if std::mem::take(&mut self.first) {
            // Each check has the user namespace of its own with it, so that this says nothing.
            let mark = Check { number: MARK, granted: Some(false), ..Check::default() };
            events.push(Event { time: 0, tid: 0, kind: EventKind::Check(mark) });
        }
        // As many as there can be; more may be coming all the time.
        for _ in 0..ENTRIES {
            match self.queue.pop() {
                Ok(words) => self.read(&words, &mut events),
                Err(err) if err.kind() == io::ErrorKind::NotFound => break,
                Err(err) => return Err(Op::ReadTrace.thread(err)),
            }
        }
        events.sort_by_key(|event| event.time);
        // One processor may be late with what it has seen before another.
        let last = events.last().map_or(0, |event| event.time);
        let end = events.partition_point(|event| event.time.saturating_add(1_000_000) <= last);
        self.pending = events.split_off(end);
        Ok(events)
    }

    /// What was not taken yet, and what is missing.
    ///
    /// # Errors
    ///
    /// Those of [`CgroupRecorder::drain`].
    pub fn stop(mut self) -> Result<Rest> {
        self.links.clear();
        let mut events = self.drain()?;
        events.append(&mut self.pending);
        let lost = self.lost.get().map_err(|err| Op::ReadTrace.thread(err))?;
        Ok(Rest { events, lost: Some(lost), gaps: Vec::new() })
    }

    /// One event, as the programs write it.
    fn read(&mut self, words: &[u64; WORDS], events: &mut Vec<Event>) {
        let (head, stack) = words.split_at(WORDS - STACK);
        let &[time, thread, kind, cap, ret, namespace, own, first, second] = head else { return };
        let comm = [first, second];
        // The second of the two, and of the words that hold an int the lower half.
        let [tid, cap, answer] = [thread, cap, ret].map(|word| (word & 0xffff_ffff) as u32);
        let returned = ret.cast_signed();
        if kind == program::SYSTEM_CALL {
            events.push(Event { time, tid, kind: EventKind::SystemCall { number: -1, returned } });
            return;
        }
        if self.programs.insert(tid, comm) != Some(comm) {
            let bytes: Vec<u8> = comm.into_iter().flat_map(u64::to_ne_bytes).collect();
            let name = bytes.split(|&byte| byte == 0).next().unwrap_or_default();
            let path = OsString::from_vec(name.to_vec());
            events.push(Event { time, tid, kind: EventKind::Exec { path } });
        }
        let stack = stack.iter().copied().take_while(|&address| address != 0);
        let check = Check {
            number: cap,
            granted: Some(answer == 0),
            namespace,
            own_namespace: Some(own),
            unaudited: false,
            stack: stack.collect(),
        };
        events.push(Event { time, tid, kind: EventKind::Check(check) });
    }
}
