//! The kernel's reasons for refusing to change a file's capabilities, as a pure function.
//! (`vfs_setxattr`, `xattr_permission` and `cap_convert_nscap` of fs/xattr.c and
//! security/commoncap.c)

use nix::errno::Errno;

use super::FileCaps;
use crate::{
    error::{Mount, Refusal},
    proc::IdMap,
};

/// The facts that determine the answer.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct WriteFacts {
    pub(super) read_only: bool,
    pub(super) immutable: bool,
    pub(super) attributes: bool,
    pub(super) mount: Option<Mount>,
    pub(super) setfcap: bool,
    pub(super) owner_mapped: bool,
    pub(super) uids: IdMap,
}

impl WriteFacts {
    /// Returns the reason for which these capabilities cannot be set, or removed for `None`. It is
    /// the first reason that the kernel checks, or the first one that results in `errno`.
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

#[cfg(test)]
mod tests {
    use super::*;

    const INITIAL: &str = "         0          0 4294967295\n";

    #[test]
    fn the_first_reason() {
        let fine = WriteFacts {
            read_only: false,
            immutable: false,
            attributes: true,
            mount: None,
            setfcap: true,
            owner_mapped: true,
            uids: IdMap::parse(INITIAL),
        };
        let foreign = WriteFacts { uids: IdMap::parse("0 1000 1"), ..fine.clone() };
        let rootid = FileCaps { rootid: Some(7), ..FileCaps::EMPTY };
        let read_only = WriteFacts { read_only: true, setfcap: false, ..fine.clone() };
        let immutable = WriteFacts { immutable: true, setfcap: false, ..fine.clone() };
        let weak = WriteFacts { setfcap: false, owner_mapped: false, ..fine.clone() };
        let owner = WriteFacts { owner_mapped: false, ..fine.clone() };
        let none = WriteFacts { attributes: false, ..fine.clone() };
        let set = Some(&FileCaps::EMPTY);
        #[rustfmt::skip]
        let rows = [
            (&fine,      set,           None,                None),
            (&fine,      Some(&rootid), None,                None),
            (&fine,      set,           Some(Errno::EPERM),  None), // for example a security module
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
