//! The users who can change a file, by writing to it, or by replacing it or a directory above it.

use std::path::{Path, PathBuf};

/// A file or a directory that another user than root can change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Writable {
    /// The file itself, or a directory on the way to it.
    pub path: PathBuf,
    /// The users who can change it.
    pub by: Writer,
}

/// Users besides root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Writer {
    /// Every user.
    Everyone,
    /// The members of the group with this id.
    Group(u32),
    /// The user with this id.
    User(u32),
}

/// The owner and the mode of a file or a directory.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// Returns who can change a file, given the file and then each directory that leads to it, from
/// the innermost to the root. In a sticky directory, an entry of root's is safe from others.
///
/// Access control lists are not looked at: their mask is part of the mode's group bits, so that an
/// entry of a list that can write shows as the group's.
pub(super) fn writers(nodes: &[Node]) -> Vec<Writable> {
    const STICKY: u32 = 0o1000;
    let mut found = Vec::new();
    for (nth, node) in nodes.iter().enumerate() {
        let is_sticky = nth > 0 && node.mode & STICKY != 0;
        let mut add = |by| found.push(Writable { path: node.path.clone(), by });
        if node.uid != 0 {
            add(Writer::User(node.uid));
        }
        if is_sticky {
            continue;
        }
        if node.mode & 0o020 != 0 && node.gid != 0 {
            add(Writer::Group(node.gid));
        }
        if node.mode & 0o002 != 0 {
            add(Writer::Everyone);
        }
    }
    found
}

/// Returns the path and each directory above it, from the innermost to the root.
pub(super) fn ancestors(path: &Path) -> impl Iterator<Item = &Path> {
    path.ancestors().filter(|path| !path.as_os_str().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_write() {
        // Each node is a mode, an owner and a group.
        type Row<'a> = (&'a [(u32, u32, u32)], &'a [(usize, Writer)]);
        #[rustfmt::skip]
        let rows: &[Row<'_>] = &[
            (&[(0o755, 0, 0), (0o755, 0, 0)],     &[]),
            (&[(0o4755, 7, 0), (0o755, 0, 0)],    &[(0, Writer::User(7))]),
            (&[(0o775, 0, 50), (0o755, 0, 0)],    &[(0, Writer::Group(50))]),
            (&[(0o775, 0, 0), (0o775, 0, 0)],     &[]),
            (&[(0o777, 0, 0)],                    &[(0, Writer::Everyone)]),
            (&[(0o755, 0, 0), (0o777, 0, 0)],     &[(1, Writer::Everyone)]),
            (&[(0o755, 0, 0), (0o1777, 0, 0)],    &[]),
            (&[(0o755, 0, 0), (0o1777, 3, 4)],    &[(1, Writer::User(3))]),
            (&[(0o1757, 0, 0), (0o2775, 0, 50)],  &[(0, Writer::Everyone), (1, Writer::Group(50))]),
        ];
        for (nodes, want) in rows {
            let node = |(nth, &(mode, uid, gid)): (usize, &(u32, u32, u32))| Node {
                path: nth.to_string().into(),
                mode,
                uid,
                gid,
            };
            let nodes: Vec<Node> = nodes.iter().enumerate().map(node).collect();
            let want: Vec<Writable> = want
                .iter()
                .map(|&(nth, by)| Writable { path: nth.to_string().into(), by })
                .collect();
            assert_eq!(writers(&nodes), want, "{nodes:?}");
        }
    }
}
