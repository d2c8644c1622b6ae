//! No-new-privs: whether executing a file can add privileges to the calling thread. (prctl(2),
//! since Linux 3.5)

use nix::sys::prctl;

use crate::{Op, Result};

/// Whether executing a file adds no privileges: no set-uid bit and no file capability has a say.
///
/// # Errors
///
/// Only where a sandbox forbids the call.
#[doc(alias = "PR_GET_NO_NEW_PRIVS")]
pub fn is_set() -> Result<bool> {
    prctl::get_no_new_privs().map_err(|err| Op::ReadNoNewPrivs.thread(err))
}

/// Sees to it that executing a file adds no privileges, for good and for all descendants.
///
/// # Errors
///
/// Only where a sandbox forbids the call.
#[doc(alias = "PR_SET_NO_NEW_PRIVS")]
pub fn set() -> Result<()> {
    prctl::set_no_new_privs().map_err(|err| Op::SetNoNewPrivs.thread(err))
}
