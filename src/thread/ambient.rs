//! The ambient set of the calling thread: the capabilities that stay permitted and effective when
//! it executes a file without privileges. (capabilities(7), since Linux 4.3)

use super::kernel;
use crate::{Cap, CapSet, Op, Result, sys};

/// Returns whether `cap` is in the ambient set.
///
/// # Errors
///
/// `EINVAL` if the kernel does not support `cap`.
#[doc(alias("cap_get_ambient", "PR_CAP_AMBIENT_IS_SET"))]
pub fn contains(cap: Cap) -> Result<bool> {
    sys::cap_ambient(libc::PR_CAP_AMBIENT_IS_SET, cap.number())
        .map_err(|err| Op::ReadAmbient.thread(err))
}

/// Returns the ambient set, with one prctl(2) call per capability and without /proc.
///
/// # Errors
///
/// `EINVAL` on a kernel without ambient capabilities.
pub fn current() -> Result<CapSet> {
    kernel::filter_supported(contains)
}

/// Sets the ambient set: lowers all capabilities that are not in `caps`, and raises missing ones.
///
/// ```
/// use rcap::{CapSet, ambient};
///
/// ambient::set(CapSet::empty())?;
/// assert!(ambient::current()?.is_empty());
/// # Ok::<(), rcap::Error>(())
/// ```
///
/// # Errors
///
/// Those of [`raise`] and [`lower`]. In case of an error, the ambient set has no new members.
pub fn set(caps: impl Into<CapSet>) -> Result<()> {
    let caps = caps.into();
    let before = current()?;
    (before - caps).iter().try_for_each(lower)?;
    (caps - before).iter().try_for_each(raise).inspect_err(|_| {
        // Lowering needs no privilege.
        let _ = (caps - before).iter().try_for_each(lower);
    })
}

/// Raises `cap` in the ambient set.
///
/// # Errors
///
/// `EPERM` if `cap` is not both permitted and inheritable, or if the securebit no-cap-ambient-raise
/// is set. `EINVAL` if the kernel does not support `cap`.
#[doc(alias("cap_set_ambient", "PR_CAP_AMBIENT_RAISE"))]
pub fn raise(cap: Cap) -> Result<()> {
    change(libc::PR_CAP_AMBIENT_RAISE, cap.number(), Op::RaiseAmbient)
}

/// Lowers `cap` in the ambient set.
///
/// # Errors
///
/// `EINVAL` if the kernel does not support `cap`.
#[doc(alias = "PR_CAP_AMBIENT_LOWER")]
pub fn lower(cap: Cap) -> Result<()> {
    change(libc::PR_CAP_AMBIENT_LOWER, cap.number(), Op::LowerAmbient)
}

/// Clears the ambient set.
///
/// # Errors
///
/// `EINVAL` on a kernel without ambient capabilities.
#[doc(alias("cap_reset_ambient", "PR_CAP_AMBIENT_CLEAR_ALL"))]
pub fn clear() -> Result<()> {
    change(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0, Op::LowerAmbient)
}

fn change(action: i32, cap: u8, op: Op) -> Result<()> {
    sys::cap_ambient(action, cap).map(drop).map_err(|err| op.thread(err))
}
