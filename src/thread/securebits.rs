//! The securebits of the calling thread: how the kernel treats the user id 0, and what a thread
//! may still do with its capabilities. (capabilities(7), "The securebits flags")

use nix::sys::prctl;

pub use crate::caps::Securebits;
use crate::{Op, Result, sys};

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
