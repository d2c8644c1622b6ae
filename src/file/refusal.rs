//! Why the kernel refuses to change the capabilities of a file: its rules as a pure function.
//! (`vfs_setxattr`, `xattr_permission` and `cap_convert_nscap` of fs/xattr.c and
//! security/commoncap.c)

use std::fmt;

use nix::errno::Errno;

use super::FileCaps;
use crate::proc::own;

/// Why the capabilities of a file are not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// Only a regular file can have capabilities.
    NotRegular(FileKind),
    /// Its file system is mounted read-only.
    ReadOnly,
    /// The file has the immutable or the append-only flag. (chattr(1))
    Immutable,
    /// Its file system has no security attributes.
    NoAttributes(Option<Mount>),
    /// The root id of the capabilities has no counterpart outside this user namespace.
    UnmappedRootid(u32),
    /// `CAP_SETFCAP` is not effective.
    NoSetfcap,
    /// The owner or the group of the file has no id in this user namespace, so that no capability
    /// in it reaches the file.
    UnmappedOwner,
}

/// What a file is that is not a regular one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the names say it")]
pub enum FileKind {
    Directory,
    SymbolicLink,
    Fifo,
    Socket,
    Device,
}

/// A file system, and where it is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mount {
    /// Its type, such as `nfs4`.
    pub fs: String,
    /// The directory that it is mounted on.
    pub on: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::NotRegular(kind) => {
                let what = match kind {
                    FileKind::Directory => "a directory",
                    FileKind::SymbolicLink => "a symbolic link, which is not followed",
                    FileKind::Fifo => "a FIFO",
                    FileKind::Socket => "a socket",
                    FileKind::Device => "a device",
                };
                write!(f, "only a regular file can have capabilities, and it is {what}")
            }
            Refusal::ReadOnly => f.write_str("it is on a file system that is mounted read-only"),
            Refusal::Immutable => {
                f.write_str("it has the immutable or the append-only flag (see lsattr)")
            }
            Refusal::NoAttributes(Some(Mount { fs, on })) => write!(
                f,
                "the file system {fs} on {on} has no security attributes, and capabilities are one"
            ),
            Refusal::NoAttributes(None) => {
                f.write_str("its file system has no security attributes, and capabilities are one")
            }
            Refusal::UnmappedRootid(rootid) => {
                write!(f, "the root id {rootid} is not mapped in this user namespace")
            }
            Refusal::NoSetfcap => f.write_str("setting capabilities takes CAP_SETFCAP"),
            Refusal::UnmappedOwner => f.write_str(
                "its owner or group has no id in this user namespace, where alone CAP_SETFCAP counts",
            ),
        }
    }
}

/// All that the answer depends on.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Facts {
    pub(super) read_only: bool,
    pub(super) immutable: bool,
    pub(super) attributes: bool,
    pub(super) mount: Option<Mount>,
    pub(super) setfcap: bool,
    pub(super) owner_mapped: bool,
    pub(super) uids: IdMap,
}

impl Facts {
    /// Why it is refused to give the file these capabilities, or with `None` to remove them: the
    /// reason that the kernel comes upon first, or with `errno` the first that has it.
    pub(super) fn refusal(&self, caps: Option<&FileCaps>, errno: Option<Errno>) -> Option<Refusal> {
        let rootid = caps.and_then(|caps| caps.rootid).filter(|&rootid| !self.uids.has(rootid));
        let reasons = [
            (Errno::EROFS, self.read_only, Refusal::ReadOnly),
            (Errno::EPERM, self.immutable, Refusal::Immutable),
            (Errno::EINVAL, rootid.is_some(), Refusal::UnmappedRootid(rootid.unwrap_or_default())),
            (Errno::EPERM, !self.setfcap, Refusal::NoSetfcap),
            (Errno::EPERM, !self.owner_mapped, Refusal::UnmappedOwner),
            (Errno::ENOTSUP, !self.attributes, Refusal::NoAttributes(self.mount.clone())),
        ];
        let first = reasons
            .into_iter()
            .find(|(number, holds, _)| *holds && errno.is_none_or(|errno| errno == *number));
        first.map(|(_, _, refusal)| refusal)
    }
}

/// The ids that a user namespace has: `/proc/self/uid_map` or `gid_map`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMap(Vec<Range>);

/// Ids that follow one another, inside and outside of the namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    inside: u32,
    outside: u32,
    count: u32,
}

impl IdMap {
    /// That of the calling thread's users.
    pub(crate) fn of_users() -> IdMap {
        IdMap::read("uid_map")
    }

    /// That of its groups.
    pub(crate) fn of_groups() -> IdMap {
        IdMap::read("gid_map")
    }

