//! What execve(2) makes of the privileges of a process: the kernel's rules as a function over
//! values. (capabilities(7), "Transformation of capabilities during execve()";
//! `cap_bprm_creds_from_file` of security/commoncap.c and `bprm_fill_uid` of fs/exec.c)
//!
//! ```
//! use rcap::{Cap, exec::{self, File, Kernel, Process, Rule}, file::FileCaps};
//!
//! // A user without privileges executes a file that has a capability, where no-new-privs is set.
//! let process = Process { no_new_privs: true, ..Process::of_user(1000, 1000) };
//! let caps = FileCaps { permitted: Cap::NET_RAW.into(), effective: true, ..FileCaps::EMPTY };
//! let outcome = exec::execute(&process, &File { caps: Some(caps), ..File::default() }, Kernel::NAMED)
//!     .expect("it is in the bounding set");
//! assert!(outcome.after.caps.permitted.is_empty());
//! assert_eq!(outcome.changes[0].rule, Rule::NoNewPrivs);
//! ```
//!
//! What a security module adds (SELinux and AppArmor can change what a program gets), what a
//! tracer or a process with the same working directory (`CLONE_FS`) takes away, and interpreters
//! that are registered with binfmt_misc are not in it.

use std::fmt;

use nix::errno::Errno;

use crate::{
    CapSet, CapState, Result, ambient, bounding,
    file::FileCaps,
    identity, no_new_privs,
    proc::{Ids, Status},
    securebits::{self, Securebits},
};

mod program;
mod reasons;
#[cfg(test)]
mod tests;

pub use program::{Link, Program};
pub use reasons::{Change, Effect, Rule, Set};

/// What of a process execve(2) looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "these are all")]
pub struct Process {
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
    /// The ambient set.
    pub ambient: CapSet,
    /// The securebits.
    pub securebits: Securebits,
    /// Whether no-new-privs is set.
    pub no_new_privs: bool,
}

