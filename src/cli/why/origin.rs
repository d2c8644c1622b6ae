//! Where the sets of a running process come from, as far as they still show it.

use std::{fs, path::PathBuf};

use crate::{
    CapSet,
    exec::{File, Kernel, Outcome, Process, Program, execute},
    securebits::Securebits,
};

/// What there is to say of a process.
pub(super) struct Origin {
    /// The file that it executes.
    pub(super) program: Option<PathBuf>,
    /// Capabilities of its permitted set, and what explains them.
    pub(super) has: Vec<(CapSet, String)>,
    /// Those that it lacks, and could have.
    pub(super) lacks: Vec<(CapSet, String)>,
    /// What an ordinary program would have that it executes.
    pub(super) children: Option<Outcome>,
}

impl Origin {
    pub(super) fn of(pid: u32, process: &Process) -> Origin {
        let path = PathBuf::from(format!("/proc/{pid}/exe"));
        let file = Program::open(&path).ok().map(|program| program.executed().file);
        Origin {
            program: fs::read_link(&path).ok(),
            has: has(process, file.as_ref()),
            lacks: lacks(process),
            children: execute(process, &File::default(), Kernel::running()).ok(),
        }
    }
}

fn is_root(process: &Process) -> bool {
    !process.securebits.contains(Securebits::NOROOT)
        && [process.uid.real, process.uid.effective, process.uid.saved].contains(&0)
}

fn has(process: &Process, file: Option<&File>) -> Vec<(CapSet, String)> {
    let mut rest = process.caps.permitted;
    let mut has = Vec::new();
    let mut take = |caps: CapSet, words: &str| {
        let caps = rest & caps;
        rest -= caps;
        if !caps.is_empty() {
            has.push((caps, words.to_owned()));
        }
    };
    take(process.ambient, "ambient: handed down by who started it, and by it to whom it starts");
    let own = file.and_then(|file| file.caps).unwrap_or_default();
    take(own.permitted, "its file gives it");
    take(own.inheritable & process.caps.inheritable, "its file passes on what is inheritable");
    if is_root(process) {
        take(process.bounding, "user 0 is given the bounding set");
        take(process.caps.inheritable, "user 0 is given the inheritable set");
        take(CapSet::all(), "it had it before its bounding set was made smaller");
    }
    take(CapSet::all(), "it had it before it changed its user, or was given it by a launcher");
    has
}

fn lacks(process: &Process) -> Vec<(CapSet, String)> {
    let supported = CapSet::supported();
    let mut lacks = Vec::new();
    let mut say = |caps: CapSet, words: &str| {
        if !caps.is_empty() {
            lacks.push((caps, words.to_owned()));
        }
    };
    say(
        supported - process.bounding,
        "not in its bounding set: no program that it executes can have it from its file or as root",
    );
    if is_root(process) {
        say(process.bounding - process.caps.permitted, "given up by the process itself");
    }
    say(
        process.caps.permitted - process.caps.effective,
        "permitted and not effective: it has it when it raises it",
    );
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cap, CapState, file::FileCaps};

    const RAW: CapSet = CapSet::of(&[Cap::NET_RAW]);

    #[test]
    fn each_source() {
        let having = |permitted: CapSet| Process {
            caps: CapState { effective: permitted, permitted, inheritable: CapSet::empty() },
            ..Process::of_user(1000, 1000)
        };
        let caps = FileCaps { permitted: RAW, effective: true, ..FileCaps::EMPTY };
        let file = File { caps: Some(caps), ..File::default() };
        let root = Process { uid: Process::of_user(0, 0).uid, ..having(CapSet::NAMED) };
        let ambient = Process { ambient: RAW, ..having(RAW) };
        #[rustfmt::skip]
        let rows = [
            (ambient,                      None,        "ambient"),
            (having(RAW),                  Some(&file), "its file"),
            (having(RAW),                  None,        "it had it before"),
            (root,                         None,        "user 0"),
        ];
        for (process, file, words) in rows {
            let has = has(&process, file);
            assert_eq!(has.len(), 1, "{words}: {has:?}");
            assert!(has[0].1.starts_with(words), "{has:?}");
        }
        assert!(has(&having(CapSet::empty()), Some(&file)).is_empty());
    }
}
