//! The three capability sets of a thread.

use crate::{Cap, CapSet, Op, Result, proc, sys};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
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

    /// The sets of the calling thread, by capget(2).
    ///
    /// # Errors
    ///
    /// Only where a sandbox forbids the call.
    #[doc(alias("cap_get_proc", "capget"))]
    pub fn current() -> Result<CapState> {
        sys::capget(0).map(CapState::from).map_err(|err| Op::ReadSets.thread(err))
    }

    /// The sets of the process or thread `pid`, by capget(2), which needs neither privilege nor
    /// /proc. 0 is the calling thread. What a process id names is its first thread.
    ///
    /// # Errors
    ///
    /// [`Error::NoProcess`](crate::Error::NoProcess) if there is none.
    #[doc(alias = "cap_get_pid")]
    pub fn of_pid(pid: u32) -> Result<CapState> {
        proc::sets(pid)
    }

    /// Makes these the sets of the calling thread, by one capset(2): all three or none.
    ///
    /// # Errors
    ///
    /// `EPERM` where the kernel's rules are broken: `permitted` may only lose, `effective` must
    /// lie within `permitted`, and what is new in `inheritable` must lie within the former
    /// `permitted` and `inheritable`, or `CAP_SETPCAP` be effective, and within the bounding set.
    /// The thread is then as it was. (capabilities(7), "Programmatically adjusting capability
    /// sets"; `cap_capset` in security/commoncap.c)
    #[doc(alias("cap_set_proc", "capset"))]
    pub fn apply(self) -> Result<()> {
        sys::capset(self.into()).map_err(|err| Op::SetSets.thread(err))
    }

    /// Calls `call` with `caps` effective in the calling thread, and then makes effective again
    /// what was before, also when `call` panics. What is effective already costs nothing.
    ///
    /// ```no_run
    /// use rcap::{Cap, CapState, file};
    ///
    /// CapState::with_raised(Cap::SETFCAP.into(), || file::remove("/usr/local/bin/server"))?;
    /// # Ok::<(), rcap::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// That of `call`; or `EPERM`, without a call, if one of `caps` is not permitted; or that of
    /// lowering them again, in which case they may still be effective.
    pub fn with_raised<T>(caps: CapSet, call: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = CapState::current()?;
        if before.effective.contains(caps) {
            return call();
        }
        CapState { effective: before.effective | caps, ..before }.apply()?;
        let lower = Lower(before.effective);
        let value = call()?;
        lower.now()?;
        Ok(value)
    }

    /// Calls `call` with `CAP_SETPCAP` effective if it can be.
    pub(crate) fn with_setpcap<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
        let setpcap = CapSet::from(Cap::SETPCAP) & CapState::current()?.permitted;
        CapState::with_raised(setpcap, call)
    }

    /// Makes these the sets of the calling thread, by way of an effective `CAP_SETPCAP` if it can
    /// be.
    pub(crate) fn apply_with_setpcap(self) -> Result<()> {
        let now = CapState::current()?;
        if now.permitted.has(Cap::SETPCAP) {
            CapState { effective: now.effective.with(Cap::SETPCAP), ..now }.apply()?;
        }
        self.apply().inspect_err(|_| {
            let _ = now.apply();
        })
    }
}

/// Makes the effective set of the calling thread what it holds, at the latest when it is dropped.
struct Lower(CapSet);

impl Lower {
    fn now(self) -> Result<()> {
        let result = self.lower();
        std::mem::forget(self);
        result
    }

    /// The other sets are read anew: the call may have changed them.
    fn lower(&self) -> Result<()> {
        let now = CapState::current()?;
        CapState { effective: self.0 & now.permitted, ..now }.apply()
    }
}

impl Drop for Lower {
    fn drop(&mut self) {
        // The call has failed, and its error is the one to report.
        let _ = self.lower();
    }
}

impl From<sys::RawCaps> for CapState {
    fn from(raw: sys::RawCaps) -> CapState {
        CapState {
            effective: CapSet::from_bits_retain(raw.effective),
            permitted: CapSet::from_bits_retain(raw.permitted),
            inheritable: CapSet::from_bits_retain(raw.inheritable),
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
