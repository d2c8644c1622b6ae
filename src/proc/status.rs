//! The parser of `/proc/PID/status`.

use std::{
    cell::Cell,
    str::{self, FromStr},
};

use super::{Ids, Kind, Seccomp, Status, unescape};
use crate::{CapSet, CapState};

/// The field that is missing or invalid.
type Missing = &'static str;

impl Status {
    /// Parses the status that the kernel wrote, and ignores unknown fields.
    pub(crate) fn parse(text: &[u8]) -> Result<Status, Missing> {
        let fields = Fields::new(text);
        // In the order of the text, so that it is read once.
        let name = unescape(fields.find("Name").ok_or("Name")?);
        let state = fields.find("State").ok_or("State")?;
        Ok(Status {
            name,
            tgid: fields.number("Tgid")?,
            pid: fields.number("Pid")?,
            ppid: fields.number("PPid")?,
            uid: fields.ids("Uid")?,
            gid: fields.ids("Gid")?,
            groups: fields.numbers("Groups")?,
            kind: fields.kind(state),
            threads: fields.number("Threads")?,
            caps: CapState {
                inheritable: fields.set("CapInh")?.ok_or("CapInh")?,
                permitted: fields.set("CapPrm")?.ok_or("CapPrm")?,
                effective: fields.set("CapEff")?.ok_or("CapEff")?,
            },
            bounding: fields.set("CapBnd")?.ok_or("CapBnd")?,
            ambient: fields.set("CapAmb")?.unwrap_or_default(),
            no_new_privs: fields.optional("NoNewPrivs", |text| match text {
                "0" => Some(false),
                "1" => Some(true),
                _ => None,
            })?,
            tracer: fields.number("TracerPid").ok().filter(|&pid| pid != 0),
            seccomp: fields.optional("Seccomp", |text| match text {
                "0" => Some(Seccomp::Disabled),
                "1" => Some(Seccomp::Strict),
                "2" => Some(Seccomp::Filter),
                "3" => Some(Seccomp::Dead),
                other => other.parse::<u32>().is_ok().then_some(Seccomp::Unknown),
            })?,
        })
    }
}

impl Status {
    /// Parses the IDs of the thread: the first in the file system's PID namespace, the last in the
    /// thread's own.
    pub(super) fn namespace_ids(text: &[u8]) -> Option<Vec<u32>> {
        let fields = Fields::new(text);
        // Before Linux 4.1, and without PID namespaces, a thread has one ID.
        fields.numbers("NSpid").or_else(|_| fields.number("Pid").map(|id| vec![id])).ok()
    }
}

/// Lines with a key, a colon, a tab and a value.
struct Fields<'a> {
    text: &'a [u8],
    /// The lines after the one that was found last.
    rest: Cell<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn new(text: &'a [u8]) -> Fields<'a> {
        Fields { text, rest: Cell::new(text) }
    }

    /// Returns the raw value, from the lines after the last one that was found, or from any. It may
    /// contain any byte except a newline; a process name may even look like a key.
    fn find(&self, key: Missing) -> Option<&'a [u8]> {
        let (value, rest) = value(self.rest.get(), key).or_else(|| value(self.text, key))?;
        self.rest.set(rest);
        Some(value)
    }

    fn optional<T>(
        &self,
        key: Missing,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Missing> {
        let Some(value) = self.find(key) else {
            return Ok(None);
        };
        str::from_utf8(value).ok().and_then(|text| parse(text.trim())).map(Some).ok_or(key)
    }

    fn set(&self, key: Missing) -> Result<Option<CapSet>, Missing> {
        self.optional(key, |text| u64::from_str_radix(text, 16).ok().map(CapSet::from_bits))
    }

    fn number(&self, key: Missing) -> Result<u32, Missing> {
        self.optional(key, |text| text.parse().ok())?.ok_or(key)
    }

    fn numbers(&self, key: Missing) -> Result<Vec<u32>, Missing> {
        let numbers =
            |text: &str| text.split_ascii_whitespace().map(u32::from_str).collect::<Result<_, _>>();
        self.optional(key, |text| numbers(text).ok())?.ok_or(key)
    }

    fn ids(&self, key: Missing) -> Result<Ids, Missing> {
        let ids = |text: &str| {
            let mut ids = text.split_ascii_whitespace().map(u32::from_str);
            let mut id = || ids.next()?.ok();
            let four = Ids { real: id()?, effective: id()?, saved: id()?, filesystem: id()? };
            ids.next().is_none().then_some(four)
        };
        self.optional(key, ids)?.ok_or(key)
    }

    fn kind(&self, state: &[u8]) -> Kind {
        if matches!(state.first(), Some(b'Z' | b'X' | b'x')) {
            return Kind::Zombie;
        }
        // Before Linux 6.9 there is no such field, and a thread without memory is a kernel thread.
        let kernel = match self.number("Kthread") {
            Ok(kernel) => kernel == 1,
            Err(_) => self.find("VmSize").is_none(),
        };
        if kernel { Kind::KernelThread } else { Kind::Program }
    }
}

