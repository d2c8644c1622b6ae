//! User and group IDs, changed without losing the permitted set. (credentials(7), cap_setuid(3))
//!
//! In a process with several threads, the C library changes the IDs of all threads and aborts if
//! one of them fails, while securebits and capabilities belong to the calling thread. Use these
//! functions before the process starts threads.

use std::ffi::CString;

use nix::{
    errno::Errno,
    unistd::{self, Gid, Group, ResGid, Uid, User},
};

use crate::{
    Cap, CapSet, CapState, Error, Op, Result,
    proc::Ids,
    securebits::{self, Securebits},
    sys, threads,
};

/// The identity of a process: a user, a group and supplementary groups.
///
/// ```no_run
/// use rcap::identity::Identity;
///
/// Identity::of_user("nobody")?.apply()?;
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[expect(clippy::exhaustive_structs, reason = "a process has no other ids to set")]
pub struct Identity {
    /// The real, effective and saved user ID.
    pub uid: u32,
    /// The real, effective and saved group ID.
    pub gid: u32,
    /// The supplementary groups.
    pub groups: Vec<u32>,
}

impl Identity {
    /// Returns the user with this name, and the user's groups.
    ///
    /// # Errors
    ///
    /// [`Error::NoUser`], and an error of the user database.
    pub fn of_user(name: &str) -> Result<Identity> {
        let failed = |err| Op::LookUpUser.thread(err);
        let no_user = || Error::NoUser { name: name.to_owned() };
        let user = found(User::from_name(name)).map_err(failed)?.ok_or_else(no_user)?;
        let name = CString::new(user.name).map_err(|_| no_user())?;
        let groups = unistd::getgrouplist(&name, user.gid).map_err(failed)?;
        Ok(Identity {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
        })
    }

    /// Returns the user with this ID, and the user's groups. An ID that is not in the user database
    /// has the group 0 and no others, as in Docker.
    ///
    /// # Errors
    ///
    /// An error of the user database.
    pub fn of_uid(uid: u32) -> Result<Identity> {
        match user_name(uid) {
            Some(name) => Identity::of_user(&name),
            None => Ok(Identity { uid, gid: 0, groups: Vec::new() }),
        }
    }

    /// Changes the groups and then the user of the process, like [`set_groups`] and [`set_uid`].
    ///
    /// # Errors
    ///
    /// Those of [`set_groups`] and [`set_uid`]. The IDs do not change in case of an error.
    pub fn apply(&self) -> Result<()> {
        threads::ensure_single_threaded()?;
        self.change()
    }

    /// Changes the identity. The caller ensures that the process has one thread.
    pub(crate) fn change(&self) -> Result<()> {
        let before = Groups::current()?;
        change_groups(self.gid, &mut GroupList::new(&self.groups))
            .and_then(|()| change_uid(self.uid))
            .inspect_err(|_| before.restore())
    }
}

/// Returns `None` for an entry of a user database that does not exist, as in an empty root directory.
/// With musl, the file's absence is an error; glibc finds no entry.
fn found<T>(entry: nix::Result<Option<T>>) -> nix::Result<Option<T>> {
    match entry {
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        entry => entry,
    }
}

/// Returns the name of the user with this ID, if the user database has it.
pub fn user_name(uid: u32) -> Option<String> {
    User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name)
}

/// Returns the ID of the group with this name.
///
/// # Errors
///
/// [`Error::NoGroup`].
pub fn group_id(name: &str) -> Result<u32> {
    let group = Group::from_name(name).ok().flatten();
    group.map(|group| group.gid.as_raw()).ok_or_else(|| Error::NoGroup { name: name.to_owned() })
}

/// Returns the IDs and supplementary groups of the calling thread without /proc.
pub(crate) fn current() -> Result<(Ids, Ids, Vec<u32>)> {
    let failed = |err| Op::ReadIdentity.thread(err);
    // The ID -1 changes nothing, and the call returns the present ID in any case.
    let [uid, gid] = [
        unistd::setfsuid(Uid::from_raw(u32::MAX)).as_raw(),
        unistd::setfsgid(Gid::from_raw(u32::MAX)).as_raw(),
    ];
    let users = unistd::getresuid().map_err(failed)?;
    let Groups { gid: group, groups } = Groups::current()?;
    let ids =
        |[real, effective, saved]: [u32; 3], filesystem| Ids { real, effective, saved, filesystem };
    Ok((
        ids([users.real, users.effective, users.saved].map(Uid::as_raw), uid),
        ids([group.real, group.effective, group.saved].map(Gid::as_raw), gid),
        groups.into_iter().map(Gid::as_raw).collect(),
    ))
}

/// Sets the real, effective and saved user ID. The permitted set is preserved.
///
/// Afterwards, the effective set is empty and keep-caps is off. For a non-root user, the ambient
/// set is empty too, unless the securebit no-setuid-fixup is set. `CAP_SETUID` is raised for the
/// call.
///
/// # Errors
///
/// `EPERM` if `CAP_SETUID` is not permitted, or if the permitted set would be lost because the
/// securebit keep-caps is locked. `EINVAL` if the ID is not mapped in the user namespace.
/// [`Error::Threads`] if the process has several threads. The IDs do not change in these cases.
/// `ENOTRECOVERABLE` if the kernel reports success and the IDs differ.
#[doc(alias("cap_setuid", "setresuid"))]
pub fn set_uid(uid: u32) -> Result<()> {
    threads::ensure_single_threaded()?;
    change_uid(uid)
}

