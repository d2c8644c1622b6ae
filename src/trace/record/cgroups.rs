//! Recording of the processes in control groups by BPF programs, which need neither tracefs nor
//! process IDs. (bpf(2), Documentation/bpf/)

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    ffi::OsString,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStringExt,
    },
    path::{Path, PathBuf},
};

use nix::sys::{
    prctl,
    statfs::{CGROUP2_SUPER_MAGIC, statfs},
};

use super::{
    Check, Event, EventKind, MARK, Rest,
    calls::CallRecorder,
    processes::settled,
    programs::{self, Hook, low, run, run_at_checks},
};
use crate::{
    Error, Op, Result,
    error::TraceError,
    sys::{
        self,
        bpf::{Cgroups, Counter, Ids, Queue},
    },
    trace::{Gap, Target, target::unified},
};

mod program;

use program::{CHECK, Maps};

/// Records the checks for processes in control groups, including processes that enter them later.
#[derive(Debug)]
pub(crate) struct CgroupRecorder {
    maps: Maps,
    /// The last known name of each thread.
    programs: HashMap<u32, Vec<u8>>,
    pending: Vec<Named>,
    /// The recorder of the ends of system calls, if this kernel and the options permit it.
    calls: Option<CallRecorder>,
    groups: Vec<Target>,
    /// The processes that were in the groups, with the path of the group of each.
    members: HashMap<u32, Vec<u8>>,
    has_left: bool,
    sees_inlined: bool,
    /// The programs run while these descriptors are open.
    links: Vec<OwnedFd>,
}

/// An event, and the name of its thread, if it is known.
type Named = (Event, Vec<u8>);

/// The maximum number of pending checks, and of pending exits of system calls. Together they take
/// 42 megabytes, and hold a burst of 100,000 checks.
const ENTRIES: u32 = 128 * 1024;
/// The number of threads and processes that are remembered.
const TASKS: u32 = 32 * 1024;

impl CgroupRecorder {
    /// Returns whether a directory is in the unified hierarchy, the only one that BPF supports.
    pub(crate) fn is_unified(path: &Path) -> bool {
        statfs(path).is_ok_and(|stat| stat.filesystem_type() == CGROUP2_SUPER_MAGIC)
    }

    /// Checks that this kernel and this process support recording, and that a unified hierarchy is
    /// mounted.
    pub(crate) fn check() -> Result<()> {
        let root = unified().ok_or(Error::Trace(TraceError::NoBackend))?;
        match CgroupRecorder::new(&[root], false) {
            Err(err) if err.raw_os_error() == Some(libc::ENOENT) => {
                Err(Error::Trace(TraceError::NoBackend))
            }
            other => other.map(drop),
        }
    }

    /// Records the processes of these control groups of the unified hierarchy, and of their
    /// descendants. `outcomes` is whether the results of system calls are recorded too.
    ///
    /// # Errors
    ///
    /// `EPERM` without `CAP_BPF` and `CAP_PERFMON`, or `CAP_SYS_ADMIN`. `ENOENT` if the kernel has
    /// neither the tracepoint nor a description of the function. `EBADF` for a directory that is not
    /// in the unified hierarchy.
    /// [`TraceError::NoMark`] if nothing is recorded.
    pub(crate) fn new(cgroups: &[PathBuf], outcomes: bool) -> Result<CgroupRecorder> {
        let failed = |err: io::Error| Op::LoadBpf.thread(err);
        // A program has a limited number of instructions.
        let count = i16::try_from(cgroups.len()).ok().filter(|count| (1..=64).contains(count));
        let count = count.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
        let maps = Maps::new(count).map_err(failed)?;
        let open = |path: &PathBuf| File::open(path).map_err(|err| Op::Open.on(&**path, err));
        let directories = cgroups.iter().map(|path| open(path).map(OwnedFd::from));
        let directories = directories.collect::<Result<Vec<_>>>()?;
        let groups: Vec<Target> = cgroups.iter().cloned().map(Target::Cgroup).collect();
        let calls = outcomes.then(|| {
            let living = groups.iter().filter_map(|group| group.processes().ok());
            CallRecorder::of_groups(&directories, &living.flatten().collect::<Vec<_>>()).ok()
        });
        let calls = calls.flatten();
        let (links, hook) = run_programs(&maps, outcomes && calls.is_none()).map_err(failed)?;
        make_mark(&maps)?;
        for (at, directory) in (0..).zip(&directories) {
            maps.groups.set(at, directory.as_fd()).map_err(failed)?;
        }
        let mark = Check { number: MARK, granted: Some(false), ..Check::default() };
        let mark = Event { time: 0, tid: 0, kind: EventKind::Check(mark) };
        let mut recorder = CgroupRecorder {
            maps,
            programs: HashMap::new(),
            // Each check has its own user namespace, so the mark has none.
            pending: vec![(mark, Vec::new())],
            calls,
            groups,
            members: HashMap::new(),
            has_left: false,
            sees_inlined: hook == Hook::Tracepoint,
            links,
        };
        recorder.living();
        Ok(recorder)
    }

