//! The bounding set of the calling thread: what executing a file can at most make permitted.
//! (capabilities(7), "Capability bounding set")

use nix::errno::Errno;

use crate::{Cap, CapSet, Op, Result, kernel, sys};

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
    kernel::those(contains)
}

/// Drops `cap` from the bounding set, for good. The other sets stay as they are: what is
/// permitted stays permitted until the next exec.
///
/// ```no_run
/// use rcap::{Cap, CapState, bounding};
///
/// CapState::with_raised(Cap::SETPCAP.into(), || bounding::drop(Cap::SYS_MODULE))?;
/// # Ok::<(), rcap::Error>(())
/// ```
///
/// # Errors
///
/// `EPERM` without an effective `CAP_SETPCAP`, also if `cap` is not in the set; `EINVAL` if the
/// kernel does not have it.
#[doc(alias("cap_drop_bound", "PR_CAPBSET_DROP"))]
pub fn drop(cap: Cap) -> Result<()> {
    sys::capbset_drop(cap.number()).map_err(|err| Op::DropBounding.thread(err))
}
