//! The inheritable, ambient and bounding sets of the calling thread. (cap_iab(3))

use super::{ambient, bounding};
use crate::{Cap, CapSet, CapState, Iab};

impl Iab {
    /// The tuple of the calling thread; what the kernel has and the bounding set lacks counts as
    /// dropped.
    ///
    /// # Errors
    ///
    /// `EINVAL` on a kernel without ambient capabilities.
    #[doc(alias = "cap_iab_get_proc")]
    pub fn current() -> crate::Result<Iab> {
        let dropped = CapSet::supported() - bounding::current()?;
        Ok(Iab::new(CapState::current()?.inheritable, ambient::current()?, dropped))
    }

    /// Gives the calling thread this inheritable and this ambient set, and drops from its
    /// bounding set. `CAP_SETPCAP` is effective for as long as it takes, where it takes it:
    /// to make inheritable what is neither permitted nor inheritable, and to drop.
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
    /// `EPERM` if `CAP_SETPCAP` is needed and not permitted, if what is to be ambient is not
    /// permitted, if what is to be inheritable is not in the bounding set, or if the securebit
    /// no-cap-ambient-raise is set. The thread is then as it was.
    #[doc(alias = "cap_iab_set_proc")]
    pub fn apply(self) -> crate::Result<()> {
        let before = CapState::current()?;
        let drop = self.dropped() & bounding::current()?;
        let gains = !(before.permitted | before.inheritable).is_superset(self.inheritable());
        let needed = if gains || !drop.is_empty() { Cap::SETPCAP.into() } else { CapSet::empty() };
        CapState::with_raised(needed, || {
            let ambient_before = ambient::current()?;
            let now = CapState::current()?;
            // What stops being inheritable stops being ambient.
            CapState { inheritable: self.inheritable(), ..now }.apply()?;
            let dropped = || bounding::drop(drop);
            ambient::set(self.ambient()).and_then(|()| dropped()).inspect_err(|_| {
                // Nothing was dropped: if one can be, all can.
                let _ = CapState { inheritable: before.inheritable, ..now }.apply();
                let _ = ambient::set(ambient_before);
            })
        })
    }
}
