//! The privileges of the calling thread that exceed limits.
//!
//! The thread may be in a signal handler on a small stack: it may only make system calls, and must
//! not allocate memory, take locks, or return an error larger than two numbers.

use std::{io, result::Result};

use nix::{errno::Errno, sys::prctl};

use super::Limits;
use crate::{Cap, CapSet, CapState, Op, sys};

/// The privileges that limits take from a thread.
pub(super) struct Excess {
    now: CapState,
    limited: CapState,
    /// The members of the bounding set to drop.
    drop: CapSet,
    /// The ambient capabilities to lower.
    lower: CapSet,
    securebits: u32,
    /// The securebits to set.
    missing: u32,
    /// Whether to set no-new-privs.
    seal: bool,
}

/// The reason for which a thread failed, small enough for a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) Op, pub(super) Errno);

fn by(op: Op) -> impl Fn(io::Error) -> Refused {
    move |err| Refused(op, Errno::from_raw(err.raw_os_error().unwrap_or(libc::EINVAL)))
}

impl Excess {
    /// Returns the privileges of the calling thread that exceed `limits`, if there are any.
    pub(super) fn over(limits: &Limits) -> Result<Option<Excess>, Refused> {
        let now = CapState::from(sys::capget(0).map_err(by(Op::ReadSets))?);
        let securebits = sys::get_securebits().map_err(by(Op::ReadSecurebits))?;
        let [mut drop, mut lower] = [CapSet::empty(); 2];
        for cap in CapSet::supported() {
            let number = cap.number();
            if !limits.bounding.contains(cap)
                && sys::capbset_read(number).map_err(by(Op::ReadBounding))?
            {
                drop = drop.with(cap);
            }
            if !limits.ambient.contains(cap)
                && sys::cap_ambient(libc::PR_CAP_AMBIENT_IS_SET, number)
                    .map_err(by(Op::ReadAmbient))?
            {
                lower = lower.with(cap);
            }
        }
        let permitted = now.permitted & limits.caps.permitted;
        let limited = CapState {
            effective: now.effective & limits.caps.effective & permitted,
            permitted,
            inheritable: now.inheritable & limits.caps.inheritable,
        };
        let missing = limits.securebits.bits() & !securebits;
        let seal = limits.no_new_privs
            && !prctl::get_no_new_privs().map_err(|errno| Refused(Op::ReadNoNewPrivs, errno))?;
        let excess = Excess { now, limited, drop, lower, securebits, missing, seal };
        let is_any = excess.takes_setpcap() || !lower.is_empty() || limited != now || seal;
        Ok(is_any.then_some(excess))
    }

    fn takes_setpcap(&self) -> bool {
        !self.drop.is_empty() || self.missing != 0
    }

    /// Returns an error unless the thread can change.
    pub(super) fn check(&self) -> Result<(), Refused> {
        /// The securebits that lock the preceding bit.
        const LOCKS: u32 = 0xaaa;
        let setpcap = self.now.permitted.contains(Cap::SETPCAP);
        // A bit that is locked at 0 cannot be set.
        let locked = (self.securebits & LOCKS) >> 1;
        if !self.drop.is_empty() && !setpcap {
            Err(Refused(Op::DropBounding, Errno::EPERM))
        } else if self.missing & locked != 0 || (self.missing != 0 && !setpcap) {
            Err(Refused(Op::SetSecurebits, Errno::EPERM))
        } else {
            Ok(())
        }
    }

    /// Drops these privileges. After an error, the effective, permitted and inheritable sets are as
    /// before.
    pub(super) fn remove(&self) -> Result<(), Refused> {
        self.lower_sets().inspect_err(|_| {
            let _ = sys::capset(self.now.into());
        })?;
        if self.seal {
            prctl::set_no_new_privs().map_err(|errno| Refused(Op::SetNoNewPrivs, errno))?;
        }
        Ok(())
    }

    fn lower_sets(&self) -> Result<(), Refused> {
        if self.takes_setpcap() {
            let effective = self.now.effective.with(Cap::SETPCAP);
            let raised = CapState { effective, ..self.now };
            sys::capset(raised.into()).map_err(by(Op::SetSets))?;
        }
        for cap in self.drop {
            sys::capbset_drop(cap.number()).map_err(by(Op::DropBounding))?;
        }
        if self.missing != 0 {
            let bits = self.securebits | self.missing;
            sys::set_securebits(bits).map_err(by(Op::SetSecurebits))?;
        }
        for cap in self.lower {
            sys::cap_ambient(libc::PR_CAP_AMBIENT_LOWER, cap.number())
                .map_err(by(Op::LowerAmbient))?;
        }
        sys::capset(self.limited.into()).map_err(by(Op::SetSets))
    }
}
