//! The bounding set of the calling thread: the limit on capabilities that executing a file grants.
//! (capabilities(7), "Capability bounding set")

use nix::errno::Errno;

use super::kernel;
use crate::{Cap, CapSet, Op, Result, sys};

/// Returns whether `cap` is in the bounding set. An unsupported capability is not in the set.
///
/// # Errors
///
/// [`Error::Os`](crate::Error::Os) if a sandbox forbids the call.
#[doc(alias("cap_get_bound", "PR_CAPBSET_READ"))]
pub fn contains(cap: Cap) -> Result<bool> {
    sys::capbset_read(cap.number()).or_else(|err| match err.raw_os_error() {
        Some(errno) if errno == Errno::EINVAL as i32 => Ok(false),
        _ => Err(Op::ReadBounding.thread(err)),
    })
}

/// Returns the bounding set, with one prctl(2) call per capability and without /proc.
///
/// # Errors
///
/// [`Error::Os`](crate::Error::Os) if a sandbox forbids the call.
pub fn current() -> Result<CapSet> {
    kernel::filter_supported(contains)
}

/// Drops capabilities from the bounding set permanently. The permitted set does not change until
/// the next execve(2).
///
/// ```no_run
/// use rcap::{Cap, CapState, bounding};
///
/// CapState::with_raised(Cap::SETPCAP, || bounding::drop(Cap::SYS_MODULE | Cap::SYS_BOOT))?;
/// # Ok::<(), rcap::Error>(())
/// ```
///
/// # Errors
///
/// `EPERM` without an effective `CAP_SETPCAP`, even for a capability that is not in the set;
/// nothing is dropped. `EINVAL` for a capability that the kernel does not support; those with lower
/// numbers are dropped.
#[doc(alias("cap_drop_bound", "PR_CAPBSET_DROP"))]
pub fn drop(caps: impl Into<CapSet>) -> Result<()> {
    caps.into().iter().try_for_each(|cap| {
        sys::capbset_drop(cap.number()).map_err(|err| Op::DropBounding.thread(err))
    })
}

/// Drops all capabilities except `keep` from the bounding set permanently. If there is nothing to
/// drop, this needs no privilege.
///
/// # Errors
///
/// `EPERM` without an effective `CAP_SETPCAP`; nothing is dropped.
pub fn retain(keep: impl Into<CapSet>) -> Result<()> {
    drop(current()? - keep.into())
}