    /// Returns whether every call of the function is seen, also where the compiler inlined it.
    pub(crate) fn sees_inlined(&self) -> bool {
        self.sees_inlined
    }

    /// Returns whether the objects of system calls are seen, and denials without a check.
    pub(crate) fn sees_calls(&self) -> bool {
        self.calls.is_some()
    }

    /// Returns whether a recorded thread may have changed its root or current directory.
    pub(crate) fn has_moved(&self) -> bool {
        self.calls.as_ref().is_none_or(CallRecorder::has_moved)
    }

    /// Returns the processes that are in the groups now. Call this function regularly: a process
    /// that was seen in a group and has left it is a [`Gap`] of the recording.
    pub(crate) fn living(&mut self) -> Vec<u32> {
        let processes = self.groups.iter().filter_map(|group| group.processes().ok());
        let living: BTreeSet<u32> = processes.flatten().collect();
        let group_of = |pid: u32| unified_group(&fs::read(format!("/proc/{pid}/cgroup")).ok()?);
        for &pid in &living {
            if let Entry::Vacant(entry) = self.members.entry(pid) {
                if let Some(group) = group_of(pid) {
                    entry.insert(group);
                }
            }
        }
        self.members.retain(|pid, group| {
            living.contains(pid)
                || group_of(*pid).is_some_and(|now| {
                    // A process that is exiting is not listed, but is still in its group.
                    self.has_left |= now != *group;
                    now == *group
                })
        });
        living.into_iter().collect()
    }

    /// Returns new events in time order.
    ///
    /// # Errors
    ///
    /// An error if the maps cannot be read.
    pub(crate) fn drain(&mut self) -> Result<Vec<Event>> {
        // Events that are being written are left for the next call.
        let until = settled()?;
        let calls = self.calls.as_mut().map(|calls| calls.take_until(until)).transpose()?;
        let mut events = self.read(calls.unwrap_or_default())?;
        let end = events.partition_point(|(event, _)| event.time <= until);
        self.pending = events.split_off(end);
        Ok(self.with_programs(events))
    }

    /// Returns all events in time order, with the ends of these system calls.
    fn read(&mut self, calls: Vec<Event>) -> Result<Vec<Named>> {
        let failed = |err| Op::ReadTrace.thread(err);
        let mut events = std::mem::take(&mut self.pending);
        // New events may arrive all the time, so the number is limited.
        for _ in 0..ENTRIES {
            let Some([time, thread, returned]) = self.maps.ends.pop().map_err(failed)? else {
                break;
            };
            let kind = EventKind::SystemCall {
                number: -1,
                returned: i64::from_ne_bytes(returned.to_ne_bytes()),
                call: None,
            };
            events.push((Event { time, tid: low(thread), kind }, Vec::new()));
        }
        for _ in 0..ENTRIES {
            let Some(words) = self.maps.checks.pop().map_err(failed)? else { break };
            events.push(check(&words));
        }
        events.extend(calls.into_iter().map(|event| {
            let name = match &event.kind {
                EventKind::SystemCall { call: Some(call), .. } => call.name.clone(),
                _ => Vec::new(),
            };
            (event, name)
        }));
        events.sort_by_key(|(event, _)| event.time);
        Ok(events)
    }

    /// Adds an event for the program of a thread whose name has changed.
    fn with_programs(&mut self, events: Vec<Named>) -> Vec<Event> {
        let mut all = Vec::with_capacity(events.len());
        for (event, name) in events {
            if !name.is_empty() && self.programs.get(&event.tid) != Some(&name) {
                self.programs.insert(event.tid, name.clone());
                let kind = EventKind::Exec { path: OsString::from_vec(name) };
                all.push(Event { time: event.time, tid: event.tid, kind });
            }
            all.push(event);
        }
        all
    }

    /// Ends the recording, and returns the remaining events and the gaps.
    ///
    /// # Errors
    ///
    /// Those of [`CgroupRecorder::drain`].
    pub(crate) fn stop(&mut self) -> Result<Rest> {
        self.living();
        self.links.clear();
        let calls = self.calls.as_mut().map(CallRecorder::stop).transpose()?;
        let (calls, [lost_calls, _]) = calls.unwrap_or_default();
        let events = self.read(calls)?;
        let events = self.with_programs(events);
        let count = |counter: &Counter| counter.get().map_err(|err| Op::ReadTrace.thread(err));
        self.has_left |= count(&self.maps.left)? > 0;
        let gaps = if self.has_left { vec![Gap::LeftCgroup] } else { Vec::new() };
        let lost = count(&self.maps.lost)?.saturating_add(lost_calls);
        Ok(Rest { events, lost: Some(lost), lost_stacks: 0, gaps })
    }
}

