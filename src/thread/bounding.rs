//! The bounding set of the calling thread: what executing a file can at most make permitted.
//! (capabilities(7), "Capability bounding set")

use nix::errno::Errno;

use super::kernel;
use crate::{Cap, CapSet, Op, Result, sys};

/// Whether `cap` is in the bounding set. One that the kernel does not have is not in it.
///
/// # Errors
///
/// Only where a sandbox forbids the call.
#[doc(alias("cap_get_bound", "PR_CAPBSET_READ"))]
pub fn contains(cap: Cap) -> Result<bool> {
    sys::capbset_read(cap.number()).or_else(|err| match err.raw_os_error() {
        Some(errno) if errno == Errno::EINVAL as i32 => Ok(false),
        _ => Err(Op::ReadBounding.thread(err)),
    })
}

/// The bounding set, read by one prctl(2) for each capability of the kernel; /proc is not needed.
///
/// # Errors
///
/// Only where a sandbox forbids the call.
pub fn current() -> Result<CapSet> {
    kernel::filter_supported(contains)
}

/// Drops capabilities from the bounding set, for good. The other sets do not change: what is
/// permitted stays permitted until the next execve(2).
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
/// `EPERM` without an effective `CAP_SETPCAP`, also for a capability that is not in the set; none
/// has been dropped then. `EINVAL` for one that the kernel does not have; those with a lower
/// number have been dropped then.
#[doc(alias("cap_drop_bound", "PR_CAPBSET_DROP"))]
pub fn drop(caps: impl Into<CapSet>) -> Result<()> {
    caps.into().iter().try_for_each(|cap| {
        sys::capbset_drop(cap.number()).map_err(|err| Op::DropBounding.thread(err))
    })
}

/// Drops every capability that is not in `keep` from the bounding set, for good. If there is none
/// to drop, no privilege is needed.
///
/// # Errors
///
/// `EPERM` without an effective `CAP_SETPCAP`; none has been dropped then.
pub fn retain(keep: impl Into<CapSet>) -> Result<()> {
    drop(current()? - keep.into())
}
