//! The securebits of the calling thread, which control the kernel's treatment of user 0 and
//! restrict capabilities. (capabilities(7), "The securebits flags")

use nix::sys::prctl;

pub use crate::caps::Securebits;
use crate::{Op, Result, sys};

/// Returns the securebits. (`PR_GET_SECUREBITS`)
///
/// # Errors
///
/// [`Error::Os`](crate::Error::Os) if a sandbox forbids the call.
#[doc(alias("cap_get_secbits", "PR_GET_SECUREBITS"))]
pub fn current() -> Result<Securebits> {
    sys::get_securebits()
        .map(Securebits::from_bits_retain)
        .map_err(|err| Op::ReadSecurebits.thread(err))
}

/// Sets the securebits. (`PR_SET_SECUREBITS`)
///
/// # Errors
///
/// `EPERM` without an effective `CAP_SETPCAP` (the bits for interpreters do not need it), if a
/// locked bit would change, or if the kernel does not support a bit.
#[doc(alias("cap_set_secbits", "PR_SET_SECUREBITS"))]
pub fn set(bits: Securebits) -> Result<()> {
    sys::set_securebits(bits.bits()).map_err(|err| Op::SetSecurebits.thread(err))
}

/// Returns whether the permitted set is preserved when the user ID changes from 0.
/// (`PR_GET_KEEPCAPS`)
///
/// # Errors
///
/// [`Error::Os`](crate::Error::Os) if a sandbox forbids the call.
#[doc(alias = "PR_GET_KEEPCAPS")]
pub fn keep_caps() -> Result<bool> {
    prctl::get_keepcaps().map_err(|err| Op::ReadSecurebits.thread(err))
}

/// Sets whether the permitted set is preserved when the user ID changes from 0. (`PR_SET_KEEPCAPS`)
/// This needs no privilege, and execve(2) clears it.
///
/// # Errors
///
/// `EPERM` if [`Securebits::KEEP_CAPS_LOCKED`] is set.
#[doc(alias = "PR_SET_KEEPCAPS")]
pub fn set_keep_caps(keep: bool) -> Result<()> {
    prctl::set_keepcaps(keep).map_err(|err| Op::SetSecurebits.thread(err))
}
