//! A set of capabilities.

use std::{
    fmt,
    iter::FusedIterator,
    ops::{BitAnd, BitAndAssign, BitOr, BitOrAssign, BitXor, BitXorAssign, Not, Sub, SubAssign},
    str::FromStr,
};

use super::{Cap, ParseError, cap};

/// A set of capabilities: bit *n* is the capability with the number *n*.
///
/// A set has 64 bits, named or not, and no operation loses one. Do not confuse three constants:
/// [`CapSet::all`] has all 64 bits, [`CapSet::NAMED`] has every capability that this crate has a
/// name for, and [`CapSet::supported`] has every capability of the running kernel.
///
/// ```
/// use rcap::{Cap, CapSet};
///
/// const WEB: CapSet = CapSet::of(&[Cap::NET_BIND_SERVICE, Cap::SETUID]);
///
/// let more = WEB | Cap::SETGID;
/// assert!(more.contains(Cap::SETGID) && more.is_superset(WEB));
/// assert_eq!(more.to_string(), "cap_setgid,cap_setuid,cap_net_bind_service");
/// for cap in more - WEB {
///     assert_eq!(cap, Cap::SETGID);
/// }
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct CapSet(u64);

impl CapSet {
    /// Every capability that this crate has a name for. [`CapSet::supported`] has those of the
    /// running kernel.
    pub const NAMED: CapSet = CapSet::first(cap::NAMED);

    /// Returns the empty set.
    pub const fn empty() -> CapSet {
        CapSet(0)
    }

    /// Returns the set of all 64 bits, including unused ones.
    pub const fn all() -> CapSet {
        CapSet(u64::MAX)
    }

    /// Returns the set of these capabilities. Unlike `From`, it can be used in constants.
    pub const fn of(caps: &[Cap]) -> CapSet {
        let mut set = CapSet::empty();
        let mut index = 0;
        while index < caps.len() {
            set = set.with(caps[index]);
            index += 1;
        }
        set
    }

    /// Returns the capabilities with numbers below `count`, which a kernel with `count`
    /// capabilities supports. If `count` is 64 or more, returns all 64.
    pub const fn first(count: u8) -> CapSet {
        if count < 64 { CapSet((1 << count) - 1) } else { CapSet::all() }
    }

    /// Returns the set with these bits.
    pub const fn from_bits(bits: u64) -> CapSet {
        CapSet(bits)
    }

    /// Returns the bits. Bit *n* is the capability with the number *n*.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Returns whether the set has no members.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Returns the number of members.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Returns whether `cap` is a member.
    pub const fn contains(self, cap: Cap) -> bool {
        self.0 >> cap.number() & 1 == 1
    }

    /// Returns whether every member of this set is in `other`.
    pub const fn is_subset(self, other: CapSet) -> bool {
        self.0 & !other.0 == 0
    }

    /// Returns whether every member of `other` is in this set.
    pub const fn is_superset(self, other: CapSet) -> bool {
        other.is_subset(self)
    }

    /// Returns whether the sets have no member in common.
    pub const fn is_disjoint(self, other: CapSet) -> bool {
        self.0 & other.0 == 0
    }

    /// Returns the members of either set, like `|`, in constants too.
    #[must_use]
    pub const fn union(self, other: CapSet) -> CapSet {
        CapSet(self.0 | other.0)
    }

    /// Returns the common members of both sets, like `&`, in constants too.
    #[must_use]
    pub const fn intersection(self, other: CapSet) -> CapSet {
        CapSet(self.0 & other.0)
    }

    /// Returns the members of this set that are not in `other`, like `-`, in constants too.
    #[must_use]
    pub const fn difference(self, other: CapSet) -> CapSet {
        CapSet(self.0 & !other.0)
    }

    /// Returns this set with `cap`.
    #[must_use]
    pub const fn with(self, cap: Cap) -> CapSet {
        CapSet(self.0 | 1 << cap.number())
    }

    /// Returns this set without `cap`.
    #[must_use]
    pub const fn without(self, cap: Cap) -> CapSet {
        CapSet(self.0 & !(1 << cap.number()))
    }

