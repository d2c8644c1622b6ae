//! The run path of an ELF file. (elf(5), ld.so(8))

use std::{fs::File, os::unix::fs::FileExt};

/// The longest list of headers and the longest run path that is read.
const LIMIT: u64 = 64 << 10;
const PT_LOAD: u64 = 1;
const PT_DYNAMIC: u64 = 2;
const DT_STRTAB: u64 = 5;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// Returns whether the run path of an ELF file of this machine's byte order has `$ORIGIN`, or
/// `None` if the file is not ELF or is malformed.
pub(super) fn uses_origin(file: &File) -> Option<bool> {
    let header = read(file, 0, 64)?;
    let is_64 = match header.get(..6)? {
        [0x7f, b'E', b'L', b'F', 2, order] if *order == ORDER => true,
        [0x7f, b'E', b'L', b'F', 1, order] if *order == ORDER => false,
        _ => return None,
    };
    let elf = Elf { is_64 };
    // e_phoff, e_phentsize and e_phnum
    let (at, size, count) = if is_64 {
        (word(&header, 32, 8)?, word(&header, 54, 2)?, word(&header, 56, 2)?)
    } else {
        (word(&header, 28, 4)?, word(&header, 42, 2)?, word(&header, 44, 2)?)
    };
    let headers = read(file, at, size.checked_mul(count)?)?;
    let segments: Vec<Segment> = headers
        .chunks_exact(usize::try_from(size).ok().filter(|size| *size > 0)?)
        .filter_map(|header| elf.segment(header))
        .collect();
    let Some(dynamic) = segments.iter().find(|segment| segment.kind == PT_DYNAMIC) else {
        return Some(false);
    };
    let entries = elf.entries(&read(file, dynamic.offset, dynamic.size)?);
    let of = |tag| entries.iter().find(|(key, _)| *key == tag).map(|(_, value)| *value);
    let Some(table) = of(DT_STRTAB) else { return Some(false) };
    let table = segments.iter().find_map(|segment| segment.offset_of(table))?;
    let has_origin = |name: u64| {
        let text = read_some(file, table.checked_add(name)?)?;
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        let has = |word: &[u8]| text[..end].windows(word.len()).any(|part| part == word);
        Some(has(b"$ORIGIN") || has(b"${ORIGIN}"))
    };
    Some(
        [DT_RUNPATH, DT_RPATH]
            .into_iter()
            .filter_map(of)
            .any(|name| has_origin(name) == Some(true)),
    )
}

const ORDER: u8 = if cfg!(target_endian = "little") { 1 } else { 2 };

/// The class of a file.
struct Elf {
    is_64: bool,
}

struct Segment {
    kind: u64,
    offset: u64,
    address: u64,
    size: u64,
}

impl Segment {
    /// Returns the place in the file of an address in memory.
    fn offset_of(&self, address: u64) -> Option<u64> {
        let within = address.checked_sub(self.address).filter(|within| *within < self.size)?;
        self.offset.checked_add(within).filter(|_| self.kind == PT_LOAD)
    }
}

impl Elf {
    fn segment(&self, header: &[u8]) -> Option<Segment> {
        let [offset, address, size] = if self.is_64 { [8, 16, 32] } else { [4, 8, 16] };
        let length = self.word();
        Some(Segment {
            kind: word(header, 0, 4)?,
            offset: word(header, offset, length)?,
            address: word(header, address, length)?,
            size: word(header, size, length)?,
        })
    }

    fn word(&self) -> usize {
        if self.is_64 { 8 } else { 4 }
    }

    fn entries(&self, bytes: &[u8]) -> Vec<(u64, u64)> {
        let length = self.word();
        let pair = |entry: &[u8]| Some((word(entry, 0, length)?, word(entry, length, length)?));
        bytes.chunks_exact(2 * length).filter_map(pair).collect()
    }
}

/// Returns a number of this many bytes.
fn word(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(match length {
        2 => u64::from(u16::from_ne_bytes(bytes.try_into().ok()?)),
        4 => u64::from(u32::from_ne_bytes(bytes.try_into().ok()?)),
        _ => u64::from_ne_bytes(bytes.try_into().ok()?),
    })
}

fn read(file: &File, at: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length.min(LIMIT)).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

/// Returns up to 4096 bytes.
fn read_some(file: &File, at: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; 4096];
    let length = file.read_at(&mut bytes, at).ok()?;
    bytes.truncate(length);
    Some(bytes)
}
