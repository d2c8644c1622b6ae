//! The names of users and groups.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::Mode,
    unistd::{Gid, Group, Uid, User},
};

/// The longest user database that is read.
const LONGEST: u64 = 16 << 20;

/// Names of ids, each asked once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    users: BTreeMap<u32, Option<String>>,
    groups: BTreeMap<u32, Option<String>>,
    /// Whether the machine's user database answers for what is not there yet.
    asks: bool,
}

impl Names {
    /// Returns the names of this machine. (nsswitch.conf(5))
    pub(super) fn of_machine() -> Names {
        Names { asks: true, ..Names::default() }
    }

    /// Returns the names of the system below a directory, by its own passwd(5) and group(5).
    pub(super) fn of_root(root: &Path) -> Names {
        let read = |name| read_below(root, name).unwrap_or_default();
        Names::of_texts(&read("etc/passwd"), &read("etc/group"))
    }

    /// Returns the names in texts of passwd(5) and group(5).
    pub(in crate::scan) fn of_texts(users: &str, groups: &str) -> Names {
        Names { users: parse(users), groups: parse(groups), asks: false }
    }

    pub(in crate::scan) fn user(&mut self, uid: u32) -> Option<String> {
        let asks = self.asks;
        let ask = || User::from_uid(Uid::from_raw(uid)).ok().flatten().map(|user| user.name);
        self.users.entry(uid).or_insert_with(|| asks.then(ask).flatten()).clone()
    }

    pub(in crate::scan) fn group(&mut self, gid: u32) -> Option<String> {
        let asks = self.asks;
        let ask = || Group::from_gid(Gid::from_raw(gid)).ok().flatten().map(|group| group.name);
        self.groups.entry(gid).or_insert_with(|| asks.then(ask).flatten()).clone()
    }
}

/// Reads a regular file below an untrusted directory: no link leads out of it, and no more than
/// the limit is read.
pub(super) fn read_below(root: &Path, name: &str) -> Option<String> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(root, directory, Mode::empty()).ok()?;
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT);
    let file = File::from(openat2(&root, name, how).ok()?);
    let mut bytes = Vec::new();
    let is_regular = file.metadata().ok()?.is_file();
    is_regular.then_some(())?;
    file.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// Returns the names in a text of passwd(5) or group(5): the first of an id counts.
fn parse(text: &str) -> BTreeMap<u32, Option<String>> {
    let mut names = BTreeMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1))
            && let Ok(id) = id.parse()
        {
            names.entry(id).or_insert_with(|| Some(name.to_owned()));
        }
    }
    names
}

/// Returns the ranges of subordinate ids in a text of subuid(5): the first id, and how many.
pub(super) fn subordinate(text: &str) -> Vec<(u32, u32)> {
    let range = |line: &str| {
        let mut fields = line.trim_end().split(':').skip(1);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    text.lines().filter_map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn databases() {
        let names = parse("root:x:0:0::/root:/bin/sh\ntoor:x:0:0:::\nx:y\nweb:x:33:33:::\n+:::\n");
        assert_eq!(names, BTreeMap::from([(0, Some("root".into())), (33, Some("web".into()))]));
        let text = "me:100000:65536\nx:7\nyou:x:1\nlast:5:2\n";
        assert_eq!(subordinate(text), [(100_000, 65536), (5, 2)]);
    }
}
