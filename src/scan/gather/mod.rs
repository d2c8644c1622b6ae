//! The edge of the scan: everything that looks at the machine.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{Host, Inventory, Unread, encode, now, time::seconds};
use crate::{CapSet, bounding, error::chain};

mod cgroup;
mod files;
mod packages;
mod processes;
mod sockets;
mod users;

pub(super) use users::Names;

/// The parts of the machine that a scan covers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Sources {
    /// The directories and files that are searched.
    pub paths: Vec<PathBuf>,
    /// The root directory of another system, with users of its own, below which `paths` are.
    pub root: Option<PathBuf>,
    /// Whether other file systems than those of `paths` are left out.
    pub one_file_system: bool,
    /// Patterns of what is left out. (fnmatch(3))
    pub exclude: Vec<OsString>,
    /// How many threads search; 0 is one for each processor, at most 8.
    pub threads: usize,
    /// Whether processes and sockets are listed.
    pub processes: bool,
    /// Whether dpkg or rpm is asked about each file.
    pub packages: bool,
}

impl Sources {
    /// Returns a scan of the whole machine.
    pub fn machine() -> Sources {
        Sources { processes: true, ..Sources::of_paths(vec!["/".into()]) }
    }

    /// Returns a scan of files alone.
    pub fn of_paths(paths: impl Into<Vec<PathBuf>>) -> Sources {
        Sources {
            paths: paths.into(),
            root: None,
            one_file_system: false,
            exclude: Vec::new(),
            threads: 0,
            processes: false,
            packages: false,
        }
    }

    /// Returns a scan of an unpacked system.
    pub fn of_root(root: impl Into<PathBuf>) -> Sources {
        Sources { root: Some(root.into()), ..Sources::of_paths(vec!["/".into()]) }
    }
}

/// Collects the facts about everything that `sources` names. Files and processes that cannot be
/// read are in [`Inventory::unread`].
pub fn gather(sources: &Sources) -> Inventory {
    let mut inventory = Inventory {
        host: host(sources.root.as_deref()),
        bounding: match sources.root {
            // It says nothing of the machine that the directory belongs to.
            Some(_) => CapSet::all(),
            None => bounding::current().unwrap_or(CapSet::all()),
        },
        supported: CapSet::supported(),
        ..Inventory::default()
    };
    let mut names = match &sources.root {
        Some(root) => Names::of_root(root),
        None => Names::of_machine(),
    };
    if sources.processes {
        processes::gather(&mut inventory, &mut names);
    }
    files::gather(sources, &mut inventory, &mut names);
    if sources.packages {
        packages::gather(sources, &mut inventory);
    }
    inventory.unread.sort();
    inventory.unread.dedup();
    inventory
}

/// Returns the machine's name and kernel, or the directory in the place of the name.
fn host(root: Option<&Path>) -> Host {
    let uname = nix::sys::utsname::uname().ok();
    let text = |part: Option<&std::ffi::OsStr>| part.map(encode).unwrap_or_default();
    Host {
        name: match root {
            Some(root) => encode(root),
            None => text(uname.as_ref().map(nix::sys::utsname::UtsName::nodename)),
        },
        kernel: text(uname.as_ref().map(nix::sys::utsname::UtsName::release)),
        time: now(),
        seconds: seconds(),
    }
}

/// Returns the entry for something that could not be looked at.
fn unread(subject: impl AsRef<std::ffi::OsStr>, err: &dyn std::error::Error) -> Unread {
    Unread { subject: encode(subject), reason: chain(err) }
}
