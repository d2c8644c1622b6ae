//! Processes and their threads as a tree.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    thread,
};

use super::{Proc, Status, in_threads};
use crate::{Error, Result};

/// A process in a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// The first thread, which the process ID identifies.
    pub status: Status,
    /// The other threads, in ascending order of their IDs.
    pub threads: Vec<Status>,
}

impl Process {
    /// Returns a process with the status of its first thread and those of its other threads.
    pub fn new(status: Status, threads: Vec<Status>) -> Process {
        Process { status, threads }
    }
}

/// Processes and their parents, read from /proc in one pass.
///
/// The parent of a process can change during the pass, and IDs can be reused. The tree nevertheless
/// contains every process once, and no process is its own ancestor.
///
/// ```
/// use rcap::proc::Proc;
///
/// let tree = Proc::default().tree()?;
/// for (depth, pid) in tree.walk(tree.roots()) {
///     let process = tree.get(pid).unwrap();
///     println!("{:depth$}{pid} {}", "", process.status.caps);
/// }
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    processes: BTreeMap<u32, Process>,
    /// Children by parent; processes without a parent are under 0.
    children: BTreeMap<u32, Vec<u32>>,
}

impl Tree {
    /// Returns the tree of these processes. A process whose parent is 0 or missing is a root.
    pub fn new(processes: impl IntoIterator<Item = Process>) -> Tree {
        let processes: BTreeMap<u32, Process> =
            processes.into_iter().map(|process| (process.status.pid, process)).collect();
        let mut tree = Tree { processes, children: BTreeMap::new() };
        for (&pid, process) in &tree.processes {
            let ppid = process.status.ppid;
            let parent = if tree.processes.contains_key(&ppid) && ppid != pid { ppid } else { 0 };
            tree.children.entry(parent).or_default().push(pid);
        }
        tree.cut_circles();
        tree
    }

    /// Makes one process of each cycle a root. A process that no root reaches is in a cycle or
    /// below one.
    fn cut_circles(&mut self) {
        let mut reached: BTreeSet<u32> = self.walk(self.roots()).map(|(_, pid)| pid).collect();
        while let Some(&pid) = self.processes.keys().find(|pid| !reached.contains(pid)) {
            for children in self.children.values_mut() {
                children.retain(|&child| child != pid);
            }
            reached.extend(self.walk(&[pid]).map(|(_, pid)| pid));
            let roots = self.children.entry(0).or_default();
            let at = roots.partition_point(|&root| root < pid);
            roots.insert(at, pid);
        }
    }

    /// Returns the process with this ID.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// Returns all processes, in ascending order of their IDs.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// Returns the processes without a parent, in ascending order.
    pub fn roots(&self) -> &[u32] {
        self.children(0)
    }

    /// Returns the children of a process, in ascending order. The children of 0 are the roots.
    pub fn children(&self, pid: u32) -> &[u32] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// Returns the processes `tops` and their descendants as pairs of depth and ID, a parent before
    /// its children.
    pub fn walk(&self, tops: &[u32]) -> impl Iterator<Item = (usize, u32)> {
        let mut stack: Vec<(usize, u32)> = tops.iter().rev().map(|&pid| (0, pid)).collect();
        std::iter::from_fn(move || {
            let (depth, pid) = stack.pop()?;
            stack.extend(self.children(pid).iter().rev().map(|&child| (depth + 1, child)));
            Some((depth, pid))
        })
    }
}

impl Proc {
    /// Reads all visible processes and their threads in one pass.
    ///
    /// Processes that end during the pass are left out. If a parent has ended, its child is read
    /// again for its new parent.
    ///
    /// # Errors
    ///
    /// An [`Error`] if /proc cannot be read, or if a process's status does not have
    /// the kernel's format.
    pub fn tree(&self) -> Result<Tree> {
        let pids = self.processes()?;
        let mut processes = self.read_all(&pids)?;
        let known: BTreeSet<u32> = processes.iter().map(|process| process.status.pid).collect();
        for process in &mut processes {
            let Status { pid, ppid, .. } = process.status;
            if ppid != 0 && !known.contains(&ppid) {
                if let Ok(status) = self.status(pid) {
                    process.status = status;
                }
            }
        }
        Ok(Tree::new(processes))
    }

