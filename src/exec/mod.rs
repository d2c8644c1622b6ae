//! The kernel's rules of execve(2) as a function over values: the privileges of a process and the
//! facts about a file in, the new privileges and the rule behind each change out.
//!
//! ```
//! use rcap::{Cap, exec::{self, Credentials, FileFacts, Kernel, Rule}, file::FileCaps};
//!
//! // An unprivileged user executes a file with a capability while no_new_privs is set.
//! let mut user = Credentials::of_user(1000, 1000);
//! user.no_new_privs = true;
//! let caps = FileCaps { permitted: Cap::NET_RAW.into(), effective: true, ..FileCaps::EMPTY };
//!
//! let outcome = exec::execute(&user, &FileFacts::with_caps(caps), Kernel::LATEST)?;
//! assert!(outcome.after.caps.permitted.is_empty());
//! assert_eq!(outcome.changes[0].caps, Cap::NET_RAW.into());
//! assert_eq!(outcome.changes[0].rule, Rule::NoNewPrivs);
//! # Ok::<(), exec::ExecError>(())
//! ```
//!
//! The rules follow `begin_new_exec` of fs/exec.c and `cap_bprm_creds_from_file` of
//! security/commoncap.c. (capabilities(7), "Transformation of capabilities during execve()")
//! Not covered are security modules (SELinux and AppArmor can change the result), a tracer or
//! another process with the same working directory (`CLONE_FS`), both of which limit it, and
//! interpreters that are registered with binfmt_misc.

#![warn(clippy::exhaustive_structs, clippy::exhaustive_enums)]

use std::{error, fmt, io};

use nix::errno::Errno;

use crate::{
    CapSet, CapState, Result, ambient, bounding,
    file::FileCaps,
    identity, no_new_privs,
    proc::{Ids, Status},
    securebits::{self, Securebits},
};

mod change;
pub mod origin;
mod program;
mod rules;
#[cfg(test)]
mod tests;

pub use change::{Change, Effect, Rule, Set};
pub use program::{Program, ProgramFile};
pub use rules::execute;

/// The attributes of a process that execve(2) reads and changes. (credentials(7))
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The user ids.
    pub uid: Ids,
    /// The group ids.
    pub gid: Ids,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The effective, permitted and inheritable sets.
    pub caps: CapState,
    /// The bounding set.
    pub bounding: CapSet,
    /// The ambient set. The kernel keeps it within the permitted and the inheritable set.
    pub ambient: CapSet,
    /// The securebits.
    pub securebits: Securebits,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
}

impl Credentials {
    /// Returns those of the calling thread.
    ///
    /// # Errors
    ///
    /// Only where a sandbox forbids a call. /proc is not read: it may be another PID namespace's.
    pub fn current() -> Result<Credentials> {
        let (uid, gid, groups) = identity::current()?;
        Ok(Credentials {
            uid,
            gid,
            groups,
            caps: CapState::current()?,
            bounding: bounding::current()?,
            ambient: ambient::current()?,
            securebits: securebits::current()?,
            no_new_privs: no_new_privs::is_set()?,
        })
    }

    /// Returns those of another process or thread. The kernel reports securebits to nobody but the
    /// thread itself, so `securebits` is what the caller knows or assumes.
    pub fn of(status: &Status, securebits: Securebits) -> Credentials {
        Credentials {
            uid: status.uid,
            gid: status.gid,
            groups: status.groups.clone(),
            caps: status.caps,
            bounding: status.bounding,
            ambient: status.ambient,
            securebits,
            no_new_privs: status.no_new_privs.unwrap_or(false),
        }
    }

    /// Returns those of an ordinary login: no supplementary groups, no capabilities, and every
    /// named capability in the bounding set. Also for user 0, no set but the bounding one is
    /// filled.
    pub const fn of_user(uid: u32, gid: u32) -> Credentials {
        Credentials {
            uid: Ids::same(uid),
            gid: Ids::same(gid),
            groups: Vec::new(),
            caps: CapState::EMPTY,
            bounding: CapSet::NAMED,
            ambient: CapSet::empty(),
            securebits: Securebits::empty(),
            no_new_privs: false,
        }
    }

