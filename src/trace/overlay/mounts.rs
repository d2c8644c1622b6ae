//! The mounts of this process, and how each gets into a copy of the file system.

use std::{
    ffi::OsString,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

use libc::c_ulong;

/// A line of /proc/PID/mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) id: u64,
    /// The directory of the file system that is mounted.
    root: PathBuf,
    pub(super) path: PathBuf,
    kind: Vec<u8>,
}

/// The way in which a mount gets into the copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// An overlay, or the mount itself for reading if overlayfs refuses it.
    Overlay,
    /// The mount itself.
    Itself,
    /// The mount itself for reading.
    ReadOnly,
    /// A new procfs, of the PID namespace.
    Proc,
    /// The directory that the copy has there already, mounted again: a part of procfs with its own
    /// flags.
    InPlace,
    /// No mount.
    Left,
}

/// File systems that are interfaces of the kernel and store no files.
const KERNEL: [&str; 21] = [
    "binder",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "cpuset",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "pstore",
    "resctrl",
    "securityfs",
    "selinuxfs",
    "smackfs",
    "sysfs",
    "tracefs",
];

impl Point {
    /// Returns the way for a mount whose root is a file of this mode. The mode is unknown if the
    /// mount is another user's FUSE.
    pub(super) fn way(&self, mode: Option<u32>) -> Way {
        let is = |kind: &str| self.kind == kind.as_bytes();
        if is("proc") {
            return if self.root == Path::new("/") { Way::Proc } else { Way::InPlace };
        }
        if KERNEL.iter().any(|kind| is(kind)) {
            return Way::Itself;
        }
        match mode.map(|mode| mode & libc::S_IFMT) {
            // Sockets lead to processes outside, and files of nsfs to namespaces.
            Some(kind) if kind == libc::S_IFSOCK || is("nsfs") => Way::Left,
            Some(libc::S_IFDIR) => Way::Overlay,
            _ => Way::ReadOnly,
        }
    }
}

/// `MOUNT_ATTR__ATIME`: the bits that together tell when access times are updated.
pub(super) const ATIME: u64 = 0x70;

/// libc lacks it for musl.
const ST_RELATIME: c_ulong = 0x1000;

/// Returns the `MOUNT_ATTR_*` for the `ST_*` flags of a mount.
pub(super) fn attributes(flags: c_ulong) -> u64 {
    const NO_SYMFOLLOW: c_ulong = 0x2000;
    const STRICT_ATIME: u64 = 0x20;
    #[rustfmt::skip]
    const ROWS: [(c_ulong, u64); 7] = [
        (libc::ST_RDONLY,     0x01),
        (libc::ST_NOSUID,     0x02),
        (libc::ST_NODEV,      0x04),
        (libc::ST_NOEXEC,     0x08),
        (libc::ST_NOATIME,    0x10),
        (libc::ST_NODIRATIME, 0x80),
        (NO_SYMFOLLOW,        0x20_0000),
    ];
    let set = ROWS.iter().filter(|(flag, _)| flags & flag != 0);
    let set = set.fold(0, |all, (_, attribute)| all | attribute);
    // Zero is MOUNT_ATTR_RELATIME.
    let strict = flags & (libc::ST_NOATIME | ST_RELATIME) == 0;
    if strict { set | STRICT_ATIME } else { set }
}

/// Returns the mounts of a text of `/proc/self/mountinfo`, a parent directory before its entries.
pub(super) fn mount_points(text: &[u8]) -> Vec<Point> {
    let point = |line: &[u8]| {
        let mut fields = line.split(|&byte| byte == b' ');
        let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let [root, path] = [fields.nth(2)?, fields.next()?].map(path);
        let kind = fields.skip_while(|field| *field != b"-").nth(1)?.to_vec();
        Some(Point { id, root, path, kind })
    };
    let mut points: Vec<Point> = text.split(|&byte| byte == b'\n').filter_map(point).collect();
    points.sort_by(|one, other| one.path.cmp(&other.path));
    points
}

/// Decodes a path in which blanks, newlines and backslashes are written as `\040`, in octal.
fn path(text: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let code =
            tail.get(..3).filter(|_| byte == b'\\').and_then(|code| std::str::from_utf8(code).ok());
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            bytes.push(code);
            rest = &tail[3..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    OsString::from_vec(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points() {
        let text =
            b"1 0 8:1 / / rw shared:1 - ext4 x rw\n5 1 0:7 /x\\134 /a\\040b,c:d rw - tmpfs t rw\n\
                     2 1 0:5 / /proc rw master:1 propagate_from:2 - proc p rw\nnonsense\n\n";
        let point = |id, root: &str, path: &str, kind: &[u8]| Point {
            id,
            root: root.into(),
            path: path.into(),
            kind: kind.to_vec(),
        };
        let want = [
            point(1, "/", "/", b"ext4"),
            point(5, "/x\\", "/a b,c:d", b"tmpfs"),
            point(2, "/", "/proc", b"proc"),
        ];
        assert_eq!(mount_points(text), want);
    }

    #[test]
    fn ways() {
        let [directory, file, device, socket] =
            [libc::S_IFDIR, libc::S_IFREG, libc::S_IFCHR, libc::S_IFSOCK]
                .map(|kind| Some(kind | 0o755));
        #[rustfmt::skip]
        let rows = [
            ("ext4",     "/",    directory, Way::Overlay),
            ("tmpfs",    "/x",   directory, Way::Overlay),
            ("ext4",     "/x",   file,      Way::ReadOnly),
            ("tmpfs",    "/x",   device,    Way::ReadOnly),
            ("tmpfs",    "/x",   socket,    Way::Left),
            ("nsfs",     "mnt:", file,      Way::Left),
            ("fuse.x",   "/",    None,      Way::ReadOnly),
            ("proc",     "/",    directory, Way::Proc),
            ("proc",     "/sys", directory, Way::InPlace),
            ("devtmpfs", "/",    directory, Way::Itself),
            ("devtmpfs", "/null", device,   Way::Itself),
            ("cgroup2",  "/",    directory, Way::Itself),
        ];
        for (kind, root, mode, want) in rows {
            let kind = kind.as_bytes().to_vec();
            let point = Point { id: 1, root: root.into(), path: "/p".into(), kind };
            assert_eq!(point.way(mode), want, "{point:?}");
        }
    }

    #[test]
    fn flags() {
        #[rustfmt::skip]
        let rows = [
            (0,                                              0x20),
            (ST_RELATIME,                              0),
            (ST_RELATIME | libc::ST_NOSUID,            0x02),
            (libc::ST_NOATIME | libc::ST_NODEV,              0x14),
            (ST_RELATIME | libc::ST_RDONLY | libc::ST_NOEXEC | libc::ST_NODIRATIME, 0x89),
            (ST_RELATIME | 0x2000,                     0x20_0000),
        ];
        for (flags, want) in rows {
            assert_eq!(attributes(flags), want, "{flags:x}");
        }
    }

    #[test]
    fn escapes() {
        assert_eq!(path(b"a\\040b\\134\\0\\777"), Path::new("a b\\\\0\\777"));
    }
}
