//! The kernel's rules of execve(2) as a pure function.
//!
//! The arguments are the privileges of a process and facts about a file. The result is the new
//! privileges, and the rule for each change.
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
//! security/commoncap.c. (capabilities(7), "Transformation of capabilities during execve()") They
//! do not cover security modules such as SELinux and AppArmor, which can change the result; a
//! tracer or another process with the same working directory (`CLONE_FS`), both of which limit it;
//! and interpreters registered with binfmt_misc.

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
mod elf;
mod grant;
pub mod origin;
mod program;
mod rules;
#[cfg(test)]
mod tests;

pub use change::{Change, Effect, Rule, Set};
pub use grant::Obstacle;
#[cfg(feature = "scan")]
pub(crate) use program::glance;
pub use program::{Program, ProgramFile};
pub use rules::execute;

/// The attributes of a process that execve(2) reads and changes. (credentials(7))
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Credentials {
    /// The user IDs.
    pub uid: Ids,
    /// The group IDs.
    pub gid: Ids,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// The effective, permitted and inheritable sets.
    pub caps: CapState,
    /// The bounding set.
    pub bounding: CapSet,
    /// The ambient set, a subset of the permitted and inheritable sets.
    pub ambient: CapSet,
    /// The securebits.
    pub securebits: Securebits,
    /// Whether no_new_privs is set.
    pub no_new_privs: bool,
}

impl Credentials {
    /// Returns the credentials of the calling thread, without reading /proc, which may belong to
    /// another PID namespace.
    ///
    /// # Errors
    ///
    /// [`Error::Os`](crate::Error::Os) if a sandbox forbids a system call.
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

    /// Returns the credentials of another process or thread. The kernel reports securebits only to
    /// the thread itself, so the caller provides or assumes `securebits`.
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

    /// Returns the credentials of an ordinary login: no supplementary groups, no capabilities, and
    /// every named capability in the bounding set. For user 0, too, the other sets are empty.
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

/// The facts about a file that determine the result of executing it. For a script, use the facts
/// about its last interpreter: see [`Program::executed`].
///
/// The default is an ordinary file, without capabilities and without set-user-ID and set-group-ID
/// bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileFacts {
    /// The capabilities of the file.
    pub caps: Option<FileCaps>,
    /// Whether the root ID of the capabilities belongs to another user namespace.
    pub is_foreign: bool,
    /// The owner, if the file has the set-user-ID bit.
    pub set_uid: Option<u32>,
    /// The group, if the file has the set-group-ID bit and its group may execute it.
    pub set_gid: Option<u32>,
    /// Whether the owner or group is not mapped in the user namespace of the process.
    pub is_unmapped: bool,
    /// Whether the file is on a mount with the option nosuid, or of another user namespace.
    pub is_nosuid: bool,
}

impl FileFacts {
    /// Returns the facts about an otherwise ordinary file with capabilities.
    pub fn with_caps(caps: FileCaps) -> FileFacts {
        FileFacts { caps: Some(caps), ..FileFacts::default() }
    }
}

/// The differences between kernels that affect execve(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Kernel {
    /// The capabilities that the kernel supports.
    pub caps: CapSet,
    /// Whether an effective ID that differs from the real ID counts as changed by the execution, as
    /// before Linux 6.17.
    pub compares_with_real_ids: bool,
}

impl Kernel {
    /// The rules since Linux 6.17, with every named capability.
    pub const LATEST: Kernel = Kernel { caps: CapSet::NAMED, compares_with_real_ids: false };

    /// Returns the rules of the running kernel, based on its version and its supported
    /// capabilities.
    ///
    /// The rules are tested on Linux 6.18. For older versions, they follow the kernel's sources.
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

/// The reason for which execve(2) fails.
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
                write!(f, "its file has {caps}, which the bounding set lacks")
            }
        }
    }
}

impl error::Error for ExecError {}

/// Keeps the kind of the errno, and the text of this error.
impl From<ExecError> for io::Error {
    fn from(err: ExecError) -> io::Error {
        io::Error::new(io::Error::from_raw_os_error(err.raw_os_error()).kind(), err)
    }
}

/// The result of executing a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The credentials after execution.
    pub after: Credentials,
    /// Whether `AT_SECURE` is set: the dynamic linker then ignores `LD_LIBRARY_PATH` and
    /// `LD_PRELOAD`. (getauxval(3), ld.so(8))
    pub is_secure: bool,
    /// The capabilities that the permitted, effective and ambient sets gained and lost, and those
    /// that were withheld, each with the rule. A capability of a set is in at most one of them.
    ///
    /// A capability that is no longer permitted is listed as lost from the permitted set, and not
    /// from the effective set.
    pub changes: Vec<Change>,
}