    /// Reads these processes, with several threads if that is faster.
    fn read_all(&self, pids: &[u32]) -> Result<Vec<Process>> {
        /// Fewer processes are read faster than a thread starts.
        const A_THREAD_EACH: usize = 128;
        let read = |part: &[u32]| -> Result<Vec<Process>> {
            part.iter().filter_map(|&pid| self.process(pid).transpose()).collect()
        };
        let available = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (pids.len() / A_THREAD_EACH).min(available);
        if threads < 2 {
            return read(pids);
        }
        let parts = in_threads(pids, threads, read).into_iter();
        parts.collect::<Result<Vec<_>>>().map(|parts| parts.into_iter().flatten().collect())
    }

    /// Reads a process. Returns `None` if it has ended or is hidden.
    fn process(&self, pid: u32) -> Result<Option<Process>> {
        let Some(status) = seen(self.status(pid))? else { return Ok(None) };
        let mut threads = Vec::new();
        if status.threads > 1 {
            let tids = self.threads(pid).unwrap_or_default().into_iter();
            for tid in tids.filter(|&tid| tid != pid) {
                threads.extend(seen(self.thread_status(pid, tid))?);
            }
        }
        Ok(Some(Process { status, threads }))
    }
}

fn seen(status: Result<Status>) -> Result<Option<Status>> {
    match status {
        Err(Error::NoProcess { .. } | Error::Unreadable { .. }) => Ok(None),
        status => status.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn process((pid, ppid): (u32, u32)) -> Process {
        let text = format!(
            "Name:\tp{pid}\nState:\tS\nTgid:\t{pid}\nPid:\t{pid}\nPPid:\t{ppid}\n\
             Uid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t\nKthread:\t0\nThreads:\t1\n\
             CapInh:\t0\nCapPrm:\t0\nCapEff:\t0\nCapBnd:\t0\nCapAmb:\t0\n"
        );
        Process { status: Status::parse(text.as_bytes()).unwrap(), threads: Vec::new() }
    }

    fn tree(pairs: &[(u32, u32)]) -> Tree {
        Tree::new(pairs.iter().copied().map(process))
    }

    fn drawn(tree: &Tree) -> String {
        let line = |(depth, pid): (usize, u32)| format!("{:depth$}{pid}", "");
        tree.walk(tree.roots()).map(line).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn by_their_parents() {
        #[rustfmt::skip]
        let rows: &[(&[(u32, u32)], &str)] = &[
            (&[],                                           ""),
            (&[(1, 0)],                                     "1"),
            (&[(9, 1), (3, 1), (1, 0), (4, 3), (2, 0)],     "1\n 3\n  4\n 9\n2"),
            (&[(1, 0), (5, 4)],                             "1\n5"), // 4 has ended
            (&[(1, 0), (7, 7)],                             "1\n7"),
            (&[(1, 0), (4, 5), (5, 4), (6, 5)],             "1\n4\n 5\n  6"), // reused IDs
            (&[(2, 3), (3, 2), (8, 9), (9, 8)],             "2\n 3\n8\n 9"),
        ];
        for (pairs, want) in rows {
            assert_eq!(drawn(&tree(pairs)), *want, "{pairs:?}");
        }
    }

    #[test]
    fn a_chain_of_many() {
        let last = if cfg!(miri) { 19 } else { 29_999 };
        let pairs: Vec<_> = (1..=last).map(|pid| (pid, pid - 1)).collect();
        assert_eq!(tree(&pairs).walk(&[1]).last(), Some((last as usize - 1, last)));
    }

    proptest! {
        #[test]
        fn every_process_once(pairs in prop::collection::vec((1_u32..20, 0_u32..20), 0..20)) {
            let tree = tree(&pairs);
            let mut walked: Vec<_> = tree.walk(tree.roots()).map(|(_, pid)| pid).collect();
            walked.sort_unstable();
            prop_assert!(walked.iter().copied().eq(tree.processes().map(|one| one.status.pid)));
        }
    }
}