/// Returns the value of the first line with this key, and the lines after it.
fn value(lines: &[u8], key: Missing) -> Option<(&[u8], &[u8])> {
    let mut rest = lines;
    while !rest.is_empty() {
        let end = rest.iter().position(|&byte| byte == b'\n').unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        rest = after.get(1..).unwrap_or_default();
        let value = line.strip_prefix(key.as_bytes()).and_then(|line| line.strip_prefix(b":"));
        if let Some(value) = value {
            return Some((value.strip_prefix(b"\t").unwrap_or(value), rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt};

    use proptest::prelude::*;

    use super::*;

    /// The status of a process on Linux 6.18, without unused fields.
    const STATUS: &str = "Name:\tsleep\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t11517\n\
        Ngid:\t0\nPid:\t11518\nPPid:\t11510\nTracerPid:\t77\nUid:\t1000\t1001\t1002\t1003\n\
        Gid:\t0\t0\t0\t5\nFDSize:\t64\nGroups:\t4 24 1000 \nNStgid:\t11517\nKthread:\t0\n\
        VmPeak:\t    5472 kB\nVmSize:\t    5472 kB\nThreads:\t2\nSigQ:\t0/96365\n\
        CapInh:\t0000000000002000\nCapPrm:\t000001fffeffffff\nCapEff:\t0000000000000001\n\
        CapBnd:\t8000000000000000\nCapAmb:\t0000000000002000\nNoNewPrivs:\t1\nSeccomp:\t2\n\
        Seccomp_filters:\t1\n";

    fn parse(text: &str) -> Result<Status, Missing> {
        Status::parse(text.as_bytes())
    }

    #[test]
    fn every_field() {
        let set = CapSet::from_bits;
        let want = Status {
            pid: 11518,
            tgid: 11517,
            ppid: 11510,
            name: "sleep".into(),
            kind: Kind::Program,
            uid: Ids { real: 1000, effective: 1001, saved: 1002, filesystem: 1003 },
            gid: Ids { real: 0, effective: 0, saved: 0, filesystem: 5 },
            groups: vec![4, 24, 1000],
            threads: 2,
            caps: CapState {
                effective: set(1),
                permitted: set(0x1ff_feff_ffff),
                inheritable: set(0x2000),
            },
            bounding: set(1 << 63),
            ambient: set(0x2000),
            no_new_privs: Some(true),
            tracer: Some(77),
            seccomp: Some(Seccomp::Filter),
        };
        assert_eq!(parse(STATUS), Ok(want));
    }

    /// The order of the lines is the kernel's, and means nothing.
    #[test]
    fn any_order() {
        let mut lines: Vec<&str> = STATUS.lines().collect();
        for turn in 0..lines.len() {
            lines.rotate_left(1);
            assert_eq!(parse(&lines.join("\n")), parse(STATUS), "{turn}");
        }
        lines.reverse();
        assert_eq!(parse(&lines.join("\n")), parse(STATUS));
    }

    #[test]
    fn ids_in_each_namespace() {
        let with = |line: &str| STATUS.replace("NStgid:", line).into_bytes();
        #[rustfmt::skip]
        let rows: &[(&str, Option<&[u32]>)] = &[
            ("NStgid:",                     Some(&[11518])),
            ("NSpid:\t7\nNStgid:",          Some(&[7])),
            ("NSpid:\t105\t12\t7\nNStgid:", Some(&[105, 12, 7])),
        ];
        for &(line, want) in rows {
            assert_eq!(Status::namespace_ids(&with(line)).as_deref(), want, "{line}");
        }
        assert_eq!(Status::namespace_ids(b"Name:\tx\n"), None);
    }

    #[test]
    fn names() {
        let name = |bytes: &[u8]| {
            let text = [b"Name:\t", bytes, &STATUS.as_bytes()["Name:\tsleep".len()..]].concat();
            Status::parse(&text).unwrap().name
        };
        #[rustfmt::skip]
        let rows: &[(&[u8], &[u8])] = &[
            (b"a:b",                b"a:b"),
            (b"",                   b""),
            (b" two words ",        b" two words "),
            (br"line\nfeed",        b"line\nfeed"),
            (br"back\\nslash",      br"back\nslash"),
            (br"end\",              br"end\"),
            (b"\x1b[31m\xff",       b"\x1b[31m\xff"),
            (br"CapEff:\n1",        b"CapEff:\n1"),
        ];
        for &(text, want) in rows {
            assert_eq!(name(text), OsString::from_vec(want.to_vec()), "{text:?}");
        }
    }

    #[test]
    fn kinds() {
        let zombie = STATUS.replace("S (sleeping)", "Z (zombie)");
        let dead = STATUS.replace("S (sleeping)", "X (dead)");
        let kernel = STATUS.replace("Kthread:\t0", "Kthread:\t1");
        let older = STATUS.replace("Kthread:\t0\n", "");
        let older_kernel = older.replace("VmSize:\t    5472 kB\n", "");
        #[rustfmt::skip]
        let rows = [
            (STATUS,        Kind::Program),
            (&zombie,       Kind::Zombie),
            (&dead,         Kind::Zombie),
            (&kernel,       Kind::KernelThread),
            (&older,        Kind::Program),
            (&older_kernel, Kind::KernelThread),
        ];
        for (text, want) in rows {
            assert_eq!(parse(text).unwrap().kind, want, "{text}");
        }
    }

    #[test]
    fn what_older_kernels_lack_and_what_none_writes() {
        let without = |line: &str| parse(&STATUS.replace(line, ""));
        assert_eq!(without("CapAmb:\t0000000000002000\n").unwrap().ambient, CapSet::empty());
        assert_eq!(without("NoNewPrivs:\t1\n").unwrap().no_new_privs, None);
        assert_eq!(without("\nSeccomp:\t2").unwrap().seccomp, None);
        let mode =
            |mode: &str| parse(&STATUS.replace("\nSeccomp:\t2", &format!("\nSeccomp:\t{mode}")));
        assert_eq!(mode("3").unwrap().seccomp, Some(Seccomp::Dead));
        assert_eq!(mode("4").unwrap().seccomp, Some(Seccomp::Unknown));
        assert_eq!(mode("x"), Err("Seccomp"));
        assert_eq!(without("CapBnd:\t8000000000000000\n"), Err("CapBnd"));
        assert_eq!(parse(&STATUS.replace("Pid:\t11518", "Pid:\t4294967296")), Err("Pid"));
        assert_eq!(parse(&STATUS.replace("1000\t1001", "1000")), Err("Uid"));
        assert_eq!(parse(&STATUS.replace("01fffeffffff", "01fffefffffg")), Err("CapPrm"));
        assert_eq!(parse(""), Err("Name"));
    }

    proptest! {
        #[test]
        fn no_text_panics(cut in 0..STATUS.len(), more: Vec<u8>) {
            let _ = Status::parse(&more);
            let _ = Status::parse(&[&STATUS.as_bytes()[..cut], &more].concat());
        }
    }
}
