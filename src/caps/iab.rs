//! The inheritable, ambient and bounding sets as one value, and its text form.

use std::{fmt, str::FromStr};

use super::{Cap, CapSet, ParseError};

/// The sets that determine the capabilities of executed programs: the inheritable set, the ambient
/// set, and the capabilities dropped from the bounding set. (cap_iab(3))
///
/// Ambient capabilities are always inheritable, as in the kernel.
///
/// The text form lists every capability once, lowest number first. The prefix `!` marks a
/// capability dropped from the bounding set, `^` an ambient one, and `%` one that is dropped and
/// inheritable. A capability without a prefix is inheritable.
///
/// ```
/// use rcap::{Cap, Iab};
///
/// let iab: Iab = "!cap_chown,^cap_net_raw,cap_kill".parse()?;
/// assert!(iab.dropped().contains(Cap::CHOWN));
/// assert!(iab.ambient().contains(Cap::NET_RAW) && iab.inheritable().contains(Cap::NET_RAW));
/// assert_eq!(iab.to_string(), "!cap_chown,cap_kill,^cap_net_raw");
/// # Ok::<(), rcap::ParseError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "cap_iab_t")]
pub struct Iab {
    inheritable: CapSet, // a superset of `ambient`
    ambient: CapSet,
    dropped: CapSet,
}

impl Iab {
    /// Returns the value with these sets. Capabilities in `ambient` also become inheritable.
    /// `dropped` has the capabilities to drop from the bounding set.
    #[doc(alias = "cap_iab_init")]
    pub const fn new(inheritable: CapSet, ambient: CapSet, dropped: CapSet) -> Iab {
        Iab { inheritable: inheritable.union(ambient), ambient, dropped }
    }

    /// Returns this value with another inheritable set. Ambient capabilities that are not in it stop
    /// being ambient, as in the kernel.
    ///
    /// ```
    /// use rcap::{Cap, CapSet, Iab};
    ///
    /// let iab: Iab = "^cap_net_raw,!cap_kill".parse()?;
    /// assert_eq!(iab.with_inheritable(Cap::CHOWN.into()).to_string(), "cap_chown,!cap_kill");
    /// assert_eq!(iab.with_ambient(CapSet::empty()).to_string(), "!cap_kill,cap_net_raw");
    /// assert_eq!(iab.with_dropped(CapSet::empty()).to_string(), "^cap_net_raw");
    /// # Ok::<(), rcap::ParseError>(())
    /// ```
    #[must_use]
    #[doc(alias = "cap_iab_set_vector")]
    pub const fn with_inheritable(self, inheritable: CapSet) -> Iab {
        Iab { inheritable, ambient: self.ambient.intersection(inheritable), ..self }
    }

    /// Returns this value with another ambient set. Its capabilities also become inheritable.
    #[must_use]
    pub const fn with_ambient(self, ambient: CapSet) -> Iab {
        Iab::new(self.inheritable, ambient, self.dropped)
    }

    /// Returns this value with another set of capabilities to drop from the bounding set.
    #[must_use]
    pub const fn with_dropped(self, dropped: CapSet) -> Iab {
        Iab { dropped, ..self }
    }

    /// Returns the inheritable set.
    pub const fn inheritable(self) -> CapSet {
        self.inheritable
    }

    /// Returns the ambient set, a subset of the inheritable set.
    pub const fn ambient(self) -> CapSet {
        self.ambient
    }

    /// Returns the capabilities that are not in the bounding set.
    pub const fn dropped(self) -> CapSet {
        self.dropped
    }
}

impl fmt::Display for Iab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Iab { inheritable, ambient, dropped } = *self;
        for (index, cap) in (inheritable | dropped).iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let drop = if dropped.contains(cap) { "!" } else { "" };
            let keep =
                match (ambient.contains(cap), inheritable.contains(cap) && dropped.contains(cap)) {
                    (true, _) => "^",
                    (false, true) => "%",
                    (false, false) => "",
                };
            write!(f, "{comma}{drop}{keep}{cap}")?;
        }
        Ok(())
    }
}

