//! The three capability sets of a thread.

use super::CapSet;

/// The effective, permitted and inheritable sets of a thread, which the kernel reads and sets
/// together. (capabilities(7), "Thread capability sets")
///
/// Capabilities belong to each thread, not to the process: [`CapState::apply`] changes the calling
/// thread alone.
///
/// ```
/// use rcap::{Cap, CapSet, CapState};
///
/// let before = CapState::current()?;
/// // Keep at most CAP_NET_BIND_SERVICE, and give up everything else for good.
/// let keep = before.permitted & CapSet::of(&[Cap::NET_BIND_SERVICE]);
/// CapState { effective: keep, permitted: keep, inheritable: CapSet::empty() }.apply()?;
/// assert_eq!(CapState::current()?.permitted, keep);
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[doc(alias = "cap_t")]
pub struct CapState {
    /// What the kernel checks.
    pub effective: CapSet,
    /// What may be made effective or inheritable.
    pub permitted: CapSet,
    /// What a file with the same inheritable capabilities may be given when it is executed.
    pub inheritable: CapSet,
}

impl CapState {
    /// No capability in any set.
    pub const EMPTY: CapState = CapState {
        effective: CapSet::empty(),
        permitted: CapSet::empty(),
        inheritable: CapSet::empty(),
    };
}
