//! The external form of the three sets, which cap_copy_ext(3) writes and cap_copy_int(3) reads.
//!
//! ```text
//! 90 c2 01 51    magic
//! L              bytes per set, 8 here
//! L times        one byte each of effective, permitted, inheritable, lowest bits first
//! ```

use std::{error, fmt};

use super::{CapSet, CapState};

const MAGIC: [u8; 4] = [0x90, 0xc2, 0x01, 0x51];

/// The error of bytes that are not the external form of a [`CapState`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExternalError {
    /// The bytes do not start with the magic number and a length.
    Magic,
    /// There are fewer bytes than the length requires.
    Short,
    /// A capability number above 63 is set.
    TooLarge,
}

impl fmt::Display for ExternalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ExternalError::Magic => "not the external form of capability sets",
            ExternalError::Short => "the external form of capability sets ends too early",
            ExternalError::TooLarge => "a capability with a number above 63 is set",
        })
    }
}

impl error::Error for ExternalError {}

impl CapState {
    /// Returns the external form of these sets, which is the same on every architecture.
    #[doc(alias = "cap_copy_ext")]
    pub fn to_external(self) -> [u8; 29] {
        let mut bytes = [0; 29];
        let (magic, rest) = bytes.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        rest[0] = 8;
        let sets =
            [self.effective, self.permitted, self.inheritable].map(|s| s.bits().to_le_bytes());
        for (index, triple) in rest[1..].chunks_exact_mut(3).enumerate() {
            for (byte, set) in triple.iter_mut().zip(sets) {
                *byte = set[index];
            }
        }
        bytes
    }

    /// Parses the external form at the start of `bytes`. A set may have fewer than eight bytes, or
    /// more if the additional bytes are 0.
    ///
    /// ```
    /// use rcap::{Cap, CapSet, CapState};
    ///
    /// let state = CapState { permitted: Cap::KILL.into(), ..CapState::EMPTY };
    /// assert_eq!(CapState::from_external(&state.to_external()), Ok(state));
    /// ```
    ///
    /// # Errors
    ///
    /// [`ExternalError`] if the bytes do not have this form.
    #[doc(alias("cap_copy_int", "cap_copy_int_check"))]
    pub fn from_external(bytes: &[u8]) -> Result<CapState, ExternalError> {
        let Some((length, rest)) = bytes.strip_prefix(&MAGIC).and_then(<[u8]>::split_first) else {
            return Err(ExternalError::Magic);
        };
        let rest = rest.get(..3 * usize::from(*length)).ok_or(ExternalError::Short)?;
        let mut sets = [0u64; 3];
        for (index, triple) in rest.chunks_exact(3).enumerate() {
            for (set, &byte) in sets.iter_mut().zip(triple) {
                if index < 8 {
                    *set |= u64::from(byte) << (8 * index);
                } else if byte != 0 {
                    return Err(ExternalError::TooLarge);
                }
            }
        }
        let [effective, permitted, inheritable] = sets.map(CapSet::from_bits);
        Ok(CapState { effective, permitted, inheritable })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Compares with bytes that libcap 2.76 wrote.
    #[test]
    fn as_libcap() {
        let parse = |text| CapState::parse(text, CapSet::NAMED).unwrap().to_external();
        let bytes = |sets: &[u8]| {
            let mut bytes = [0; 29];
            bytes[..5].copy_from_slice(&[0x90, 0xc2, 0x01, 0x51, 8]);
            bytes[5..5 + sets.len()].copy_from_slice(sets);
            bytes
        };
        assert_eq!(parse("="), bytes(&[]));
        assert_eq!(parse("cap_chown=ep"), bytes(&[1, 1, 0]));
        let full = [[0xff, 0xff, 0].repeat(5), vec![1, 1, 0]].concat();
        assert_eq!(parse("=ep"), bytes(&full));
        assert_eq!(parse("63=i")[28], 0x80);
    }

    #[test]
    fn decode() {
        let magic = |rest: &[u8]| [&MAGIC[..], rest].concat();
        let chown = CapState { effective: CapSet::first(1), ..CapState::EMPTY };
        #[rustfmt::skip]
        let rows = [
            ("empty",               vec![],                                     Err(ExternalError::Magic)),
            ("magic alone",         magic(&[]),                                 Err(ExternalError::Magic)),
            ("another magic",       vec![0x90, 0xc2, 0x01, 0x50, 0],            Err(ExternalError::Magic)),
            ("no bytes a set",      magic(&[0]),                                Ok(CapState::EMPTY)),
            ("one byte a set",      magic(&[1, 1, 0, 0]),                       Ok(chown)),
            ("one byte is missing", magic(&[1, 1, 0]),                          Err(ExternalError::Short)),
            ("more bytes follow",   magic(&[1, 1, 0, 0, 9]),                    Ok(chown)),
            ("255, and none",       magic(&[255]),                              Err(ExternalError::Short)),
            ("nine, the last 0",    magic(&[&[9, 1], &[0; 26][..]].concat()),   Ok(chown)),
            ("nine, the last not",  magic(&[&[9], &[0; 26][..], &[1]].concat()), Err(ExternalError::TooLarge)),
        ];
        for (row, bytes, want) in rows {
            assert_eq!(CapState::from_external(&bytes), want, "row {row:?}");
        }
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_are_inverse(e: u64, p: u64, i: u64) {
            let [effective, permitted, inheritable] = [e, p, i].map(CapSet::from_bits);
            let state = CapState { effective, permitted, inheritable };
            prop_assert_eq!(CapState::from_external(&state.to_external()), Ok(state));
        }

        #[test]
        fn no_bytes_panic(rest: Vec<u8>) {
            let _ = CapState::from_external(&rest);
            let _ = CapState::from_external(&[&MAGIC[..], &rest].concat());
        }
    }
}
