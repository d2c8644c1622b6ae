//! Helpers shared by the tests of the tools.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use rcap::{Cap, bounding};
use serde_json::{Value, json};

use super::{Ran, run};

/// The numbers of setxattrat(2), getxattrat(2) and removexattrat(2), since Linux 6.13.
pub(crate) const XATTRAT: [u32; 3] = [463, 464, 466];

/// Runs a command line of words without spaces, and compares the output. The usage after an error
/// is ignored.
#[track_caller]
pub(crate) fn check(dir: &Path, line: &str, status: i32, out: &str, err: &str) {
    let words: Vec<_> = line.split(' ').collect();
    check_words(dir, &words, status, out, err);
}

#[track_caller]
pub(crate) fn check_words(dir: &Path, words: &[&str], status: i32, out: &str, err: &str) {
    let Ran { status: got, out: got_out, err: got_err } = run(dir, words[0], &words[1..]);
    let got_err = got_err.split("usage: ").next().unwrap_or_default();
    assert_eq!((got, &*got_out, got_err), (Some(status), out, err), "{words:?}");
}

/// Runs a command line of words without spaces that prints only a JSON document.
#[track_caller]
pub(crate) fn check_json(dir: &Path, line: &str, status: i32, want: &Value) {
    let words: Vec<_> = line.split(' ').collect();
    let ran = run(dir, words[0], &words[1..]);
    assert_eq!((ran.status, &*ran.err), (Some(status), ""), "{line}");
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap(), *want, "{line}");
    assert!(ran.out.ends_with('\n'), "{line}");
}

/// Creates empty files and their directories.
pub(crate) fn touch(dir: &Path, files: &[&str]) {
    for file in files {
        let file = dir.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, "").unwrap();
    }
}

#[track_caller]
pub(crate) fn set(dir: &Path, caps: &str, file: impl AsRef<OsStr>) {
    let ran = run(dir, "setcap", [caps.as_ref(), file.as_ref()]);
    assert_eq!(ran, Ran { status: Some(0), out: String::new(), err: String::new() }, "{caps}");
}

/// Returns the capabilities of a file, with its root ID.
pub(crate) fn get(dir: &Path, file: &str) -> String {
    run(dir, "getcap", ["-vn", file]).out
}

/// A mount that is removed when dropped, so that its directory can be removed.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Mounts a tmpfs that only this process and its children see.
    pub(crate) fn tmpfs(on: PathBuf, flags: MsFlags) -> Mounted {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        fs::create_dir(&on).unwrap();
        mount(Some("none"), &on, Some("tmpfs"), flags, None::<&str>).unwrap();
        Mounted(on)
    }

    pub(crate) fn remount(&self, flags: MsFlags) {
        let flags = flags | MsFlags::MS_REMOUNT;
        mount(None::<&str>, &self.0, None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = umount2(&self.0, MntFlags::MNT_DETACH);
    }
}

/// Removes these capabilities from programs executed later, but not from this process.
pub(crate) fn withhold(caps: &[Cap]) {
    for &cap in caps {
        bounding::drop(cap).unwrap();
    }
}

pub(crate) fn file_caps(permitted: &[&str], effective: bool) -> Value {
    json!({"permitted": permitted, "inheritable": [], "effective": effective, "rootid": null})
}
