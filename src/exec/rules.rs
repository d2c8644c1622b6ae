//! The rules of execve(2). Each is written once, together with the change that it makes.

use std::result::Result;

use super::{
    Credentials, ExecError, FileFacts, Kernel, Outcome,
    change::{Ledger, Rule, Set},
};
use crate::{CapSet, file::FileCaps, proc::Ids, securebits::Securebits};

/// Returns the credentials of the process `before` after it executes `file`, and the rule for each
/// change.
///
/// This does not check whether the file's permission bits allow the execution.
///
/// ```
/// use rcap::{CapSet, exec::{self, Credentials, Effect, FileFacts, Kernel, Rule}};
///
/// // A root of an ordinary container executes a shell.
/// let mut root = Credentials::of_user(0, 0);
/// root.bounding = CapSet::first(10);
/// root.caps.permitted = CapSet::first(12);
///
/// let outcome = exec::execute(&root, &FileFacts::default(), Kernel::LATEST)?;
/// assert_eq!(outcome.after.caps.effective, CapSet::first(10));
/// let lost = outcome.changes.iter().find(|change| change.effect == Effect::Lost).unwrap();
/// assert_eq!((lost.caps.len(), lost.rule), (2, Rule::Bounding));
/// # Ok::<(), exec::ExecError>(())
/// ```
///
/// # Errors
///
/// [`ExecError`] if execve(2) fails for reasons of privilege.
pub fn execute(
    before: &Credentials,
    file: &FileFacts,
    kernel: Kernel,
) -> Result<Outcome, ExecError> {
    let mut execution = Execution::begin(before, file, kernel);
    execution.deny_offers();
    execution.grant_file_caps()?;
    execution.grant_root();
    let ids_changed = execution.settle_ids();
    Ok(execution.finish(ids_changed))
}

/// The state of an execution. Its steps follow the order of the kernel.
struct Execution<'a> {
    old: &'a Credentials,
    file: &'a FileFacts,
    kernel: Kernel,
    new: Credentials,
    permitted: Ledger,
    /// The capabilities of the file, unless a rule ignores them.
    file_caps: Option<FileCaps>,
    /// Whether the set-user-ID bit of the file would make another user 0.
    makes_user_0: bool,
    /// The rule by which the user ID 0 grants nothing.
    root_ignored: Option<Rule>,
    /// The rule that keeps the effective set smaller than the permitted set.
    not_effective: Option<Rule>,
}

