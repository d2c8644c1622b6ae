//! The effective, permitted and inheritable sets of the calling thread. (capget(2))

use crate::{Cap, CapSet, CapState, Error, Op, Result, sys};

impl CapState {
    /// Returns the sets of the calling thread. (capget(2))
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if a sandbox forbids the call.
    #[doc(alias("cap_get_proc", "capget"))]
    pub fn current() -> Result<CapState> {
        sys::capget(0).map(CapState::from).map_err(|err| Op::ReadSets.thread(err))
    }

    /// Sets all three sets of the calling thread with one capset(2) call.
    ///
    /// # Errors
    ///
    /// `EPERM` if the change violates the kernel's rules: `permitted` can only lose members,
    /// `effective` must be a subset of `permitted`, and new members of `inheritable` must be in the
    /// bounding set and, without an effective `CAP_SETPCAP`, in the previous `permitted` or
    /// `inheritable` set. The sets do not change in case of an error. (capabilities(7),
    /// "Programmatically adjusting capability sets"; `cap_capset` in security/commoncap.c)
    #[doc(alias("cap_set_proc", "capset"))]
    pub fn apply(self) -> Result<()> {
        sys::capset(self.into()).map_err(|err| Op::SetSets.thread(err))
    }

    /// Calls `call` with `caps` effective in the calling thread, and then restores the effective
    /// set, even if `call` panics.
    ///
    /// If the capabilities are already effective, this makes no system call to raise them. `call`
    /// may return any error that [`Error`] converts into.
    ///
    /// ```no_run
    /// use std::{io, net::TcpListener};
    ///
    /// use rcap::{Cap, CapState};
    ///
    /// let listener = CapState::with_raised(Cap::NET_BIND_SERVICE, || TcpListener::bind("[::]:80"))?;
    /// # Ok::<(), io::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The error of `call`. `EPERM`, without calling `call`, if one of `caps` is not permitted. An
    /// error of restoring the effective set, after which `caps` may still be effective.
    pub fn with_raised<T, E: From<Error>>(
        caps: impl Into<CapSet>,
        call: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let raised = Raised::new(caps.into())?;
        let value = call()?;
        raised.lower()?;
        Ok(value)
    }

    /// Calls `call` with `CAP_SETPCAP` effective, if it is permitted.
    pub(crate) fn with_setpcap<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
        let setpcap = CapSet::from(Cap::SETPCAP) & CapState::current()?.permitted;
        CapState::with_raised(setpcap, call)
    }

    /// Sets the sets of the calling thread, with `CAP_SETPCAP` raised if it is permitted.
    pub(crate) fn apply_with_setpcap(self) -> Result<()> {
        let now = CapState::current()?;
        if now.permitted.contains(Cap::SETPCAP) {
            CapState { effective: now.effective.with(Cap::SETPCAP), ..now }.apply()?;
        }
        self.apply().inspect_err(|_| {
            let _ = now.apply();
        })
    }
}

/// The effective set to restore when dropped, or `None` if nothing was raised.
struct Raised {
    before: Option<CapSet>,
}

impl Raised {
    fn new(caps: CapSet) -> Result<Raised> {
        let now = CapState::current()?;
        if now.effective.is_superset(caps) {
            return Ok(Raised { before: None });
        }
        CapState { effective: now.effective | caps, ..now }.apply()?;
        Ok(Raised { before: Some(now.effective) })
    }

    /// Restores the effective set, and reads the others again, because the call may have changed
    /// them.
    fn lower(mut self) -> Result<()> {
        self.before.take().map_or(Ok(()), restore)
    }
}

fn restore(effective: CapSet) -> Result<()> {
    let now = CapState::current()?;
    CapState { effective: effective & now.permitted, ..now }.apply()
}

impl Drop for Raised {
    fn drop(&mut self) {
        // The call has failed, and its error is reported.
        let _ = self.before.take().map_or(Ok(()), restore);
    }
}

impl From<sys::RawCaps> for CapState {
    fn from(raw: sys::RawCaps) -> CapState {
        CapState {
            effective: CapSet::from_bits(raw.effective),
            permitted: CapSet::from_bits(raw.permitted),
            inheritable: CapSet::from_bits(raw.inheritable),
        }
    }
}

impl From<CapState> for sys::RawCaps {
    fn from(state: CapState) -> sys::RawCaps {
        sys::RawCaps {
            effective: state.effective.bits(),
            permitted: state.permitted.bits(),
            inheritable: state.inheritable.bits(),
        }
    }
}

impl Op {
    /// Calls `call` with `caps` effective. An error of raising them names this operation.
    pub(crate) fn with_raised<T>(
        self,
        caps: impl Into<CapSet>,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let raised = Raised::new(caps.into()).map_err(|err| match err {
            Error::Os { source, .. } => self.thread(source),
            err => err,
        })?;
        let value = call()?;
        raised.lower()?;
        Ok(value)
    }
}
