//! The three capability sets of a thread.

use super::CapSet;

/// The effective, permitted and inheritable sets of a thread, which the kernel reads and sets
/// together. (capabilities(7), "Thread capability sets")
///
/// Capabilities belong to a thread, not to its process: [`CapState::apply`] changes only the
/// calling thread.
///
/// ```
/// use rcap::{Cap, CapSet, CapState};
///
/// let before = CapState::current()?;
/// // Keep at most CAP_NET_BIND_SERVICE, and drop everything else permanently.
/// let keep = before.permitted & CapSet::of(&[Cap::NET_BIND_SERVICE]);
/// CapState::effective(keep).apply()?;
/// assert_eq!(CapState::current()?.permitted, keep);
/// # Ok::<(), rcap::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[doc(alias = "cap_t")]
#[expect(clippy::exhaustive_structs, reason = "capget(2) and capset(2) have these three sets")]
pub struct CapState {
    /// The capabilities that the kernel checks.
    pub effective: CapSet,
    /// The capabilities that the thread can make effective or inheritable.
    pub permitted: CapSet,
    /// The capabilities that a file with the same inheritable capabilities grants.
    pub inheritable: CapSet,
}

impl CapState {
    /// The state with three empty sets.
    pub const EMPTY: CapState = CapState {
        effective: CapSet::empty(),
        permitted: CapSet::empty(),
        inheritable: CapSet::empty(),
    };

    /// Returns the state in which `caps` are permitted and effective.
    ///
    /// ```
    /// use rcap::{Cap, CapSet, CapState};
    ///
    /// const RAW: CapState = CapState::effective(CapSet::of(&[Cap::NET_RAW]));
    /// assert_eq!(RAW.to_text(CapSet::NAMED).to_string(), "cap_net_raw=ep");
    /// ```
    pub const fn effective(caps: CapSet) -> CapState {
        CapState { effective: caps, ..CapState::permitted(caps) }
    }

    /// Returns the state in which `caps` are permitted, and no capability is effective.
    ///
    /// ```
    /// use rcap::{Cap, CapSet, CapState};
    ///
    /// const RAW: CapState = CapState::permitted(CapSet::of(&[Cap::NET_RAW]));
    /// assert_eq!(RAW.to_text(CapSet::NAMED).to_string(), "cap_net_raw=p");
    /// ```
    pub const fn permitted(caps: CapSet) -> CapState {
        CapState { permitted: caps, ..CapState::EMPTY }
    }
}