/// Parses a list separated by commas, with any number of the prefixes `!`, `^` and `%` before each
/// capability, like cap_iab_from_text(3). Repeated capabilities are merged, and empty text is the
/// default value.
impl FromStr for Iab {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Iab, ParseError> {
        let [mut inheritable, mut ambient, mut dropped] = [CapSet::empty(); 3];
        let mut offset = 0;
        loop {
            let item = &text[offset..];
            let signs = item.len() - item.trim_start_matches(['!', '^', '%']).len();
            let (signs, rest) = item.split_at(signs);
            offset += signs.len();
            if rest.is_empty() {
                // The text ends here, possibly after a comma or prefixes.
                return Ok(Iab::new(inheritable, ambient, dropped));
            }
            let name = rest.split(',').next().unwrap_or(rest);
            let cap = Cap::lookup(name)
                .ok_or_else(|| ParseError::new(text, offset, ParseError::CAPABILITY))?;
            let has = |sign| signs.contains(sign);
            if has('!') {
                dropped = dropped.with(cap);
            }
            if has('^') {
                ambient = ambient.with(cap);
            }
            if has('%') || signs.is_empty() {
                inheritable = inheritable.with(cap);
            }
            offset += name.len();
            if text[offset..].starts_with(',') {
                offset += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parse() {
        let error = |text, offset| Err(ParseError::new(text, offset, ParseError::CAPABILITY));
        #[rustfmt::skip]
        let rows = [
            ("",                      Ok("")),
            ("cap_chown",             Ok("cap_chown")),
            ("%cap_chown",            Ok("cap_chown")),
            ("^cap_chown",            Ok("^cap_chown")),
            ("!cap_chown",            Ok("!cap_chown")),
            ("!^CAP_CHOWN",           Ok("!^cap_chown")),
            ("^!cap_chown",           Ok("!^cap_chown")),
            ("!%cap_chown",           Ok("!%cap_chown")),
            ("!!%%^cap_chown",        Ok("!^cap_chown")),
            ("cap_chown,!cap_chown",  Ok("!%cap_chown")),
            ("cap_kill,0,63,0x28",    Ok("cap_chown,cap_kill,cap_checkpoint_restore,63")),
            ("cap_chown,",            Ok("cap_chown")),
            ("cap_chown,!",           Ok("cap_chown")),
            ("!",                     Ok("")),
            (",cap_chown",            error(",cap_chown", 0)),
            ("cap_chown,,cap_kill",   error("cap_chown,,cap_kill", 10)),
            ("!,cap_chown",           error("!,cap_chown", 1)),
            ("cap_chown, cap_kill",   error("cap_chown, cap_kill", 10)),
            ("all",                   error("all", 0)),
            ("64",                    error("64", 0)),
            ("cap_chown=ep",          error("cap_chown=ep", 0)),
            ("cap_chown!",            error("cap_chown!", 0)),
        ];
        for (text, want) in rows {
            let got = text.parse::<Iab>().map(|iab| iab.to_string());
            assert_eq!(got, want.map(str::to_owned), "input {text:?}");
        }
    }

    #[test]
    fn one_part() {
        let set = |caps: &[Cap]| CapSet::of(caps);
        let iab = Iab::new(set(&[Cap::CHOWN]), set(&[Cap::KILL]), set(&[Cap::SETUID]));
        let [chown, kill, setuid] = [Cap::CHOWN, Cap::KILL, Cap::SETUID].map(CapSet::from);
        #[rustfmt::skip]
        let rows = [
            (iab.with_inheritable(CapSet::empty()), [CapSet::empty(), CapSet::empty(), setuid]),
            (iab.with_inheritable(kill | setuid),   [kill | setuid,   kill,            setuid]),
            (iab.with_ambient(CapSet::empty()),     [chown | kill,    CapSet::empty(), setuid]),
            (iab.with_ambient(setuid),              [CapSet::from_bits(0xa1), setuid,  setuid]),
            (iab.with_dropped(kill),                [chown | kill,    kill,            kill]),
        ];
        for (got, want) in rows {
            assert_eq!([got.inheritable(), got.ambient(), got.dropped()], want, "{got}");
        }
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(i: u64, a: u64, d: u64) {
            let [i, a, d] = [i, a, d].map(CapSet::from_bits);
            let iab = Iab::new(i, a, d);
            prop_assert_eq!(iab.to_string().parse::<Iab>(), Ok(iab));
        }

        #[test]
        fn no_text_panics(text in "[!^%,a-z0-9_\u{e9}]{0,20}|.*") {
            let _ = text.parse::<Iab>();
        }
    }
}