    /// Adds `cap`, and returns whether it was not a member before.
    pub const fn insert(&mut self, cap: Cap) -> bool {
        let is_new = !self.contains(cap);
        *self = self.with(cap);
        is_new
    }

    /// Removes `cap`, and returns whether it was a member.
    pub const fn remove(&mut self, cap: Cap) -> bool {
        let was_member = self.contains(cap);
        *self = self.without(cap);
        was_member
    }

    /// Returns an iterator over the members, lowest number first.
    pub const fn iter(self) -> CapIter {
        CapIter(self)
    }
}

/// An iterator over the members of a [`CapSet`], lowest number first.
#[derive(Clone, Debug)]
pub struct CapIter(CapSet);

impl Iterator for CapIter {
    type Item = Cap;

    fn next(&mut self) -> Option<Cap> {
        let cap = lowest(self.0.0)?;
        self.0.remove(cap);
        Some(cap)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.len(), Some(self.0.len()))
    }
}

impl DoubleEndedIterator for CapIter {
    fn next_back(&mut self) -> Option<Cap> {
        let cap = highest(self.0.0)?;
        self.0.remove(cap);
        Some(cap)
    }
}

impl ExactSizeIterator for CapIter {}
impl FusedIterator for CapIter {}

fn lowest(bits: u64) -> Option<Cap> {
    u8::try_from(bits.trailing_zeros()).ok().and_then(Cap::from_number)
}

fn highest(bits: u64) -> Option<Cap> {
    bits.checked_ilog2().and_then(|number| u8::try_from(number).ok()).and_then(Cap::from_number)
}

impl IntoIterator for CapSet {
    type Item = Cap;
    type IntoIter = CapIter;

    fn into_iter(self) -> CapIter {
        self.iter()
    }
}

impl IntoIterator for &CapSet {
    type Item = Cap;
    type IntoIter = CapIter;

    fn into_iter(self) -> CapIter {
        self.iter()
    }
}

impl From<Cap> for CapSet {
    fn from(cap: Cap) -> CapSet {
        CapSet::of(&[cap])
    }
}

impl<const N: usize> From<[Cap; N]> for CapSet {
    fn from(caps: [Cap; N]) -> CapSet {
        CapSet::of(&caps)
    }
}

impl FromIterator<Cap> for CapSet {
    fn from_iter<I: IntoIterator<Item = Cap>>(caps: I) -> CapSet {
        caps.into_iter().fold(CapSet::empty(), CapSet::with)
    }
}

impl<'a> FromIterator<&'a Cap> for CapSet {
    fn from_iter<I: IntoIterator<Item = &'a Cap>>(caps: I) -> CapSet {
        caps.into_iter().copied().collect()
    }
}

/// Returns the union of the sets.
impl FromIterator<CapSet> for CapSet {
    fn from_iter<I: IntoIterator<Item = CapSet>>(sets: I) -> CapSet {
        sets.into_iter().fold(CapSet::empty(), CapSet::union)
    }
}

impl Extend<Cap> for CapSet {
    fn extend<I: IntoIterator<Item = Cap>>(&mut self, caps: I) {
        *self |= caps.into_iter().collect::<CapSet>();
    }
}

impl<'a> Extend<&'a Cap> for CapSet {
    fn extend<I: IntoIterator<Item = &'a Cap>>(&mut self, caps: I) {
        self.extend(caps.into_iter().copied());
    }
}

/// Implements an operator and its assigning form, for two sets and for a set and a capability.
macro_rules! operator {
    ($trait:ident $method:ident, $assign:ident $assign_method:ident, $operation:expr) => {
        operator!(@ $trait $method, $assign $assign_method, $operation, CapSet);
        operator!(@ $trait $method, $assign $assign_method, $operation, Cap);
    };
    (@ $trait:ident $method:ident, $assign:ident $assign_method:ident, $operation:expr, $other:ty) => {
        impl $trait<$other> for CapSet {
            type Output = CapSet;

            fn $method(self, other: $other) -> CapSet {
                let operation: fn(u64, u64) -> u64 = $operation;
                CapSet(operation(self.0, CapSet::from(other).0))
            }
        }

        impl $assign<$other> for CapSet {
            fn $assign_method(&mut self, other: $other) {
                *self = $trait::$method(*self, other);
            }
        }
    };
}

