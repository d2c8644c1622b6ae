//! The executable mappings of processes, by perf_event_open(2). All processes of the
//! machine are recorded, so that nothing is missed of those that start and end between two reads.

use std::{ffi::OsString, fs, io, os::unix::ffi::OsStringExt};

use crate::{
    sys::perf::Ring,
    trace::record::event::{Change, Event, EventKind, Mapping},
};

/// The recorder of mappings.
#[derive(Debug)]
pub(crate) struct MappingRecorder {
    rings: Vec<Ring>,
    pending: Vec<Event>,
}

impl MappingRecorder {
    /// # Errors
    ///
    /// The kernel does not allow it.
    pub(crate) fn new() -> io::Result<MappingRecorder> {
        let online = fs::read_to_string("/sys/devices/system/cpu/online")?;
        let mut rings = Vec::new();
        for cpu in processors(&online) {
            match Ring::new(cpu) {
                Ok(ring) => rings.push(ring),
                // It went offline.
                Err(err) if err.raw_os_error() == Some(libc::ENODEV) => {}
                Err(err) => return Err(err),
            }
        }
        Ok(MappingRecorder { rings, pending: Vec::new() })
    }

    /// Takes the events up to `until`, in the order of time.
    pub(crate) fn take_until(&mut self, until: u64) -> Vec<Event> {
        let mut records = Vec::new();
        for ring in &mut self.rings {
            records.clear();
            ring.take(&mut records);
            self.pending.extend(Records(&records).filter_map(event));
        }
        self.pending.sort_by_key(|event| event.time);
        let end = self.pending.partition_point(|event| event.time <= until);
        let rest = self.pending.split_off(end);
        std::mem::replace(&mut self.pending, rest)
    }
}

/// Returns what a running process has mapped, as events before all others.
pub(crate) fn mapped(pid: u32) -> Vec<Event> {
    let maps = fs::read(format!("/proc/{pid}/maps")).unwrap_or_default();
    let lines = maps.split(|&byte| byte == b'\n');
    let event = |mapping| {
        let kind = EventKind::Memory(Change::Mapped(mapping));
        Event { time: 0, tid: pid, kind }
    };
    lines.filter_map(line).map(event).collect()
}

/// Parses a line of `/proc/PID/maps` that can be executed.
fn line(line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |&byte| byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (range, mode, offset, device, inode) = (text()?, text()?, text()?, text()?, text()?);
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (start, end) = range.split_once('-')?;
    let (major, minor) = device.split_once(':')?;
    let device = (u32::try_from(hex(major)?).ok()?, u32::try_from(hex(minor)?).ok()?);
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    let mapping = Mapping {
        range: hex(start)?..hex(end)?,
        offset: hex(offset)?,
        device,
        inode: inode.parse().ok()?,
        path: OsString::from_vec(path.to_vec()),
    };
    mode.contains('x').then_some(mapping)
}

/// Parses a list such as `0-3,8`.
fn processors(list: &str) -> Vec<i32> {
    let ranges = list.trim().split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse::<i32>().ok()?..=last.parse::<i32>().ok()?)
    });
    ranges.flatten().collect()
}

/// The records in a part of a ring. (`struct perf_event_header`)
struct Records<'a>(&'a [u8]);

impl<'a> Iterator for Records<'a> {
    /// The type, the flags and the rest.
    type Item = (u32, u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = u32::from_ne_bytes(*self.0.first_chunk()?);
        let flags = u16::from_ne_bytes(*self.0.get(4..)?.first_chunk()?);
        let size = u16::from_ne_bytes(*self.0.get(6..)?.first_chunk()?);
        let record = self.0.get(8..size.into())?;
        self.0 = &self.0[size.into()..];
        Some((kind, flags, record))
    }
}

