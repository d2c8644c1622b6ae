//! The output of `capsh` about itself and about a capability.

use std::io::{self, Write};

use nix::unistd::{self, Gid, Group};
use serde_json::{Value, json};

use super::{Escaped, Failure, mode_name};
use crate::{
    Cap, CapSet, CapState, Iab, Mode, ambient, bounding, identity, knowledge, no_new_privs,
    securebits::{self, Securebits},
    tools::json::SCHEMA,
};

/// The privileges of this process.
pub(super) struct Snapshot {
    pub(super) caps: CapState,
    pub(super) bounding: CapSet,
    /// The ambient set, or `None` if the kernel has none.
    pub(super) ambient: Option<CapSet>,
    pub(super) securebits: Securebits,
    pub(super) no_new_privs: bool,
    pub(super) uid: u32,
    pub(super) euid: u32,
    gid: u32,
    groups: Vec<u32>,
    mode: Option<Mode>,
}

impl Snapshot {
    pub(super) fn take() -> Result<Snapshot, Failure> {
        let groups = unistd::getgroups().map_err(io::Error::from)?;
        Ok(Snapshot {
            caps: CapState::current()?,
            bounding: bounding::current()?,
            ambient: ambient::current().ok(),
            securebits: securebits::current()?,
            no_new_privs: no_new_privs::is_set()?,
            uid: unistd::getuid().as_raw(),
            euid: unistd::geteuid().as_raw(),
            gid: unistd::getgid().as_raw(),
            groups: groups.into_iter().map(Gid::as_raw).collect(),
            mode: Mode::current()?,
        })
    }

    /// Returns the tuple. Capabilities of `all` that are missing from the bounding set count as
    /// dropped.
    pub(super) fn iab(&self, all: CapSet) -> Iab {
        let ambient = self.ambient.unwrap_or_default();
        Iab::new(self.caps.inheritable, ambient, all - self.bounding)
    }

    pub(super) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let ambient = self.ambient.map_or_else(|| " <unsupported>".into(), |set| set.to_string());
        writeln!(out, "Current: {}", self.caps)?;
        writeln!(out, "Bounding set ={}", self.bounding)?;
        writeln!(out, "Ambient set ={ambient}")?;
        writeln!(out, "Current IAB: {}", self.iab(CapSet::supported()))?;
        let bits = self.securebits.bits();
        let width = (u32::BITS - bits.leading_zeros()).max(1);
        let no_new_privs = u8::from(self.no_new_privs);
        writeln!(
            out,
            "Securebits: 0{bits:o}/0x{bits:x}/{width}'b{bits:b} (no-new-privs={no_new_privs})"
        )?;
        for (label, bit) in BITS {
            let locked = Securebits::from_bits_retain(bit.bits() << 1);
            let shown = match *bit {
                Securebits::NO_CAP_AMBIENT_RAISE => self.ambient.is_some(),
                Securebits::EXEC_RESTRICT_FILE | Securebits::EXEC_DENY_INTERACTIVE => {
                    self.securebits.intersects(*bit | locked)
                }
                _ => true,
            };
            if shown {
                let is = if self.securebits.contains(*bit) { "yes" } else { "no" };
                let lock = if self.securebits.contains(locked) { "locked" } else { "unlocked" };
                writeln!(out, " secure-{label}: {is} ({lock})")?;
            }
        }
        writeln!(out, "uid={} euid={}", user(self.uid), user(self.euid))?;
        writeln!(out, "gid={}", group(self.gid))?;
        let groups: Vec<_> = self.groups.iter().copied().map(group).collect();
        writeln!(out, "groups={}", groups.join(","))?;
        let number = self.mode.map_or(0, |mode| mode as u8);
        writeln!(out, "Guessed mode: {} ({number})", mode_name(self.mode))
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "text": self.caps.to_string(),
            "effective": self.caps.effective,
            "permitted": self.caps.permitted,
            "inheritable": self.caps.inheritable,
            "bounding": self.bounding,
            "ambient": self.ambient,
            "iab": self.iab(CapSet::supported()).to_string(),
            "securebits": self.securebits,
            "securebits_text": self.securebits.to_string(),
            "no_new_privs": self.no_new_privs,
            "uid": self.uid,
            "euid": self.euid,
            "gid": self.gid,
            "groups": self.groups,
            "mode": self.mode,
        })
    }
}

/// The securebits in the notation of `--print`. The next bit is the lock.
const BITS: &[(&str, Securebits)] = &[
    ("noroot", Securebits::NOROOT),
    ("no-suid-fixup", Securebits::NO_SETUID_FIXUP),
    ("keep-caps", Securebits::KEEP_CAPS),
    ("no-ambient-raise", Securebits::NO_CAP_AMBIENT_RAISE),
    ("exec-restrict-file", Securebits::EXEC_RESTRICT_FILE),
    ("exec-deny-interactive", Securebits::EXEC_DENY_INTERACTIVE),
];

/// Returns an ID and its name in the user database of the current root directory.
fn user(uid: u32) -> String {
    named(uid, identity::user_name(uid).as_deref())
}

fn group(gid: u32) -> String {
    let group = Group::from_gid(Gid::from_raw(gid)).ok().flatten();
    named(gid, group.as_ref().map(|group| &*group.name))
}

fn named(id: u32, name: Option<&str>) -> String {
    format!("{id}({})", Escaped(name.unwrap_or("???").as_bytes()))
}

/// Prints the description of `cap`.
pub(super) fn explain(cap: Cap, out: &mut dyn Write) -> io::Result<()> {
    let supported = CapSet::supported().contains(cap);
    match cap.name() {
        Some(name) if supported => write!(out, "{name}")?,
        Some(name) => write!(out, "<reserved for> {name}")?,
        None if supported => write!(out, "<unnamed in libcap>")?,
        None => write!(out, "<unsupported>")?,
    }
    let mask = CapSet::from(cap).bits();
    writeln!(out, " ({}) [/proc/self/status:CapXXX: 0x{mask:016x}]", cap.number())?;
    if let Some(about) = knowledge::about(cap) {
        writeln!(out)?;
        for line in about.permits.lines() {
            writeln!(out, "    {line}")?;
        }
    }
    Ok(())
}
