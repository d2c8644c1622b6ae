//! The inheritable, ambient and bounding sets of the calling thread. (cap_iab(3))

use super::{ambient, bounding};
use crate::{Cap, CapSet, CapState, Iab};

impl Iab {
    /// Returns the sets of the calling thread. Supported capabilities that are missing from the
    /// bounding set count as dropped.
    ///
    /// # Errors
    ///
    /// `EINVAL` on a kernel without ambient capabilities.
    #[doc(alias = "cap_iab_get_proc")]
    pub fn current() -> crate::Result<Iab> {
        let dropped = CapSet::supported() - bounding::current()?;
        Ok(Iab::new(CapState::current()?.inheritable, ambient::current()?, dropped))
    }

    /// Sets the inheritable and ambient sets of the calling thread, and drops from its bounding
    /// set.
    ///
    /// Dropping, and making a capability inheritable that is neither permitted nor inheritable,
    /// needs `CAP_SETPCAP`, which is raised for the call.
    ///
    /// ```
    /// use rcap::Iab;
    ///
    /// Iab::default().apply()?; // nothing inheritable, nothing ambient
    /// assert!(Iab::current()?.inheritable().is_empty());
    /// # Ok::<(), rcap::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `EPERM` if `CAP_SETPCAP` is needed and not permitted, if an ambient capability is not
    /// permitted, if an inheritable capability is not in the bounding set, or if the securebit
    /// no-cap-ambient-raise is set. The sets do not change in case of an error.
    #[doc(alias = "cap_iab_set_proc")]
    pub fn apply(self) -> crate::Result<()> {
        let before = CapState::current()?;
        let drop = self.dropped() & bounding::current()?;
        let gains = !(before.permitted | before.inheritable).is_superset(self.inheritable());
        let needed = if gains || !drop.is_empty() { Cap::SETPCAP.into() } else { CapSet::empty() };
        CapState::with_raised(needed, || {
            let ambient_before = ambient::current()?;
            let now = CapState::current()?;
            // Capabilities that are no longer inheritable are no longer ambient.
            CapState { inheritable: self.inheritable(), ..now }.apply()?;
            let dropped = || bounding::drop(drop);
            ambient::set(self.ambient()).and_then(|()| dropped()).inspect_err(|_| {
                // Nothing was dropped: if one capability can be dropped, all can.
                let _ = CapState { inheritable: before.inheritable, ..now }.apply();
                let _ = ambient::set(ambient_before);
            })
        })
    }
}