impl<'a> Execution<'a> {
    /// Follows the set-user-ID and set-group-ID bits. (`bprm_fill_uid`)
    fn begin(old: &'a Credentials, file: &'a FileFacts, kernel: Kernel) -> Execution<'a> {
        let mut new = old.clone();
        let ids_ignored = file.ids_ignored(old);
        if ids_ignored.is_none() {
            new.uid.effective = file.set_uid.unwrap_or(old.uid.effective);
            new.gid.effective = file.set_gid.unwrap_or(old.gid.effective);
        }
        let file_caps = file.caps.filter(|_| file.caps_ignored().is_none());
        let makes_user_0 = file.set_uid == Some(0) && !old.is_user_0();
        let root_ignored =
            ids_ignored.filter(|_| makes_user_0).or_else(|| new.root_ignored(file_caps.is_some()));
        let not_effective = match file_caps {
            Some(FileCaps { effective: true, .. }) => None,
            _ => Some(Rule::NoEffectiveBit),
        };
        let permitted = Ledger::new(Set::Permitted, old.caps.permitted);
        Execution {
            old,
            file,
            kernel,
            new,
            permitted,
            file_caps,
            makes_user_0,
            root_ignored,
            not_effective,
        }
    }

    /// The capabilities that the user ID 0 is offered.
    fn root_caps(&self) -> CapSet {
        self.old.bounding | self.old.caps.inheritable
    }

    /// Records the offers that are denied. The last entry for a capability applies, so grants
    /// follow.
    fn deny_offers(&mut self) {
        if let (true, Some(rule)) = (self.makes_user_0, self.root_ignored) {
            self.permitted.deny(self.root_caps(), rule);
        }
        if let (Some(caps), Some(rule)) = (self.file.caps, self.file.caps_ignored()) {
            self.permitted.deny(caps.permitted | caps.inheritable, rule);
        }
        self.permitted.deny(
            self.old.caps.permitted,
            match self.file_caps {
                Some(_) => Rule::NotInFile,
                None if self.old.is_user_0() => Rule::NoRoot,
                None => Rule::NotAmbient,
            },
        );
    }

    /// Grants the file's capabilities within the bounding and inheritable sets.
    /// (`bprm_caps_from_vfs_caps`)
    fn grant_file_caps(&mut self) -> Result<(), ExecError> {
        let Some(caps) = self.file_caps else { return Ok(()) };
        let Execution { old, permitted, .. } = self;
        let supported = self.kernel.caps;
        permitted.deny(caps.inheritable, Rule::NotInheritable);
        permitted.deny(caps.permitted, Rule::Bounding);
        let inherited = caps.inheritable & old.caps.inheritable & supported;
        permitted.grant(inherited, Rule::FileInheritable);
        permitted.grant(caps.permitted & old.bounding & supported, Rule::FilePermitted);
        let lacking = (caps.permitted & supported) - permitted.now();
        if caps.effective && !lacking.is_empty() {
            return Err(ExecError::OutsideOfBounding(lacking));
        }
        Ok(())
    }

    /// Grants what the user ID 0 has. (`handle_privileged_root`)
    fn grant_root(&mut self) {
        if !self.new.is_user_0() || self.root_ignored.is_some() {
            return;
        }
        self.permitted.deny(self.old.caps.permitted, Rule::Bounding);
        self.permitted.grant(self.root_caps(), Rule::Root);
        let is_real_alone = self.new.uid.effective != 0;
        self.not_effective = self.not_effective.and(is_real_alone.then_some(Rule::RealRootAlone));
    }

    /// Applies no-new-privs and sets the saved and file system IDs. Returns whether the execution
    /// has changed an ID. (`cap_bprm_creds_from_file`)
    fn settle_ids(&mut self) -> bool {
        let Execution { old, new, permitted, .. } = self;
        let ids_changed = if self.kernel.compares_with_real_ids {
            new.uid.effective != old.uid.real || new.gid.effective != old.gid.real
        } else {
            new.uid.effective != old.uid.effective || !old.is_in_group(new.gid.effective)
        };
        let gained = permitted.now() - old.caps.permitted;
        if old.no_new_privs && (ids_changed || !gained.is_empty()) {
            new.uid.effective = old.uid.real;
            new.gid.effective = old.gid.real;
            permitted.deny(gained, Rule::NoNewPrivs);
        }
        new.uid = Ids { saved: new.uid.effective, filesystem: new.uid.effective, ..new.uid };
        new.gid = Ids { saved: new.gid.effective, filesystem: new.gid.effective, ..new.gid };
        ids_changed
    }

    /// Computes the ambient set and the effective set.
    fn finish(self, ids_changed: bool) -> Outcome {
        let Execution { old, mut new, mut permitted, file_caps, not_effective, .. } = self;
        let mut ambient = Ledger::new(Set::Ambient, old.ambient);
        let clears_ambient = match file_caps {
            Some(_) => Some(Rule::FileCapsClearAmbient),
            None => ids_changed.then_some(Rule::IdsClearAmbient),
        };
        if let Some(rule) = clears_ambient {
            ambient.deny(old.ambient, rule);
            permitted.deny(old.ambient - permitted.now(), rule);
        }
        permitted.grant(ambient.now(), Rule::Ambient);
        let mut effective = Ledger::new(Set::Effective, old.caps.effective & permitted.now());
        match not_effective {
            None => effective.grant(permitted.now(), Rule::AllEffective),
            Some(rule) => {
                effective.deny(effective.now(), rule);
                effective.grant(ambient.now(), Rule::Ambient);
            }
        }

        new.caps.permitted = permitted.now();
        new.caps.effective = effective.now();
        new.ambient = ambient.now();
        new.securebits.remove(Securebits::KEEP_CAPS);
        let granted = new.caps.permitted - new.ambient;
        let is_secure = ids_changed
            || new.uid.effective != old.uid.real
            || new.gid.effective != old.gid.real
            || (new.uid.real != 0 && (not_effective.is_none() || !granted.is_empty()));
        let changes = [permitted, effective, ambient].iter().flat_map(Ledger::changes).collect();
        Outcome { after: new, is_secure, changes }
    }
}

impl Credentials {
    /// Returns the rule that denies user 0 its grant, after the set-user-ID bit was applied.
    /// (`root_privileged` and `handle_privileged_root`)
    fn root_ignored(&self, has_file_caps: bool) -> Option<Rule> {
        if self.securebits.contains(Securebits::NOROOT) {
            Some(Rule::NoRoot)
        } else if has_file_caps && self.uid.effective == 0 && self.uid.real != 0 {
            Some(Rule::CapsBeforeSetUid)
        } else {
            None
        }
    }
}

impl FileFacts {
    /// Returns the rule for which the file's capabilities are ignored. (`get_file_caps`)
    fn caps_ignored(&self) -> Option<Rule> {
        if self.is_nosuid {
            Some(Rule::NoSuid)
        } else if self.is_foreign {
            Some(Rule::ForeignRootid)
        } else {
            None
        }
    }

    /// Returns the rule for which the set-user-ID and set-group-ID bits are ignored.
    /// (`bprm_fill_uid`)
    fn ids_ignored(&self, process: &Credentials) -> Option<Rule> {
        if self.is_nosuid {
            Some(Rule::NoSuid)
        } else if process.no_new_privs {
            Some(Rule::NoNewPrivs)
        } else if self.is_unmapped {
            Some(Rule::UnmappedOwner)
        } else {
            None
        }
    }
}