operator!(BitOr bitor, BitOrAssign bitor_assign, |a, b| a | b);
operator!(BitAnd bitand, BitAndAssign bitand_assign, |a, b| a & b);
operator!(BitXor bitxor, BitXorAssign bitxor_assign, |a, b| a ^ b);
operator!(Sub sub, SubAssign sub_assign, |a, b| a & !b);

impl BitOr<Cap> for Cap {
    type Output = CapSet;

    fn bitor(self, other: Cap) -> CapSet {
        CapSet::of(&[self, other])
    }
}

impl BitOr<CapSet> for Cap {
    type Output = CapSet;

    fn bitor(self, other: CapSet) -> CapSet {
        other.with(self)
    }
}

/// Returns every bit that is not in the set, including unused ones.
impl Not for CapSet {
    type Output = CapSet;

    fn not(self) -> CapSet {
        CapSet(!self.0)
    }
}

/// Prints the members separated by commas, lowest number first. The empty set is empty text.
impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cap) in self.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{cap}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Parses capabilities separated by commas, like [`Cap`]. Empty text is the empty set.
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
        let of = |bits| Ok(CapSet::from_bits(bits));
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

    #[test]
    fn operators() {
        const TWO: CapSet = CapSet::of(&[Cap::CHOWN, Cap::KILL]);
        let kill = CapSet::from(Cap::KILL);
        assert_eq!(Cap::CHOWN | Cap::KILL, TWO);
        assert_eq!(Cap::CHOWN | kill, TWO);
        assert_eq!(kill | Cap::CHOWN, TWO);
        assert_eq!(CapSet::from([Cap::KILL, Cap::CHOWN, Cap::KILL]), TWO);
        assert_eq!(TWO - Cap::CHOWN, kill);
        assert_eq!(TWO & Cap::KILL, kill);
        assert_eq!(TWO & Cap::SETUID, CapSet::empty());
        assert_eq!(TWO ^ Cap::SETUID, TWO | Cap::SETUID);
        assert_eq!(TWO ^ kill, Cap::CHOWN.into());
        assert_eq!([Cap::CHOWN, Cap::KILL].iter().collect::<CapSet>(), TWO);
        assert_eq!([kill, Cap::CHOWN.into()].into_iter().collect::<CapSet>(), TWO);

        let mut set = CapSet::empty();
        assert!(set.insert(Cap::KILL) && !set.insert(Cap::KILL));
        set.extend(&[Cap::CHOWN]);
        assert_eq!(set, TWO);
        assert!(set.remove(Cap::CHOWN) && !set.remove(Cap::CHOWN));
        set |= Cap::CHOWN;
        set -= kill;
        assert_eq!(set, Cap::CHOWN.into());

        assert!(kill.is_subset(TWO) && TWO.is_superset(kill) && !TWO.is_subset(kill));
        assert!(kill.is_disjoint(Cap::CHOWN.into()) && !kill.is_disjoint(TWO));
        let mut caps = Vec::new();
        for cap in TWO {
            caps.push(cap);
        }
        assert_eq!(caps, [Cap::CHOWN, Cap::KILL]);
        assert_eq!(TWO.iter().len(), 2);
        assert_eq!(CapSet::all().iter().next_back(), Cap::from_number(63));
    }

    proptest! {
        #[test]
        fn no_bit_is_lost(bits: u64) {
            let set = CapSet::from_bits(bits);
            prop_assert_eq!(set.to_string().parse::<CapSet>(), Ok(set));
            prop_assert_eq!(set.iter().collect::<CapSet>(), set);
            prop_assert_eq!((!set).bits(), !bits);
            prop_assert_eq!(set.len(), set.iter().count());
            prop_assert!(set.iter().rev().eq(set.iter().collect::<Vec<_>>().into_iter().rev()));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = text.parse::<CapSet>();
        }
    }
}
