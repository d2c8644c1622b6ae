//! A page of the kernel's ring buffer, in the format of trace_pipe_raw.

/// A page of records, in the order in which one processor wrote them. (include/linux/ring_buffer.h,
/// kernel/trace/ring_buffer.c)
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    time: u64,
    records: &'a [u8],
    /// The number of records lost before this page, or `None` if some were lost and not counted.
    pub(crate) lost: Option<u64>,
}

/// The record of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// The time in nanoseconds of the trace clock.
    pub(crate) time: u64,
    /// The bytes, which begin with the number of the event.
    pub(crate) data: &'a [u8],
}

/// The size of the header: the time of the first record, and the length of the records.
const HEADER: usize = 16;

/// A flag in that length: records were lost, and their number follows the records.
const MISSED: u64 = 1 << 31;
const MISSED_STORED: u64 = 1 << 30;

impl<'a> Page<'a> {
    /// Parses a page, or returns `None`.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Page<'a>> {
        let word = |at: usize| -> Option<u64> {
            Some(u64::from_ne_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
        };
        let commit = word(8)?;
        let length = usize::try_from(commit & 0x0fff_ffff).ok()?;
        let end = HEADER.checked_add(length)?;
        let lost = match (commit & MISSED != 0, commit & MISSED_STORED != 0) {
            (false, _) => Some(0),
            (true, true) => word(end),
            (true, false) => None,
        };
        Some(Page { time: word(0)?, records: bytes.get(HEADER..end)?, lost })
    }

    /// Returns the records, up to the first invalid one.
    pub(crate) fn records(&self) -> impl Iterator<Item = Record<'a>> + use<'a> {
        let (mut time, mut rest) = (self.time, self.records);
        std::iter::from_fn(move || {
            loop {
                let head = u32::from_ne_bytes(rest.first_chunk().copied()?);
                // The order of bit fields depends on the byte order.
                let (kind, delta) = if cfg!(target_endian = "little") {
                    (head & 0x1f, u64::from(head >> 5))
                } else {
                    (head >> 27, u64::from(head & 0x07ff_ffff))
                };
                let word = || rest.get(4..8).and_then(|word| word.try_into().ok());
                let word = || word().map(u32::from_ne_bytes);
                let counted = || usize::try_from(word()?).ok()?.checked_add(4);
                let (length, data) = match kind {
                    // The rest of the page, or an abandoned place.
                    29 if delta == 0 => return None,
                    29 => (counted()?, None),
                    30 => {
                        time = time.wrapping_add(u64::from(word()?) << 27).wrapping_add(delta);
                        rest = rest.get(8..)?;
                        continue;
                    }
                    // An absolute time. Its missing upper bits are as before.
                    31 => {
                        time = (time & !((1 << 59) - 1)) | (u64::from(word()?) << 27 | delta);
                        rest = rest.get(8..)?;
                        continue;
                    }
                    0 => {
                        let length = counted()?;
                        (length, Some(rest.get(8..length)?))
                    }
                    words => {
                        let length = 4 + 4 * words as usize;
                        (length, Some(rest.get(4..length)?))
                    }
                };
                time = time.wrapping_add(delta);
                rest = rest.get(length..)?;
                if let Some(data) = data {
                    return Some(Record { time, data });
                }
            }
        })
    }
}

#[cfg(test)]
#[cfg(target_endian = "little")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(time: u64, flags: u64, records: &[u8], behind: &[u8]) -> Vec<u8> {
        let commit = flags | u64::try_from(records.len()).unwrap();
        [&time.to_ne_bytes(), &commit.to_ne_bytes(), records, behind].concat()
    }

    fn head(kind: u32, delta: u32) -> [u8; 4] {
        (kind | delta << 5).to_ne_bytes()
    }

    #[test]
    fn every_kind_of_record() {
        let records = [
            &head(1, 5)[..],
            b"abcd",
            &head(0, 10),
            &12_u32.to_ne_bytes(),
            b"01234567",
            &head(30, 3),
            &1_u32.to_ne_bytes(),
            &head(29, 1),
            &8_u32.to_ne_bytes(),
            b"gone",
            &head(2, 1),
            b"efghijkl",
            &head(31, 7),
            &2_u32.to_ne_bytes(),
            &head(1, 0),
            b"last",
            &head(29, 0),
        ]
        .concat();
        let bytes = page(1000, 0, &records, b"");
        let page = Page::parse(&bytes).unwrap();
        let extended = 1015 + (1 << 27) + 3 + 1 + 1;
        let want: [(u64, &[u8]); 4] = [
            (1005, b"abcd"),
            (1015, b"01234567"),
            (extended, b"efghijkl"),
            ((2 << 27) + 7, b"last"),
        ];
        let got: Vec<_> = page.records().map(|record| (record.time, record.data)).collect();
        assert_eq!(got, want);
        assert_eq!(page.lost, Some(0));
    }

    #[test]
    fn what_was_lost() {
        let record = [&head(1, 0)[..], b"abcd"].concat();
        let lost =
            |flags, behind: &[u8]| Page::parse(&page(0, flags, &record, behind)).unwrap().lost;
        assert_eq!(lost(0, b""), Some(0));
        assert_eq!(lost(MISSED, b""), None);
        assert_eq!(lost(MISSED | MISSED_STORED, &77_u64.to_ne_bytes()), Some(77));
        assert_eq!(lost(MISSED | MISSED_STORED, b""), None);
        assert!(Page::parse(&[0; 15]).is_none());
        assert!(Page::parse(&page(0, 0, &record, b"")[..20]).is_none());
    }

    proptest! {
        #[test]
        fn no_page_panics(bytes: Vec<u8>, records: Vec<u8>) {
            for bytes in [bytes, page(7, 0, &records, b"")] {
                if let Some(page) = Page::parse(&bytes) {
                    page.records().count();
                }
            }
        }
    }
}
