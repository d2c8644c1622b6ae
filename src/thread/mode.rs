//! The mode of the calling thread. (cap_get_mode(3))

use nix::errno::Errno;

use super::{ambient, bounding, no_new_privs, securebits};
use crate::{Cap, CapSet, CapState, Error, Mode, Op, Result, Securebits};

/// The facts that determine a mode.
#[derive(Clone, Copy, Debug)]
struct Facts {
    securebits: Securebits,
    caps: CapState,
    /// The ambient set, or `None` if the kernel has none.
    ambient: Option<CapSet>,
    bounding: CapSet,
}

impl Mode {
    /// Returns the mode of the calling thread, or `None` if the state is not one of the modes,
    /// which libcap calls uncertain.
    ///
    /// The securebits decide first: without any, the mode is [`Mode::Hybrid`] regardless of the
    /// sets. [`Mode::Pure1e`] is reported as [`Mode::Pure1eInit`] while the inheritable set is
    /// empty.
    ///
    /// # Errors
    ///
    /// [`Error::Os`] if a sandbox forbids a call.
    #[doc(alias = "cap_get_mode")]
    pub fn current() -> Result<Option<Mode>> {
        Ok(Mode::of(&Facts {
            securebits: securebits::current()?,
            caps: CapState::current()?,
            ambient: supported(ambient::current())?,
            bounding: bounding::current()?,
        }))
    }

    fn of(facts: &Facts) -> Option<Mode> {
        let Facts { securebits, caps, ambient, bounding } = *facts;
        if securebits.is_empty() {
            return Some(Mode::Hybrid);
        }
        let pure = match ambient {
            Some(ambient) => ambient.is_empty() && securebits == Securebits::PURE_WITHOUT_AMBIENT,
            None => securebits.contains(Securebits::PURE),
        };
        if !pure {
            return None;
        }
        Some(if !caps.inheritable.is_empty() {
            Mode::Pure1e
        } else if !(caps.permitted | caps.effective | bounding).is_empty() {
            Mode::Pure1eInit
        } else {
            Mode::NoPriv
        })
    }

    /// Sets the mode of the calling thread, permanently unless it is [`Mode::Hybrid`]. The
    /// effective set is empty afterwards, and the permitted set is preserved except in
    /// [`Mode::NoPriv`].
    ///
    /// # Errors
    ///
    /// `EPERM` without a permitted `CAP_SETPCAP`, or if a securebit is locked with another value.
    /// In these cases, only the effective set changes, and is empty. [`Error::Os`] with another
    /// errno if a sandbox forbids a call; earlier steps then remain in effect.
    #[doc(alias = "cap_set_mode")]
    pub fn apply(self) -> Result<()> {
        let result = Op::SetSecurebits.with_raised(Cap::SETPCAP, || self.set());
        // This also happens after an error, so that the thread continues with less and not with
        // more.
        let now = CapState::current()?;
        let cleared = CapState { effective: CapSet::empty(), ..now }.apply();
        result.and(cleared)
    }

    /// Needs an effective `CAP_SETPCAP`. Sets the securebits first, because only they can fail.
    fn set(self) -> Result<()> {
        if self == Mode::Hybrid {
            return securebits::set(Securebits::empty());
        }
        let has_ambient = supported(ambient::current())?.is_some();
        securebits::set(if has_ambient {
            Securebits::PURE_WITHOUT_AMBIENT
        } else {
            Securebits::PURE
        })?;
        if has_ambient {
            ambient::clear()?;
        }
        let before = CapState::current()?;
        match self {
            Mode::NoPriv => {
                bounding::retain(CapSet::empty())?;
                no_new_privs::set()?;
                CapState::EMPTY.apply()
            }
            Mode::Pure1eInit => CapState { inheritable: CapSet::empty(), ..before }.apply(),
            Mode::Pure1e | Mode::Hybrid => Ok(()),
        }
    }
}

/// Returns `None` for `EINVAL`, the error of a kernel without an ambient set.
fn supported(ambient: Result<CapSet>) -> Result<Option<CapSet>> {
    match ambient {
        Err(Error::Os { source, .. }) if source.raw_os_error() == Some(Errno::EINVAL as i32) => {
            Ok(None)
        }
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognised_as_libcap_does() {
        const NONE: CapSet = CapSet::empty();
        const SOME: CapSet = CapSet::of(&[Cap::CHOWN]);
        let [clean, held, inheritable] = [
            CapState::EMPTY,
            CapState { permitted: SOME, ..CapState::EMPTY },
            CapState { inheritable: SOME, ..CapState::EMPTY },
        ];
        #[rustfmt::skip]
        let rows = [
            (0x00, clean,       Some(NONE), NONE, Some(Mode::Hybrid)),
            (0x00, held,        Some(SOME), SOME, Some(Mode::Hybrid)),
            (0xef, clean,       Some(NONE), NONE, Some(Mode::NoPriv)),
            (0xef, clean,       Some(NONE), SOME, Some(Mode::Pure1eInit)),
            (0xef, held,        Some(NONE), NONE, Some(Mode::Pure1eInit)),
            (0xef, inheritable, Some(NONE), NONE, Some(Mode::Pure1e)),
            (0xef, inheritable, Some(NONE), SOME, Some(Mode::Pure1e)),
            (0xef, inheritable, Some(SOME), SOME, None),
            (0x2f, clean,       Some(NONE), NONE, None),
            (0x2f, clean,       None,       NONE, Some(Mode::NoPriv)),
            (0x2f, inheritable, None,       NONE, Some(Mode::Pure1e)),
            (0x6f, held,        None,       NONE, Some(Mode::Pure1eInit)),
            (0x10, clean,       Some(NONE), NONE, None),
            (0x2e, clean,       None,       NONE, None),
            (0x1ef, clean,      Some(NONE), NONE, None),
            (0x100, clean,      Some(NONE), NONE, None),
        ];
        for (bits, caps, ambient, bounding, want) in rows {
            let securebits = Securebits::from_bits_retain(bits);
            let facts = Facts { securebits, caps, ambient, bounding };
            assert_eq!(Mode::of(&facts), want, "{bits:#x} {facts:?}");
        }
    }
}