/// Decodes a check.
fn check(words: &[u64; CHECK]) -> Named {
    let (&[time, thread, cap, answer, namespace, own, first, second], stack) =
        words.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let check = programs::check([cap, answer, namespace, own], stack);
    (Event { time, tid: low(thread), kind: EventKind::Check(check) }, name([first, second]))
}

impl Maps {
    /// Creates the maps for `count` control groups.
    fn new(count: i16) -> io::Result<Maps> {
        Ok(Maps {
            groups: Cgroups::new(u32::from(count.unsigned_abs()) + 1)?,
            count,
            checks: Queue::new(ENTRIES)?,
            ends: Queue::new(ENTRIES)?,
            members: Ids::new(TASKS)?,
            left: Counter::new()?,
            open: Ids::new(TASKS)?,
            lost: Counter::new()?,
        })
    }
}

/// Attaches the programs. They run while the returned descriptors are open.
fn run_programs(maps: &Maps, outcomes: bool) -> io::Result<(Vec<OwnedFd>, Hook)> {
    let mut links = vec![run(c"sched_process_exit", &program::exit(maps))?];
    // Exits are recorded first, so that every check has one.
    if outcomes {
        links.push(run(c"sys_exit", &program::system_call(maps))?);
    }
    let (link, hook) = run_at_checks(|hook| program::check(maps, hook))?;
    links.push(link);
    Ok((links, hook))
}

/// Returns the path of the group in the unified hierarchy, from the text of `/proc/PID/cgroup`. An
/// ended process keeps it, while it moves to the root of the other hierarchies. (`proc_cgroup_show`
/// in kernel/cgroup/cgroup.c)
fn unified_group(text: &[u8]) -> Option<Vec<u8>> {
    let path = text.split(|&byte| byte == b'\n').find_map(|line| line.strip_prefix(b"0::"))?;
    // A group that was removed while an ended process was in it.
    Some(path.strip_suffix(b" (deleted)").unwrap_or(path).to_vec())
}

/// Records all processes until this one has made its mark, and removes what was recorded.
fn make_mark(maps: &Maps) -> Result<()> {
    let at = u32::from(maps.count.unsigned_abs());
    let root = unified().ok_or(Error::Trace(TraceError::NoBackend))?;
    let group = File::open(&root).map_err(|err| Op::Open.on(&*root, err))?;
    maps.groups.set(at, group.as_fd()).map_err(|err| Op::LoadBpf.thread(err))?;
    // The capability does not exist, so the call fails, but the kernel checks first.
    let _ = sys::capbset_drop(u8::MAX);
    maps.groups.clear(at).map_err(|err| Op::LoadBpf.thread(err))?;
    // If the kernel lacks this call, a check that another process makes at this moment may be
    // attributed to one of the groups.
    let _ = sys::wait_for_bpf();
    if has_mark(&maps.checks)? { Ok(()) } else { Err(Error::Trace(TraceError::NoMark)) }
}

/// Returns whether the mark is among the first checks. The process IDs are not those of this PID
/// namespace, but the thread's name is.
fn has_mark(checks: &Queue<CHECK>) -> Result<bool> {
    let own = prctl::get_name().map_err(|err| Op::ReadProc.thread(err))?;
    let mut found = false;
    while let Some([_, _, cap, _, _, _, first, second, ..]) =
        checks.pop().map_err(|err| Op::ReadTrace.thread(err))?
    {
        found |= low(cap) == MARK && name([first, second]) == own.as_bytes();
    }
    Ok(found)
}

/// Returns the NUL-terminated name of a thread.
fn name(words: [u64; 2]) -> Vec<u8> {
    let bytes = words.into_iter().flat_map(u64::to_ne_bytes);
    bytes.take_while(|&byte| byte != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_a_process() {
        #[rustfmt::skip]
        let rows: [(&str, Option<&str>); 5] = [
            ("0::/a.service\n",                           Some("/a.service")),
            ("4:memory:/x\n1:name=systemd:/y\n0::/a b\n", Some("/a b")),
            ("4:memory:/\n0::/a.service (deleted)\n",     Some("/a.service")),
            ("4:memory:/0::/x\n",                         None),
            ("",                                          None),
        ];
        for (text, want) in rows {
            let found = unified_group(text.as_bytes());
            assert_eq!(found.as_deref(), want.map(str::as_bytes), "{text}");
        }
    }
}
