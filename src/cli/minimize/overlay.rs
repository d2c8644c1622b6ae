//! A copy of the file system for one run, in which what is written is thrown away.

use std::{
    ffi::CString,
    fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::Command,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
    sys::stat::Mode,
    unistd::{chdir, chroot, mkdir},
};

use crate::{Op, Result, sys};

/// A directory on which a child process builds its file system, in a mount namespace of its own.
#[derive(Debug)]
pub(super) struct Overlay {
    directory: PathBuf,
}

/// What is the kernel's and not of any disk, and stays what it is.
const SHARED: [&str; 3] = ["/proc", "/sys", "/dev"];

impl Overlay {
    pub(super) fn new() -> Result<Overlay> {
        let base = std::env::temp_dir().join("rcap-overlay-XXXXXX");
        let directory = nix::unistd::mkdtemp(&base).map_err(|err| Op::Write.on(&*base, err))?;
        Ok(Overlay { directory })
    }

    /// Has `command` run its program on a fresh copy.
    pub(super) fn enter_in(&self, command: &mut Command) {
        let mounts = fs::read("/proc/self/mountinfo").unwrap_or_default();
        let steps = steps(&mounts, &self.directory);
        let current = std::env::current_dir().unwrap_or_else(|_| "/".into());
        let [directory, root, current] =
            [self.directory.clone(), self.directory.join("root"), current].map(c_path);
        sys::pre_exec(command, move || {
            unshare(CloneFlags::CLONE_NEWNS)?;
            let none = None::<&std::ffi::CStr>;
            mount(none, c"/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
            mount(Some(c"tmpfs"), &*directory, Some(c"tmpfs"), MsFlags::empty(), none)?;
            steps.iter().try_for_each(Step::take)?;
            chroot(&*root)?;
            Ok(chdir(&*current).or_else(|_| chdir(c"/"))?)
        });
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        // It is empty: what was mounted on it was so in another namespace.
        let _ = fs::remove_dir(&self.directory);
    }
}

/// What the child does for one mount point.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    Directory(CString),
    /// A copy of `from` on `to`; where there can be none, `from` itself for reading.
    Overlay {
        from: CString,
        to: CString,
        options: CString,
    },
    Bind {
        from: CString,
        to: CString,
    },
}

impl Step {
    /// System calls only.
    fn take(&self) -> io::Result<()> {
        let none = None::<&std::ffi::CStr>;
        match self {
            Step::Directory(path) => Ok(mkdir(&**path, Mode::S_IRWXU)?),
            Step::Overlay { from, to, options } => {
                let (kind, options) = (Some(c"overlay"), Some(&**options));
                if mount(kind, &**to, kind, MsFlags::empty(), options).is_ok() {
                    return Ok(());
                }
                match mount(Some(&**from), &**to, none, MsFlags::MS_BIND, none) {
                    // Hidden by what is mounted above it.
                    Err(Errno::ENOENT) => return Ok(()),
                    other => other?,
                }
                let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
                Ok(mount(none, &**to, none, read_only, none)?)
            }
            Step::Bind { from, to } => {
                let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
                Ok(mount(Some(&**from), &**to, none, flags, none)?)
            }
        }
    }
}

/// The steps for the mount points in a text of `/proc/self/mountinfo`.
fn steps(mountinfo: &[u8], directory: &Path) -> Vec<Step> {
    let root = directory.join("root");
    let mut steps = vec![Step::Directory(c_path(root.clone()))];
    let points = mount_points(mountinfo);
    for (at, point) in points.iter().enumerate() {
        let below = |parent: &str| point.starts_with(parent);
        let to = root.join(point.strip_prefix("/").unwrap_or(point));
        if SHARED.iter().any(|shared| point == Path::new(shared)) {
            steps.push(Step::Bind { from: c_path(point.clone()), to: c_path(to) });
        } else if !SHARED.iter().any(|shared| below(shared)) {
            let [upper, work] = ["upper", "work"].map(|name| directory.join(format!("{name}{at}")));
            // Overlayfs takes a comma and a colon for its own.
            let options = [
                &b"lowerdir="[..],
                point.as_os_str().as_bytes(),
                b",upperdir=",
                upper.as_os_str().as_bytes(),
                b",workdir=",
                work.as_os_str().as_bytes(),
            ];
            let options = CString::new(options.concat()).unwrap_or_default();
            steps.extend([upper, work].map(|path| Step::Directory(c_path(path))));
            steps.push(Step::Overlay { from: c_path(point.clone()), to: c_path(to), options });
        }
    }
    steps
}

/// Where something is mounted, each once, what is above before what is below it.
fn mount_points(mountinfo: &[u8]) -> Vec<PathBuf> {
    let lines = mountinfo.split(|&byte| byte == b'\n');
    let mut points: Vec<PathBuf> = lines
        .filter_map(|line| line.split(|&byte| byte == b' ').nth(4))
        .map(|path| PathBuf::from(std::ffi::OsString::from_vec(unescape(path))))
        .collect();
    points.sort();
    points.dedup();
    points
}

/// A blank and the like stand as `\040`: three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, tail)) = rest.split_first() {
        let code =
            tail.get(..3).filter(|_| byte == b'\\').and_then(|code| str::from_utf8(code).ok());
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            bytes.push(code);
            rest = &tail[3..];
        } else {
            bytes.push(byte);
            rest = tail;
        }
    }
    bytes
}

/// A path of the kernel's own, which has no NUL.
fn c_path(path: PathBuf) -> CString {
    CString::new(path.into_os_string().into_vec()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_for_mounts() {
        let mounts = b"1 0 8:1 / / rw - ext4 x rw\n2 1 0:5 / /proc rw - proc p rw\n\
                       3 2 0:6 / /proc/bus rw - proc p rw\n4 1 0:7 / /a\\040b rw - tmpfs t rw\n";
        let c = |text: &str| CString::new(text).unwrap();
        let want = [
            Step::Directory(c("/t/root")),
            Step::Directory(c("/t/upper0")),
            Step::Directory(c("/t/work0")),
            Step::Overlay {
                from: c("/"),
                to: c("/t/root/"),
                options: c("lowerdir=/,upperdir=/t/upper0,workdir=/t/work0"),
            },
            Step::Directory(c("/t/upper1")),
            Step::Directory(c("/t/work1")),
            Step::Overlay {
                from: c("/a b"),
                to: c("/t/root/a b"),
                options: c("lowerdir=/a b,upperdir=/t/upper1,workdir=/t/work1"),
            },
            Step::Bind { from: c("/proc"), to: c("/t/root/proc") },
        ];
        assert_eq!(steps(mounts, Path::new("/t")), want);
    }

    #[test]
    fn unescaped() {
        assert_eq!(unescape(b"a\\040b\\134\\0"), b"a b\\\\0");
    }
}