/// Sets the real, effective and saved group ID, and the supplementary groups. `CAP_SETGID` is
/// raised for the calls.
///
/// # Errors
///
/// `EPERM` if `CAP_SETGID` is not permitted, or if the user namespace denies setgroups(2). `EINVAL`
/// if an ID is not mapped in the user namespace, or if there are more groups than the kernel
/// supports. [`Error::Threads`] if the process has several threads. The IDs do not change in these
/// cases. `ENOTRECOVERABLE` if the kernel reports success and the IDs differ.
#[doc(alias("cap_setgroups", "setresgid", "setgroups"))]
pub fn set_groups(gid: u32, groups: &[u32]) -> Result<()> {
    threads::ensure_single_threaded()?;
    let before = Groups::current()?;
    change_groups(gid, &mut GroupList::new(groups)).inspect_err(|_| before.restore())
}

/// Implements [`set_uid`] without allocating memory, which is not possible between fork and exec.
pub(crate) fn change_uid(uid: u32) -> Result<()> {
    valid(uid, Op::SetUid)?;
    let ids = || {
        let ids = unistd::getresuid().map_err(|err| Op::ReadIdentity.thread(err))?;
        Result::Ok([ids.real, ids.effective, ids.saved].map(Uid::as_raw))
    };
    let bits = securebits::current()?;
    let loses = ids()?.contains(&0)
        && uid != 0
        && !bits.intersects(Securebits::KEEP_CAPS | Securebits::NO_SETUID_FIXUP);
    Op::SetUid.with_raised(Cap::SETUID, || {
        if loses {
            securebits::set_keep_caps(true)?;
        }
        let id = Uid::from_raw(uid);
        let result = unistd::setresuid(id, id, id).map_err(|err| Op::SetUid.thread(err));
        if !bits.contains(Securebits::KEEP_CAPS_LOCKED) {
            securebits::set_keep_caps(result.is_err() && bits.contains(Securebits::KEEP_CAPS))?;
        }
        result
    })?;
    CapState { effective: CapSet::empty(), ..CapState::current()? }.apply()?;
    verified(ids()? == [uid; 3], Op::SetUid)
}

/// Supplementary groups in ascending order, and memory to read back one more than that.
#[derive(Clone, Debug)]
pub(crate) struct GroupList {
    groups: Vec<Gid>,
    read: Vec<u32>,
}

impl GroupList {
    pub(crate) fn new(groups: &[u32]) -> GroupList {
        let mut groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
        groups.sort_unstable_by_key(|gid| gid.as_raw());
        GroupList { read: vec![0; groups.len() + 1], groups }
    }
}

/// Implements [`set_groups`] without allocating memory, and without undoing a partial change.
pub(crate) fn change_groups(gid: u32, list: &mut GroupList) -> Result<()> {
    valid(gid, Op::SetGid)?;
    let id = Gid::from_raw(gid);
    Op::SetGid.with_raised(Cap::SETGID, || {
        unistd::setresgid(id, id, id).map_err(|err| Op::SetGid.thread(err))?;
        unistd::setgroups(&list.groups).map_err(|err| Op::SetGroups.thread(err))
    })?;
    let failed = |err| Op::ReadIdentity.thread(err);
    let ids = unistd::getresgid().map_err(|err| failed(err.into()))?;
    verified([ids.real, ids.effective, ids.saved] == [id; 3], Op::SetGid)?;
    let count = sys::getgroups(&mut list.read).map_err(failed)?;
    let groups = list.read.get_mut(..count).unwrap_or_default();
    groups.sort_unstable();
    verified(groups.iter().copied().eq(list.groups.iter().map(|gid| gid.as_raw())), Op::SetGroups)
}

/// Calls setuid(2) without raising capabilities.
#[cfg(feature = "cli")]
pub(crate) fn setuid(uid: u32) -> Result<()> {
    unistd::setuid(Uid::from_raw(uid)).map_err(|err| Op::SetUid.thread(err))
}

/// Calls setgid(2) without raising capabilities.
#[cfg(feature = "cli")]
pub(crate) fn setgid(gid: u32) -> Result<()> {
    unistd::setgid(Gid::from_raw(gid)).map_err(|err| Op::SetGid.thread(err))
}

/// Calls setgroups(2) without raising capabilities.
#[cfg(feature = "cli")]
pub(crate) fn setgroups(groups: &[u32]) -> Result<()> {
    unistd::setgroups(&GroupList::new(groups).groups).map_err(|err| Op::SetGroups.thread(err))
}

/// Rejects -1, which would leave an ID unchanged.
fn valid(id: u32, op: Op) -> Result<()> {
    if id == u32::MAX { Err(op.thread(Errno::EINVAL)) } else { Ok(()) }
}

fn verified(holds: bool, op: Op) -> Result<()> {
    if holds { Ok(()) } else { Err(op.thread(Errno::ENOTRECOVERABLE)) }
}

/// The groups of the process, to be restored after an error.
struct Groups {
    gid: ResGid,
    groups: Vec<Gid>,
}

impl Groups {
    fn current() -> Result<Groups> {
        let failed = |err| Op::ReadIdentity.thread(err);
        let gid = unistd::getresgid().map_err(failed)?;
        Ok(Groups { gid, groups: unistd::getgroups().map_err(failed)? })
    }

    /// Restores the groups if possible. Another error is being reported already.
    fn restore(&self) {
        let ResGid { real, effective, saved } = self.gid;
        let _ = CapState::with_raised(Cap::SETGID, || {
            let _ = unistd::setresgid(real, effective, saved);
            let _ = unistd::setgroups(&self.groups);
            Result::Ok(())
        });
    }
}
