//! The value of the attribute: `struct vfs_cap_data` and `struct vfs_ns_cap_data` of
//! `<linux/capability.h>`, 32-bit words in little-endian order.
//!
//! ```text
//! revision 1    0x0100000E  permitted inheritable
//! revision 2    0x0200000E  permitted inheritable  permitted>>32 inheritable>>32
//! revision 3    0x0300000E  permitted inheritable  permitted>>32 inheritable>>32  rootid
//!                       E   the effective bit
//! ```

use super::{FileCaps, Malformed};
use crate::CapSet;

/// The longest value: `XATTR_CAPS_SZ_3`.
pub(super) const LONGEST: usize = 24;

const REVISION_1: u32 = 0x0100_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const EFFECTIVE: u32 = 1;

impl FileCaps {
    /// Decodes a value of the attribute with revision 1, 2 or 3.
    ///
    /// # Errors
    ///
    /// [`Malformed`] if the kernel would reject the value.
    pub fn decode(value: &[u8]) -> Result<FileCaps, Malformed> {
        let length = Malformed::Length(value.len());
        if value.len() > LONGEST || value.len() % 4 != 0 {
            return Err(length);
        }
        let mut words = [0; LONGEST / 4];
        for (word, bytes) in words.iter_mut().zip(value.chunks_exact(4)) {
            *word = u32::from_le_bytes(bytes.try_into().map_err(|_| length)?);
        }
        let [magic, sets @ ..] = &words[..value.len() / 4] else {
            return Err(length);
        };
        let (permitted, inheritable, rootid) = match (magic & !EFFECTIVE, sets) {
            (REVISION_1, &[p, i]) => ([p, 0], [i, 0], None),
            (REVISION_2, &[p, i, high_p, high_i]) => ([p, high_p], [i, high_i], None),
            (REVISION_3, &[p, i, high_p, high_i, id]) => ([p, high_p], [i, high_i], Some(id)),
            (REVISION_1 | REVISION_2 | REVISION_3, _) => return Err(length),
            _ => return Err(Malformed::Magic(*magic)),
        };
        let set = |[low, high]: [u32; 2]| CapSet::from_bits(u64::from(low) | u64::from(high) << 32);
        Ok(FileCaps {
            permitted: set(permitted),
            inheritable: set(inheritable),
            effective: magic & EFFECTIVE != 0,
            rootid,
        })
    }

    /// Encodes these capabilities as revision 3 if they have a root ID, and as revision 2
    /// otherwise.
    pub fn encode(&self) -> Vec<u8> {
        let revision = if self.rootid.is_some() { REVISION_3 } else { REVISION_2 };
        let magic = revision | if self.effective { EFFECTIVE } else { 0 };
        let mut value = magic.to_le_bytes().to_vec();
        let sets = [self.permitted, self.inheritable].map(|set| set.bits().to_le_bytes());
        for half in [0..4, 4..8] {
            for set in &sets {
                value.extend_from_slice(&set[half.clone()]);
            }
        }
        value.extend(self.rootid.into_iter().flat_map(u32::to_le_bytes));
        value
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn decode() {
        let caps = |permitted, inheritable, effective, rootid| {
            let [permitted, inheritable] = [permitted, inheritable].map(CapSet::from_bits);
            Ok(FileCaps { permitted, inheritable, effective, rootid })
        };
        #[rustfmt::skip]
        let rows: &[(&str, &[u32], Result<FileCaps, Malformed>)] = &[
            ("v1",               &[0x0100_0001, 1, 2],               caps(1, 2, true, None)),
            ("v1, not effective", &[0x0100_0000, 1 << 31, 0],        caps(1 << 31, 0, false, None)),
            ("v2",               &[0x0200_0001, 1 << 13, 0, 0, 0],   caps(1 << 13, 0, true, None)),
            ("v2, high words",   &[0x0200_0000, 0, 0, 1, 2],         caps(1 << 32, 1 << 33, false, None)),
            ("v2, bit 63",       &[0x0200_0000, 0, 0, 1 << 31, 0],   caps(1 << 63, 0, false, None)),
            ("v3",               &[0x0300_0001, 1, 0, 0, 0, 1000],   caps(1, 0, true, Some(1000))),
            ("v3, rootid 0",     &[0x0300_0000, 1, 0, 0, 0, 0],      caps(1, 0, false, Some(0))),
            ("empty",            &[],                                Err(Malformed::Length(0))),
            ("magic alone",      &[0x0200_0001],                     Err(Malformed::Length(4))),
            ("v1, v2 length",    &[0x0100_0000, 0, 0, 0, 0],         Err(Malformed::Length(20))),
            ("v2, v1 length",    &[0x0200_0000, 0, 0],               Err(Malformed::Length(12))),
            ("v2, v3 length",    &[0x0200_0000, 0, 0, 1, 0, 0],      Err(Malformed::Length(24))),
            ("v3, v2 length",    &[0x0300_0000, 0, 0, 1, 0],         Err(Malformed::Length(20))),
            ("longer than all",  &[0x0300_0000, 0, 0, 1, 0, 0, 0],   Err(Malformed::Length(28))),
            ("revision 4",       &[0x0400_0000, 0, 0, 0, 0],         Err(Malformed::Magic(0x0400_0000))),
            ("another flag",     &[0x0200_0002, 0, 0, 0, 0],         Err(Malformed::Magic(0x0200_0002))),
        ];
        for (row, words, want) in rows {
            assert_eq!(FileCaps::decode(&bytes(words)), *want, "row {row:?}");
        }
        assert_eq!(FileCaps::decode(&[0; 13]), Err(Malformed::Length(13)));
    }

    /// Compares with values that libcap 2.76 wrote.
    #[test]
    fn encode() {
        let raw =
            FileCaps { permitted: CapSet::from_bits(1 << 13), effective: true, ..FileCaps::EMPTY };
        assert_eq!(raw.encode(), bytes(&[0x0200_0001, 0x2000, 0, 0, 0]));
        assert_eq!(FileCaps::EMPTY.encode(), bytes(&[0x0200_0000, 0, 0, 0, 0]));
        let raw = FileCaps { rootid: Some(1000), ..raw };
        assert_eq!(raw.encode(), bytes(&[0x0300_0001, 0x2000, 0, 0, 0, 1000]));
    }

    proptest! {
        #[test]
        fn encoding_and_decoding_are_inverse(p: u64, i: u64, effective: bool, rootid: Option<u32>) {
            let [permitted, inheritable] = [p, i].map(CapSet::from_bits);
            let caps = FileCaps { permitted, inheritable, effective, rootid };
            prop_assert_eq!(FileCaps::decode(&caps.encode()), Ok(caps));
        }

        #[test]
        fn no_value_panics(value: Vec<u8>, words: Vec<u32>, revision in 1u32..4) {
            let _ = FileCaps::decode(&value);
            let words = [&[revision << 24], &words[..]].concat();
            if let Ok(caps) = FileCaps::decode(&bytes(&words)) {
                prop_assert_eq!(FileCaps::decode(&caps.encode()), Ok(caps));
            }
        }
    }
}
