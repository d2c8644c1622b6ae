//! The securebits of the calling thread: how the kernel treats the user id 0, and what a thread
//! may still do with its capabilities. (capabilities(7), "The securebits flags")

use nix::sys::prctl;

use crate::{Op, Result, sys};

bitflags::bitflags! {
    /// The securebits. Bits without a name here are kept.
    ///
    /// A `_LOCKED` bit makes the bit before it impossible to change, for good.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[doc(alias = "SECBIT")]
    pub struct Securebits: u32 {
        /// Executing a file as user 0, or a set-uid-root one, gives no capabilities.
        const NOROOT = 1 << 0;
        /// `NOROOT` cannot be changed.
        const NOROOT_LOCKED = 1 << 1;
        /// Changing the user id between 0 and others leaves the capability sets alone.
        const NO_SETUID_FIXUP = 1 << 2;
        /// `NO_SETUID_FIXUP` cannot be changed.
        const NO_SETUID_FIXUP_LOCKED = 1 << 3;
        /// Giving up the user id 0 keeps the permitted set. Cleared by exec.
        const KEEP_CAPS = 1 << 4;
        /// `KEEP_CAPS` cannot be changed.
        const KEEP_CAPS_LOCKED = 1 << 5;
        /// No capability can be made ambient.
        const NO_CAP_AMBIENT_RAISE = 1 << 6;
        /// `NO_CAP_AMBIENT_RAISE` cannot be changed.
        const NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7;
        /// Interpreters are to run files only that the kernel would execute (since Linux 6.14).
        const EXEC_RESTRICT_FILE = 1 << 8;
        /// `EXEC_RESTRICT_FILE` cannot be changed.
        const EXEC_RESTRICT_FILE_LOCKED = 1 << 9;
        /// Interpreters are to run no commands that do not come from a file (since Linux 6.14).
        const EXEC_DENY_INTERACTIVE = 1 << 10;
        /// `EXEC_DENY_INTERACTIVE` cannot be changed.
        const EXEC_DENY_INTERACTIVE_LOCKED = 1 << 11;
        const _ = !0;
    }
}

/// The securebits, by `PR_GET_SECUREBITS`.
///
/// # Errors
///
/// Only where a sandbox forbids the call.
#[doc(alias("cap_get_secbits", "PR_GET_SECUREBITS"))]
pub fn current() -> Result<Securebits> {
    sys::get_securebits()
        .map(Securebits::from_bits_retain)
        .map_err(|err| Op::ReadSecurebits.thread(err))
}

/// Makes `bits` the securebits, by `PR_SET_SECUREBITS`.
///
/// # Errors
///
/// `EPERM` without an effective `CAP_SETPCAP` (the bits for interpreters need none), if a locked
/// bit would change, or for bits that the kernel does not have.
#[doc(alias("cap_set_secbits", "PR_SET_SECUREBITS"))]
pub fn set(bits: Securebits) -> Result<()> {
    sys::set_securebits(bits.bits()).map_err(|err| Op::SetSecurebits.thread(err))
}

/// Whether giving up the user id 0 keeps the permitted set, by `PR_GET_KEEPCAPS`.
///
/// # Errors
///
/// Only where a sandbox forbids the call.
#[doc(alias = "PR_GET_KEEPCAPS")]
pub fn keep_caps() -> Result<bool> {
    prctl::get_keepcaps().map_err(|err| Op::ReadSecurebits.thread(err))
}

/// Sets whether giving up the user id 0 keeps the permitted set, by `PR_SET_KEEPCAPS`. It needs
/// no privilege, and exec takes it back.
///
/// # Errors
///
/// `EPERM` if [`Securebits::KEEP_CAPS_LOCKED`] is set.
#[doc(alias = "PR_SET_KEEPCAPS")]
pub fn set_keep_caps(keep: bool) -> Result<()> {
    prctl::set_keepcaps(keep).map_err(|err| Op::SetSecurebits.thread(err))
}
