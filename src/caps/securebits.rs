//! The securebits as a value, and their names. (capabilities(7), "The securebits flags")

use std::{fmt, str::FromStr};

use super::{ParseError, cap};

bitflags::bitflags! {
    /// The securebits. Unnamed bits are preserved.
    ///
    /// A `_LOCKED` bit makes the preceding bit unchangeable permanently.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    #[doc(alias = "SECBIT")]
    pub struct Securebits: u32 {
        /// Executing a file as user 0, or a set-user-ID-root file, grants no capabilities.
        const NOROOT = 1 << 0;
        /// `NOROOT` cannot be changed.
        const NOROOT_LOCKED = 1 << 1;
        /// Changing the user ID from or to 0 does not change the capability sets.
        const NO_SETUID_FIXUP = 1 << 2;
        /// `NO_SETUID_FIXUP` cannot be changed.
        const NO_SETUID_FIXUP_LOCKED = 1 << 3;
        /// Changing all user IDs from 0 preserves the permitted set. execve(2) clears this bit.
        const KEEP_CAPS = 1 << 4;
        /// `KEEP_CAPS` cannot be changed.
        const KEEP_CAPS_LOCKED = 1 << 5;
        /// No capability can be raised in the ambient set.
        const NO_CAP_AMBIENT_RAISE = 1 << 6;
        /// `NO_CAP_AMBIENT_RAISE` cannot be changed.
        const NO_CAP_AMBIENT_RAISE_LOCKED = 1 << 7;
        /// Asks interpreters to run only files that the kernel would execute (since Linux 6.14).
        const EXEC_RESTRICT_FILE = 1 << 8;
        /// `EXEC_RESTRICT_FILE` cannot be changed.
        const EXEC_RESTRICT_FILE_LOCKED = 1 << 9;
        /// Asks interpreters to reject commands that do not come from a file (since Linux 6.14).
        const EXEC_DENY_INTERACTIVE = 1 << 10;
        /// `EXEC_DENY_INTERACTIVE` cannot be changed.
        const EXEC_DENY_INTERACTIVE_LOCKED = 1 << 11;
        const _ = !0;
    }
}

impl Securebits {
    /// The bits that libcap's modes without a privileged user 0 set and lock on a kernel without an
    /// ambient set: `NOROOT` and `NO_SETUID_FIXUP` with their locks, and the lock of `KEEP_CAPS`.
    #[doc(alias = "CAP_SECURED_BITS_BASIC")]
    pub const PURE: Securebits = Securebits::NOROOT
        .union(Securebits::NOROOT_LOCKED)
        .union(Securebits::NO_SETUID_FIXUP)
        .union(Securebits::NO_SETUID_FIXUP_LOCKED)
        .union(Securebits::KEEP_CAPS_LOCKED);

    /// [`Securebits::PURE`], and `NO_CAP_AMBIENT_RAISE` with its lock.
    #[doc(alias = "CAP_SECURED_BITS_AMBIENT")]
    pub const PURE_WITHOUT_AMBIENT: Securebits = Securebits::PURE
        .union(Securebits::NO_CAP_AMBIENT_RAISE)
        .union(Securebits::NO_CAP_AMBIENT_RAISE_LOCKED);
}

/// Prints the names in the notation of systemd units, separated by commas, lowest bit first:
/// `noroot,noroot-locked`. Unnamed bits follow as one number.
impl fmt::Display for Securebits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (name, _) in self.iter_names() {
            write!(f, "{comma}{}", kebab(name))?;
            comma = ",";
        }
        let unnamed = *self - Securebits::NAMED;
        if !unnamed.is_empty() {
            write!(f, "{comma}{:#x}", unnamed.bits())?;
        }
        Ok(())
    }
}

/// Parses a list of names, in any case, and numbers, like strtoul(3) with base 0, separated by
/// commas. A name may have the prefix `SECBIT_` and underscores, or be one that libcap's capsh
/// prints. Empty text is the empty set.
impl FromStr for Securebits {
    type Err = ParseError;

    fn from_str(text: &str) -> std::result::Result<Securebits, ParseError> {
        let mut bits = Securebits::empty();
        let mut offset = 0;
        for item in text.split(',').take_while(|_| !text.is_empty()) {
            bits |= Securebits::lookup(item)
                .ok_or_else(|| ParseError::new(text, offset, ParseError::SECUREBIT))?;
            offset += item.len() + 1;
        }
        Ok(bits)
    }
}

impl Securebits {
    const NAMED: Securebits = Securebits::from_bits_retain((1 << 12) - 1);

    fn lookup(item: &str) -> Option<Securebits> {
        if item.starts_with(|c: char| c.is_ascii_digit()) {
            return cap::number(item).map(Securebits::from_bits_retain);
        }
        let name = kebab(item);
        let name = ["secbit-", "secure-"]
            .iter()
            .find_map(|start| name.strip_prefix(start))
            .unwrap_or(&name);
        // The names that libcap's capsh prints.
        let name = name
            .replace("no-suid-fixup", "no-setuid-fixup")
            .replace("no-ambient-raise", "no-cap-ambient-raise");
        Securebits::NAMED.iter_names().find(|(known, _)| kebab(known) == name).map(|(_, bit)| bit)
    }
}

fn kebab(name: &str) -> String {
    name.to_ascii_lowercase().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names() {
        let error = |text, offset| Err(ParseError::new(text, offset, ParseError::SECUREBIT));
        #[rustfmt::skip]
        let rows = [
            ("",                              Ok("")),
            ("noroot",                        Ok("noroot")),
            ("NOROOT_LOCKED",                 Ok("noroot-locked")),
            ("SECBIT_KEEP_CAPS",              Ok("keep-caps")),
            ("secure-no-suid-fixup",          Ok("no-setuid-fixup")),
            ("no-ambient-raise-locked",       Ok("no-cap-ambient-raise-locked")),
            ("secbit-no-setuid-fixup",        Ok("no-setuid-fixup")),
            ("noroot,noroot-locked,noroot",   Ok("noroot,noroot-locked")),
            ("exec-deny-interactive,noroot",  Ok("noroot,exec-deny-interactive")),
            ("0x3",                           Ok("noroot,noroot-locked")),
            ("0x1001,keep-caps",              Ok("noroot,keep-caps,0x1000")),
            ("057",                           Ok(
                "noroot,noroot-locked,no-setuid-fixup,no-setuid-fixup-locked,keep-caps-locked")),
            ("root",                          error("root", 0)),
            ("noroot,",                       error("noroot,", 7)),
            ("noroot,,noroot",                error("noroot,,noroot", 7)),
            ("noroot, noroot",                error("noroot, noroot", 7)),
            ("0x100000000",                   error("0x100000000", 0)),
            ("08",                            error("08", 0)),
        ];
        for (text, want) in rows {
            let got = text.parse::<Securebits>().map(|bits| bits.to_string());
            assert_eq!(got, want.map(str::to_owned), "input {text:?}");
        }
        assert_eq!(Securebits::NAMED.iter_names().count(), 12);
        assert_eq!(Securebits::PURE.bits(), 0x2f);
        assert_eq!(Securebits::PURE_WITHOUT_AMBIENT.bits(), 0xef);
    }

    proptest! {
        #[test]
        fn printing_and_parsing_are_inverse(bits: u32) {
            let bits = Securebits::from_bits_retain(bits);
            prop_assert_eq!(bits.to_string().parse(), Ok(bits));
        }
    }
}
