//! A set of capabilities.

use std::{fmt, str::FromStr};

use crate::{Cap, ParseError, cap, kernel};

bitflags::bitflags! {
    /// A set of capabilities: bit *n* is the capability with the number *n*.
    ///
    /// All 64 bits are kept, named or not: complement, difference and the round trip through the
    /// kernel or a file never lose one. Three sets are easily mistaken for each other and are
    /// therefore three names: [`CapSet::all`] is all 64 bits, [`CapSet::NAMED`] is what this
    /// crate has names for, [`CapSet::supported`] is what the running kernel knows.
    ///
    /// The set operations are those of [`bitflags`]; [`CapSet::caps`] walks the members.
    ///
    /// ```
    /// use rcap::{Cap, CapSet};
    ///
    /// const WEB: CapSet = CapSet::of(&[Cap::NET_BIND_SERVICE, Cap::SETUID]);
    /// const MORE: CapSet = WEB.union(CapSet::of(&[Cap::SETGID]));
    ///
    /// assert!(WEB.has(Cap::SETUID));
    /// assert_eq!((MORE - WEB).caps().collect::<Vec<_>>(), [Cap::SETGID]);
    /// assert_eq!(MORE.to_string(), "cap_setgid,cap_setuid,cap_net_bind_service");
    /// ```
    #[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
    #[repr(transparent)]
    pub struct CapSet: u64 {
        // No named flags: the names are Cap's. `!0` makes every bit a known one to bitflags.
        const _ = !0;
    }
}

impl CapSet {
    /// The capabilities that this crate has a name for. Not what the running kernel has: that is
    /// [`CapSet::supported`].
    pub const NAMED: CapSet = CapSet::first(cap::NAMED);

    /// The set of exactly these capabilities.
    pub const fn of(caps: &[Cap]) -> CapSet {
        let mut bits = 0;
        let mut index = 0;
        while index < caps.len() {
            bits |= 1 << caps[index].number();
            index += 1;
        }
        CapSet::from_bits_retain(bits)
    }

    /// The capabilities with the numbers below `count`: all that a kernel with `count`
    /// capabilities has. From 64 up it is all 64.
    pub const fn first(count: u8) -> CapSet {
        if count < 64 { CapSet::from_bits_retain((1 << count) - 1) } else { CapSet::all() }
    }

    /// The capabilities that the running kernel has. Asked for once, with two prctl(2) calls on
    /// a kernel whose last capability has a name here.
    #[doc(alias = "cap_max_bits")]
    pub fn supported() -> CapSet {
        kernel::supported()
    }

    /// Whether `cap` is in the set.
    pub const fn has(self, cap: Cap) -> bool {
        self.bits() >> cap.number() & 1 == 1
    }

    /// The set and `cap`.
    #[must_use]
    pub const fn with(self, cap: Cap) -> CapSet {
        CapSet::from_bits_retain(self.bits() | 1 << cap.number())
    }

    /// The set without `cap`.
    #[must_use]
    pub const fn without(self, cap: Cap) -> CapSet {
        CapSet::from_bits_retain(self.bits() & !(1 << cap.number()))
    }

    /// How many capabilities are in the set.
    #[expect(clippy::len_without_is_empty, reason = "it comes from bitflags")]
    pub const fn len(self) -> u32 {
        self.bits().count_ones()
    }

    /// The members, lowest number first.
    pub fn caps(self) -> impl DoubleEndedIterator<Item = Cap> + Clone {
        (0..64).filter_map(Cap::from_number).filter(move |&cap| self.has(cap))
    }
}

impl From<Cap> for CapSet {
    fn from(cap: Cap) -> CapSet {
        CapSet::of(&[cap])
    }
}

impl FromIterator<Cap> for CapSet {
    fn from_iter<I: IntoIterator<Item = Cap>>(caps: I) -> CapSet {
        caps.into_iter().fold(CapSet::empty(), CapSet::with)
    }
}

impl Extend<Cap> for CapSet {
    fn extend<I: IntoIterator<Item = Cap>>(&mut self, caps: I) {
        *self |= caps.into_iter().collect();
    }
}

/// The members separated by commas, lowest number first; nothing for the empty set.
impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cap) in self.caps().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{cap}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.caps()).finish()
    }
}

/// Names and numbers separated by commas, as [`Cap`] is parsed; nothing is the empty set.
impl FromStr for CapSet {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<CapSet, ParseError> {
        let mut set = CapSet::empty();
        let mut offset = 0;
        if text.is_empty() {
            return Ok(set);
        }
        for item in text.split(',') {
            let cap = Cap::lookup(item)
                .ok_or_else(|| ParseError::new(text, offset, ParseError::CAPABILITY))?;
            set = set.with(cap);
            offset += item.len() + 1;
        }
        Ok(set)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first() {
        assert_eq!(CapSet::first(0), CapSet::empty());
        assert_eq!(CapSet::first(38).bits(), 0x3f_ffff_ffff);
        assert_eq!(CapSet::first(63).bits(), u64::MAX >> 1);
        assert_eq!(CapSet::first(64), CapSet::all());
        assert_eq!(CapSet::first(255), CapSet::all());
        assert_eq!(CapSet::NAMED.bits(), 0x1ff_ffff_ffff);
    }

    #[test]
    fn parse() {
        let of = |bits| Ok(CapSet::from_bits_retain(bits));
        let at = |text, offset| Err(ParseError::new(text, offset, ParseError::CAPABILITY));
        #[rustfmt::skip]
        let rows = [
            ("",                  of(0)),
            ("cap_chown",         of(1)),
            ("CAP_KILL,63,0",     of(1 << 63 | 1 << 5 | 1)),
            ("cap_chown,",        at("cap_chown,", 10)),
            (",cap_chown",        at(",cap_chown", 0)),
            ("cap_chown,kill",    at("cap_chown,kill", 10)),
            ("cap_chown cap_kill", at("cap_chown cap_kill", 0)),
        ];
        for (text, want) in rows {
            assert_eq!(text.parse::<CapSet>(), want, "input {text:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bit_is_lost(bits: u64) {
            let set = CapSet::from_bits_retain(bits);
            prop_assert_eq!(set.to_string().parse::<CapSet>(), Ok(set));
            prop_assert_eq!(set.caps().collect::<CapSet>(), set);
            prop_assert_eq!((!set).bits(), !bits);
            prop_assert_eq!(set.len() as usize, set.caps().count());
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<CapSet>();
        }
    }
}