    fn is_user_0(&self) -> bool {
        self.uid.real == 0 || self.uid.effective == 0
    }

    fn is_in_group(&self, gid: u32) -> bool {
        self.gid.filesystem == gid || self.groups.contains(&gid)
    }
}

/// The facts about a file that decide what executing it yields. For a script, they are those of
/// its last interpreter: see [`Program::executed`].
///
/// The default is an ordinary file: no capabilities and no set-user-ID or set-group-ID bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFacts {
    /// The capabilities of the file.
    pub caps: Option<FileCaps>,
    /// Whether the root id of the capabilities belongs to another user namespace.
    pub is_foreign: bool,
    /// The owner, if the file has the set-user-ID bit.
    pub set_uid: Option<u32>,
    /// The group, if the file has the set-group-ID bit and its group may execute it.
    pub set_gid: Option<u32>,
    /// Whether the owner or the group has no id in the user namespace of the process.
    pub is_unmapped: bool,
    /// Whether the file is on a mount with the option nosuid, or of another user namespace.
    pub is_nosuid: bool,
}

impl FileFacts {
    /// Returns the facts about a file that has `caps` and is ordinary otherwise.
    pub fn with_caps(caps: FileCaps) -> FileFacts {
        FileFacts { caps: Some(caps), ..FileFacts::default() }
    }
}

/// The differences between kernels that matter to execve(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kernel {
    /// The capabilities that the kernel has.
    pub caps: CapSet,
    /// Whether an effective id that differs from the real one counts as changed by the execution,
    /// whoever changed it, as before Linux 6.17.
    pub compares_with_real_ids: bool,
}

impl Kernel {
    /// The rules since Linux 6.17, and every capability that this crate has a name for.
    pub const LATEST: Kernel = Kernel { caps: CapSet::NAMED, compares_with_real_ids: false };

    /// Returns the running kernel, by its version and the capabilities it supports.
    ///
    /// The rules are tested on Linux 6.18. Those of older versions follow their sources.
    pub fn running() -> Kernel {
        let release = nix::sys::utsname::uname();
        let release = release.map(|name| name.release().to_string_lossy().into_owned());
        Kernel {
            caps: CapSet::supported(),
            compares_with_real_ids: release.is_ok_and(|release| is_before(&release, (6, 17))),
        }
    }
}

/// Returns whether a release such as `6.1.0-49-amd64` is older than a version.
fn is_before(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    (number(), number()) < version
}

/// The reason why execve(2) fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExecError {
    /// The file has the effective bit, and the bounding set lacks these capabilities of its
    /// permitted set. (`EPERM`, from `bprm_caps_from_vfs_caps`)
    OutsideOfBounding(CapSet),
}

impl ExecError {
    /// Returns the errno that execve(2) fails with.
    pub const fn raw_os_error(self) -> i32 {
        match self {
            ExecError::OutsideOfBounding(_) => Errno::EPERM as i32,
        }
    }
}

impl fmt::Display for ExecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExecError::OutsideOfBounding(caps) => {
                write!(f, "its file demands {caps}, which the bounding set lacks")
            }
        }
    }
}

impl error::Error for ExecError {}

/// The kind is that of the errno; the text is that of this error.
impl From<ExecError> for io::Error {
    fn from(err: ExecError) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(err.raw_os_error()).kind(), err)
    }
}

/// The result of executing a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The process with the new program.
    pub after: Credentials,
    /// Whether the program is told to distrust its environment (`AT_SECURE`): the dynamic linker
    /// then ignores `LD_LIBRARY_PATH` and `LD_PRELOAD`. (getauxval(3), ld.so(8))
    pub is_secure: bool,
    /// The capabilities that the permitted, effective and ambient sets gained and lost, and those
    /// that were withheld, each with the rule behind it. No capability of a set is in two of them.
    ///
    /// One that was effective and is no longer permitted is lost from the permitted set alone.
    pub changes: Vec<Change>,
}