    /// Without /proc, all that there are.
    fn read(name: &str) -> IdMap {
        let all = |_| format!("0 0 {}", u32::MAX);
        IdMap::parse(&own::read(name).unwrap_or_else(all))
    }

    /// Lines of the first id inside, the first id outside, and how many.
    fn parse(text: &str) -> IdMap {
        let range = |line: &str| {
            let mut numbers = line.split_ascii_whitespace().map(|number| number.parse().ok());
            let mut number = || numbers.next().flatten();
            Some(Range { inside: number()?, outside: number()?, count: number()? })
        };
        IdMap(text.lines().filter_map(range).collect())
    }

    pub(crate) fn has(&self, id: u32) -> bool {
        self.outside(id).is_some()
    }

    /// Whether what is shown as this id has, as far as one can tell, none in the namespace: it is
    /// shown as the overflow id, which the namespace may have as well.
    pub(crate) fn lacks(&self, id: u32) -> bool {
        const OVERFLOW: u32 = 65534;
        let is_initial = self.0.iter().any(|range| range.count == u32::MAX);
        !self.has(id) || (id == OVERFLOW && !is_initial)
    }

    /// The id that it has outside.
    pub(crate) fn outside(&self, id: u32) -> Option<u32> {
        self.0.iter().find_map(|range| {
            let nth = id.checked_sub(range.inside).filter(|nth| *nth < range.count)?;
            range.outside.checked_add(nth)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: &str = "         0          0 4294967295\n";

    #[test]
    fn id_maps() {
        let initial = IdMap::parse(INITIAL);
        assert!(initial.has(0) && initial.has(4_294_967_294) && !initial.has(u32::MAX));
        let two = IdMap::parse("0 1000 1\n1 100000 65536\n");
        assert!(two.has(0) && two.has(65536) && !two.has(65537));
        assert!(!initial.lacks(65534) && two.lacks(65534) && two.lacks(70000) && !two.lacks(1));
        assert_eq!([0, 2, 65537].map(|id| two.outside(id)), [Some(1000), Some(100_001), None]);
        let none = IdMap::parse("");
        assert!(!none.has(0));
        assert_eq!(IdMap::parse("0 0\nx 0 1\n7 7 -1\n"), none);
    }

    #[test]
    fn the_first_reason() {
        let fine = Facts {
            read_only: false,
            immutable: false,
            attributes: true,
            mount: None,
            setfcap: true,
            owner_mapped: true,
            uids: IdMap::parse(INITIAL),
        };
        let foreign = Facts { uids: IdMap::parse("0 1000 1"), ..fine.clone() };
        let rootid = FileCaps { rootid: Some(7), ..FileCaps::EMPTY };
        let read_only = Facts { read_only: true, setfcap: false, ..fine.clone() };
        let immutable = Facts { immutable: true, setfcap: false, ..fine.clone() };
        let weak = Facts { setfcap: false, owner_mapped: false, ..fine.clone() };
        let owner = Facts { owner_mapped: false, ..fine.clone() };
        let none = Facts { attributes: false, ..fine.clone() };
        let set = Some(&FileCaps::EMPTY);
        #[rustfmt::skip]
        let rows = [
            (&fine,      set,           None,                None),
            (&fine,      Some(&rootid), None,                None),
            (&fine,      set,           Some(Errno::EPERM),  None), // a security module, say
            (&fine,      set,           Some(Errno::ENOSPC), None),
            (&read_only, set,           None,                Some(Refusal::ReadOnly)),
            (&read_only, set,           Some(Errno::EROFS),  Some(Refusal::ReadOnly)),
            (&read_only, set,           Some(Errno::EPERM),  Some(Refusal::NoSetfcap)),
            (&immutable, set,           Some(Errno::EPERM),  Some(Refusal::Immutable)),
            (&immutable, None,          None,                Some(Refusal::Immutable)),
            (&foreign,   set,           None,                None),
            (&foreign,   Some(&rootid), None,                Some(Refusal::UnmappedRootid(7))),
            (&foreign,   Some(&rootid), Some(Errno::EINVAL), Some(Refusal::UnmappedRootid(7))),
            (&foreign,   None,          Some(Errno::EINVAL), None),
            (&weak,      set,           Some(Errno::EPERM),  Some(Refusal::NoSetfcap)),
            (&owner,     set,           Some(Errno::EPERM),  Some(Refusal::UnmappedOwner)),
            (&none,      set,           None,                Some(Refusal::NoAttributes(None))),
            (&none,      set,           Some(Errno::ENOTSUP), Some(Refusal::NoAttributes(None))),
        ];
        for (facts, caps, errno, want) in rows {
            assert_eq!(facts.refusal(caps, errno), want, "{facts:?} {caps:?} {errno:?}");
        }
    }
}
