//! The users who can change a file, by writing to it, or by replacing it or a directory above it.

use std::path::PathBuf;

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
///
/// Access control lists are not looked at: their mask is part of the mode's group bits, so that an
/// entry of a list that can write shows as the group's.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Node {
    /// Returns who can change a file.
    pub(super) fn writers(self) -> Vec<Writable> {
        self.those(false)
    }

    /// Returns who can replace the entries of a directory. In a sticky directory, an entry of
    /// root's is safe from others than the owner of the directory.
    pub(super) fn writers_of_entries(self) -> Vec<Writable> {
        const STICKY: u32 = 0o1000;
        let is_sticky = self.mode & STICKY != 0;
        self.those(is_sticky)
    }

    fn those(self, is_owner_alone: bool) -> Vec<Writable> {
        let Node { path, mode, uid, gid } = self;
        let others = !is_owner_alone;
        let writers = [
            (uid != 0).then_some(Writer::User(uid)),
            (others && mode & 0o020 != 0 && gid != 0).then_some(Writer::Group(gid)),
            (others && mode & 0o002 != 0).then_some(Writer::Everyone),
        ];
        writers.into_iter().flatten().map(|by| Writable { path: path.clone(), by }).collect()
    }
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
            let shown = format!("{nodes:?}");
            let mut nodes = nodes.into_iter();
            let mut found = nodes.next().unwrap().writers();
            found.extend(nodes.flat_map(Node::writers_of_entries));
            assert_eq!(found, want, "{shown}");
        }
    }
}
