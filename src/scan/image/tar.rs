//! A reader of tar archives as container engines read them: the format of archive/tar of Go.
//! (tar(5), pax(1))
//!
//! Extended headers are split by the lengths of their records, since the value of an attribute may
//! hold any byte. No more than one header is kept in memory.

use std::io::{self, Read};

const BLOCK: usize = 512;
/// The longest extended header, long name or global header. (`maxSpecialFileSize` of archive/tar)
const LONGEST: u64 = 1 << 20;
/// The record with the capabilities of a file.
const CAPABILITY: &[u8] = b"SCHILY.xattr.security.capability";

/// The kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    SymbolicLink,
    Directory,
    /// A device or a FIFO.
    Special,
}

/// An entry, without its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    /// The target of a link.
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// How many bytes of content follow.
    pub(super) size: u64,
    /// The value of the attribute security.capability.
    pub(super) capability: Option<Vec<u8>>,
}

/// Bytes that can be read, or passed over.
pub(super) trait Source: Read + Sized {
    /// Passes over so many bytes.
    fn skip(&mut self, count: u64) -> io::Result<()> {
        let copied = io::copy(&mut self.by_ref().take(count), &mut io::sink())?;
        if copied == count { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// An archive that is read from its beginning to its end.
pub(super) struct Archive<S> {
    source: S,
    /// The rest of the last entry's content and its padding.
    left: u64,
    padding: u64,
}

fn invalid(words: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

impl<S: Source> Archive<S> {
    pub(super) fn new(source: S) -> Archive<S> {
        Archive { source, left: 0, padding: 0 }
    }

    pub(super) fn source(&self) -> &S {
        &self.source
    }

    /// Returns the next entry, or `None` at the end.
    pub(super) fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        let mut long = Long::default();
        loop {
            self.source.skip(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.block()? else { return Ok(None) };
            let header = Header(&header);
            header.check()?;
            let size = header.number(124..136)?;
            match header.0[156] {
                b'x' => long.records(&self.special(size)?)?,
                b'L' => long.path = Some(until_nul(&self.special(size)?).to_vec()),
                b'K' => long.link = Some(until_nul(&self.special(size)?).to_vec()),
                // Its records are about no file: engines ignore them.
                b'g' => drop(self.special(size)?),
                _ => return self.entry(&header, size, long).map(Some),
            }
        }
    }

    /// Reads at most so many bytes of the content of the last entry.
    pub(super) fn content(&mut self, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(self.left.min(most)).read_to_end(&mut bytes)?;
        self.left -= u64::try_from(read).unwrap_or(self.left);
        Ok(bytes)
    }

    /// Returns the next block, or `None` at the end: a block of zeros, or no more bytes.
    fn block(&mut self) -> io::Result<Option<[u8; BLOCK]>> {
        let mut block = [0; BLOCK];
        let mut length = 0;
        while length < BLOCK {
            match self.source.read(&mut block[length..]) {
                Ok(0) if length == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => length += read,
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Err(err) => return Err(err),
            }
        }
        Ok(block.iter().any(|byte| *byte != 0).then_some(block))
    }

    /// Reads the content of a header that is about the next one.
    fn special(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > LONGEST {
            return Err(invalid("an extended header is longer than 1 MiB"));
        }
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(size).read_to_end(&mut bytes)?;
        if u64::try_from(read) != Ok(size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.source.skip(padding(size))?;
        Ok(bytes)
    }

    fn entry(&mut self, header: &Header<'_>, size: u64, long: Long) -> io::Result<Entry> {
        let path = long.path.unwrap_or_else(|| header.path());
        let kind = match header.0[156] {
            b'1' => Kind::HardLink,
            b'2' => Kind::SymbolicLink,
            b'3' | b'4' | b'6' => Kind::Special,
            b'5' => Kind::Directory,
            // Before POSIX, a slash made it a directory.
            0 | b'0' if path.ends_with(b"/") => Kind::Directory,
            b'S' => {
                self.sparse(header)?;
                Kind::File
            }
            _ => Kind::File,
        };
        // Only files have content, whatever a header says.
        let size = if kind == Kind::File { long.size.unwrap_or(size) } else { 0 };
        (self.left, self.padding) = (size, padding(size));
        let id = |range| header.number(range).ok().and_then(|id| u32::try_from(id).ok());
        Ok(Entry {
            kind,
            path,
            link: long.link.unwrap_or_else(|| until_nul(&header.0[157..257]).to_vec()),
            mode: u32::try_from(header.number(100..108)? & 0o7777).unwrap_or(0),
            uid: long.uid.or_else(|| id(108..116)).ok_or_else(|| invalid("not a user id"))?,
            gid: long.gid.or_else(|| id(116..124)).ok_or_else(|| invalid("not a group id"))?,
            size,
            capability: long.capability,
        })
    }

    /// Passes over the blocks that go on with the map of an old sparse file of GNU's.
    fn sparse(&mut self, header: &Header<'_>) -> io::Result<()> {
        let mut goes_on = header.0[482] != 0;
        while goes_on {
            let block = self.block()?.ok_or(io::ErrorKind::UnexpectedEof)?;
            goes_on = block[504] != 0;
        }
        Ok(())
    }
}

fn padding(size: u64) -> u64 {
    size.wrapping_neg() % 512
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|&byte| byte == 0).next().unwrap_or_default()
}

/// The attributes that headers before an entry give.
#[derive(Debug, Default)]
struct Long {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    capability: Option<Vec<u8>>,
}

impl Long {
    /// Takes the records of an extended header: a length in decimal digits, which counts the whole
    /// record, a space, a key, an equals sign, a value and a line feed.
    fn records(&mut self, mut rest: &[u8]) -> io::Result<()> {
        let failed = || invalid("a record of an extended header is malformed");
        while !rest.is_empty() {
            let space = rest.iter().position(|&byte| byte == b' ').ok_or_else(failed)?;
            let length: usize = parse(&rest[..space]).ok_or_else(failed)?;
            let record = rest.get(space + 1..length).ok_or_else(failed)?;
            let record = record.strip_suffix(b"\n").ok_or_else(failed)?;
            let equals = record.iter().position(|&byte| byte == b'=').ok_or_else(failed)?;
            self.record(&record[..equals], &record[equals + 1..]).ok_or_else(failed)?;
            rest = &rest[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        // An empty value takes back what an earlier header said.
        let is_set = !value.is_empty();
        match key {
            b"path" => self.path = is_set.then(|| value.to_vec()),
            b"linkpath" => self.link = is_set.then(|| value.to_vec()),
            b"size" => self.size = if is_set { Some(parse(value)?) } else { None },
            b"uid" => self.uid = if is_set { Some(parse(value)?) } else { None },
            b"gid" => self.gid = if is_set { Some(parse(value)?) } else { None },
            CAPABILITY => self.capability = is_set.then(|| value.to_vec()),
            _ => {}
        }
        Some(())
    }
}

/// Returns a decimal number of digits alone.
fn parse<T: std::str::FromStr>(digits: &[u8]) -> Option<T> {
    let text = str::from_utf8(digits).ok()?;
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

struct Header<'a>(&'a [u8; BLOCK]);

impl Header<'_> {
    fn check(&self) -> io::Result<()> {
        let sum = |start: u64, (at, byte): (usize, &u8)| {
            start + u64::from(if (148..156).contains(&at) { b' ' } else { *byte })
        };
        let sum = self.0.iter().enumerate().fold(0, sum);
        if self.number(148..156).ok() == Some(sum) {
            Ok(())
        } else {
            Err(invalid("not a tar archive"))
        }
    }

    /// Returns a number in octal digits, or in binary where the first bit is set.
    fn number(&self, range: std::ops::Range<usize>) -> io::Result<u64> {
        let failed = || invalid("a number of a tar header is malformed");
        let field = &self.0[range];
        if field[0] & 0x80 != 0 {
            let (first, rest) = (field[0] & 0x7f, &field[1..]);
            return rest.iter().try_fold(u64::from(first), |number, byte| {
                number.checked_mul(256).map(|number| number | u64::from(*byte)).ok_or_else(failed)
            });
        }
        let digits = until_nul(field).trim_ascii();
        digits.iter().try_fold(0_u64, |number, digit| {
            let digit = matches!(digit, b'0'..=b'7').then(|| u64::from(digit - b'0'));
            digit.and_then(|digit| number.checked_mul(8)?.checked_add(digit)).ok_or_else(failed)
        })
    }

    fn path(&self) -> Vec<u8> {
        let name = until_nul(&self.0[..100]);
        // GNU's own magic number has a space in this place, and other fields than a prefix.
        let prefix =
            if &self.0[257..263] == b"ustar\0" { until_nul(&self.0[345..500]) } else { b"" };
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Source for &[u8] {}

    /// Writes an entry, with records of an extended header before it.
    pub(in crate::scan::image) fn entry(
        kind: u8,
        path: &str,
        link: &str,
        mode: u32,
        records: &[(&str, &[u8])],
        content: &[u8],
    ) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !records.is_empty() {
            let mut body = Vec::new();
            for (key, value) in records {
                let rest = key.len() + value.len() + 3;
                let length = (1..9)
                    .map(|digits| rest + digits)
                    .find(|length| length.to_string().len() + rest == *length);
                body.extend(format!("{} {key}=", length.unwrap()).bytes());
                body.extend(*value);
                body.push(b'\n');
            }
            bytes.extend(block(b'x', "x", "", 0, &body));
        }
        bytes.extend(block(kind, path, link, mode, content));
        bytes
    }

    fn block(kind: u8, path: &str, link: &str, mode: u32, content: &[u8]) -> Vec<u8> {
        let mut header = [0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, path.as_bytes());
        put(100, format!("{mode:07o}").as_bytes());
        put(108, b"0000000");
        put(116, b"0000000");
        put(124, format!("{:011o}", content.len()).as_bytes());
        put(156, &[kind]);
        put(157, link.as_bytes());
        put(257, b"ustar\x0000");
        put(148, b"        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        let padding = vec![0; usize::try_from(padding(content.len() as u64)).unwrap()];
        [&header[..], content, &padding].concat()
    }

    fn entries(bytes: &[u8]) -> io::Result<Vec<Entry>> {
        let mut archive = Archive::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = archive.next_entry()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn values_of_any_bytes() {
        // CAP_DAC_OVERRIDE and CAP_FOWNER: 0x0a, which is a newline.
        let value = [1, 0, 0, 2, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let records: &[(&str, &[u8])] = &[
            ("SCHILY.xattr.security.capability", &value),
            ("path", b"a longer/path"),
            ("uid", b"70000"),
        ];
        let archive = [
            entry(b'0', "short", "", 0o4755, records, b"content"),
            entry(b'2', "link", "short", 0o777, &[], b""),
            vec![0; 1024],
            entry(b'0', "after the end", "", 0o4755, &[], b""),
        ]
        .concat();
        let entries = entries(&archive).unwrap();
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0].capability.as_deref(), Some(&value[..]));
        assert_eq!(
            (&*entries[0].path, entries[0].uid, entries[0].size),
            (&b"a longer/path"[..], 70000, 7)
        );
        assert_eq!((entries[1].kind, &*entries[1].link), (Kind::SymbolicLink, &b"short"[..]));
        assert_eq!(entries[1].capability, None);
    }

    /// Content for one reader must not be an entry for another.
    #[test]
    fn sizes() {
        let hidden = entry(b'0', "hidden", "", 0o4755, &[], b"");
        let own =
            |size: &str| entry(b'0', "outer", "", 0o644, &[("size", size.as_bytes())], &hidden);
        let names = |bytes: &[u8]| {
            let entries = entries(bytes).unwrap();
            entries
                .iter()
                .map(|entry| String::from_utf8_lossy(&entry.path).into_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&own("512")), ["outer"]);
        assert_eq!(names(&own("0")), ["outer", "hidden"]);
        // A directory has no content, whatever it says.
        assert_eq!(names(&entry(b'5', "dir", "", 0o755, &[], &hidden)), ["dir", "hidden"]);
        assert_eq!(names(&entry(b'L', "", "", 0, &[], b"a long name\0")), [""; 0]);
        let long = [entry(b'L', "", "", 0, &[], b"long\0"), hidden].concat();
        assert_eq!(names(&long), ["long"]);
    }

    #[test]
    fn faults() {
        let good = entry(b'0', "file", "", 0o644, &[("uid", b"7")], b"content");
        assert_eq!(entries(&good).unwrap().len(), 1);
        let mut other = good.clone();
        other[0] ^= 1;
        assert_eq!(entries(&other).unwrap_err().to_string(), "not a tar archive");
        assert_eq!(entries(&good[..700]).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for record in
            [&b"9 uid=7\n"[..], b"8 uid=x\n", b"99 uid=7\n", b" uid=7\n", b"8 uid=7x", b"7 uid7\n"]
        {
            let bytes =
                [block(b'x', "", "", 0, record), entry(b'0', "f", "", 0, &[], b"")].concat();
            assert!(entries(&bytes).is_err(), "{}", record.escape_ascii());
        }
        let huge = Header(&[0xff; BLOCK]);
        assert!(huge.number(124..136).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, at: prop::sample::Index, byte: u8) {
            let _ = entries(&bytes);
            let mut archive = entry(b'0', "file", "", 0o644, &[("size", b"3")], b"abc");
            let at = at.index(archive.len());
            archive[at] = byte;
            let _ = entries(&archive);
            let mut long = Long::default();
            let _ = long.records(&bytes);
        }
    }
}