impl Process {
    /// The calling thread.
    ///
    /// # Errors
    ///
    /// Only where a sandbox forbids a call. /proc is not asked: it may be another PID namespace's.
    pub fn current() -> Result<Process> {
        let (uid, gid, groups) = identity::current()?;
        Ok(Process {
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

    /// Another one. Its securebits, which the kernel tells nobody else, have to be given.
    pub fn of(status: &Status, securebits: Securebits) -> Process {
        Process {
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

    /// One of a user with a group and nothing else, and with all that has a name in its bounding
    /// set: a login of an ordinary user.
    pub const fn of_user(uid: u32, gid: u32) -> Process {
        Process {
            uid: Ids { real: uid, effective: uid, saved: uid, filesystem: uid },
            gid: Ids { real: gid, effective: gid, saved: gid, filesystem: gid },
            groups: Vec::new(),
            caps: CapState::EMPTY,
            bounding: CapSet::NAMED,
            ambient: CapSet::empty(),
            securebits: Securebits::empty(),
            no_new_privs: false,
        }
    }

    /// Whether executing a file gives it what user 0 has.
    fn is_root(&self) -> bool {
        !self.securebits.contains(Securebits::NOROOT)
            && (self.uid.real == 0 || self.uid.effective == 0)
    }

    fn is_in_group(&self, gid: u32) -> bool {
        self.gid.filesystem == gid || self.groups.contains(&gid)
    }
}

/// What of a file execve(2) looks at. Of a script, it is the file of its interpreter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "these are all")]
pub struct File {
    /// Its capabilities.
    pub caps: Option<FileCaps>,
    /// Whether they are those of another user namespace, by their root id.
    pub is_foreign: bool,
    /// Its owner, if it has the set-user-ID bit.
    pub set_uid: Option<u32>,
    /// Its group, if it has the set-group-ID bit and the group may execute it.
    pub set_gid: Option<u32>,
    /// Whether its owner or its group has no id in the process's user namespace.
    pub is_unmapped: bool,
    /// Whether it is on a mount with the option nosuid, or of another user namespace.
    pub is_nosuid: bool,
}

/// What differs between kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "these are all")]
pub struct Kernel {
    /// The capabilities that it has.
    pub caps: CapSet,
    /// Whether an effective id that differs from the real one counts as changed by the execution,
    /// whoever changed it, as before Linux 6.17.
    pub compares_with_real_ids: bool,
}

impl Kernel {
    /// One that has the capabilities that have a name, since Linux 6.17.
    pub const NAMED: Kernel = Kernel { caps: CapSet::NAMED, compares_with_real_ids: false };

    /// The one that runs, by its version. The rules are tested on Linux 6.18; what differs before
    /// follows the sources.
    pub fn running() -> Kernel {
        let release = nix::sys::utsname::uname();
        let release = release.map(|name| name.release().to_string_lossy().into_owned());
        Kernel {
            caps: CapSet::supported(),
            compares_with_real_ids: release.is_ok_and(|release| is_before(&release, (6, 17))),
        }
    }
}

/// Whether a release such as `6.1.0-49-amd64` is before a version.
fn is_before(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    (number(), number()) < version
}

/// Why execve(2) fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The file has the effective bit, and some of its permitted set can not be given: it is not
    /// in the bounding set.
    OutsideOfBounding(CapSet),
}

impl Refusal {
    /// What execve(2) fails with.
    pub const fn errno(self) -> Errno {
        match self {
            Refusal::OutsideOfBounding(_) => Errno::EPERM,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::OutsideOfBounding(caps) => {
                write!(f, "its file demands {caps}, which the bounding set lacks")
            }
        }
    }
}

/// What comes of executing a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// The process, with the new program.
    pub after: Process,
    /// Whether the program is told to distrust its environment (`AT_SECURE`): the dynamic linker
    /// passes over `LD_LIBRARY_PATH` and `LD_PRELOAD` then. (getauxval(3), ld.so(8))
    pub is_secure: bool,
    /// What a set has gained and lost, and what could have been expected and is withheld, each
    /// with the rule behind it.
    pub changes: Vec<Change>,
}

/// What comes of `process` executing `file`.
///
/// # Errors
///
/// Why execve(2) fails for reasons of privilege; not whether the process may execute the file at
/// all, which its permission bits say.
pub fn execute(
    process: &Process,
    file: &File,
    kernel: Kernel,
) -> std::result::Result<Outcome, Refusal> {
    let old = process;
    let file_caps = file.caps.filter(|_| !file.is_nosuid && !file.is_foreign);
    let mut effective = file_caps.is_some_and(|caps| caps.effective);
    let mut permitted = CapSet::empty();
    if let Some(caps) = file_caps {
        let forced = caps.permitted & kernel.caps;
        let passed = caps.inheritable & kernel.caps & old.caps.inheritable;
        permitted = (old.bounding & forced) | passed;
        let lacking = forced - permitted;
        if effective && !lacking.is_empty() {
            return Err(Refusal::OutsideOfBounding(lacking));
        }
    }

    let mut new = old.clone();
    if !file.is_nosuid && !old.no_new_privs && !file.is_unmapped {
        new.uid.effective = file.set_uid.unwrap_or(old.uid.effective);
        new.gid.effective = file.set_gid.unwrap_or(old.gid.effective);
    }
    // A set-user-ID-root file that has capabilities gives those, and not all.
    let becomes_root = new.uid.effective == 0 && new.uid.real != 0;
    if new.is_root() && !(file_caps.is_some() && becomes_root) {
        permitted = old.bounding | old.caps.inheritable;
        effective |= new.uid.effective == 0;
    }

    let id_changed = if kernel.compares_with_real_ids {
        new.uid.effective != old.uid.real || new.gid.effective != old.gid.real
    } else {
        new.uid.effective != old.uid.effective || !old.is_in_group(new.gid.effective)
    };
    let gains = !(permitted - old.caps.permitted).is_empty();
    if old.no_new_privs && (id_changed || gains) {
        new.uid.effective = old.uid.real;
        new.gid.effective = old.gid.real;
        permitted &= old.caps.permitted;
    }
    new.uid = Ids { saved: new.uid.effective, filesystem: new.uid.effective, ..new.uid };
    new.gid = Ids { saved: new.gid.effective, filesystem: new.gid.effective, ..new.gid };

    if file_caps.is_some() || id_changed {
        new.ambient = CapSet::empty();
    }
    new.caps.permitted = permitted | new.ambient;
    new.caps.effective = if effective { new.caps.permitted } else { new.ambient };
    new.securebits.remove(Securebits::KEEP_CAPS);

    let is_secure = id_changed
        || new.uid.effective != old.uid.real
        || new.gid.effective != old.gid.real
        || (new.uid.real != 0 && (effective || !(new.caps.permitted - new.ambient).is_empty()));
    let changes = reasons::changes(old, file, file_caps, &new);
    Ok(Outcome { after: new, is_secure, changes })
}