/// Parses a record. (`enum perf_event_type` in include/uapi/linux/perf_event.h)
fn event((kind, flags, record): (u32, u16, &[u8])) -> Option<Event> {
    const LOST: u32 = 2;
    const COMM: u32 = 3;
    const EXIT: u32 = 4;
    const FORK: u32 = 7;
    const MMAP2: u32 = 10;
    const COMM_EXEC: u16 = 1 << 13;
    let word = |at: usize| Some(u32::from_ne_bytes(*record.get(at..)?.first_chunk()?));
    let long = |at: usize| Some(u64::from_ne_bytes(*record.get(at..)?.first_chunk()?));
    let time = long(record.len().checked_sub(8)?)?;
    let (pid, change) = match kind {
        LOST => (0, Change::Lost),
        COMM if flags & COMM_EXEC != 0 => (word(0)?, Change::Executed),
        // A thread has the mappings of its process.
        FORK if word(0)? != word(4)? => (word(0)?, Change::StartedBy(word(4)?)),
        EXIT if word(0)? == word(8)? => (word(0)?, Change::Ended),
        MMAP2 => {
            let name = record.get(64..record.len() - 8)?.split(|&byte| byte == 0).next()?;
            let start = long(8)?;
            let mapping = Mapping {
                range: start..start.saturating_add(long(16)?),
                offset: long(24)?,
                device: (word(32)?, word(36)?),
                inode: long(40)?,
                path: OsString::from_vec(name.to_vec()),
            };
            (word(0)?, Change::Mapped(mapping))
        }
        _ => return None,
    };
    Some(Event { time, tid: pid, kind: EventKind::Memory(change) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        for (list, want) in [("0\n", &[0][..]), ("0-2,5\n", &[0, 1, 2, 5]), ("x", &[]), ("", &[])] {
            assert_eq!(processors(list), want, "{list}");
        }
    }

    #[test]
    fn lines_of_maps() {
        let text = b"7f00-8f00 r-xp 00002000 fe:00 247857    /usr/bin/a b";
        let want = Mapping {
            range: 0x7f00..0x8f00,
            offset: 0x2000,
            device: (0xfe, 0),
            inode: 247_857,
            path: "/usr/bin/a b".into(),
        };
        assert_eq!(line(text), Some(want));
        assert_eq!(line(b"7f00-8f00 r--p 00002000 fe:00 247857 /usr/bin/a"), None);
        assert_eq!(line(b"7f00-8f00 r-xp 0 0:0 0").map(|one| one.path), Some("".into()));
        assert_eq!(line(b"7f00-8f00 r-xp"), None);
    }

    fn record(kind: u32, flags: u16, words: &[u32], rest: &[u8]) -> Vec<u8> {
        let mut body: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
        body.extend(rest);
        body.resize(body.len().next_multiple_of(8), 0);
        body.extend(77_u64.to_ne_bytes());
        let size = u16::try_from(body.len() + 8).unwrap();
        [&kind.to_ne_bytes()[..], &flags.to_ne_bytes(), &size.to_ne_bytes(), &body].concat()
    }

    #[test]
    fn records() {
        let mapped = [5, 6, 0x1000, 0, 0x200, 0, 0x3000, 0, 254, 1, 9, 0, 0, 0, 5, 2];
        let bytes = [
            record(10, 2, &mapped, b"/bin/x\0"),
            record(3, 1 << 13, &[5, 5], b"x\0"),
            record(3, 0, &[5, 6], b"thread\0"),
            record(7, 0, &[8, 5, 8, 5], &[0; 8]),
            record(7, 0, &[5, 5, 7, 5], &[0; 8]),
            record(4, 0, &[5, 1, 7, 5], &[0; 8]),
            record(4, 0, &[5, 1, 5, 5], &[0; 8]),
            record(2, 0, &[1, 0, 3, 0], &[]),
            vec![1, 0, 0],
        ];
        let mapping = Mapping {
            range: 0x1000..0x1200,
            offset: 0x3000,
            device: (254, 1),
            inode: 9,
            path: "/bin/x".into(),
        };
        let want = [
            (5, Change::Mapped(mapping)),
            (5, Change::Executed),
            (8, Change::StartedBy(5)),
            (5, Change::Ended),
            (0, Change::Lost),
        ];
        let want =
            want.map(|(tid, change)| Event { time: 77, tid, kind: EventKind::Memory(change) });
        let bytes = bytes.concat();
        assert_eq!(Records(&bytes).filter_map(event).collect::<Vec<_>>(), want);
        for end in 0..bytes.len() {
            let _ = Records(&bytes[..end]).filter_map(event).count();
        }
    }
}
