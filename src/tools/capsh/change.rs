//! The options of `capsh` that change the process.

use std::{
    ffi::{CString, OsStr},
    io,
    os::unix::ffi::OsStrExt,
    path::PathBuf,
};

use nix::unistd::{Group, User};

use super::{
    Capsh, Failure,
    args::{Change, id},
    chain, refusal,
};
use crate::{
    Cap, CapSet, CapState, Iab, ambient, bounding,
    identity::{self, Identity},
    launch::change_root,
    no_new_privs,
    securebits::{self, Securebits},
};

impl Capsh<'_, '_> {
    pub(super) fn change(&mut self, change: Change<'_>) -> Result<(), Failure> {
        match change {
            Change::Caps(caps) => self.apply(caps)?,
            Change::Inheritable(list) => self.set_inheritable(list)?,
            Change::Drop(caps) => {
                for cap in caps {
                    self.with_setpcap(|| bounding::drop(cap)).map_err(about(cap))?;
                }
            }
            Change::AddAmbient(caps) => caps.into_iter().try_for_each(add_ambient)?,
            Change::RemoveAmbient(caps) => {
                for cap in caps {
                    ambient::lower(cap).map_err(about(cap))?;
                }
            }
            Change::ClearAmbient => ambient::clear()?,
            Change::Iab(iab) => apply_iab(iab)?,
            Change::Mode(mode) => mode.apply()?,
            Change::SecurebitsNumber(bits) => securebits::set(Securebits::from_bits_retain(bits))?,
            Change::Securebits(bits) => self.with_setpcap(|| securebits::set(bits))?,
            Change::KeepCaps(keep) => securebits::set_keep_caps(keep)?,
            Change::NoNewPrivs => no_new_privs::set()?,
            Change::Uid(uid) => identity::setuid(uid)?,
            Change::CapUid(uid) => identity::change_uid(uid)?,
            Change::Gid(gid) => identity::setgid(gid)?,
            Change::Groups(groups) => {
                let gids: Result<Vec<u32>, Failure> = groups.into_iter().map(group).collect();
                identity::setgroups(&gids?)?;
            }
            Change::User(name) => self.become_user(name)?,
            Change::Root(path) => {
                let path = CString::new(path.as_bytes()).map_err(io::Error::from)?;
                change_root(&path)?;
            }
        }
        Ok(())
    }

    /// Calls `call` with `CAP_SETPCAP` raised if it is permitted, except with --strict.
    fn with_setpcap(&self, call: impl FnOnce() -> crate::Result<()>) -> crate::Result<()> {
        if self.strict { call() } else { CapState::with_setpcap(call) }
    }

    /// Applies `caps` with `CAP_SETPCAP` raised if it is permitted, except with --strict.
    fn apply(&self, caps: CapState) -> Result<(), Failure> {
        let now = CapState::current()?;
        let result = if self.strict { caps.apply() } else { caps.apply_with_setpcap() };
        result.map_err(|err| {
            let bounding = bounding::current().unwrap_or(CapSet::all());
            let why = refusal::refused(caps, now, bounding).unwrap_or_default();
            Failure::Words(format!("{}{why}", chain(&err)))
        })
    }

    fn set_inheritable(&self, list: &str) -> Result<(), Failure> {
        let now = CapState { inheritable: CapSet::empty(), ..CapState::current()? };
        let wanted = if list.is_empty() { now } else { format!("{now} {list}+i").parse()? };
        self.apply(wanted)
    }

    fn become_user(&mut self, name: &str) -> Result<(), Failure> {
        let identity = Identity::of_user(name)?;
        let home = User::from_name(name).ok().flatten().map_or_else(PathBuf::new, |user| user.dir);
        identity.change()?;
        if !self.noenv {
            self.environment = vec![("HOME", home), ("USER", name.into())];
        }
        Ok(())
    }
}

fn apply_iab(iab: Iab) -> Result<(), Failure> {
    let now = CapState::current()?;
    iab.apply().map_err(|err| {
        let bounding = bounding::current().unwrap_or(CapSet::all());
        let wanted = CapState { inheritable: iab.inheritable(), ..now };
        let why = refusal::refused(wanted, now, bounding);
        let why =
            why.or_else(|| iab.ambient().iter().find_map(refusal::not_ambient).map(str::to_owned));
        Failure::Words(format!("{}{}", chain(&err), why.unwrap_or_default()))
    })
}

fn add_ambient(cap: Cap) -> Result<(), Failure> {
    ambient::raise(cap).map_err(|err| {
        let why = refusal::not_ambient(cap).unwrap_or_default();
        Failure::Words(format!("{cap}: {}{why}", chain(&err)))
    })
}

/// Looks up a group by name, or by number if it begins with a digit.
fn group(item: &str) -> Result<u32, Failure> {
    if item.starts_with(|c: char| c.is_ascii_digit()) {
        return id(OsStr::new(item));
    }
    let unknown = || Failure::Value(format!("unknown group {item:?}"));
    let group = Group::from_name(item).map_err(io::Error::from)?;
    group.map(|group| group.gid.as_raw()).ok_or_else(unknown)
}

/// Adds the name of the capability that failed to an error.
fn about(cap: Cap) -> impl FnOnce(crate::Error) -> Failure {
    move |err| Failure::Words(format!("{cap}: {}", chain(&err)))
}
