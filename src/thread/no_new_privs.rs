//! The attribute no-new-privs of the calling thread, with which executing a file grants nothing.
//! (prctl(2), since Linux 3.5)

use nix::sys::prctl;

use crate::{Op, Result};

/// Returns whether no_new_privs is set; execve(2) then ignores set-user-ID bits and file
/// capabilities.
///
/// # Errors
///
/// [`Error::Os`](crate::Error::Os) if a sandbox forbids the call.
#[doc(alias = "PR_GET_NO_NEW_PRIVS")]
pub fn is_set() -> Result<bool> {
    prctl::get_no_new_privs().map_err(|err| Op::ReadNoNewPrivs.thread(err))
}

/// Sets no_new_privs permanently, also for all descendants.
///
/// # Errors
///
/// [`Error::Os`](crate::Error::Os) if a sandbox forbids the call.
#[doc(alias = "PR_SET_NO_NEW_PRIVS")]
pub fn set() -> Result<()> {
    prctl::set_no_new_privs().map_err(|err| Op::SetNoNewPrivs.thread(err))
}
