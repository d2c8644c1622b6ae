//! Processes and their threads as a tree.

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZero,
    thread,
};

use super::{Proc, Status};
use crate::{Error, Result};

/// A process in a [`Tree`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its first thread, which is what its process id names.
    pub status: Status,
    /// Its other threads, in ascending order of their ids.
    pub threads: Vec<Status>,
}

impl Process {
    /// Returns a process with the status of its first thread and those of its other threads.
    pub fn new(status: Status, threads: Vec<Status>) -> Process {
        Process { status, threads }
    }
}

/// Processes by their parents, as they were while /proc was read once.
///
/// What the parent of a process is can change meanwhile, and ids can be used again. However that
/// may be, every process is in the tree once, and none is its own ancestor.
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
    /// By the parent; those without one under 0.
    children: BTreeMap<u32, Vec<u32>>,
}

impl Tree {
    /// The tree of these processes. One whose parent is not among them is a root, as is one whose
    /// parent is 0.
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

    /// Makes a root of one process in each circle: what no root leads to is in one or behind it.
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

    /// The process with this id.
    pub fn get(&self, pid: u32) -> Option<&Process> {
        self.processes.get(&pid)
    }

    /// Every process, in ascending order of their ids.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.processes.values()
    }

    /// The processes without a parent, in ascending order.
    pub fn roots(&self) -> &[u32] {
        self.children(0)
    }

    /// The children of a process, in ascending order. Those of 0 are the roots.
    pub fn children(&self, pid: u32) -> &[u32] {
        self.children.get(&pid).map_or(&[], Vec::as_slice)
    }

    /// The process `top` and what descends from each: the number of steps below it, and the id,
    /// a process before its children.
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
    /// All processes that may be seen, and their threads, in one pass.
    ///
    /// What ends meanwhile is not there. A process whose parent has ended meanwhile is asked once
    /// more who its parent is.
    ///
    /// # Errors
    ///
    /// /proc cannot be read, or has a process that is not what the kernel writes there.
    pub fn tree(&self) -> Result<Tree> {
        let pids = self.processes()?;
        let mut processes = self.read_all(&pids)?;
        let known: BTreeSet<u32> = processes.iter().map(|process| process.status.pid).collect();
        for process in &mut processes {
            let Status { pid, ppid, .. } = process.status;
            if ppid != 0
                && !known.contains(&ppid)
                && let Ok(status) = self.status(pid)
            {
                process.status = status;
            }
        }
        Ok(Tree::new(processes))
    }

    /// The processes of these ids, in several threads where that pays.
    fn read_all(&self, pids: &[u32]) -> Result<Vec<Process>> {
        /// Fewer are read sooner than a thread is started.
        const A_THREAD_EACH: usize = 128;
        let read = |part: &[u32]| -> Result<Vec<Process>> {
            part.iter().filter_map(|&pid| self.process(pid).transpose()).collect()
        };
        let available = thread::available_parallelism().map_or(1, NonZero::get);
        let threads = (pids.len() / A_THREAD_EACH).min(available);
        if threads < 2 {
            return read(pids);
        }
        let parts = pids.chunks(pids.len().div_ceil(threads));
        thread::scope(|scope| {
            let readers: Vec<_> = parts.map(|part| scope.spawn(move || read(part))).collect();
            let results = readers.into_iter().map(|reader| reader.join().unwrap_or(Ok(Vec::new())));
            results.collect::<Result<Vec<_>>>().map(|parts| parts.into_iter().flatten().collect())
        })
    }

    /// `None` if it has ended, or may not be seen.
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
            (&[(1, 0), (5, 4)],                             "1\n5"),        // 4 has ended
            (&[(1, 0), (7, 7)],                             "1\n7"),
            (&[(1, 0), (4, 5), (5, 4), (6, 5)],             "1\n4\n 5\n  6"), // ids used again
            (&[(2, 3), (3, 2), (8, 9), (9, 8)],             "2\n 3\n8\n 9"),
        ];
        for (pairs, want) in rows {
            assert_eq!(drawn(&tree(pairs)), *want, "{pairs:?}");
        }
    }

    #[test]
    fn a_chain_of_many() {
        let pairs: Vec<_> = (1..30_000).map(|pid| (pid, pid - 1)).collect();
        assert_eq!(tree(&pairs).walk(&[1]).last(), Some((29_998, 29_999)));
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
